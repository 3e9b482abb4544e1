"""The frames of a video or a camera as pictures, and a new video of pictures."""

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
from mobilevitv2.images.finding import is_camera

logger = logging.getLogger(__name__)

CAMERAS = {  # format and name of camera {} for FFmpeg
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
}
MISSING = 0.5  # s by which a file may be shorter than it announces
USUAL_RATE = Fraction(30)  # frames per second of a file that names none


class Reader:
    """The frames of a video as upright RGB pictures. Iterating never raises: see `complaint`."""

    def __init__(self, source: str | os.PathLike, most: int | None = None) -> None:
        self.name, self.live = str(source), is_camera(source)
        self.most = most
        self.times: deque[int] = deque()
        """Of the frames yielded, in `time_base`, from 0; the caller removes each when done."""
        self.complaint = ""
        """After the last frame, a sentence that says what was wrong with the video."""
        av: Any = require("av", extra="video")
        self.error = av.error.FFmpegError
        self.container = self._open(av, source)
        cover = av.stream.Disposition.attached_pic  # the picture of a piece of music
        pictures = [s for s in self.container.streams.video if not s.disposition & cover]
        if not pictures:
            wrong = "is damaged or cut short. Copy or download it again."
            if self.container.streams:
                wrong = "has no moving pictures; expected a video."
            self.close()
            raise ImageError(f"{self.name} {wrong}")
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
                what = "is not a file" if Path(source).exists() else "does not exist"
                raise FileNotFoundError(f"{name} {what}. Name a video file, or a camera's number.")
            return av.open(os.fspath(source))
        except av.error.FFmpegError as error:
            if self.live:
                raise ImageError(
                    f"camera {name} can't be opened ({error.strerror}). Is it there and not in use?"
                ) from error
            why = f"not a readable video, or it is damaged or cut short ({error.strerror})"
            raise ImageError(f"{name} is {why}. Copy or download it again.") from error

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
            self.complaint = f"{self.name} has no readable frame. Copy it again."
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
            except self.error:  # a file is cut here; its length tells how much is missing
                packet = None
            try:
                yield from self.stream.decode(packet)
            except self.error:
                lost += packet is not None
            if packet is None:
                break
        if lost:
            logger.warning("%s: %d damaged packets left out", self.name, lost)

    @property
    def promised(self) -> float | None:
        """How long the file says it is, in s; None if it doesn't, as in MPEG streams."""
        if self.stream.duration:  # in a cut AVI only of what is left, so its frames count as well
            lasting = self.stream.duration * self.time_base
            return float(max(lasting, self.stream.frames / self.rate))
        hours, _, rest = self.stream.metadata.get("DURATION", "").partition(":")  # Matroska's
        minutes, _, seconds = rest.partition(":")
        try:
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:
            return None

    def close(self) -> None:
        """Release the file or the camera."""
        self.container.close()


class Writer:
    """An H.264 video of pictures at given times; it gets its name once it is whole."""

    def __init__(self, path: Path, like: Reader) -> None:
        self.av: Any = require("av", extra="video")
        self.path, self.like = path, like
        self.part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.mp4")
        self.container: Any = None
        self.last = -1

    def write(self, picture: Image.Image, time: int) -> None:
        """Add a picture; `time` is in the reader's `time_base`."""
        odd = ((0, picture.height % 2), (0, picture.width % 2), (0, 0))  # H.264 needs even sides
        pixels = np.pad(np.asarray(picture.convert("RGB")), odd, mode="edge")
        if self.container is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.container = self.av.open(str(self.part), "w")
            rate = self.like.rate.limit_denominator(65535)
            self.stream = self.container.add_stream("libx264", rate=rate)
            self.stream.height, self.stream.width = pixels.shape[:2]
            self.stream.pix_fmt = "yuv420p"  # which every player supports
            self.stream.codec_context.time_base = self.like.time_base
        frame = self.av.VideoFrame.from_ndarray(pixels, "rgb24")
        self.last = max(time, self.last + 1)
        frame.pts, frame.time_base = self.last, self.like.time_base
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Finish the file; if it can't be written, nothing stays."""
        if self.container is None:
            return
        try:
            self.container.mux(self.stream.encode(None))
            self.container.close()
            os.replace(self.part, self.path)
        except BaseException:
            self.part.unlink(missing_ok=True)
            raise


def _fraction(value: Any) -> Fraction | None:  # of PyAV's own types of numbers
    return Fraction(value.numerator, value.denominator) if value else None


def _upright(frame: Any) -> Image.Image:
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}
    turns[-90], turns[-180] = Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180
    picture, turn = frame.to_image(), turns.get(round(frame.rotation))
    return picture if turn is None else picture.transpose(turn)
