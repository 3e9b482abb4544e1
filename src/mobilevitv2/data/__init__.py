"""Data sets: images with classes, labels, masks or boxes, and the built-in digits."""

from mobilevitv2.data.boxes.opening import DetectionData, open_detection
from mobilevitv2.data.classes.opening import ClassificationData, Sample, open_classification
from mobilevitv2.data.data_set import Data
from mobilevitv2.data.labels.opening import MultiLabelData, open_multi_label
from mobilevitv2.data.masks.opening import SegmentationData, open_segmentation
from mobilevitv2.data.opening import TaskName, kind_of, open_data

__all__ = [
    "ClassificationData",
    "Data",
    "DetectionData",
    "MultiLabelData",
    "Sample",
    "SegmentationData",
    "TaskName",
    "kind_of",
    "open_classification",
    "open_data",
    "open_detection",
    "open_multi_label",
    "open_segmentation",
]
