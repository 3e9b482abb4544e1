"""`evaluate`: what a model is worth."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mobilevitv2.cli.arguments import (
    AnyModel,
    Classes,
    Data,
    Flip,
    Ignore,
    Json,
    Overwrite,
    Precision,
    ReduceLabels,
    Runtime,
    SeenAt,
    Threads,
    Threshold,
    Window,
    check_file,
    check_folder,
)


def evaluate(
    model: AnyModel,
    data: Data,
    split: Annotated[
        Literal["auto", "train", "val", "test", "all"],
        typer.Option(help="auto: test, else val, else what the model was not trained on."),
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images at a time. [dim]Default: 16; of segmenters 4[/]"),
    ] = None,
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
    threshold: Threshold = None,
    flip: Flip = False,
    window: Window = None,
    image_size: SeenAt = None,
    threads: Threads = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
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
    from mobilevitv2.cli import display
    from mobilevitv2.cli.evaluation_tables import evaluation
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
            threads=threads,
            runtime=runtime,
            precision=precision,
            classes=classes,
            ignore=ignore,
            reduce_labels=reduce_labels,
        )
    if json_:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        display.show(evaluation(result))
    for reason in result.unreadable.values():
        typer.echo(f"left out: {reason}", err=True)
    if report is not None:
        typer.echo(f"report: {report / 'report.html'}", err=True)
