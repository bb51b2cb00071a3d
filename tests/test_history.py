"""What settings took before: kept, found again, and held against a limit before a run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from PIL import Image

from rembg_tuner.cache import CACHE_VARIABLE
from rembg_tuner.measurement import Failure, Result
from rembg_tuner.pipeline import Job
from rembg_tuner.running.history import History, Peak, why_not_fit
from rembg_tuner.running.known_peaks import whole_bytes_of
from rembg_tuner.running.line import WaitingLine
from rembg_tuner.running.runner import Runner
from rembg_tuner.running.ticket import Order
from rembg_tuner.running.warm import WarmWorker
from rembg_tuner.settings import Settings
from rembg_tuner.units import MIB

if TYPE_CHECKING:
    from pathlib import Path

LARGE = Settings(engine="onnxruntime", network_size=512)
SMALL = Settings(engine="onnxruntime", network_size=256)
OTHER = Settings(engine="onnxruntime", model="u2net")


def test_the_highest_peak_is_kept(tmp_path: Path) -> None:
    """Runs of one setting are counted, and only the highest of their peaks stands."""
    history = History(tmp_path)
    assert history.all() == []
    assert history.find(SMALL) is None
    for peak in (200, 300, 250):
        history.remember(SMALL, peak * MIB)
    history.remember(LARGE, 600 * MIB)
    assert history.find(SMALL) == Peak(settings=SMALL, peak_bytes=300 * MIB, runs=3)
    assert [peak.peak_bytes for peak in History(tmp_path).all()] == [300 * MIB, 600 * MIB]


def test_what_a_worker_does_not_hold_makes_no_other_setting(tmp_path: Path) -> None:
    """Deadline, limit and the picture's size do not change what a worker takes to hold a model."""
    History(tmp_path).remember(Settings(engine="onnxruntime", network_size=256, timeout_s=5.0), MIB)
    assert History(tmp_path).find(SMALL) is not None


def test_settings_of_another_version_are_left_out(tmp_path: Path) -> None:
    """A knob that is no more does not keep the others from being read."""
    history = History(tmp_path)
    history.remember(SMALL, MIB)
    with sqlite3.connect(tmp_path / "history.sqlite") as file:
        file.execute("INSERT INTO setting_peaks VALUES ('{\"gone\": 1}', '', 1, 1, '')")
    assert [peak.settings for peak in history.all()] == [SMALL]


def test_another_engine_or_other_weights_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old ones took neither refuses nor offers anything."""
    history = History(tmp_path)
    history.remember(SMALL, 900 * MIB)
    monkeypatch.setattr("rembg_tuner.running.history._version_of", lambda _: "99")
    assert history.look_up(SMALL) is None
    assert history.all() == []
    history.remember(SMALL, 100 * MIB)
    assert history.look_up(SMALL) == Peak(settings=SMALL, peak_bytes=100 * MIB, runs=1)
    own = tmp_path / "own.onnx"
    own.write_bytes(b"weights")
    mine = Settings(engine="onnxruntime", model=str(own))
    history.remember(mine, MIB)
    assert history.look_up(mine) is not None
    own.write_bytes(b"other weights")
    assert history.look_up(mine) is None


def test_what_was_run_longest_ago_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visitors cannot make the file grow."""
    monkeypatch.setattr("rembg_tuner.running.history._MOST_ROWS", 3)
    history = History(tmp_path)
    for side in range(64, 64 + 32 * 5, 32):
        history.remember(Settings(engine="onnxruntime", network_size=side), MIB)
    assert len(history.all()) == 3


def peaks(*pairs: tuple[Settings, int]) -> list[Peak]:
    """Make peaks, MiB."""
    return [Peak(settings=s, peak_bytes=mib * MIB, runs=1) for s, mib in pairs]


def test_what_fits_or_was_never_run_is_not_refused() -> None:
    """Only what was measured here is held against the limit."""
    assert why_not_fit(LARGE, 700 * MIB, peaks((LARGE, 600))) is None
    assert why_not_fit(LARGE, 100 * MIB, peaks((SMALL, 600))) is None


