"""The timing of number formats for `precision auto`: in turn, not under load, and its messages."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from fake_trial_runner import FakeTrialRunner, made_failure
from made_machines import NEW_CPU, make_machine

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.messages import Message
from rembg_tuner.cli.main import main
from rembg_tuner.imaging.header import read_header
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import find_times
from rembg_tuner.settings.machine import Machine
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import CONCURRENT_RUN, Failure, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.format_timing import FormatState, format_states, time_formats
from rembg_tuner.web.pages import system_tab
from rembg_tuner.web.pages.long_tasks import LongTask, LongTasks
from rembg_tuner.web.pages.templating import render

if TYPE_CHECKING:
    from gradio import Request

    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import RunnerSlot
    from rembg_tuner.web.pages.desk import Desk

SECONDS = {"int8": 0.03, "bf16": 0.02, "fp32": 0.01}


def timed_bench() -> FakeTrialRunner:
    """Return a trial runner whose networks take SECONDS, and ten times as long in the warm-up."""

    def change(settings: Settings, results: list[Result]) -> list[Result | Failure]:
        assert (read_header(Path(results[0].input)).width, len(results)) == (256, 4)
        took = SECONDS[settings.precision]
        return [
            replace(result, stages_s={"predict": took * (1 if i else 10)})
            for i, result in enumerate(results)
        ]

    return FakeTrialRunner(change=change)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine with OpenVINO only, and an empty cache."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path / "cache"))
    return replace(
        make_machine(precisions=NEW_CPU, int8_models=["u2netp openvino"]),
        engines=("openvino",),
        timing=read_machine().timing,
    )


def state_of(machine: Machine) -> FormatState:
    """Return the only state: u2netp in OpenVINO."""
    [state] = format_states(machine, ["u2netp"])
    return state


def test_formats_are_timed_in_turn_and_kept(machine: Machine, tmp_path: Path) -> None:
    """Formats run in the order A B C A B C; warm-ups are excluded, and `auto` is the fastest."""
    bench, before = timed_bench(), state_of(machine)
    told: list[Message] = []
    assert (
        str(before.text) == "precision auto is int8, as recorded on other machines; not timed here"
    )
    time_formats(before, machine, bench, tmp_path, told.append)
    assert [settings.precision for settings, _ in bench.asked] == ["int8", "bf16", "fp32"] * 2
    assert str(told[0]) == "u2netp in openvino, int8"
    after = state_of(replace(machine, timing=read_machine().timing))
    assert after.formats.times_s == pytest.approx(SECONDS)
    assert (
        str(after.text)
        == "precision auto is fp32, as timed on this machine: int8 30 ms, bf16 20 ms, fp32 10 ms"
    )
    assert after.to_dict()["is_timed"] is True
    here = replace(machine, timing=read_machine().timing)
    assert resolve(after.settings, here).precision == "fp32"


def test_a_format_that_stays_by_the_margin_says_so(machine: Machine) -> None:
    """A slower format that is preferred within the margin needs an explanation."""
    times = {"int8": 0.0108, "bf16": 0.02, "fp32": 0.0100}
    text = state_of(replace(machine, timing=lambda *_: times)).text
    assert (
        str(text)
        == "precision auto is int8, as timed on this machine: int8 11 ms, bf16 20 ms, fp32 10 ms; a"
        " format must be 10% faster to replace it"
    )
    assert text.code == "auto_is_timed"


@pytest.mark.parametrize(
    "warning", [Message("the machine was busy", code="machine_busy"), CONCURRENT_RUN]
)
def test_under_load_nothing_is_kept(machine: Machine, tmp_path: Path, warning: Message) -> None:
    """Times measured beside other programs or another slot's run are not stored."""
    bench = timed_bench()
    bench.warnings = (warning,)
    with pytest.raises(OutputError, match="other work ran at the same time"):
        time_formats(state_of(machine), machine, bench, tmp_path, lambda _: None)
    key = machine.times_key("u2netp", "openvino")
    assert find_times(tmp_path / "cache", key, machine.kind) == {}


