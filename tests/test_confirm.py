"""The best settings, measured again in other workers.

Which and how often, how their runs are joined, and what this changes.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_trial_runner import FakeTrialRunner, made_failure
from made_trials import make_trial

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.settings.results import CONCURRENT_RUN, Failure, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.measure import join_workers
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.plan import plan_of as read_back
from rembg_tuner.tuning.recommend import contenders, expected_range_s, recommend
from rembg_tuner.tuning.sweep import Sweep, open_sweep
from rembg_tuner.tuning.trials import PictureTrial, read_trial

if TYPE_CHECKING:
    from rembg_tuner.settings.results import FailureKind

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"
ANY = Budgets(min_agreement=0.0)


def make_bench(
    times_s: dict[int, list[float]],
    kind: FailureKind = "timeout",
    warnings: tuple[Message, ...] = (),
) -> FakeTrialRunner:
    """Return a trial runner whose runs take given times.

    Args:
        times_s: by network size, the time of each next worker; the last repeats; below 0 fails.
        kind: of the failure.
        warnings: of every run.
    """

    def change(settings: Settings, results: list[Result]) -> list[Result | Failure]:
        times = times_s.get(settings.network_size, [0.1])  # the reference's is 0
        time_s = times.pop(0) if len(times) > 1 else times[0]
        if time_s < 0:
            message = Message("it took too long")
            return [made_failure(settings, kind, message, results[0].input)]
        return [replace(result, total_s=time_s) for result in results]

    bench = FakeTrialRunner(change=change)
    bench.warnings = warnings
    return bench


def measured(bench: FakeTrialRunner) -> list[int]:
    """Return the measured network sizes in order, without the reference."""
    return [settings.network_size for settings, _ in bench.asked[1:]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty cache, without trials of other sweeps."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path / "cache"))


def plan_of(*sizes: int, confirming: int = 4) -> Plan:
    """Return the plan of a sweep over network sizes."""
    return Plan(
        pictures=(COFFEE,),
        axes={"network_size": sizes},
        base=Settings(engine="onnxruntime"),
        rounds=2,
        confirming=confirming,
    )


def confirm(sweep: Sweep, budgets: Budgets = ANY) -> None:
    """Measure every setting, then the best again."""
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    sweep.confirm(budgets, on_trial=lambda _: None, is_cancelled=lambda: False)


def test_the_recommended_one_is_first_and_the_next_best_follow(
    tmp_path: Path, comparer: Comparer
) -> None:
    """Four more workers run; their runs are joined, reported one by one, and stored."""
    bench = make_bench({64: [0.10, 0.14], 96: [0.2], 128: [0.3], 160: [0.4], 192: [0.5]})
    sweep = open_sweep(plan_of(64, 96, 128, 160, 192), tmp_path / "s", bench, comparer)
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    told: list[tuple[int | None, int]] = []
    sweep.confirm(
        ANY,
        on_trial=lambda p: told.append(
            (p.confirmed, p.newest.settings.network_size if p.newest else 0)
        ),
        is_cancelled=lambda: False,
    )
    assert measured(bench)[5:] == [64, 96, 128, 160]
    assert told == [(1, 64), (2, 96), (3, 128), (4, 160)]
    best = next(trial for trial in sweep.trials if trial.settings.network_size == 64)
    assert best.workers_s == (0.10, 0.14)
    assert (best.n, best.time_low_s, best.time_high_s) == (4, 0.10, 0.14)
    assert best.time_s == pytest.approx(0.12)
    assert best.pictures[0].times_s == (0.10, 0.10, 0.14, 0.14)
    assert best.may_be_unstable
    resumed = open_sweep(
        plan_of(64, 96, 128, 160, 192), tmp_path / "s", bench, comparer, resume=True
    )
    assert {t.number: t.workers_s for t in resumed.trials} == {
        t.number: t.workers_s for t in sweep.trials
    }


def test_what_only_chance_put_first_loses_its_place(tmp_path: Path, comparer: Comparer) -> None:
    """The other setting is measured again too, and is then recommended."""
    bench = make_bench({64: [0.05, 0.5], 96: [0.1]})
    sweep = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer)
    confirm(sweep)
    assert measured(bench)[2:4] == [64, 96]
    found = recommend(sweep.trials, ANY)
    assert found.chosen is not None
    assert found.chosen.settings.network_size == 96
    assert len(found.chosen.workers_s) >= 2


def test_one_setting_alone_runs_in_five_workers(tmp_path: Path, comparer: Comparer) -> None:
    """A single setting runs in five workers, since no other shows how much workers differ."""
    bench = make_bench({64: [0.1, 0.11, 0.09, 0.1]})
    sweep = open_sweep(plan_of(64), tmp_path / "s", bench, comparer)
    confirm(sweep)
    assert measured(bench) == [64] * 5
    [trial] = sweep.trials
    expected = expected_range_s(trial, sweep.trials)
    assert expected is not None
    assert expected[0] < 0.09
    assert expected[1] > 0.11
    assert "(from 5 workers" in str(recommend(sweep.trials, ANY).expected)


def test_what_fails_the_second_time_is_not_recommended(tmp_path: Path, comparer: Comparer) -> None:
    """The setting becomes a failed trial with the reason."""
    bench = make_bench({64: [0.05, -1.0], 96: [0.1]})
    sweep = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer)
    confirm(sweep)
    failed = next(trial for trial in sweep.trials if trial.settings.network_size == 64)
    assert str(failed.failure) == "it failed when it was measured again: it took too long"
    chosen = recommend(sweep.trials, ANY).chosen
    assert chosen is not None
    assert chosen.settings.network_size == 96


@pytest.mark.parametrize(
    ("confirming", "budgets"),
    [
        pytest.param(0, ANY, id="not-wanted"),
        pytest.param(4, Budgets(max_memory_bytes=1), id="nothing-fits"),
    ],
)
def test_nothing_is_measured_again(
    confirming: int, budgets: Budgets, tmp_path: Path, comparer: Comparer
) -> None:
    """Nothing is measured again if it is not requested, or if no setting fits the budgets."""
    bench = make_bench({})
    confirm(
        open_sweep(plan_of(64, 96, confirming=confirming), tmp_path / "s", bench, comparer), budgets
    )
    assert len(measured(bench)) == 2


@pytest.mark.parametrize("kind", ["bad_output", "busy"])
def test_what_is_not_the_settings_fault_takes_nothing_from_it(
    kind: FailureKind, tmp_path: Path, comparer: Comparer
) -> None:
    """After a full disk or queue the first measurement is kept, also on disk, with a warning."""
    bench = make_bench({64: [0.05, -1.0], 96: [0.1]}, kind)
    sweep = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer)
    confirm(sweep)
    best = next(trial for trial in sweep.trials if trial.settings.network_size == 64)
    assert best.is_measured
    [warning] = best.warnings
    assert (str(warning), warning.code) == (
        "it could not be measured again: it took too long",
        "not_measured_again",
    )
    assert recommend(sweep.trials, ANY).chosen is best
    assert len(measured(bench)) == 3
    resumed = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer, resume=True)
    assert all(trial.is_measured for trial in resumed.trials)


def test_what_failed_again_is_forgotten_here(tmp_path: Path, comparer: Comparer) -> None:
    """Another sweep measures that setting again instead of using the first worker's result."""
    bench = make_bench({64: [0.05, -1.0, 0.3], 96: [0.1]})
    confirm(open_sweep(plan_of(64, 96), tmp_path / "one", bench, comparer))
    again = open_sweep(plan_of(64, 96, confirming=0), tmp_path / "two", bench, comparer)
    again.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    found = {t.settings.network_size: (t.was_measured_before, t.time_s) for t in again.trials}
    assert found == {64: (False, 0.3), 96: (True, 0.1)}


