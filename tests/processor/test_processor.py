import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pixels import agree, difference, street_scenes
from timm.data.transforms_factory import transforms_imagenet_eval
from transformers import AutoImageProcessor, MobileViTImageProcessorPil

from mobilevitv2.errors import ConfigError, ImageError
from mobilevitv2.processor import BatchFeature, MobileViTImageProcessor, load_image

MODES = ["RGB", "RGB", "L", "P", "RGBA"]
SIZES = [None, (257, 131), (64, 333), (31, 31), (500, 375)]  # None: as it is on disk

CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "hub": {"size": {"shortest_edge": 288}, "resample": 2},
    "384": {"size": {"shortest_edge": 384}, "crop_size": {"height": 384, "width": 384}},
    "odd": {"size": {"shortest_edge": 211}, "crop_size": {"height": 128, "width": 129}},
    "exact size": {"size": {"height": 97, "width": 240}, "do_center_crop": False},
    "bounded": {"size": {"shortest_edge": 288, "longest_edge": 333}},
    "fitted": {"size": {"max_height": 200, "max_width": 180}, "do_center_crop": False},
    "no resize": {"do_resize": False},
    "lanczos, no crop": {"resample": 1, "do_center_crop": False},
    "half": {"rescale_factor": 1 / 510},
}


