"""How often a model is right: `evaluate` measures it on labeled images, prepared as to predict.

The names of classes decide what is right, not their numbers, so a model and a data set may list
the same classes in different orders.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mobilevitv2.bundle import files_of_model
from mobilevitv2.errors import ConfigError
from mobilevitv2.evaluation.chosen import Data, Progress, Split, choose
from mobilevitv2.evaluation.classification import ClassScore, Evaluation, OrderComparison
from mobilevitv2.evaluation.detection import BoxScore, DetectionEvaluation
from mobilevitv2.evaluation.measuring import Pass
from mobilevitv2.evaluation.multi_label import LabelScore, MultiLabelEvaluation
from mobilevitv2.evaluation.segmentation import SegmentationEvaluation
from mobilevitv2.files.replacing import Place
from mobilevitv2.predict.backends.choose import RuntimeName
from mobilevitv2.predict.predictor import ChannelOrder, Predictor
from mobilevitv2.runtime.opening import Precision
from mobilevitv2.tasks import TASKS, check_options

__all__ = [
    "BoxScore",
    "ClassScore",
    "DetectionEvaluation",
    "Evaluation",
    "LabelScore",
    "MultiLabelEvaluation",
    "OrderComparison",
    "SegmentationEvaluation",
    "Split",
    "evaluate",
]


def evaluate(
    source: str | Path | Predictor,
    data: str | Path | Data,
    *,
    split: Split = "auto",
    batch_size: int | None = None,
    channel_orders: Sequence[ChannelOrder] = (),
    report: str | Path | None = None,
    coco: str | Path | None = None,
    progress: Progress | None = None,
    threshold: float | None = None,
    flip: bool = False,
    window: int | None = None,
    image_size: int | None = None,
    threads: int | None = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    classes: Path | Sequence[str] | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
) -> Any:
    """How good a model's answers are, on any data that training accepts.

    Returns an `Evaluation` for a classifier, or a `MultiLabelEvaluation`, `SegmentationEvaluation`
    or `DetectionEvaluation`.

    `auto` is the split called test, else val. A folder that has neither is taken whole, unless the
    model was trained on it: then it is what was held out of training.

    With both `channel_orders`, for classifiers, they are compared on the same images; the scores
    are those of the first one given, or of the model's own. `flip`, `window` and `image_size` are
    `Predictor`'s ways to look at an image to be segmented, `threads`, `runtime` and `precision` say
    where it computes and how; `classes`, `ignore` and `reduce_labels` say what the values of masks
    mean, see `open_segmentation`, `classes` also those of boxes and tables, see `open_data`.
    `threshold` is for the labels of a multi-label classifier, and for what a report shows of a
    detector; COCO's numbers look at all scores. `report` is a folder for a page with the pictures;
    `coco` a file for a detector's results in COCO's form, with the data's own numbers of images and
    categories. Raises DataError where the classes of the model and of the data have different
    names, FileExistsError where a file that isn't of an earlier report would be overwritten.
    """
    settings: dict[str, Any] = {"threshold": threshold, "flip": flip, "window": window}
    settings |= {"image_size": image_size, "threads": threads}
    settings |= {"runtime": runtime, "precision": precision}
    if isinstance(source, Predictor):
        unset = (None, "auto")
        given = [n for n, value in settings.items() if value not in unset and value is not False]
        if given:
            raise ConfigError(f"{' and '.join(given)} must be set when the Predictor is made.")
        predictor = source
    else:
        predictor = Predictor(source, batch_size=batch_size, **settings)
    task = TASKS[predictor.task]
    options = check_options(task, coco=coco, channel_orders=channel_orders or None)
    how = {"classes": classes, "ignore": ignore, "reduce_labels": reduce_labels}
    chosen = choose(predictor.source, data, split, predictor.task, **how)
    once = Pass(predictor, *chosen, batch_size=batch_size, progress=progress)
    inputs = once.data.files()
    inputs += files_of_model(predictor.source) if predictor.source else []
    with ExitStack() as stack:
        if report is not None:
            place = Place(Path(report), "evaluate")
            new = place.replaced(overwrite=True, names=["report.html"], inputs=inputs)
            report = stack.enter_context(new)
        if coco is not None:
            place, name = Place.beside(Path(coco), "evaluate")
            new = place.replaced(overwrite=True, names=[name], inputs=inputs)
            options["coco"] = stack.enter_context(new) / name
        return task.part("evaluation").evaluate(once, report=report, **options)
