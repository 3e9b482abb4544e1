"""The frames of a video or a camera as pictures, and pictures as the frames of a new video."""

import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import ConfigError, ImageError, require

logger = logging.getLogger(__name__)

CAMERAS = {  # format and name of camera {} for FFmpeg
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
}
MISSING = 0.5  # seconds that may lack at the end of what a file announces
USUAL_RATE = Fraction(30)  # frames a second, where a file names none


def is_camera(source: str | os.PathLike) -> bool:
    """Whether this is the number of a camera."""
    return isinstance(source, str) and source.isascii() and source.isdecimal()


class Reader:
    """The frames of a video as upright RGB pictures. Iterating never raises: see `complaint`."""

    def __init__(self, source: str | os.PathLike, most: int | None = None) -> None:
        self.name, self.live = str(source), is_camera(source)
        self.most = most
        self.times: deque[int] = deque()
        """Of the frames given away, in `time_base`, from 0; whoever is done with one takes it."""
        self.complaint = ""
        """After the last frame: what was wrong with the video, in a sentence."""
        av: Any = require("av", extra="video")
        self.error = av.error.FFmpegError
        self.container = self._open(av, source)
        pictures = [s for s in self.container.streams.video if not _is_cover(av, s)]
        if not pictures:
            nothing = not self.container.streams
            self.close()
            raise ImageError(
                f"{self.name} is damaged or cut short. Copy or download it again."
                if nothing
                else f"{self.name} has no pictures that move; a video is wanted."
            )
        self.stream = pictures[0]
        self.stream.thread_type = "AUTO"
        self.time_base = _fraction(self.stream.time_base) or 1 / USUAL_RATE
        rates = map(_fraction, (self.stream.average_rate, self.stream.guessed_rate))
        self.rate = next((rate for rate in rates if rate), USUAL_RATE)
        announced = self.stream.frames or None
        self.count = min((n for n in (announced, most) if n), default=None)

    def _open(self, av: Any, source: str | os.PathLike) -> Any:
        name = self.name
        try:
            if self.live:
                if sys.platform not in CAMERAS:
                    raise ConfigError(f"camera {name}: cameras have no numbers on {sys.platform}.")
                kind, place = CAMERAS[sys.platform]
                self.name = f"camera {name}"
                return av.open(place.format(name), format=kind)
            if not Path(source).is_file():
                what = "is no file" if Path(source).exists() else "does not exist"
                raise FileNotFoundError(f"{name} {what}. Give a video file, or a camera's number.")
            return av.open(os.fspath(source))
        except av.error.FFmpegError as error:
            if self.live:
                raise ImageError(
                    f"camera {name} can't be opened ({error.strerror}). Is it there, and used by "
                    "nobody else?"
                ) from error
            raise ImageError(
                f"{name} is no video that can be read, or it is damaged or cut short "
                f"({error.strerror}). Copy or download it again."
            ) from error

    def __iter__(self) -> Iterator[Image.Image]:
        start = end = None
        given = 0
        for frame in self._frames():
            time = frame.pts if frame.pts is not None else end or 0
            start = time if start is None else start
            end = max(time, end or time) + (frame.duration or 0)
            self.times.append(max(time - start, 0))
            given += 1
            picture = _upright(frame)
            seconds = float((time - start) * self.time_base)
            picture.filename = f"{self.name}#t={seconds:.3f}"  # pyright: ignore[reportAttributeAccessIssue]
            yield picture
            if given == self.most:
                return
        seconds = 0.0 if start is None or end is None else float((end - start) * self.time_base)
        if not given:
            self.complaint = f"{self.name} has no frame that can be read. Copy it again."
        elif self.promised is not None and self.promised - seconds > MISSING:
            self.complaint = (
                f"{self.name} is cut short: it ends after {seconds:.1f} s of {self.promised:.1f}. "
                "Copy or download it again."
            )

    def _frames(self) -> Iterator[Any]:
        """All that can be decoded."""
        lost = 0
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except self.error:  # where a file is cut; how much lacks is seen from its length
                packet = None
            try:
                yield from self.stream.decode(packet)
            except self.error:
                lost += packet is not None
            if packet is None:
                break
        if lost:
            logger.warning("%s: %d damaged packets are left out", self.name, lost)

    @property
    def promised(self) -> float | None:
        """How long the file says it is, in seconds; None where it does not, as in MPEG streams."""
        if self.stream.duration:  # of a cut AVI it is what is left, so its frames count as well
            lasting = self.stream.duration * self.time_base
            return float(max(lasting, self.stream.frames / self.rate))
        hours, _, rest = self.stream.metadata.get("DURATION", "").partition(":")  # Matroska's
        minutes, _, seconds = rest.partition(":")
        try:
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:
            return None

    def close(self) -> None:
        """Let go of the file or the camera."""
        self.container.close()


class Writer:
    """An H.264 video of pictures at given times; it takes its name once it is whole."""

    def __init__(self, path: Path, like: Reader) -> None:
        self.av: Any = require("av", extra="video")
        self.path, self.like = path, like
        self.part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.mp4")
        self.container: Any = None
        self.last = -1

    def write(self, picture: Image.Image, time: int) -> None:
        """The next picture; `time` is in the reader's `time_base`."""
        pixels = _even(np.asarray(picture.convert("RGB")))
        if self.container is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.container = self.av.open(str(self.part), "w")
            self.stream = self.container.add_stream(
                "libx264", rate=self.like.rate.limit_denominator(65535)
            )
            self.stream.height, self.stream.width = pixels.shape[:2]
            self.stream.pix_fmt = "yuv420p"  # what every player shows
            self.stream.codec_context.time_base = self.like.time_base
        frame = self.av.VideoFrame.from_ndarray(pixels, "rgb24")
        self.last = max(time, self.last + 1)
        frame.pts, frame.time_base = self.last, self.like.time_base
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Make the file whole; of one that can't be written nothing stays."""
        if self.container is None:
            return
        try:
            self.container.mux(self.stream.encode(None))
            self.container.close()
            os.replace(self.part, self.path)
        except BaseException:
            self.part.unlink(missing_ok=True)
            raise


def _fraction(value: Any) -> Fraction | None:
    """PyAV's numbers, whichever type of its own they have."""
    return Fraction(value.numerator, value.denominator) if value else None


def _is_cover(av: Any, stream: Any) -> bool:
    """Whether it is the picture of a piece of music."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _upright(frame: Any) -> Image.Image:
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}
    turns[-90], turns[-180] = Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180
    picture, turn = frame.to_image(), turns.get(round(frame.rotation))
    return picture if turn is None else picture.transpose(turn)


def _even(pixels: np.ndarray) -> np.ndarray:
    """With the last row and column twice, where there is an odd number: H.264 wants even sides."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
