"""The house: who may import whom, what importing costs, and that the papers agree with the code."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import mobilevitv2

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mobilevitv2"
ROOMS = {  # room: floor, from the ground up; a module imports from its own room and those above
    "errors": 0,
    "class_names": 0,
    "devices": 0,
    "files": 0,
    "tasks": 0,
    "config": 0,
    "images": 1,
    "results": 1,
    "scores": 1,
    "processor_settings": 1,
    "processor": 1,
    "runtime": 2,
    "bundle": 2,
    "checkpoint": 2,
    "model": 2,
    "data": 3,
    "predict": 3,
    "report": 4,
    "deploy": 4,
    "training": 4,
    "evaluation": 4,
    "benchmark": 4,
    "cli": 5,
}
ORDER = list(ROOMS)


def imports() -> list[tuple[Path, str, str]]:
    """(file, its room, imported room) for every import inside the package, lazy ones included."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":  # the public face may name every room
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            rooms = [n.split(".")[1] for n in names if n.startswith("mobilevitv2.")]
            found += [
                (path, room, other)
                for other in rooms
                if (PACKAGE / other).is_dir() or (PACKAGE / f"{other}.py").is_file()
            ]
    return found


def breaches(edges: list[tuple[Path, str, str]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {room} (floor {ROOMS[room]}) imports {other}"
        for path, room, other in edges
        if ORDER.index(other) > ORDER.index(room)
    ]


def test_no_module_imports_from_a_room_above():
    edges = imports()
    assert len(edges) > 50
    assert breaches(edges) == []


def test_the_check_of_rooms_catches_a_breach():
    assert breaches([(PACKAGE / "model/layers.py", "model", "training")]) != []
    assert breaches([(PACKAGE / "files/source.py", "files", "config")]) != []  # of one floor


def test_every_room_has_its_place_and_the_top_level_stays_small():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules | {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    assert len(list(PACKAGE.glob("*.py"))) <= 8
    assert list(ROOMS.values()) == sorted(ROOMS.values())


def tree_of(contributing: str) -> list[tuple[int, str]]:
    """(floor, what) for each line of the tree."""
    lines = re.findall(r"^(\d)  (\S+)", contributing, re.MULTILINE)
    return [(int(floor), what) for floor, what in lines]


def test_contributing_shows_every_room_and_folder_in_order():
    shown = tree_of((ROOT / "CONTRIBUTING.md").read_text())
    rooms = [what.removesuffix("/").removesuffix(".py") for _, what in shown]
    assert [room for room in rooms if "/" not in room] == ORDER
    folders = {
        f"{path.parent.relative_to(PACKAGE)}/"
        for pattern in ("*.py", "*.yaml")
        for path in PACKAGE.rglob(pattern)
        if path.parent != PACKAGE
    }
    assert {what for _, what in shown if what.endswith("/")} == folders
    assert [floor for floor, _ in shown] == [ROOMS[room.split("/")[0]] for room in rooms]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mobilevitv2", ["torch", "torchvision", "lightning", "PIL", "numpy", "typer"]),
        ("from mobilevitv2 import MobileViTImageProcessor", ["torch", "huggingface_hub"]),
        ("from mobilevitv2 import MobileViTV2Config", ["torch", "huggingface_hub", "numpy"]),
        ("import mobilevitv2.cli", ["torch", "lightning", "matplotlib"]),
        (
            "from mobilevitv2 import MobileViTV2ForImageClassification",
            ["torchvision", "lightning", "torchmetrics", "transformers", "timm"],
        ),
        ("from mobilevitv2 import Predictor", ["torch", "onnxruntime", "huggingface_hub", "rich"]),
    ],
)
def test_importing_loads_nothing_that_is_not_needed(statement, absent):
    code = f"{statement}; import sys; print(*[m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_missing_extra_is_named():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    from mobilevitv2 import MobileViTV2Model\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'mobilevitv2[torch]'" in done.stdout


def test_every_public_name_is_there():
    for name in mobilevitv2.__all__:
        assert getattr(mobilevitv2, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'MobileViTV3Model'"):
        _ = mobilevitv2.MobileViTV3Model


def test_the_changelogs_top_entry_is_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entry = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entry is not None
    assert entry[1] == version == mobilevitv2.__version__


def test_malicious_releases_are_not_installed():
    """lightning 2.6.2 and 2.6.3 steal credentials (GHSA-w37p-236h-pfx3)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [Requirement(line) for lines in extras for line in lines]
    (lightning,) = [requirement for requirement in asked if requirement.name == "lightning"]
    releases = ["2.5.0", "2.6.1", "2.6.2", "2.6.3", "2.6.4"]
    assert list(lightning.specifier.filter(releases)) == ["2.5.0", "2.6.1", "2.6.4"]


def test_ci_runs_the_readmes_test_command():
    commands = re.findall(r"^pip install .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


PAPERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "native/README.md")]
PAPERS += sorted((ROOT / "docs").glob("*.md"))


def readme() -> Any:
    """benchmarks/readme.py, which writes the figures."""
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_papers_show_the_figures_that_were_measured():
    module = readme()
    text = {name: (ROOT / name).read_text() for name in module.PAPERS}
    for paper in text.values():
        assert module.filled(paper) == paper, "run python benchmarks/readme.py"
    shown = [match[2] for paper in text.values() for match in module.BLOCK.finditer(paper)]
    assert sorted(shown) == sorted(module.BLOCKS)  # each figure stands in one block
    changed = text["README.md"].replace(" ms |", "1 ms |", 1)
    assert module.filled(changed) == text["README.md"] != changed


def test_every_result_of_a_benchmark_is_shown():
    module = readme()
    loaded = set()
    load = module.load
    module.load = lambda name, **options: loaded.add(name) or load(name, **options)
    for block in module.BLOCKS.values():
        block()
    assert loaded == {path.stem for path in module.RESULTS.glob("*.json")}


@pytest.mark.parametrize("paper", ["README.md", "docs/benchmarks.md"])
def test_no_figure_is_written_by_hand(paper):
    text = readme().BLOCK.sub("", (ROOT / paper).read_text())
    assert re.findall(r"\d(?:\.\d+)? ?(?:ms|MiB|x)\b", text) == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_the_papers_lead_somewhere(paper):
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", paper.read_text())
    for path, anchor in links:
        target = (paper.parent / path).resolve() if path else paper
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in anchors
