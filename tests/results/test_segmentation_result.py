import colorsys
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageCms

from mobilevitv2 import Segmentation
from mobilevitv2.images.reading import load_segmentation_map
from mobilevitv2.results.colors import distinct_colors

NAMES = ["sky", "road", "Bäume", "car"]
COLORS = [(90, 140, 250), (250, 90, 200), (10, 160, 20), (240, 200, 30)]


def random_mask(size: tuple[int, int] = (60, 40), classes: int = 4, seed: int = 0) -> np.ndarray:
    """Regions of 10 px."""
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, classes, (height // 10 + 1, width // 10 + 1))
    return blocks.repeat(10, axis=0).repeat(10, axis=1)[:height, :width].astype(np.uint8)


def halves(left: int, right: int, size: tuple[int, int] = (400, 300)) -> np.ndarray:
    mask = np.full((size[1], size[0]), left, np.uint8)
    mask[:, size[0] // 2 :] = right
    return mask


def segmentation(mask: np.ndarray, **options) -> Segmentation:
    return Segmentation(mask, **{"classes": NAMES, "colors": COLORS, **options})


def test_shares_are_those_of_a_plain_count_most_first():
    mask = random_mask()
    mask[mask == 3] = 0
    counted = Counter(NAMES[number] for row in mask.tolist() for number in row).most_common()
    found = segmentation(mask)
    assert list(found.shares.items()) == [(name, count / mask.size) for name, count in counted]
    assert "car" not in found.shares
    assert found.label == counted[0][0]


def test_two_classes_of_one_name_share_it():
    found = Segmentation(np.array([[0, 1], [2, 2]]), ["a", "b", "a"])
    assert found.shares == {"a": 0.75, "b": 0.25}


def test_it_reads_as_the_classes_of_most_pixels():
    mask = np.zeros((10, 100), int)
    mask[:, 50:], mask[:, 80:], mask[:, 99:] = 1, 2, 3
    assert str(segmentation(mask)) == "sky 50.0 %, road 30.0 %, Bäume 19.0 % and 1 more"
    assert str(segmentation(mask * 0)) == "sky 100.0 %"


def test_json_and_dict_hold_plain_values():
    found = segmentation(halves(2, 1, (40, 30)), source="a.jpg")
    shares = {"road": 0.5, "Bäume": 0.5}
    assert found.to_dict() == {"source": "a.jpg", "width": 40, "height": 30, "shares": shares}
    assert json.loads(found.to_json()) == found.to_dict()
    assert "Bäume" in found.to_json()


@pytest.mark.parametrize(("classes", "mode"), [(11, "P"), (255, "P"), (256, "I;16"), (999, "I;16")])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_a_saved_mask_is_read_back_without_loss(tmp_path, classes, mode, suffix):
    mask = np.random.default_rng(0).integers(0, classes, (30, 50))
    mask[0, 0] = classes - 1
    found = Segmentation(mask, [str(number) for number in range(classes)])
    assert found.mask.dtype == (np.uint8 if mode == "P" else np.uint16)
    assert found.index_image().mode == mode
    path = found.save_mask(tmp_path / "new" / f"mask{suffix}")
    with Image.open(path) as read:
        np.testing.assert_array_equal(np.asarray(read), mask)
    np.testing.assert_array_equal(np.asarray(load_segmentation_map(path)), mask)


def test_the_palette_of_a_saved_mask_holds_the_colors(tmp_path):
    mask = random_mask()
    path = segmentation(mask).save_mask(tmp_path / "mask.png")
    with Image.open(path) as read:
        np.testing.assert_array_equal(read.convert("RGB"), np.array(COLORS)[mask])


@pytest.mark.parametrize("name", ["mask.jpg", "mask.webp", "mask"])
def test_a_mask_is_not_saved_in_a_format_that_spoils_it(tmp_path, name):
    with pytest.raises(ValueError, match=r"Name it \.png or \.tif"):
        segmentation(random_mask()).save_mask(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


SHAPES = [(8, 8), (128, 96), (640, 480), (40, 900), (1500, 60)]


@pytest.mark.parametrize("size", SHAPES)
def test_the_drawing_is_readable_at_every_size(size):
    image = Image.new("RGB", size, "black")
    names = [f"class {i}, of a long name that goes on and on for a narrow picture" for i in NAMES]
    mask = np.arange(size[0] * size[1]).reshape(size[::-1]) * 4 // (size[0] * size[1])
    found = Segmentation(mask.astype(np.uint8), names, COLORS)
    drawn = found.draw(image)
    assert not np.asarray(image).any()  # the given one is not drawn on
    scale = max(1, -(-320 // max(size)))
    height = scale * size[1]
    assert drawn.width == max(320, scale * size[0])
    legend = np.asarray(drawn)[height:]
    assert len(legend) >= -(-4 // (drawn.width // 100)) * 14  # lines of readable text
    for color in COLORS:
        assert (legend == color).all(-1).sum() >= 100  # px of a patch
    painted = np.asarray(drawn)[:height].any(axis=(0, 2))
    assert painted.sum() >= scale * size[0]  # the whole width of the picture, at its scale


def test_the_picture_is_tinted_with_the_color_of_each_region_and_stays_visible():
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[150:] = 200  # bright below
    drawn = np.asarray(segmentation(halves(0, 3)).draw(picture)).astype(int)
    for column, color in ((50, COLORS[0]), (350, COLORS[3])):
        for row, under in ((50, 0), (250, 200)):
            seen, expected = drawn[row, column], np.array(color)
            opacity = (seen - under) / (expected - under + 1e-9)
            clear = abs(expected - under) > 60
            assert (opacity[clear] > 0.3).all()
            assert (opacity[clear] < 0.8).all()


def test_regions_are_outlined_in_the_color_of_their_class():
    drawn = np.asarray(segmentation(halves(0, 3)).draw(Image.new("RGB", (400, 300))))
    pure = np.flatnonzero((drawn[100] == COLORS[3]).all(-1))
    assert pure.tolist() == [200]  # where the right half begins
    alone = np.asarray(segmentation(halves(3, 3)).draw(Image.new("RGB", (400, 300))))[:300]
    assert not (alone == COLORS[3]).all(-1).any()


def test_a_tiny_image_is_drawn_enlarged_with_its_mask():
    mask = halves(0, 3, (8, 8))
    drawn = np.asarray(segmentation(mask).draw(np.full((8, 8, 3), 80, np.uint8)))[:320]
    assert (drawn[10, :150] == drawn[10, 0]).all()
    assert (drawn[10, 170:] == drawn[10, -1]).all()
    assert (drawn[10, 0] != drawn[10, -1]).any()


def test_the_legend_names_the_classes_that_are_there_and_no_others():
    image = Image.new("RGB", (400, 300))
    mask = halves(0, 3)
    drawn = segmentation(mask).draw(image)
    assert segmentation(mask, classes=["sky", "x", "y", "car"]).draw(image) == drawn
    assert segmentation(mask, classes=["sky", "x", "y", "cart"]).draw(image) != drawn
    legend = np.asarray(drawn)[300:]
    seen = [bool((legend == color).all(-1).any()) for color in COLORS]
    assert seen == [True, False, False, True]


def test_a_legend_of_hundreds_of_classes_comes_to_an_end():
    mask = np.arange(400).reshape(20, 20).repeat(2, axis=0)
    drawn = Segmentation(mask, [f"class {i}" for i in range(400)]).draw(
        np.zeros((40, 20), np.uint8)
    )
    assert drawn.height < 320 + 1000


def test_a_name_with_a_line_break_or_none_at_all_is_drawn():
    image = Image.new("RGB", (400, 300))
    odd = segmentation(halves(0, 1), classes=["two\nlines", "", "c", "d"]).draw(image)
    assert (
        odd.size
        == segmentation(halves(0, 1), classes=["two lines", "x", "c", "d"]).draw(image).size
    )


def test_a_photo_of_12_megapixels_is_drawn_in_little_memory():
    code = (
        "import resource, numpy as np\n"
        "from PIL import Image\n"
        "from mobilevitv2 import Segmentation\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "mask = np.arange(150, dtype=np.uint8).repeat(80000).reshape(3000, 4000)\n"
        "found = Segmentation(mask, [str(i) for i in range(150)])\n"
        "assert found.draw(Image.new('RGB', (4000, 3000))).width == 4000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 600e6  # a float32 RGB overlay alone would add 3 x 144 MB


def test_saving_draws_on_the_file_predicted_from(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (400, 300), "green").save(path)
    found = segmentation(halves(0, 3), source=str(path))
    with Image.open(found.save(tmp_path / "new" / "drawn.png")) as saved:
        np.testing.assert_array_equal(saved, found.draw(Image.new("RGB", (400, 300), "green")))


def test_the_image_predicted_from_goes_before_the_file_of_its_name():
    image = Image.new("RGB", (400, 300), "green")
    found = segmentation(halves(0, 3), source="gone.jpg", image=image)
    assert found.draw() == found.draw(image)
    with pytest.raises(ValueError, match=r"draw\(image\)"):
        segmentation(halves(0, 3)).draw()


def test_showing_opens_the_drawing(monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image, title: shown.append((image, title)))
    segmentation(halves(3, 3)).show(Image.new("RGB", (400, 300)))
    assert shown[0][0].height > 300
    assert shown[0][1] == "car 100.0 %"


@pytest.mark.parametrize(
    ("mask", "changes", "reason"),
    [
        (np.zeros((2, 2)), {}, "class number for each pixel .* float64"),
        (np.zeros((1, 2, 2), int), {}, r"shape \(1, 2, 2\)"),
        (np.zeros((0, 2), int), {}, r"shape \(0, 2\)"),
        (np.array([[0, 4]]), {}, "no class 4: 4 classes"),
        (np.array([[0, -1]]), {}, "no class -1: 4 classes"),
        (np.zeros((2, 2), int), {"colors": COLORS[:2]}, "4 classes and 2 colors"),
        (np.zeros((2, 2), int), {"certainty": np.ones((3, 2))}, r"Certainty \(3, 2\) doesn"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(mask, changes, reason):
    with pytest.raises(ValueError, match=reason):
        segmentation(mask, **changes)


def test_an_image_of_another_size_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="300x400 px, but the prediction is for one of 400x300"):
        segmentation(halves(0, 1)).draw(Image.new("RGB", (300, 400)))


def nearest_pair(colors: list[tuple[int, int, int]]) -> float:
    """The least distance in CIELAB, by LittleCMS, whose a and b are from -128 and L in 0..255."""
    image = Image.new("RGB", (len(colors), 1))
    image.putdata(colors)
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    there = ImageCms.profileToProfile(image, rgb, lab, outputMode="LAB")
    assert there is not None
    bands = [np.asarray(band)[0].astype(float) for band in there.split()]
    places = np.stack(
        [bands[0] / 2.55, *(band.astype(np.uint8).view(np.int8) for band in bands[1:])]
    )
    distances = np.linalg.norm(places[:, :, None] - places[:, None], axis=0)
    return distances[~np.eye(len(colors), dtype=bool)].min()


@pytest.mark.parametrize(("count", "least"), [(4, 50), (11, 25), (21, 18), (150, 5)])
def test_colors_are_far_apart_in_a_space_made_for_it(count, least):
    colors = distinct_colors(count)
    hues = [colorsys.hsv_to_rgb(i / count, 1, 1) for i in range(count)]  # the mutant: a rainbow
    rainbow = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues]
    assert nearest_pair(colors) > least
    assert count == 4 or nearest_pair(colors) > 1.5 * nearest_pair(rainbow)


def test_more_classes_leave_the_first_colors_as_they_were():
    many = distinct_colors(200)
    assert len(set(many)) == 200
    assert distinct_colors(11) == many[:11]
    assert distinct_colors(0) == []
    assert Segmentation(np.zeros((2, 2), int), NAMES).colors == many[:4]


@pytest.mark.parametrize("count", [-1, 100_000])
def test_more_colors_than_there_are_can_not_be_had(count):
    with pytest.raises(ValueError, match=f"{count} colors can't be told apart"):
        distinct_colors(count)
