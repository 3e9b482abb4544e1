"""Training: recipes, what a step and an epoch amount to, and what a run leaves behind."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from stopping import weights_in
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import MobileViTV2ForImageClassification as TheirClassifier

from mobilevitv2.data import ClassificationData, open_classification
from mobilevitv2.data.classes.opening import ImageSet
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.training import Recipe, TrainingResult, fit, networks, train
from mobilevitv2.training.augment import Augment, Mix
from mobilevitv2.training.classification import Goal
from mobilevitv2.training.folder import place_of
from mobilevitv2.training.loaders import order_of, train_loader

PLAIN = Recipe(image_size=32)
QUICK: dict[str, Any] = {
    "recipe": PLAIN,
    "width": 0.25,
    "epochs": 1,
    "batch_size": 8,
    "threads": 1,
    "quiet": True,
}


def quick(data: Path, out: Path, **changes: Any) -> TrainingResult:
    return train(data, out=out, **(QUICK | changes))


def fill(folder: Path, classes: dict[str, int], size: int = 40) -> Path:
    """Images of random pixels, brighter from class to class."""
    chance = np.random.default_rng(0)
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = chance.integers(80 * label, 100 + 60 * label, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    fill(folder / "train", {"dark": 9, "light": 8})
    fill(folder / "val", {"dark": 4, "light": 4})
    return folder


def network_for(classes: list[str]) -> Any:
    data = ClassificationData("colors", classes, train=[], val=[])
    return networks.from_scratch(Goal(data), 0.25, PLAIN, 32)


# Images


def test_augmentation_depends_on_seed_epoch_and_index_alone(photos):
    data = open_classification(photos)
    recipe = Recipe.load("default", image_size=32)

    def batches(seed: int, epoch: int, workers: int) -> list[torch.Tensor]:
        images = ImageSet(data.train, Augment(recipe.with_(seed=seed), 32))
        loader = train_loader(images, batch_size=4, seed=seed, num_workers=workers)
        order_of(loader).set_epoch(epoch)
        torch.manual_seed(workers)  # which nothing may hear
        return [pixels for pixels, _, _ in loader]

    here = batches(seed=1, epoch=3, workers=0)
    elsewhere = batches(seed=1, epoch=3, workers=2)
    assert len(here) == 4  # of 17 images: the single one that is left over is dropped
    assert all(torch.equal(a, b) for a, b in zip(here, elsewhere, strict=True))
    for other in (batches(seed=2, epoch=3, workers=0), batches(seed=1, epoch=4, workers=0)):
        assert not any(torch.equal(a, b) for a, b in zip(here, other, strict=True))


@pytest.mark.parametrize("bgr", [False, True])
def test_a_plain_training_image_is_what_the_processor_makes_of_it(photos, bgr):
    data = open_classification(photos)
    processor = MobileViTImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        do_flip_channel_order=bgr,
    )
    images = Goal(data).image_sets(PLAIN, processor)
    network = nn.Identity()
    task = Goal(data).module(network, PLAIN, steps=1, bgr=bgr)
    other = Goal(data).module(network, PLAIN, steps=1, bgr=not bgr)
    pixels = images["train"][0][0].unsqueeze(0)
    theirs = torch.from_numpy(processor(data.train[0][0]).pixel_values[0]).unsqueeze(0)
    torch.testing.assert_close(task.to_images(pixels), theirs, rtol=0, atol=1e-7)
    assert (other.to_images(pixels) - theirs).abs().max() > 0.01


def test_a_batch_is_mixed_with_itself_and_so_are_its_labels():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    targets = torch.arange(4)
    for recipe in (Recipe(mixup=1.0), Recipe(cutmix=1.0)):
        mixed, labels = Mix(recipe, 4)(images, targets)
        # pixels were the class numbers, so their mean is the mean class
        torch.testing.assert_close(mixed.mean((1, 2, 3)), (labels * torch.arange(4.0)).sum(1))
        torch.testing.assert_close(labels.sum(1), torch.ones(4))
        assert (labels.max(1).values < 1).any()
    never = Mix(Recipe(mixup=1.0, mix_prob=0.0), 4)
    assert never(images, targets)[1] is targets


@pytest.mark.parametrize(("short_side", "chosen"), [(8, 32), (128, 128), (140, 128), (3000, 256)])
def test_the_image_size_follows_the_median_image(photos, short_side, chosen):
    data = open_classification(photos)
    data.short_side = short_side
    assert Goal(data).image_size(Recipe()) == chosen
    assert Goal(data).image_size(Recipe(image_size=64)) == 64


# Steps


class Watch(Callback):
    """Keeps torch's own moving average beside ours."""

    def on_train_start(self, trainer, pl_module: Any):
        self.theirs = AveragedModel(
            pl_module.network, multi_avg_fn=get_ema_multi_avg_fn(0.05), use_buffers=True
        )
        self.theirs.n_averaged += 1  # else its first update copies

    def on_train_batch_end(self, trainer, pl_module: Any, outputs, batch, batch_idx):
        self.theirs.update_parameters(pl_module.network)


