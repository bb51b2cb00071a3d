"""`cut -`: a picture from standard input, a cut-out to standard output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from rembg_tuner.cli import streams
from rembg_tuner.cli.main import main

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
FAST = ["--engine", "onnxruntime", "--network-size", "64"]


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def give(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put temporary files into a folder that the tests check."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.mark.parametrize(
    ("words", "kind", "mode"),
    [
        pytest.param(["-", "-o", "-"], "PNG", "RGBA", id="both"),
        pytest.param(["-", "--format", "webp"], "WEBP", "RGBA", id="no-output-is-standard-output"),
        pytest.param(
            [str(COFFEE), "-o", "-", "--format", "jpg", "--background", "white", "--repeat", "2"],
            "JPEG",
            "RGB",
            id="file-to-stream",
        ),
    ],
)
def test_the_cut_out_alone_goes_to_standard_output(
    words: list[str],
    kind: str,
    mode: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """The default is PNG, messages go to standard error, and no temporary file is left."""
    give(COFFEE.read_bytes(), monkeypatch)
    assert main(["cut", *words, *FAST]) == 0
    captured = capsysbinary.readouterr()
    with Image.open(io.BytesIO(captured.out)) as image:
        assert (image.format, image.mode, image.size) == (kind, mode, (600, 400))
    assert b" -> - (" in captured.err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_standard_input_goes_to_a_file_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture is named `-` in the JSON document."""
    for output, name in ((tmp_path / "cup.png", "cup.png"), (f"{tmp_path}/out/", "out/stdin.png")):
        give(COFFEE.read_bytes(), monkeypatch)
        assert main(["cut", "-", "-o", str(output), *FAST, "--json"]) == 0
        [run] = json.loads(capsys.readouterr().out)["runs"]
        assert (run["input"], run["output"]) == ("-", str(tmp_path / name))
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        pytest.param(b"", "standard input is empty (0 bytes)", id="empty"),
        pytest.param(COFFEE.read_bytes()[:5000], "standard input is ", id="cut-short"),
    ],
)
def test_a_bad_picture_fails_as_standard_input(
    content: bytes,
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error is one line without the temporary file's name, and standard output is empty."""
    give(content, monkeypatch)
    assert main(["cut", "-", "-o", "-", *FAST]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"rembg-tuner: {part}")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_no_picture_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops after the first block without a picture, and at the limit of bytes with one."""
    give(b"\0" * (3 * 2**20), monkeypatch)
    with streams.open_streams(["-"], "x.png", suffix=None, is_json=False) as opened:
        assert Path(opened.images[0]).stat().st_size == 2**20
    monkeypatch.setattr(streams, "MAX_INPUT_BYTES", 2 * 2**20)
    give(b"\x89PNG\r\n\x1a\n" + b"\0" * (3 * 2**20), monkeypatch)
    assert main(["cut", "-", "-o", "x.png", *FAST]) == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        pytest.param(["cut", "-", str(COFFEE), "-o", "-"], "2 are named", id="several"),
        pytest.param(["cut", "-", "--json"], "both the picture and --json", id="json"),
        pytest.param(["cut", str(COFFEE), "--format", "webp"], "--format is for", id="format"),
        pytest.param(["cut", "-", "-o", "-"], "standard input is a terminal", id="stdin-terminal"),
        pytest.param(["cut", str(COFFEE), "-o", "-"], "standard output is a terminal", id="stdout"),
        pytest.param(
            ["cut", str(COFFEE), "-o", "-", "--format", "jpg"], "give a background", id="jpg"
        ),
        pytest.param(["batch", "-", "-o", "out"], "- is for one picture", id="batch"),
        pytest.param(["batch", str(COFFEE), "-o", "-"], "- is for one picture", id="batch-output"),
    ],
)
def test_a_stream_that_cannot_be_is_misuse(
    words: list[str],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command exits with 2 before any work."""
    give(COFFEE.read_bytes(), monkeypatch)
    if "terminal" in part:
        monkeypatch.setattr(
            sys,
            part.replace("standard input", "stdin").replace("standard output", "stdout").split()[0],
            Terminal(),
        )
    assert main(words) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code", "part"),
    [
        pytest.param("<&-", 2, "standard input is closed", id="no-stdin"),
        pytest.param(f"<{COFFEE} >&-", 2, "standard output is closed", id="no-stdout"),
        pytest.param(f"<{COFFEE} >/dev/full", 1, "cannot be written: No space left", id="full"),
        pytest.param(f"<{COFFEE} | true", 1, "", id="reader-left"),
    ],
)
def test_a_stream_that_breaks_is_a_sentence(
    redirection: str, code: int, part: str, tmp_path: Path
) -> None:
    """A closed or full stream and one without a reader end the command without a traceback."""
    words = " ".join(
        f'"{word}"' for word in (sys.executable, "-m", "rembg_tuner", "cut", "-", *FAST)
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} {redirection}"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_export_to_a_dash_is_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The export is printed, and no file named `-` is written."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "balanced", "--to", "env", "-o", "-"]) == 0
    assert "REMBG_TUNER_PRESETS" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_help_that_cannot_be_written_is_told() -> None:
    """The error is one line, as for a result that cannot be written."""
    words = [sys.executable, "-m", "rembg_tuner", "cut", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot be written: No space left" in done.stderr
