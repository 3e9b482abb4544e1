"""A segmenter's views of an image: whole, mirrored as well, or in overlapping windows."""

# C classes, H W height and width of the image, h w of the scores

from collections.abc import Callable, Iterator

import numpy as np

from mobilevitv2.errors import ConfigError

STEP = 64  # px: windows begin at multiples, where the scores of all output strides align

Network = Callable[[np.ndarray], np.ndarray]  # [B, 3, H, W] to [B, C, h, w]


class Views:
    """Averages the scores of one image over its views."""

    def __init__(self, *, flip: bool = False, window: int | None = None) -> None:
        if window is not None and (window < 2 * STEP or window % STEP):
            raise ConfigError(
                f"window is {window} px; it must be a multiple of {STEP} of at least {2 * STEP}."
            )
        self.flip = flip
        self.window = window

    @property
    def average(self) -> bool:
        """Whether there may be more than one view."""
        return self.flip or self.window is not None

    def __call__(self, network: Network, pixels: np.ndarray) -> np.ndarray:
        """float32 [3, H, W] to scores [C, h, w]."""
        height, width = pixels.shape[1:]
        if self.window is None or max(height, width) <= self.window:
            return self._scores(network, pixels)
        side = self.window
        edges = ((0, 0), (0, -height % STEP), (0, -width % STEP))
        padded = np.pad(pixels, edges, mode="edge")  # so that the scores' grid is whole
        total: np.ndarray | None = None
        for top in starts(padded.shape[1], side):
            for left in starts(padded.shape[2], side):
                part = padded[:, top : top + side, left : left + side]
                scores = self._scores(network, part)
                stride = part.shape[1] // scores.shape[1]
                if total is None:
                    grid = (padded.shape[1] // stride, padded.shape[2] // stride)
                    # The last layer counts the views.
                    total = np.zeros((len(scores) + 1, *grid), np.float32)
                rows = slice(top // stride, top // stride + scores.shape[1])
                columns = slice(left // stride, left // stride + scores.shape[2])
                total[:-1, rows, columns] += scores
                total[-1, rows, columns] += 1
        assert total is not None
        mean = total[:-1] / total[-1]
        rows = -(-height * mean.shape[1] // padded.shape[1])
        columns = -(-width * mean.shape[2] // padded.shape[2])
        return mean[:, :rows, :columns]

    def _scores(self, network: Network, pixels: np.ndarray) -> np.ndarray:
        scores = network(pixels[None])[0]
        if not self.flip:
            return scores
        mirrored = network(np.ascontiguousarray(pixels[None, :, :, ::-1]))[0]
        return (scores + mirrored[:, :, ::-1]) / 2


def starts(length: int, window: int) -> Iterator[int]:
    """Where windows begin: they overlap by half, and the last ends at the end."""
    if length <= window:
        yield 0
        return
    last = length - window
    yield from range(0, last, max(window // 2 // STEP, 1) * STEP)
    yield last
