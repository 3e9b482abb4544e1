"""Videos and cameras: a result for each frame, and the drawn frames as a video of the same pace.

Frames are read when the model needs them and aren't kept, so a video may be of any length. Sound is
left out.
"""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from mobilevitv2.errors import ConfigError, ImageError
from mobilevitv2.images.finding import is_camera
from mobilevitv2.images.video import Reader, Writer
from mobilevitv2.predict.predictor import Predictor, Unreadable

Progress = Callable[[int, int | None], None]  # frames done, and of how many, if that is known


def predict_video(
    predictor: Predictor,
    source: str | os.PathLike,
    save: str | os.PathLike | None = None,
    *,
    progress: Progress | None = None,
    frames: int | None = None,
) -> Generator[Any]:
    """A result for each frame of a video file, or of a camera given by its number, "0".

    Results are what `predictor` gives for pictures; their `source` is the video's with the time in
    seconds, `clip.mp4#t=1.200`. With `save`, an .mp4, the drawn frames are written there (H.264) at
    the same times. `frames` is how many to read, by default all. A camera's results come one by
    one, a file's in batches.

    Raises ImageError for a file that isn't a video, and, after the last frame, for one that is cut
    off; FileNotFoundError, ConfigError, or ImportError with what to install.
    """
    if frames is not None and frames < 1:
        raise ConfigError(f"frames is {frames}; it must be at least 1.")
    if save is not None:
        save = Path(save).expanduser()
        if save.suffix.lower() != ".mp4":
            raise ConfigError(f"{save} must end in .mp4, the format that is written.")
        if not is_camera(source) and save.exists() and save.samefile(source):
            raise ConfigError(f"{save} is the video itself. Save the drawn one elsewhere.")
    return _predicted(predictor, Reader(source, frames), save, progress)


def _predicted(
    predictor: Predictor, reader: Reader, save: Path | None, progress: Progress | None
) -> Generator[Any]:
    writer = None if save is None else Writer(save, reader)
    results = predictor.stream(iter(reader))
    if reader.live:  # waiting for a whole batch would delay the results
        results = (result for frame in reader for result in predictor.stream([frame]))
    try:
        for done, result in enumerate(results, 1):
            time = reader.times.popleft()
            if writer is not None and not isinstance(result, Unreadable):
                writer.write(result.draw(), time)
            if progress is not None:
                progress(done, reader.count)
            yield result
    finally:  # the file becomes whole even if the caller stops early
        reader.close()
        if writer is not None:
            writer.close()
    if reader.complaint:
        raise ImageError(reader.complaint)
