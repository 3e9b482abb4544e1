"""How often a model is right: `evaluate` measures it on labelled images, prepared as to predict.

The names of classes decide what is right, not their numbers, so a model and a data set may list
the same classes in different orders.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from mobilevitv2.data import ClassificationData, Sample, open_classification
from mobilevitv2.data.folders import find_splits
from mobilevitv2.errors import DataError, require
from mobilevitv2.images import load_image
from mobilevitv2.predictor import ChannelOrder, Predictor, Prepared, Unreadable

Split = Literal["auto", "train", "val", "test", "all"]

NAMED = 8  # classes that a message names
DOUBT = 0.05  # differences that chance makes this often are not called differences

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class ClassScore:
    """How well one class was recognised; `support` is how many images are of it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class OrderComparison:
    """RGB and BGR on the same images: how many each got right, alone and at all."""

    count: int
    right: dict[str, int]
    only_right: dict[str, int]
    p_value: float
    """How often chance alone makes a difference as large (exact sign test)."""

    @property
    def better(self) -> str | None:
        """The order that is better beyond doubt, or None."""
        return max(self.right, key=self.right.__getitem__) if self.p_value < DOUBT else None

    def __str__(self) -> str:
        first = self.better or next(iter(self.right))
        second = next(order for order in self.right if order != first)
        share = {order: f"{100 * right / self.count:.1f} %" for order, right in self.right.items()}
        against = f"{share[first]} against {share[second]} of {self.count:,} images"
        alone = ", ".join(
            f"{self.only_right[order]:,} right by {order.upper()} alone"
            for order in (first, second)
        )
        if self.better:
            return f"{first.upper()} is better than {second.upper()}: {against} ({alone})"
        return (
            f"no clear difference between {first.upper()} and {second.upper()}: {against} ({alone})"
        )


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; shares are in [0, 1]."""

    model: str
    data: str
    split: str
    count: int
    accuracy: float
    interval: tuple[float, float]
    """Where the true accuracy lies with 95 % confidence (Wilson)."""
    top5: float | None
    """None for a model of five classes or fewer."""
    macro_f1: float
    classes: list[ClassScore]
    confusion: list[list[int]]
    """[true][predicted], in the order of `classes`, which is the model's."""
    channel_order: str
    images_per_second: float
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of an image of the data that was left out, and a sentence that says why."""
    orders: OrderComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types."""
        values = asdict(self)
        if self.orders is not None:
            values["orders"]["better"] = self.orders.better
        return values


