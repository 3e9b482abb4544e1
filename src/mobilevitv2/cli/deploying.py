"""A model elsewhere: `info`, `convert`, `export`, `benchmark`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mobilevitv2.cli import arguments

app = typer.Typer()


@app.command()
def info(model: arguments.AnyModel, json_: arguments.Json = False) -> None:
    """Describe a model.

    mobilevitv2 info runs/flowers
    """
    from mobilevitv2.cli import display
    from mobilevitv2.predict.info import describe

    found = describe(model)
    display.show(found.to_dict() if json_ else display.model_info(found))


@app.command()
def convert(
    model: arguments.Model,
    to: Annotated[
        Literal["transformers", "timm", "cvnets"], typer.Option(help="Whose layout to write.")
    ],
    out: Annotated[
        Path, typer.Option(help="A folder for transformers, else a .pth or .safetensors file.")
    ],
    overwrite: arguments.Overwrite = False,
) -> None:
    """Write a model so that transformers, timm or ml-cvnets opens it.

    mobilevitv2 convert runs/flowers --to timm --out flowers.pth
    """
    from mobilevitv2.deploy.conversion import convert as run

    typer.echo(run(model, layout=to, out=out, overwrite=overwrite))


@app.command()
def export(
    model: arguments.Model,
    to: arguments.To,
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
        typer.Option(
            metavar="N|any", help="Images at a time. [dim]Default: any if the target can, else 1[/]"
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"], typer.Option(help="Of weights and arithmetic.")
    ] = "fp32",
    int8: Annotated[bool, typer.Option("--int8", help="Quantize; needs --calibrate.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder of typical images, for --int8.")
    ] = None,
    input: Annotated[
        Literal["float", "uint8"],
        typer.Option(help="float: prepared pixels [B,3,H,W]. uint8: RGB pixels [B,H,W,3]."),
    ] = "float",
    output: arguments.Output = "logits",
    top_k: Annotated[
        int | None, typer.Option(min=1, help="How many classes top_k gives. [dim]Default: 5[/]")
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="Of ONNX, 17 to 21. [dim]Default: 20[/]")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of images to verify on.")] = None,
    json_: arguments.Json = False,
    overwrite: arguments.Overwrite = False,
) -> None:
    """Write a model for phones, browsers and servers, and check that it answers the same.

    mobilevitv2 export runs/flowers --to onnx --out flowers.onnx
    """
    sizes: Any = [arguments.sides_of(text) for text in image_size or []]
    if "any" in sizes and len(sizes) > 1:
        raise typer.BadParameter("--image-size any excludes other sizes.")
    if batch is not None and batch != "any" and not batch.isdecimal():
        raise typer.BadParameter(f"--batch is a number or any, not {batch}.")
    if int8 and precision != "fp32":
        raise typer.BadParameter("--int8 and --precision exclude each other.")
    from mobilevitv2.cli import display
    from mobilevitv2.deploy import export as run

    how_many: Any = int(batch) if batch and batch != "any" else batch
    result = run(
        model,
        to=to,
        out=out,
        image_size="any" if "any" in sizes else sizes or None,
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
    display.show(result.to_dict() if json_ else display.exported(result))


@app.command()
def benchmark(
    model: arguments.Model,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="In px. [dim]Default: the model's own[/]")
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Images at a time; repeatable. [dim]Default: 1 and 8[/]"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Calls to take the median of.")] = 30,
    threads: arguments.Threads = None,
    runtime: Annotated[
        Literal["auto", "native", "torch"],
        typer.Option(help="Measure only the package's own engine (native), or only PyTorch."),
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder of typical images: find the fastest precision of the engine that "
            "answers as fp32 does, instead of timing runtimes."
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also timm and transformers, in the same runtimes.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="New folder for figures and a plot.")] = None,
    json_: arguments.Json = False,
    overwrite: arguments.Overwrite = False,
) -> None:
    """Time a model on this machine, in every installed runtime.

    mobilevitv2 benchmark runs/flowers --threads 2
    """
    if images is not None:
        if image_size or batch or peers or save or runtime == "torch":
            raise typer.BadParameter("--images allows only --threads and --json beside it.")
        _choose_precision(model, images, threads, json_)
        return
    arguments.check_new(save, "folder", overwrite)
    from mobilevitv2.benchmark.run import benchmark as run
    from mobilevitv2.cli import display
    from mobilevitv2.predict.sinks import replaced

    with (
        replaced(save, "benchmark", overwrite=overwrite) as new,
        display.progress("measuring") as progress,
    ):
        result = run(
            model,
            image_size=arguments.sides_of(image_size) if image_size else None,
            batches=batch or (1, 8),
            rounds=rounds,
            threads=threads,
            runtime=runtime,
            peers=peers,
            progress=progress,
        )
        if new is not None:
            result.save(new)
    display.show(result.to_dict() if json_ else display.benchmark(result))
    for name, reason in result.left_out.items():
        typer.echo(f"left out {name}: {reason}", err=True)


def _choose_precision(model: str, images: Path, threads: int | None, json_: bool) -> None:
    """The part of `benchmark` for --images."""
    from mobilevitv2.benchmark.precision_choice import choose_precision
    from mobilevitv2.cli import display

    with display.progress("comparing") as progress:
        chosen, rows = choose_precision(model, images, threads, progress=progress)
    found = {"chosen": chosen, "precisions": [row.to_dict() for row in rows]}
    display.show(found if json_ else display.precisions(chosen, rows))
