"""Videos, made here with PyAV, through a predictor."""

import os
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import COLORS, color_predictor

from mobilevitv2 import Classification
from mobilevitv2.errors import ConfigError, ImageError
from mobilevitv2.images import video as video_files
from mobilevitv2.images.finding import VIDEO_SUFFIXES, is_video
from mobilevitv2.predict.video import predict_video

av: Any = pytest.importorskip("av", reason="the extra video is not installed")
COLOR_OF = list(COLORS)  # by the number of a frame, in turn


def paint(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """The left half has the frame's color; the right half is gray."""
    picture = Image.new("RGB", size, (128, 128, 128))
    picture.paste(COLORS[COLOR_OF[number % 3]], (0, 0, size[0] // 2, size[1]))
    return picture


def one_color(number: int, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, COLORS[COLOR_OF[number % 3]])


def film(
    path: Path,
    count: int = 12,
    *,
    size: tuple[int, int] = (64, 48),
    times: list[int] | None = None,
    codec: str = "mpeg4",
    rotation: int = 0,
    pictures: Callable[[int, tuple[int, int]], Image.Image] = paint,
    **options: str,
) -> Path:
    """A video of 25 frames a second, or with these times in ms."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "yuv420p"
        stream.codec_context.gop_size = 4
        stream.codec_context.max_b_frames = 0
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i in range(count):
            frame = av.VideoFrame.from_image(pictures(i, size))
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def look(path: Path) -> tuple[list[Image.Image], list[float]]:
    """The pictures and times [s] of a video."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.to_image() for f in frames], [float(f.pts * f.time_base) for f in frames]


class Seer:
    """A predictor that remembers what it was shown, and draws its number into the corner."""

    def __init__(self) -> None:
        self.seen: list[Image.Image] = []
        self.asked = 0

    def stream(self, images: Any) -> Iterator["Shown"]:
        self.asked += 1
        for image in images:
            self.seen.append(image)
            yield Shown(image)


class Shown:
    def __init__(self, image: Image.Image) -> None:
        self.source: str = image.filename  # pyright: ignore[reportAttributeAccessIssue]
        self.image = image

    def draw(self) -> Image.Image:
        return self.image


def seen(path: Path, **options: Any) -> tuple[Seer, list[Shown]]:
    seer: Any = Seer()
    return seer, list(predict_video(seer, path, **options))


def near(picture: Image.Image, color: tuple[int, int, int], at: tuple[int, int]) -> bool:
    pixel: Any = picture.getpixel(at)
    return max(abs(a - b) for a, b in zip(pixel, color, strict=True)) < 30


def test_every_frame_gets_a_result_in_order(tmp_path):
    path = film(tmp_path / "clip.mp4", 20, pictures=one_color)
    told: list[tuple[int, int | None]] = []
    results = list(
        predict_video(color_predictor(batch_size=8), path, progress=lambda *both: told.append(both))
    )
    assert all(isinstance(r, Classification) for r in results)
    assert [r.label for r in results] == [COLOR_OF[i % 3] for i in range(20)]
    assert results[5].source == f"{path}#t=0.200"
    assert told == [(i + 1, 20) for i in range(20)]


def test_frames_may_be_few(tmp_path):
    path = film(tmp_path / "clip.mp4", 50)
    seer, results = seen(path, frames=3)
    assert len(results) == len(seer.seen) == 3
    with pytest.raises(ConfigError, match="frames is 0; it must be at least 1"):
        predict_video(color_predictor(), path, frames=0)


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (64, 49)])
def test_the_drawn_video_is_the_same_at_the_same_pace(size, tmp_path):
    path = film(tmp_path / "clip.mkv", 10, size=size, codec="libx264")
    seer, _ = seen(path, save=tmp_path / "new" / "drawn.mp4")
    pictures, times = look(tmp_path / "new" / "drawn.mp4")
    assert times == pytest.approx([i / 25 for i in range(10)], abs=2e-3)
    assert pictures[0].size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for i, (picture, shown) in enumerate(zip(pictures, seer.seen, strict=True)):
        assert shown.size == size
        assert near(picture, COLORS[COLOR_OF[i % 3]], (10, 10))
        if size[1] % 2:  # the row that was added is like the last one, not black
            assert near(picture, COLORS[COLOR_OF[i % 3]], (10, size[1]))
    with av.open(str(tmp_path / "new" / "drawn.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_uneven_times_are_kept(tmp_path):
    times = [0, 40, 50, 500, 1500, 1510, 2300]
    path = film(tmp_path / "clip.mkv", len(times), times=times)
    _, results = seen(path, save=tmp_path / "drawn.mp4")
    assert [r.source.partition("#t=")[2] for r in results] == [f"{t / 1e3:.3f}" for t in times]
    assert look(tmp_path / "drawn.mp4")[1] == pytest.approx([t / 1e3 for t in times], abs=1e-3)


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="an older PyAV"
)
def test_a_telephone_held_upright(rotation, tmp_path):
    """The picture is turned as the file says, counter-clockwise."""
    path = film(tmp_path / "clip.mp4", 3, rotation=rotation)
    _, results = seen(path)
    expected = paint(0).rotate(rotation, expand=True)
    assert results[0].image.size == expected.size
    difference = np.abs(np.asarray(results[0].image, int) - np.asarray(expected, int)).mean()
    assert difference < 8
    assert np.abs(np.asarray(expected.rotate(180), int) - np.asarray(expected, int)).mean() > 30


def test_it_stops_when_nobody_wants_more_and_the_file_is_whole(tmp_path):
    path = film(tmp_path / "clip.mp4", 40)
    seer: Any = Seer()
    results = predict_video(seer, path, tmp_path / "drawn.mp4")
    for _ in range(5):
        next(results)
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(look(tmp_path / "drawn.mp4")[0]) == 5


@pytest.mark.parametrize("forgets", [True, False])
def test_memory_does_not_grow_with_the_length(forgets, tmp_path, monkeypatch):
    """Of 60 frames only those of two batches are there at a time, unless somebody keeps them."""
    made: list[weakref.ref] = []

    def upright(frame: Any) -> Image.Image:
        picture = real(frame)
        made.append(weakref.ref(picture))
        return picture

    real = video_files._upright
    monkeypatch.setattr(video_files, "_upright", upright)
    predictor = color_predictor(batch_size=4)
    most, kept = 0, []
    for result in predict_video(predictor, film(tmp_path / "clip.mp4", 60)):
        most = max(most, sum(ref() is not None for ref in made))
        if not forgets:
            kept.append(result)
    assert len(made) == 60
    assert most <= 12 if forgets else most == 60


# Bad input


def test_what_is_a_video_by_its_name():
    for suffix in VIDEO_SUFFIXES:
        assert is_video(f"a{suffix}")
        assert is_video(Path(f"A{suffix.upper()}"))
    assert is_video("0")
    assert not any(map(is_video, ["a.jpg", "folder", "", "-1", Path("0"), "1.5"]))


def cut(path: Path, share: float, name: str) -> Path:
    whole = path.read_bytes()
    (path.parent / name).write_bytes(whole[: int(share * len(whole))])
    return path.parent / name


def noise(number: int, size: tuple[int, int]) -> Image.Image:
    """Frames of many bytes each."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".mkv", {}), (".mp4", {"movflags": "faststart"}), (".avi", {})]
)
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_cut_file_gives_its_frames_and_then_one_sentence(suffix, options, codec, tmp_path):
    path = film(tmp_path / f"whole{suffix}", 60, codec=codec, pictures=noise, **options)
    assert len(seen(path)[1]) == 60
    part = cut(path, 0.5, f"part{suffix}")
    seer: Any = Seer()
    with pytest.raises(ImageError, match=r"part\.\w+ is cut short: it ends after \d\.\d s of 2\.4"):
        list(predict_video(seer, part, tmp_path / "drawn.mp4"))
    assert 15 < len(seer.seen) < 40
    assert len(look(tmp_path / "drawn.mp4")[0]) == len(seer.seen)


def test_a_file_whose_index_is_lost(tmp_path):
    part = cut(film(tmp_path / "whole.mp4"), 0.5, "part.mp4")
    with pytest.raises(ImageError, match=r"part\.mp4 is .*damaged or cut short"):
        predict_video(color_predictor(), part)


def test_a_damaged_middle_is_left_out(tmp_path, caplog):
    path = film(tmp_path / "clip.avi", 60, pictures=noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    assert 40 < len(seen(path)[1]) <= 60


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_no_video(tmp_path):
    predictor = color_predictor()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(ImageError, match=rf"{name} is not a readable video"):
            predict_video(predictor, tmp_path / name)
    with pytest.raises(ImageError, match=r"sound\.mkv has no moving pictures"):
        predict_video(predictor, sound(tmp_path / "sound.mkv"))
    with pytest.raises(FileNotFoundError, match=r"absent\.mp4 does not exist"):
        predict_video(predictor, tmp_path / "absent.mp4")
    with pytest.raises(FileNotFoundError, match=r"is not a file"):
        predict_video(predictor, tmp_path)


@pytest.mark.skipif(os.path.exists("/dev/video63"), reason="there is a camera 63")
def test_a_camera_that_is_not_there(monkeypatch):
    with pytest.raises(ImageError, match=r"camera 63 can't be opened \(No such file"):
        predict_video(color_predictor(), "63")
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ConfigError, match="cameras have no numbers on win32"):
        predict_video(color_predictor(), "0")


def test_a_camera_is_not_waited_for(tmp_path, monkeypatch):
    """Its frames are asked for one by one; a file stands in for it."""
    path = film(tmp_path / "camera7.avi", 5)
    kind = ("avi", str(path.with_name("camera{}.avi")))
    monkeypatch.setitem(video_files.CAMERAS, "linux", kind)
    monkeypatch.setattr("sys.platform", "linux")
    seer: Any = Seer()
    results = predict_video(seer, "7")
    assert next(results).source == "camera 7#t=0.000"
    assert seer.asked == len(seer.seen) == 1
    assert len(list(results)) == 4


def test_where_it_is_not_written(tmp_path):
    path = film(tmp_path / "clip.mp4")
    with pytest.raises(ConfigError, match=r"drawn\.avi must end in \.mp4"):
        predict_video(color_predictor(), path, tmp_path / "drawn.avi")
    with pytest.raises(ConfigError, match="is the video itself"):
        predict_video(color_predictor(), path, path)
