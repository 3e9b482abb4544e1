"""What is written where the disk fills up: each file whole or not at all."""

from typing import Any

import numpy as np
import pytest
from full_disk import room_for
from PIL import Image

from mobilevitv2 import Classification, Detection, Segmentation
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.predict.video import predict_video

NOISE = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
WRITERS = {
    "drawn.png": Classification(["a"], [1.0], image=Image.fromarray(NOISE)).save,
    "drawn.jpg": Classification(["a"], [1.0], image=Image.fromarray(NOISE)).save,
    "mask.png": Segmentation(NOISE[..., 0], [f"{i}" for i in range(256)]).save_mask,
    "boxes.txt": Detection(
        np.ones(300), np.zeros(300, int), np.tile([0.0, 0, 9, 9], (300, 1)), ["a"], (10, 10)
    ).save_yolo,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("old", [b"what was there", None])
def test_on_a_full_disk_no_half_a_result_stays(name, old, tmp_path):
    if old:
        (tmp_path / name).write_bytes(old)
    with room_for(3000), pytest.raises(OSError, match="too large"):
        WRITERS[name](tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {name: old} if old else {}
    )
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size > 3000


def test_a_file_is_written_into_a_new_folder(tmp_path):
    write_atomic(tmp_path / "new" / "folder" / "a", b"whole")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a"]
    assert (tmp_path / "new" / "folder" / "a").read_bytes() == b"whole"


def test_on_a_full_disk_no_half_a_video_stays(tmp_path):
    av = pytest.importorskip("av", reason="the extra video is not installed")
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 128
        for seed in range(60):
            pixels = np.random.default_rng(seed).integers(0, 255, (128, 128, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "drawn.mp4").write_bytes(b"what was there")

    class Seer:
        def stream(self, images):
            for image in images:
                yield Classification(["a"], [1.0], image=image)

    seer: Any = Seer()
    with room_for(20_000), pytest.raises(OSError, match="too large"):
        list(predict_video(seer, tmp_path / "clip.mkv", tmp_path / "drawn.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv", "drawn.mp4"]
    assert (tmp_path / "drawn.mp4").read_bytes() == b"what was there"