def test_what_had_company_is_not_remembered(tmp_path: Path, comparer: Comparer) -> None:
    """A trial beside another slot's run is not stored, since the other run affects its time."""
    bench = make_bench({64: [0.1]}, warnings=(CONCURRENT_RUN,))
    for name in ("one", "two"):
        sweep = open_sweep(plan_of(64, confirming=0), tmp_path / name, bench, comparer)
        [trial] = sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
        assert not trial.was_measured_before
        assert CONCURRENT_RUN in trial.warnings


def test_how_many_slots_share_the_cpus_makes_another_sweep(
    tmp_path: Path, comparer: Comparer
) -> None:
    """A worker with half of the CPUs is measured separately from one with all of them."""
    for slots, name in ((1, "one"), (2, "two"), (2, "three")):
        bench = make_bench({})
        bench.slots = slots
        sweep = open_sweep(plan_of(64, confirming=0), tmp_path / name, bench, comparer)
        [trial] = sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
        assert trial.was_measured_before == (name == "three")


def test_again_measures_anew_and_remembers_that(tmp_path: Path, comparer: Comparer) -> None:
    """The next sweep uses the new figure; the stored trial has no picture's path."""
    bench = make_bench({64: [0.1, 0.2]})
    plan = plan_of(64, confirming=0)
    found = []
    for name, one in (("a", plan), ("b", replace(plan, again=True)), ("c", plan)):
        sweep = open_sweep(one, tmp_path / name, bench, comparer)
        [trial] = sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
        found.append((trial.time_s, trial.was_measured_before))
        assert trial.pictures[0].input == str(COFFEE)
    assert found == [(0.1, False), (0.2, False), (0.2, True)]
    assert sweep.known is not None
    [kept] = sweep.known.all(sweep.context_key)
    assert kept.pictures[0].input == ""
    assert kept.date == datetime.now(UTC).date().isoformat()


