"""Data to a model: `train`, `inspect`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mobilevitv2.cli import arguments

app = typer.Typer()


@app.command()
@arguments.also(arguments.labels)
def train(
    data: arguments.Data,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run. [dim]Default: runs/NAME OF DATA[/]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Fine-tune this model.")] = None,
    width: Annotated[
        float | None, typer.Option(help="Width from scratch, 0.5 to 2.0. [dim]Default: 0.5[/]")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name, or a .yaml file of settings.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images, in px.")] = None,
    freeze: Annotated[int | None, typer.Option(help="Stages to freeze, 0 to 5.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read images.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that compute.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a recipe; repeatable."),
    ] = None,
    task: arguments.Task = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    **labels: Any,
) -> None:
    """Train on a folder of images with classes, labels, masks or boxes.

    mobilevitv2 train flowers --out runs/flowers
    """
    if overwrite and resume:
        raise typer.BadParameter("--overwrite and --resume exclude each other.")
    if model is not None and width is not None:
        raise typer.BadParameter("--width is for training from scratch; --model has its own.")
    named = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "image_size": image_size}
    named |= {"freeze": freeze, "seed": seed, "precision": precision, "workers": workers}
    named |= {"threads": threads, "width": width, "recipe": recipe, "model": model}
    given = {name: value for name, value in named.items() if value is not None}
    overrides = given | dict(map(arguments.setting, settings or []))
    from mobilevitv2.cli import display
    from mobilevitv2.training import train as run

    out = out or Path("runs") / Path(data).resolve().name
    how = {"task": task, "overwrite": overwrite, "resume": resume, **labels}
    result = run(data, out=out, **{**how, **overrides})
    display.show(display.trained(result))


@app.command()
@arguments.also(arguments.labels)
def inspect(
    data: arguments.Data,
    out: Annotated[
        Path | None, typer.Option(help="New folder for pictures of the images with their labels.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images to draw per split.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of their choice.")] = 0,
    task: arguments.Task = "auto",
    overwrite: arguments.Overwrite = False,
    **labels: Any,
) -> None:
    """Look at a data set before training: counts, drawings, and what is odd about it.

    mobilevitv2 inspect blood --out blood-inspected
    """
    arguments.check_new(out, "folder", overwrite)
    from mobilevitv2.data import open_data
    from mobilevitv2.report.inspection import inspect as run

    opened = open_data(data, task, seed=seed, **labels)
    typer.echo(run(opened, out, count=count, seed=seed).text)
