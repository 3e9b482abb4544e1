"""Memory and time of segmenting one large photo with a segmenter with random weights.

    python benchmarks/large_image.py [--width 0.5] [--classes 21] [--threads 2]

Memory is the peak above the process with the model loaded: at the usual short side of 512 px, at
the photo's own size, and at that size through windows.
"""

import argparse
import time

import numpy as np
import torch
from measure import peak_memory, report
from PIL import Image

from mobilevitv2 import (
    MobileViTImageProcessor,
    MobileViTV2Config,
    MobileViTV2ForSemanticSegmentation,
    Predictor,
)

SIZE = (4000, 3000)  # px, width and height


def segment(options: argparse.Namespace, short_side: int, window: int | None):
    """A call that reads, predicts and makes the mask at the photo's size."""
    torch.manual_seed(0)
    config = MobileViTV2Config(
        width_multiplier=options.width, num_labels=options.classes, output_stride=16
    )
    processor = MobileViTImageProcessor(
        size={"shortest_edge": short_side}, do_center_crop=False, do_flip_channel_order=False
    )
    predictor = Predictor(
        MobileViTV2ForSemanticSegmentation(config),
        processor,
        device="cpu",
        threads=options.threads,
        window=window,
    )
    photo = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    image = Image.fromarray(photo)

    def call() -> float:
        started = time.perf_counter()
        assert predictor(image).mask.shape == SIZE[::-1]
        return time.perf_counter() - started

    return call


def main() -> None:
    """Measure each way in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, short_side, window in (
        ("short side 512 px", 512, None),
        ("its own size", SIZE[1], None),
        ("its own size, windows of 512 px", SIZE[1], 512),
    ):
        rows.append(
            {
                "seen at": name,
                "peak MiB": peak_memory(segment, options, short_side, window),
                "seconds": segment(options, short_side, window)(),
            }
        )
    width, height = SIZE
    report(
        "large_image",
        f"One photo of {width}x{height} px, width {options.width}, {options.classes} classes",
        rows,
    )


if __name__ == "__main__":
    main()
