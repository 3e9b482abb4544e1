"""`export`: any model to one file, verified in its own runtime."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch

from mobilevitv2.bundle import bundle_of
from mobilevitv2.checkpoint.files import find_weights
from mobilevitv2.deploy.compare import Comparison, compare
from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.deploy.pictures import (
    calibration,
    chosen,
    for_size,
    prepared,
    sizes_to_verify,
    usual_size,
)
from mobilevitv2.deploy.request import Request, Sizes, check_installed, parse_sizes
from mobilevitv2.deploy.verify import Verification, verify
from mobilevitv2.devices import versions_of
from mobilevitv2.errors import ConfigError, DataError, ExportError
from mobilevitv2.files.replacing import Place
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.model.opening import TaskModel, open_model, open_processor, task_of_model
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.record import Record
from mobilevitv2.runtime.targets import REPORT, TARGETS, Target, bytes_of


@dataclass(frozen=True)
class Export:
    """An exported file, and how it compares with its model."""

    path: Path
    target: str
    bytes: int
    record: Record = field(repr=False)
    checks: list[Verification]  # empty if the target's runtime isn't on this machine
    checked_on: str  # the images, in words
    comparison: Comparison | None = None  # an int8 file beside the same in fp32

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "target": self.target,
            "bytes": self.bytes,
            "checks": [check.to_dict() for check in self.checks],
            "checked_on": self.checked_on,
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "record": asdict(self.record),
        }


def export(
    source: str | Path,
    *,
    to: str,
    out: str | Path | None = None,
    image_size: Sizes | None = None,
    batch: int | Literal["any"] | None = None,
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32",
    input: Literal["float", "uint8"] = "float",
    output: str = "logits",
    top_k: int | None = None,
    opset: int | None = None,
    calibrate: str | Path | None = None,
    images: str | Path | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a model for another runtime, and run it there on images beside the original.

    `to` is a key of `mobilevitv2.runtime.targets.TARGETS`. `image_size` is a side, (height, width),
    a list of these, or "any" for all multiples of 32 px; by default the processor's size, or any
    for a segmenter if the target can. `output` may also be what follows from the logits: a
    classifier's `top_k` best classes, by default 5, a segmenter's mask, a detector's boxes or
    detections; see `Record.output`. `opset` is ONNX's, by default 20. `batch` is a number or "any",
    by default any if the target can, else 1. `input` uint8 is RGB pixels [B, H, W, 3], scaled in
    the file. int8 needs `calibrate`, a folder of typical images. `images` is a folder to verify on.

    The file appears when all is done. One whose answers differ from its model's is set aside as
    `.rejected`, and ExportError says by how much. `overwrite` replaces an earlier export and
    nothing else: FileExistsError, before any work, says what is in the way. Raises ConfigError for
    what the target can't express, and ImportError with what to install.
    """
    if to not in TARGETS:
        raise ConfigError(f"target is {to!r}; must be one of {', '.join(TARGETS)}.")
    target = TARGETS[to]
    if images is not None and not target.runs_here:
        raise ConfigError(f"{target.name} doesn't run here, so images can't verify it.")
    source = bundle_of(source)
    out = Path(out).expanduser() if out is not None else _default_name(source, target)
    out = out if out.name.strip(".") else out.resolve()
    weights = find_weights(source)
    place = _checked_place(out, target, weights, overwrite=overwrite)
    check_installed(target)
    model = open_model(source).float()
    processor = open_processor(source, model)
    task = task_of_model(model)
    sizes = parse_sizes(image_size or usual_size(processor, task, target))
    if sizes:
        processor = for_size(processor, sizes[0], task)
    if (precision == "int8") != (calibrate is not None):
        raise ConfigError(
            "int8 and a folder of images to calibrate with go together: give both or neither."
        )
    request = Request(
        target=target,
        task=task,
        sizes=sizes,
        batch=_batch(batch, target),
        precision=precision,
        input=input,
        output=output,
        top_k=top_k,
        opset=opset,
        calibration=calibration(calibrate, processor, task, input, batch) if calibrate else [],
    )
    record = _record(model, processor, request)
    with place.replaced(
        overwrite=overwrite, names=target.files(out.name), inputs=[weights]
    ) as stage:
        written = stage / out.name
        _write(model, processor, request, record, written)
        checks: list[Verification] = []
        pictures: list[ImageSource] = []
        described = "nothing: its runtime isn't on this machine"
        if target.runs_here:
            pictures, described = chosen(images or calibrate)
            checks = _verify(written, model, processor, request, pictures)
        if failed := [check for check in checks if not check.passed]:
            raise ExportError(
                f"{target.name} doesn't answer as the model does ({failed[0]}). The file is set "
                f"aside as {_set_aside(written, out)}."
            )
        comparison = None
        if precision == "int8":
            with tempfile.TemporaryDirectory() as folder:
                files = {"fp32": Path(folder) / out.name, "int8": written}
                plain = replace(request, precision="fp32", calibration=[])
                _write(model, processor, plain, replace(record, precision="fp32"), files["fp32"])
                comparison = compare(files, processor, pictures)
        result = Export(out, to, bytes_of(written), record, checks, described, comparison)
        report = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
        (stage / (out.name + REPORT)).write_text(report + "\n", encoding="utf-8")
    return result