def test_numbers_stay_apart_where_a_trial_has_gone(tmp_path: Path, comparer: Comparer) -> None:
    """Trials measured after a resume do not reuse numbers."""
    bench = make_bench({})
    sweep = open_sweep(plan_of(64, 96, 128, confirming=0), tmp_path / "s", bench, comparer)
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    sweep.own.forget(sweep.context_key, sweep.trials[0].settings)
    assert sweep.known is not None
    sweep.known.forget(sweep.context_key, sweep.trials[0].settings)
    resumed = open_sweep(
        plan_of(64, 96, 128, confirming=0), tmp_path / "s", bench, comparer, resume=True
    )
    resumed.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    assert sorted(trial.number for trial in resumed.trials) == [1, 2, 3]


def test_a_setting_of_one_worker_gets_no_range() -> None:
    """The time may be low by chance; a range that is too wide is called uncertain."""
    pair = replace(make_trial(0, 100, 0.1, 0.99), workers_s=(0.10, 0.11))
    pairs = [pair, replace(make_trial(1, 100, 0.1, 0.99), workers_s=(0.12, 0.10))]
    lone = make_trial(2, 10, 0.01, 0.99)
    assert expected_range_s(lone, [*pairs, lone]) is None
    told = recommend([*pairs, lone], ANY)
    assert told.chosen is lone
    assert str(told.expected).startswith("This setting ran in one worker only")
    assert recommend([lone], ANY).expected is None
    low, high = expected_range_s(pair, pairs) or (0.0, 0.0)
    assert low < 0.10
    assert high > 0.11
    wild = [replace(one, workers_s=(0.1, 0.3)) for one in pairs]
    assert "is uncertain" in str(recommend(wild, ANY).expected)


