"""The detection model against published counts and keys, and SSD in plain Python."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import plain_ssd
import pytest
import torch
from peers import images, randomize, relative_error, to_ours
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights

from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification
from mobilevitv2.checkpoint.files import write_weights
from mobilevitv2.checkpoint.layouts import HEADS, from_ours, recognize, task_of
from mobilevitv2.checkpoint.shapes import infer_config
from mobilevitv2.class_names import COCO
from mobilevitv2.deploy import fuse
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.model import boxes, detection
from mobilevitv2.model.boxes import anchor_shapes, make_anchors
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection, detection_losses

# Parameters with COCO's 80 classes, as the model zoo of ml-cvnets has them.
COUNTS = {
    0.5: 2_035_395,
    0.75: 3_584_955,
    1.0: 5_608_883,
    1.25: 8_173_227,
    1.5: 11_277_987,
    1.75: 14_923_163,
    2.0: 19_108_755,
}
AT_320 = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
PROJECTION = "ssd_heads.1.proj_layer."


def detector(**fields: Any) -> Any:
    fields = {"width_multiplier": 0.5, "num_labels": 3} | fields
    return MobileViTV2ForObjectDetection(MobileViTV2Config(**fields)).eval()


def things(*found: tuple[int, tuple[float, ...]]) -> dict[str, torch.Tensor]:
    """The labels of one image."""
    return {
        "class_labels": torch.tensor([kind for kind, _ in found], dtype=torch.int64),
        "boxes": torch.tensor([box for _, box in found]).reshape(-1, 4),
    }


LABELS = [
    things((0, (0.3, 0.4, 0.2, 0.3)), (2, (0.7, 0.6, 0.5, 0.6)), (1, (0.12, 0.09, 0.11, 0.06))),
    things(),
]


# Counts and keys


@pytest.mark.parametrize("width", COUNTS)
def test_parameters_and_keys_are_as_many_as_published(width):
    with torch.device("meta"):
        model = detector(width_multiplier=width, num_labels=80)
    assert model.num_parameters() == COUNTS[width]
    assert len(from_ours(model.state_dict(), "cvnets")) == (352 if width == 0.5 else 358)


def published(shared_data: Path) -> dict[str, list[int]]:
    """Keys and shapes at width 1.0."""
    path = shared_data.parent / "facts" / "keys" / "cvnets_det_ssd_w1.00.txt"
    split = (line.split(" ", 1) for line in path.read_text().splitlines())
    return {key: [int(n) for n in re.findall(r"\d+", shape)] for key, shape in split}


def test_the_published_key_list_is_met_in_order_and_shape(shared_data):
    with torch.device("meta"):
        whole = detector(width_multiplier=1.0, num_labels=80).state_dict()
        half = detector(num_labels=80).state_dict()
    written = from_ours(whole, "cvnets")
    wanted = published(shared_data)
    assert [(k, list(t.shape)) for k, t in written.items()] == list(wanted.items())
    assert list(to_ours(written, "cvnets", whole)) == list(whole)
    assert list(from_ours(half, "cvnets")) == [k for k in wanted if not k.startswith(PROJECTION)]


@pytest.mark.parametrize("part", sorted({row[0].rsplit(".", 2)[0] for row in HEADS["detection"]}))
def test_a_part_left_out_of_the_head_is_reported(part, monkeypatch):
    with torch.device("meta"):
        state = detector().state_dict()
    written = from_ours(state, "cvnets")
    others = tuple(row for row in HEADS["detection"] if not row[0].startswith(f"{part}."))
    monkeypatch.setitem(HEADS, "detection", others)
    with pytest.raises(CheckpointError, match=r"missing.*unexpected: (extra_layers|ssd_heads)"):
        to_ours(written, "cvnets", state)


def test_timm_has_no_place_for_a_detector():
    with (
        torch.device("meta"),
        pytest.raises(CheckpointError, match=r"no place for: detection_head\.extra"),
    ):
        from_ours(detector().state_dict(), "timm")


@pytest.mark.parametrize(("width", "classes"), [(0.5, 80), (0.75, 4)])
def test_a_file_of_ml_cvnets_opens_and_gives_the_same_answers(width, classes, tmp_path):
    model: Any = randomize(detector(width_multiplier=width, num_labels=classes))
    write_weights(from_ours(model.state_dict(), "cvnets"), tmp_path / "model.pt")
    opened: Any = MobileViTV2ForObjectDetection.from_pretrained(tmp_path / "model.pt")
    assert opened.checkpoint_layout == "cvnets"
    names = opened.config.id2label
    assert list(names.values()) == (list(COCO) if classes == 80 else [f"LABEL_{i}" for i in names])
    assert opened.config.image_size == 320
    opened.save_pretrained(tmp_path / "bundle")
    back: Any = MobileViTV2ForObjectDetection.from_pretrained(tmp_path / "bundle")
    x = images(96, 96)
    with torch.no_grad():
        for other in (opened, back):
            assert torch.equal(other(x).logits, model(x).logits)
            assert torch.equal(other(x).pred_boxes, model(x).pred_boxes)


def test_what_the_shapes_of_a_detector_say():
    with torch.device("meta"):
        state = detector(width_multiplier=0.75, num_labels=7).state_dict()
    assert (recognize(state), task_of(state)) == ("transformers", "detection")
    fields = infer_config(state)
    assert (fields["num_labels"], fields["width_multiplier"]) == (7, 0.75)
    last = "detection_head.predictors.5.conv_1x1.convolution.weight"
    for rows in (20, 50):
        with pytest.raises(CheckpointError, match="4 times 5 plus the number of classes"):
            infer_config(state | {last: torch.empty(rows, 64, 1, 1)})


def test_the_80_classes_are_those_of_coco_in_the_order_of_their_ids():
    listed = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    assert [name for name in listed if name not in ("__background__", "N/A")] == list(COCO)


def test_a_classifier_gives_its_backbone_to_a_detector(tmp_path, caplog):
    classifier: Any = randomize(
        MobileViTV2ForImageClassification(MobileViTV2Config(width_multiplier=0.5, num_labels=9))
    )
    classifier.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a classification checkpoint.*is for detection"):
        MobileViTV2ForObjectDetection.from_pretrained(tmp_path)
    opened: Any = MobileViTV2ForObjectDetection.from_pretrained(tmp_path, id2label=["a", "b"])
    assert "leaving out its classification head" in caplog.text
    for key, tensor in opened.mobilevitv2.state_dict().items():
        assert torch.equal(tensor, classifier.mobilevitv2.state_dict()[key])
    assert opened(images(64, 64)).logits.shape[2] == 3


# Anchors


def test_the_anchors_at_320_px_are_the_published_ones():
    found = make_anchors(AT_320)
    assert found.shape == (3232, 4)
    first = [
        [0.1, 0.1],
        [0.160728, 0.160728],
        [0.141421, 0.070711],
        [0.070711, 0.141421],
        [0.173205, 0.057735],
        [0.057735, 0.173205],
    ]
    wanted = torch.tensor([[0.025, 0.025, *shape] for shape in first])
    torch.testing.assert_close(found[:6], wanted, rtol=0, atol=1e-6)
    smallest = (0.1, 0.258333, 0.416667, 0.575, 0.733333, 0.891667)
    largest = (0.160728, 0.328084, 0.489473, 0.649359, 0.808634, 0.967600)
    for index, (small, large) in enumerate(zip(smallest, largest, strict=True)):
        squares = anchor_shapes(index)[:2]
        assert squares == [pytest.approx((s, s), abs=1e-6) for s in (small, large)]
    assert found[:, 2:].max() == 1


def largest_error_of_anchors() -> float:
    sizes = [(20, 30), (10, 16), (5, 8), (3, 4), (2, 2), (1, 1)]
    found, wanted = make_anchors(sizes), torch.tensor(plain_ssd.anchors(sizes))
    assert found.shape == wanted.shape
    return (found - wanted).abs().max().item()


def test_the_anchors_of_other_images_are_those_of_plain_loops():
    assert largest_error_of_anchors() < 1e-6


def test_anchors_in_another_order_would_be_noticed(monkeypatch):
    def turned(index):
        shapes = anchor_shapes(index)
        return [*shapes[:2], *[(height, width) for width, height in shapes[2:]]]

    monkeypatch.setattr(boxes, "anchor_shapes", turned)
    assert largest_error_of_anchors() > 0.05


# Forward


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((320, 320), AT_320),
        ((320, 480), [(20, 30), (10, 16), (5, 8), (3, 4), (2, 2), (1, 1)]),
        ((97, 65), [(8, 6), (4, 4), (2, 2), (1, 1), (1, 1), (1, 1)]),
        ((32, 32), [(2, 2), (2, 2), (1, 1), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_each_anchor_of_any_image_gets_scores_and_a_box(size, cells):
    """Where nothing is added to the anchors, the boxes are the anchors."""
    model: Any = randomize(detector())
    for predictor in model.detection_head.predictors:
        for tensor in predictor.conv_1x1.convolution.parameters():
            tensor.data.unflatten(0, (predictor.anchors, -1))[:, :4] = 0
    with torch.no_grad():
        out = model(images(*size, batch=2), output_hidden_states=True)
    wanted = torch.tensor(plain_ssd.anchors(cells))
    assert out.logits.shape == (2, len(wanted), 4)
    assert out.pred_boxes.shape == (2, len(wanted), 4)
    torch.testing.assert_close(out.pred_boxes[1], wanted, rtol=0, atol=1e-6)
    assert out.loss is None
    assert len(out.hidden_states) == 5


def difference_from_ml_cvnets_head(**mutation: Any) -> float:
    model: Any = randomize(detector(width_multiplier=0.75))
    x = images(160, 224, batch=2)
    with torch.no_grad():
        maps = model.mobilevitv2.stages(x, [3, 4])
        wanted = plain_ssd.head(from_ours(model.state_dict(), "cvnets"), *maps, **mutation)
        out = model(x)
        sizes = [(10, 14), (6, 8), (3, 4), (2, 2), (1, 1), (1, 1)]
        offsets, all_anchors = wanted[..., :4], torch.tensor(plain_ssd.anchors(sizes))
        centers = all_anchors[:, :2] + 0.1 * offsets[..., :2] * all_anchors[:, 2:]
        boxes = torch.cat([centers, all_anchors[:, 2:] * (0.2 * offsets[..., 2:]).exp()], -1)
    return max(
        relative_error(out.logits, wanted[..., 4:]),
        relative_error(out.pred_boxes, boxes),
    )


def test_scores_and_boxes_are_those_of_ml_cvnets_head():
    assert difference_from_ml_cvnets_head() < 1e-5


def test_an_activation_after_depthwise_convolutions_would_be_noticed():
    assert difference_from_ml_cvnets_head(after_depthwise=torch.relu) > 1e-3


# Loss


def small_case(seed: int) -> tuple[Any, ...]:
    """20 anchors, three classes, up to four boxes in each of three images, none in the last."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 20, 4, generator=generator, dtype=torch.float64) * 2
    offsets = torch.randn(3, 20, 4, generator=generator, dtype=torch.float64)
    boxes = torch.rand(40, 4, generator=generator, dtype=torch.float64) * 0.6 + 0.2
    pairs = [(int(n), box) for n, box in zip(torch.arange(20) % 3, boxes[20:], strict=True)]
    labels = [pairs[: seed % 4 + 1], pairs[5 : 5 + seed % 3], []]
    return logits, offsets, boxes[:20], labels


