"""`train`: one call from a data set to a bundle; `fit`: the same for any ready network."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevitv2.data import Data, TaskName, kind_of, open_data
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.opening import check_given, says_something
from mobilevitv2.errors import NAMED, require
from mobilevitv2.files.replacing import Place
from mobilevitv2.tasks import BY_VERB
from mobilevitv2.training import folder
from mobilevitv2.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from mobilevitv2.processor import MobileViTImageProcessor
    from mobilevitv2.training.goal import Goal


class TrainingInterrupted(KeyboardInterrupt):
    """A signal stopped the run after its state was saved; `exit_code` is for the shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class TrainingResult:
    """A run's result, and where it lies."""

    out: Path
    best: Path  # the bundle of the best epoch
    task: str  # what the model is for, as its config says
    metric: str
    """What `score` is: accuracy, miou (mean intersection over union), or map (mean average
    precision: COCO's for boxes, of the classes for multi-label)."""
    score: float  # the best bundle's on the validation split, in [0, 1]
    test_score: float | None
    """The same on images held out from training and from choosing the epoch."""
    best_epoch: int
    seconds: float  # in training and validation, over all parts of a resumed run
    report: Path
    history: list[dict[str, float]] = field(repr=False)  # a row for each epoch, as in metrics.csv

    def __str__(self) -> str:
        held_out = "" if self.test_score is None else f", {self.test_score:.2%} held out"
        return (
            f"{self.metric} {self.score:.2%} on the validation images (epoch {self.best_epoch} of "
            f"{len(self.history)}){held_out}, after {self.seconds:.0f} s. The model: {self.best}"
        )


def train(
    data: str | Path | Data,
    *,
    out: str | Path,
    model: Any = None,
    width: float = 0.5,
    recipe: str | Path | Recipe | None = None,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
    task: TaskName = "auto",
    classes: GivenClasses | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
    **overrides: Any,
) -> TrainingResult:
    """Train on a folder of images, or on `digits`, into the folder `out`.

    Folders of classes make a classifier, images with masks a segmenter, images with boxes a
    detector; `task` overrules what the folder looks like. `classes`, `ignore` and `reduce_labels`
    say what labels mean, see `open_data`.

    `model` is anything `from_pretrained` takes, to be fine-tuned; None trains from scratch at
    `width`. `recipe` is a file or a shipped name, by default "digits" for the digits and else the
    task's; `overrides` replace single settings. `resume` continues a stopped run exactly, with the
    recipe in `out`. `quiet` says nothing on stderr.

    `overwrite` replaces an old run once the new one is complete: its own unchanged files, and
    nothing else in `out`.

    Raises FileExistsError where `out` has files and neither `overwrite` nor `resume` is set, files
    that aren't a run's, or a run still going on; DataError, ConfigError or CheckpointError for what
    can't be used; TrainingInterrupted when SIGINT or SIGTERM ended it.
    """
    place = folder.place_of(Path(out).expanduser())
    meaning: dict[str, Any] = {"classes": classes, "ignore": ignore}
    meaning["reduce_labels"] = reduce_labels
    check_given(data, task, **meaning)
    task = kind_of(data) if task == "auto" else task
    with place.claimed():
        run = folder.room_of_run(place) if resume else None
        if run:
            settings = folder.stored_recipe(run, overrides)
        else:
            on_digits = data == "digits" and task == "classify"
            usual = "digits" if on_digits else BY_VERB[task].recipe
            settings = Recipe.load(recipe or usual, **overrides)
            folder.check_room(place, overwrite=overwrite)
        if not isinstance(data, Data):
            if run and not says_something(meaning):
                meaning = folder.stored_annotations(run)
            data = open_data(data, task, seed=settings.seed, **meaning)
        require("lightning", extra="train")
        from mobilevitv2.bundle import bundle_of, files_of_model
        from mobilevitv2.training import networks
        from mobilevitv2.training.goal import goal_for

        introduction, goal = data.report(), goal_for(data)
        goal.check(settings, overrides)
        if run:
            network, processor = networks.of_run(goal, run / folder.LAST)
        else:
            size = goal.image_size(settings)
            given = [Path(file) for file in (recipe, classes) if isinstance(file, str | Path)]
            if model is None:
                network = networks.from_scratch(goal, width, settings, size)
                processor = networks.fresh_processor(goal, size)
                introduction += f"\nA new network of width {width}, at {size} px."
            else:
                if isinstance(model, str | Path):
                    model = bundle_of(model)
                    given += files_of_model(model)
                network, head = networks.from_checkpoint(goal, model, settings, size, overrides)
                processor = networks.processor_of(goal, model, network, size)
                named = model if isinstance(model, str | Path) else "The given model"
                introduction += f"\n{named}, at {size} px, with {head}."
            folder.check_room(place, overwrite=overwrite, inputs=[*given, *data.files()])
        return _fit(network, goal, settings, place, run, processor, quiet, introduction)