def test_what_will_not_fit_is_refused_with_what_does() -> None:
    """The same model's other settings come first, the largest that fits before the smaller."""
    tiny = Settings(engine="onnxruntime", network_size=128)
    found = why_not_fit(
        LARGE, 400 * MIB, peaks((tiny, 150), (OTHER, 200), (SMALL, 300), (LARGE, 600))
    )
    assert found == (
        "this setting took 600 MiB here before, more than the memory limit of 400 MiB (memory_limit_bytes), "
        "so it was not started; raise the limit, or choose what fitted here: network_size 256 (300 MiB) or "
        "network_size 128 (150 MiB)"
    )
    assert "nothing that fits has been run here" in str(
        why_not_fit(LARGE, MIB, peaks((LARGE, 600)))
    )


def test_a_run_that_was_ended_is_a_lower_bound(tmp_path: Path) -> None:
    """It is no run that went through; one that does counts on from it."""
    history = History(tmp_path)
    history.remember_ended(LARGE, 410 * MIB)
    assert history.find(LARGE) is None
    assert history.all() == [Peak(settings=LARGE, peak_bytes=410 * MIB, runs=0)]
    history.remember(LARGE, 600 * MIB)
    assert history.find(LARGE) == Peak(settings=LARGE, peak_bytes=600 * MIB, runs=1)


def test_what_was_ended_is_refused_below_what_it_reached_and_never_offered() -> None:
    """A limit above what it reached may be enough; that it fits is not known."""
    ended = Peak(settings=LARGE, peak_bytes=410 * MIB, runs=0)
    known = [*peaks((SMALL, 300)), ended]
    assert why_not_fit(LARGE, 400 * MIB, known) == (
        "this setting was ended at 410 MiB here before, more than the memory limit of 400 MiB (memory_limit_bytes), "
        "so it was not started; raise the limit, or choose what fitted here: network_size 256 (300 MiB)"
    )
    assert why_not_fit(LARGE, 410 * MIB, known) is None
    told = why_not_fit(OTHER, 500 * MIB, [ended, *peaks((OTHER, 600))])
    assert "nothing that fits has been run here" in str(told)


def test_a_pictures_own_memory_is_not_its_settings() -> None:
    """What was decoded or encoded whole refuses no later picture; a warm worker's room counts it."""
    worker = WarmWorker(
        process=None,  # type: ignore[arg-type]  # none is needed
        meter=None,  # type: ignore[arg-type]
        key=(),
        start_s=0.0,
        load_s=0.0,
        baseline_rss_bytes=None,
        load_peak_rss_bytes=None,
        effective={},
        warnings=(),
        environment=None,  # type: ignore[arg-type]
    )
    worker.note_peak(150 * MIB)
    worker.note_peak(435 * MIB, whole_bytes=192 * MIB)
    assert (worker.peak_bytes, worker.setting_peak_bytes) == (435 * MIB, 150 * MIB)
    worker.note_peak(250 * MIB, whole_bytes=MIB)
    worker.note_peak(None)
    assert (worker.peak_bytes, worker.setting_peak_bytes) == (435 * MIB, 250 * MIB)
    worker.note_peak(260 * MIB, is_focused=True)
    assert worker.peak_of(Settings()) == 250 * MIB
    assert worker.peak_of(Settings(focus="auto")) == 260 * MIB


@pytest.fixture
def own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this test a cache of its own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_run_is_remembered_and_the_next_one_refused_before_it_starts(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """No worker is started for what took more than the limit before."""
    settings = Settings(engine="onnxruntime", network_size=128)
    limited = Settings(engine="onnxruntime", network_size=128, memory_limit_bytes=40 * MIB)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        done = runner.run(job, settings)
        assert isinstance(done, Result)
        known = History(own_history).find(settings)
        assert known is not None
        assert known.peak_bytes == max(done.peak_rss_bytes or 0, done.load_peak_rss_bytes or 0)
        pids = runner.worker_pids
        refused = runner.run(job, limited)
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.stage) == ("out_of_memory", "prepare")
        assert "here before, more than the memory limit of 40 MiB" in str(refused.message)
        assert runner.worker_pids == pids


