"""Longer work on the page: what its bench makes of the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rembg_tuner.runtime.line import WaitingLine
from rembg_tuner.settings.results import Failure
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.studies import LineBench, Study
from rembg_tuner.worker.pipeline import Job

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


def test_a_full_line_says_nothing_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again; who stops meanwhile is told that it was cancelled, so that no trial fails by it."""
    monkeypatch.setattr("rembg_tuner.web.pages.studies._FULL_WAIT_S", 0.01)
    job = Job(input=str(COFFEE), output=str(tmp_path / "out.png"))
    with WaitingLine(most_waiting=0) as line:  # full from the first on
        study = Study(folder=tmp_path / "study")
        asked: list[int] = []
        submit = line.submit

        def count_and_submit(order: object) -> object:
            asked.append(1)
            if len(asked) == 3:
                study.stop()
            return submit(order)  # type: ignore[arg-type]

        monkeypatch.setattr(line, "submit", count_and_submit)
        [run] = LineBench(line, study).measure([job], Settings(engine="onnxruntime"))
    assert len(asked) == 3
    assert isinstance(run, Failure)
    assert run.kind == "cancelled"