def _write(
    model: TaskModel,
    processor: MobileViTImageProcessor,
    request: Request,
    record: Record,
    path: Path,
) -> None:
    module = ExportedModule(model, processor, request).eval()
    with torch.no_grad():
        import_module(f"mobilevitv2.deploy.{request.target.key}").write(module, record, path)


def _default_name(source: str | Path, target: Target) -> Path:
    path = Path(source)
    folder = path if path.is_dir() else path.parent if path.exists() else Path()
    stem = path.stem if path.is_file() else "model"
    return folder / (stem + target.suffix if target.suffix else "web")


def _checked_place(out: Path, target: Target, weights: Path, *, overwrite: bool) -> Place:
    """The export's folder, if nothing is in the way that an export may not replace."""
    if target.suffix and out.suffix != target.suffix:
        raise ConfigError(f"{out} must end in {target.suffix} for {target.name}.")
    place, _ = Place.beside(out, "export", known=partial(_unrecorded, out, target))
    names = target.files(out.name)
    for path in (place.folder / name for name in names):
        if path.exists() and path.samefile(weights):
            raise FileExistsError(
                f"{weights} holds the model itself, and {target.name} would overwrite it. Name "
                "another file."
            )
    if os.path.lexists(out) and not overwrite:
        raise FileExistsError(f"{out} exists already. Name another, or overwrite it.")
    filled = out.is_dir() and any(out.iterdir())
    if filled and not any(name.startswith(f"{out.name}/") for name in place.made()):
        raise FileExistsError(f"{out} was not made by export, so it is kept. Name another.")
    place.check(names, overwrite=overwrite, inputs=[weights])
    return place


def _unrecorded(out: Path, target: Target, folder: Path) -> list[str]:
    """The files of an export that isn't listed in `folder`, by its own record."""
    try:
        record = open_runtime(out).record
    except Exception:  # whatever a runtime raises for what it can't read
        return []
    if record is None or record.target != target.key:
        return []
    return [name for name in target.files(out.name) if (folder / name).is_file()]


def _batch(batch: int | str | None, target: Target) -> int | None:
    if batch is None:
        return 1 if target.fixed else None
    if batch == "any":
        return None
    if isinstance(batch, bool) or not isinstance(batch, int):
        raise ConfigError(f"batch is {batch!r}; expected a whole number or any.")
    return batch


def _record(model: TaskModel, processor: MobileViTImageProcessor, request: Request) -> Record:
    facts = model.config.class_facts
    return Record(
        task=request.task,
        **asdict(facts),
        processor=processor.to_dict(),
        sizes=None if request.sizes is None else [list(size) for size in request.sizes],
        batch=request.batch,
        input=request.input,
        output=request.output,
        top_k=min(request.best, len(facts.labels)) if request.output == "top_k" else None,
        precision=request.precision,
        target=request.target.key,
        weights=_hash(model),
        versions=versions_of(["mobilevitv2", "torch", *request.target.packages]),
    )


def _hash(model: torch.nn.Module) -> str:
    """sha256 of the names and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _verify(
    path: Path,
    model: TaskModel,
    processor: MobileViTImageProcessor,
    request: Request,
    images: Sequence[ImageSource],
) -> list[Verification]:
    """In fp32 and in what the runtime would choose, at each size (two for any)."""
    opened = [ExportedBackend(path, precision=precision) for precision in ("fp32", "auto")]
    if opened[1].runtime.precision == "fp32":
        del opened[1]
    theirs = opened[0].open_processor()
    checks = []
    for size in sizes_to_verify(request.sizes, processor):
        pixels = given = prepared(images, for_size(processor, size, request.task), request.task)
        if not pixels:
            raise DataError("there are no readable images to verify with.")
        if theirs != processor:
            given = prepared(images, for_size(theirs, size, request.task), request.task)
        checks += [verify(exported, model, pixels, given) for exported in opened]
    return checks


def _set_aside(written: Path, out: Path) -> Path:
    """Move the rejected files beside `out`, to unused names."""
    files = {file: "" if file == written else file.suffix for file in written.parent.iterdir()}
    number, aside = 1, out.with_name(f"{out.name}.rejected")
    while any(os.path.lexists(f"{aside}{end}") for end in files.values()):
        number += 1
        aside = out.with_name(f"{out.name}.rejected-{number}")
    for file, end in files.items():
        os.rename(file, f"{aside}{end}")
    return aside
