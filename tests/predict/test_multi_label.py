"""A model that decides on each label by itself answers so in every runtime."""

import numpy as np
import pytest
import torch
from tiny import CLASSES, SIZE, picture, processor
from typer.testing import CliRunner

from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification, MultiLabel, Predictor
from mobilevitv2.class_names import ClassFacts
from mobilevitv2.cli import app
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.predict.answers import Logits, Scores
from mobilevitv2.predict.multi_label import same

THRESHOLDS = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MobileViTV2Config(
        width_multiplier=0.5,
        image_size=SIZE,
        n_attn_blocks=[1, 1, 1],
        id2label=dict(enumerate(CLASSES)),
        problem_type="multi_label_classification",
        label_thresholds=THRESHOLDS,
    )
    model = MobileViTV2ForImageClassification(config).eval()
    with torch.no_grad():
        model.get_parameter("classifier.bias").copy_(
            torch.tensor([-1.0, 1.0, 1.0])
        )  # 0.27, 0.73, 0.73 or so
    return model


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "bundle"
    model.save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def expected(model, image):
    pixels = torch.from_numpy(processor()(image).pixel_values[0])[None]
    with torch.inference_mode():
        return model(pixels).logits[0].sigmoid().numpy()


@pytest.mark.parametrize("runtime", ["torch", "native"])
def test_each_class_has_its_own_probability_and_threshold(model, bundle, runtime):
    predictor, image = Predictor(bundle, runtime=runtime), picture("red")
    found, scores = predictor(image), expected(model, image)
    assert isinstance(found, MultiLabel)
    assert found.all_scores == pytest.approx(scores.tolist(), abs=1e-5)
    assert set(found.labels) == {
        c for c, s, t in zip(CLASSES, scores, THRESHOLDS, strict=True) if s > t
    }
    assert predictor(image, threshold=0.999).labels == []
    with pytest.raises(ConfigError, match="top_k is for classification"):
        predictor(image, top_k=2)


@pytest.mark.parametrize("output", [pytest.param("logits", marks=pytest.mark.slow), "scores"])
def test_an_exported_file_answers_with_the_same_labels_and_thresholds(bundle, output, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from mobilevitv2.deploy import export

    done = export(bundle, to="onnx", output=output, out=tmp_path / "labels.onnx")
    assert done.record.thresholds == THRESHOLDS
    found, live = (Predictor(source)(picture("green")) for source in (done.path, bundle))
    assert (found.classes, found.thresholds) == (live.classes, live.thresholds)
    assert found.labels == live.labels
    assert set(found.labels) == set(CLASSES[:2])  # at 0.5 the last two
    assert found.all_scores == pytest.approx(live.all_scores, abs=1e-5)


def test_the_command_prints_a_column_for_each_class(bundle, tmp_path):
    picture("blue").save(tmp_path / "blue.png")
    shown = CliRunner().invoke(app, ["predict", str(bundle), str(tmp_path / "blue.png"), "--csv"])
    assert shown.stdout.splitlines()[0] == f"image,labels,{','.join(CLASSES)}"


def test_labels_of_two_answers_are_compared_and_not_the_first_class_alone():
    first = Logits(np.array([[2, 1, -1], [2, 1, -1]], np.float32))
    second = Logits(np.array([[2, 3, -1], [2, -1, -1]], np.float32))
    facts = ClassFacts(labels=CLASSES[:3])
    assert same(first, second, facts).tolist() == [True, False]
    scores = Scores(np.array([[0.9, 0.6, 0.4], [0.9, 0.4, 0.4]]))
    assert same(first, scores, facts).tolist() == [True, False]


def test_other_classes_take_no_thresholds_along_and_wrong_ones_are_refused(bundle):
    model = MobileViTV2ForImageClassification.from_pretrained(bundle)
    assert model.config.label_thresholds == THRESHOLDS
    model.reset_classifier(2, ["one", "two"])
    assert model.config.label_thresholds is None
    with pytest.raises(ConfigError, match="a number in \\[0, 1\\] for each of 3 classes"):
        MobileViTV2Config(num_labels=3, label_thresholds=[0.5, 2.0, 0.5])


def test_a_model_that_estimates_a_number_names_nothing(tmp_path):
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=1, problem_type="regression")
    MobileViTV2ForImageClassification(config).save_pretrained(tmp_path)
    for runtime in ("torch", "native"):
        with pytest.raises(CheckpointError, match="estimates numbers"):
            Predictor(tmp_path, runtime=runtime)