def test_a_large_webp_refuses_no_later_picture(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """It is decoded whole; whether it went through or was ended, what is remembered is the setting's."""
    large = tmp_path / "large.webp"
    with Image.open(astronaut) as picture:
        picture.convert("RGB").resize((5000, 4000)).save(large, quality=80)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    heavy = Job(input=str(large), output=str(tmp_path / "large.png"))
    settings = Settings(engine="onnxruntime", network_size=64)
    with Runner() as runner:
        small, whole = runner.run(job, settings), runner.run(heavy, settings)
        assert isinstance(small, Result)
        assert isinstance(whole, Result)
    known = History(own_history).find(settings)
    small_peak = max(small.peak_rss_bytes or 0, small.load_peak_rss_bytes or 0)
    assert known is not None
    assert known.peak_bytes == small_peak < (whole.peak_rss_bytes or 0) - 100 * MIB
    limited = replace(settings, memory_limit_bytes=small_peak + 40 * MIB)
    with Runner() as runner:
        ended = runner.run(heavy, limited)
        assert isinstance(ended, Failure)
        assert (ended.kind, ended.stage != "prepare") == ("out_of_memory", True)
        assert isinstance(runner.run(job, limited), Result)


def test_a_run_ended_at_its_limit_is_not_started_again(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """The second time it is refused at once; a higher limit may try, and goes through."""

    def limited_to(mib: int) -> Settings:
        return Settings(engine="onnxruntime", network_size=128, memory_limit_bytes=mib * MIB)

    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        ended = runner.run(job, limited_to(60))
        assert isinstance(ended, Failure)
        assert (ended.kind, ended.stage != "prepare") == ("out_of_memory", True)
        refused = runner.run(job, limited_to(60))
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.stage) == ("out_of_memory", "prepare")
        assert "here before, more than the memory limit of 60 MiB" in str(refused.message)
        assert isinstance(runner.run(job, limited_to(1000)), Result)
    known = History(own_history).find(limited_to(60))
    assert known is not None
    assert known.runs == 1


def test_a_damaged_history_is_set_aside_and_made_anew(
    astronaut: Path, tmp_path: Path, own_history: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes through without a warning and is remembered; the log says what was done."""
    own_history.mkdir()
    damaged = b"no database at all, " * 50
    (own_history / "history.sqlite").write_bytes(damaged)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    settings = Settings(engine="onnxruntime")
    with Runner() as runner:
        done = runner.run(job, settings)
    assert isinstance(done, Result)
    assert done.warnings == ()
    assert History(own_history).find(settings) is not None
    assert (own_history / "history.sqlite.damaged").read_bytes() == damaged
    assert "history.sqlite was damaged (file is not a database); it was renamed to" in caplog.text


@pytest.mark.parametrize("damage", ["header", "middle", "schema", "journal"])
def test_any_damage_is_repaired(damage: str, tmp_path: Path) -> None:
    """Of the first bytes, of a page that is read later, or of another version's table."""
    history, file = History(tmp_path), tmp_path / "history.sqlite"
    for side in range(64, 2049, 32):
        history.remember(Settings(engine="onnxruntime", network_size=side), MIB)
    if damage == "schema":
        with closing(sqlite3.connect(file)) as tables, tables:
            tables.execute("ALTER TABLE setting_peaks RENAME COLUMN runs TO times")
    else:
        content = bytearray(file.read_bytes())
        at = 5000 if damage == "middle" else 0
        content[at : at + 4000] = b"\xa5" * 4000
        file.write_bytes(content)
    if damage == "journal":
        (tmp_path / "history.sqlite-journal").write_bytes(b"\xa5" * 4000)
    history.remember(SMALL, 200 * MIB)
    found = history.look_up(SMALL)
    assert found is not None
    assert (found.peak_bytes, found.runs) == (200 * MIB, 1)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".damaged")] == ["history.sqlite.damaged"]  # fmt: skip


