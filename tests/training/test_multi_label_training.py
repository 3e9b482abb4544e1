"""From images and a table of labels to a bundle: what is learned, kept, reported and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from once import once
from page import Page
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score
from stopping import assert_stopping_changes_nothing
from transformers import MobileViTV2Config as TheirConfig
from transformers import MobileViTV2ForImageClassification as TheirClassifier
from typer.testing import CliRunner

from mobilevitv2 import (
    Classification,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MultiLabel,
    Predictor,
    evaluate,
)
from mobilevitv2.cli import app
from mobilevitv2.data import MultiLabelData, open_multi_label
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.scores.multi_label import best_thresholds
from mobilevitv2.training import Recipe, TrainingResult, train
from mobilevitv2.training.classification import ClassifierTraining
from mobilevitv2.training.loaders import collate
from mobilevitv2.training.multi_label import Goal

NAMES = ["a-red", "b-green", "c-blue"]
SIZE = 32
QUICK: dict[str, Any] = {
    "recipe": Recipe(image_size=SIZE),
    "width": 0.25,
    "epochs": 8,
    "lr": 0.005,
    "batch_size": 8,
    "ema_decay": 0.8,
    "threads": 1,
    "quiet": True,
}


def save_noise(folder: Path, train_count: int = 48, val_count: int = 24) -> Path:
    """Noise with more of the colors that the table lists, none to three of them."""
    chance = np.random.default_rng(0)
    lines = ["file,split,labels"]
    folder.mkdir(parents=True)
    for i in range(train_count + val_count):
        shown = chance.random(3) < (0.4, 0.5, 0.2)
        pixels = chance.integers(0, 130, (SIZE, SIZE, 3), np.uint8)
        pixels[:, :, shown] += 90
        Image.fromarray(pixels).save(folder / f"{i}.png")
        split = "train" if i < train_count else "val"
        lines.append(f"{i}.png,{split},{' '.join(np.array(NAMES)[shown])}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@once
def trained(folder: Path) -> tuple[Path, TrainingResult]:
    """A folder of images and a run that knows their colors; made once."""
    data = save_noise(folder / "data")
    return data, train(data, out=folder / "run", classes=NAMES, **QUICK)


@pytest.fixture(scope="module")
def data() -> Path:
    return trained()[0]


@pytest.fixture(scope="module")
def run() -> TrainingResult:
    return trained()[1]


def found_in(run: TrainingResult, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of the validation images, in the order of `NAMES`."""
    opened = open_multi_label(data, classes=NAMES)
    results = Predictor(run.out)([path for path, _ in opened.val])
    assert all(isinstance(result, MultiLabel) for result in results)
    return (
        np.array([result.all_scores for result in results]),
        np.array([labels for _, labels in opened.val]),
    )


def test_it_learns_what_there_is(run, data):
    assert (run.task, run.metric) == ("multi-label classification", "map")
    found = evaluate(run.out, data)
    assert (found.split, found.count) == ("val", 24)
    assert found.map == pytest.approx(run.score, abs=1e-4)
    assert found.map > 0.8  # an untrained one has about 0.45


def test_what_evaluate_says_is_what_scikit_learn_says(run, data):
    scores, truth = found_in(run, data)
    result = evaluate(run.out, data)
    thresholds = [score.threshold for score in result.classes]
    labels = scores > thresholds
    assert [score.support for score in result.classes] == truth.sum(0).tolist()
    sklearn_ap: Any = average_precision_score
    ap = sklearn_ap(truth, scores, average=None)
    np.testing.assert_allclose([s.average_precision for s in result.classes], ap, atol=1e-9)
    assert result.map == pytest.approx(np.mean(ap))
    for average, value in (("macro", result.macro_f1), ("micro", result.micro_f1)):
        assert value == pytest.approx(f1_score(truth, labels, average=average))
    at_half = evaluate(run.out, data, threshold=0.5)
    assert at_half.macro_f1 == pytest.approx(f1_score(truth, scores > 0.5, average="macro"))
    assert result.macro_f1 >= at_half.macro_f1
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_bundle_has_the_thresholds_with_the_best_f1_on_validation_images(run, data):
    config = MobileViTV2Config.from_pretrained(run.best)
    assert config.problem_type == "multi_label_classification"
    assert config.label_thresholds == pytest.approx(best_thresholds(*found_in(run, data)), abs=1e-4)
    assert config.label_thresholds != [0.5] * 3
    stored = MobileViTV2ForImageClassification.from_pretrained(run.best / "model.safetensors")
    assert stored.config.label_thresholds == config.label_thresholds  # the weights alone know, too