def test_the_moving_average_is_that_of_torch_buffers_included(photos, tmp_path, monkeypatch):
    from mobilevitv2.training import assembly

    watch, plain = Watch(), assembly.make_trainer
    monkeypatch.setattr(
        assembly,
        "make_trainer",
        lambda recipe, out, callbacks, **kw: plain(recipe, out, [*callbacks, watch], **kw),
    )
    result = quick(photos, tmp_path / "run", ema_decay=0.05, epochs=2)
    ours = MobileViTV2ForImageClassification.from_pretrained(result.out / "last").state_dict()
    for name, theirs in watch.theirs.module.state_dict().items():
        if theirs.is_floating_point():  # theirs also averages counters, and rounds
            torch.testing.assert_close(ours[name], theirs, rtol=0, atol=1e-6)


def test_frozen_stages_stay_as_they_were_running_means_included(photos, tmp_path):
    start = network_for(["dark", "light"])
    start.save_pretrained(tmp_path / "start")
    result = quick(photos, tmp_path / "run", model=tmp_path / "start", freeze=5)
    after = MobileViTV2ForImageClassification.from_pretrained(result.out / "last").state_dict()
    changed = {k for k, v in start.state_dict().items() if not torch.equal(v, after[k])}
    assert changed == {"classifier.weight", "classifier.bias"}


# Runs


