"""How the command line's arguments are called, explained and read."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from mobilevitv2.errors import require

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run's folder, a bundle's folder, a weights file (.safetensors, .pth, .pt, .bin) of "
        "transformers, timm or ml-cvnets, or a hub id.",
    ),
]
AnyModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run's folder, a bundle's folder, a weights file, a hub id, or an exported file "
        "(.onnx, .xml, .pte, .tflite, .pt2), which runs in its own runtime.",
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with a folder of images for each class, or with train and val folders of "
        "such folders; or images with masks (images and masks folders, Pascal VOC's or CamVid's "
        "layout); or images with boxes (Pascal VOC's XML, COCO's JSON, YOLO's data.yaml); or "
        "[bold]digits[/], which is built in.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that compute. [dim]Default: the runtime's own[/]"),
]
Runtime = Annotated[
    Literal["auto", "native", "torch"],
    typer.Option(
        help="Where a bundle runs: native is the package's own engine for the CPU, torch is "
        "PyTorch; auto: a GPU where there is one, else the engine where it can."
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(
        help="What to compute in; int8 is the engine's. auto: fp32; of an exported file what is "
        "quickest here."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


Task = Annotated[
    Literal["auto", "classify", "segment", "detect"],
    typer.Option(help="What the data is for; auto: what the folder looks like."),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Of masks: a file of class names and colors (classes.txt, .csv or .json), or voc, "
        "camvid or ade20k. Of boxes: a file with a name a line, or voc or coco."
    ),
]
Ignore = Annotated[
    list[int] | None,
    typer.Option(help="Of masks: a value that does not count, beside 255; repeatable."),
]
ReduceLabels = Annotated[
    bool,
    typer.Option("--reduce-labels", help="Of masks: 0 does not count, 1 is the first class."),
]
Flip = Annotated[bool, typer.Option("--flip", help="Segmenters: average with the mirrored image.")]
Window = Annotated[
    int | None,
    typer.Option(
        help="Segmenters: see an image that --image-size makes larger than this through "
        "overlapping squares of this side, in px."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Detectors: least score of a box that is shown. [dim]Default: 0.3[/]"
    ),
]
SeenAt = Annotated[
    int | None, typer.Option(help="Segmenters: short side at which images are seen, in px.")
]


class EvaluateCommand(TyperCommand):
    """Takes `--channel-order rgb bgr` as well as the option given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        for arg in args:
            if arg in ("rgb", "bgr") and len(spread) > 1 and spread[-2] == "--channel-order":
                spread.append("--channel-order")
            spread.append(arg)
        return super().parse_args(ctx, spread)


def complain(message: str) -> None:
    """One line on standard error."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)


def setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE of --set, to both."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"--set {text}: NAME=VALUE is wanted, such as mixup=0.")
    yaml = require("yaml", extra="train")
    try:
        return name.strip().replace("-", "_"), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"--set {text}: {value!r} is no value of YAML.") from error


def sides_of(text: str) -> Any:
    """`any`, a side or (height, width)."""
    if text == "any":
        return text
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(
            f"--image-size is 256, 256x320 (height x width) or any, not {text}."
        )
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else numbers


def check_file(path: Path | None, overwrite: bool) -> None:
    """Raises FileExistsError where something is in the way, unless it may be overwritten."""
    if path is not None and not overwrite and path.exists():
        raise FileExistsError(f"{path} exists already. Name a new file, or add --overwrite.")


def check_folder(folder: Path | None, overwrite: bool) -> None:
    """Raises FileExistsError where something is in the way, unless it may be overwritten."""
    if folder is None or overwrite or not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise FileExistsError(f"{folder} exists already. Name a new folder, or add --overwrite.")