def test_the_loss_is_that_of_transformers(data):
    torch.manual_seed(0)
    sizes = {"width_multiplier": 0.25, "image_size": SIZE, "num_labels": 3}
    theirs: Any = TheirClassifier(
        TheirConfig(**sizes, problem_type="multi_label_classification")
    ).eval()
    goal = Goal(open_multi_label(data, classes=NAMES))
    module: Any = goal.module(theirs, Recipe(image_size=SIZE), steps=1)
    images, labels = torch.rand(4, 3, 64, 64), torch.rand(4, 3) > 0.5
    torch.nn.init.normal_(theirs.classifier.weight)
    expected = theirs(images, labels=labels.float()).loss
    torch.testing.assert_close(module.loss_of(images, labels), expected)
    one_of_them = ClassifierTraining.loss(module, theirs(images).logits, labels.float())
    assert not torch.isclose(one_of_them, expected)  # the mutant


def test_smoothed_and_mixed_labels_are_shares(data):
    goal = Goal(open_multi_label(data, classes=NAMES))
    recipe = Recipe(image_size=SIZE, mixup=1.0)
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    module: Any = goal.module(torch.nn.Identity(), recipe, steps=1)
    smooth = module.loss(logits, torch.tensor([[1.0, 0.0, 1.0]]), 0.2)
    p = torch.tensor([[0.9, 0.1, 0.9]])
    expected = -(p * logits.sigmoid().log() + (1 - p) * (-logits).sigmoid().log()).mean()
    torch.testing.assert_close(smooth, expected)
    both = torch.tensor([[True, False, False], [True, True, False]])
    torch.manual_seed(1)
    _, labels = module.mix(torch.rand(2, 3, 8, 8), both.float())
    assert labels[:, 0].tolist() == [1, 1]
    assert 0 < labels[0, 1] < 1


def test_a_batch_has_a_row_of_labels_for_each_image_and_broken_ones_do_not_count(data, tmp_path):
    opened = open_multi_label(save_noise(tmp_path / "data", 4, 4), classes=NAMES)
    broken = opened.val[1][0]
    broken.write_bytes(broken.read_bytes()[:-40])
    goal = Goal(opened)
    size = goal.sized(trained_processor(), SIZE)
    images = goal.image_sets(Recipe(image_size=SIZE), size)
    pixels, labels, lost = collate([images["val"][i] for i in range(4)])
    assert (pixels.shape, labels.dtype) == ((4, 3, SIZE, SIZE), torch.bool)
    assert lost.tolist() == [-1, 1, -1, -1]
    loader: Any = [(pixels, labels, lost)]
    scores, results = goal.measure(PlainHead(), loader)
    assert list(results) == [0, 2, 3]
    assert scores.truth.tolist() == [opened.val[i][1].tolist() for i in (0, 2, 3)]


def trained_processor() -> Any:
    from mobilevitv2 import MobileViTImageProcessor

    return MobileViTImageProcessor(do_flip_channel_order=False)


