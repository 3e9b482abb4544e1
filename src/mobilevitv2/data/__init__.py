"""Data sets: folders of images, with masks or without, and the built-in digits, to samples."""

from mobilevitv2.data.classification import ClassificationData, Sample, open_classification
from mobilevitv2.data.opening import Data, TaskName, kind_of, open_data
from mobilevitv2.data.segmentation import SegmentationData, open_segmentation

__all__ = [
    "ClassificationData",
    "Data",
    "Sample",
    "SegmentationData",
    "TaskName",
    "kind_of",
    "open_classification",
    "open_data",
    "open_segmentation",
]
