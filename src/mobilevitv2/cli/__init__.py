"""The command line: all commands, and what they have in common.

Results go to standard output, progress and complaints to standard error. Exit codes: 0 success,
1 an error in one line, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from mobilevitv2.cli.arguments import complain
from mobilevitv2.errors import KNOWN, how_to_install

COMMANDS = {  # in the order of the help: the module of this folder whose `app` has it
    "train": "training",
    "inspect": "training",
    "evaluate": "evaluating",
    "predict": "predicting",
    "info": "deploying",
    "convert": "deploying",
    "export": "deploying",
    "benchmark": "deploying",
}


class Commands(TyperGroup):
    """The commands, each loaded when it is asked for; known errors are a line, not a traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"mobilevitv2.cli.{COMMANDS[cmd_name]}")
        return get_group(module.app).commands[cmd_name]

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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """MobileViTv2 on your own images: train, evaluate, predict, export."""


def main() -> None:
    """The command `mobilevitv2`."""
    app()
