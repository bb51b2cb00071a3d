"""Files and folders whose names are not UTF-8, or hold a terminal's commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rembg_tuner.cli import main

ROOT = Path(__file__).parent.parent
FAST = ["--engine", "onnxruntime", "--network-size", "64"]
HOSTILE = "a\x1b[2J\u202e\n\x9bb.png"


def path_of(folder: Path, name: bytes) -> Path:
    """Name a file by bytes."""
    return folder / os.fsdecode(name)


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
    """Every message shows the name's controls, direction marks and line ends as escapes."""
    monkeypatch.chdir(tmp_path)
    try:
        main(words)
    except SystemExit as error:
        assert error.code == 2  # noqa: PT017  # argparse's own end
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "a\\x1b[2J\\u202e\\n\\x9bb.png" in text
    assert not any(letter in text for letter in "\x1b\x9b\u202e")


@pytest.mark.parametrize("locale", ["POSIX", "C.UTF-8"])
@pytest.mark.parametrize("encoding", ["", "ascii:strict"])
def test_a_name_that_is_not_utf_8_is_written_escaped(
    locale: str, encoding: str, tmp_path: Path
) -> None:
    """Whatever the locale and the terminal's encoding, the message comes out, and nothing is raised."""
    bad = path_of(tmp_path, b"\xe9t\xe9.jpg")
    bad.write_bytes(b"no picture")
    variables = {"LC_ALL": locale, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "rembg_tuner", "cut", str(bad), *FAST],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"rembg-tuner: {tmp_path}/\\xe9t\\xe9.jpg is not a picture".encode()
    )
    assert len(done.stderr.splitlines()) == 1
