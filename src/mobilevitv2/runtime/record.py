"""`Record`: the metadata inside every exported file.

It is JSON in the target's own place for metadata: the class names, how images are prepared, the
inputs and outputs, and the weights' hash.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.errors import CheckpointError
from mobilevitv2.processor import MobileViTImageProcessor

NAME = "mobilevitv2"  # the entry in the target's metadata
FORM = 1  # goes up when older code can't read what newer code writes


@dataclass(frozen=True, kw_only=True)
class Record(ClassFacts):
    """Everything needed to use a file, except its graph."""

    task: str  # its name in the table of tasks
    processor: dict[str, Any]  # the fields of preprocessor_config.json
    sizes: list[list[int]] | None  # [height, width] in px of the images; None: any multiples of 32
    batch: int | None  # images at a time; None: any number
    input: str = "float"
    """float: prepared pixels, float32 [B, 3, H, W]. uint8: RGB pixels, uint8 [B, H, W, 3]."""
    output: str = "logits"
    """logits: float32 [B, classes], of a segmenter [B, classes, h, w]. top_k: probabilities [B, k]
    and int64 class numbers [B, k]. scores: probabilities [B, classes], each class by itself.
    mask: class numbers [B, H, W].

    A detector's, in parts of the image: logits: [B, anchors, 1 + classes], the background first,
    and boxes [B, anchors, 4] of center x, center y, width, height. boxes: scores [B, anchors,
    classes] and corners [B, anchors, 4] of x1, y1, x2, y2. detections: what is left after
    non-maximum suppression, scores [B, 200], best first and 0 where there are fewer, int64 labels
    [B, 200] and corners [B, 200, 4]."""
    top_k: int | None = None  # how many classes an output of top_k gives
    precision: str = "fp32"
    target: str = ""
    weights: str = ""  # sha256 of the weights that it was made from
    versions: dict[str, str] = field(default_factory=dict)
    form: int = FORM

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str) -> Self:
        """Raises CheckpointError, which names the file `name`, for what isn't a record."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"{name}: its record is damaged ({error}).") from error
        if not isinstance(values, dict) or not isinstance(values.get("form"), int):
            raise CheckpointError(f"{name}: its record isn't one of mobilevitv2's.")
        if values["form"] > FORM:
            raise CheckpointError(
                f"{name} was written by a newer mobilevitv2, "
                f"{values.get('versions', {}).get('mobilevitv2', 'of unknown version')}. Update "
                "this one: pip install -U mobilevitv2"
            )
        known = {f.name for f in fields(cls)}
        missing = {"task", "labels", "processor", "sizes", "batch"} - values.keys()
        if missing:
            raise CheckpointError(f"{name}: its record lacks {', '.join(sorted(missing))}.")
        return cls(**{key: value for key, value in values.items() if key in known})

    def open_processor(self) -> MobileViTImageProcessor:
        """The image processor. Raises ConfigError for wrong values."""
        return MobileViTImageProcessor.from_dict(self.processor)
