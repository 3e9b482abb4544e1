"""`train`: one call from a data set to a bundle; `fit`: the same for any ready network."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevitv2.data import ClassificationData, open_classification
from mobilevitv2.data.images import ImageSet
from mobilevitv2.errors import require
from mobilevitv2.training import folder
from mobilevitv2.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from mobilevitv2.processor import MobileViTImageProcessor

NAMED = 5  # broken images that are named at the end; all are in data.json


class TrainingInterrupted(KeyboardInterrupt):
    """A signal stopped the run after its state was saved; `exit_code` is the shell's for it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class TrainingResult:
    """What a run came to, and where it lies."""

    out: Path
    best: Path
    """The bundle of the best epoch."""
    accuracy: float
    """Of the best bundle on the validation split, in [0, 1]."""
    test_accuracy: float | None
    """The same on images held out from training and from the choice of the epoch."""
    best_epoch: int
    seconds: float
    """In training and validation, over all parts of a resumed run."""
    report: Path
    history: list[dict[str, float]] = field(repr=False)
    """A row for each epoch, as in metrics.csv."""

    def __str__(self) -> str:
        held_out = "" if self.test_accuracy is None else f", {self.test_accuracy:.2%} held out"
        return (
            f"{self.accuracy:.2%} of the validation images are right (epoch {self.best_epoch} of "
            f"{len(self.history)}){held_out}, after {self.seconds:.0f} s. The model: {self.best}"
        )


def train(
    data: str | Path | ClassificationData,
    *,
    out: str | Path,
    model: Any = None,
    width: float = 0.5,
    recipe: str | Path | Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
    **overrides: Any,
) -> TrainingResult:
    """Train a classifier on a folder of images, or on `digits`, into the folder `out`.

    `model` is anything `from_pretrained` takes, to be fine-tuned; None trains from scratch at
    `width`. `recipe` is a file or a shipped name; unset it is "digits" for the digits and else
    "default"; `overrides` replace single settings of it. `resume` continues a stopped run exactly,
    with the recipe in `out`. `quiet` says nothing on stderr.

    Raises FileExistsError where `out` holds something and neither `overwrite` nor `resume` is said;
    DataError, ConfigError or CheckpointError for what can't be used; TrainingInterrupted when
    SIGINT or SIGTERM ended it.
    """
    out = Path(out).expanduser()
    if resume:
        settings = folder.stored_recipe(out, overrides)
    else:
        named = recipe or ("digits" if data == "digits" else "default")
        settings = Recipe.load(named, **overrides)
        folder.check_room(out, overwrite=overwrite)
    if not isinstance(data, ClassificationData):
        data = open_classification(data, seed=settings.seed)
    require("lightning", extra="train")
    from mobilevitv2.training import networks

    said = data.report()
    if resume:
        network, processor = networks.of_run(out / folder.LAST)
    else:
        size = networks.choose_image_size(settings, data)
        if model is None:
            network = networks.from_scratch(width, settings, size, data.classes)
            processor = networks.fresh_processor(size)
            said += f"\nA new network of width {width}, at {size} px."
        else:
            network, head = networks.from_checkpoint(model, settings, size, data.classes)
            processor = networks.processor_of(model, network, size)
            named = model if isinstance(model, str | Path) else "The given model"
            said += f"\n{named}, at {size} px, with {head}."
        folder.make_room(out)
    return fit(
        network,
        data,
        settings,
        out,
        processor=processor,
        resume=resume,
        quiet=quiet,
        introduction=said,
    )