def fit(
    network: "nn.Module",
    data: Data,
    recipe: Recipe,
    out: str | Path,
    *,
    processor: "MobileViTImageProcessor | None" = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainingResult:
    """Train a network as `train` does; its output is logits, or has them.

    Logits are [B, classes], or [B, classes, h, w] for masks; `DetectorTraining` says what a
    detector needs. An old run in `out` is replaced. Without a `processor`, images are prepared as
    for a network from scratch. The bundle of a network from elsewhere has no config.json.
    """
    place = folder.place_of(Path(out))
    with place.claimed():
        run = folder.room_of_run(place) if resume else None
        if not run:
            place.check(folder.FILES, overwrite=True, inputs=data.files())
        require("lightning", extra="train")
        from mobilevitv2.training.goal import goal_for
        from mobilevitv2.training.networks import fresh_processor

        goal = goal_for(data)
        goal.check(recipe)
        if processor is None:
            processor = fresh_processor(goal, goal.image_size(recipe))
        return _fit(network, goal, recipe, place, run, processor, quiet)


def _fit(
    network: "nn.Module",
    goal: "Goal",
    recipe: Recipe,
    place: Place,
    run: Path | None,
    processor: "MobileViTImageProcessor",
    quiet: bool,
    introduction: str = "",
) -> TrainingResult:
    """Resume `run`, or train anew; whatever can be refused is refused before that."""
    import torch

    from mobilevitv2.checkpoint.files import read_weights
    from mobilevitv2.files.source import WEIGHTS_NAME
    from mobilevitv2.training import assembly, checkpoints, networks
    from mobilevitv2.training.keeper import Keeper, StopRequest
    from mobilevitv2.training.loaders import order_of
    from mobilevitv2.training.memory import kept_memory
    from mobilevitv2.training.narrator import Narrator

    data = goal.data
    networks.freeze(network, recipe.freeze)
    metric = goal.task.metric
    narrator = Narrator(metric=metric, title=goal.task.figures[metric], quiet=quiet)
    if introduction:
        narrator.say(introduction)
    images = goal.image_sets(recipe, processor)
    loaders = assembly.make_loaders(images, recipe, eval_batch=goal.eval_batch)
    module = goal.module(
        network,
        recipe,
        steps=-(-len(loaders["train"]) // recipe.accumulate) * recipe.epochs,
        pixel_scale=processor.rescale_factor if processor.do_rescale else 1 / 255,
        bgr=processor.do_flip_channel_order,
    )
    assembly.precision(recipe)  # raises before anything is written
    checkpoint, state = None, {}
    if run:
        folder.check_same_data(run, data)
        checkpoint, state = checkpoints.newest_checkpoint(run)
        if run == place.folder:  # it may be finished, and is going to change
            place.reopen([folder.RECIPE])
    else:
        run = folder.make_room(place, recipe, data)
    save = partial(networks.save_bundle, network, processor, data.classes)
    keeper = Keeper(run, save, narrator.epoch, metric)
    if checkpoint:
        module.on_load_checkpoint(state)
        keeper.load_state_dict(state["callbacks"][keeper.state_key])
        epoch, batches = keeper.position
        order_of(loaders["train"]).continue_at(epoch, batches, recipe.batch_size)
        narrator.say(f"Resuming after {epoch} epochs and {batches} batches.")
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or threads)
    try:
        if not keeper.stopped_early and keeper.position[0] < recipe.epochs:
            step = int(module.history[-1]["step"]) if module.history else 0
            with assembly.without_chatter(), kept_memory(), keeper.listening():
                trainer = assembly.make_trainer(
                    recipe, run, [narrator, keeper], metric=metric, first_step=step
                )
                trainer.fit(module, loaders["train"], loaders["val"], ckpt_path=checkpoint)
        averaged = module.averaged.to(assembly.accelerator()).eval()  # Lightning has taken it off
        best = read_weights(run / folder.BEST / WEIGHTS_NAME).state
        averaged.load_state_dict(best)
        found = {
            name: goal.measure(averaged, loader)
            for name, loader in loaders.items()
            if name != "train"
        }
        if goal.choose_last(network, found):
            save(run / folder.BEST, best)
    except (StopRequest, SystemExit):  # Lightning raises the latter at a second signal
        number = signal.Signals(keeper.signal or signal.SIGINT)
        old = " The old run stays until this one is complete." * (run == place.stage)
        raise TrainingInterrupted(
            f"Stopped by {number.name}, and saved in {place.folder}. To continue, train again with "
            f"the same data and resume.{old}",
            exit_code=128 + number,
        ) from None
    finally:
        torch.set_num_threads(threads)
        folder.leave_room(place)
    _name_broken(run, data, module.broken, images, narrator.say)
    seconds = sum(row["seconds"] for row in module.history)
    speed = max(row["images_per_second"] for row in module.history)
    timing = {"seconds": seconds, "images per second": speed, "threads": recipe.threads or threads}
    page = {"history": module.history, "timing": timing}
    report = goal.report(run, averaged, images, found, recipe, **page)
    reached = {name: goal.figures(scores)[metric] for name, (scores, _) in found.items()}
    folder.settle(place, run)
    return TrainingResult(
        out=place.folder,
        best=place.folder / folder.BEST,
        task=goal.task.name,
        metric=metric,
        score=reached["val"],
        test_score=reached.get("test"),
        best_epoch=keeper.best_epoch,
        seconds=seconds,
        report=place.folder / report.relative_to(run),
        history=module.history,
    )


def _name_broken(
    out: Path,
    data: Data,
    broken: dict[str, set[int]],
    images: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Say which images couldn't be decoded, and list them in data.json."""
    reasons = {}
    for split, found in broken.items():
        for index in sorted(found):
            images[split].image(index)  # in this process, for the reason
            reason = images[split].reasons.get(index, "couldn't be decoded at one time")
            reasons[folder.name_of(data, split, index)] = reason
    if not reasons:
        return
    folder.note_broken(out, reasons)
    named = list(reasons.values())
    more = f" And {len(named) - NAMED} more: see data.json." if len(named) > NAMED else ""
    count = f"{len(named)} images couldn't be decoded and were left out."
    say(f"{count} {' '.join(named[:NAMED])}{more}")
