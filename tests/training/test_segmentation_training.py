"""From images and masks to a bundle: what is learned, kept, reported, resumed and refused."""

import csv
import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from page import Page
from PIL import Image
from shapes import CLASSES, COLORS, quick, save_scenes, trained
from stopping import assert_stopping_changes_nothing

from mobilevitv2 import (
    MobileViTImageProcessor,
    MobileViTV2ForImageClassification,
    MobileViTV2ForSemanticSegmentation,
    Predictor,
)
from mobilevitv2.data import open_segmentation
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.scores.segmentation import SegmentationScores
from mobilevitv2.training import Recipe, train
from mobilevitv2.training.schedule import make_optimizer
from mobilevitv2.training.segmentation import Goal, class_weights


@pytest.fixture(scope="module")
def run():
    return trained()[1]


@pytest.fixture(scope="module")
def data():
    return trained()[0]


def test_it_learns_colors_and_counts_as_an_independent_count_does(run, data):
    assert run.metric == "miou"
    assert run.score > 0.6
    scores = SegmentationScores(3)
    opened, predictor = open_segmentation(data), Predictor(run.best, device="cpu")
    for image, mask in opened.val:
        scores.update(predictor(image).mask, np.asarray(Image.open(mask)))
    assert run.score == pytest.approx(scores.miou, abs=1e-3)


def test_the_bundle_has_names_colors_head_and_whole_images(run):
    model = MobileViTV2ForSemanticSegmentation.from_pretrained(run.best)
    assert list((model.config.id2label or {}).values()) == CLASSES
    assert model.config.class_colors == [list(color) for color in COLORS]
    assert (model.config.output_stride, model.config.aspp_out_channels) == (8, 16)
    assert model.auxiliary_head is not None
    processor = MobileViTImageProcessor.from_pretrained(run.best)
    assert not processor.do_center_crop
    assert processor.size == {"shortest_edge": 64}


def test_the_history_and_the_report_tell_of_it(run):
    rows = list(csv.DictReader((run.out / "metrics.csv").read_text().splitlines()))
    best = max(rows, key=lambda row: float(row["val_miou"]))
    assert float(best["val_miou"]) == pytest.approx(run.score, abs=0.01)
    assert int(best["epoch"]) == run.best_epoch
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    texts = Page(run.report.read_text()).texts
    assert f"{100 * run.score:.1f} %" in texts
    assert set(CLASSES) <= set(texts)


def test_a_stopped_run_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    assert_stopping_changes_nothing(data, tmp_path, quick(epochs=2), monkeypatch)


def test_fine_tuning_takes_the_backbone_of_a_classifier(data, tmp_path):
    from tiny import save_trained

    start = save_trained(tmp_path / "start")
    result = train(
        data,
        out=tmp_path / "run",
        model=start,
        quiet=True,
        **quick(width=None, epochs=1, lr=0, min_lr=0),
    )
    tuned = MobileViTV2ForSemanticSegmentation.from_pretrained(result.best)
    before = MobileViTV2ForImageClassification.from_pretrained(start).mobilevitv2.state_dict()
    for key, tensor in tuned.mobilevitv2.named_parameters():
        torch.testing.assert_close(tensor, before[key])  # the rate was 0
    assert tuned.config.output_stride == 8


def test_fine_tuning_keeps_the_head_of_a_segmenter_for_the_same_classes(run, data, tmp_path):
    settings = quick(width=None, epochs=1, lr=0, min_lr=0)
    result = train(data, out=tmp_path / "run", model=run.best, quiet=True, **settings)
    assert result.score > 0.6  # nothing was learned: it was kept


def test_a_slower_backbone_gets_its_share_of_the_rate(run):
    model = MobileViTV2ForSemanticSegmentation.from_pretrained(run.best)
    groups = make_optimizer(model, Recipe(lr=0.1, backbone_lr=0.1)).param_groups
    by_share = {share: [g for g in groups if g["share"] == share] for share in (0.1, 1.0)}
    counted = {
        s: sum(p.numel() for g in found for p in g["params"]) for s, found in by_share.items()
    }
    assert counted[0.1] == model.mobilevitv2.num_parameters()
    assert sum(counted.values()) == model.num_parameters()


def test_class_weights_make_rare_classes_count_as_much():
    pixels = [900, 90, 10]
    even = class_weights(pixels, 1.0)
    assert even is not None
    torch.testing.assert_close(even * torch.tensor(pixels), torch.full((3,), 1000 / 3))
    assert class_weights(pixels, 0.0) is None
    absent = class_weights([900, 0, 10], 1.0)
    assert absent is not None
    assert absent[1] == 0  # smoothed labels would ask for it everywhere
    assert absent[2] < 100
    half = class_weights(pixels, 0.5)
    assert half is not None
    assert (half * torch.tensor(pixels)).sum().item() == pytest.approx(1000)


