"""How often a classifier is right."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mobilevitv2.data import Sample
from mobilevitv2.errors import DataError
from mobilevitv2.evaluation.chosen import Chosen, Progress, match_classes
from mobilevitv2.images.reading import load_image
from mobilevitv2.predict.predictor import ChannelOrder, Predictor, Prepared, Unreadable
from mobilevitv2.scores.classification import ClassificationScores, sign_test

DOUBT = 0.05  # differences that chance makes this often are not called differences


@dataclass(frozen=True)
class ClassScore:
    """How well a class was recognized, 0 where nothing defines it; `support` counts its images."""

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

    scores: dict[str, ClassificationScores] = {
        order: ClassificationScores(len(predictor.classes)) for order in orders
    }
    unreadable = {path: f"{path} {why}" for path, why in opened.unreadable.items()}
    kept: list[int] = []  # indices of the samples that count
    probabilities: list[np.ndarray] = []
    started, seen = time.perf_counter(), 0
    for batch in predictor.read_ahead((image for image, _ in samples), batch_size=batch_size):
        good = {seen + i: p.pixels for i, p in enumerate(batch) if isinstance(p, Prepared)}
        unreadable |= {u.source: u.reason for u in batch if isinstance(u, Unreadable)}
        seen += len(batch)
        if good:
            targets = np.array([to_model[samples[i][1]] for i in good])
            for order, found in scores.items():
                own = order == own_order
                logits = predictor.logits([p if own else p[::-1] for p in good.values()])
                found.update(logits, targets)
                if report is not None and order == orders[0]:
                    weights = np.exp(logits - logits.max(1, keepdims=True))
                    probabilities.append(weights / weights.sum(1, keepdims=True))
            kept += good
        if progress is not None:
            progress(seen, len(samples))
    seconds = time.perf_counter() - started
    if not kept:
        raise DataError(f"no image of the {chosen.split} split of {opened.name} can be read.")
    first = scores[orders[0]]
    columns = [np.nan_to_num(values) for values in (first.precision, first.recall, first.f1)]
    rows = zip(predictor.classes, *(c.tolist() for c in (*columns, first.support)), strict=True)
    result = Evaluation(
        model=str(predictor.source or type(predictor.backend).__name__),
        data=opened.name,
        split=chosen.split,
        count=len(kept),
        accuracy=first.accuracy,
        interval=first.interval,
        top5=first.top5,
        macro_f1=first.macro_f1,
        classes=[ClassScore(*row) for row in rows],
        confusion=first.confusion.tolist(),
        channel_order=orders[0],
        images_per_second=len(kept) / seconds,
        unreadable=unreadable,
        orders=_compare(scores),
    )
    if report is not None:
        shown = [samples[i] for i in kept]
        _report(Path(report), result, shown, first, np.concatenate(probabilities), seconds)
    return result


def _compare(scores: dict[str, ClassificationScores]) -> OrderComparison | None:
    """Where there are two orders."""
    if len(scores) < 2:
        return None
    (first, a), (second, b) = ((order, found.right) for order, found in scores.items())
    only = {first: int((a & ~b).sum()), second: int((b & ~a).sum())}
    return OrderComparison(
        count=len(a),
        right={first: int(a.sum()), second: int(b.sum())},
        only_right=only,
        p_value=sign_test(*only.values()),
    )


def _report(
    out: Path,
    result: Evaluation,
    samples: list[Sample],
    scores: ClassificationScores,
    probabilities: np.ndarray,
    seconds: float,
) -> None:
    from mobilevitv2.report.classification import write_report

    settings = {"model": result.model, "data": result.data, "split": result.split}
    write_report(
        out,
        history=[],
        classes=[score.name for score in result.classes],
        scores=scores,
        probabilities=probabilities,
        images=lambda i: load_image(samples[i][0]),
        names=lambda i: str(samples[i][0]) if isinstance(samples[i][0], Path) else f"image {i}",
        title=f"{result.model} on {result.data}",
        settings=settings | {"channel order": result.channel_order},
        timing={"seconds": seconds, "images per second": result.images_per_second},
    )
