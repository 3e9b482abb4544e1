"""`evaluate`: what a model is worth."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from mobilevitv2.cli import arguments

app = typer.Typer()


class EvaluateCommand(TyperCommand):
    """Takes `--channel-order rgb bgr` as well as the option given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        for arg in args:
            if arg in ("rgb", "bgr") and len(spread) > 1 and spread[-2] == "--channel-order":
                spread.append("--channel-order")
            spread.append(arg)
        return super().parse_args(ctx, spread)


@app.command(cls=EvaluateCommand)
@arguments.also(arguments.prediction, arguments.labels)
def evaluate(
    model: arguments.AnyModel,
    data: arguments.Data,
    split: Annotated[
        Literal["auto", "train", "val", "test", "all"],
        typer.Option(help="auto: test, else val, else images the model wasn't trained on."),
    ] = "auto",
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
            "pycocotools expects them."
        ),
    ] = None,
    json_: arguments.Json = False,
    overwrite: arguments.Overwrite = False,
    **how: Any,
) -> None:
    """Measure how often a model is right.

    mobilevitv2 evaluate runs/flowers flowers
    """
    orders: Any = [order for text in channel_order or [] for order in text.lower().split(",")]
    if strange := set(orders) - {"rgb", "bgr"}:
        raise typer.BadParameter(f"--channel-order is rgb or bgr, not {', '.join(strange)}.")
    arguments.check_new(report, "folder", overwrite)
    arguments.check_new(coco, "file", overwrite)
    from mobilevitv2.cli import display
    from mobilevitv2.cli.tables import evaluation
    from mobilevitv2.evaluation import evaluate as run

    how |= {"split": split, "channel_orders": orders, "report": report, "coco": coco}
    with display.progress("evaluating") as progress:
        result = run(model, data, progress=progress, **how)
    display.show(result.to_dict() if json_ else evaluation(result))
    for reason in result.unreadable.values():
        typer.echo(f"left out: {reason}", err=True)
    if report is not None:
        typer.echo(f"report: {report / 'report.html'}", err=True)
