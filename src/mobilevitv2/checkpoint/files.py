"""Reading weights from untrusted files, and writing them whole or not at all.

Nothing in a file is executed. A file holds the state dict itself or, as training scripts save it, a
dict around it; of several state dicts the plain one counts, and a moving average (EMA) only where
it is alone. The log says which one it was.
"""

import argparse
import io
import json
import logging
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mobilevitv2.errors import CheckpointError
from mobilevitv2.files.source import FOLDER_NAMES, INDEX_SUFFIX, read_json, resolve_file
from mobilevitv2.files.writing import write_atomic

logger = logging.getLogger(__name__)

PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")

PLAIN_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
EMA_KEYS = ("state_dict_ema", "model_ema", "ema_model_state_dict", "ema_state_dict", "ema")
LABEL_KEYS = ("class_names", "classes")
NOTE = "mobilevitv2"  # the metadata's key for the config
# What training scripts put beside the weights, and what runs no code when it is unpickled.
HARMLESS: list[Any] = [argparse.Namespace]
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError)  # torch.load's own


class Weights(NamedTuple):
    """A file's tensors under its own names, and what came with them."""

    state: dict[str, Tensor]
    labels: list[str] | None = None
    config: dict[str, Any] | None = None  # from the metadata of our own state dicts and files


def find_weights(source: str | Path, **hub: Any) -> Path:
    """The weights file of a file, folder or hub id; `hub` are `resolve_file`'s options.

    For split weights it is the index, with all parts beside it. Raises FileNotFoundError.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    errors = []
    for name in FOLDER_NAMES:
        try:
            found = resolve_file(source, name, **hub)
        except FileNotFoundError as error:
            errors.append(error)
            continue
        if name.endswith(INDEX_SUFFIX):
            for part in sorted({*_weight_map(found).values()}):
                resolve_file(source, part, **hub)
        return found
    if path.is_dir():
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(
            f"the folder {path} has no weights: none of {', '.join(FOLDER_NAMES)}; it holds {held}."
        )
    raise errors[0]


def read_weights(path: str | Path) -> Weights:
    """The tensors of one weights file (or index of several), on the CPU.

    Raises CheckpointError for a file that is damaged, holds NaN or infinity, or needs code to run.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; expected a weights file.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty. Save or download it again.")
    if path.name.endswith(INDEX_SUFFIX):
        weights = _read_parts(path)
    elif path.suffix == ".safetensors":
        weights = _read_safetensors(path)
    elif path.suffix in PICKLE_SUFFIXES:
        weights = _state_in(_unpickle(path), path)
    else:
        known = ", ".join((".safetensors", INDEX_SUFFIX, *PICKLE_SUFFIXES))
        raise CheckpointError(f"{path} isn't a weights file; expected one of {known}.")
    check_finite(weights.state, str(path))
    return weights


def write_weights(
    state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a .safetensors, .pt or .pth file with `metadata`; on an error the old file stays."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        write_atomic(path, safetensors_bytes(state, metadata))
    elif path.suffix in (".pt", ".pth"):
        buffer, named = io.BytesIO(), OrderedDict(_packed(state))
        named.__dict__["_metadata"] = OrderedDict({"": dict(metadata or {})})
        torch.save(named, buffer)
        write_atomic(path, buffer.getvalue())
    else:
        raise ValueError(f"{path} must end in .safetensors, .pt or .pth.")


def safetensors_bytes(
    state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The content of a safetensors file that transformers accepts, too; always the same bytes."""
    content = safetensors.torch.save(_packed(state), {"format": "pt", **(metadata or {})})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # in random order so far
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def check_finite(state: Mapping[str, Tensor], origin: str) -> None:
    """Raise CheckpointError with the names of all tensors that hold NaN or infinity."""
    bad = [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all()
    ]
    if bad:
        raise CheckpointError(
            f"{len(bad)} tensors of {origin} hold NaN or infinity, so every output would too: "
            f"{', '.join(bad)}. Use a checkpoint from before the training diverged."
        )


def _packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU in plain memory order, each with its own storage."""
    plain = torch.contiguous_format
    return {key: t.detach().cpu().clone(memory_format=plain) for key, t in state.items()}


def _read_safetensors(path: Path) -> Weights:
    try:
        with safetensors.safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
            return Weights(state, config=_noted(file.metadata()))
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is damaged, cut off or not a safetensors file: {_first_line(error)}. Save or "
            "download it again."
        ) from error


def _weight_map(index: Path) -> dict[str, str]:
    """Each tensor's file that an index lists; all of them in its own folder."""
    found = read_json(index).get("weight_map")
    if isinstance(found, dict) and all(
        isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
        for name in found.values()
    ):
        return found
    raise CheckpointError(f"{index} has no weight_map from tensors to files beside it.")


def _read_parts(index: Path) -> Weights:
    state: dict[str, Tensor] = {}
    listed = _weight_map(index)
    for name in sorted({*listed.values()}):
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{name}, which {index} lists, is missing. Download it again.")
        state.update(_read_safetensors(index.parent / name).state)
    if lost := sorted(listed.keys() ^ state.keys()):
        raise CheckpointError(f"{index} and the files it lists disagree on: {', '.join(lost)}.")
    return Weights(state)


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TorchScript archive")  # said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *DAMAGED) as error:
        said = "" if isinstance(error, pickle.UnpicklingError) else f" ({_first_line(error)})"
        reason = f"damaged, or torch.save didn't write it{said}."
        instead = "Load it where it was made, and save model.state_dict() instead."
        if needed := re.search(r"GLOBAL (\S+) was not|whose module (\S+) is blocked", str(error)):
            code = needed[1] or needed[2]
            reason = f"a pickled object: opening it would run code from {code}. {instead}"
        elif "TorchScript" in str(error):
            reason = f"a TorchScript program, not plain weights. {instead}"
        raise CheckpointError(f"{path} is {reason}") from error


def _state_in(content: Any, path: Path) -> Weights:
    """The state dict somewhere inside what a training script saved."""
    labels, inside = None, content
    while isinstance(inside, dict):
        labels = labels or next(filter(_are_labels, map(inside.get, LABEL_KEYS)), None)
        plain = [key for key in PLAIN_KEYS if _may_hold(inside.get(key))]
        chosen = plain or [key for key in EMA_KEYS if _may_hold(inside.get(key))]
        if not chosen:
            break
        logger.info("%s: using the weights under %r", path, chosen[0])
        inside = inside[chosen[0]]
    items = inside.items() if isinstance(inside, dict) else ()
    tensors = {key: t for key, t in items if isinstance(key, str) and isinstance(t, Tensor)}
    if not tensors:
        keys = f"the keys {list(content)[:8]}" if isinstance(content, dict) else None
        raise CheckpointError(
            f"{path} has {keys or type(content).__name__}, not a state dict. Save "
            "model.state_dict()."
        )
    if others := [str(key) for key in inside if key not in tensors]:
        logger.info("%s: not used, beside the weights: %s", path, ", ".join(others))
    notes = getattr(inside, "_metadata", None)
    notes = notes.values() if isinstance(notes, dict) else ()
    return Weights(tensors, labels, next(filter(None, map(_noted, notes)), None))


def _noted(metadata: Any) -> dict[str, Any] | None:
    """The config in a file's or a module's metadata."""
    text = metadata.get(NOTE) if isinstance(metadata, dict) else None
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _may_hold(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _are_labels(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
