"""What users depend on, listed: public names and their parameters, commands and their options.

`python tests/surface.py > tests/surface_0.1.0.json` lists an installed version; the test compares
the list of a release with what is here now.
"""

import dataclasses
import inspect
import json
from enum import Enum
from typing import Any

import typer

import mobilevitv2
from mobilevitv2.cli import app


def names() -> dict[str, Any]:
    """For each public name its parameters and, of a class, its public attributes."""
    listed = {}
    for name in mobilevitv2.__all__:
        value = getattr(mobilevitv2, name)
        listed[name] = {"parameters": _parameters(value)}
        if inspect.isclass(value):
            listed[name]["attributes"] = _attributes(value)
    return listed


def commands() -> dict[str, dict[str, Any]]:
    """For each command its arguments and options: spellings, default, choices."""
    group: Any = typer.main.get_command(app)
    return {
        name: {
            parameter.name: {
                "spellings": sorted([*parameter.opts, *parameter.secondary_opts]),
                "required": parameter.required,
                "default": _plain(parameter.default),
                "choices": [_plain(choice) for choice in getattr(parameter.type, "choices", [])],
            }
            for parameter in group.get_command(None, name).params
            if parameter.name != "help"
        }
        for name in group.list_commands(None)
    }


def _parameters(value: Any) -> dict[str, str | None]:
    """Names with their defaults; None for what has to be given."""
    return {
        parameter.name: None if parameter.default is parameter.empty else repr(parameter.default)
        for parameter in inspect.signature(value).parameters.values()
    }


def _attributes(kind: type) -> list[str]:
    """Public attributes, without those that only PyTorch's classes define."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("mobilevitv2")]
    found = {name for base in own for name in vars(base)}
    if dataclasses.is_dataclass(kind):
        found |= {field.name for field in dataclasses.fields(kind)}
    return sorted(name for name in found if not name.startswith("_"))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


if __name__ == "__main__":
    print(json.dumps({"names": names(), "commands": commands()}, indent=1))
