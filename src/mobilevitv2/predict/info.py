"""What a model is, without running it on an image: `describe`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilevitv2.bundle import bundle_of
from mobilevitv2.devices import gpu_is_here
from mobilevitv2.errors import UnsupportedError, require
from mobilevitv2.files.source import INDEX_SUFFIX, read_json
from mobilevitv2.predict.backends.engine import open_engine
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.runtime.opening import exported_file
from mobilevitv2.runtime.targets import bytes_of

if TYPE_CHECKING:
    from mobilevitv2.model.opening import TaskModel


@dataclass(frozen=True)
class ModelInfo:
    """A model in figures."""

    source: str
    task: str
    layout: str
    width: float
    classes: int
    parameters: int
    macs: int
    """Multiply-accumulate operations of convolutions and matrix products, for one image."""
    image_size: tuple[int, int]
    """Height and width [px] that the processor makes of a square image."""
    channel_order: str
    file: str
    file_bytes: int
    runs_in: str
    """Where `Predictor` computes it on this machine unless it is told otherwise, and why there."""
    labels: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types."""
        return asdict(self)


@dataclass(frozen=True)
class ExportInfo:
    """An exported file, by its record."""

    source: str
    task: str
    classes: int
    image_size: tuple[int, int]
    """Height and width [px] that the processor makes of a square image."""
    sizes: list[list[int]] | None
    """Each [height, width] that goes in [px]; None: any multiples of 32."""
    batch: int | None
    """Images that go in at a time; None: any number."""
    input: str
    output: str
    top_k: int | None
    channel_order: str
    precision: str
    target: str
    weights: str
    """sha256 of the weights that it was made from."""
    versions: dict[str, str]
    file: str
    file_bytes: int
    runs_in: str
    labels: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types."""
        return asdict(self)


def describe(source: str | Path) -> ModelInfo | ExportInfo:
    """Open whatever `Predictor` opens, and say what it holds; of an exported file its record.

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
    size = processor.square_size
    weights = find_weights(source)
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
        labels=list((model.config.id2label or {}).values()),
    )


def _describe_export(source: str | Path, file: Path) -> ExportInfo:
    network = ExportedBackend(source)
    record, processor = network.record, network.open_processor()
    same = ("task", "sizes", "batch", "input", "output", "top_k", "precision", "target", "weights")
    return ExportInfo(
        source=str(source),
        classes=len(record.labels),
        image_size=processor.square_size,
        channel_order=processor.channel_order,
        file=str(file),
        file_bytes=bytes_of(file),
        runs_in=network.runs_in,
        versions=record.versions,
        labels=record.labels,
        **{name: getattr(record, name) for name in same},
    )


def count_macs(model: "TaskModel", image_size: tuple[int, int]) -> int:
    """For one image of (height, width) px; the model's weights end on the meta device."""
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
    """Bytes of the file, or of all that an index lists."""
    if not weights.name.endswith(INDEX_SUFFIX):
        return weights.stat().st_size
    parts = set(read_json(weights)["weight_map"].values())
    return sum((weights.parent / part).stat().st_size for part in parts)
