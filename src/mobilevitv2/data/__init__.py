"""Data sets: folders of images, or the built-in digits, to what training and evaluation read."""

from mobilevitv2.data.classification import ClassificationData, Sample, open_classification

__all__ = ["ClassificationData", "Sample", "open_classification"]
