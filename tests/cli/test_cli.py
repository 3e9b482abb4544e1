import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny import CLASSES, color_model, picture, save_bundle, save_images
from typer.testing import CliRunner

from mobilevitv2.cli import app


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_bundle(tmp_path_factory.mktemp("model") / "colors"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(save_images(tmp_path_factory.mktemp("data") / "colors", 4, wrong=1))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three good images, one of them deeper, a text that is named as one, and a stray file."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    picture("red").save(folder / "a.png")
    picture("blue").save(folder / "b.jpg", quality=95)
    picture("green").save(folder / "deeper" / "a.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / "text.jpg").write_text("hello")
    return folder


def run(*arguments: object, code: int = 0, **options):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"}, **options)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def error_line(*arguments: object) -> str:
    """What a failing command says; exactly one line, nothing on standard output."""
    result = run(*arguments, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


# The command as a whole


def test_help_and_version_load_neither_torch_nor_numpy():
    script = (
        "import sys; from mobilevitv2.cli import app; app(['--help'], standalone_mode=False); "
        "sys.exit(str([m for m in ('torch', 'numpy', 'PIL', 'rich.progress') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "predict" in done.stdout
    assert run("--version").stdout.startswith("mobilevitv2 ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["predict", "MODEL"],
        ["predict", "MODEL", "a.jpg", "--json", "--csv"],
        ["train", "x", "--set", "hflip"],
        ["train", "x", "--set", "crop_scale=[0.5"],
        ["train", "x", "--overwrite", "--resume"],
        ["evaluate", "MODEL", "x", "--channel-order", "gbr"],
        ["nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    assert run(*arguments, code=2).stdout == ""


def test_ctrl_c_ends_with_130_and_an_unexpected_error_keeps_its_traceback(model, monkeypatch):
    def fail(source):
        raise error

    monkeypatch.setattr("mobilevitv2.predict.info.describe", fail)
    error: BaseException = KeyboardInterrupt()
    assert "Stopped" in run("info", model, code=130).stderr
    error = RuntimeError("a bug")
    assert isinstance(CliRunner().invoke(app, ["info", model]).exception, RuntimeError)


@pytest.mark.parametrize("command", [["info"], ["predict"], ["evaluate"], ["convert"]])
def test_a_model_that_is_not_there_is_one_line(command, tmp_path, data):
    more = {
        "predict": [data],
        "evaluate": [data],
        "convert": ["--to", "timm", "--out", tmp_path / "out.pth"],
    }
    line = error_line(*command, tmp_path / "none", *more.get(command[0], []))
    assert f"{tmp_path / 'none'} does not exist" in line


def test_a_model_that_is_no_model_is_one_line(tmp_path, data):
    (tmp_path / "notes.pth").write_text("hello")
    assert "damaged" in error_line("predict", tmp_path / "notes.pth", data)
    assert "no weights" in error_line("info", data)


# predict


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_whose_answers_are_no_numbers_is_named_in_one_line(command, model, data, tmp_path):
    bundle = shutil.copytree(model, tmp_path / "diverged")
    settings = {"size": {"shortest_edge": 64}, "rescale_factor": 1e36}  # what comes out overflows
    (bundle / "preprocessor_config.json").write_text(json.dumps(settings))
    said = error_line(command, bundle, data)
    assert f"The answers of {bundle} hold NaN or infinity" in said


def test_predict_prints_a_table_and_names_what_it_can_not_read(model, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    result = run("predict", model, "photos", code=1)
    rows = [line.split() for line in result.stdout.splitlines()]
    found = {row[0]: row[1] for row in rows if row[0].startswith("photos")}
    assert found == {"photos/a.png": "red", "photos/b.jpg": "blue", "photos/deeper/a.png": "green"}
    assert "text.jpg is not an image" in result.stderr
    assert "1 of 4 images could not be read" in result.stderr
    assert "notes.txt" not in result.output


def test_predict_of_one_image_lists_all_classes(model, photos):
    out = run("predict", model, photos / "b.jpg").stdout
    assert out.splitlines()[1].split()[0] == "blue"
    assert all(name in out for name in CLASSES)
    assert "green" not in run("predict", model, photos / "b.jpg", "--top-k", 1).stdout


def test_predict_json_and_csv_read_back_as_the_same_numbers(model, photos):
    good = [str(photos / "a.png"), str(photos / "b.jpg")]
    lines = [
        json.loads(line) for line in run("predict", model, *good, "--json").stdout.splitlines()
    ]
    rows = list(csv.reader(io.StringIO(run("predict", model, *good, "--csv").stdout)))
    assert [line["source"] for line in lines] == good
    assert [line["label"] for line in lines] == ["red", "blue"]
    assert sum(lines[0]["scores"]) == pytest.approx(1)
    assert rows[0] == ["image", "label", "score", "label_2", "score_2", "label_3", "score_3"]
    for line, row in zip(lines, rows[1:], strict=True):
        assert [row[0], row[1::2]] == [line["source"], line["labels"]]
        assert [float(score) for score in row[2::2]] == line["scores"]


def test_results_go_to_standard_output_even_with_a_progress_bar_on_the_terminal(model, photos):
    terminal, end = os.openpty()
    command = [sys.executable, "-m", "mobilevitv2.cli", "predict", model, photos, "--json"]
    wide = os.environ | {"COLUMNS": "300"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, env=wide) as running:
        os.close(end)
        seen = b""
        with contextlib.suppress(OSError):  # which is how a terminal ends
            while part := os.read(terminal, 4096):
                seen += part
        out, _ = running.communicate()
    os.close(terminal)
    labels = [json.loads(line)["label"] for line in out.splitlines()]
    assert labels == ["red", "blue", "green"]
    assert b"predicting" in seen
    assert b"text.jpg is not an image" in seen


def test_predict_takes_patterns_and_standard_input(model, photos):
    out = run("predict", model, f"{photos}/**/*.png", "--json").stdout
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["red", "green"]
    data = (photos / "b.jpg").read_bytes()
    found = json.loads(run("predict", model, "-", "--json", input=data).stdout)
    assert (found["source"], found["label"]) == ("-", "blue")


def test_predict_saves_drawings_and_never_touches_the_originals(model, photos, tmp_path):
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    out = tmp_path / "drawn"
    run("predict", model, photos, photos / "a.png", "--save", out, code=1)
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert names == ["a-2.png", "a.png", "b.jpg", "deeper/a.png"]
    with Image.open(out / "b.jpg") as drawn:
        assert drawn.height > 64
    assert "exists already" in error_line("predict", model, photos / "a.png", "--save", out)
    # even where the folder of the images is named
    run("predict", model, photos / "a.png", "--save", photos, "--overwrite")
    assert (photos / "a-2.png").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_predict_overwrites_only_its_own_drawings(model, photos, tmp_path):
    out = tmp_path / "drawn"
    arguments = ("predict", model, photos / "a.png", photos / "b.jpg", "--save", out)
    run(*arguments)
    (out / "notes.txt").write_text("mine")
    run(*arguments, "--overwrite", "--top-k", 1)
    picture("green").save(out / "b.jpg")
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert "b.jpg was not made by" in error_line(*arguments, "--overwrite")
    picture("green").save(tmp_path / "b.jpg")
    others = ("predict", model, tmp_path / "b.jpg", "--save", photos, "--overwrite")
    assert "photos/b.jpg was not made by" in error_line(*others)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_predict_with_nothing_to_read(model, tmp_path):
    assert "holds no images" in error_line("predict", model, tmp_path)
    result = run("predict", model, tmp_path / "none.jpg", tmp_path / "*.png", code=1)
    assert result.stdout == ""
    assert "none.jpg does not exist" in result.stderr
    assert "2 of 2 images" in result.stderr


# evaluate


@pytest.mark.parametrize("orders", [["rgb", "bgr"], ["rgb,bgr"], ["rgb", "--channel-order", "bgr"]])
def test_evaluate_compares_channel_orders(model, data, orders):
    result = run("evaluate", model, data, "--channel-order", *orders, "--json")
    found = json.loads(result.stdout)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["orders"]["right"]["rgb"] == 9
    assert found["orders"]["right"]["bgr"] < 9


def test_evaluate_prints_the_accuracy_and_the_classes(model, data, tmp_path):
    (Path(data) / "red" / "text.jpg").write_text("hello")
    result = run("evaluate", model, data, "--report", tmp_path / "page")
    (Path(data) / "red" / "text.jpg").unlink()
    assert "75.0 % of 12 images right" in result.stdout
    assert all(name in result.stdout for name in CLASSES)
    assert "text.jpg" in result.stderr
    assert (tmp_path / "page" / "report.html").is_file()
    again = ["evaluate", model, data, "--report", tmp_path / "page"]
    assert "exists already" in error_line(*again)
    (tmp_path / "page" / "notes.txt").write_text("mine")
    run(*again, "--overwrite")
    (tmp_path / "page" / "report.html").write_text("mine, too")
    assert "has changed since, so it is not overwritten" in error_line(*again, "--overwrite")
    assert (tmp_path / "page" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "page" / "report.html").read_text() == "mine, too"


def test_evaluate_overwrites_only_its_own_report(model, data, tmp_path):
    page = tmp_path / "page"
    arguments = ("evaluate", model, data, "--report", page, "--overwrite")
    run(*arguments)
    (page / "notes.txt").write_text("mine")
    run(*arguments)
    assert (page / "notes.txt").read_text() == "mine"
    assert f"report: {page}" in run(*arguments).stderr
    (page / "report.html").write_text("mine")
    assert "report.html was not made by" in error_line(*arguments)
    assert (page / "report.html").read_text() == "mine"


def test_evaluate_on_what_is_no_data_set(model, tmp_path):
    assert "doesn't exist" in error_line("evaluate", model, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty" in error_line("evaluate", model, tmp_path / "empty")
    data = save_images(tmp_path / "all", 2)
    assert "no test split" in error_line("evaluate", model, data, "--split", "test")
    (data / "red").rename(data / "pink")
    assert "'pink'" in error_line("evaluate", model, data)


# info and convert


def test_info_counts_as_the_model_does(model):
    found = json.loads(run("info", model, "--json").stdout)
    assert found["labels"] == CLASSES
    assert found["parameters"] == sum(p.numel() for p in color_model().parameters())
    assert found["image_size"] == [64, 64]
    assert (found["channel_order"], found["layout"]) == ("rgb", "transformers")
    assert found["file_bytes"] == (Path(model) / "model.safetensors").stat().st_size
    shown = run("info", model).stdout
    assert "64 x 64 px, RGB" in shown
    assert f"{found['parameters']:,}" in shown


def test_info_counts_the_macs_of_a_convolution_as_the_paper_does():
    from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification
    from mobilevitv2.predict.info import count_macs

    config = MobileViTV2Config(width_multiplier=0.5, num_labels=1000)
    macs = count_macs(MobileViTV2ForImageClassification(config), (256, 256))
    # timm's count of its own model, 0.48 G, has the key projections of every pixel in it as well
    assert 0.40e9 < macs < 0.48e9


@pytest.mark.parametrize(("layout", "name"), [("timm", "m.pth"), ("cvnets", "m.pt")])
def test_convert_there_and_back_gives_the_same_answers(model, photos, tmp_path, layout, name):
    out, back = tmp_path / name, tmp_path / "back"
    run("convert", model, "--to", layout, "--out", out)
    run("convert", out, "--to", "transformers", "--out", back)
    (back / "preprocessor_config.json").write_bytes(
        (Path(model) / "preprocessor_config.json").read_bytes()  # the file of weights had none
    )
    before = json.loads(run("predict", model, photos / "a.png", "--json").stdout)
    after = json.loads(run("predict", back, photos / "a.png", "--json").stdout)
    assert after["scores"] == pytest.approx(before["scores"], abs=1e-3)


def test_convert_says_that_a_file_can_not_hold_the_channel_order(tmp_path, caplog):
    for order in ("rgb", "bgr"):
        save_bundle(tmp_path / order, order=order)
        run("convert", tmp_path / order, "--to", "timm", "--out", tmp_path / f"{order}.pth")
        assert ("takes BGR images" in caplog.text) == (order == "bgr")


def test_convert_overwrites_only_when_told(model, tmp_path):
    out = tmp_path / "m.pth"
    out.write_text("precious")
    assert "exists already" in error_line("convert", model, "--to", "timm", "--out", out)
    assert "was not made by" in error_line(
        "convert", model, "--to", "timm", "--out", out, "--overwrite"
    )
    assert out.read_text() == "precious"
    out.unlink()
    for more in ([], ["--overwrite"]):  # the second time over its own
        said = run("convert", model, "--to", "timm", "--out", out, *more).stdout.strip()
        assert said == str(out)
    assert "must end in" in error_line(
        "convert", model, "--to", "cvnets", "--out", tmp_path / "m.xyz"
    )
    assert "folder" in error_line("convert", model, "--to", "cvnets", "--out", tmp_path)


def test_convert_never_overwrites_what_it_reads_nor_what_others_made(model, tmp_path):
    bundle = shutil.copytree(model, tmp_path / "bundle")
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    for to, out in (("transformers", bundle), ("timm", bundle / "model.safetensors")):
        said = error_line("convert", bundle, "--to", to, "--out", out, "--overwrite")
        assert "is not overwritten" in said
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    for _ in range(2):  # the second time over its own
        run("convert", model, "--to", "transformers", "--out", theirs, "--overwrite")
    (theirs / "config.json").write_text("{}")
    said = error_line("convert", model, "--to", "transformers", "--out", theirs, "--overwrite")
    assert "config.json was not made by this command, or has changed since" in said
    assert (theirs / "notes.txt").read_text() == "mine"


# train


def test_train_then_predict_as_the_last_line_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "colors", 6)
    small = ["--epochs", 1, "--image-size", 32, "--batch-size", 8, "--workers", 0, "--threads", 1]
    result = run("train", "colors", *small, "--set", "mixup=0", "--width", 0.25)
    assert (tmp_path / "runs" / "colors" / "report.html").is_file()
    command = next(line for line in result.stdout.splitlines() if line.startswith("next")).split()
    assert command[1:3] == ["mobilevitv2", "predict"]
    found = json.loads(run(*command[2:4], "colors/red/0.png", "--json").stdout)
    assert sorted(found["labels"]) == CLASSES
    assert "runs/colors exists already" in error_line("train", "colors", *small)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "none doesn't exist"),
        (["empty"], "is empty"),
        (["colors", "--set", "hflop=1"], "Did you mean hflip?"),
        (["colors", "--epochs", "0"], "not 0"),
        (["colors", "--recipe", "none.yaml"], "there is no recipe none.yaml"),
    ],
)
def test_train_on_what_can_not_be_used(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    save_images(tmp_path / "colors", 2)
    assert said in error_line("train", *arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [("torch", ["info", "model"], "torch"), ("lightning", ["train", "digits"], "train")],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    missing, arguments, extra, tmp_path
):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments}\n"
        "from mobilevitv2.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"error: {missing} is not installed. Get it with: pip install 'mobilevitv2[{extra}]'"
    )
