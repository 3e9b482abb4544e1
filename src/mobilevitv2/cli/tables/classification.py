"""How often a classifier is right, on the terminal."""

from rich.console import RenderableType
from rich.text import Text

from mobilevitv2.cli.tables import class_table, headline, share
from mobilevitv2.evaluation import Evaluation

COLUMNS = {"precision": "precision", "recall": "recall", "F1": "f1", "images": "support"}


def evaluation(result: Evaluation) -> list[RenderableType]:
    """Accuracy, the classes, what is confused with what, and which channel order is better."""
    low, high = result.interval
    facts = [f"95 % interval {share(low)} to {share(high)}", f"macro F1 {share(result.macro_f1)}"]
    if result.top5 is not None:
        facts.append(f"top 5 {share(result.top5)}")
    facts.append(result.channel_order.upper())
    counted = f"of {result.count:,} images right"
    parts = headline(result, share(result.accuracy), counted, *facts)
    parts += class_table(result.classes, COLUMNS, by="f1")
    if mixed := _confusions(result):
        parts += ["", Text(f"most often confused: {mixed}")]
    if result.orders is not None:
        parts += ["", Text(f"channel order: {result.orders}")]
    return parts


def _confusions(result: Evaluation) -> str:
    names = [score.name for score in result.classes]
    counts = [
        (count, names[i], names[j])
        for i, row in enumerate(result.confusion)
        for j, count in enumerate(row)
        if count and i != j
    ]
    worst = sorted(counts, key=lambda item: -item[0])[:3]
    return ", ".join(f"{true} taken for {taken} ({count})" for count, true, taken in worst)
