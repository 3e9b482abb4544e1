"""fp16 and bf16 autocast against fp32, with a trained classifier: random and real images.

    python benchmarks/precision.py runs/flowers/best ../shared/data/flowers/val [--random 1000]

Counts outputs that aren't finite, and how often the best class is the same as in fp32.
"""

import argparse

import numpy as np
import torch
from measure import report

from mobilevitv2 import MobileViTImageProcessor, MobileViTV2ForImageClassification
from mobilevitv2.data import open_classification


def main() -> None:
    """Measure on a GPU if there is one, else on the CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images", help="a folder of class folders")
    parser.add_argument("--random", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = MobileViTV2ForImageClassification.from_pretrained(options.model).to(device)
    processor = MobileViTImageProcessor.from_pretrained(options.model)
    data = open_classification(options.images)
    paths = [sample[0] for split in data.splits.values() for sample in split]
    real = np.concatenate([processor(path).pixel_values for path in paths])
    side = real.shape[-1]
    random = np.random.default_rng(0).random((options.random, 3, side, side), dtype=np.float32)
    rows = []
    for name, pixels in (("random", random), ("real", real)):
        expected = logits(model, pixels, device, None)
        for dtype in (torch.bfloat16, torch.float16):
            given = logits(model, pixels, device, dtype)
            rows.append(
                {
                    "images": name,
                    "count": len(pixels),
                    "autocast": str(dtype).removeprefix("torch."),
                    "not finite": int((~given.isfinite()).sum()),
                    "same best class, %": (given.argmax(1) == expected.argmax(1))
                    .float()
                    .mean()
                    .item()
                    * 100,
                    "largest difference": (given - expected).abs().max().item(),
                }
            )
    report("precision", f"Autocast on {device} against fp32, {side} px", rows)


def logits(model, pixels: np.ndarray, device: str, dtype: torch.dtype | None) -> torch.Tensor:
    """[B, N] in float32, in batches."""
    outputs = []
    for start in range(0, len(pixels), 32):
        batch = torch.from_numpy(pixels[start : start + 32]).to(device)
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype is not None):
            outputs.append(model(batch).logits.float().cpu())
    return torch.cat(outputs)


if __name__ == "__main__":
    main()
