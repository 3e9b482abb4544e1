"""How well a detector's boxes agree with the true ones, on the terminal."""

from rich.console import RenderableType

from mobilevitv2.cli.display import new_table
from mobilevitv2.cli.tables import cell, class_table, headline, share
from mobilevitv2.evaluation import DetectionEvaluation

COLUMNS = {"AP": "ap", "AP@0.5": "ap_50", "boxes": "boxes"}
AREAS = ("small", "medium", "large")


def evaluation(result: DetectionEvaluation) -> list[RenderableType]:
    """COCO's twelve numbers, and the classes."""
    numbers = result.summary
    parts = headline(
        result,
        f"mAP {share(numbers['map'])}, mAP@0.5 {share(numbers['map_50'])}",
        f"on {result.count:,} images",
        f"mAP@0.75 {share(numbers['map_75'])}",
        *(f"recall of {n} boxes per image {share(numbers[f'mar_{n}'])}" for n in (1, 10, 100)),
    )
    table = new_table("", right=("all", *AREAS))
    for name, prefix, of_all in (("mAP", "map", "map"), ("recall", "mar", "mar_100")):
        keys = (of_all, *(f"{prefix}_{area}" for area in AREAS))
        table.add_row(name, *(cell(numbers[key]) for key in keys))
    return [*parts, table, "", *class_table(result.classes, COLUMNS, by="ap")]