def largest_error_of_the_loss() -> float:
    errors = []
    for seed in range(12):
        logits, offsets, all_anchors, labels = small_case(seed)
        given = [
            {
                "class_labels": torch.tensor([kind for kind, _ in pairs], dtype=torch.int64),
                "boxes": torch.stack([b for _, b in pairs]) if pairs else torch.empty(0, 4),
            }
            for pairs in labels
        ]
        found = detection_losses(logits, offsets, all_anchors, given)
        plain = [[(kind, box.tolist()) for kind, box in pairs] for pairs in labels]
        wanted = plain_ssd.losses(logits.tolist(), offsets.tolist(), all_anchors.tolist(), plain)
        for name, value in zip(("loss_ce", "loss_bbox"), wanted, strict=True):
            errors.append(abs(found[name].item() - value) / max(value, 1))
    return max(errors)


def test_the_loss_is_that_of_plain_loops():
    assert largest_error_of_the_loss() < 1e-5


@pytest.mark.parametrize("mutant", ["fewer negatives", "easy negatives"])
def test_other_negatives_would_be_noticed(mutant, monkeypatch):
    if mutant == "fewer negatives":
        monkeypatch.setattr(detection, "NEGATIVES", 2)
    else:
        hard = detection.hard_negatives
        monkeypatch.setattr(
            detection, "hard_negatives", lambda logits, positive: hard(-logits, positive)
        )
    assert largest_error_of_the_loss() > 1e-2


