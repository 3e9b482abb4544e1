"""Data sets: folders of images, with masks, boxes or neither, and the built-in digits."""

from mobilevitv2.data.classification import ClassificationData, Sample, open_classification
from mobilevitv2.data.detection import DetectionData, open_detection
from mobilevitv2.data.opening import Data, TaskName, kind_of, open_data
from mobilevitv2.data.segmentation import SegmentationData, open_segmentation

__all__ = [
    "ClassificationData",
    "Data",
    "DetectionData",
    "Sample",
    "SegmentationData",
    "TaskName",
    "kind_of",
    "open_classification",
    "open_data",
    "open_detection",
    "open_segmentation",
]
