"""However weights travel, images are prepared as the weights want them."""

from pathlib import Path

import pytest
import torch
from tiny import CLASSES, COLORS, picture, processor, save_trained, trained_model

from mobilevitv2 import MobileViTImageProcessor, MobileViTV2Config, Predictor
from mobilevitv2 import MobileViTV2ForImageClassification as Classifier
from mobilevitv2.deploy.conversion import convert
from mobilevitv2.errors import ConfigError
from mobilevitv2.model.opening import open_model, task_of_model
from mobilevitv2.training.networks import save_bundle

PROCESSOR = "preprocessor_config.json"
MULTI_LABEL = "multi-label classification"


def saved_again(bundle: Path, out: Path) -> Path:
    Classifier.from_pretrained(bundle).save_pretrained(out)
    return out


def without_its_processor(bundle: Path, out: Path) -> Path:
    (saved_again(bundle, out) / PROCESSOR).unlink()
    return out


def saved_by_torch(bundle: Path, out: Path) -> Path:
    torch.save(Classifier.from_pretrained(bundle).state_dict(), out.with_suffix(".pth"))
    return out.with_suffix(".pth")


def wrapped_and_in_a_dict(bundle: Path, out: Path) -> Path:
    network = torch.nn.DataParallel(Classifier.from_pretrained(bundle))
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, out.with_suffix(".pth"))
    return out.with_suffix(".pth")


def one_file(bundle: Path, out: Path) -> Path:
    out.mkdir()
    data = (saved_again(bundle, out / "whole") / "model.safetensors").read_bytes()
    (out / "mine.safetensors").write_bytes(data)
    return out / "mine.safetensors"


def converted(layout, suffix):
    return lambda bundle, out: convert(bundle, layout=layout, out=out.with_suffix(suffix))


def there_and_back(bundle: Path, out: Path) -> Path:
    return convert(converted("timm", ".pth")(bundle, out), layout="transformers", out=out)


WAYS = {
    "saved again": saved_again,
    "without its processor's file": without_its_processor,
    "torch.save": saved_by_torch,
    "torch.save of a wrapped model": wrapped_and_in_a_dict,
    "one file": one_file,
    "timm .pth": converted("timm", ".pth"),
    "timm .safetensors": converted("timm", ".safetensors"),
    "ml-cvnets": converted("cvnets", ".pt"),
    "timm and back": there_and_back,
}


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_order_size_and_names_travel_with_the_weights(way, order, tmp_path):
    bundle = save_trained(tmp_path / "bundle", order=order)
    original = Predictor(bundle, device="cpu")
    found = Predictor(way(bundle, tmp_path / "out"), device="cpu")
    assert found.processor == original.processor
    assert found.classes == CLASSES
    for color in COLORS:
        assert found(picture(color)).label == original(picture(color)).label


def test_a_bundle_of_training_is_whole_in_its_two_files(tmp_path):
    model = trained_model()
    save_bundle(model, processor("rgb"), CLASSES, tmp_path, model.state_dict())
    (tmp_path / PROCESSOR).unlink()
    for runtime in ("auto", "torch"):
        predictor = Predictor(tmp_path, device="cpu", runtime=runtime)
        assert predictor.processor == processor("rgb")


def test_a_processors_file_counts_more_than_the_config(tmp_path):
    bundle = save_trained(tmp_path / "bundle")
    processor("bgr").save_pretrained(tmp_path / "out")
    saved_again(bundle, tmp_path / "out")
    assert Predictor(tmp_path / "out", device="cpu").processor == processor("bgr")


def test_transformers_opens_what_was_saved_again(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    bundle = saved_again(save_trained(tmp_path / "bundle"), tmp_path / "out")
    theirs = transformers.MobileViTV2ForImageClassification.from_pretrained(bundle).eval()
    pixels = processor()(picture("red"), return_tensors="pt").pixel_values
    with torch.no_grad():
        wanted = Classifier.from_pretrained(bundle)(pixels).logits
        torch.testing.assert_close(theirs(pixels).logits, wanted, rtol=0, atol=1e-3)


def test_weights_with_another_head_are_not_what_was_noted(tmp_path):
    state = Classifier.from_pretrained(save_trained(tmp_path / "bundle")).state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = torch.cat([state[name], state[name]])
    torch.save(state, tmp_path / "state.pth")
    assert Classifier.from_pretrained(tmp_path / "state.pth").num_labels == 2 * len(CLASSES)


def test_a_preprocessor_config_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="preprocessor_config is 'rgb'"):
        trained_model().config_class(preprocessor_config="rgb")  # pyright: ignore[reportArgumentType]


# What a classifier's config says of its task

ENDS = ("folder", "one.safetensors", "timm.pth", "timm.safetensors", "cvnets.pt", "state.pth")


def saved_at(model: Classifier, path: Path) -> Path:
    """Saved in the form that the name asks for."""
    if path.stem == "state":
        torch.save(model.state_dict(), path)
    elif path.stem == "one":
        model.save_pretrained(path.parent)
        (path.parent / "model.safetensors").rename(path)
        (path.parent / "config.json").unlink()
    else:
        layout = "transformers" if path.stem == "folder" else path.stem
        model.save_as(path, layout=layout)
    return path


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({"num_labels": 3}, "classification"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, MULTI_LABEL),
        ({"num_labels": 1}, MULTI_LABEL),
        ({"num_labels": 1, "problem_type": "single_label_classification"}, MULTI_LABEL),
        ({"num_labels": 1, "problem_type": "regression"}, "classification"),
    ],
)
def test_the_task_of_a_classifier_travels_with_the_weights(fields, task, end, tmp_path):
    saved = saved_at(Classifier(MobileViTV2Config(width_multiplier=0.25, **fields)), tmp_path / end)
    assert task_of_model(open_model(saved)) == task


# Nothing that the caller holds changes


def test_a_predictor_leaves_the_callers_processor_as_it_is():
    mine = processor("rgb")
    predictor = Predictor(trained_model(), mine, channel_order="bgr")
    assert (mine.channel_order, predictor.processor.channel_order) == ("rgb", "bgr")
    assert isinstance(predictor.processor, MobileViTImageProcessor)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_a_predictor_leaves_the_callers_model_as_it_is(precision):
    mine = Classifier(trained_model().config).train()
    mine.mobilevitv2.conv_stem.eval()
    modes = [module.training for module in mine.modules()]
    predictor = Predictor(mine, processor(), precision=precision)
    predictor(picture("red"))
    assert [module.training for module in mine.modules()] == modes
    assert mine.dtype == torch.float32