def test_what_a_segmenter_can_not_be_trained_with(data, tmp_path):
    with pytest.raises(ConfigError, match="batch_size is 1"):
        train(data, out=tmp_path / "run", quiet=True, **quick(batch_size=1))
    with pytest.raises(
        ConfigError,
        match=r"mixup is 0\.2, .* for classification, multi-label .* this is seg",
    ):
        train(data, out=tmp_path / "run", quiet=True, **quick(mixup=0.2))
    with pytest.raises(ConfigError, match=r"blur is 0\.5, but it is a setting for segmentation"):
        train("digits", out=tmp_path / "run", quiet=True, blur=0.5)
    with pytest.raises(DataError, match="can't be given for"):
        train("digits", out=tmp_path / "run", quiet=True, ignore=3)
    with pytest.raises(DataError, match=r"ignore, .* given when .* is opened"):
        train(open_segmentation(data), out=tmp_path / "run", quiet=True, ignore=3)
    with pytest.raises(DataError, match=r"task is classify, but .* opened to segment"):
        train(open_segmentation(data), out=tmp_path / "run", quiet=True, task="classify")


def test_settings_of_a_head_are_refused_where_the_models_own_is_kept(run, data, tmp_path):
    how: dict[str, Any] = {"model": run.out, "out": tmp_path / "run", "quiet": True}
    for setting in ({"head_channels": 24}, {"output_stride": 16}, {"segmentation_head": "pspnet"}):
        with pytest.raises(ConfigError, match="keeps its own head"):
            train(data, **how, **quick(**setting))


def test_a_run_goes_on_with_its_own_classes_only(run, data, tmp_path):
    shutil.copytree(run.out, tmp_path / "run")
    (tmp_path / "other.txt").write_text("blue\nred\nground\n")
    options: list[dict[str, Any]] = [{"classes": tmp_path / "other.txt"}, {"ignore": 0}]
    for how in options:
        with pytest.raises(DataError, match=r"aren't those with which the run .* began"):
            train(data, out=tmp_path / "run", resume=True, quiet=True, **how)
    again = train(data, out=tmp_path / "run", resume=True, quiet=True)
    assert again.score == run.score


def test_one_image_is_too_few_and_leaves_nothing_behind(tmp_path):
    folder = save_scenes(tmp_path / "data", train_count=1, val_count=2)
    with pytest.raises(DataError, match="has one image to train on"):
        train(folder, out=tmp_path / "run", quiet=True, **quick())
    assert not (tmp_path / "run").exists()


def test_fine_tuning_on_other_classes_takes_their_colors(run, tmp_path):
    folder = save_scenes(tmp_path / "data", train_count=4, val_count=2)
    (folder / "classes.txt").write_text("a 1 2 3\nb 4 5 6\nc 7 8 9\n")
    settings = quick(width=None, epochs=1)
    tuned = train(folder, out=tmp_path / "run", model=run.out, quiet=True, **settings)
    config = json.loads((tuned.best / "config.json").read_text())
    assert config["class_colors"] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_batch_whose_pixels_are_all_void_moves_nothing_to_nan(tmp_path):
    folder = save_scenes(tmp_path / "data", train_count=4, val_count=2)
    for i in range(3):  # all but one mask of the training images are void but for a pixel
        void = np.full((64, 64 + 16 * (i % 2)), 255, np.uint8)
        void[0, 0] = 1
        Image.fromarray(void).save(folder / "trainannot" / f"{i}.png")
    result = train(folder, out=tmp_path / "run", quiet=True, **quick(epochs=2))
    assert all(np.isfinite(row["train_loss"]) for row in result.history)


def test_an_image_that_breaks_later_is_named_and_left_out(tmp_path):
    folder = save_scenes(tmp_path / "data", train_count=6, val_count=3)
    opened = open_segmentation(folder)
    image, _ = opened.val[1]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    result = train(opened, out=tmp_path / "run", quiet=True, **quick(epochs=1))
    broken = json.loads((result.out / "data.json").read_text())["broken"]
    assert list(broken) == ["val/1.png"]


def test_the_image_size_follows_the_median_image(data):
    opened = open_segmentation(data)
    goal = Goal(opened)
    for short_side, chosen in ((20, 32), (360, 352), (4000, 512)):
        opened.short_side = short_side
        assert goal.image_size(Recipe()) == chosen
    assert goal.image_size(Recipe(image_size=96)) == 96


def test_a_changed_mask_folder_is_noticed_on_resuming(run, data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(run.out, tmp_path / "run")
    (tmp_path / "data" / "trainannot" / "0.png").unlink()
    (tmp_path / "data" / "train" / "0.png").unlink()
    with pytest.raises(DataError, match="aren't those with which the run"):
        train(tmp_path / "data", out=tmp_path / "run", resume=True, quiet=True)
