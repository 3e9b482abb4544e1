"""From images and boxes to a bundle: what is learned, kept, reported, resumed and refused."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import put_coco, put_yolo, write
from coco_scores import by_pycocotools, defined
from once import once
from page import Page
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from squares import NAMES, boxes_of, scene
from stopping import assert_stopping_changes_nothing
from typer.testing import CliRunner

from mobilevitv2 import (
    MobileViTImageProcessor,
    MobileViTV2ForImageClassification,
    MobileViTV2ForObjectDetection,
    Predictor,
    evaluate,
)
from mobilevitv2.cli import app
from mobilevitv2.data import open_detection
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.training import TrainingResult, train
from mobilevitv2.training.folder import check_same_data, write_settings
from mobilevitv2.training.recipe import Recipe

SIZE = 96
QUICK: dict[str, Any] = {
    "width": 0.25,
    "epochs": 10,
    "lr": 0.008,
    "batch_size": 4,
    "image_size": SIZE,
    "ema_decay": 0.8,
    "photometric": 0.0,  # colors are what there is to learn
    "box_crop": 0.0,
    "threads": 1,
}


def quick(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (QUICK | changes).items() if value is not None}


def save_yolo_scenes(folder: Path, train_count: int = 24, val_count: int = 6) -> Path:
    """Red and blue rectangles, as YOLO's folders."""
    for split, count, start in (("train", train_count, 0), ("val", val_count, 1000)):
        (folder / "images" / split).mkdir(parents=True)
        for i in range(count):
            image, mask = scene(start + i, (SIZE + 32 * (i % 2), SIZE))
            image.save(folder / "images" / split / f"{i}.png")
            lines = [
                f"{label} {' '.join(map(str, box))}\n"
                for label, box in zip(*boxes_of(mask), strict=True)
            ]
            write(folder / "labels" / split / f"{i}.txt", "".join(lines))
    write(
        folder / "data.yaml",
        f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n",
    )
    return folder


@once
def trained(folder: Path) -> tuple[Path, TrainingResult]:
    """A folder of scenes and a run on it that finds the rectangles; made once."""
    data = save_yolo_scenes(folder / "data")
    return data, train(data, out=folder / "run", quiet=True, **QUICK)


@pytest.fixture(scope="module")
def run():
    return trained()[1]


@pytest.fixture(scope="module")
def data():
    return trained()[0]


def test_it_learns_where_things_are(run, data):
    assert run.metric == "map"
    result = evaluate(run.out, data)
    assert result.summary["map"] == pytest.approx(run.score, abs=1e-3)
    assert result.summary["map_50"] > 0.1  # an untrained one has less than 0.03
    assert result.split == "val"
    assert [score.boxes for score in result.classes] == [6, 6]


def test_what_evaluate_says_is_what_pycocotools_says(run, data):
    opened, predictor = open_detection(data), Predictor(run.out, threshold=0.01, device="cpu")
    found = [predictor(sample.image).detections for sample in opened.val]
    truths = [sample.boxes for sample in opened.val]
    expected = defined(by_pycocotools(list(zip(found, truths, strict=True)), 2).stats)
    said = list(evaluate(run.out, data).summary.values())
    np.testing.assert_allclose(said, expected, atol=1e-6)


def test_the_bundle_stretches_whole_images_and_names_its_classes(run):
    model = MobileViTV2ForObjectDetection.from_pretrained(run.best)
    assert list((model.config.id2label or {}).values()) == NAMES
    processor = MobileViTImageProcessor.from_pretrained(run.best)
    assert not processor.do_center_crop
    assert processor.size == {"height": SIZE, "width": SIZE}


def test_the_history_and_the_report_tell_of_it(run):
    rows = list(csv.DictReader((run.out / "metrics.csv").read_text().splitlines()))
    best = max(rows, key=lambda row: float(row["val_map"]))
    assert float(best["val_map"]) == pytest.approx(run.score, abs=0.01)
    assert float(rows[-1]["train_loss"]) < 0.7 * float(rows[0]["train_loss"])
    texts = " ".join(Page(run.report.read_text()).texts)
    assert f"{100 * run.score:.1f}" in texts
    assert all(name in texts for name in NAMES)


