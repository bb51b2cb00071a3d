"""Nothing leaves the machine, and nothing is written outside the cache and the output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from watched import Watched

from rembg_tuner.export.targets import export
from rembg_tuner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"


def run_quietly(folder: Path, words: Sequence[str], *, timeout_s: float = 100) -> str:
    """Run a Python command; check that it contacts nobody and keeps to its folders.

    Returns:
        What it printed.
    """
    watched = Watched.under(folder)
    done = watched.run(sys.executable, *words, timeout_s=timeout_s)
    assert done.returncode == 0, done.stderr
    assert watched.contacts() == []
    assert watched.outside(watched.work, watched.home / ".cache" / "rembg-tuner") == []
    return done.stdout


def test_cut_contacts_nobody(tmp_path: Path) -> None:
    """Neither does its worker: OpenVINO's package would report while it is imported."""
    run_quietly(tmp_path, ["-m", "rembg_tuner", "cut", str(COFFEE), "--engine", "openvino", "-o", "out.png"])  # fmt: skip


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_exported_script_contacts_nobody(engine: str, tmp_path: Path) -> None:
    """It imports the engine itself, without this program."""
    script = tmp_path / "cutout.py"
    script.write_text(export(Settings(engine=engine), "python", measured=None).text)  # type: ignore[arg-type]  # checked by Settings
    run_quietly(tmp_path, [str(script), str(COFFEE), "out.png"])
