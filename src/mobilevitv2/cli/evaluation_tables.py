"""What `evaluate` found, on the terminal: the headline, the classes, and what went wrong."""

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from mobilevitv2.cli.display import new_table, share

if TYPE_CHECKING:
    from mobilevitv2.evaluation import DetectionEvaluation, Evaluation, SegmentationEvaluation

MOST_CLASSES = 40  # that a table lists


def evaluation(
    result: "Evaluation | SegmentationEvaluation | DetectionEvaluation",
) -> RenderableType:
    """The headline, the classes, and what went wrong."""
    if hasattr(result, "summary"):
        return _of_boxes(result)
    return _of_masks(result) if hasattr(result, "miou") else _of_classes(result)


def _of_masks(result: Any) -> RenderableType:
    headline = Text.assemble(
        (f"mIoU {share(result.miou)}", "bold"),
        f" on {result.count:,} images ({result.data}, {result.split})",
    )
    facts = [
        f"pixels right {share(result.pixel_accuracy)}",
        f"mean class accuracy {share(result.mean_class_accuracy)}",
        f"{result.images_per_second:,.1f} images/s",
    ]
    known = [score for score in result.classes if score.iou == score.iou]  # not nan
    table = new_table()
    table.add_column("class, hardest first", overflow="fold")
    for name in ("IoU", "accuracy", "of all pixels"):
        table.add_column(name, justify="right")
    for score in sorted(known, key=lambda score: score.iou)[:MOST_CLASSES]:
        shares = (score.iou, score.accuracy, score.share)
        table.add_row(Text(score.name), *(f"{100 * share:.1f}" for share in shares))
    parts: list[RenderableType] = [headline, Text(", ".join(facts), "dim"), "", table]
    if len(known) > MOST_CLASSES:
        parts.append(Text(f"and {len(known) - MOST_CLASSES:,} more classes", "dim"))
    if len(known) < len(result.classes):
        absent = len(result.classes) - len(known)
        parts.append(Text(f"{absent:,} classes are in no image, and not predicted", "dim"))
    return Group(*parts)


def _of_boxes(result: Any) -> RenderableType:
    numbers = result.summary
    headline = Text.assemble(
        (f"mAP {share(numbers['map'])}", "bold"),
        f", mAP@0.5 {share(numbers['map_50'])}",
        f" on {result.count:,} images ({result.data}, {result.split})",
    )
    table = new_table()
    table.add_column("")
    for name in ("all", "small", "medium", "large"):
        table.add_column(name, justify="right")
    for name, prefix, first in (("mAP", "map", "map"), ("recall", "mar", "mar_100")):
        keys = (first, *(f"{prefix}_{area}" for area in ("small", "medium", "large")))
        table.add_row(name, *(_known(numbers[key]) for key in keys))
    classes = new_table()
    classes.add_column("class, hardest first", overflow="fold")
    for name in ("AP", "AP@0.5", "boxes"):
        classes.add_column(name, justify="right")
    worst = sorted(result.classes, key=lambda score: (score.ap != score.ap, score.ap))
    for score in worst[:MOST_CLASSES]:
        row = (_known(score.ap), _known(score.ap_50), f"{score.boxes:,}")
        classes.add_row(Text(score.name), *row)
    facts = [
        f"mAP@0.75 {share(numbers['map_75'])}",
        *(f"recall of {n} boxes an image {share(numbers[f'mar_{n}'])}" for n in (1, 10, 100)),
        f"{result.images_per_second:,.1f} images/s",
    ]
    parts: list[RenderableType] = [headline, Text(", ".join(facts), "dim"), "", table, "", classes]
    if len(worst) > MOST_CLASSES:
        parts.append(Text(f"and {len(worst) - MOST_CLASSES:,} more classes", "dim"))
    return Group(*parts)


def _known(value: float) -> str:
    return f"{100 * value:.1f}" if value == value else "-"  # nan is equal to nothing


def _of_classes(result: Any) -> RenderableType:
    low, high = result.interval
    facts = [
        f"macro F1 {share(result.macro_f1)}",
        *([] if result.top5 is None else [f"top 5 {share(result.top5)}"]),
        result.channel_order.upper(),
        f"{result.images_per_second:,.0f} images/s",
    ]
    headline = Text.assemble(
        (f"{share(result.accuracy)}", "bold"),
        f" of {result.count:,} images right ({result.data}, {result.split})",
        (f"   95 % interval: {share(low)} to {share(high)}", "dim"),
    )
    worst = sorted(result.classes, key=lambda score: score.f1)[:MOST_CLASSES]
    table = new_table()
    table.add_column("class, hardest first", overflow="fold")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for score in worst:
        shares = (f"{100 * share:.1f}" for share in (score.precision, score.recall, score.f1))
        table.add_row(Text(score.name), *shares, f"{score.support:,}")
    parts: list[RenderableType] = [headline, Text(", ".join(facts), "dim"), "", table]
    if len(worst) < len(result.classes):
        parts.append(Text(f"and {len(result.classes) - len(worst):,} more classes", "dim"))
    if mixed := _confusions(result):
        parts += ["", Text(f"most often confused: {mixed}")]
    if result.orders is not None:
        parts += ["", Text(f"channel order: {result.orders}")]
    return Group(*parts)


def _confusions(result: Any) -> str:
    names = [score.name for score in result.classes]
    counts = [
        (count, names[i], names[j])
        for i, row in enumerate(result.confusion)
        for j, count in enumerate(row)
        if count and i != j
    ]
    worst = sorted(counts, key=lambda item: -item[0])[:3]
    return ", ".join(f"{true} taken for {taken} ({count})" for count, true, taken in worst)
