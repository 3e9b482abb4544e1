import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page import Page
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from tiny import (
    CLASSES,
    color_model,
    color_predictor,
    model_of,
    picture,
    processor,
    save_bundle,
    save_images,
)

from mobilevitv2 import evaluate
from mobilevitv2.data import open_classification
from mobilevitv2.errors import DataError
from mobilevitv2.evaluation import OrderComparison
from mobilevitv2.predict.predictor import Predictor
from mobilevitv2.training.folder import write_settings
from mobilevitv2.training.recipe import Recipe


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Five images a class, not divided; one or two of each show another class."""
    return save_images(tmp_path_factory.mktemp("data") / "colors", 5, wrong=1)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return color_predictor()


def plain_answers(model, folder: Path, order: str = "rgb") -> tuple[list[str], list[str]]:
    """True and predicted names, one image at a time, without our evaluation."""
    truth, answers = [], []
    for path in sorted(folder.glob("*/*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
        pixels = pixels[:, :, ::-1] if order == "bgr" else pixels
        with torch.no_grad():
            logits = model(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]).logits
        truth.append(path.parent.name)
        answers.append(model.config.id2label[int(logits.argmax())])
    return truth, answers


def test_the_scores_are_those_of_a_plain_count(predictor, images):
    truth, answers = plain_answers(model_of(predictor), images)
    result = evaluate(predictor, images, batch_size=4)
    columns: Any = precision_recall_fscore_support(truth, answers)
    precision, recall, f1, support = columns
    assert result.accuracy == pytest.approx(accuracy_score(truth, answers))
    assert 0 < result.accuracy < 1  # there is something to count
    assert result.macro_f1 == pytest.approx(f1.mean())
    assert result.confusion == confusion_matrix(truth, answers, labels=CLASSES).tolist()
    assert (result.count, result.split) == (15, "all")
    assert [c.name for c in result.classes] == CLASSES
    for name, wanted in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [getattr(c, name) for c in result.classes] == pytest.approx(list(wanted))
    assert [c.support for c in result.classes] == list(support)
    interval = binomtest(12, 15).proportion_ci(method="wilson")
    assert result.interval == pytest.approx((interval.low, interval.high))
    assert result.top5 is None


def test_classes_are_matched_by_name_whatever_their_order(images):
    in_order, reversed_ = color_predictor(CLASSES), color_predictor(CLASSES[::-1])
    wanted = evaluate(in_order, images)
    result = evaluate(reversed_, images)
    assert result.accuracy == wanted.accuracy
    assert [c.name for c in result.classes] == CLASSES[::-1]
    # the mutant: by number, the same model would be wrong about two classes of three
    truth, answers = plain_answers(model_of(reversed_), images)
    by_number = [
        CLASSES.index(t) == CLASSES[::-1].index(a) for t, a in zip(truth, answers, strict=True)
    ]
    assert np.mean(by_number) < result.accuracy


def test_other_classes_are_refused_and_both_sides_are_listed(images, tmp_path):
    model = color_model()
    model.config.id2label = {0: "blue", 1: "green", 2: "teal"}
    with pytest.raises(DataError, match=r"only in the data \('red'\).* in the model \('teal'\)"):
        evaluate(Predictor(model, processor()), images)
    model.config.id2label = {i: f"LABEL_{i}" for i in range(3)}
    with pytest.raises(DataError, match="have no names"):
        evaluate(Predictor(model, processor()), images)


def test_channel_orders_are_compared_on_the_same_images(predictor, images):
    result = evaluate(predictor, images, channel_orders=("rgb", "bgr"))
    orders = result.orders
    assert orders is not None
    rights = {}
    for order in ("rgb", "bgr"):
        truth, answers = plain_answers(model_of(predictor), images, order)
        rights[order] = np.array(truth) == np.array(answers)
        assert orders.right[order] == rights[order].sum()
    assert orders.only_right["rgb"] == (rights["rgb"] & ~rights["bgr"]).sum()
    assert orders.only_right["bgr"] == (rights["bgr"] & ~rights["rgb"]).sum()
    assert orders.right["rgb"] > orders.right["bgr"]
    assert result.accuracy == orders.right["rgb"] / 15
    # a model that is fed BGR is compared with the same numbers
    flipped = evaluate(color_predictor(order="bgr"), images, channel_orders=("rgb", "bgr"))
    assert flipped.orders == orders
    assert evaluate(color_predictor(order="bgr"), images).accuracy == orders.right["bgr"] / 15


@pytest.mark.parametrize(
    ("only_rgb", "only_bgr", "better"), [(8, 0, "rgb"), (1, 9, "bgr"), (3, 2, None), (0, 0, None)]
)
def test_the_better_order_is_named_only_where_chance_does_not_explain_it(
    only_rgb, only_bgr, better
):
    p_value: Any = binomtest(only_rgb, only_rgb + only_bgr).pvalue if only_rgb + only_bgr else 1.0
    right = {"rgb": 20 + only_rgb, "bgr": 20 + only_bgr}
    found = OrderComparison(40, right, {"rgb": only_rgb, "bgr": only_bgr}, p_value)
    assert found.better == better
    assert ("no clear difference" in str(found)) == (better is None)


def test_top5_counts_the_truth_among_five():
    class Fixed(Predictor):
        def logits(self, pixels):
            return np.tile(np.arange(10, 0, -1, dtype=np.float32), (len(pixels), 1))

    digits = open_classification("digits")
    model = color_model()
    model.reset_classifier(10, digits.classes)
    result = evaluate(Fixed(model, processor()), digits)
    labels = np.array([label for _, label in digits.test or []])
    assert result.split == "test"
    assert result.accuracy == pytest.approx((labels == 0).mean())
    assert result.top5 == pytest.approx((labels < 5).mean())


# Which images


def test_auto_takes_the_part_that_was_held_out(predictor, tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        save_images(tmp_path / "two" / split, count)
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        save_images(tmp_path / "three" / split, count)
    for data, split, count in (("two", "val", 6), ("three", "test", 3)):
        result = evaluate(predictor, tmp_path / data)
        assert (result.split, result.count) == (split, count)
    assert evaluate(predictor, tmp_path / "two", split="train").count == 9
    assert evaluate(predictor, tmp_path / "two", split="all").count == 15
    with pytest.raises(DataError, match="no test split, but train, val"):
        evaluate(predictor, tmp_path / "two", split="test")


def test_images_of_training_do_not_count_where_the_run_is_known(images, tmp_path):
    """An undivided folder is split by the run's own seed, so that no trained image is measured."""
    seed = 3
    opened = open_classification(images, seed=seed)
    write_settings(tmp_path / "run", Recipe(seed=seed), opened)
    save_bundle(tmp_path / "run" / "best")
    seen = []

    class Watching(Predictor):
        def prepare(self, source):
            seen.append(source)
            return super().prepare(source)

    watching = Watching.from_pretrained(tmp_path / "run", device="cpu")
    result = evaluate(watching, images)
    assert result.split == "val"
    assert sorted(seen) == sorted(path for path, _ in opened.val)
    assert sorted(p for p, _ in open_classification(images, seed=0).val) != sorted(seen)
    # the same model on images that it has not seen
    other = save_images(tmp_path / "other", 2)
    assert evaluate(tmp_path / "run", other).split == "all"


