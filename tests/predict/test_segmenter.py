"""Predicting, evaluating and exporting a segmenter that has learned colors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from once import once
from PIL import Image
from shapes import CLASSES, COLORS, save_scenes, scene, trained
from typer.testing import CliRunner

from mobilevitv2 import MobileViTImageProcessor, Predictor, Segmentation, evaluate
from mobilevitv2.cli import app
from mobilevitv2.data import open_segmentation
from mobilevitv2.deploy import Export, export
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.predict.views import Views, starts
from mobilevitv2.results.label_maps import label_map, nearest
from mobilevitv2.scores.segmentation import SegmentationScores


@once
def masks(folder: Path) -> Export:
    """A file that gives classes, for images of any size."""
    return export(trained()[1].best, to="onnx", output="mask", out=folder / "masks.onnx")


@pytest.fixture(scope="module")
def bundle():
    return trained()[1].best


@pytest.fixture(scope="module")
def data():
    return trained()[0]


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(bundle, device="cpu")


# Scores to classes


@pytest.mark.parametrize("size", [(97, 133), (16, 300), (7, 9), (1, 1)])
@pytest.mark.parametrize("classes", [2, 21, 300])
def test_a_label_map_is_torchs_resize_and_argmax(size, classes):
    logits = np.random.default_rng(0).normal(size=(classes, 9, 11)).astype(np.float32) * 3
    resized = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear")[0]
    found, certainty = label_map(logits, size, certainty=True)
    assert found.dtype == (np.uint8 if classes <= 256 else np.uint16)
    assert certainty is not None
    wanted = resized.numpy()
    chosen = np.take_along_axis(wanted, found[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, wanted.max(0), atol=1e-5)  # ties to rounding aside
    np.testing.assert_allclose(certainty, resized.softmax(0).amax(0), atol=2e-3)


def test_a_label_map_is_what_post_processing_gives(monkeypatch):
    monkeypatch.setattr("mobilevitv2.results.label_maps.BAND", 1000)  # several bands
    logits = np.random.default_rng(1).normal(size=(5, 6, 8)).astype(np.float32)
    processor = MobileViTImageProcessor()
    (wanted,) = processor.post_process_semantic_segmentation(logits[None], [(60, 90)])
    assert (label_map(logits, (60, 90))[0] == wanted).mean() > 0.999


def test_nearest_keeps_class_numbers():
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    assert nearest(mask, (4, 6)).tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    pattern = np.random.default_rng(0).integers(0, 9, (13, 17)).astype(np.uint8)
    wanted = Image.fromarray(pattern).resize((40, 30), Image.Resampling.NEAREST)
    assert np.array_equal(nearest(pattern, (30, 40)), np.asarray(wanted))


# Ways to look


def plain_scores(pixels: np.ndarray) -> np.ndarray:
    """A network whose scores at stride 8 are the mean colors of the cells: [B, 3, h, w]."""
    b, c, h, w = pixels.shape
    return pixels.reshape(b, c, h // 8, 8, w // 8, 8).mean((3, 5))


@pytest.mark.parametrize("views", [{"window": 128}, {"flip": True}, {"window": 128, "flip": True}])
def test_all_ways_to_look_agree_where_the_network_looks_at_each_cell_alone(views):
    pixels = np.random.default_rng(0).random((3, 192, 320)).astype(np.float32)
    seen = Views(**views)(plain_scores, pixels)
    np.testing.assert_allclose(seen, plain_scores(pixels[None])[0], atol=1e-6)


def ramp(pixels: np.ndarray) -> np.ndarray:
    """A network that sees nothing but how far to the right it is: [B, 1, h, w] at stride 8."""
    b, _, h, w = pixels.shape
    return np.broadcast_to(np.arange(w // 8, dtype=np.float32), (b, 1, h // 8, w // 8))


def test_flip_and_window_are_what_they_are_called():
    pixels = np.zeros((3, 128, 192), np.float32)
    plain = np.arange(24.0)
    assert np.array_equal(Views()(ramp, pixels)[0, 0], plain)
    assert np.array_equal(Views(flip=True)(ramp, pixels)[0, 0], (plain + plain[::-1]) / 2)
    # windows begin at cells 0 and 8 and are 16 wide: the middle is seen by both
    seen = Views(window=128)(ramp, pixels)[0, 0]
    first, second = np.arange(16.0), np.arange(16.0)
    wanted = np.concatenate([first[:8], (first[8:] + second[:8]) / 2, second[8:]])
    assert np.array_equal(seen, wanted)


def test_windows_cover_everything_and_overlap_by_half():
    assert list(starts(64, 128)) == [0]
    assert list(starts(320, 128)) == [0, 64, 128, 192]
    covered = np.zeros(1984, int)
    for start in starts(1984, 512):
        covered[start : start + 512] += 1
    assert covered.min() >= 1


def test_a_window_that_does_not_fit_the_strides():
    with pytest.raises(ConfigError, match="a multiple of 64 of at least 128"):
        Views(window=100)


def test_flip_and_window_change_the_answer_a_little(bundle):
    image, mask = scene(77, (192, 128))
    plain = Predictor(bundle, device="cpu", image_size=128)(image).mask
    for how in ({"flip": True}, {"window": 128}):
        options: dict[str, Any] = how
        other = Predictor(bundle, device="cpu", image_size=128, **options)(image).mask
        assert other.shape == plain.shape == (128, 192)
        assert (other == plain).mean() > 0.8
        assert (other == mask).mean() > 0.8


# Predicting


def test_a_mask_has_the_size_of_the_image_whatever_it_is(predictor):
    for size in ((64, 64), (333, 97), (50, 200), (33, 32)):
        image, mask = scene(5, size)
        result = predictor(image)
        assert isinstance(result, Segmentation)
        assert result.mask.shape == mask.shape
        assert (result.mask == mask).mean() > 0.8
        assert result.classes == CLASSES
        assert result.colors == list(COLORS)
        assert result.certainty is not None
        assert 1 / 3 - 1e-3 <= result.certainty.min() <= result.certainty.max() <= 1


def test_classes_can_not_be_averaged():
    options: list[dict[str, Any]] = [{"flip": True}, {"window": 128}]
    for how in options:
        with pytest.raises(ConfigError, match="gives classes, but flip and window average scores"):
            Predictor(masks().path, **how)


def test_images_of_many_sizes_in_one_call(predictor):
    pictures = [scene(i, size)[0] for i, size in enumerate([(64, 64), (80, 64), (64, 64)])]
    together = predictor(pictures)
    for picture, result in zip(pictures, together, strict=True):
        assert np.array_equal(result.mask, predictor(picture).mask)


def test_what_is_for_segmenters_only_is_refused_for_classifiers():
    from tiny import color_predictor

    options: list[dict[str, Any]] = [{"flip": True}, {"window": 128}, {"image_size": 64}]
    for how in options:
        with pytest.raises(ConfigError, match="is for segmentation, and this model is for"):
            color_predictor(**how)


def test_what_is_for_another_task_is_refused(predictor, data):
    image = scene(0)[0]
    options: dict[str, Any] = {
        "classification": {"top_k": 3},
        "multi-label classification and detection": {"threshold": 0.5},
    }
    for task, how in options.items():
        said = f"is for {task}, and this model is for segmentation"
        for ask in (
            lambda how=how: Predictor(predictor.source, **how),
            lambda how=how: predictor(image, **how),
            lambda how=how: list(predictor.stream([image], **how)),
        ):
            with pytest.raises(ConfigError, match=said):
                ask()
    with pytest.raises(
        ConfigError, match="threshold is for multi-label classification and detection"
    ):
        evaluate(predictor.source, data, threshold=0.5)


def test_the_command_writes_drawings_masks_and_shares(bundle, data, tmp_path):
    paths = sorted((data / "val").glob("*.png"))
    command = ["predict", str(bundle), *map(str, paths), "--json"]
    command += ["--save", str(tmp_path / "drawn"), "--masks", str(tmp_path / "masks")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    for row, path in zip(rows, paths, strict=True):
        assert sum(row["shares"].values()) == pytest.approx(1)
        with Image.open(tmp_path / "masks" / path.name) as mask, Image.open(path) as image:
            assert mask.mode == "P"
            assert mask.size == image.size == (row["width"], row["height"])
            share = (np.asarray(mask) == 1).mean()
        assert row["shares"].get("red", 0) == pytest.approx(share)
        assert (tmp_path / "drawn" / path.name).is_file()


@pytest.mark.parametrize("count", [1, 3])
def test_the_command_prints_a_table_and_csv(bundle, data, count):
    paths = [str(p) for p in sorted((data / "val").glob("*.png"))[:count]]
    plain = CliRunner().invoke(app, ["predict", str(bundle), *paths])
    assert plain.exit_code == 0, plain.output
    assert "ground" in plain.stdout
    table = CliRunner().invoke(app, ["predict", str(bundle), *paths, "--csv"])
    header, *lines = table.stdout.splitlines()
    assert header == "image,ground,red,blue"
    assert all(sum(map(float, line.split(",")[1:])) == pytest.approx(1) for line in lines)


def test_drawings_and_masks_need_a_folder_each(bundle, data, tmp_path):
    both = ["--save", str(tmp_path / "out"), "--masks", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["predict", str(bundle), str(data / "val"), *both])
    assert result.exit_code == 2
    assert "need a folder each" in result.stderr


def test_a_published_sets_name_is_a_class_list(data, tmp_path):
    command = ["train", str(data), "--out", str(tmp_path / "run"), "--classes", "voc"]
    command += ["--image-size", "32", "--threads", "1"]
    result = CliRunner().invoke(app, [*command, "--epochs", "1", "--set", "head_channels=8"])
    assert "there is no class list" not in result.stderr
    assert result.exit_code == 0, result.output
    assert "tvmonitor" in result.stderr


def test_masks_of_a_classifier_are_refused(tmp_path):
    from tiny import picture, save_trained

    picture("red").save(tmp_path / "red.png")
    command = ["predict", str(save_trained(tmp_path / "m")), str(tmp_path / "red.png")]
    result = CliRunner().invoke(app, [*command, "--masks", str(tmp_path / "masks")])
    assert result.exit_code == 1
    assert "masks is for segmentation, and this model is for classification" in result.stderr


# Evaluating


def test_evaluation_counts_at_the_size_of_the_masks(bundle, data, tmp_path):
    result = evaluate(bundle, data, report=tmp_path / "report")
    scores = SegmentationScores(3)
    predictor = Predictor(bundle, device="cpu")
    for image, mask in open_segmentation(data).val:
        scores.update(predictor(image).mask, np.asarray(Image.open(mask)))
    assert result.count == 6
    assert result.miou == pytest.approx(scores.miou)
    assert result.pixel_accuracy == pytest.approx(scores.pixel_accuracy)
    assert result.confusion == scores.confusion.tolist()
    assert f"{100 * result.miou:.1f} %" in (tmp_path / "report" / "report.html").read_text()


def test_the_command_keeps_no_more_than_two_batches_of_four_whole_images(
    bundle, tmp_path, monkeypatch
):
    data, ahead = save_scenes(tmp_path / "data", 1, 16), []

    def counted(predictor, source, real=Predictor.prepare):
        ahead.append(source)
        return real(predictor, source)

    def taken(scores, *masks, real=SegmentationScores.update):
        most.append(len(ahead))
        ahead.pop()
        return real(scores, *masks)

    most: list[int] = []
    monkeypatch.setattr(Predictor, "prepare", counted)
    monkeypatch.setattr(SegmentationScores, "update", taken)
    done = CliRunner().invoke(app, ["evaluate", str(bundle), str(data), "--split", "val"])
    assert done.exit_code == 0, done.output
    assert len(most) == 16
    assert max(most) <= 8


def test_classes_meet_by_name_not_by_number(bundle, data, tmp_path):
    """The same masks under other numbers, and a classes.txt that says so."""
    import shutil

    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "classes.txt").write_text("blue\nground\nred\n")
    for path in (tmp_path / "data").glob("*annot/*.png"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(((mask + 1) % 3).astype(np.uint8)).save(path)
    assert evaluate(bundle, tmp_path / "data").miou == pytest.approx(evaluate(bundle, data).miou)


def test_masks_without_names_are_numbered_as_the_model(bundle, data, tmp_path):
    import shutil

    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "classes.txt").unlink()
    assert evaluate(bundle, tmp_path / "data").miou == pytest.approx(evaluate(bundle, data).miou)
    (tmp_path / "data" / "classes.txt").write_text("ground\nred\nsea\n")
    with pytest.raises(DataError, match="Give the classes of the masks with --classes"):
        evaluate(bundle, tmp_path / "data")


def test_ignoring_class_0_is_heard(bundle, data):
    result = evaluate(bundle, data, ignore=0)
    assert sum(result.confusion[0]) == 0
    assert sum(map(sum, result.confusion)) > 0


def test_a_predictor_that_is_made_already_has_its_way_to_look(predictor, data):
    with pytest.raises(ConfigError, match="set when the Predictor is made"):
        evaluate(predictor, data, flip=True)
    with pytest.raises(ConfigError, match="set when the Predictor is made"):
        evaluate(predictor, data, threshold=0.5)
    with pytest.raises(DataError, match=r"ignore, .* given when .* is opened"):
        evaluate(predictor, open_segmentation(data), ignore=0)


def test_the_wrong_kind_of_data_or_of_question_is_refused(bundle, data, tmp_path):
    from tiny import save_images, save_trained

    with pytest.raises(DataError, match="the model is for segmentation"):
        evaluate(bundle, open_colors(save_images(tmp_path / "colors")))
    with pytest.raises(DataError, match="the model is for classification"):
        evaluate(save_trained(tmp_path / "m"), open_segmentation(data))
    with pytest.raises(ConfigError, match="channel_orders is for classification"):
        evaluate(bundle, data, channel_orders=["rgb", "bgr"])


def open_colors(folder):
    from mobilevitv2.data import open_classification

    return open_classification(folder)


# Exporting


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"image_size": [64, 96]}, marks=pytest.mark.slow),
        pytest.param({"precision": "fp16"}, marks=pytest.mark.slow),
        pytest.param(
            {"image_size": 64, "output": "mask", "input": "uint8"}, marks=pytest.mark.slow
        ),
        {"output": "mask"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")  # what the exporter's own code warns of
def test_an_exported_file_gives_the_same_masks(bundle, options, tmp_path):
    if options == {"output": "mask"}:
        result = masks()
    else:
        result = export(bundle, to="onnx", out=tmp_path / "scenes.onnx", **options)
    assert result.checks
    assert all(check.passed for check in result.checks)
    assert result.record.task == "segmentation"
    image, mask = scene(9, (96, 64))
    found = Predictor(result.path, threads=1)(image)
    assert found.mask.shape == (64, 96)
    assert found.colors == list(COLORS)
    assert (found.mask == mask).mean() > 0.8
    if options == {}:
        wanted = Predictor(bundle, device="cpu")(image).mask
        assert (found.mask == wanted).mean() > 0.999


def test_an_output_that_is_another_tasks(bundle, tmp_path):
    from tiny import save_trained

    with pytest.raises(ConfigError, match="a model for segmentation has no output top_k"):
        export(bundle, to="onnx", out=tmp_path / "a.onnx", output="top_k")
    with pytest.raises(ConfigError, match="a model for classification has no output mask"):
        export(save_trained(tmp_path / "m"), to="onnx", out=tmp_path / "a.onnx", output="mask")