def test_the_models_loss_is_the_sum_of_its_two_parts_of_what_it_answers():
    model: Any = randomize(detector())
    x = images(96, 96, batch=2)
    with torch.no_grad():
        out = model(x, labels=LABELS)
        maps = model.mobilevitv2.stages(x, [3, 4])
        answers = plain_ssd.head(from_ours(model.state_dict(), "cvnets"), *maps)
    all_anchors = plain_ssd.anchors([(6, 6), (4, 4), (2, 2), (1, 1), (1, 1), (1, 1)])
    kinds = [[int(n) for n in label["class_labels"]] for label in LABELS]
    plain = [
        list(zip(k, label["boxes"].tolist(), strict=True))
        for k, label in zip(kinds, LABELS, strict=True)
    ]
    wanted = plain_ssd.losses(
        answers[..., 4:].tolist(), answers[..., :4].tolist(), all_anchors, plain
    )
    assert out.loss_dict["loss_ce"].item() == pytest.approx(wanted[0], rel=1e-4)
    assert out.loss_dict["loss_bbox"].item() == pytest.approx(wanted[1], rel=1e-4)
    assert out.loss.item() == pytest.approx(sum(wanted), rel=1e-4)


def test_an_image_without_boxes_teaches_background():
    model = detector().train()
    pixels, labels = images(64, 64, batch=2), [things(), things()]
    out = model(pixels, labels=labels)
    hardness = -out.logits.log_softmax(-1)[..., 0]
    expected = hardness.topk(3, dim=1).values.sum().item()
    assert out.loss.item() == pytest.approx(expected, rel=1e-5)
    assert out.loss_dict["loss_bbox"].item() == 0
    out.logits.retain_grad()
    out.loss.backward()
    background = out.logits.grad[..., 0]
    assert (background <= 0).all()  # a step raises it
    assert (background < 0).sum(1).tolist() == [3, 3]


