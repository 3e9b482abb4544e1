"""The export targets, a row each: what a kind of file can express, and what makes and opens it.

A new target is a row here, a module named after its key in `deploy` whose
`write(module, record, path)` makes the file, and, if it runs here, one in this folder whose `File`
opens it.
"""

from dataclasses import dataclass
from pathlib import Path

REPORT = ".verified.json"  # after an output's name: how it compared with its model
WEB_MODEL = "model.onnx"  # in the folder of a web export
WEB_RECORD = "record.json"  # what a page reads to prepare images and to name classes


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of file."""

    key: str  # what it is called in `export(to=...)` and in records
    name: str
    help: str  # what it is for, in a few words
    suffix: str = ""  # empty for a folder
    packages: tuple[str, ...]  # what has to be importable to make it
    extra: str
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    fixed: bool = False  # whether it takes one image size and a fixed number of images
    elementary_norms: bool = False  # whether a norm over a whole map has to be spelled out for it
    runs_here: bool = True
    runs_in_any: bool = False  # whether the runtime can compute in another precision than the file
    alone: bool = False  # whether it needs its own environment, as its package pins another torch
    lacks: tuple[str, ...] = ("detections",)  # outputs that it can't express
    inputs: tuple[str, ...] = ("float", "uint8")
    opsets: bool = False  # whether the opset of ONNX can be chosen
    beside: tuple[str, ...] = ()  # suffixes of further files, in place of its own
    within: tuple[str, ...] = ()  # files that a folder always has

    def files(self, name: str) -> list[str]:
        """The files of an export of this name, relative to the folder that it lies in."""
        own = [f"{name}/{part}" for part in self.within] or [name]
        beside = [Path(name).with_suffix(suffix).name for suffix in self.beside]
        return [*own, *beside, name + REPORT]


ROWS = (
    Target(
        key="onnx", name="ONNX", help="servers and most other runtimes", suffix=".onnx",
        packages=("onnx", "onnxscript", "onnxruntime"), extra="onnx", lacks=(), opsets=True,
    ),
    Target(
        key="openvino", name="OpenVINO", help="Intel processors", suffix=".xml", runs_in_any=True,
        packages=("onnx", "onnxscript", "openvino"), extra="openvino", lacks=(), beside=(".bin",),
    ),
    Target(
        key="coreml", name="Core ML", help="iPhone, iPad and Mac", suffix=".mlpackage",
        packages=("coremltools",), extra="coreml", precisions=("fp32", "fp16"), fixed=True,
        elementary_norms=True, runs_here=False, lacks=("top_k", "detections"), inputs=("float",),
        within=("Manifest.json",),
    ),
    Target(
        key="executorch", name="ExecuTorch", help="Android, iOS, embedded Linux", suffix=".pte",
        packages=("executorch", "torchao"), extra="executorch", precisions=("fp32", "int8"),
        fixed=True, elementary_norms=True,
    ),
    Target(
        key="litert", name="LiteRT", help="Android (TensorFlow Lite)", suffix=".tflite",
        packages=("litert_torch",), extra="litert", precisions=("fp32",), fixed=True,
        elementary_norms=True, alone=True,
    ),
    Target(
        key="torch", name="torch.export", help="PyTorch without this package", suffix=".pt2",
        packages=("torch",), extra="torch", precisions=("fp32", "bf16", "fp16"),
    ),
    Target(
        key="web", name="the web", help="browsers",
        packages=("onnx", "onnxscript", "onnxruntime"), extra="onnx", lacks=(), opsets=True,
        within=(WEB_MODEL, WEB_RECORD),
    ),
)  # fmt: skip
TARGETS = {row.key: row for row in ROWS}
FORMATS = {row.suffix: row for row in ROWS if row.suffix and row.runs_here}


def bytes_of(path: Path) -> int:
    """The size of an exported file, with what belongs beside it, or of a folder."""
    target = FORMATS.get(path.suffix.lower())
    beside = target.beside if target else ()
    files = path.rglob("*") if path.is_dir() else [path, *map(path.with_suffix, beside)]
    return sum(file.stat().st_size for file in files if file.is_file())
