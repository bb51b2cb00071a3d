"""No path of the server reaches a visitor.

Failures, warnings, the page, its files and `/cut` are checked.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from drawn_sweep import made_study
from made_machines import make_machine
from made_tasks import failed_task, task_of_runs
from test_recorded_messages import messages_of
from test_ui_visit import FAILURE, RESULT, turn, visit_of
from triggered_messages import TRIGGERS

from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Measured
from rembg_tuner.runtime.diagnosis import Diagnosis, EngineState, ProviderState
from rembg_tuner.runtime.slots import PictureRun, open_slots, runs_of, submit_run
from rembg_tuner.settings.check import check, value_term
from rembg_tuner.settings.precision import resolve_precision
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.settings.settings import KNOBS, Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.trials import label_of
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.cut_tab.rendering import show_runs, show_turn
from rembg_tuner.web.pages.deploy_tab import ChosenSetting, show_export, show_stress_test
from rembg_tuner.web.pages.downloads import Downloads
from rembg_tuner.web.pages.failures import show_problem
from rembg_tuner.web.pages.long_tasks import QueuedTrialRunner
from rembg_tuner.web.pages.models_tab import show_models
from rembg_tuner.web.pages.sweep_tab.rendering import show_sweep
from rembg_tuner.web.pages.system_tab import show_machine
from rembg_tuner.web.pages.visit import public_run, runs_csv, runs_json
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Precision
    from rembg_tuner.web.pages.desk import Desk

QUICK = Settings(engine="onnxruntime", network_size=64)
SECRET = Path("/secret/uploads")
# As a library writes its own paths and this program's.
TALKATIVE = Message(
    "{path} cannot be written: {reason}",
    path=SECRET / "a cup; and more.png",
    reason=Quoted(f"{SECRET}/x.so: cannot open shared object"),
)
PLACES = (str(SECRET), str(Path.home()), sys.prefix, str(Path(__file__).parent.parent))


def places_in(text: str, *more: str) -> list[str]:
    """Return the server's folders that a text names.

    URLs of the page's files are ignored.
    """
    told = re.sub(r"gradio_api/file=[^\"'<>\s]*", "", unescape(text))
    return [place for place in (*PLACES, *more) if f"{place}/" in told or told.endswith(place)]


@pytest.mark.parametrize("name", TRIGGERS)
def test_no_message_names_a_place(name: str, tmp_path: Path) -> None:
    """Each message is rendered for a page, or made public before it is written to a file."""
    for message in messages_of(TRIGGERS[name](tmp_path)):
        told = [message_text(message, language) for language in LANGUAGES] + [str(message.public())]
        # Text typed by a visitor may be repeated.
        assert [one for one in told if places_in(one, str(tmp_path))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_part_of_the_page_names_a_place(language: str, tmp_path: Path) -> None:
    """Runs, their lists, sweeps, stress tests, models and the machine show no path."""
    failed = turn(replace(FAILURE, message=TALKATIVE))
    warned = turn(replace(RESULT, warnings=(TALKATIVE,)))
    visit = visit_of(failed, warned)
    told = [
        show_turn(one, baseline=None, limit_bytes=None, language=language) for one in visit.turns
    ]
    told += [show_runs(visit, None, language), runs_csv(visit), runs_json(visit)]
    told += [json.dumps(public_run(one, one.runs[0], language)) for one in visit.turns]
    told.append(show_problem(TALKATIVE, language))
    study = made_study(10, SECRET)
    trials = study.progress.trials if study.progress else ()
    told.append(show_sweep(study, recommend(trials, Budgets()), language))
    study.file_problem = TALKATIVE
    told += [
        show_sweep(study, recommend(trials, Budgets()), language),
        show_stress_test(study, language),
    ]
    downloads = Downloads(are_allowed=True)
    downloads._latest["u2net"] = failed_task(TALKATIVE)
    told.append(show_models(downloads, language))
    told.append(show_machine(machine_of(TALKATIVE), running=0, waiting=0, language=language))
    assert [one for one in told if places_in(one)] == []
    assert all("cup" in one for one in told)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hosts_own_model_is_named_without_its_place(engine: Any) -> None:
    """Refusals, notes, labels, preset warnings and the JSON of a run show only the file name."""
    model, machine = (
        str(SECRET / "mine.onnx"),
        make_machine(absent_models=[str(SECRET / "mine.onnx")]),
    )
    said = [Message("{model}", model=value_term(model))]
    for precision in KNOBS["precision"].choices:
        asked = Settings(model=model, engine=engine, precision=cast("Precision", precision))
        for one in (machine, make_machine(engines=(engine,))):
            said += [
                text for found in check(asked, one) for text in (found.reason, found.clause) if text
            ]
            said += resolve_precision(asked, one)[1]
        said.append(label_of(asked, ["model", "precision"]))
    told = [message_text(one, language) for one in said for language in LANGUAGES]
    own = Settings(model=model)
    runs: list[Result | Failure] = [
        replace(FAILURE, settings=own),
        replace(RESULT, settings=own, effective={"model": model}),
    ]
    told += [json.dumps(public_run(replace(turn(one), settings=own), one)) for one in runs]
    visit = visit_of(*(replace(turn(one), settings=own) for one in runs))
    told += [runs_csv(visit), runs_json(visit), show_runs(visit, None, "en")]
    told += [show_turn(one, baseline=None, limit_bytes=None, language="en") for one in visit.turns]
    assert [one for one in told if places_in(one)] == []
    assert sum("mine.onnx" in one for one in told) > len(KNOBS["precision"].choices)


def machine_of(detail: Message) -> Diagnosis:
    """Create a diagnosis with an engine that does not load."""
    return Diagnosis(
        cpu="cup",
        affinity_cpus=2,
        quota_cpus=None,
        usable_cpus=2,
        load_average=None,
        features=(),
        total_memory_bytes=None,
        available_memory_bytes=1,
        memory_limit_bytes=None,
        address_space_limit_bytes=None,
        peak_source="vmhwm",
        python="3",
        libvips="8",
        deflate="isal",
        cache=str(SECRET),
        cache_warning=detail,
        engines=(EngineState(name="ncnn", version=None, detail=detail),),
        providers=(ProviderState(name="cuda", is_present=False, detail=detail),),
        models=(),
    )


@pytest.mark.parametrize("target", TARGETS)
def test_no_export_names_a_place(target: str, tmp_path: Path) -> None:
    """Neither the exported file nor the notes beside it contain a path."""
    desk = cast("Desk", SimpleNamespace(folder=SimpleNamespace(new_job=lambda: tmp_path)))
    measured = Measured(peak_bytes=2**28, time_s=0.1, n=3, date="2026-01-01", cpu="cup", cores=2)
    for language in LANGUAGES:
        shown = show_export(
            desk, ChosenSetting(settings=QUICK, measured=measured), target, language
        )
        assert places_in(shown, str(tmp_path)) == []
    [file] = tmp_path.iterdir()
    assert places_in(file.read_text(encoding="utf-8"), str(tmp_path)) == []
    assert export(QUICK, target, measured=measured).file_name == file.name


def test_runs_that_fail_or_warn_name_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cases are a damaged picture, an output and a cache that cannot be written."""
    broken = tmp_path / "bro ken.png"
    broken.write_bytes(Path("examples/astronaut.png").read_bytes()[:2000])
    no_folder = tmp_path / "no folder" / "out.png"
    good = str(Path("examples/coffee.png").absolute())
    jobs = {
        tmp_path / "cache": [
            (str(broken), tmp_path / "a.png"),
            (good, no_folder),
            (good, tmp_path / "b.png"),
        ],
        broken / "cache": [(good, tmp_path / "c.png")],
    }
    for name in ("history.sqlite", "measurements.sqlite"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    runs: list[Result | Failure] = []
    for cache, pairs in jobs.items():
        monkeypatch.setenv("REMBG_TUNER_CACHE", str(cache))
        with open_slots() as lane:
            for picture, output in pairs:
                job = Job(input=picture, output=str(output))
                task = submit_run(lane, PictureRun(job=job, settings=QUICK))
                assert task.done.wait(60)
                runs += runs_of(task)
    codes = [
        run.kind if isinstance(run, Failure) else [one.code for one in run.warnings] for run in runs
    ]
    assert codes[:2] == ["bad_input", "bad_output"]
    assert all(codes[2:]), codes
    for language in LANGUAGES:
        told = [
            json.dumps(public_run(turn(run), run, language), ensure_ascii=False) for run in runs
        ]
        assert [one for one in told if places_in(one, str(tmp_path))] == []
    visit = visit_of(*(turn(run) for run in runs))
    assert places_in(runs_json(visit) + runs_csv(visit), str(tmp_path)) == []


def test_a_sweeps_runs_are_public(tmp_path: Path) -> None:
    """The messages in a sweep's report and lists, which a visitor downloads, contain no path."""
    task = task_of_runs(replace(RESULT, warnings=(TALKATIVE,)), replace(FAILURE, message=TALKATIVE))
    lane = SimpleNamespace(slots=[None], submit=lambda *_, **__: task)
    runner = QueuedTrialRunner(cast("Any", lane), made_study(0, tmp_path))
    result, failure = runner.measure([Job(input="a.png", output="b.png")], QUICK)
    assert isinstance(result, Result)
    assert isinstance(failure, Failure)
    assert [str(result.warnings[0]), str(failure.message)] == [
        "a cup; and more.png cannot be written"
    ] * 2