def test_a_stopped_run_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    assert_stopping_changes_nothing(data, tmp_path, quick(epochs=2), monkeypatch)


def test_changed_boxes_are_noticed_on_resuming(run, data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(run.out, tmp_path / "run")
    labels = tmp_path / "data" / "labels" / "train" / "0.txt"
    labels.write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match="aren't those with which the run"):
        train(tmp_path / "data", out=tmp_path / "run", resume=True, quiet=True)


@pytest.mark.parametrize("place", ["annotations/all.json", "data.yaml", "."])
def test_a_run_knows_its_data_by_any_path_and_after_they_were_moved(tmp_path, monkeypatch, place):
    here = tmp_path / "here"
    if place.endswith(".json"):
        put_coco(here / place, here / "images", range(6))
    else:
        put_yolo(here / "images", here / "labels", range(6))
        write(here / "data.yaml", "train: ./images\nnames: [cat, dog]")
    write_settings(tmp_path / "run", Recipe.load("detection"), open_detection(here / place))
    monkeypatch.chdir(tmp_path)
    for name in ("here", "there"):
        if name == "there":
            here.rename(name)
        check_same_data(tmp_path / "run", open_detection(Path(name) / place))


def test_fine_tuning_keeps_the_head_for_the_same_classes(run, data, tmp_path):
    settings = quick(width=None, epochs=1, lr=0, min_lr=0)
    result = train(data, out=tmp_path / "run", model=run.best, quiet=True, **settings)
    assert result.score > run.score / 2  # nothing was learned: it was kept


def test_fine_tuning_takes_the_backbone_of_a_classifier(data, tmp_path):
    from tiny import save_trained

    start = save_trained(tmp_path / "start")
    settings = quick(width=None, epochs=1, lr=0, min_lr=0)
    result = train(data, out=tmp_path / "run", model=start, quiet=True, **settings)
    tuned = MobileViTV2ForObjectDetection.from_pretrained(result.best)
    before = MobileViTV2ForImageClassification.from_pretrained(start).mobilevitv2.state_dict()
    for key, tensor in tuned.mobilevitv2.named_parameters():
        assert (tensor == before[key]).all()  # the rate was 0


def test_an_image_that_breaks_later_is_named_and_left_out(tmp_path):
    folder = save_yolo_scenes(tmp_path / "data", train_count=6, val_count=3)
    opened = open_detection(folder)
    image, _ = opened.val[1]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    result = train(opened, out=tmp_path / "run", quiet=True, **quick(epochs=1))
    broken = json.loads((result.out / "data.json").read_text())["broken"]
    assert list(broken) == ["images/val/1.png"]


def test_images_without_boxes_are_trained_on_too(tmp_path):
    folder = save_yolo_scenes(tmp_path / "data", train_count=4, val_count=2)
    for i in range(3):
        (folder / "labels" / "train" / f"{i}.txt").write_text("")
    result = train(folder, out=tmp_path / "run", quiet=True, **quick(epochs=1, batch_size=2))
    assert np.isfinite(result.history[0]["train_loss"])


def test_what_a_detector_can_not_be_trained_with(data, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"mixup is 0\.2, .* for classification, multi-label .* this is det",
    ):
        train(data, out=tmp_path / "run", quiet=True, **quick(mixup=0.2))
    with pytest.raises(ConfigError, match="a step has one image of 96 px"):
        train(data, out=tmp_path / "run", quiet=True, **quick(batch_size=1))
    with pytest.raises(DataError, match="can't be given for"):
        train(data, out=tmp_path / "run", quiet=True, ignore=3, **quick())
    empty = save_yolo_scenes(tmp_path / "data", train_count=3, val_count=2)
    for path in (empty / "labels" / "val").iterdir():
        path.write_text("")
    with pytest.raises(DataError, match=r"no image of the val split .* has a box that counts"):
        train(empty, out=tmp_path / "run", quiet=True, **quick())


def test_the_threshold_decides_what_a_report_shows(run, data, tmp_path):
    evaluate(run.out, data, report=tmp_path, threshold=0.75)
    assert "found above 75 %" in (tmp_path / "report.html").read_text()