def fit(
    network: "nn.Module",
    data: ClassificationData,
    recipe: Recipe,
    out: str | Path,
    *,
    processor: "MobileViTImageProcessor | None" = None,
    resume: bool = False,
    quiet: bool = False,
    introduction: str = "",
) -> TrainingResult:
    """Train a ready network whose output is logits [B, classes], or has them, as `train` does.

    What lies in `out` is written over. Without a `processor`, images are prepared as for a network
    from scratch. Of a network of another kind the bundles hold no config.json.
    """
    require("lightning", extra="train")
    import torch

    from mobilevitv2.training import assembly, checkpoints, conclusion, networks
    from mobilevitv2.training.keeper import Keeper, StopRequest
    from mobilevitv2.training.loaders import order_of
    from mobilevitv2.training.module import ClassifierTraining
    from mobilevitv2.training.narrator import Narrator

    out = Path(out)
    if processor is None:
        processor = networks.fresh_processor(networks.choose_image_size(recipe, data))
    networks.freeze(network, recipe.freeze)
    narrator = Narrator(quiet=quiet)
    if introduction:
        narrator.say(introduction)
    save = partial(networks.save_bundle, network, processor, data.classes)
    keeper = Keeper(out, save, narrator.epoch)
    images = assembly.image_sets(data, recipe, processor)
    loaders = assembly.make_loaders(images, recipe)
    task = ClassifierTraining(
        network,
        recipe,
        classes=len(data.classes),
        steps=-(-len(loaders["train"]) // recipe.accumulate) * recipe.epochs,
        pixel_scale=processor.rescale_factor if processor.do_rescale else 1 / 255,
        bgr=processor.do_flip_channel_order,
    )
    checkpoint = None
    assembly.precision(recipe)  # raises what it has to before anything is written
    if not resume:
        folder.write_settings(out, recipe, data)
    else:
        folder.check_same_data(out, data)
        checkpoint, state = checkpoints.newest_checkpoint(out)
        task.on_load_checkpoint(state)
        keeper.load_state_dict(state["callbacks"][keeper.state_key])
        epoch, batches = keeper.position
        order_of(loaders["train"]).continue_at(epoch, batches, recipe.batch_size)
        narrator.say(f"Resuming after {epoch} epochs and {batches} batches.")
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or threads)
    try:
        if not keeper.stopped_early and keeper.position[0] < recipe.epochs:
            step = int(task.history[-1]["step"]) if task.history else 0
            with assembly.without_chatter(), keeper.listening():
                trainer = assembly.make_trainer(recipe, out, [narrator, keeper], first_step=step)
                trainer.fit(task, loaders["train"], loaders["val"], ckpt_path=checkpoint)
        averaged = task.averaged.to(assembly.accelerator())  # Lightning has taken it off
        predictions = conclusion.evaluate_best(averaged, out, loaders)
    except (StopRequest, SystemExit):  # the latter is what Lightning makes of a second signal
        number = signal.Signals(keeper.signal or signal.SIGINT)
        raise TrainingInterrupted(
            f"Stopped by {number.name}, and saved in {out}. To go on, train again with the same "
            "data and resume.",
            exit_code=128 + number,
        ) from None
    finally:
        torch.set_num_threads(threads)
    _name_broken(out, data, task.broken, images, narrator.say)
    seconds = sum(row["seconds"] for row in task.history)
    speed = max(row["images_per_second"] for row in task.history)
    timing = {"seconds": seconds, "images per second": speed, "threads": recipe.threads or threads}
    scores = {
        name: conclusion.accuracy_of(logits, targets)
        for name, (logits, targets, _) in predictions.items()
    }
    return TrainingResult(
        out=out,
        best=out / folder.BEST,
        accuracy=scores["val"],
        test_accuracy=scores.get("test"),
        best_epoch=keeper.best_epoch,
        seconds=seconds,
        report=conclusion.report_of(out, data, recipe, task.history, predictions, scores, timing),
        history=task.history,
    )


def _name_broken(
    out: Path,
    data: ClassificationData,
    broken: dict[str, set[int]],
    images: dict[str, ImageSet],
    say: Callable[[str], None],
) -> None:
    """Say which images could not be decoded, and list them with the data."""
    reasons = {}
    for split, found in broken.items():
        for index in sorted(found):
            images[split].image(index)  # in this process, for the reason
            reason = images[split].reasons.get(index, "could not be decoded at one time")
            reasons[folder.name_of(data, split, index)] = reason
    if not reasons:
        return
    folder.note_broken(out, reasons)
    named = list(reasons.values())
    more = f" And {len(named) - NAMED} more: see data.json." if len(named) > NAMED else ""
    count = f"{len(named)} images could not be decoded and were left out."
    say(f"{count} {' '.join(named[:NAMED])}{more}")