def test_a_format_that_does_not_run_is_said(machine: Machine, tmp_path: Path) -> None:
    """The error has the run's reason, and nothing is stored."""
    state = state_of(machine)
    failure = made_failure(state.settings, "crash", Message("it crashed"))
    bench = FakeTrialRunner(change=lambda *_: [failure])
    with pytest.raises(OutputError, match="were not timed: it crashed"):
        time_formats(state, machine, bench, tmp_path, lambda _: None)


def test_doctor_does_not_time_under_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor --time` reports it and exits with 1."""
    monkeypatch.setattr("rembg_tuner.runtime.meter.load_average", lambda: 999.0)
    assert main(["doctor", "--time", "u2netp"]) == 1
    assert "were not timed: the machine was busy" in capsys.readouterr().err


def test_an_unknown_model_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists the known models, as in other commands."""
    assert main(["doctor", "--time", "no-such-model"]) == 1
    assert "model 'no-such-model' is not known; the models are " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("Number formats", "precision auto is int8, as recorded", "Timing, some seconds")),
        ("zh-CN", ("数值格式", "precision auto 是 int8，依据是其他机器上的记录", "正在测时")),
    ],
)
def test_the_system_tab_shows_them(machine: Machine, language: str, words: tuple[str, ...]) -> None:
    """The tab shows the formats, the current step or the error, in the visitor's language."""
    step = Message(
        "{model} in {engine}, {precision}", model="<b>", engine="openvino", precision="int8"
    )
    state = state_of(machine)
    shown = render("formats", language, states=[state], problem=None, step=step, is_timing=True)
    assert all(word in shown for word in words)
    assert "&lt;b&gt;" in shown
    assert "<b><b>" not in shown
    problem = Message("the number formats were not timed: {reason}", reason=Path("/srv/x.onnx"))
    refused = render("formats", language, states=[], problem=problem, step=None, is_timing=False)
    assert {"en": "the number formats were not timed", "zh-CN": "数值格式没有测时"}[
        language
    ] in refused
    assert "/srv" not in refused


def test_who_asks_during_a_timing_follows_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second visitor sees the progress of the running timing instead of starting another."""
    begun: list[None] = []
    go = threading.Event()

    def time_all(_machine: Machine, _bench: object, study: LongTask) -> None:
        begun.append(None)
        study.measuring = Settings(engine="openvino", precision="bf16")
        go.wait(5)

    monkeypatch.setattr(system_tab, "_time_all", time_all)
    monkeypatch.setattr(system_tab, "machine_here", lambda: machine)
    monkeypatch.setattr(system_tab, "FOLLOW_INTERVAL_S", 0.01)
    lane = cast("Lane[RunnerSlot]", SimpleNamespace(slots=[None]))
    visitors = SimpleNamespace(of=lambda language: SimpleNamespace(language=language))
    folder = SimpleNamespace(new_job=lambda: tmp_path)
    desk = SimpleNamespace(
        slots_lane=lane, long_tasks=LongTasks(lane), folder=folder, visitors=visitors
    )
    events = system_tab._Events(cast("Desk", desk))

    async def ask() -> None:
        first, second = (events.time_formats(cast("Request", one)) for one in ("en", "zh-CN"))
        await anext(first)
        shown = [await anext(first), await anext(second), await anext(second)]
        assert "bf16" in shown[0]
        assert "bf16" in shown[2]
        assert "正在测时" in shown[2]
        go.set()
        ends = [[one async for one in asked][-1] for asked in (first, second)]
        assert all('role="' not in end for end in ends)

    asyncio.run(ask())
    assert begun == [None]


@pytest.mark.slow
@pytest.mark.alone
def test_doctor_times_with_real_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every format of u2netp in ONNX Runtime is timed."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path))
    machine = replace(read_machine(), engines=("onnxruntime",))
    monkeypatch.setattr(
        "rembg_tuner.cli.doctor.read_machine",
        lambda: replace(machine, timing=read_machine().timing),
    )
    assert main(["doctor", "--time", "u2netp", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["formats"]
    assert found["is_timed"] is True
    assert set(found["times_s"]) == {"int8", "fp32"}
    assert all(0 < time_s < 10 for time_s in found["times_s"].values())
