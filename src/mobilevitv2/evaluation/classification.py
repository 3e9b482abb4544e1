"""How often a classifier is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from mobilevitv2.evaluation.measuring import Measured, Pass
from mobilevitv2.images.reading import load_image
from mobilevitv2.predict.predictor import ChannelOrder
from mobilevitv2.results.probabilities import softmax
from mobilevitv2.scores.classification import ClassificationScores, sign_test

DOUBT = 0.05  # a difference that chance makes more often isn't one


@dataclass(frozen=True)
class ClassScore:
    """How well a class was recognized, 0 where undefined; `support` counts its images."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class OrderComparison:
    """RGB and BGR on the same images: how many each got right, in total and alone."""

    count: int
    right: dict[str, int]
    only_right: dict[str, int]
    p_value: float  # how often chance alone makes as large a difference (exact sign test)

    @property
    def better(self) -> str | None:
        """The order that is better beyond doubt, or None."""
        return max(self.right, key=self.right.__getitem__) if self.p_value < DOUBT else None

    def __str__(self) -> str:
        first = self.better or next(iter(self.right))
        second = next(order for order in self.right if order != first)
        pair = f"{first.upper()} is better than {second.upper()}"
        if not self.better:
            pair = f"no clear difference between {first.upper()} and {second.upper()}"
        shares = [f"{100 * self.right[order] / self.count:.1f} %" for order in (first, second)]
        alone = [f"{self.only_right[o]:,} right by {o.upper()} alone" for o in (first, second)]
        return f"{pair}: {' against '.join(shares)} of {self.count:,} images ({', '.join(alone)})"


@dataclass(frozen=True)
class Evaluation(Measured):
    """What `evaluate` found; shares are in [0, 1]."""

    task: ClassVar[str] = "classification"
    accuracy: float
    interval: tuple[float, float]  # where the true accuracy lies with 95 % confidence (Wilson)
    top5: float | None  # None for a model of five classes or fewer
    macro_f1: float
    classes: list[ClassScore]
    confusion: list[list[int]]  # [true][predicted], in the order of `classes`, which is the model's
    channel_order: str
    orders: OrderComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        if self.orders is not None:
            values["orders"]["better"] = self.orders.better
        return values


def evaluate(
    once: Pass, *, report: str | Path | None = None, channel_orders: Sequence[ChannelOrder] = ()
) -> Evaluation:
    """Accuracy, and all that is known of the mistakes; see `mobilevitv2.evaluate`."""
    predictor, samples, classes = once.predictor, once.samples, once.predictor.classes
    to_model = once.numbers_in_model()
    own_order = predictor.processor.channel_order
    orders = list(dict.fromkeys(channel_orders)) or [own_order]
    if strange := [order for order in orders if order not in get_args(ChannelOrder)]:
        raise ValueError(f"channel order must be rgb or bgr, not {strange[0]!r}.")
    scores = {order: ClassificationScores(len(classes)) for order in orders}
    kept: list[int] = []  # indices of the samples that count
    probabilities: list[np.ndarray] = []
    for good in once.readable(predictor.read_ahead(once.images, batch_size=once.batch_size)):
        kept += good
        targets = np.array([to_model[samples[i][1]] for i in good])
        for order, found in scores.items():
            own = order == own_order
            logits = predictor.logits([p.pixels if own else p.pixels[::-1] for p in good.values()])
            found.update(logits, targets)
            if report is not None and order == orders[0]:
                probabilities.append(softmax(logits))
    first = scores[orders[0]]
    columns = [np.nan_to_num(values) for values in (first.precision, first.recall, first.f1)]
    rows = zip(classes, *(c.tolist() for c in (*columns, first.support)), strict=True)
    if report is not None:
        shown = [samples[i][0] for i in kept]
        once.report(
            report,
            settings={"channel order": orders[0]},
            scores=first,
            probabilities=np.concatenate(probabilities),
            images=lambda i: load_image(shown[i]),
            names=[str(x) if isinstance(x, Path) else f"image {i}" for i, x in enumerate(shown)],
        )
    return Evaluation(
        **once.facts,
        accuracy=first.accuracy,
        interval=first.interval,
        top5=first.top5,
        macro_f1=first.macro_f1,
        classes=[ClassScore(*row) for row in rows],
        confusion=first.confusion.tolist(),
        channel_order=orders[0],
        orders=_compare(scores),
    )


def _compare(scores: dict[str, ClassificationScores]) -> OrderComparison | None:
    """None for a single order."""
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
