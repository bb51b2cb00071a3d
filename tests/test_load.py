"""The load average without our own workers.

The arithmetic with a fake clock, and the places of the warning.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_trial
from triggered_messages import busy

from rembg_tuner.base.messages import Message
from rembg_tuner.cli.main import main
from rembg_tuner.runtime.meter import Meter, OwnLoad, busy_warning
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import MACHINE_BUSY, distinct, is_busy
from rembg_tuner.tuning.sweep import SweepProgress
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.long_tasks import LongTask
from rembg_tuner.web.pages.sweep_tab.events import draw_sweep
from rembg_tuner.web.pages.visitors import Visitor

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


class Clock:
    """A clock that changes only when a test sets it."""

    def __init__(self) -> None:
        """Start at 0."""
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def kernel_load(active: list[int]) -> float:
    """Average threads as the kernel does: sampled every 5 s, with exp(-5 / 60)."""
    load = 0.0
    for threads in active:
        load = load * math.exp(-5 / 60) + threads * (1 - math.exp(-5 / 60))
    return load


@pytest.mark.parametrize(
    "active",
    [
        pytest.param([2] * 40, id="steady"),
        pytest.param([8] * 6, id="half-a-minute-of-many-threads"),
        pytest.param([2] * 20 + [0] * 12, id="ended-a-minute-ago"),
        pytest.param([1, 0, 2, 0] * 10, id="now-and-then"),
    ],
)
def test_own_load_is_what_the_kernel_would_average(active: list[int]) -> None:
    """Running and waiting threads are averaged in steps of 5 s."""
    clock = Clock()
    own = OwnLoad(clock)
    for threads in active:
        clock.now_s += 5
        own.add(5.0 * threads, 5.0)
    assert own.average() == pytest.approx(kernel_load(active))


def test_workers_side_by_side_add_up_and_fade() -> None:
    """The loads of two slots' workers are added, and decay with time."""
    clock = Clock()
    own = OwnLoad(clock)
    clock.now_s = 30
    own.add(60.0, 30.0)
    own.add(30.0, 30.0)
    both = 3 * (1 - math.exp(-0.5))
    assert own.average() == pytest.approx(both)
    clock.now_s = 90
    assert own.average() == pytest.approx(both * math.exp(-1))


def machine(
    patch: pytest.MonkeyPatch, *, load: float | None, usable: int = 2, cpus: int = 2
) -> None:
    """Set the machine's load average, its CPUs, and the number that may be used."""
    patch.setattr("rembg_tuner.runtime.meter.load_average", lambda: load)
    host = replace(read_host(), affinity_cpus=usable, quota_cpus=None)
    patch.setattr("rembg_tuner.runtime.meter.read_host", lambda: host)
    patch.setattr("rembg_tuner.runtime.meter.os.cpu_count", lambda: cpus)


@pytest.mark.parametrize(
    ("load", "own", "usable", "cpus", "is_warned"),
    [
        pytest.param(None, 0.0, 2, 2, False, id="not-told"),
        pytest.param(2.0, 0.0, 2, 2, False, id="as-many-as-the-cpus"),
        pytest.param(2.5, 0.0, 2, 2, True, id="more"),
        pytest.param(4.0, 2.0, 2, 2, False, id="half-of-it-ours"),
        pytest.param(8.0, 8.0, 2, 2, False, id="all-of-it-ours"),
        pytest.param(1.5, 0.0, 1, 2, True, id="one-cpu-of-two"),
        pytest.param(10.0, 0.0, 2, 16, False, id="a-quota-of-a-large-machine"),
        pytest.param(15.0, 0.0, 2, 16, True, id="a-large-machine-that-is-full"),
    ],
)
def test_the_warning_is_of_others_work(
    load: float | None,
    own: float,
    usable: int,
    cpus: int,
    is_warned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It appears if the remaining load exceeds the usable CPUs."""
    machine(monkeypatch, load=load, usable=usable, cpus=cpus)
    counted = OwnLoad(Clock())
    counted.add(own * 1e6, 1e6)
    warning = busy_warning(counted)
    assert (warning is not None) == is_warned
    if warning is not None:
        assert is_busy([warning])
        assert f"load average {load:.1f} without our own workers, usable CPUs {usable};" in str(
            warning
        )


def test_a_threads_waiting_counts(tmp_path: Path) -> None:
    """Waiting time is the second number of schedstat, in ns; ended threads are ignored."""
    meter = Meter(os.getpid())
    meter._folder = tmp_path
    for thread, text in (("1", "5 2000000000 7"), ("2", "0 500000000 1"), ("3", "")):
        (tmp_path / "task" / thread).mkdir(parents=True)
        (tmp_path / "task" / thread / "schedstat").write_text(text)
    used_s = time.process_time()
    found = meter.runnable_s()
    assert found is not None
    assert found - 2.5 == pytest.approx(used_s, abs=0.5)


def test_a_trial_says_once_that_the_machine_was_busy() -> None:
    """Warnings that differ only in their figures are reported once."""
    busy = [Message("load average {load}", code=MACHINE_BUSY, load=i) for i in range(3)]
    a, b = Message("a"), Message("the machine was busy: b")
    assert distinct([a, *busy, b, a]) == (a, busy[0], b)


def test_cut_says_that_the_machine_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The warning is printed below the figures, and is in the JSON."""
    machine(monkeypatch, load=7.0)
    words = [
        "cut",
        str(COFFEE),
        "--engine",
        "onnxruntime",
        "--network-size",
        "64",
        "-o",
        str(tmp_path / "a.png"),
    ]
    assert main(words) == 0
    said = "the machine was busy with other work: load average "
    assert f"  warning  {said}" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    [warning] = [one for one in run["warnings"] if one["code"] == "machine_busy"]
    assert warning["message"].startswith(said)


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "1 of 2 trials ran while the machine was busy"),
        ("zh-CN", "2 次试验中有 1 次在机器忙于"),
    ],
)
def test_the_page_says_that_the_machine_was_busy(language: str, told: str) -> None:
    """It is below a sweep's table and in the trial's row, and translated in a run's warnings."""
    warning = busy()
    trials = (
        make_trial(0, 100, 0.1, 0.99),
        replace(make_trial(1, 90, 0.2, 0.99), warnings=(warning,)),
    )
    progress = SweepProgress(
        trials=trials, planned=2, elapsed_s=9.0, left_s=(0.0, 0.0), remembered=0
    )
    study = LongTask(folder=Path("/nowhere"), progress=progress)
    visitor = Visitor(language=language, sweeping=study)
    shown = draw_sweep(visitor)
    assert told in shown
    assert ("the machine was busy" in message_text(warning, language)) == (language == "en")
    assert shown.count({"en": "machine busy<", "zh-CN": "机器繁忙<"}[language]) == 1
