"""How often a classifier is right."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from mobilevitv2.data import Sample
from mobilevitv2.errors import DataError, require
from mobilevitv2.evaluation.chosen import Chosen, Progress, match_classes
from mobilevitv2.images import load_image
from mobilevitv2.predictor import ChannelOrder, Predictor, Prepared, Unreadable

DOUBT = 0.05  # differences that chance makes this often are not called differences


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


def evaluate_classifier(
    predictor: Predictor,
    chosen: Chosen,
    *,
    batch_size: int | None = None,
    channel_orders: Sequence[ChannelOrder] = (),
    report: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy, and all that is known of the mistakes, on chosen samples; see `evaluate`."""
    opened, samples = chosen.data, chosen.samples
    to_model = match_classes(predictor.classes, opened.classes, predictor.task)
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
        raise DataError(f"no image of the {chosen.split} split of {opened.name} can be read.")
    result = Evaluation(
        model=str(predictor.source or type(predictor.network).__name__),
        data=opened.name,
        split=chosen.split,
        count=len(kept),
        **running.compute(predictor.classes),
        channel_order=orders[0],
        images_per_second=len(kept) / seconds,
        unreadable=unreadable,
        orders=running.compare(),
    )
    if report is not None:
        shown = [samples[i] for i in kept]
        targets = [to_model[label] for _, label in shown]
        _report(Path(report), result, shown, targets, torch.cat(probabilities).numpy(), seconds)
    return result


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
            logits = torch.from_numpy(np.asarray(predictor.logits(arrays)))
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
