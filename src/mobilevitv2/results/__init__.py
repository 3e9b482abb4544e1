"""What a user gets for an image: results that know their labels, print, save and draw themselves.

`Classification` names the whole image, `MultiLabel` everything in it, `Detection` each object,
`Segmentation` every pixel.
"""

from mobilevitv2.results.classification import Classification
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.detection import DetectedObject, Detection
from mobilevitv2.results.drawing import percent
from mobilevitv2.results.multi_label import MultiLabel
from mobilevitv2.results.segmentation import Segmentation

Result = Classification | MultiLabel | Segmentation | Detection

__all__ = [
    "Classification",
    "DetectedObject",
    "Detection",
    "MultiLabel",
    "Result",
    "Segmentation",
    "distinct_colors",
    "percent",
]
