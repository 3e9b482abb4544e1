"""Settings of a training run: their files, their checks, and the learning rate they ask for."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from mobilevitv2.errors import ConfigError
from mobilevitv2.training import Recipe, networks
from mobilevitv2.training.schedule import learning_rate, make_optimizer


@pytest.mark.parametrize("name", Recipe.shipped())
def test_every_shipped_recipe_loads_and_says_how_it_was_run(name):
    Recipe.load(name)
    header = (Path(networks.__file__).parent / "recipes" / f"{name}.yaml").read_text()
    for word in ("# command ", "# hardware ", "# time ", "# result "):
        assert word in header


def test_digits_are_not_mirrored():
    assert Recipe.load("digits").hflip == 0
    assert Recipe.load("default").hflip > 0


def test_a_recipe_survives_its_file(tmp_path):
    recipe = Recipe.load("default", lr=0.5, freeze=2, crop_scale=[0.5, 1])
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert Recipe.load(tmp_path / "r.yaml") == recipe
    assert recipe.crop_scale == (0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "epoch: 3",
            r"no setting 'epoch'. Did you mean epochs\? The settings are: epochs, batch_size",
        ),
        ("epochs: many", "epochs must be a whole number, not 'many'"),
        ("epochs: 2.5", "epochs must be a whole number, not 2.5"),
        ("epochs: 0", "epochs must be a whole number of at least 1, not 0"),
        ("hflip: true", "hflip must be a number, not True"),
        ("channels_last: 1", "channels_last must be true or false, not 1"),
        ("crop_scale: 0.5", "crop_scale must be two numbers, .* not 0.5"),
        ("crop_scale: [1, 0.5]", "the first can't be larger"),
        ("precision: int8", "precision must be one of auto, fp32, bf16, fp16, not 'int8'"),
        ("min_lr: 1.0", "min_lr is 1.0, larger than lr"),
        ("lr: .nan", "lr must be a number .*, not nan"),
        ("lr:", "lr must be a number, not None"),
        ("a: [", "is not valid YAML"),
        ("- 1", "has no settings"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_why(tmp_path, text, sentence):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        Recipe.load(tmp_path / "r.yaml")


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path):
    (tmp_path / "r.yaml").write_text("lr: 2e-3")
    assert Recipe.load(tmp_path / "r.yaml").lr == 0.002


def test_an_unknown_recipe_names_those_that_there_are():
    with pytest.raises(ConfigError, match="default, detection, digits"):
        Recipe.load("digit")


@pytest.mark.parametrize("warmup", [0, 5, 0.25])
def test_the_learning_rate_is_that_of_torch_schedulers(warmup):
    steps, warm = 20, 5 if warmup else 0
    recipe = Recipe(lr=0.1, min_lr=0.01, warmup=warmup)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    cosine = CosineAnnealingLR(optimizer, T_max=steps, eta_min=0.01)
    warm_optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    linear = LinearLR(warm_optimizer, start_factor=1 / max(warm, 1), total_iters=max(warm - 1, 0))
    for step in range(steps):
        theirs = (linear if step + 1 < warm else cosine).get_last_lr()[0]
        assert learning_rate(recipe, step, steps) == pytest.approx(theirs)
        optimizer.step()
        warm_optimizer.step()
        cosine.step()
        linear.step()


TASKS = ("classification", "multi-label classification", "segmentation", "detection")
WHOLE = "classification, multi-label classification"
OWN = {  # a value that says something, and the tasks to which it does
    "segmentation_head": ("pspnet", "segmentation"),
    "head_channels": (64, "segmentation"),
    "output_stride": (8, "segmentation"),
    "auxiliary_loss": (0.1, "segmentation"),
    "class_balance": (0.5, "segmentation"),
    "resize_range": ((0.5, 1.5), "segmentation"),
    "class_share": (0.5, "segmentation"),
    "blur": (0.5, "segmentation"),
    "box_crop": (0.5, "detection"),
    "photometric": (0.5, "segmentation, detection"),
    "rotate": (10, f"{WHOLE}, segmentation"),
    "label_smoothing": (0.1, f"{WHOLE}, segmentation"),
    "crop_scale": ((0.2, 1), WHOLE),
    "crop_ratio": ((0.5, 2), WHOLE),
    "shift": (0.1, WHOLE),
    "zoom": (0.1, WHOLE),
    "randaugment_ops": (2, WHOLE),
    "randaugment_magnitude": (3, WHOLE),
    "random_erasing": (0.1, WHOLE),
    "mixup": (0.2, WHOLE),
    "cutmix": (1.0, WHOLE),
    "mix_prob": (0.5, WHOLE),
}


@pytest.mark.parametrize("name", OWN)
def test_a_setting_that_means_nothing_to_a_task_is_refused_and_its_own_tasks_are_named(name):
    value, tasks = OWN[name]
    recipe = Recipe().with_(**{name: value})
    for task in TASKS:
        if task in tasks:
            recipe.check_for(task, [name])
        else:
            with pytest.raises(
                ConfigError, match=f"{name} is .* setting for {tasks}, and .* {task}"
            ):
                recipe.check_for(task)


def test_a_head_asked_for_is_refused_even_as_it_usually_is_but_what_is_off_is_not():
    with pytest.raises(ConfigError, match=r"output_stride is 16, but .* segmentation"):
        Recipe(output_stride=16).check_for("classification", ["output_stride"])
    Recipe(blur=0).check_for("classification", ["blur"])
    for name, task in zip(
        ("default", "multi_label", "segmentation", "detection"), TASKS, strict=True
    ):
        Recipe.load(name).check_for(task)


@pytest.mark.parametrize(
    ("name", "value", "enough"),
    [
        ("momentum", 0.5, {"optimizer": "sgd"}),
        ("min_lr", 1e-4, {"schedule": "cosine"}),
        ("warmup_lr", 1e-4, {"warmup": 2}),
        ("class_share", 0.5, {"resize_range": [0.5, 1.5]}),
        ("randaugment_magnitude", 3, {"randaugment_ops": 1}),
        ("mix_prob", 0.5, {"cutmix": 1.0}),
    ],
)
def test_a_setting_without_effect_says_what_would_give_it_one(tmp_path, name, value, enough):
    plain = Recipe(schedule="constant", warmup=0)
    with pytest.raises(ConfigError, match=f"{name} is .*no effect without .*{next(iter(enough))}"):
        Recipe.load(plain, **{name: value})
    recipe = Recipe.load(plain, **{name: value}, **enough)
    off = {key: getattr(plain, key) for key in enough}
    (tmp_path / "r.yaml").write_text(recipe.with_(**off).to_yaml())
    Recipe.load(tmp_path / "r.yaml")  # a run's own recipe holds what is off as well
    Recipe.load(recipe, **off)  # what a recipe has beside the one that is turned off
    (tmp_path / "part.yaml").write_text(f"{name}: {value}\nschedule: constant\nwarmup: 0\n")
    with pytest.raises(ConfigError, match="no effect without"):
        Recipe.load(tmp_path / "part.yaml")


def test_a_network_without_a_backbone_of_ours_has_no_rate_for_it():
    with pytest.raises(ConfigError, match=r"backbone_lr is 0\.1, but a Linear has no backbone"):
        make_optimizer(nn.Linear(2, 2), Recipe(backbone_lr=0.1))
