"""How well all labels of images are found, on the terminal."""

from rich.console import RenderableType

from mobilevitv2.cli.tables import class_table, headline, share
from mobilevitv2.evaluation import MultiLabelEvaluation

COLUMNS = {
    "AP": "average_precision",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "threshold": "threshold",
    "images": "support",
}


def evaluation(result: MultiLabelEvaluation) -> list[RenderableType]:
    """mAP, F1 at the model's thresholds, and both for each class."""
    f1 = f"micro F1 {share(result.micro_f1)}", f"macro F1 {share(result.macro_f1)}"
    parts = headline(result, f"mAP {share(result.map)}", f"on {result.count:,} images", *f1)
    return parts + class_table(result.classes, COLUMNS, by="average_precision")