def remade(image: Image.Image, index: int) -> Image.Image:
    """The image in another size and mode, by its number, so that a set of 20 is a mixed one."""
    size, mode = SIZES[index % len(SIZES)], MODES[index // 5 % len(MODES)]
    image = image.convert("RGB") if size is None else image.convert("RGB").resize(size)
    if mode != "RGBA":
        return image.convert(mode)
    ramp = Image.linear_gradient("L").resize(image.size)
    image.putalpha(ramp)
    return image


@pytest.fixture(scope="module")
def pictures(shared_data) -> list[Image.Image]:
    paths = sorted((shared_data / "flowers" / "val").glob("*/*.jpg"))[::40][:7]
    paths += sorted((shared_data / "camvid" / "val").glob("*.png"))[::8][:7]
    paths += sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[::40][:6]
    assert len(paths) == 20
    return [remade(Image.open(path), index) for index, path in enumerate(paths)]


@pytest.fixture(scope="module")
def scenes(shared_data) -> tuple[list[Image.Image], list[Image.Image]]:
    return street_scenes(shared_data / "camvid")


def pixels_of_transformers(images, **settings) -> list[np.ndarray]:
    processor = MobileViTImageProcessorPil(do_convert_rgb=True, **settings)
    return processor(images)["pixel_values"]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_pixels_are_those_of_transformers(pictures, config, flip):
    settings = config | {"do_flip_channel_order": flip}
    ours = MobileViTImageProcessor(**settings)(pictures).pixel_values
    theirs = pixels_of_transformers(pictures, **settings)
    largest, mean = difference(ours, theirs)
    assert largest <= 1 / 255
    assert mean <= 1e-4


@pytest.mark.parametrize(
    "size",
    [
        {"shortest_edge": 10},
        {"shortest_edge": 10, "longest_edge": 21},
        {"max_height": 10, "max_width": 21},
    ],
)
def test_resized_shapes_are_those_of_transformers_for_many_shapes(size):
    for width, height in [*np.random.default_rng(0).integers(5, 60, (60, 2)), (22, 10), (10, 22)]:
        image = Image.new("RGB", (int(width), int(height)))
        ours = MobileViTImageProcessor(size=size, do_center_crop=False)(image).pixel_values
        theirs = pixels_of_transformers([image], size=size, do_center_crop=False)
        assert ours[0].shape == theirs[0].shape


MUTANTS: dict[str, dict[str, Any]] = {
    "channel order": {"do_flip_channel_order": False},
    "filter": {"resample": 2},
    "resized one pixel larger": {"size": {"shortest_edge": 289}},
    "cropped beside the center": {"crop_size": {"height": 256, "width": 254}},
    "not rescaled": {"do_rescale": False},
    "rescaled by 256": {"rescale_factor": 1 / 256},
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_comparison_sees_a_wrong_setting(pictures, mutant):
    right: dict[str, Any] = {"size": {"shortest_edge": 288}}
    theirs = pixels_of_transformers(pictures, **right)
    wrong = MobileViTImageProcessor(**(right | mutant))(pictures).pixel_values
    if "crop_size" in mutant:  # two columns narrower, filled up on one side: shifted by one pixel
        wrong = [np.pad(a, ((0, 0), (0, 0), (0, 2))) for a in wrong]
    assert agree(MobileViTImageProcessor(**right)(pictures).pixel_values, theirs)
    assert not agree(wrong, theirs)


def test_each_field_can_be_overridden_for_one_call(pictures):
    processor = MobileViTImageProcessor()
    for config in CONFIGS.values():
        ours = processor(pictures[:3], do_flip_channel_order=False, **config).pixel_values
        theirs = pixels_of_transformers(pictures[:3], do_flip_channel_order=False, **config)
        assert agree(ours, theirs)
    assert processor == MobileViTImageProcessor()


@pytest.mark.parametrize("image_size", [256, 384])
@pytest.mark.parametrize("layout", ["timm", "cvnets"])
def test_timm_and_cvnets_checkpoints_get_timms_evaluation_pixels(pictures, layout, image_size):
    crop_pct = 0.888 if image_size == 256 else 1.0
    transform = transforms_imagenet_eval(
        image_size, crop_pct, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
    )
    whole = [p.convert("RGB").resize((480, 360)) for p in pictures[:4]]  # no rounding of the crop
    theirs = [np.asarray(transform(p)) for p in whole]
    processor = MobileViTImageProcessor.for_checkpoint(layout, image_size)
    assert processor.channel_order == "rgb"
    assert agree(processor(whole).pixel_values, theirs)
    flipped = MobileViTImageProcessor.for_checkpoint("transformers", image_size)
    assert flipped.channel_order == "bgr"
    assert not agree(flipped(whole).pixel_values, theirs)
    assert agree([a[::-1] for a in flipped(whole).pixel_values], theirs)


def test_a_checkpoint_of_unknown_layout_is_refused():
    with pytest.raises(ConfigError, match="'keras'"):
        MobileViTImageProcessor.for_checkpoint("keras")  # pyright: ignore[reportArgumentType]


def test_one_picture_gives_the_same_pixels_in_every_container(pictures, tmp_path):
    image = pictures[0]
    path = tmp_path / "picture.png"
    image.save(path)
    array = np.asarray(image)
    floats = array.astype(np.float32)
    containers = [
        path,
        str(path),
        path.read_bytes(),
        array,
        array.transpose(2, 0, 1),
        array[None],
        floats,
        array / 255,
        floats / 255,
        array.astype(np.uint16) * 257,
        torch.from_numpy(array.copy()),
        torch.from_numpy(floats / 255).permute(2, 0, 1).requires_grad_(),
        torch.from_numpy(array.copy()).permute(2, 0, 1)[None],
        [image],
        (image,),
    ]
    processor = MobileViTImageProcessor()
    expected = processor(image).pixel_values[0]
    for container in containers:
        (pixels,) = processor(container).pixel_values
        np.testing.assert_array_equal(pixels, expected)
    together = processor([path, array, image, floats / 255], return_tensors="np").pixel_values
    assert together.shape == (4, 3, 256, 256)
    np.testing.assert_array_equal(together, np.stack([expected] * 4))


def test_floats_are_rounded_to_8_bits_and_not_cut_off():
    levels = np.array([[0.0, 0.999], [0.5, 0.25]])
    expected = [[0, 255], [128, 64]]
    np.testing.assert_array_equal(np.asarray(load_image(levels))[..., 0], expected)
    np.testing.assert_array_equal(np.asarray(load_image(levels * 255))[..., 0], expected)


def test_without_rescaling_pixels_keep_the_range_they_came_in(pictures):
    array = np.asarray(pictures[0])
    theirs = MobileViTImageProcessorPil(do_rescale=False)
    ours = MobileViTImageProcessor(do_rescale=False)
    np.testing.assert_array_equal(ours(array).pixel_values[0], theirs(array)["pixel_values"][0])
    in_unit = array.astype(np.float32) / 255
    assert agree(ours(in_unit).pixel_values, theirs(in_unit)["pixel_values"])
    assert ours(in_unit).pixel_values[0].max() > 0.5


def test_pixels_are_contiguous_float32_in_every_kind_of_container(pictures):
    processor = MobileViTImageProcessor()
    (array,) = processor(pictures[0]).pixel_values
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    tensor = processor(pictures[:2], return_tensors="pt").pixel_values
    assert tensor.shape == (2, 3, 256, 256)
    assert tensor.dtype == torch.float32
    with pytest.raises(ImageError, match="differ in size"):
        processor(pictures[:2], return_tensors="np", do_center_crop=False)
    with pytest.raises(ValueError, match="'tf'"):
        processor(pictures[0], return_tensors="tf")  # pyright: ignore[reportArgumentType]


def test_transparency_lies_on_white_however_it_is_stored():
    hidden = np.full((8, 8, 4), 200, np.uint8)
    hidden[..., 3] = 0
    hidden[:4, :, 3] = 255
    image = Image.fromarray(hidden)
    palette = image.convert("RGB").quantize(2)
    palette.info["transparency"] = palette.getpixel((0, 0))
    gray = image.convert("LA")
    for picture in (image, gray, hidden, hidden.transpose(2, 0, 1)):
        pixels = np.asarray(load_image(picture))
        assert (pixels[:4] == 200).all()
        assert (pixels[4:] == 255).all()
    assert (np.asarray(load_image(palette)) == 255).all()
    assert (np.asarray(image.convert("RGB"))[4:] == 200).all()  # what is not wanted


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_every_mode_shows_the_same_gray_picture(mode):
    ramp = Image.linear_gradient("L")
    ramp = ramp.convert("1").convert("L") if mode == "1" else ramp
    converted = (ramp.convert("RGB") if mode in ("YCbCr", "HSV", "CMYK") else ramp).convert(mode)
    seen = np.asarray(load_image(converted)).astype(int)
    assert np.abs(seen - np.asarray(ramp)[..., None]).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_files_are_scaled_to_their_full_range_and_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(deep).save(path)
    np.testing.assert_array_equal(np.asarray(load_image(path))[..., 0], np.rint(deep / 257))


def test_8_bit_values_in_a_16_bit_file_stay_what_they_are(tmp_path):
    values = np.arange(256, dtype=np.uint16)[None].repeat(16, 0)
    path = tmp_path / "deep.png"
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(np.asarray(load_image(path))[..., 0], values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once_to_files_and_to_pillow_images(tmp_path, orientation):
    upright = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    )
    turned_back = {  # how a camera stores it, by the EXIF standard's table
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    stored = upright
    for turn in turned_back:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    for source in (path, Image.open(path), path.read_bytes()):
        np.testing.assert_array_equal(load_image(source), upright)
    np.testing.assert_array_equal(load_image(load_image(path)), upright)
    assert np.array_equal(np.asarray(stored), np.asarray(upright)) == (
        orientation == 1
    )  # the mutant: not turned


def test_digits_of_8_pixels_are_large_enough():
    digit = np.random.default_rng(0).integers(0, 17, (8, 8)) / 16
    (pixels,) = MobileViTImageProcessor.for_checkpoint("timm", 64)(digit).pixel_values
    assert pixels.shape == (3, 64, 64)
    assert pixels.max() > 0.5


def test_a_batch_is_a_dict_with_attributes_and_moves_like_transformers(pictures, scenes):
    images, maps = scenes
    ours = MobileViTImageProcessor()(images, maps, return_tensors="pt")
    theirs = MobileViTImageProcessorPil()(images, maps, return_tensors="pt")
    assert isinstance(ours, dict)
    assert list(ours) == list(theirs) == ["pixel_values", "labels"]
    for arguments in ((torch.float16,), ("cpu",), ("meta", torch.bfloat16)):
        moved, like = ours.to(*arguments), theirs.to(*arguments)
        assert moved is ours
        for name in ours:
            assert moved[name].dtype == like[name].dtype
            assert moved[name].device == like[name].device
    assert not hasattr(ours, "logits")
    with pytest.raises(TypeError, match="return_tensors='pt'"):
        MobileViTImageProcessor()(pictures[0]).to("cpu")
    large = BatchFeature(labels=torch.tensor([2**24 + 1]))
    assert large.to(torch.float16).labels.item() == 2**24 + 1


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_transformers_opens_what_we_save(tmp_path, pictures, config):
    ours = MobileViTImageProcessor(**config, do_flip_channel_order=False, do_reduce_labels=True)
    path = ours.save_pretrained(tmp_path / "bundle")
    assert path.name == "preprocessor_config.json"
    theirs = AutoImageProcessor.from_pretrained(tmp_path / "bundle", backend="pil")
    assert type(theirs) is MobileViTImageProcessorPil
    for name, value in ours.to_dict().items():
        assert theirs.to_dict()[name] == value
    assert agree(ours(pictures[:4]).pixel_values, theirs(pictures[:4])["pixel_values"])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_we_open_what_transformers_saves_and_lose_no_field(tmp_path, config):
    theirs: Any = MobileViTImageProcessorPil.from_dict(config | {"note": "kept"})
    theirs.save_pretrained(tmp_path)
    ours = MobileViTImageProcessor.from_pretrained(tmp_path)
    for name, value in json.loads(theirs.to_json_string()).items():
        assert ours.to_dict()[name] == value
    assert ours.unknown["note"] == "kept"
    ours.save_pretrained(tmp_path)
    again = MobileViTImageProcessor.from_pretrained(tmp_path / "preprocessor_config.json")
    assert again == ours


def test_our_defaults_are_those_of_transformers():
    theirs = json.loads(MobileViTImageProcessorPil().to_json_string())
    ours = MobileViTImageProcessor().to_dict()
    unused = {"image_mean", "image_std"}
    assert {k: v for k, v in theirs.items() if k not in unused} == {
        k: v for k, v in ours.items() if k != "do_convert_rgb"
    }


def test_settings_in_the_forms_of_old_files_are_understood():
    old = {
        "feature_extractor_type": "MobileViTFeatureExtractor",
        "size": 288,
        "crop_size": 256,
        "resample": 2,
        "do_rescale": None,
    }
    processor = MobileViTImageProcessor.from_dict(old, do_flip_channel_order=False)
    assert processor == MobileViTImageProcessor(
        size={"shortest_edge": 288}, resample=2, do_flip_channel_order=False
    )
    assert "feature_extractor_type" not in processor.to_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_resize", "yes"),
        ("do_center_crop", 1),
        ("size", {"shortest_edge": -3}),
        ("size", {"shortest_edge": 2.5}),
        ("size", {"shortest_edge": 10**9}),
        ("size", {"shortest_edge": True}),
        ("size", {"longest_edge": 300}),
        ("size", "288"),
        ("size", [1, 2, 3]),
        ("crop_size", {"shortest_edge": 256}),
        ("crop_size", {"height": 0, "width": 256}),
        ("resample", 9),
        ("resample", "bicubic"),
        ("resample", True),
        ("rescale_factor", "1/255"),
        ("rescale_factor", 0),
        ("rescale_factor", float("nan")),
        ("do_convert_rgb", "RGB"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_wherever_it_comes_from(tmp_path, name, value):
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({name: value}))
    processor = MobileViTImageProcessor()
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ConfigError, match=name):
        MobileViTImageProcessor(**{name: value})
    with pytest.raises(ConfigError, match=name):
        processor(image, input_data_format="channels_last", **{name: value})
    with pytest.raises(ConfigError, match=rf"preprocessor_config\.json: {name}"):
        MobileViTImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=name):
        setattr(processor, name, value)


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_damaged_file_is_a_config_error_that_names_it(tmp_path, content):
    (tmp_path / "preprocessor_config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json"):
        MobileViTImageProcessor.from_pretrained(tmp_path)


def test_the_file_of_another_models_processor_is_refused():
    with pytest.raises(ConfigError, match="ViTImageProcessor"):
        MobileViTImageProcessor.from_dict({"image_processor_type": "ViTImageProcessor"})


def test_misspelled_settings_are_refused():
    with pytest.raises(ConfigError, match="do_rezise"):
        MobileViTImageProcessor.from_dict({}, do_rezise=False)
    with pytest.raises(TypeError, match="do_rezise"):
        MobileViTImageProcessor()(np.zeros((8, 8), np.uint8), do_rezise=False)


def test_a_folder_without_the_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json"):
        MobileViTImageProcessor.from_pretrained(tmp_path)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = MobileViTImageProcessor(resample=2).save_pretrained(tmp_path)
    old = path.read_text()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        MobileViTImageProcessor(resample=3).save_pretrained(tmp_path)
    assert path.read_text() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_pushing_uploads_exactly_the_file(monkeypatch):
    calls = []

    class Hub:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, repo_id, private, exist_ok):
            assert exist_ok
            return type("Repository", (), {"repo_id": f"me/{repo_id}"})

        def upload_file(self, **upload):
            calls.append(upload)
            return type("Commit", (), {"commit_url": "https://hub/commit", "pr_url": None})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    processor = MobileViTImageProcessor(resample=2)
    assert processor.push_to_hub("flowers", token="secret") == "https://hub/commit"
    assert calls[0] == "secret"
    assert calls[1]["repo_id"] == "me/flowers"
    assert calls[1]["path_in_repo"] == "preprocessor_config.json"
    assert json.loads(calls[1]["path_or_fileobj"]) == processor.to_dict()


def test_preparing_images_imports_neither_torch_nor_the_hub_client():
    code = (
        "import sys, numpy as np; from mobilevitv2.processor import MobileViTImageProcessor as P; "
        "import mobilevitv2.results; P()(np.zeros((9, 9, 3), 'uint8'), return_tensors='np'); "
        "print({'torch', 'huggingface_hub', 'transformers', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
