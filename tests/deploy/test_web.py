"""A web export in a real browser: tests/web/page.html in Chromium, beside `Predictor`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from tiny import CLASSES, COLORS, SIZE, picture, processor, save_trained

from mobilevitv2 import Predictor
from mobilevitv2.deploy import export
from mobilevitv2.images.reading import load_image
from mobilevitv2.runtime import open_runtime

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # what the exporter's own code warns of
]

PAGE = Path(__file__).parents[1] / "web"
PACKAGES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilevitv2" / "web"


class Server(SimpleHTTPRequestHandler):
    """The page, and below /model, /pictures and /onnxruntime-web the folders of those names."""

    def __init__(self, *arguments, folders: dict[str, Path], isolated: bool) -> None:
        self.folders, self.isolated = folders, isolated
        super().__init__(*arguments)

    def translate_path(self, path: str) -> str:
        first, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        return str(self.folders[first] / rest if first in self.folders else PAGE / first)

    def end_headers(self) -> None:
        if self.isolated:  # what a page needs before a browser gives it threads
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> str:
    """The path of Chromium, all else being there too; if not, skips, and in CI fails."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    there = {
        "chromium": chromium,
        "node": shutil.which("node"),
        f"the npm packages in {PACKAGES}": (PACKAGES / "node_modules").is_dir(),
    }
    if missing := [name for name, found in there.items() if not found]:
        message = f"not here: {', '.join(missing)}. Get them with: tests/web/install"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return str(chromium)


@pytest.fixture(scope="module")
def bundles(browser, tmp_path_factory) -> dict[str, Path]:
    """One for each channel order; they also resize with different filters."""
    folder = tmp_path_factory.mktemp("models")
    bundles = {order: save_trained(folder / order, order) for order in ("rgb", "bgr")}
    replace(processor("bgr"), resample=2).save_pretrained(bundles["bgr"])
    return bundles


@pytest.fixture(scope="module")
def exports(bundles, tmp_path_factory) -> dict[str, Path]:
    """Their web exports, of one size and of any."""
    folder = tmp_path_factory.mktemp("exports")
    sizes = {"rgb": SIZE, "bgr": "any"}
    return {
        order: export(bundle, to="web", out=folder / order, image_size=sizes[order]).path
        for order, bundle in bundles.items()
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Larger, smaller, upright, lying and half transparent, none of them of the model's size."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = {"blue": (90, 70), "green": (40, 50), "red": (333, 517)}
    for seed, color in enumerate(COLORS):
        picture(color, seed, sizes[color]).save(folder / f"{color}.png")
    clear = picture("red", 7, (101, 80)).convert("RGBA")
    clear.putalpha(Image.fromarray(np.repeat([[255], [0]], 40, 0).repeat(101, 1).astype(np.uint8)))
    clear.save(folder / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a camera that was held upright
    picture("green", 8, (120, 70)).save(folder / "turned.png", exif=turned)
    return folder


@pytest.fixture
def examine(browser, pictures):
    """Opens the page on a model, and says what it finds in each picture."""

    def run(model: Path, *, threads: int = 1, isolated: bool = True, code: int = 0):
        folders = {
            "model": model,
            "pictures": pictures,
            "onnxruntime-web": PACKAGES / "node_modules" / "onnxruntime-web" / "dist",
        }
        with serving(folders, isolated) as address:
            page = f"{address}/page.html?model=/model/&runtime=/onnxruntime-web/&threads={threads}"
            shown = [f"{address}/pictures/{path.name}" for path in paths(pictures)]
            command = ["node", str(PAGE / "drive.mjs"), str(PACKAGES), browser, page, *shown]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout)

    return run


def paths(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@contextmanager
def serving(folders: dict[str, Path], isolated: bool) -> Iterator[str]:
    """A server of these folders on a free port of this machine; gives its address."""
    handler = partial(Server, folders=folders, isolated=isolated)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def assert_same(found: list[dict], predictor: Predictor, pictures: Path) -> None:
    """Pixels to the bit, first classes, and logits within 1e-4 of the largest."""
    for seen, path in zip(found, paths(pictures), strict=True):
        pixels = predictor.processor(path).pixel_values[0]
        wanted = predictor.logits([pixels])[0]
        assert np.array_equal(np.float32(seen["pixels"]), pixels.ravel()), path.name
        assert np.abs(seen["logits"] - wanted).max() <= 1e-4 * np.abs(wanted).max()
        assert [c["label"] for c in seen["classes"]] == predictor(path).labels
        assert np.isclose(seen["classes"][0]["score"], predictor(path).score, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_page_answers_as_the_model(bundles, exports, order, threads, examine, pictures):
    seen = examine(exports[order], threads=threads)
    assert seen["isolated"]
    assert seen["threads"] == threads
    original = Predictor(bundles[order], device="cpu")
    assert_same(seen["found"], original, pictures)
    if threads == 1:  # and the comparison can fail
        other = Predictor(bundles["bgr" if order == "rgb" else "rgb"], device="cpu")
        with pytest.raises(AssertionError):
            assert_same(seen["found"], other, pictures)


def test_without_the_headers_a_page_has_one_thread_and_the_same_answer(
    bundles, exports, examine, pictures
):
    seen = examine(exports["rgb"], threads=2, isolated=False)
    assert not seen["isolated"]
    assert seen["threads"] == 1
    assert_same(seen["found"], Predictor(bundles["rgb"], device="cpu"), pictures)


def test_a_page_with_bytes_in_and_classes_out(bundles, examine, pictures, tmp_path):
    """Stretched to two sides, which Pillow 13 does in another order than 12: to one in 255."""
    options = {"input": "uint8", "output": "top_k", "top_k": 2, "image_size": (SIZE, SIZE + 32)}
    folder = export(bundles["bgr"], to="web", out=tmp_path / "web", **options).path
    graph = open_runtime(folder)
    for seen, path in zip(examine(folder)["found"], paths(pictures), strict=True):
        pixels = np.array(seen["pixels"], np.uint8).reshape(1, SIZE, SIZE + 32, 3)
        stretched = load_image(path).resize((SIZE + 32, SIZE), Image.Resampling.BILINEAR)
        assert np.abs(pixels[0].astype(int) - np.asarray(stretched)).max() <= 1
        scores, classes = graph(pixels)
        assert [c["label"] for c in seen["classes"]] == [CLASSES[i] for i in classes[0]]
        assert np.allclose([c["score"] for c in seen["classes"]], scores[0], atol=1e-4)


def test_a_page_says_what_it_cant_do(exports, examine, tmp_path):
    folder = Path(shutil.copytree(exports["rgb"], tmp_path / "web"))
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"batch": 2}))
    assert "takes 2 pictures at a time; export it with --batch 1" in examine(folder, code=1)