def test_a_run_leaves_a_bundle_that_transformers_opens_and_that_scores_as_said(photos, tmp_path):
    result = quick(photos, tmp_path / "run", image_size=64, epochs=2)
    theirs = TheirClassifier.from_pretrained(result.best).eval()
    assert theirs.config.id2label == {0: "dark", 1: "light"}
    processor = MobileViTImageProcessor.from_pretrained(result.best)
    assert processor.channel_order == "rgb"
    data = open_classification(photos)
    images = processor([path for path, _ in data.val], return_tensors="pt").pixel_values
    with torch.no_grad():
        right = theirs(images).logits.argmax(1) == torch.tensor([label for _, label in data.val])
    assert result.score == pytest.approx(right.float().mean().item())
    rows = list(csv.DictReader((result.out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert max(float(row["val_accuracy"]) for row in rows) == pytest.approx(result.score)
    assert result.report.is_file()
    assert any((result.out / "tensorboard").glob("events*"))
    assert Recipe.load(result.out / "recipe.yaml").image_size == 64
    listing = json.loads((result.out / "data.json").read_text())
    assert listing["splits"]["val"][0] == ["val/dark/0.png", 0]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(photos, tmp_path):
    runs = {"first": 1, "again": 1, "other": 2}
    for name, seed in runs.items():
        quick(photos, tmp_path / name, seed=seed, recipe="default", image_size=32)
    first, again, other = (weights_in(tmp_path / n / "last") for n in runs)
    assert first == again
    assert first != other


def test_fine_tuning_keeps_the_checkpoint_processor_except_for_its_size(photos, tmp_path):
    start = network_for(["a", "b", "c"])
    start.save_pretrained(tmp_path / "start")
    settings = {"do_flip_channel_order": True, "resample": 2, "rescale_factor": 1 / 128}
    MobileViTImageProcessor(**settings).save_pretrained(tmp_path / "start")
    result = quick(photos, tmp_path / "run", model=tmp_path / "start", lr=0.0)
    processor = MobileViTImageProcessor.from_pretrained(result.best)
    assert {name: getattr(processor, name) for name in settings} == settings
    assert processor.crop_size == {"height": 32, "width": 32}
    tuned = MobileViTV2ForImageClassification.from_pretrained(result.best)
    assert tuned.config.id2label == {0: "dark", 1: "light"}
    torch.testing.assert_close(
        tuned.state_dict()["mobilevitv2.conv_stem.convolution.weight"],
        start.state_dict()["mobilevitv2.conv_stem.convolution.weight"],
    )


def test_nothing_is_overwritten_unasked_and_no_foreign_folder_ever(photos, tmp_path):
    out = tmp_path / "mine"
    (out / "letters").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="exists already"):
        quick(photos, out)
    with pytest.raises(FileExistsError, match="isn't a training run"):
        quick(photos, out, overwrite=True)
    result = quick(photos, tmp_path / "run")
    with pytest.raises(DataError):
        quick(tmp_path / "nowhere", tmp_path / "run", overwrite=True)
    assert result.best.is_dir()  # the data was looked at before anything was removed
    (tmp_path / "run" / "best" / "notes.txt").write_text("mine")
    again = quick(photos, tmp_path / "run", overwrite=True)
    assert len(again.history) == 1
    assert (again.best / "notes.txt").read_text() == "mine"
    assert again.report.is_file()
    assert not list(again.out.glob(".mobilevitv2.train.new"))


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> Path:
    return quick(photos, tmp_path_factory.mktemp("finished") / "run").out


@pytest.fixture
def old_run(finished, tmp_path) -> Path:
    """A copy, so that times and places are others, but not what is in the files."""
    return shutil.copytree(finished, tmp_path / "run")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"lr": float("inf")}, ConfigError, "lr must be a number .*, not inf"),
        ({"epochs": 10**400}, ConfigError, "epochs must be .*, not 1000"),
        ({"precision": "fp16"}, ConfigError, "needs a GPU"),
        ({"freeze": 9}, ConfigError, "freeze"),
        ({"width": -1.0}, ConfigError, "width"),
        ({"model": "{run}/best", "width": 0.5}, FileExistsError, "is an input, so it is not"),
        ({"model": "{run}/last/model.safetensors"}, FileExistsError, "is an input, so it is not"),
        ({"recipe": "{run}/recipe.yaml"}, FileExistsError, "is an input, so it is not"),
    ],
)
def test_what_can_not_be_trained_is_refused_before_the_old_run_is_touched(
    photos, old_run, changes, error, said
):
    before = content(old_run)
    named = {
        name: value.format(run=old_run) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    with pytest.raises(error, match=said):
        quick(photos, old_run, overwrite=True, **named)
    assert content(old_run) == before


def test_data_or_files_of_others_in_the_folder_of_a_run_are_not_overwritten(photos, old_run):
    shutil.copytree(photos, old_run / "report" / "data")
    before = content(old_run / "report" / "data")
    quick(old_run / "report" / "data", old_run, overwrite=True)
    assert content(old_run / "report" / "data") == before
    (old_run / "recipe.yaml").write_text("epochs: 1\n")
    before = content(old_run)
    with pytest.raises(FileExistsError, match=r"recipe.yaml was not made by this command, or has"):
        quick(photos, old_run, overwrite=True)
    assert content(old_run) == before


def test_a_run_without_a_record_is_told_by_its_recipe_and_data(photos, old_run):
    (old_run / ".mobilevitv2.train.json").unlink()  # as versions left it that wrote none
    (old_run / "notes.txt").write_text("mine")
    result = quick(photos, old_run, overwrite=True, seed=5)
    assert "seed: 5" in (result.out / "recipe.yaml").read_text()
    assert len(list(result.out.glob("tensorboard/events*"))) == 1
    assert (result.out / "notes.txt").read_text() == "mine"


def test_a_run_that_fails_leaves_the_old_one_to_be_used_and_itself_to_be_resumed(
    photos, old_run, monkeypatch
):
    before = content(old_run)
    with monkeypatch.context() as broken:
        broken.setattr(Goal, "measure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quick(photos, old_run, overwrite=True, seed=5)
    assert before.items() <= content(old_run).items()
    for path in [path for path in old_run.iterdir() if not path.name.startswith(".")]:
        path.rename(old_run.parent / path.name)  # the old run is moved away by hand
    with pytest.raises(FileExistsError, match="resume continues its run"):
        quick(photos, old_run, seed=6)
    result = train(photos, out=old_run, resume=True, quiet=True)
    assert "seed: 5" in (result.out / "recipe.yaml").read_text()
    assert not (result.out / ".mobilevitv2.train.new").exists()


def test_a_folder_takes_one_training_at_a_time(photos, old_run):
    before = content(old_run)
    with place_of(old_run).claimed():
        for resume in (True, False):
            with pytest.raises(FileExistsError, match="another process is writing to"):
                train(photos, out=f"{old_run}/", resume=resume, overwrite=not resume)
    assert content(old_run) == before


def test_resuming_removes_what_a_killed_run_left_half_written_and_nothing_else(photos, old_run):
    debris = ["best/.model.safetensors.0123abcd.tmp", "checkpoints/.last.ckpt.tmp"]
    others = [".notes.tmp", "best/.mine.0123abcd.tmp"]
    for name in debris + others:
        (old_run / name).touch()
    train(photos, out=old_run, resume=True, quiet=True)
    assert not any((old_run / name).exists() for name in debris)
    assert all((old_run / name).exists() for name in others)


def test_images_that_break_during_training_are_left_out_and_named(tmp_path):
    folder = tmp_path / "photos"
    fill(folder / "train", {"dark": 5, "light": 5})
    fill(folder / "val", {"dark": 3, "light": 3})
    for name in ("train/dark/2", "val/light/1"):
        Image.open(folder / f"{name}.png").resize((400, 400)).save(folder / f"{name}.jpg")
        (folder / f"{name}.png").unlink()
        content = (folder / f"{name}.jpg").read_bytes()
        (folder / f"{name}.jpg").write_bytes(content[: len(content) // 2])
    assert not open_classification(folder).unreadable  # their headers are whole
    result = quick(folder, tmp_path / "run")
    broken = json.loads((tmp_path / "run" / "data.json").read_text())["broken"]
    assert broken.keys() == {"train/dark/2.jpg", "val/light/1.jpg"}
    assert "damaged or cut short" in broken["train/dark/2.jpg"]
    assert result.score * 5 == pytest.approx(round(result.score * 5))  # of 5, not of 6


def test_a_run_without_progress_stops_early_and_resuming_it_trains_no_more(photos, tmp_path):
    out = tmp_path / "run"
    result = quick(photos, out, epochs=9, lr=0.0, early_stopping=2)
    assert 2 < len(result.history) < 9
    weights = (out / "last" / "model.safetensors").read_bytes()
    again = train(photos, out=out, resume=True, quiet=True)
    assert again.history == result.history
    assert again.score == result.score
    assert (out / "last" / "model.safetensors").read_bytes() == weights


def test_any_network_can_be_trained(photos, tmp_path):
    data = open_classification(photos)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    recipe = PLAIN.with_(epochs=40, lr=0.05, batch_size=8)
    result = fit(network, data, recipe, tmp_path / "run", quiet=True)
    assert result.score == 1  # dark and light are easy to tell apart
    with pytest.raises(ConfigError, match="Sequential has no such stages"):
        fit(network, data, recipe.with_(freeze=1), tmp_path / "frozen", quiet=True)


def test_bf16_trains_on_a_cpu_with_clipped_gradients(photos, tmp_path):
    result = quick(photos, tmp_path / "run", recipe=PLAIN.with_(precision="bf16", clip_norm=1.0))
    assert len(result.history) == 1
    assert 0 < result.history[0]["train_loss"] < 10


def test_a_loss_that_explodes_ends_the_run_with_advice(photos, tmp_path):
    with pytest.raises(ConfigError, match="Lower lr"):
        quick(photos, tmp_path / "run", optimizer="sgd", lr=1e30, warmup=0)


def test_importing_training_loads_neither_torch_nor_lightning():
    code = "import mobilevitv2.training, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "torchvision"} & set(done.stdout.split())


def test_a_run_keeps_its_memory_while_it_trains(photos, tmp_path, monkeypatch):
    said: list[str] = []

    @contextmanager
    def noted() -> Iterator[None]:
        said.append("kept")
        yield
        said.append("given back")

    monkeypatch.setattr("mobilevitv2.training.memory.kept_memory", noted)
    quick(photos, tmp_path / "run")
    assert said == ["kept", "given back"]


@pytest.mark.slow
def test_digits_are_learned_and_the_readmes_example_prints_what_it_says(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert (train("digits", out="runs/digits", quiet=True).test_score or 0) >= 0.98
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = re.search(r"```python\n(.*?# (\d) \d+\.\d %\n)```", readme, re.DOTALL)
    assert example is not None
    capsys.readouterr()
    exec(example[1], {})
    assert re.fullmatch(rf"{example[2]} \d+\.\d %\n", capsys.readouterr().out)
