"""How a segmenter looks at an image: whole, mirrored as well, or through overlapping windows."""

# C classes, H W height and width of the image, h w of the scores

from collections.abc import Callable, Iterator

import numpy as np

from mobilevitv2.errors import ConfigError

STEP = 64  # px: where windows begin, all output strides have an even number of pixels

Network = Callable[[np.ndarray], np.ndarray]  # [B, 3, H, W] to [B, C, h, w]


class Views:
    """Averages the scores of one image over the ways to look at it."""

    def __init__(self, *, flip: bool = False, window: int | None = None) -> None:
        if window is not None and (window < 2 * STEP or window % STEP):
            raise ConfigError(
                f"window is {window} px; it must be a multiple of {STEP} of at least {2 * STEP}."
            )
        self.flip = flip
        self.window = window

    @property
    def average(self) -> bool:
        """Whether there may be more than one way."""
        return self.flip or self.window is not None

    def __call__(self, network: Network, pixels: np.ndarray) -> np.ndarray:
        """float32 [3, H, W] to scores [C, h, w]."""
        height, width = pixels.shape[1:]
        if self.window is None or max(height, width) <= self.window:
            return self._seen(network, pixels)
        side = self.window
        padded = np.pad(
            pixels, ((0, 0), (0, -height % STEP), (0, -width % STEP)), mode="edge"
        )  # so that the scores' grid is whole
        total: np.ndarray | None = None
        for top in starts(padded.shape[1], side):
            for left in starts(padded.shape[2], side):
                part = padded[:, top : top + side, left : left + side]
                scores = self._seen(network, part)
                stride = part.shape[1] // scores.shape[1]
                if total is None:
                    grid = (padded.shape[1] // stride, padded.shape[2] // stride)
                    total = np.zeros((len(scores) + 1, *grid), np.float32)  # last: how often seen
                rows = slice(top // stride, top // stride + scores.shape[1])
                columns = slice(left // stride, left // stride + scores.shape[2])
                total[:-1, rows, columns] += scores
                total[-1, rows, columns] += 1
        assert total is not None
        mean = total[:-1] / total[-1]
        return mean[:, : -(-height * mean.shape[1] // padded.shape[1]), :][
            :, :, : -(-width * mean.shape[2] // padded.shape[2])
        ]

    def _seen(self, network: Network, pixels: np.ndarray) -> np.ndarray:
        scores = network(pixels[None])[0]
        if not self.flip:
            return scores
        mirrored = network(np.ascontiguousarray(pixels[None, :, :, ::-1]))[0]
        return (scores + mirrored[:, :, ::-1]) / 2


def starts(length: int, window: int) -> Iterator[int]:
    """Where windows begin, so that they overlap by half and the last one ends at the end."""
    if length <= window:
        yield 0
        return
    last = length - window
    yield from range(0, last, max(window // 2 // STEP, 1) * STEP)
    yield last
