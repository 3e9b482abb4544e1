"""Photos of mixed sizes from a folder, from decoding to result: `Predictor` and a bare runtime.

    python benchmarks/folder.py FOLDER [--count 500] [--width 1.0] [--threads 2]

The bare runtime's script decodes and prepares each photo with Pillow and numpy, in as many threads,
one batch ahead, and calls onnxruntime; it makes no results.
"""

import argparse
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from measure import median, report
from networks import save
from PIL import Image

from mobilevitv2 import MobileViTImageProcessor, Predictor
from mobilevitv2.deploy import export
from mobilevitv2.images.finding import collect_images

BATCH = 16
DECODERS = 2


def bare(session: onnxruntime.InferenceSession, photos: list[str]) -> int:
    """The number of photos with logits."""

    def prepare(path: str) -> np.ndarray:
        image = Image.open(path).convert("RGB")
        scale = 288 / min(image.size)
        width, height = (max(288, int(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - 256) // 2, (height - 256) // 2
        pixels = np.asarray(image.crop((left, top, left + 256, top + 256)))
        return pixels.transpose(2, 0, 1).astype(np.float32) / 255

    batches = [photos[i : i + BATCH] for i in range(0, len(photos), BATCH)]
    done = 0
    with ThreadPoolExecutor(DECODERS) as pool:
        ahead = [pool.submit(prepare, p) for p in batches[0]]
        for following in [*batches[1:], []]:
            ready, ahead = ahead, [pool.submit(prepare, p) for p in following]
            logits = session.run(None, {"pixels": np.stack([f.result() for f in ready])})[0]
            done += np.asarray(logits).shape[0]
    return done


def main() -> None:
    """Three rounds of each, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    found = [str(item.source) for item in collect_images([options.folder])]
    photos = list(itertools.islice(itertools.cycle(found), options.count))
    with tempfile.TemporaryDirectory() as folder:
        save("mobilevitv2", options.width, Path(folder))
        MobileViTImageProcessor(size={"shortest_edge": 288}).save_pretrained(folder)
        path = export(folder, to="onnx", out=Path(folder) / "model.onnx").path
        predictor = Predictor(path, threads=options.threads, batch_size=BATCH)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(path, settings)
        times: dict[str, list[float]] = {"bare onnxruntime and Pillow": [], "Predictor": []}
        for _ in range(3):
            start = time.perf_counter()
            assert bare(session, photos) == len(photos)
            middle = time.perf_counter()
            assert sum(1 for _ in predictor.stream(photos)) == len(photos)
            times["bare onnxruntime and Pillow"].append(middle - start)
            times["Predictor"].append(time.perf_counter() - middle)
    bare_time = median(times["bare onnxruntime and Pillow"])
    rows = [
        {
            "": name,
            "median s": median(values),
            "photos/s": len(photos) / median(values),
            "share of the bare speed": bare_time / median(values),
        }
        for name, values in times.items()
    ]
    report("folder", f"{len(photos)} photos from decoding to result, width {options.width}", rows)


if __name__ == "__main__":
    main()