def test_a_full_disk_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is told, and the file stays as it was."""
    history = History(tmp_path)
    history.remember(SMALL, 200 * MIB)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def fail(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("rembg_tuner.tables.open_tables", fail)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            history.remember(SMALL, 300 * MIB)
    assert [path.name for path in tmp_path.iterdir()] == ["history.sqlite"]
    assert history.find(SMALL) == Peak(settings=SMALL, peak_bytes=200 * MIB, runs=1)


def test_a_visitors_run_refuses_nobody(astronaut: Path, tmp_path: Path, own_history: Path) -> None:
    """On a server no run is remembered as what a setting takes, whether it went through or was ended."""

    def limited_to(mib: int | None) -> Settings:
        limit = None if mib is None else mib * MIB
        return Settings(engine="onnxruntime", network_size=128, memory_limit_bytes=limit)

    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with WaitingLine() as line:
        for settings, kind in ((limited_to(60), "out_of_memory"), (limited_to(None), None)):
            ticket = line.submit(Order(job=job, settings=settings))
            assert ticket.done.wait(30)
            [run] = ticket.runs
            assert (run.kind if isinstance(run, Failure) else None) == kind
        trial = line.submit(Order(job=job, settings=limited_to(None), in_turn=(job,)))
        assert trial.done.wait(30)
        assert isinstance(trial.runs[-1], Result)
    known = History(own_history).find(limited_to(None))
    assert known == Peak(settings=Settings(engine="onnxruntime", network_size=128), peak_bytes=0, runs=2)  # fmt: skip
    assert why_not_fit(limited_to(None), 1, [known]) is None


def test_what_was_never_measured_is_not_offered() -> None:
    """A setting that only visitors ran has no figure to offer."""
    own = Peak(settings=LARGE, peak_bytes=900 * MIB, runs=1)
    unknown = Peak(settings=SMALL, peak_bytes=0, runs=4)
    reason = why_not_fit(LARGE, 500 * MIB, [unknown, own])
    assert reason is not None
    assert "nothing that fits has been run here" in reason


def test_the_stock_pipelines_pictures_are_not_its_settings() -> None:
    """It holds a picture whole, several times over: what a run took says little of the next one."""
    worker = cast("WarmWorker", SimpleNamespace(peak_bytes=0, setting_peak_bytes=150 * MIB))
    stock = Settings(engine="rembg")
    WarmWorker.note_peak(worker, 2100 * MIB, whole_bytes=whole_bytes_of(stock, [{}]))
    assert (worker.peak_bytes, worker.setting_peak_bytes) == (2100 * MIB, 150 * MIB)
    WarmWorker.note_peak(worker, 300 * MIB, whole_bytes=whole_bytes_of(SMALL, [{"whole_bytes": 5}]))
    assert worker.setting_peak_bytes == 300 * MIB


def test_workers_stay_warm_while_their_peaks_fit(astronaut: Path, tmp_path: Path) -> None:
    """The least recently used goes first; coming back to a warm one costs no start."""
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    sizes = [Settings(engine="onnxruntime", network_size=side) for side in (64, 96, 128)]
    with Runner(warm_bytes=2**40) as runner:
        first = [runner.run(job, settings) for settings in sizes]
        assert all(isinstance(run, Result) for run in first)
        pids = runner.worker_pids
        assert len(set(pids)) == 3
        again = runner.run(job, sizes[0])
        assert isinstance(again, Result)
        assert again.run_index == 1
        assert runner.worker_pids == (pids[1], pids[2], pids[0])
    measured = [run.peak_rss_bytes or 0 for run in first if isinstance(run, Result)]
    with Runner(warm_bytes=round(2.4 * max(measured))) as runner:
        for settings in sizes:
            runner.run(job, settings)
        runner.settle()
        kept = runner.worker_pids
        assert len(kept) == 2
        warm = runner.run(job, sizes[2])
        assert isinstance(warm, Result)
        assert warm.run_index == 1
        assert runner.worker_pids == kept
    with Runner() as runner:  # without a bound: one, whatever its size
        for settings in sizes:
            runner.run(job, settings)
        assert len(runner.worker_pids) == 1


def test_a_server_notes_a_setting_once(astronaut: Path, tmp_path: Path, own_history: Path) -> None:
    """Writing takes 10 to 40 ms, which each visitor would wait; that it went through here is known all the same."""
    settings = Settings(engine="onnxruntime", network_size=64)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner(remembers_peaks=False) as runner:
        assert isinstance(runner.run(job, settings), Result)
        noted = History(own_history).find(settings)
        assert noted is not None
        assert (noted.runs, noted.peak_bytes) == (1, 0)
        assert isinstance(runner.run(job, replace(settings, max_side=64)), Result)
    known = History(own_history).find(settings)
    assert known is not None
    assert known.runs == 1