def test_the_range_holds_for_what_is_chosen_for_being_low() -> None:
    """The lowest of twelve times is low by chance.

    After it is measured again, 90 % to 98 % of new workers are in its range.
    """
    chance = random.Random(0)

    def worker_s(true_s: float) -> float:
        return true_s * math.exp(chance.gauss(0, 0.2))

    inside, turns = 0, 600
    for _ in range(turns):
        true_s = [0.2 * math.exp(chance.uniform(0, 0.5)) for _ in range(12)]
        trials = [
            replace(make_trial(i, 100, time_s, 0.99), workers_s=(time_s,))
            for i, time_s in enumerate(map(worker_s, true_s))
        ]
        sweep = Sweep(
            search=None,  # type: ignore[arg-type]
            planned=12,
            context=None,  # type: ignore[arg-type]
            runner=None,  # type: ignore[arg-type]
            context_key="",
            own=None,  # type: ignore[arg-type]
            known=None,
            trials=trials,
        )
        while (trial := sweep._least_certain(ANY)) is not None:
            times = (*trial.workers_s, worker_s(true_s[trial.number]))
            trials[trial.number] = replace(trial, workers_s=times, time_s=statistics.median(times))
        chosen = recommend(trials, ANY).chosen
        assert chosen is not None
        low, high = expected_range_s(chosen, trials) or (0.0, 0.0)
        inside += low <= worker_s(true_s[chosen.number]) <= high
    assert 0.9 <= inside / turns <= 0.98


def test_a_cancel_ends_it_and_keeps_what_is_done(tmp_path: Path, comparer: Comparer) -> None:
    """The cancel is checked before each worker."""
    bench = make_bench({64: [0.1], 96: [0.2], 128: [0.3]})
    sweep = open_sweep(plan_of(64, 96, 128), tmp_path / "s", bench, comparer)
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    sweep.confirm(ANY, on_trial=lambda _: None, is_cancelled=lambda: (sweep.confirmed or 0) >= 1)
    assert measured(bench)[3:] == [64]
    assert sum(len(trial.workers_s) > 1 for trial in sweep.trials) == 1


def test_how_often_is_no_part_of_what_is_swept() -> None:
    """A sweep can be resumed with another number, which plan.json keeps.

    Stored trials do not depend on it.
    """
    assert plan_of(64) == plan_of(64, confirming=0)
    assert read_back(plan_of(64, confirming=0).to_dict()).confirming == 0
    assert plan_of(64, confirming=0).guess_s() < plan_of(64).guess_s()


def test_workers_are_joined_by_run_and_the_higher_peak_holds() -> None:
    """Each picture's runs are concatenated; medians are of the means over pictures.

    Trials of older files have no workers.
    """
    parts = tuple(PictureTrial(input=name, times_s=(0.1, 0.3)) for name in "ab")
    first = replace(make_trial(3, 100, 0.2, 0.99), pictures=parts)
    again = replace(
        first,
        pictures=tuple(replace(p, times_s=(0.4, 0.4)) for p in parts),
        time_s=0.4,
        peak_bytes=101 * MIB,
        warnings=(Message("it is slow"),),
    )
    joined = join_workers(first, again)
    assert joined.workers_s == (0.2, 0.4)
    assert (joined.n, joined.peak_bytes, joined.warnings) == (
        4,
        101 * MIB,
        (Message("it is slow"),),
    )
    assert joined.time_s == pytest.approx(0.35)
    assert read_trial(joined.to_kept()) == joined
    content = first.to_dict()
    del content["workers_s"]
    assert read_trial(content).worker_times_s == (0.2,)


def test_contenders_are_those_that_fit_the_recommended_one_first() -> None:
    """Among nearly equal costs the highest agreement is first; the others follow by cost."""
    trials = [
        make_trial(0, 100, 0.100, 0.975),
        make_trial(1, 100, 0.102, 0.990),
        make_trial(2, 400, 0.100, 0.999),
        make_trial(3, 50, 0.050, 0.900),
    ]
    found = contenders(trials, Budgets())
    assert [trial.number for trial in found] == [1, 0, 2]
    assert recommend(trials, Budgets()).chosen is found[0]
