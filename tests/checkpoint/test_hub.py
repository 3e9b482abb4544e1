"""Hub ids: the local cache, an endpoint, offline mode, uploads; and what is said when one fails."""

import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from torch import nn

from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.files.source import resolve_file
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.model.opening import open_model, open_processor

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model() -> MobileViTV2ForImageClassification:
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=4)
    return MobileViTV2ForImageClassification(config)


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    model.save_pretrained(folder)
    return folder


def load(source, **options) -> MobileViTV2ForImageClassification:
    return MobileViTV2ForImageClassification.from_pretrained(source, **options)


def assert_equal_states(one: nn.Module, other: nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


@pytest.fixture
def cache(bundle, tmp_path) -> Path:
    """A hub cache that holds org/model, as huggingface_hub lays it out."""
    repository = tmp_path / "hub" / "models--org--model"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in bundle.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def test_a_hub_id_is_found_in_the_local_cache(cache, model):
    assert_equal_states(load("org/model", cache_dir=cache, local_files_only=True), model)
    assert_equal_states(
        load("org/model", cache_dir=cache, local_files_only=True, revision=COMMIT), model
    )


def test_what_is_not_in_the_cache_is_told_from_what_is_no_id(cache):
    options = {"cache_dir": cache, "local_files_only": True}
    with pytest.raises(FileNotFoundError, match=r"org/other isn't a local.*not in the cache"):
        load("org/other", **options)
    with pytest.raises(FileNotFoundError, match="not in the cache"):
        load("org/model", revision="v9", **options)
    for name in ("no-such-folder", "a/b/c", "./a/b", str(cache / "x" / "model.safetensors")):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{name} does not exist")):
            load(name, **options)


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"no weights.*it holds notes\.txt"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no config\.json; it holds notes\.txt"):
        resolve_file(tmp_path, "config.json")


RESOLVE = (
    "from mobilevitv2.files.source import resolve_file as r; print(r('org/model', 'config.json'))"
)


def resolve_in_a_new_process(**environment: str) -> subprocess.CompletedProcess[str]:
    """huggingface_hub reads its environment when it is imported, hence the process."""
    settings = {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", RESOLVE], env=os.environ | settings, capture_output=True, text=True
    )


def test_offline_mode_finds_what_is_cached_and_names_what_is_not(cache, tmp_path):
    found = resolve_in_a_new_process(HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(cache))
    assert Path(found.stdout.strip()).parent.name == COMMIT
    lost = resolve_in_a_new_process(HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "empty"))
    assert "FileNotFoundError: org/model isn't a local folder or file" in lost.stderr


@pytest.fixture
def endpoint(bundle):
    """A server that answers for org/model as the hub does."""

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self, *, with_body: bool = False) -> None:
            file = bundle / Path(self.path).name
            known = self.path.startswith("/org/model/resolve/main/") and file.is_file()
            self.send_response(200 if known else 404)
            body = file.read_bytes() if known else b""
            self.send_header("Content-Length", str(len(body)))
            if known:
                self.send_header("ETag", f'"{len(body):040x}"')
                self.send_header("X-Repo-Commit", COMMIT)
            else:
                missing = "EntryNotFound" if "/org/model/" in self.path else "RepoNotFound"
                self.send_header("X-Error-Code", missing)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_HEAD(with_body=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_hub_id_is_downloaded_from_the_endpoint_in_the_environment(endpoint, bundle, tmp_path):
    got = resolve_in_a_new_process(HF_ENDPOINT=endpoint, HF_HUB_CACHE=str(tmp_path))
    assert got.returncode == 0, got.stderr
    path = Path(got.stdout.strip())
    assert path.is_relative_to(tmp_path)
    assert path.read_bytes() == (bundle / "config.json").read_bytes()


def test_a_model_is_downloaded_whole_and_what_is_missing_is_named(
    endpoint, model, tmp_path, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    assert_equal_states(load("org/model", cache_dir=tmp_path), model)
    with pytest.raises(FileNotFoundError, match="org/model has no absent"):
        resolve_file("org/model", "absent", cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"org/other is neither here .* token"):
        load("org/other", cache_dir=tmp_path)


def test_each_file_of_a_hub_model_is_asked_for_once(cache, bundle, monkeypatch):
    fetch, asked = huggingface_hub.hf_hub_download, []

    def counted(repo_id, filename, *, local_files_only=False, cache_dir=None, **options):
        if not local_files_only:
            asked.append(filename)
        return fetch(repo_id, filename, cache_dir=cache, local_files_only=True)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", counted)
    network = open_model("org/model")
    assert open_processor("org/model", network).channel_order == "bgr"  # as its layout, by default
    assert sorted(asked) == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_push_to_hub_uploads_a_bundle_with_a_stand_in_for_the_hubs_api(
    model, tmp_path, monkeypatch
):
    calls = {}

    class Api:
        def __init__(self, token=None):
            calls["token"] = token

        def create_repo(self, repo_id, **options):
            calls["create"] = (repo_id, options)
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def upload_folder(self, *, folder_path, **options):
            calls["upload"] = options
            calls["state"] = load(folder_path).state_dict()
            return SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    url = model.push_to_hub("flowers", private=True, token="t", commit_message="First")
    assert url == "https://hub/commit"
    assert calls["token"] == "t"
    assert calls["create"] == ("flowers", {"private": True, "exist_ok": True})
    assert calls["upload"]["repo_id"] == "me/flowers"
    assert calls["upload"]["commit_message"] == "First"
    assert all(torch.equal(calls["state"][k], t) for k, t in model.state_dict().items())
    model.save_pretrained(tmp_path / "named", push_to_hub=True)
    assert calls["create"][0] == "named"


def test_without_huggingface_hub_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'mobilevitv2\[torch\]'"):
        resolve_file("org/model", "config.json")


def test_source_needs_no_torch():
    code = "import sys, mobilevitv2.files.source as s; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
