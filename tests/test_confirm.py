"""The best measured again in other workers: which, how often, what is joined, and what it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_bench import MadeBench
from made_trials import make_trial

from rembg_tuner.children.comparer import Comparer
from rembg_tuner.measurement import Failure, Result
from rembg_tuner.recommend import Budgets, contenders, expected_range_s, recommend
from rembg_tuner.settings import Settings
from rembg_tuner.sweep.measure import join_workers
from rembg_tuner.sweep.opening import Plan, open_sweep
from rembg_tuner.trials import PictureTrial, read_trial
from rembg_tuner.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_tuner.pipeline import Job
    from rembg_tuner.sweep.run import Sweep

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"
ANY = Budgets(min_agreement=0.0)


class TimedBench(MadeBench):
    """Takes as long as it is told, by network size and worker; fails where it is told nothing."""

    def __init__(self, times_s: dict[int, list[float]]) -> None:
        """Take what each next worker of a size takes; the last for all that follow."""
        super().__init__()
        self.times_s = times_s

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run; see `MadeBench`."""
        runs = super().measure(jobs, settings)
        times = self.times_s.get(settings.network_size, [0.1])  # the reference's is 0
        time_s = times.pop(0) if len(times) > 1 else times[0]
        if time_s < 0:
            return [Failure(kind="timeout", message="it took too long", stage="predict", input=jobs[0].input, settings=settings, run_index=0)]  # fmt: skip
        return [replace(run, total_s=time_s) for run in runs if isinstance(run, Result)]

    def measured(self) -> list[int]:
        """Name the network sizes in the order of workers, without the reference."""
        return [settings.network_size for settings, _ in self.asked[1:]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember nothing of this machine's other sweeps."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def comparer() -> Iterator[Comparer]:
    """Compare for real."""
    with Comparer() as made:
        yield made


def plan_of(*sizes: int, confirming: int = 4) -> Plan:
    """Plan a sweep of network sizes."""
    return Plan(pictures=(COFFEE,), axes={"network_size": sizes}, base=Settings(engine="onnxruntime"), rounds=2, confirming=confirming)  # fmt: skip


def confirm(sweep: Sweep, budgets: Budgets = ANY) -> None:
    """Measure all, then the best again."""
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    sweep.confirm(budgets, on_trial=lambda _: None, is_cancelled=lambda: False)


def test_the_recommended_one_is_first_and_the_next_best_follow(
    tmp_path: Path, comparer: Comparer
) -> None:
    """Four workers more; runs joined, the range theirs; told as it goes on; kept on disk."""
    bench = TimedBench({64: [0.10, 0.14], 96: [0.2], 128: [0.3], 160: [0.4], 192: [0.5]})
    sweep = open_sweep(plan_of(64, 96, 128, 160, 192), tmp_path / "s", bench, comparer)
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    told: list[tuple[int | None, int]] = []
    sweep.confirm(
        ANY,
        on_trial=lambda p: told.append((p.confirmed, p.newest.settings.network_size if p.newest else 0)),
        is_cancelled=lambda: False,
    )  # fmt: skip
    assert bench.measured()[5:] == [64, 96, 128, 160]
    assert told == [(1, 64), (2, 96), (3, 128), (4, 160)]
    best = next(trial for trial in sweep.trials if trial.settings.network_size == 64)
    assert best.workers_s == (0.10, 0.14)
    assert (best.n, best.time_low_s, best.time_high_s) == (4, 0.10, 0.14)
    assert best.time_s == pytest.approx(0.12)
    assert best.pictures[0].times_s == (0.10, 0.10, 0.14, 0.14)
    assert best.may_be_unstable
    resumed = open_sweep(plan_of(64, 96, 128, 160, 192), tmp_path / "s", bench, comparer, resume=True)  # fmt: skip
    assert {t.number: t.workers_s for t in resumed.trials} == {t.number: t.workers_s for t in sweep.trials}  # fmt: skip


def test_what_only_chance_put_first_loses_its_place(tmp_path: Path, comparer: Comparer) -> None:
    """The other one is measured again too, before it is recommended."""
    bench = TimedBench({64: [0.05, 0.5], 96: [0.1]})
    sweep = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer)
    confirm(sweep)
    assert bench.measured()[2:4] == [64, 96]
    found = recommend(sweep.trials, ANY)
    assert found.chosen is not None
    assert found.chosen.settings.network_size == 96
    assert len(found.chosen.workers_s) >= 2


