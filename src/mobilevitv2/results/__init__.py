"""What a person gets for an image: results that know their labels, print, save and draw themselves.

`Classification` names the picture as a whole, `Segmentation` every pixel of it, `Detection` the
objects in it.
"""

from mobilevitv2.results.classification import Classification
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.detection import DetectedObject, Detection
from mobilevitv2.results.drawing import percent
from mobilevitv2.results.segmentation import Segmentation

Result = Classification | Segmentation | Detection

__all__ = [
    "Classification",
    "DetectedObject",
    "Detection",
    "Result",
    "Segmentation",
    "distinct_colors",
    "percent",
]
