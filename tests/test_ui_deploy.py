"""The Deploy tab without a browser: the exported setting and the first line about it."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from made_trials import make_trial

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.settings import KNOBS, Settings
from rembg_tuner.tuning.sweep import SweepProgress
from rembg_tuner.tuning.trials import Trial
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import page_text
from rembg_tuner.web.pages.deploy_tab import DeployTab
from rembg_tuner.web.pages.long_tasks import LongTask
from rembg_tuner.web.pages.sweep_tab.events import show_trial, take_trial
from rembg_tuner.web.pages.visitors import Visitor

if TYPE_CHECKING:
    import gradio as gr

    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk

# The second is recommended, the third costs more, the first has too low an agreement.
TRIALS = (
    make_trial(0, 100, 0.05, 0.60),
    make_trial(1, 150, 0.10, 0.99),
    make_trial(2, 300, 0.09, 0.999),
)
FAILED = Trial(
    number=3,
    settings=Settings(engine="onnxruntime"),
    failure=Message("it crashed"),
    failure_kind="crash",
)
ANY = {"memory": None, "time": None, "agreement": None, "commercial": False}
BUDGETS: dict[str, dict[str, Any]] = {"any": ANY, "impossible": {**ANY, "memory": 50}}


class Deploy:
    """A Deploy tab with one visitor and optional trials of a sweep."""

    def __init__(self, folder: Path, *trials: Trial, language: str = "en") -> None:
        """Open the tab."""
        self.visitor = Visitor(language=language)
        desk = cast(
            "Desk",
            SimpleNamespace(
                visitors=SimpleNamespace(of=lambda _: self.visitor),
                folder=SimpleNamespace(new_job=lambda: folder),
            ),
        )
        # Values are read by widget, and a name can replace a widget.
        cut = SimpleNamespace(
            picture="picture", preset="preset", knobs={name: name for name in KNOBS}
        )
        self.tab = DeployTab(
            desk, cast("CutWidgets", cut), {name: name for name in ANY}, {"target": "target"}
        )
        if trials:
            progress = SweepProgress(
                trials=trials, planned=len(trials), elapsed_s=9.0, left_s=(0.0, 0.0), remembered=0
            )
            self.visitor.sweeping = LongTask(folder=folder, progress=progress)

    def write(self, budgets: str = "any") -> str:
        """Press the button for an env file, and return the text that is shown."""
        values = {"target": "env", "preset": None, **dict.fromkeys(KNOBS), **BUDGETS[budgets]}
        html = self.tab.write(values, cast("gr.Request", None))
        return unescape(re.sub(r"<[^>]+>", " ", html))


def first_line(shown: str) -> str:
    """Return the first line of the shown text."""
    return shown.strip().partition("\n")[0]


def test_the_recommended_setting_is_shipped_whatever_was_looked_at(tmp_path: Path) -> None:
    """Viewing another trial does not change the exported setting.

    The first line says that it is the recommended one.
    """
    deploy = Deploy(tmp_path, *TRIALS)
    show_trial(deploy.visitor, 0)
    said = deploy.write()
    assert first_line(said).startswith("The sweep’s recommended setting: ")
    assert "150 MiB, 100 ms" in first_line(said)


@pytest.mark.parametrize(
    ("number", "begins", "figures"),
    [
        (1, "The setting that you chose from the sweep: ", "150 MiB"),
        (2, "The setting that you chose from the sweep, not the recommended one: ", "300 MiB"),
    ],
)
def test_a_setting_that_was_taken_is_shipped(
    number: int, begins: str, figures: str, tmp_path: Path
) -> None:
    """A chosen trial is exported until another is chosen, and the first line names it."""
    deploy = Deploy(tmp_path, *TRIALS)
    take_trial(deploy.visitor, number)
    show_trial(deploy.visitor, 0)
    line = first_line(deploy.write())
    assert line.startswith(begins)
    assert figures in line


def test_nothing_is_shipped_where_nothing_fits_unless_it_was_taken(tmp_path: Path) -> None:
    """The nearest setting is shown with the missed budgets, and no file is written.

    A chosen setting is exported, with the same explanation.
    """
    deploy = Deploy(tmp_path, *TRIALS)
    said = deploy.write("impossible")
    assert "of 50 MiB allowed" in said
    assert "Use this setting" in said
    assert "recommended" not in said.lower()
    assert list(tmp_path.iterdir()) == []
    take_trial(deploy.visitor, 1)
    said = deploy.write("impossible")
    assert first_line(said).startswith("The setting that you chose from the sweep: ")
    assert "This setting does not keep the budgets: peak 150 MiB of 50 MiB allowed." in said
    assert len(list(tmp_path.iterdir())) == 1


def test_a_taken_setting_that_failed_is_not_shipped(tmp_path: Path) -> None:
    """A failed trial has no figures, so the tab reports the failure."""
    deploy = Deploy(tmp_path, *TRIALS, FAILED)
    take_trial(deploy.visitor, FAILED.number)
    assert "The trial of the chosen setting failed" in deploy.write()


@pytest.mark.parametrize("trials", [(), (FAILED,)], ids=["no-sweep", "nothing-measured"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_without_a_measured_sweep_the_first_tab_is_shipped(
    language: str, trials: tuple[Trial, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line says that the form is exported, in each language."""
    monkeypatch.setattr(
        "rembg_tuner.web.pages.deploy_tab.form_settings", lambda *_: (Settings(), ())
    )
    line = first_line(Deploy(tmp_path, *trials, language=language).write())
    begin = page_text("deploy.for.form", language, setting="|", figures="").partition("|")[0]
    assert line.startswith(begin)
