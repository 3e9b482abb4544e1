"""`predict`: images, videos and cameras."""

import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mobilevitv2.cli import arguments

app = typer.Typer()


@app.command()
@arguments.also(arguments.prediction)
def predict(
    model: arguments.AnyModel,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (with all below), patterns, URLs of images, - for an image on "
            "standard input; or one video file, or a camera's number, such as 0.",
        ),
    ],
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Classifiers: classes to name per image. [dim]Default: 5[/]"),
    ] = None,
    channel_order: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="Overrule the model's own.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="A line of JSON per image.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="CSV with a header.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="New folder for the images with the results drawn on them.")
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
            help="Detectors: new .json file of COCO's results. image_id is the number in each "
            "file's name, else a count from 1; evaluate --coco writes the data's own."
        ),
    ] = None,
    overwrite: arguments.Overwrite = False,
    **how: Any,
) -> None:
    """Predict what images show: a class, labels, masks or boxes.

    mobilevitv2 predict runs/flowers photo.jpg
    """
    if json_ and csv_:
        raise typer.BadParameter("--json and --csv exclude each other.")
    folders = [folder for folder in (save, masks, yolo) if folder is not None]
    if len(set(map(os.path.realpath, folders))) < len(folders):
        raise typer.BadParameter("--save, --masks and --yolo need a folder each.")
    for folder in folders:
        arguments.check_new(folder, "folder", overwrite)
    arguments.check_new(coco, "file", overwrite)
    from mobilevitv2.cli import display
    from mobilevitv2.images.finding import collect_images, is_video

    moving = any(map(is_video, images))
    if moving and (len(images) > 1 or masks or yolo or coco):
        raise typer.BadParameter("a video must be the only input, with no output but --save.")
    found = [] if moving else collect_images(images)
    from mobilevitv2.predict.predictor import Predictor, Unreadable
    from mobilevitv2.predict.sinks import Outputs

    predictor = Predictor(model, top_k=top_k, channel_order=channel_order, **how)
    write = display.json_line if json_ else None
    if csv_:
        columns = predictor.options.get("top_k", 0)
        write = display.csv_writer(predictor.task, predictor.classes, columns)
    if moving:
        _predict_frames(predictor, images[0], save, write)
        return
    where = {"save": save, "masks": masks, "yolo": yolo, "coco": coco}
    outputs = Outputs(found, task=predictor.task, classes=predictor.classes, **where)
    rows, failed = [], 0
    try:
        outputs.open()
        with display.progress("predicting", lines=write is not None) as progress:
            for i, result in enumerate(predictor.stream(item.source for item in found)):
                progress(i + 1, len(found))
                if isinstance(result, Unreadable):
                    failed += 1
                    arguments.complain(result.reason)
                    continue
                result = replace(result, source=found[i].shown)
                outputs.add(i, result)
                if write:
                    write(result)
                elif len(found) == 1:
                    display.show(display.one_prediction(result))
                else:
                    rows.append((found[i].shown, result.pairs()[:3]))
        outputs.close()
    finally:
        outputs.note()
    if rows:
        display.show(display.predictions(rows))
    if failed:
        typer.echo(f"{failed} of {len(found)} images could not be read.", err=True)
        raise typer.Exit(1)


def _predict_frames(predictor: Any, source: str, save: Path | None, write: Any) -> None:
    """The part of `predict` for a video or a camera: a line for each frame, or a summary."""
    from mobilevitv2.cli import display
    from mobilevitv2.files.replacing import Place
    from mobilevitv2.predict.video import predict_video

    name = f"camera-{source}" if source.isdecimal() else Path(source).stem
    drawn = save / f"{name}.mp4" if save else None
    place, folder = Place.beside(save, "predict") if save else (None, "")
    if place:
        place.check([f"{folder}/{name}.mp4"], overwrite=True)
    count, started = 0, time.monotonic()
    try:
        with (
            display.progress("predicting", lines=write is not None) as progress,
            closing(predict_video(predictor, source, drawn, progress=progress)) as results,
        ):
            for result in results:
                count += 1
                if write:
                    write(result)
    finally:  # a camera is stopped by Ctrl-C
        if place and drawn and drawn.exists():
            place.note({*place.made(), f"{folder}/{name}.mp4"})
    rate = count / (time.monotonic() - started)
    where = f"; drawn: {drawn}" if drawn else ""
    typer.echo(f"{count:,} frames, {rate:.1f} frames/s{where}", err=write is not None)
