"""How well a segmenter's masks agree with the true ones, on the terminal."""

from math import isnan

from rich.console import RenderableType
from rich.text import Text

from mobilevitv2.cli.tables import class_table, headline, share
from mobilevitv2.evaluation import SegmentationEvaluation

COLUMNS = {"IoU": "iou", "accuracy": "accuracy", "of all pixels": "share"}


def evaluation(result: SegmentationEvaluation) -> list[RenderableType]:
    """Mean IoU, and the classes that occur."""
    known = [score for score in result.classes if not isnan(score.iou)]
    parts = headline(
        result,
        f"mIoU {share(result.miou)}",
        f"on {result.count:,} images",
        f"pixels right {share(result.pixel_accuracy)}",
        f"mean class accuracy {share(result.mean_class_accuracy)}",
    )
    parts += class_table(known, COLUMNS, by="iou")
    if absent := len(result.classes) - len(known):
        parts.append(Text(f"classes in no image and never predicted: {absent:,}", "dim"))
    return parts
