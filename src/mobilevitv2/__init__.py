"""MobileViTv2, whole: models, checkpoints, image processor, training, evaluation, prediction.

Importing the package imports none of torch and the rest; each name loads what it needs, or says
what to install.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilevitv2.config import MobileViTV2Config
    from mobilevitv2.evaluation import evaluate
    from mobilevitv2.model.attention import SeparableSelfAttention
    from mobilevitv2.model.backbone import MobileViTV2Backbone, MobileViTV2Model
    from mobilevitv2.model.classification import MobileViTV2ForImageClassification
    from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
    from mobilevitv2.model.segmentation import MobileViTV2ForSemanticSegmentation
    from mobilevitv2.predict.predictor import Predictor
    from mobilevitv2.processor import MobileViTImageProcessor
    from mobilevitv2.results.classification import Classification
    from mobilevitv2.results.detection import Detection
    from mobilevitv2.results.multi_label import MultiLabel
    from mobilevitv2.results.segmentation import Segmentation
    from mobilevitv2.training import train

__version__: str

__all__ = [
    "Classification",
    "Detection",
    "MobileViTImageProcessor",
    "MobileViTV2Backbone",
    "MobileViTV2Config",
    "MobileViTV2ForImageClassification",
    "MobileViTV2ForObjectDetection",
    "MobileViTV2ForSemanticSegmentation",
    "MobileViTV2Model",
    "MultiLabel",
    "Predictor",
    "Segmentation",
    "SeparableSelfAttention",
    "evaluate",
    "train",
]

_HOME = {  # name: the module that holds it, and what it needs: (module, extra)
    "Classification": ("results.classification", None),
    "Detection": ("results.detection", None),
    "MobileViTImageProcessor": ("processor", None),
    "MobileViTV2Backbone": ("model.backbone", ("torch", "torch")),
    "MobileViTV2Config": ("config", None),
    "MobileViTV2ForImageClassification": ("model.classification", ("torch", "torch")),
    "MobileViTV2ForObjectDetection": ("model.detection", ("torch", "torch")),
    "MobileViTV2ForSemanticSegmentation": ("model.segmentation", ("torch", "torch")),
    "MobileViTV2Model": ("model.backbone", ("torch", "torch")),
    "MultiLabel": ("results.multi_label", None),
    "Predictor": ("predict.predictor", None),
    "Segmentation": ("results.segmentation", None),
    "SeparableSelfAttention": ("model.attention", ("torch", "torch")),
    "evaluate": ("evaluation", ("torch", "torch")),
    "train": ("training", ("torch", "train")),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata  # 50 ms, which only those pay who ask

        return metadata.version("mobilevitv2")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, needs = _HOME[name]
    if needs:
        from mobilevitv2.errors import require

        require(needs[0], extra=needs[1])
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