def test_gradients_reach_every_parameter():
    model = detector(width_multiplier=0.75).train()
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(30, 4, generator=generator) * torch.tensor([1, 1, 0.9, 0.9]) + 0.05
    boxes[:, :2] = boxes[:, :2].clamp(max=1)
    label = {"class_labels": torch.arange(30) % 3, "boxes": boxes}
    model(images(320, 320), labels=[label]).loss.backward()  # one image: 2x2 cells are normalized
    lacking = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert lacking == []


def test_it_learns_to_find_a_square():
    """The loss and the decoded boxes belong together: after training the box is where it was."""
    torch.manual_seed(0)
    model = detector(num_labels=1).train()
    x = images(64, 64, batch=2)
    x[:, :, 16:40, 8:40] = 1
    label = things((0, (24 / 64, 28 / 64, 32 / 64, 24 / 64)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(80):
        optimizer.zero_grad()
        model(x, labels=[label, label]).loss.backward()
        optimizer.step()
    out = model(x)
    best = out.logits.softmax(-1)[0, :, 1].argmax()
    torch.testing.assert_close(out.pred_boxes[0, best], label["boxes"][0], rtol=0, atol=0.05)


# Use


def test_new_classes_leave_what_says_where_boxes_are():
    model: Any = randomize(detector())
    x = images(96, 96)
    with torch.no_grad():
        before = model(x)
        model.reset_classifier(5, ["a", "b", "c", "d", "e"])
        after = model(x)
    assert after.logits.shape == (1, before.logits.shape[1], 6)
    torch.testing.assert_close(after.pred_boxes, before.pred_boxes)
    assert model.config.label2id["e"] == 4
    for predictor in model.detection_head.predictors:  # new scores begin as ml-cvnets' do
        new = predictor.conv_1x1.convolution.bias.view(-1, predictor.answers)[:, 4:]
        assert torch.equal(new, torch.zeros_like(new))
    fresh = detector(num_labels=5)
    fresh.load_state_dict(model.state_dict())
    with pytest.raises(ConfigError, match="a detector needs at least one"):
        model.reset_classifier(0)


def test_freezing_leaves_the_head_to_be_trained():
    model = detector()
    total = model.num_parameters()
    model.freeze()
    assert model.num_parameters(only_trainable=True) == total - 1_113_593
    model.unfreeze()
    assert model.num_parameters(only_trainable=True) == total


def test_one_small_image_alone_can_not_be_trained_on():
    model = detector().train()
    with pytest.raises(ValueError, match="Train with batches of two or more, or images"):
        model(images(256, 256))
    assert model(images(32, 32, batch=2)).logits.shape == (2, 70, 4)
    assert model.eval()(images(32, 32)).logits.shape == (1, 70, 4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_labels": 0}, "a detector needs at least one"),
        ({"output_stride": 16}, "output_stride is 16.*Pass output_stride=32"),
    ],
)
def test_configs_that_no_detector_can_have(fields, said):
    with pytest.raises(ConfigError, match=said):
        detector(**fields)


def box(*numbers: float) -> dict[str, torch.Tensor]:
    return things((0, numbers))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([things()], r"got 2 images and 1 labels"),
        ([things(), {"boxes": torch.zeros(0, 4)}], r"image 1 .*missing class_labels"),
        ([things((3, (0.5, 0.5, 0.1, 0.1))), things()], r"image 0 .*has 3 to 3; 3 classes"),
        ([things(), things((-1, (0.5, 0.5, 0.1, 0.1)))], r"image 1 .*has -1 to -1"),
        ([things(), {**things(), "boxes": torch.zeros(2, 4)}], r"\[0\] and boxes \[2, 4\]"),
        ([things(), box(0.5, 0.5, 0.0, 0.1)], "a box is empty"),
        ([things(), box(0.5, 0.5, float("nan"), 0.1)], "not finite"),
        ([things(), box(160.0, 160.0, 32.0, 32.0)], "fractions of the image"),
    ],
)
def test_labels_that_can_not_be_trained_on(labels, said):
    with pytest.raises(ValueError, match=said):
        detector()(images(64, 64, batch=2), labels=labels)


