"""The command line: each command reads its arguments, calls one function and prints.

Results go to standard output, progress and complaints to standard error. Exit codes: 0 all is well,
1 an error said in one line, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from mobilevitv2.arguments import (
    AnyModel,
    Classes,
    Data,
    EvaluateCommand,
    Flip,
    Ignore,
    Json,
    Model,
    Overwrite,
    ReduceLabels,
    SeenAt,
    Task,
    Threads,
    Threshold,
    Window,
    check_file,
    check_folder,
    complain,
    setting,
    sides_of,
)
from mobilevitv2.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ExportError,
    ImageError,
    how_to_install,
)

KNOWN = (ImageError, CheckpointError, ConfigError, DataError, ExportError, ImportError, OSError)


class Commands(TyperGroup):
    """The commands, with known errors as one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads our output has seen enough
            raise
        except KNOWN as error:
            absent = isinstance(error, ModuleNotFoundError) and error.name
            complain(how_to_install(absent) if absent else str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            typer.echo(f"\n{str(stop) or 'Stopped.'}", err=True)
            raise typer.Exit(getattr(stop, "exit_code", 130)) from stop


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        import mobilevitv2

        typer.echo(f"mobilevitv2 {mobilevitv2.__version__}")
        raise typer.Exit


@app.callback()
def mobilevitv2(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """MobileViTv2 on your own images: train, evaluate, predict, export."""


@app.command()
def train(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run. [dim]Default: runs/NAME OF DATA[/]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Fine-tune this model.")] = None,
    width: Annotated[
        float | None, typer.Option(help="Width from scratch, 0.5 to 2.0. [dim]Default: 0.5[/]")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name, or a .yaml file with settings.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images, in px.")] = None,
    freeze: Annotated[int | None, typer.Option(help="Stages to keep as they are, 0 to 5.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read images.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that compute.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe; repeatable."),
    ] = None,
    task: Task = "auto",
    classes: Classes = None,
    ignore: Ignore = None,
    reduce_labels: ReduceLabels = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
) -> None:
    """Train on a folder of images: classes, masks, or boxes.

    mobilevitv2 train flowers --out runs/flowers
    """
    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume exclude each other.")
    if model is not None and width is not None:
        raise typer.BadParameter("--width is for training from scratch; --model has its own.")
    named = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "image_size": image_size}
    named |= {"freeze": freeze, "seed": seed, "precision": precision, "workers": workers}
    named |= {"threads": threads, "width": width, "recipe": recipe, "model": model}
    named |= {"classes": classes, "ignore": ignore}
    given = {name: value for name, value in named.items() if value is not None}
    overrides = given | dict(map(setting, settings or []))
    from mobilevitv2 import display
    from mobilevitv2.training import train as run

    out = out or Path("runs") / Path(data).resolve().name
    how = {"task": task, "reduce_labels": reduce_labels, "overwrite": overwrite, "resume": resume}
    result = run(data, out=out, **how, **overrides)
    display.show(display.trained(result))


@app.command(cls=EvaluateCommand)
def evaluate(
    model: AnyModel,
    data: Data,
    split: Annotated[
        Literal["auto", "train", "val", "test", "all"],
        typer.Option(help="auto: test, else val, else what the model was not trained on."),
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    channel_order: Annotated[
        list[str] | None,
        typer.Option(metavar="rgb|bgr", help="Feed this order; with both (rgb bgr), compare."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="New folder for a page with charts and mistakes.")
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option(
            help="Detectors: new .json file of COCO's results, with the data's own ids, as "
            "pycocotools wants them."
        ),
    ] = None,
    threshold: Threshold = 0.3,
    flip: Flip = False,
    window: Window = None,
    image_size: SeenAt = None,
    classes: Classes = None,
    ignore: Ignore = None,
    reduce_labels: ReduceLabels = False,
    json_: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure how often a model is right.

    mobilevitv2 evaluate runs/flowers flowers
    """
    orders: Any = [order for text in channel_order or [] for order in text.lower().split(",")]
    if strange := set(orders) - {"rgb", "bgr"}:
        raise typer.BadParameter(f"--channel-order is rgb or bgr, not {', '.join(strange)}.")
    check_folder(report, overwrite)
    check_file(coco, overwrite)
    from mobilevitv2 import display
    from mobilevitv2.evaluation import evaluate as run

    with display.progress("evaluating") as progress:
        result = run(
            model,
            data,
            split=split,
            batch_size=batch_size,
            channel_orders=orders,
            report=report,
            coco=coco,
            progress=progress,
            threshold=threshold,
            flip=flip,
            window=window,
            image_size=image_size,
            classes=classes,
            ignore=ignore,
            reduce_labels=reduce_labels,
        )
    if json_:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        display.show(display.evaluation(result))
    for reason in result.unreadable.values():
        typer.echo(f"left out: {reason}", err=True)
    if report is not None:
        typer.echo(f"report: {report / 'report.html'}", err=True)


@app.command()
def predict(
    model: AnyModel,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (with all below), patterns, addresses of image files, - for one "
            "image on standard input; or one video file, or the number of a camera, as 0.",
        ),
    ],
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time. [dim]16; of segmenters 4[/]")
    ] = None,
    channel_order: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="Overrule the model's own.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="A line of JSON for each image.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="A line of CSV for each image.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="New folder for the images with the result drawn on them.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Segmenters: new folder for the masks, as palette PNGs.")
    ] = None,
    yolo: Annotated[
        Path | None, typer.Option(help="Detectors: new folder for YOLO's text files.")
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option(
            help="Detectors: new .json file of COCO's results. image_id is the number that each "
            "file is called by, or else they are counted from 1; evaluate --coco has the data's."
        ),
    ] = None,
    threshold: Threshold = 0.3,
    flip: Flip = False,
    window: Window = None,
    image_size: SeenAt = None,
    threads: Threads = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="What to compute in; auto: of an exported file, what is quickest here."),
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Name what is in images, what every pixel is of, or where things are.

    mobilevitv2 predict runs/flowers photo.jpg
    """
    if json_ and csv_:
        raise typer.BadParameter("--json and --csv exclude each other.")
    folders = [folder for folder in (save, masks, yolo) if folder is not None]
    if len(set(folders)) < len(folders):
        raise typer.BadParameter("--save, --masks and --yolo want a folder each.")
    for folder in folders:
        check_folder(folder, overwrite)
    check_file(coco, overwrite)
    from mobilevitv2 import collect, display
    from mobilevitv2.video import is_video

    moving = any(map(is_video, images))
    if moving and (len(images) > 1 or masks or yolo or coco):
        raise typer.BadParameter("a video goes alone, with --save for the drawn one.")
    found = [] if moving else collect.collect_images(images)
    from mobilevitv2.outputs import Outputs
    from mobilevitv2.predictor import Predictor, Unreadable

    predictor = Predictor(
        model,
        top_k=top_k,
        threshold=threshold,
        batch_size=batch_size,
        channel_order=channel_order,
        threads=threads,
        precision=precision,
        image_size=image_size,
        flip=flip,
        window=window,
    )
    write = display.csv_writer(predictor.task, predictor.classes, top_k) if csv_ else None
    if moving:
        _predict_frames(predictor, images[0], save, write, json_)
        return
    where = {"save": save, "masks": masks, "yolo": yolo, "coco": coco}
    outputs = Outputs(found, task=predictor.task, classes=predictor.classes, **where)
    rows, failed = [], 0
    with display.progress("predicting", lines=json_ or csv_) as progress:
        for i, result in enumerate(predictor.stream(item.source for item in found)):
            progress(i + 1, len(found))
            if isinstance(result, Unreadable):
                failed += 1
                complain(result.reason)
                continue
            result = replace(result, source=found[i].shown)
            outputs.add(i, result)
            if write:
                write(result)
            elif json_:
                typer.echo(result.to_json())
            elif len(found) == 1:
                display.show(display.one_prediction(result))
            else:
                rows.append(display.summary(result))
    outputs.close()
    if rows:
        display.show(display.predictions(rows))
    if failed:
        typer.echo(f"{failed} of {len(found)} images could not be read.", err=True)
        raise typer.Exit(1)


def _predict_frames(
    predictor: Any, source: str, save: Path | None, write: Any, json_: bool
) -> None:
    """The part of `predict` for a video or a camera: a line for each frame, or a summary."""
    from mobilevitv2 import display
    from mobilevitv2.video import predict_video

    name = f"camera-{source}" if source.isdecimal() else Path(source).stem
    drawn = save / f"{name}.mp4" if save else None
    count, started = 0, time.monotonic()
    with display.progress("predicting", lines=json_ or write is not None) as progress:
        for result in predict_video(predictor, source, drawn, progress=progress):
            count += 1
            if write:
                write(result)
            elif json_:
                typer.echo(result.to_json())
    rate = count / (time.monotonic() - started)
    where = f"; drawn: {drawn}" if drawn else ""
    typer.echo(f"{count:,} frames, {rate:.1f} frames/s{where}", err=json_ or write is not None)


@app.command()
def inspect(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="New folder for pictures of the images with their labels.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images of each split to draw.")] = 16,
    seed: Annotated[int, typer.Option(help="Which images.")] = 0,
    task: Task = "auto",
    classes: Classes = None,
    ignore: Ignore = None,
    reduce_labels: ReduceLabels = False,
    overwrite: Overwrite = False,
) -> None:
    """Look at a data set before training: count it, draw it, and say what is odd about it.

    mobilevitv2 inspect blood --out blood-inspected
    """
    check_folder(out, overwrite)
    from mobilevitv2.data import open_data
    from mobilevitv2.inspection import inspect as run

    how: dict[str, Any] = {"classes": classes, "ignore": ignore, "reduce_labels": reduce_labels}
    typer.echo(run(open_data(data, task, seed=seed, **how), out, count=count, seed=seed).text)


@app.command()
def info(model: Model, json_: Json = False) -> None:
    """Say what a model is.

    mobilevitv2 info runs/flowers
    """
    from mobilevitv2 import display
    from mobilevitv2.info import describe

    found = describe(model)
    if json_:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        display.show(display.model_info(found))


@app.command()
def convert(
    model: Model,
    to: Annotated[
        Literal["transformers", "timm", "cvnets"], typer.Option(help="Whose layout to write.")
    ],
    out: Annotated[
        Path, typer.Option(help="A folder for transformers, else a .pth or .safetensors file.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Write a model so that transformers, timm or ml-cvnets opens it.

    mobilevitv2 convert runs/flowers --to timm --out flowers.pth
    """
    from mobilevitv2.conversion import convert as run

    typer.echo(run(model, layout=to, out=out, overwrite=overwrite))


@app.command()
def export(
    model: Model,
    to: Annotated[
        Literal["onnx", "openvino", "coreml", "executorch", "litert", "torch", "web"],
        typer.Option(help="Where it is going to run."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file. [dim]Default: beside the model[/]")
    ] = None,
    image_size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|HxW|any",
            help="In px; repeatable; any: all multiples of 32. [dim]Default: the model's own[/]",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="N|any", help="Images at a time. [dim]Default: any, else 1[/]"),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"], typer.Option(help="Of weights and arithmetic.")
    ] = "fp32",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise; wants --calibrate.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder of images like those to come, for --int8.")
    ] = None,
    input: Annotated[
        Literal["float", "uint8"],
        typer.Option(help="float: prepared pixels [B,3,H,W]. uint8: RGB pixels [B,H,W,3]."),
    ] = "float",
    output: Annotated[
        Literal["logits", "top_k", "mask", "boxes", "detections"],
        typer.Option(
            help="Logits; the best classes; of segmenters the class of each pixel (mask); of "
            "detectors scores and boxes of all anchors, or detections after suppression."
        ),
    ] = "logits",
    top_k: Annotated[int, typer.Option(min=1, help="How many classes top_k gives.")] = 5,
    opset: Annotated[int, typer.Option(help="Of ONNX, 17 to 21.")] = 20,
    images: Annotated[Path | None, typer.Option(help="A folder of images to verify on.")] = None,
    json_: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a model for phones, browsers and servers, and check that it answers the same.

    mobilevitv2 export runs/flowers --to onnx --out flowers.onnx
    """
    sizes = [sides_of(text) for text in image_size or []]
    if "any" in sizes and len(sizes) > 1:
        raise typer.BadParameter("--image-size any goes alone.")
    if batch is not None and batch != "any" and not batch.isdecimal():
        raise typer.BadParameter(f"--batch is a number or any, not {batch}.")
    if int8 and precision != "fp32":
        raise typer.BadParameter("--int8 and --precision exclude each other.")
    from mobilevitv2 import display
    from mobilevitv2.deploy import export as run

    size: Any = None if not sizes else "any" if "any" in sizes else sizes
    how_many: Any = int(batch) if batch and batch != "any" else batch
    result = run(
        model,
        to=to,
        out=out,
        image_size=size,
        batch=how_many,
        precision="int8" if int8 else precision,
        input=input,
        output=output,
        top_k=top_k,
        opset=opset,
        calibrate=calibrate,
        images=images,
        overwrite=overwrite,
    )
    if json_:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        display.show(display.exported(result))


@app.command()
def benchmark(
    model: Model,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="In px. [dim]Default: the model's own[/]")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images at a time; repeatable. [dim]1 and 8[/]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Calls to take the median of.")] = 30,
    threads: Threads = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="timm and transformers through the same runtimes.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="New folder for figures and a plot.")] = None,
    json_: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Say how fast a model is here, in every runtime that is installed.

    mobilevitv2 benchmark runs/flowers --threads 2
    """
    check_folder(save, overwrite)
    from mobilevitv2 import display
    from mobilevitv2.benchmark import benchmark as run

    with display.progress("measuring") as progress:
        result = run(
            model,
            image_size=sides_of(image_size) if image_size else None,
            batches=batch or (1, 8),
            rounds=rounds,
            threads=threads,
            peers=peers,
            progress=progress,
        )
    if save is not None:
        result.save(save)
    if json_:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        display.show(display.benchmark(result))
    for name, reason in result.left_out.items():
        typer.echo(f"left out {name}: {reason}", err=True)


def main() -> None:
    """The command `mobilevitv2`."""
    app()


if __name__ == "__main__":
    main()