def test_one_setting_alone_runs_in_five_workers(tmp_path: Path, comparer: Comparer) -> None:
    """There is nobody else to tell how far workers are from each other."""
    bench = TimedBench({64: [0.1, 0.11, 0.09, 0.1]})
    sweep = open_sweep(plan_of(64), tmp_path / "s", bench, comparer)
    confirm(sweep)
    assert bench.measured() == [64] * 5
    [trial] = sweep.trials
    expected = expected_range_s(trial, sweep.trials)
    assert expected is not None
    assert expected[0] < 0.09
    assert expected[1] > 0.11
    assert recommend(sweep.trials, ANY).expected.endswith(
        "by how far 5 workers were from each other"
    )


def test_what_fails_the_second_time_is_not_recommended(tmp_path: Path, comparer: Comparer) -> None:
    """It is a row with its reason."""
    bench = TimedBench({64: [0.05, -1.0], 96: [0.1]})
    sweep = open_sweep(plan_of(64, 96), tmp_path / "s", bench, comparer)
    confirm(sweep)
    failed = next(trial for trial in sweep.trials if trial.settings.network_size == 64)
    assert failed.failure == "measured again, it failed: it took too long"
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
    """Where it is not wanted, or would change nothing."""
    bench = TimedBench({})
    confirm(open_sweep(plan_of(64, 96, confirming=confirming), tmp_path / "s", bench, comparer), budgets)  # fmt: skip
    assert len(bench.measured()) == 2


def test_a_cancel_ends_it_and_keeps_what_is_done(tmp_path: Path, comparer: Comparer) -> None:
    """Asked before each worker."""
    bench = TimedBench({64: [0.1], 96: [0.2], 128: [0.3]})
    sweep = open_sweep(plan_of(64, 96, 128), tmp_path / "s", bench, comparer)
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    sweep.confirm(ANY, on_trial=lambda _: None, is_cancelled=lambda: (sweep.confirmed or 0) >= 1)
    assert bench.measured()[3:] == [64]
    assert sum(len(trial.workers_s) > 1 for trial in sweep.trials) == 1


def test_how_often_is_no_part_of_what_is_swept() -> None:
    """A sweep goes on with another number; nothing is remembered by it."""
    assert plan_of(64) == plan_of(64, confirming=0)
    assert "confirming" not in plan_of(64).to_dict()
    assert plan_of(64, confirming=0).guess_s() < plan_of(64).guess_s()


def test_workers_are_joined_by_run_and_the_higher_peak_holds() -> None:
    """Each picture's runs follow each other; medians are of the means over pictures; older files have no workers."""
    parts = tuple(PictureTrial(input=name, times_s=(0.1, 0.3)) for name in "ab")
    first = replace(make_trial(3, 100, 0.2, 0.99), pictures=parts)
    again = replace(first, pictures=tuple(replace(p, times_s=(0.4, 0.4)) for p in parts), time_s=0.4, peak_bytes=101 * MIB, warnings=("it is slow",))  # fmt: skip
    joined = join_workers(first, again)
    assert joined.workers_s == (0.2, 0.4)
    assert (joined.n, joined.peak_bytes, joined.warnings) == (4, 101 * MIB, ("it is slow",))
    assert joined.time_s == pytest.approx(0.35)
    assert read_trial(joined.to_dict()) == joined
    content = first.to_dict()
    del content["workers_s"]
    assert read_trial(content).worker_times_s == (0.2,)


def test_contenders_are_those_that_fit_the_recommended_one_first() -> None:
    """It agrees best of the nearly equal ones; the others follow by cost."""
    trials = [
        make_trial(0, 100, 0.100, 0.975),
        make_trial(1, 100, 0.102, 0.990),
        make_trial(2, 400, 0.100, 0.999),
        make_trial(3, 50, 0.050, 0.900),
    ]
    found = contenders(trials, Budgets())
    assert [trial.number for trial in found] == [1, 0, 2]
    assert recommend(trials, Budgets()).chosen is found[0]
