"""Where MODEL is: a hub id, a bundle's folder or one weights file.

Files come from the Hugging Face hub through its own client, so HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME
and a login count here too.
"""

import json
import re
from pathlib import Path
from typing import Any

from mobilevitv2.errors import ConfigError, require

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name, one slash

WEIGHTS_NAME = "model.safetensors"
INDEX_SUFFIX = ".safetensors.index.json"  # of weights split over several files
FOLDER_NAMES = (WEIGHTS_NAME, f"model{INDEX_SUFFIX}", "pytorch_model.bin")  # in order of preference


def resolve_file(
    source: str | Path,
    filename: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | None = None,
    subfolder: str = "",
) -> Path:
    """The local path of `filename` in a folder, beside a file, or in a hub repository.

    `source` is looked for on disk first. If it isn't there and reads like owner/name, the file
    comes from the hub or its cache. Raises FileNotFoundError with the reason.
    """
    path = Path(source).expanduser()
    if path.exists():
        file = (path if path.is_dir() else path.parent) / subfolder / filename
        if file.is_file():
            return file
        if not path.is_dir():
            raise FileNotFoundError(f"there is no {filename} beside {path}.")
        held = ", ".join(sorted(p.name for p in file.parent.glob("*"))[:8]) or "nothing"
        raise FileNotFoundError(f"the folder {file.parent} has no {filename}; it holds {held}.")
    if not is_hub_id(source):
        raise FileNotFoundError(
            f"{source} does not exist. Name a folder, a weights file, or a hub id such as "
            "apple/mobilevitv2-1.0-imagenet1k-256."
        )
    return _from_hub(
        str(source),
        f"{subfolder}/{filename}" if subfolder else filename,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
    )


def is_hub_id(source: str | Path) -> bool:
    """Whether this reads like owner/name on the hub, even if there is a folder of that name."""
    return isinstance(source, str) and HUB_ID.fullmatch(source) is not None


def is_loose(source: str | Path) -> bool:
    """Whether this is a weights file with a name of its own, so that files beside it aren't its."""
    path = Path(source).expanduser()
    return path.is_file() and path.name not in FOLDER_NAMES


def read_json(path: Path) -> dict[str, Any]:
    """The fields of a JSON file. Raises ConfigError if it holds anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error}). Restore the file.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a JSON {type(values).__name__}; expected named fields.")
    return values


def beginning(path: Path, errors: str = "strict") -> str:
    """The first characters of a text file; empty if it can't be read."""
    try:
        with path.open(encoding="utf-8-sig", errors=errors) as file:
            return file.read(1 << 16)
    except (OSError, UnicodeDecodeError):
        return ""


def _from_hub(repo_id: str, filename: str, **options: Any) -> Path:
    hub = require("huggingface_hub", extra="torch")
    known = require("huggingface_hub.errors", extra="torch")
    where = f"{repo_id} is neither here on disk nor, with {filename}, on the hub"
    try:
        return Path(hub.hf_hub_download(repo_id, filename, **options))
    except (known.EntryNotFoundError, known.HFValidationError, known.HfHubHTTPError) as error:
        if isinstance(error, known.LocalEntryNotFoundError):
            wrong = (
                f"{repo_id} isn't a local folder or file, and {filename} of the hub model of that "
                "name is not in the cache and can't be fetched now (offline, or the hub doesn't "
                "answer). Check the name, go online, or name a local folder."
            )
        elif isinstance(error, known.RevisionNotFoundError):
            wrong = (
                f"the hub model {repo_id} has no revision {options['revision']!r}. Name another."
            )
        elif isinstance(error, known.RepositoryNotFoundError):  # also a private or gated model
            todo = "Check the name; a private or gated model needs a token (hf auth login)."
            wrong = f"{where}. {todo}"
        elif isinstance(error, known.EntryNotFoundError):
            wrong = f"the hub model {repo_id} has no {filename}."
        else:
            wrong = f"{where}: {str(error).strip().splitlines()[0]}"
        raise FileNotFoundError(wrong) from error
