"""The command line: all commands, and what they have in common.

Results go to standard output, progress and complaints to standard error. Exit codes: 0 success,
1 an error in one line, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mobilevitv2.cli.arguments import complain
from mobilevitv2.cli.checkpoints import convert, info
from mobilevitv2.cli.deploying import benchmark, export
from mobilevitv2.cli.evaluating import EvaluateCommand, evaluate
from mobilevitv2.cli.predicting import predict
from mobilevitv2.cli.training import inspect, train
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


def _version(asked: bool) -> None:
    if asked:
        import mobilevitv2

        typer.echo(f"mobilevitv2 {mobilevitv2.__version__}")
        raise typer.Exit


@app.callback()
def mobilevitv2(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """MobileViTv2 on your own images: train, evaluate, predict, export."""


for command in (train, inspect, evaluate, predict, info, convert, export, benchmark):
    app.command(cls=EvaluateCommand if command is evaluate else None)(command)


def main() -> None:
    """The command `mobilevitv2`."""
    app()
