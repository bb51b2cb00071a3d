"""Files and folders whose names are not UTF-8, or contain terminal control sequences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from rembg_tuner.cli.main import main
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER

ROOT = Path(__file__).parent.parent
FAST = ["--engine", "onnxruntime", "--network-size", "64"]
HOSTILE = "a\x1b[2J\u202e\n\x9bb.png"


def path_of(folder: Path, name: bytes) -> Path:
    """Return the path of a file whose name is given in bytes."""
    return folder / os.fsdecode(name)


def names_in(folder: Path) -> list[bytes]:
    """List the names in a folder as sorted bytes."""
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["cut", HOSTILE, *FAST], id="absent"),
        pytest.param(["cut", "x.png", f"--{HOSTILE}"], id="unknown-flag"),
        pytest.param(["cut", "x.png", "-o", f"{HOSTILE}.bmp"], id="output"),
        pytest.param(["sweep", HOSTILE, *FAST], id="sweep"),
        pytest.param(["recommend", HOSTILE], id="no-sweep"),
        pytest.param(["soak", HOSTILE, *FAST], id="soak"),
        pytest.param(["export", HOSTILE, "--to", "env"], id="no-preset"),
        pytest.param(["models", "get", HOSTILE], id="no-model"),
    ],
)
def test_no_name_reaches_the_terminal_as_a_command(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Messages escape control characters, direction marks and line ends in names."""
    monkeypatch.chdir(tmp_path)
    try:
        main(words)
    except SystemExit as error:
        assert error.code == 2  # noqa: PT017  # argparse's exit
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "a\\x1b[2J\\u202e\\n\\x9bb.png" in text
    assert not any(letter in text for letter in "\x1b\x9b\u202e")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Create a folder of two pictures; no name among them is UTF-8."""
    folder = path_of(tmp_path, b"f\xe9")
    folder.mkdir()
    for name in (b"\xe9t\xe9.png", b"\xff\x1b[31m\n.png"):
        with Image.open(ROOT / "examples" / "coffee.png") as image:
            image.resize((120, 80)).save(path_of(folder, name))
    return folder


def test_a_batch_keeps_the_names_bytes(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files keep their names, and the JSON document reads back as the same files."""
    out = path_of(tmp_path, b"o\xe9")
    assert main(["batch", str(pictures), "-o", str(out), *FAST, "--json"]) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    runs = json.loads(text)["runs"]
    assert {os.fsencode(Path(run["input"]).name) for run in runs} == set(names_in(pictures))
    assert names_in(out) == [b"\xe9t\xe9.png", b"\xff\x1b[31m\n.png"]
    assert all(Path(run["output"]).is_file() for run in runs)


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_same_files(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All steps of a sweep accept names that are not UTF-8: plan, trials, report, comparison."""
    folder = tmp_path / "sweep"
    words = ["sweep", str(pictures), "--rounds", "1", "--confirm", "0", "-o", str(folder)]
    axes = ["--engine", "onnxruntime", "--network-size", "64", "--min-agreement", "0"]
    assert main([*words, *axes]) == 0
    assert main([*words, *axes, "--resume"]) == 0
    assert "1 trial done before" in capsys.readouterr().err
    assert main(["recommend", str(folder), "--min-agreement", "0"]) == 0
    assert main(["soak", str(pictures), *FAST, "--runs", "2", "--idle", "0s"]) == 0


@pytest.mark.parametrize(("locale", "encoding"), [("POSIX", ""), ("C.UTF-8", "ascii:strict")])
def test_a_name_that_is_not_utf_8_is_written_escaped(
    locale: str, encoding: str, tmp_path: Path
) -> None:
    """The message is written without an error for any locale and encoding of the terminal."""
    bad = path_of(tmp_path, b"\xe9t\xe9.jpg")
    bad.write_bytes(b"no picture")
    variables = {"LC_ALL": locale, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "rembg_tuner", "cut", str(bad), *FAST],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"rembg-tuner: {tmp_path}/\\xe9t\\xe9.jpg is not a picture".encode()
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_cut_out_is_made_where_the_locale_is_posix(pictures: Path, tmp_path: Path) -> None:
    """The worker finds the file by the same bytes for any setting of the encodings."""
    variables = {
        "LC_ALL": "POSIX",
        "PYTHONIOENCODING": "utf-16",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    target = path_of(tmp_path, b"\xc3\xa9\xe9.png")
    words = ["cut", str(path_of(pictures, b"\xe9t\xe9.png")), "-o", str(target), *FAST, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "rembg_tuner", *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode("utf-16")
    assert target.is_file()
    [run] = json.loads(done.stdout.decode("utf-16"))["runs"]
    assert run["output"].encode("ascii", "surrogateescape").endswith(b"\xc3\xa9\xe9.png")


def test_a_model_is_read_by_a_name_that_is_not_utf_8(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime requires UTF-8 names, so it receives the file's content instead."""
    model = path_of(tmp_path, b"m\xe9.onnx")
    model.symlink_to(EMBEDDED_FOLDER / "u2netp.onnx")
    picture = str(path_of(pictures, b"\xe9t\xe9.png"))
    assert main(["cut", picture, "--model", str(model), "--engine", "onnxruntime"]) == 0
    assert "m\\xe9.onnx" in capsys.readouterr().out
