import http.server
import io
import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import (
    CLASSES,
    COLORS,
    SIZE,
    color_model,
    color_predictor,
    model_of,
    picture,
    processor,
    save_bundle,
)

from mobilevitv2 import (
    Classification,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2Model,
    Predictor,
)
from mobilevitv2.errors import CheckpointError, ImageError
from mobilevitv2.images.download import download
from mobilevitv2.predict.answers import Logits
from mobilevitv2.predict.predictor import Unreadable


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("model") / "colors")


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.from_pretrained(bundle, device="cpu", batch_size=4)


def png(image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def scores(result: Classification) -> dict[str, float]:
    return dict(zip(result.labels, result.scores, strict=True))


# One image, many images


@pytest.mark.parametrize("color", COLORS)
def test_names_what_is_in_an_image(predictor, color):
    result = predictor(picture(color, seed=5, size=(90, 70)))
    assert result.label == color
    assert sum(result.scores) == pytest.approx(1)


def test_a_path_its_bytes_and_its_pixels_give_one_answer(predictor, tmp_path):
    image = picture("green", seed=3)
    image.save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    array = np.asarray(image)
    results = predictor([path, str(path), path.read_bytes(), image, array, torch.tensor(array)])
    assert all(scores(result) == scores(results[0]) for result in results)
    assert [result.source for result in results] == [str(path)] * 2 + [None] * 4


def test_a_list_gives_a_list_and_one_image_one_result(predictor):
    assert isinstance(predictor(picture("red")), Classification)
    assert [r.label for r in predictor([picture(c) for c in CLASSES])] == CLASSES
    assert predictor([]) == []
    batch = np.stack([np.asarray(picture(c)) for c in CLASSES])
    assert [r.label for r in predictor(batch)] == CLASSES


def test_top_k_cuts_the_list(predictor):
    assert len(predictor(picture("red"), top_k=2).labels) == 2
    assert len(predictor(picture("red"), top_k=99).labels) == 3


def test_one_unreadable_image_of_a_list_is_an_error_that_names_it(predictor, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        predictor([picture("red"), tmp_path / "text.jpg"])


def test_results_can_be_drawn_also_where_there_is_no_file(predictor):
    assert predictor(png(picture("red"))).draw().height > SIZE


def test_batches_do_not_change_the_scores(predictor):
    images = [picture(CLASSES[i % 3], seed=i) for i in range(9)]
    alone = [predictor(image) for image in images]
    for one, other in zip(predictor(images), alone, strict=True):
        assert scores(one) == pytest.approx(scores(other), abs=1e-3)


def test_images_of_different_sizes_without_a_crop():
    free = color_predictor()
    free.processor.do_center_crop = False
    images = [picture("red", size=(80, 64)), picture("blue", size=(64, 100))]
    for image, result in zip(images, free(images), strict=True):
        pixels = free.processor(image, return_tensors="pt").pixel_values
        with torch.no_grad():
            wanted = model_of(free)(pixels).logits.softmax(1)[0].tolist()
        assert scores(result) == pytest.approx(dict(zip(CLASSES, wanted, strict=True)), abs=1e-3)


# Compared with transformers


def test_scores_are_those_of_transformers_on_the_same_bundle(bundle, predictor):
    from transformers import AutoModelForImageClassification, MobileViTImageProcessorPil

    theirs = AutoModelForImageClassification.from_pretrained(bundle).eval()
    images = [picture(c, seed=7, size=(100, 81)) for c in CLASSES]
    pixels = MobileViTImageProcessorPil.from_pretrained(bundle)(images, return_tensors="pt")
    with torch.no_grad():
        wanted = theirs(**pixels).logits.softmax(-1).tolist()
    got = [[scores(result)[name] for name in CLASSES] for result in predictor(images)]
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    # the check notices swapped channels
    swapped = Predictor.from_pretrained(bundle, device="cpu", channel_order="bgr")(images)
    assert [result.label for result in swapped] == ["red", "green", "blue"]


# Streams


def test_a_stream_is_lazy_and_reads_one_batch_ahead(predictor):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield picture("red", seed=len(taken))

    stream = predictor.stream(endless())
    assert next(stream).label == "red"
    assert len(taken) == 2 * predictor.batch_size
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("predictor")]


def test_an_unreadable_image_leaves_a_record_and_the_stream_goes_on(predictor, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    images = [picture("red"), tmp_path / "text.jpg", tmp_path / "none.png", picture("blue")]
    first, text, none, last = predictor.stream(images)
    assert (first.label, last.label) == ("red", "blue")
    assert isinstance(text, Unreadable)
    assert isinstance(none, Unreadable)
    assert (text.source, none.source) == (str(images[1]), str(images[2]))
    assert "none.png does not exist" in none.reason


def test_a_batch_of_nothing_but_unreadable_images(predictor, tmp_path):
    results = list(predictor.stream([tmp_path / f"{i}.jpg" for i in range(5)]))
    assert [type(result) for result in results] == [Unreadable] * 5


def test_reading_happens_while_the_model_runs(predictor, monkeypatch):
    """The model waits for an image of the next batch: without reading ahead it would for ever."""
    started = threading.Event()
    seen = []

    def answer(pixels):
        if not seen:
            assert started.wait(10), "the next batch was not read while the model ran"
        seen.append(len(pixels))
        return Logits(np.zeros((len(pixels), 3), np.float32))

    class Slow:
        def __init__(self, index):
            self.index = index

    def prepare(source):
        if source.index >= predictor.batch_size:
            started.set()
        return Predictor.prepare(predictor, picture("red"))

    monkeypatch.setattr(predictor, "answer", answer)
    monkeypatch.setattr(predictor, "prepare", prepare)
    assert len(list(predictor.stream(Slow(i) for i in range(8)))) == 8
    assert seen == [4, 4]


# Where models come from


def test_without_a_processor_file_the_layout_decides(tmp_path, caplog):
    color_model().save_as(tmp_path / "timm.pth", layout="timm")
    color_model().save_as(tmp_path / "folder", layout="transformers")
    # what lies beside a loose weights file is not its own
    processor("bgr").save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "mobilevitv2.predict.predictor"):
        loose = Predictor.from_pretrained(tmp_path / "timm.pth", device="cpu")
        folder = Predictor.from_pretrained(tmp_path / "folder", device="cpu")
    assert loose.processor.channel_order == "rgb"
    assert folder.processor.channel_order == "bgr"
    assert folder.processor.crop_size == {"height": SIZE, "width": SIZE}
    assert caplog.text.count("no preprocessor_config.json") == 2


def test_a_weights_file_inside_a_bundle_is_the_bundle(bundle):
    predictor = Predictor.from_pretrained(bundle / "model.safetensors", device="cpu")
    assert predictor(picture("blue")).label == "blue"
    assert predictor.processor.channel_order == "rgb"


def test_the_folder_of_a_run_stands_for_its_best_bundle(tmp_path):
    save_bundle(tmp_path / "run" / "best")
    assert Predictor.from_pretrained(tmp_path / "run", device="cpu").classes == CLASSES


def test_a_backbone_is_refused_because_its_head_would_be_random(tmp_path):
    MobileViTV2Model(MobileViTV2Config(width_multiplier=0.25)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a backbone without a head"):
        Predictor.from_pretrained(tmp_path)


def test_a_model_of_another_number_of_channels_is_refused():
    config = MobileViTV2Config(width_multiplier=0.25, num_channels=1)
    with pytest.raises(CheckpointError, match="1 input channels"):
        Predictor(MobileViTV2ForImageClassification(config), processor())


def test_labels_come_from_the_bundle(bundle):
    named = json.loads((bundle / "config.json").read_text())["id2label"]
    assert list(named.values()) == CLASSES


# Addresses


@pytest.fixture(scope="module")
def server():
    answers = {"/red.png": png(picture("red")), "/page": b"<html>no image</html>"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path in ("/to-file", "/moved"):
                self.send_response(302)
                self.send_header("Location", {"/moved": "/red.png"}.get(self.path, "file:///etc"))
                self.end_headers()
            elif self.path in answers:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answers[self.path])
            else:
                self.send_error(404)

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/red.png", "/moved"])
def test_an_address_is_downloaded(predictor, server, path):
    result = predictor(server + path)
    assert (result.label, result.source) == ("red", server + path)
    assert result.draw().height > SIZE


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", "404"),
        ("/page", "not an image"),
        ("/to-file", "not allowed"),  # an address can't lead to a local file
    ],
)
def test_an_address_without_an_image_is_named(predictor, server, path, reason):
    with pytest.raises(ImageError, match=f"{server}{path}.*{reason}"):
        predictor(server + path)


@pytest.mark.parametrize(("limit", "reason"), [("MOST_BYTES", "larger than"), ("LONGEST", "0 s")])
def test_a_download_has_limits(server, monkeypatch, limit, reason):
    monkeypatch.setattr(f"mobilevitv2.images.download.{limit}", 0)
    with pytest.raises(ImageError, match=reason):
        download(f"{server}/red.png")


def test_a_server_that_does_not_answer_is_reported():
    with pytest.raises(ImageError, match="can't be downloaded"):
        download("http://127.0.0.1:9/x.png")
