"""A JSON file read item by item holds what Python's own reader finds in it."""

import json

import numpy as np
import pytest

from mobilevitv2.data import json_stream
from mobilevitv2.data.json_stream import items_of
from mobilevitv2.errors import DataError

CONTENT = {
    "info": {"year": 2017, "text": 'a "quoted" {brace] \\ and ü€😀'},
    "images": [
        {"id": i, "name": f"ü{i}.jpg", "sides": [i / 7, -1e-9, 12345678901]} for i in range(40)
    ],
    "empty": [],
    "numbers": [1, 22, 333.5, -4e-7, 6e5, True, None, "text", [[]], {}],
    "version": 1234567,
    "annotations": [{"segmentation": [[float(i)] * (50 * (i % 5))]} for i in range(20)],
}


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_item_is_read_wherever_the_chunks_end(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, indent=indent, ensure_ascii=chunk == 7), encoding="utf-8")
    lists, found = set(), {}
    for key, item in items_of(path, lists):
        found.setdefault(key, []).append(item)
    said = {key: value for key, value in json.loads(path.read_text("utf-8")).items()}
    assert lists == {key for key, value in said.items() if isinstance(value, list)}
    assert found == {key: said[key] for key in lists if said[key]}


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    text = json.dumps(CONTENT)
    path = tmp_path / "a.json"
    for end in np.linspace(0, len(text) - 1, 40).astype(int):
        path.write_text(text[:end])
        with pytest.raises(DataError, match=r"is not valid JSON .* it ends too early"):
            list(items_of(path, set()))


@pytest.mark.parametrize(
    "text", ["[1]", '{"a": [1 2]}', '{"a" [1]}', '{"a": [oops, 1, 2, 3, 4, 5, 6]}']
)
def test_what_is_no_object_of_lists_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is not valid JSON at character"):
        list(items_of(path, set()))
    path.write_bytes(b'{"a": ["\xff"]}')
    with pytest.raises(DataError, match="can't be read"):
        list(items_of(path, set()))
    path.write_text('{"a": [' + "[" * 100_000)
    with pytest.raises(DataError, match=r"nested too deeply|ends too early"):
        list(items_of(path, set()))