def test_classes_find_each_other_by_name_whatever_their_order(run, data):
    plain, turned = (evaluate(run.out, data, classes=names) for names in (None, NAMES[::-1]))
    assert plain.to_dict()["summary"] == turned.to_dict()["summary"]
    assert plain.to_dict()["classes"] == turned.to_dict()["classes"]


def test_cocos_results_have_the_ids_of_the_data(run, data, tmp_path):
    content = {"categories": [{"id": 7, "name": NAMES[1]}, {"id": 9, "name": NAMES[0]}]}
    content |= {"images": [], "annotations": []}
    for number, (image, boxes) in enumerate(open_detection(data).val):
        listed = {"id": 40 - number, "file_name": image.name}
        content["images"].append(listed)
        for label, (x1, y1, x2, y2) in zip(boxes.labels, boxes.corners.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            box |= {"id": len(content["annotations"]) + 1, "category_id": 9 if label == 0 else 7}
            content["annotations"].append(box | {"image_id": listed["id"]})
    annotations = write(tmp_path / "val.json", json.dumps(content))
    shutil.copytree(data / "images" / "val", tmp_path / "images")
    shown = call("evaluate", run.out, annotations, "--coco", tmp_path / "found.json", "--json")
    truth = COCO(annotations)
    theirs = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    for step in (theirs.evaluate, theirs.accumulate, theirs.summarize):
        step()
    said = list(json.loads(shown.stdout)["summary"].values())
    assert theirs.stats[1] > 0.1
    expected = [None if value == -1 else pytest.approx(value, abs=1e-6) for value in theirs.stats]
    assert said == expected


def call(*arguments: Any):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands_evaluate_and_predict_in_every_format(run, data, tmp_path):
    shown = call("evaluate", run.out, data)
    assert shown.exit_code == 0, shown.output
    assert "mAP@0.5" in shown.stdout
    said = json.loads(call("evaluate", run.out, data, "--json").stdout)
    assert said["summary"]["map"] == pytest.approx(run.score, abs=1e-3)

    images = data / "images" / "val"
    places = {name: tmp_path / name for name in ("save", "yolo")}
    options = [part for name, place in places.items() for part in (f"--{name}", place)]
    result = call("predict", run.out, images, *options, "--coco", tmp_path / "c.json", "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 6
    rows = json.loads((tmp_path / "c.json").read_text())
    assert len(rows) == sum(len(line["objects"]) for line in lines)
    assert {row["file_name"] for row in rows} <= {f"{i}.png" for i in range(6)}
    assert sorted(p.name for p in places["save"].iterdir()) == [f"{i}.png" for i in range(6)]
    assert (places["yolo"] / "classes.txt").read_text().split() == NAMES
    first = (places["yolo"] / "0.txt").read_text().splitlines()
    assert len(first) == len(lines[0]["objects"])
    table = call("predict", run.out, images, "--csv").stdout.splitlines()
    assert table[0] == "image,label,score,x1,y1,x2,y2"
    assert len(table) == 1 + len(rows)
    assert "red" in call("predict", run.out, images / "0.png").stdout


def test_a_detector_is_converted_to_where_there_are_detectors(run, data, tmp_path):
    written = call("convert", run.out, "--to", "cvnets", "--out", tmp_path / "ssd.pt")
    assert written.exit_code == 0, written.output
    image = next((data / "images" / "val").iterdir())
    one, other = (
        Predictor(source, threshold=0.01, runtime="torch")
        for source in (run.out, tmp_path / "ssd.pt")
    )
    other.processor = one.processor  # ml-cvnets' files don't hold it
    np.testing.assert_array_equal(one(image).boxes, other(image).boxes)
    for layout, place in (("timm", "ssd.pth"), ("transformers", "folder")):
        refused = call("convert", run.out, "--to", layout, "--out", tmp_path / place)
        assert refused.exit_code == 1
        assert f"{layout} has no such model. Convert it to cvnets." in refused.stderr


def test_commands_refuse_what_a_detector_does_not_give(run, data, tmp_path):
    image = data / "images" / "val" / "0.png"
    for option in ("--masks", "--flip"):
        extra = [tmp_path / "x"] if option == "--masks" else []
        refused = call("predict", run.out, image, option, *extra)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("error: ")
    assert call("predict", run.out, image, "--threshold", "1.5").exit_code == 2
