"""A .pt2's archive, checked before torch opens it, because torch would run code that is in it.

torch.export.load unpickles what it finds, evaluates the sizes' formulas as Python, and calls
whatever name below `torch` a node of the graph gives. Here only tensors, arithmetic and ATen's
operators pass. torch gets a copy with what was checked and nothing else.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mobilevitv2.errors import CheckpointError, require

# Members by what they are; torch before 2.8 wrote the names without a folder.
PROGRAM = re.compile(r"models/model\.json|serialized_exported_program\.json")
PAYLOADS = re.compile(r"data/(weights|constants)/model_(weights|constants)_config\.json")
PICKLES = re.compile(
    r"data/(sample_inputs|weights|constants)/model\.pt"
    r"|serialized_(state_dict|constants|example_inputs)\.pt"
)
PLAIN = re.compile(
    r"data/(weights/weight|constants/tensor)_\d+|extra(_files)?/[^/]+|archive_(format|version)"
    r"|version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)

ARITHMETIC = "add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_"
OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b|__)\w+\.(?!__)\w+"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__\.(Scalar|Tensor)"
    rf"|torch\.sym_\w+|math\.[a-z]\w*|_operator\.({ARITHMETIC}|getitem)"
)
FORMULA = re.compile(r"[\w ()*+/%,.'=<>!~&|-]{1,20000}")
FORMULA_NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.keyword, ast.Name,
    ast.Constant, ast.Load, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
FUNCTIONS = re.compile(
    "Symbol|Integer|Rational|Float|Add|Mul|Pow|Max|Min|Mod|Abs|And|Or|Not|Eq|Ne|Equality|Unequality"
    "|LessThan|GreaterThan|StrictLessThan|StrictGreaterThan|Piecewise|ExprCondPair|floor|ceiling"
    "|FloorDiv|ModularIndexing|Where|PythonMod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|LShift|RShift"
    "|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat"
    "|TruncToInt|RoundToInt|RoundDecimal|ToFloat|Identity"
)
CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def without_code(path: Path) -> io.BytesIO:
    """A copy in memory. CheckpointError for what isn't plain data, or whatever torch raises."""
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as written:
            names = archive.namelist()
            root = names[0].split("/")[0] + "/" if names and "version" not in names else ""
            if len(set(names)) < len(names):
                raise _Unsafe("two of its files have one name")
            for entry in archive.infolist():
                name = entry.filename.removeprefix(root)
                if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.startswith(root):
                    raise _Unsafe(f"{entry.filename} isn't stored as torch stores it")
                written.writestr(entry.filename, _checker(name)(archive.read(entry), name))
    except _Unsafe as error:
        raise CheckpointError(
            f"{path} is refused, because torch could run code that is in it: {error}. Get it from "
            "where it was made as weights, or export it anew: mobilevitv2 export MODEL --to torch."
        ) from error
    copy.seek(0)
    return copy


class _Unsafe(Exception):
    """What is in the archive."""


def _checker(name: str) -> Callable[[bytes, str], bytes]:
    kinds = {PROGRAM: _program, PAYLOADS: _payloads, PICKLES: _tensors, PLAIN: lambda data, _: data}
    for kind, check in kinds.items():
        if kind.fullmatch(name):
            return check
    raise _Unsafe(f"{name} isn't part of a program of tensors")


def _tensors(data: bytes, name: str) -> bytes:
    """A pickle of tensors, written anew; torch would go on to run one of anything else."""
    torch: Any = require("torch", extra="torch")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in many ways
        raise _Unsafe(f"{name} is a pickle of more than tensors") from error
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _payloads(data: bytes, _: str) -> bytes:
    for name, payload in json.loads(data)["config"].items():
        plain = re.fullmatch(r"(weight|tensor)_\d+", str(payload["path_name"]))
        if payload.get("use_pickle") is not False or not plain:
            raise _Unsafe(f"{name} is a pickled object")
    return data


def _program(data: bytes, _: str) -> bytes:
    program = json.loads(data)
    formulas: set[Any] = set()
    for part in _dicts(program):
        if "target" in part and "inputs" in part:  # a node
            _check_operator(part["target"])
        if "as_operator" in part:
            _check_operator(part["as_operator"])
        formulas |= {part.get("expr_str"), *(part.get("range_constraints") or ())}
        for name in ("in_spec", "out_spec"):
            if part.get(name):
                _check_containers(json.loads(part[name]))
    for formula in formulas - {None}:
        _check_formula(formula)
    if program.get("guards_code"):  # Python, and not needed: the record checks inputs
        return json.dumps({**program, "guards_code": []}).encode()
    return data


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """All of them, at any depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from _dicts(inner)


def _check_operator(name: Any) -> None:
    if not isinstance(name, str) or not OPERATOR.fullmatch(name):
        raise _Unsafe(f"its graph calls {name}")


def _check_containers(spec: Any) -> None:
    """How inputs and outputs are nested; a type may name a module that is imported."""
    for part in _dicts(spec):
        if part.get("type") not in CONTAINERS or "{" in str(part.get("context")):
            raise _Unsafe(f"it takes or gives a {part.get('type')}")


def _check_formula(text: Any) -> None:
    """Sizes are sums and products of symbols; sympy would evaluate any Python."""
    if not isinstance(text, str) or not FORMULA.fullmatch(text):
        raise _Unsafe(f"{str(text)[:80]!r} isn't a formula of sizes")
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        called = node.func if isinstance(node, ast.Call) else None
        plain = isinstance(node, FORMULA_NODES)
        if called is not None:
            plain = isinstance(called, ast.Name) and bool(FUNCTIONS.fullmatch(called.id))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            plain = re.fullmatch(r"\w+", str(node.value)) is not None
        if not plain:
            raise _Unsafe(f"{text[:80]!r} isn't a formula of sizes")
