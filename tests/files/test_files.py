"""New files take the place of old ones; what others put there stays, whatever happens."""

import os
import subprocess
import sys

import pytest

from mobilevitv2.files.replacing import Place, files_in


def place(tmp_path, **options) -> Place:
    return Place(tmp_path / "out", "test", **options)


def make(place: Place, *, files: dict[str, str], overwrite: bool = True, **checked) -> None:
    with place.replaced(overwrite=overwrite, **checked) as stage:
        for name, text in files.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_text(text)


def held(place: Place) -> dict[str, str]:
    names = [name for name in files_in(place.folder) if name != place.record.name]
    return {name: (place.folder / name).read_text() for name in names}


def test_the_new_takes_the_place_of_the_old_and_what_others_made_stays(tmp_path):
    there = place(tmp_path)
    make(there, files={"a": "old", "b/c": "old", "b/d": "old"})
    (there.folder / "b" / "notes.txt").write_text("mine")
    (there.folder / "b" / "d").write_text("changed by hand")
    make(there, files={"a": "new", "e/f": "new"})
    assert held(there) == {
        "a": "new",
        "b/notes.txt": "mine",
        "b/d": "changed by hand",
        "e/f": "new",
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "a").write_text("changed by hand"),
        lambda folder: [(folder / "a").unlink(), (folder / "a").mkdir()],
        lambda folder: [(folder / "a").rename(folder / "z"), (folder / "a").symlink_to("z")],
        lambda folder: (folder / ".mobilevitv2.test.json").unlink(),
    ],
)
def test_what_is_not_surely_its_own_it_refuses_to_overwrite_before_the_work(tmp_path, damage):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    damage(there.folder)
    before = sorted(there.folder.rglob("*"))
    with pytest.raises(FileExistsError, match="not made by this command, or has changed"):
        make(there, files={"a": "new"}, names=["a"])
    with pytest.raises(FileExistsError, match="not made by this command, or has changed"):
        make(there, files={"a": "new"})  # where it knows no names before
    assert sorted(there.folder.rglob("*")) == before


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    (there.folder / "b").write_text("mine")
    with pytest.raises(FileExistsError, match="b is in the way"):
        make(there, files={"b/c/d": "new"})
    assert held(there) == {"a": "old", "b": "mine"}


@pytest.mark.parametrize("spelling", ["out/a", "out/../out/a", "link"])
def test_an_input_is_not_removed_whatever_its_spelling(tmp_path, spelling):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    (tmp_path / "link").symlink_to(tmp_path / "out" / "a")
    with pytest.raises(FileExistsError, match="is an input"):
        make(there, files={"b": "new"}, inputs=[tmp_path / spelling])
    assert held(there) == {"a": "old"}


def test_without_overwrite_nothing_is_replaced(tmp_path):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    with pytest.raises(FileExistsError, match="exists already"):
        make(there, files={"a": "new"}, overwrite=False)
    assert held(there) == {"a": "old"}


def test_failing_work_leaves_the_old_and_no_debris(tmp_path):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    with pytest.raises(IsADirectoryError):
        make(there, files={"a": "half", ".": "no file"})
    assert held(there) == {"a": "old"}


def test_a_record_that_points_outside_its_folder_removes_nothing_there(tmp_path):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    (tmp_path / "precious").write_text("mine")
    there.record.write_text('{"files": {"../precious": null, "b/../../precious": null}}')
    make(there, files={"b": "new"})
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_at_any_step_of_the_exchange_all_of_it_is_there_to_be_finished(tmp_path, step):
    there = place(tmp_path)
    make(there, files={"a": "old", "b/c": "old", "same": "same"})
    code = f"""
import os
from pathlib import Path
from mobilevitv2.files.replacing import Place
steps = iter(range(1, 100))
def counted(real):
    def call(*args, **options):
        if next(steps) == {step}: os._exit(9)
        return real(*args, **options)
    return call
there = Place(Path({str(there.folder)!r}), "test")
with there.replaced(overwrite=True) as stage:
    (stage / "b").mkdir()
    for name in ("a", "b/c", "same"): (stage / name).write_text("same" if name == "same" else "new")
    os.replace, os.unlink = counted(os.replace), counted(os.unlink)
    Path.unlink = lambda path, missing_ok=False: os.unlink(path)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    with there.claimed():
        there.finish()
        there.discard()
    text = "old" if step <= 1 else "new"
    assert held(there) == {"a": text, "b/c": text, "same": "same"}


def test_an_exchange_that_was_decided_is_finished_by_who_comes_next_told_to_overwrite_or_not(
    tmp_path,
):
    there = place(tmp_path)
    make(there, files={"a": "old"})
    code = f"""
import os
from pathlib import Path
from mobilevitv2.files.replacing import Place
with Place(Path({str(there.folder)!r}), "test").replaced(overwrite=True) as stage:
    (stage / "a").write_text("new")
    Path.unlink = lambda path, missing_ok=False: (os.unlink(path), os._exit(9))
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert "a" not in held(there)  # the old is gone, and the new not there yet
    with pytest.raises(FileExistsError, match="exists already"):
        make(there, files={"a": "newer"}, names=["a"], overwrite=False)
    assert held(there) == {"a": "new"}


def test_a_claimed_folder_is_refused_to_another_process_and_to_another_thread(tmp_path):
    there = place(tmp_path)
    code = (
        "from pathlib import Path; from mobilevitv2.files.replacing import Place\n"
        f"with Place(Path({str(there.folder)!r}), 'test').claimed(): pass"
    )
    with there.claimed():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        with pytest.raises(FileExistsError, match="another process"), there.claimed():
            pass
    assert "another process is writing to" in other.stderr
    assert not there.folder.exists()  # and nothing is left of the claim


def test_the_lock_of_a_dead_process_is_none(tmp_path):
    there = place(tmp_path)
    code = (
        "import os; from pathlib import Path; from mobilevitv2.files.replacing import Place\n"
        f"with Place(Path({str(there.folder)!r}), 'test').claimed(): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert os.listdir(there.folder) == [".mobilevitv2.test.lock"]
    assert there.is_free()
    with there.claimed():
        pass
