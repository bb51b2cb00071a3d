"""A process that answers in lines: long, late, partly or never."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.base.child_process import ChildProcess

if TYPE_CHECKING:
    from pathlib import Path


def process_of(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ChildProcess:
    """Write a module with some code, and return its process."""
    (folder / "made_child.py").write_text(f"import json, os, sys, time\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return ChildProcess((sys.executable, "-m", "made_child"))


def test_it_answers_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process answers every request, also with long answers."""
    code = (
        "for line in sys.stdin:\n    print(json.dumps({'pid': os.getpid(), 'said':"
        " json.loads(line)['say'] * 100_000}), flush=True)"
    )
    process = process_of(code, tmp_path, monkeypatch)
    first, second = process.ask({"say": "a"}, 20), process.ask({"say": "b"}, 20)
    process.close()
    assert first["pid"] == second["pid"]
    assert (first["said"], second["said"]) == ("a" * 100_000, "b" * 100_000)


def test_half_an_answer_does_not_outwait_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial answer ends the process at the deadline."""
    code = (
        "sys.stdin.readline()\nsys.stdout.write('{\"half\": ')\nsys.stdout.flush()\ntime.sleep(60)"
    )
    process = process_of(code, tmp_path, monkeypatch)
    with pytest.raises(TimeoutError, match="more than 1 s"):
        process.ask({}, 1)
    assert not process.is_alive()


def test_the_last_log_line_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error contains the last line that the process wrote, not a JSON error."""
    process = process_of(
        "sys.stdin.readline()\nsys.exit('no memory for it')", tmp_path, monkeypatch
    )
    with pytest.raises(OSError, match="no memory for it"):
        process.ask({}, 20)
    process.close()
