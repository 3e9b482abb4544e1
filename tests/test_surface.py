"""What 0.1.0 offered is still there: names, parameters, attributes, commands and options."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import surface

RENAMED = {"colours": "colors"}  # which can still be given by its old name
BEFORE = json.loads(Path(surface.__file__).with_name("surface_0.1.0.json").read_text())


@pytest.mark.parametrize("name", BEFORE["names"])
def test_a_public_name_keeps_its_parameters_and_attributes(name):
    before, now = BEFORE["names"][name], surface.names()[name]
    assert missing([RENAMED.get(p, p) for p in before["parameters"]], now["parameters"]) == []
    assert before["parameters"].keys() - now["parameters"].keys() == set()
    assert set(before.get("attributes", ())) - set(now.get("attributes", ())) == set()
    required = {p for p, default in now["parameters"].items() if default is None}
    assert required - before["parameters"].keys() == set()


@pytest.mark.parametrize("name", BEFORE["commands"])
def test_a_command_keeps_its_options(name):
    before, now = BEFORE["commands"][name], surface.commands()[name]
    for option, was in before.items():
        assert set(was["spellings"]) <= set(now[option]["spellings"]), option
        assert set(was["choices"]) <= set(now[option]["choices"]), option
        assert now[option]["required"] == was["required"], option
    assert not any(now[option]["required"] for option in now.keys() - before.keys())


def test_the_comparison_notices_what_is_gone_or_has_moved():
    assert missing(["model", "top_k"], ["model"]) == ["top_k"]
    assert missing(["a", "b"], ["b", "a"]) == ["a", "b"]


def missing(before: Iterable[str | None], now: Iterable[str]) -> list[str | None]:
    """Parameters that are gone, or that stand elsewhere among those from before."""
    kept = [name for name in now if name in before]
    return [name for i, name in enumerate(before) if i >= len(kept) or kept[i] != name]