class PlainHead(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.scale * pixels.mean((2, 3))


def test_the_report_and_the_history_tell_of_it(run):
    texts = " ".join(Page(run.report.read_text()).texts)
    assert f"{100 * run.score:.1f}" in texts
    assert all(name in texts for name in (*NAMES, "threshold", "macro F1", "The worst mistakes"))
    assert "val_map" in (run.out / "metrics.csv").read_text().splitlines()[0]
    assert (run.out / "report" / "precision_recall.png").is_file()


def test_the_commands_evaluate_predict_and_inspect(run, data, tmp_path):
    def said(*words: Any) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    table = said("evaluate", run.out, data, "--report", tmp_path / "page")
    assert f"mAP {100 * run.score:.1f} %" in table
    assert all(name in table for name in (*NAMES, "threshold", "macro F1"))
    assert (tmp_path / "page" / "report.html").is_file()
    found = json.loads(said("evaluate", run.out, data, "--json", "--threshold", 0.5))
    assert [score["threshold"] for score in found["classes"]] == [0.5] * 3
    header, row = said("predict", run.out, data / "50.png", "--csv").splitlines()
    assert header == "image,labels,a-red,b-green,c-blue"
    assert row.split(",")[1] == ";".join(Predictor(run.out)(data / "50.png").labels)
    thresholds = MobileViTV2Config.from_pretrained(run.best).label_thresholds or []
    assert f"a-red above {100 * thresholds[0]:.0f} %" in said("info", run.out)
    assert json.loads(said("info", run.out, "--json"))["thresholds"] == thresholds
    said("inspect", data, "--out", tmp_path / "look")
    assert (tmp_path / "look" / "train.png").is_file()


def head_of(run: TrainingResult) -> torch.Tensor:
    return MobileViTV2ForImageClassification.from_pretrained(run.best).state_dict()[
        "classifier.weight"
    ]


def test_a_classifier_becomes_multi_label_with_a_new_head_and_the_other_way_round(
    run, data, tmp_path
):
    folders = tmp_path / "folders"
    for split in ("train", "val"):
        for number, name in enumerate(NAMES):
            (folders / split / name).mkdir(parents=True)
            for i in range(4):
                color = tuple(200 * (np.arange(3) == number) + i)
                Image.new("RGB", (SIZE, SIZE), color).save(folders / split / name / f"{i}.png")
    options = {k: v for k, v in QUICK.items() if k != "width"} | {"epochs": 1, "lr": 0.0}
    chooser = train(folders, out=tmp_path / "chooser", model=run.best, **options)
    config = MobileViTV2Config.from_pretrained(chooser.best)
    assert (config.problem_type, config.label_thresholds) == (None, None)
    assert isinstance(Predictor(chooser.out)(Image.new("RGB", (32, 32))), Classification)
    back = train(data, out=tmp_path / "back", model=chooser.best, classes=NAMES, seed=1, **options)
    assert isinstance(Predictor(back.out)(Image.new("RGB", (32, 32))), MultiLabel)
    heads = [head_of(result) for result in (run, chooser, back)]
    assert not torch.equal(heads[0], heads[1])  # the same names, but another question
    assert not torch.equal(heads[1], heads[2])
    again = train(data, out=tmp_path / "again", model=run.best, classes=NAMES, **options)
    torch.testing.assert_close(head_of(again), heads[0])


def test_a_stopped_run_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    recipe = {k: v for k, v in QUICK.items() if k not in ("quiet",)} | {"epochs": 2}
    assert_stopping_changes_nothing(data, tmp_path, recipe, monkeypatch)


def test_settings_of_other_tasks_and_splits_without_labels_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="output_stride is 8, but it is a setting for segm"):
        train(data, out=tmp_path / "run", output_stride=8, **QUICK)
    opened = open_multi_label(data, classes=NAMES)
    empty = [(path, np.zeros(3, bool)) for path, _ in opened.val]
    bare = MultiLabelData("patches", NAMES, train=opened.train, val=empty)
    with pytest.raises(DataError, match="no image of the val split of patches has a label"):
        train(bare, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