def test_outputs_as_a_tuple():
    model = detector()
    loss, parts, logits, boxes = model(images(64, 64), labels=LABELS[:1], return_dict=False)
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()))
    assert logits.shape == boxes.shape == (1, 142, 4)


@pytest.mark.parametrize("size", [320, (320, 480)])
def test_it_exports_and_the_fused_form_gives_the_same_answers(size):
    model: Any = randomize(detector(n_attn_blocks=[1, 2, 1]))
    height, width = (size, size) if isinstance(size, int) else size
    x = images(height, width, batch=2)
    fused = fuse(model, size)
    batch = torch.export.Dim("batch", min=1, max=64)
    programs = [
        torch.export.export(m, (x,), dynamic_shapes=({0: batch},)).module() for m in (model, fused)
    ]
    other = images(height, width, batch=3, seed=5)
    with torch.no_grad():
        wanted = model(other)
        for given in (fused(other), *(program(other) for program in programs)):
            assert relative_error(given.logits, wanted.logits) <= 1e-5
            assert relative_error(given.pred_boxes, wanted.pred_boxes) <= 1e-5


def test_no_torchvision_is_needed():
    code = (
        "import sys, torch; sys.modules['torchvision'] = None\n"
        "from mobilevitv2.config import MobileViTV2Config\n"
        "from mobilevitv2.model.detection import MobileViTV2ForObjectDetection as Detector\n"
        "from mobilevitv2 import MobileViTImageProcessor\n"
        "model = Detector(MobileViTV2Config(width_multiplier=0.5)).eval()\n"
        "label = {'class_labels': torch.tensor([0]), 'boxes': torch.full((1, 4), 0.5)}\n"
        "out = model(torch.rand(1, 3, 64, 64), labels=[label])\n"
        "print(len(MobileViTImageProcessor().post_process_object_detection(out)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
