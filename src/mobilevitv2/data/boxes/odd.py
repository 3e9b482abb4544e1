"""What is odd about boxes."""

# n boxes of an image

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.data.findings import Finding

NETWORK = 320  # px, the sides of the square that a detector sees
TINY = 8  # px on it; half the step of the finest map on which boxes are found
LONG = 10  # times as long as wide


def odd_boxes(data: Any) -> Iterable[Finding]:
    """Boxes of `DetectionData` that were mended, are there twice, or are too long or too tiny."""
    if data.mended:
        boxed = f"{len(data.mended):,} images have boxes that were cut off or dropped"
        yield Finding(boxed, data.mended)
    counts: dict[str, dict[Path, int]] = {"twice": {}, "very long": {}, "tiny": {}}
    for samples in data.splits.values():
        for image, boxes in samples:
            sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
            seen = sides * NETWORK / np.array(data.sizes[image])
            rows = np.column_stack([boxes.labels, boxes.corners.round(2)])
            odd = {"twice": len(rows) - len(np.unique(rows, axis=0))}
            odd["very long"] = int((sides.max(1) > LONG * sides.min(1)).sum()) if len(rows) else 0
            odd["tiny"] = int((seen.min(1) < TINY).sum()) if len(rows) else 0
            for what, count in odd.items():
                if count:
                    counts[what][image] = count
    total = sum(len(s.boxes.labels) for samples in data.splits.values() for s in samples)
    sentences = {
        "twice": "are there twice, of one class and place",
        "very long": f"are more than {LONG} times as long as wide",
        "tiny": f"are narrower than {TINY} px at {NETWORK} px, hard to find",
    }
    for what, sentence in sentences.items():
        if images := counts[what]:
            boxes = sum(images.values())
            yield Finding(
                f"{boxes:,} boxes ({boxes / total:.1%}) in {len(images):,} images {sentence}",
                {image: f"{count} {what}" for image, count in images.items()},
            )
