"""What a checkpoint is, and in whose layout it is written: `info`, `convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mobilevitv2.cli.arguments import AnyModel, Json, Model, Overwrite

app = typer.Typer()


@app.command()
def info(model: AnyModel, json_: Json = False) -> None:
    """Describe a model.

    mobilevitv2 info runs/flowers
    """
    from mobilevitv2.cli import display
    from mobilevitv2.predict.info import describe

    found = describe(model)
    display.show(found.to_dict() if json_ else display.model_info(found))


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
    from mobilevitv2.deploy.conversion import convert as run

    typer.echo(run(model, layout=to, out=out, overwrite=overwrite))