def test_unreadable_images_are_left_out_and_listed(predictor, tmp_path):
    save_images(tmp_path / "data", 3)
    (tmp_path / "data" / "red" / "text.jpg").write_text("hello")
    cut = (tmp_path / "data" / "red" / "0.png").read_bytes()
    (tmp_path / "data" / "red" / "1.png").write_bytes(cut[: len(cut) // 2])
    result = evaluate(predictor, tmp_path / "data")
    assert result.count == 8
    assert sorted(Path(name).name for name in result.unreadable) == ["1.png", "text.jpg"]


def test_nothing_readable_is_an_error(predictor, tmp_path):
    save_images(tmp_path / "data", 2)
    for path in (tmp_path / "data").glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"can be read|no readable image"):
        evaluate(predictor, tmp_path / "data")


def test_the_result_is_plain_json_and_a_report_can_be_had(predictor, images, tmp_path):
    done = []
    result = evaluate(
        predictor,
        images,
        channel_orders=("rgb", "bgr"),
        report=tmp_path / "page",
        progress=lambda *counts: done.append(counts),
    )
    orders = json.loads(json.dumps(result.to_dict()))["orders"]
    alone = orders["only_right"]
    chance = binomtest(alone["rgb"], sum(alone.values())).pvalue
    assert orders["better"] == ("rgb" if chance < 0.05 and alone["rgb"] > alone["bgr"] else None)
    assert done[-1] == (15, 15)
    page = (tmp_path / "page" / "report.html").read_text()
    assert f"{100 * result.accuracy:.1f} %" in page
    assert page.count("data:image/jpeg") == 3  # a picture for each mistake


def test_a_class_that_is_predicted_but_never_true_counts_alike_on_the_page_and_in_the_result(
    predictor, tmp_path
):
    data = save_images(tmp_path / "data", 3, wrong=1)  # a green one shows red
    told = zip(*plain_answers(model_of(predictor), data), strict=True)
    truth, answers = zip(*(pair for pair in told if pair[0] != "red"), strict=True)
    for path in (data / "red").iterdir():  # damaged, which shows when they are decoded
        picture("red").save(path.with_suffix(".jpg"))
        path.unlink()
        jpeg = path.with_suffix(".jpg").read_bytes()
        path.with_suffix(".jpg").write_bytes(jpeg[:700])
    result = evaluate(predictor, data, report=tmp_path / "page")
    wanted = f1_score(truth, answers, average="macro")
    assert set(answers) - set(truth) == {"red"}
    assert result.macro_f1 == pytest.approx(wanted)
    texts = Page((tmp_path / "page" / "report.html").read_text()).texts
    assert texts[texts.index("macro F1") + 1] == f"{100 * wanted:.1f} %"
