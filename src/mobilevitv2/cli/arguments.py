"""The arguments that several commands share, and how their text is read."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mobilevitv2.errors import require
from mobilevitv2.runtime.targets import TARGETS
from mobilevitv2.tasks import BY_VERB, TASKS

if TYPE_CHECKING:  # a type checker can't read the tables
    TaskName = TargetName = OutputName = Any
else:
    TaskName = Literal["auto", *BY_VERB]
    TargetName = Literal[tuple(TARGETS)]
    OutputName = Literal[tuple(output for task in TASKS.values() for output in task.outputs)]

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The folder of a run or a bundle, weights of transformers, timm or ml-cvnets "
        "(.safetensors, .pth, .pt, .bin), or a hub id.",
    ),
]
AnyModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The folder of a run or a bundle, a weights file, a hub id, or an exported file "
        "(.onnx, .xml, .pte, .tflite, .pt2), which runs in its own runtime.",
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with a folder of images per class, also inside train and val folders; "
        "images with a table of labels (labels.csv); images with masks (images and masks folders, "
        "Pascal VOC, CamVid); images with boxes (Pascal VOC's XML, COCO's JSON, YOLO's data.yaml); "
        "or [bold]digits[/], which is built in.",
    ),
]
To = Annotated[
    TargetName,
    typer.Option(help="; ".join(f"{key}: {row.help}" for key, row in TARGETS.items()) + "."),
]
Output = Annotated[
    OutputName,
    typer.Option(
        help="What the file gives: logits, the best classes (top_k), multi-label models' "
        "probabilities (scores), segmenters' class of each pixel (mask), or detectors' scores and "
        "boxes of all anchors (boxes) or detections after suppression."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads that compute. [dim]Default: the runtime's own[/]")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Task = Annotated[
    TaskName, typer.Option(help="What the data is for; auto: what the folder looks like.")
]


def prediction(
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images at a time. [dim]Default: 16; for segmenters 4[/]"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Detectors: lowest score of a box that is shown; by default 0.3. Multi-label: "
            "probability above which an image has a label; by default the model's own, else 0.5.",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Segmenters: average with the mirrored image.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            help="Segmenters: see an image that --image-size makes larger than this through "
            "overlapping squares of this side, in px."
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Segmenters: short side at which images are seen, in px.")
    ] = None,
    threads: Threads = None,
    runtime: Annotated[
        Literal["auto", "native", "torch"],
        typer.Option(
            help="Where a bundle runs: native is the package's own engine for the CPU, torch is "
            "PyTorch; auto: a GPU if there is one, else the engine if it can."
        ),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8"],
        typer.Option(
            help="What to compute in; int8 needs the engine. auto: fp32, or whatever is fastest "
            "for an exported file."
        ),
    ] = "auto",
) -> None:
    """How a model predicts: options of `Predictor`."""


def labels(
    classes: Annotated[
        str | None,
        typer.Option(
            help="Masks: a file of class names and colors (classes.txt, .csv or .json), or voc, "
            "camvid or ade20k. Boxes and labels: a file with a name per line, or voc or coco."
        ),
    ] = None,
    ignore: Annotated[
        list[int] | None,
        typer.Option(help="Masks: a value that doesn't count, besides 255; repeatable."),
    ] = None,
    reduce_labels: Annotated[
        bool, typer.Option("--reduce-labels", help="Masks: 0 doesn't count, 1 is the first class.")
    ] = False,
) -> None:
    """What the labels of data mean: options of `open_data`."""


def also(*options: Callable[..., None]) -> Callable[[Any], Any]:
    """Give a command the parameters of these functions, too, for its last one: **keywords."""

    def extended(command: Any) -> Any:
        own, *shared = (list(inspect.signature(f).parameters.values()) for f in (command, *options))
        command.__signature__ = inspect.Signature(sum(shared, own[:-1]))
        return command

    return extended


def complain(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)


def setting(text: str) -> tuple[str, Any]:
    """The two halves of --set NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"--set {text}: give NAME=VALUE, such as mixup=0.")
    yaml = require("yaml", extra="train")
    try:
        return name.strip().replace("-", "_"), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"--set {text}: {value!r} isn't valid YAML.") from error


def sides_of(text: str) -> Any:
    """`any`, a side or [height, width]."""
    if text == "any":
        return text
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(
            f"--image-size is 256, 256x320 (height x width) or any, not {text}."
        )
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else numbers


def check_new(path: Path | None, what: Literal["file", "folder"], overwrite: bool) -> None:
    """Raises FileExistsError where something is in the way, unless it may be overwritten."""
    if path is None or overwrite or not path.exists():
        return
    if what == "file" or not path.is_dir() or any(path.iterdir()):
        raise FileExistsError(f"{path} exists already. Name a new {what}, or add --overwrite.")