def evaluate(
    source: str | Path | Predictor,
    data: str | Path | ClassificationData,
    *,
    split: Split = "auto",
    batch_size: int | None = None,
    channel_orders: Sequence[ChannelOrder] = (),
    report: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy, and all that is known of the mistakes, on one split of what training accepts.

    `auto` is the split called test, else val. A folder that has neither is taken whole, unless the
    model was trained on it: then it is what was held out of training.

    With both `channel_orders` they are compared on the same images; the scores are those of the
    first one given, or of the model's own. `report` is a folder for a page with the pictures.
    Raises DataError where the classes of the model and of the data have different names.
    """
    predictor = source if isinstance(source, Predictor) else Predictor.from_pretrained(source)
    opened, chosen_split, samples = _samples(predictor.source, data, split)
    to_model = _match(predictor.classes, opened.classes)
    own_order = predictor.processor.channel_order
    orders = list(dict.fromkeys(channel_orders)) or [own_order]
    if strange := [order for order in orders if order not in get_args(ChannelOrder)]:
        raise ValueError(f"channel order is {strange[0]!r}; rgb or bgr is wanted.")

    running = _Running(len(predictor.classes), orders)
    unreadable = {path: f"{path} {why}" for path, why in opened.unreadable.items()}
    kept: list[int] = []  # indices of the samples that count
    probabilities: list[torch.Tensor] = []
    started, seen = time.perf_counter(), 0
    for batch in predictor.read_ahead((image for image, _ in samples), batch_size=batch_size):
        good = {seen + i: p.pixels for i, p in enumerate(batch) if isinstance(p, Prepared)}
        unreadable |= {u.source: u.reason for u in batch if isinstance(u, Unreadable)}
        seen += len(batch)
        if good:
            targets = torch.tensor([to_model[samples[i][1]] for i in good])
            logits = running.update(predictor, list(good.values()), targets)
            kept += good
            if report is not None:
                probabilities.append(logits.softmax(1))
        if progress is not None:
            progress(seen, len(samples))
    seconds = time.perf_counter() - started
    if not kept:
        raise DataError(f"no image of the {chosen_split} split of {opened.name} can be read.")
    result = Evaluation(
        model=str(predictor.source or type(predictor.network).__name__),
        data=opened.name,
        split=chosen_split,
        count=len(kept),
        **running.compute(predictor.classes),
        channel_order=orders[0],
        images_per_second=len(kept) / seconds,
        unreadable=unreadable,
        orders=running.compare(),
    )
    if report is not None:
        chosen = [samples[i] for i in kept]
        targets = [to_model[label] for _, label in chosen]
        _report(Path(report), result, chosen, targets, torch.cat(probabilities).numpy(), seconds)
    return result


def _samples(
    source: str | Path | None, data: str | Path | ClassificationData, split: Split
) -> tuple[ClassificationData, str, list[Sample]]:
    """The data, the split that is meant, and its samples."""
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; one of {', '.join(get_args(Split))} is wanted.")
    held_out = True
    if isinstance(data, ClassificationData):
        opened = data
    elif (of_run := _data_of_run(source, data)) is not None:
        opened = of_run
    else:
        opened = open_classification(data)
        held_out = opened.root is None or not {"val", "test"}.isdisjoint(find_splits(opened.root))
    if split == "auto":
        split = "all" if not held_out else "val" if opened.test is None else "test"
    if split == "all":
        return opened, split, [sample for part in opened.splits.values() for sample in part]
    if split not in opened.splits:
        there = ", ".join(opened.splits)
        raise DataError(f"{opened.name} has no {split} split, but {there}. Choose one of them.")
    return opened, split, opened.splits[split]


def _data_of_run(source: str | Path | None, data: str | Path) -> ClassificationData | None:
    """The data split as when this model was trained on it; None where it was not, or none knows."""
    from mobilevitv2.training.folder import DATA, RECIPE, check_same_data
    from mobilevitv2.training.recipe import Recipe

    if source is None:
        return None
    run = Path(source).expanduser().parent  # of the bundle
    if not (run / RECIPE).is_file() or not (run / DATA).is_file():
        return None
    opened = open_classification(data, seed=Recipe.load(run / RECIPE).seed)
    try:
        check_same_data(run, opened)
    except DataError:
        return None
    return opened


def _match(of_model: list[str], of_data: list[str]) -> list[int]:
    """For each class of the data, the number that it has in the model; by name."""
    if len(set(of_model)) < len(of_model):
        doubled = sorted({name for name in of_model if of_model.count(name) > 1})
        raise DataError(f"the model has several classes of one name: {_listed(doubled)}.")
    unknown = sorted(set(of_data) - set(of_model))
    missing = sorted(set(of_model) - set(of_data))
    if unknown or missing:
        said = []
        if unknown:
            said.append(f"{len(unknown)} only in the data ({_listed(unknown)})")
        if missing:
            said.append(f"{len(missing)} only in the model ({_listed(missing)})")
        nameless = all(name.startswith("LABEL_") for name in of_model)
        hint = (
            "The model's classes have no names: save it with id2label."
            if nameless
            else "Rename the folders to the model's classes, which `mobilevitv2 info` lists."
        )
        raise DataError(f"the classes differ: {' and '.join(said)}. {hint}")
    return [of_model.index(name) for name in of_data]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more


class _Running:
    """Counts that grow batch by batch; but for the comparison of channel orders, of the first."""

    def __init__(self, classes: int, orders: list[ChannelOrder]) -> None:
        self.right: dict[ChannelOrder, list[torch.Tensor]] = {order: [] for order in orders}
        metrics = require("torchmetrics.classification", extra="train")
        self.running = {
            "macro_f1": metrics.MulticlassF1Score(classes, average="macro"),
            "precision": metrics.MulticlassPrecision(classes, average="none"),
            "recall": metrics.MulticlassRecall(classes, average="none"),
            "f1": metrics.MulticlassF1Score(classes, average="none"),
            "confusion": metrics.MulticlassConfusionMatrix(classes),
        }
        if classes > 5:
            self.running["top5"] = metrics.MulticlassAccuracy(classes, average="micro", top_k=5)

    def update(
        self, predictor: Predictor, pixels: list[np.ndarray], targets: torch.Tensor
    ) -> torch.Tensor:
        """Count arrays [3, H, W] with int64 `targets` [B]; the logits [B, classes]."""
        by_order = {}
        for order in self.right:
            own = order == predictor.processor.channel_order
            arrays = pixels if own else [array[::-1] for array in pixels]
            logits = torch.from_numpy(predictor.logits(arrays))
            self.right[order].append(logits.argmax(1) == targets)
            by_order[order] = logits
        first = next(iter(by_order.values()))
        for metric in self.running.values():
            metric.update(first, targets)
        return first

    def compute(self, names: list[str]) -> dict[str, Any]:
        """Fields of an `Evaluation`."""
        found = {name: metric.compute() for name, metric in self.running.items()}
        confusion = found["confusion"]
        columns = (map(_rounded, found[name]) for name in ("precision", "recall", "f1"))
        rows = zip(names, *columns, confusion.sum(1).tolist(), strict=True)
        right, count = int(confusion.trace()), int(confusion.sum())
        stats = require("scipy.stats", extra="train")
        interval = stats.binomtest(right, count).proportion_ci(method="wilson")
        return {
            "accuracy": right / count,
            "interval": (float(interval.low), float(interval.high)),
            "top5": _rounded(found["top5"]) if "top5" in found else None,
            "macro_f1": _rounded(found["macro_f1"]),
            "classes": [ClassScore(*row) for row in rows],
            "confusion": confusion.tolist(),
        }

    def compare(self) -> OrderComparison | None:
        """Where there are two orders."""
        if len(self.right) < 2:
            return None
        right = {str(order): torch.cat(found) for order, found in self.right.items()}
        (first, a), (second, b) = right.items()
        only = {first: int((a & ~b).sum()), second: int((b & ~a).sum())}
        different = sum(only.values())
        stats = require("scipy.stats", extra="train")
        return OrderComparison(
            count=len(a),
            right={order: int(found.sum()) for order, found in right.items()},
            only_right=only,
            p_value=float(stats.binomtest(only[first], different).pvalue) if different else 1.0,
        )


def _rounded(share: torch.Tensor) -> float:
    return round(share.item(), 6)  # what float32 holds


def _report(
    out: Path,
    result: Evaluation,
    samples: list[Sample],
    targets: Iterable[int],
    probabilities: np.ndarray,
    seconds: float,
) -> None:
    from mobilevitv2.training.report import write_report

    settings = {"model": result.model, "data": result.data, "split": result.split}
    write_report(
        out,
        history=[],
        classes=[score.name for score in result.classes],
        targets=list(targets),
        probabilities=probabilities,
        images=lambda i: load_image(samples[i][0]),
        names=lambda i: str(samples[i][0]) if isinstance(samples[i][0], Path) else f"image {i}",
        title=f"{result.model} on {result.data}",
        settings=settings | {"channel order": result.channel_order},
        timing={"seconds": seconds, "images per second": result.images_per_second},
    )
