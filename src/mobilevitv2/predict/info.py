"""What a model holds, without running it: `describe`."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevitv2.bundle import bundle_of
from mobilevitv2.class_names import ClassFacts
from mobilevitv2.devices import gpu_is_here
from mobilevitv2.errors import UnsupportedError, require
from mobilevitv2.files.source import INDEX_SUFFIX, read_json
from mobilevitv2.predict.backends.engine import open_engine
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.runtime.opening import exported_file
from mobilevitv2.runtime.targets import bytes_of

if TYPE_CHECKING:
    from mobilevitv2.model.opening import TaskModel


@dataclass(frozen=True, kw_only=True)
class Info(ClassFacts):
    """What every model has."""

    source: str
    task: str
    classes: int
    image_size: tuple[int, int]  # height and width [px] that the processor makes of a square image
    channel_order: str
    file: str
    file_bytes: int
    runs_in: str  # where `Predictor` runs it here by default, and why if not in the engine

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ModelInfo(Info):
    """A checkpoint."""

    layout: str
    width: float
    parameters: int
    macs: int  # multiply-accumulate operations of convolutions and matrix products, for one image


@dataclass(frozen=True, kw_only=True)
class ExportInfo(Info):
    """An exported file, with what its `Record` says."""

    sizes: list[list[int]] | None
    batch: int | None
    input: str
    output: str
    top_k: int | None
    precision: str
    target: str
    weights: str
    versions: dict[str, str]


def describe(source: str | Path) -> ModelInfo | ExportInfo:
    """What anything that `Predictor` opens holds; for an exported file, what its record says.

    Raises CheckpointError, ConfigError, FileNotFoundError, or ImportError with what to install.
    """
    if (file := exported_file(source)) is not None:
        return _describe_export(source, file)
    require("torch", extra="torch")
    from mobilevitv2.checkpoint.files import find_weights
    from mobilevitv2.model.opening import open_model, open_processor, task_of_model

    source = bundle_of(source)
    model = open_model(source)
    processor = open_processor(source, model)
    size, weights = processor.square_size, find_weights(source)
    return ModelInfo(
        source=str(source),
        task=task_of_model(model),
        layout=model.checkpoint_layout or "",
        width=model.config.width_multiplier,
        classes=model.config.num_labels or 0,
        parameters=model.num_parameters(),
        macs=count_macs(model, size),
        image_size=size,
        channel_order=processor.channel_order,
        file=str(weights),
        file_bytes=_size(weights),
        runs_in=_runs_in(source),
        **asdict(model.config.class_facts),
    )


def _describe_export(source: str | Path, file: Path) -> ExportInfo:
    backend = ExportedBackend(source)
    record, processor = backend.record, backend.open_processor()
    known = {field.name for field in fields(ExportInfo)}
    return ExportInfo(
        source=str(source),
        classes=len(record.labels),
        image_size=processor.square_size,
        channel_order=processor.channel_order,
        file=str(file),
        file_bytes=bytes_of(file),
        runs_in=backend.runs_in,
        **{name: value for name, value in vars(record).items() if name in known},
    )


def count_macs(model: "TaskModel", image_size: tuple[int, int]) -> int:
    """For one image of (height, width) px; moves the model to the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.empty(1, model.config.num_channels, *image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta")(image)
    return counter.get_total_flops() // 2


def _runs_in(source: str | Path) -> str:
    if gpu_is_here():
        return "PyTorch, cuda"
    try:
        return open_engine(source).runs_in
    except (UnsupportedError, ImportError) as error:
        return f"PyTorch, cpu: {error}"


def _size(weights: Path) -> int:
    """Bytes of the file, or of all the files that an index lists."""
    if not weights.name.endswith(INDEX_SUFFIX):
        return weights.stat().st_size
    parts = set(read_json(weights)["weight_map"].values())
    return sum((weights.parent / part).stat().st_size for part in parts)
