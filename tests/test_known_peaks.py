"""Known peaks of settings: found, compared with a limit before a run, and stored after it."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.base.messages import Message, render
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime.known_peaks import KnownPeaks, picture_bytes_of
from rembg_tuner.runtime.limits import MemoryLimit, limit_of, over_limit, why_not_fit
from rembg_tuner.runtime.measurements import FILE, Measurements, Peak, set_older_aside
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.slots import PictureRun, TrialRun, open_slots, runs_of, submit_run
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.watch import FailedRunError, OverLimitError
from rembg_tuner.runtime.workers import RunPeak, WarmWorker
from rembg_tuner.settings.host import Host
from rembg_tuner.settings.machine import LIBVIPS_PACKAGE
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

LARGE = Settings(engine="onnxruntime", network_size=512)
SMALL = Settings(engine="onnxruntime", network_size=256)
OTHER = Settings(engine="onnxruntime", model="u2net")
CGROUP = Path("/kubepods/burstable/pod1")


def key_of(settings: Settings) -> str:
    """Return the measurement key of settings on this machine."""
    return resolve(settings, read_machine()).measurement_key


def asked(mib: int) -> MemoryLimit:
    """Return a limit set by the settings."""
    return MemoryLimit(size_bytes=mib * MIB, is_asked=True)


def took(settings: Settings, mib: int) -> Peak:
    """Return the peak of a setting whose run succeeded."""
    return Peak(settings=settings, run_bytes=mib * MIB, runs=1)


def test_what_fits_or_was_never_run_is_not_refused() -> None:
    """Only peaks measured here are compared with the limit."""
    assert why_not_fit(LARGE, asked(700), took(LARGE, 600), []) is None
    assert why_not_fit(LARGE, asked(100), None, [took(SMALL, 600)]) is None
    started = Peak(settings=LARGE, runs=4)
    assert why_not_fit(LARGE, asked(1), started, []) is None


def test_what_will_not_fit_is_refused_with_what_does() -> None:
    """The refusal suggests the same model's settings first, the largest that fits first."""
    tiny = Settings(engine="onnxruntime", network_size=128)
    others = [took(tiny, 150), took(OTHER, 200), took(SMALL, 300), took(LARGE, 600)]
    found = why_not_fit(LARGE, asked(400), took(LARGE, 600), others)
    assert found is not None
    assert found.code == "will_not_fit"
    assert (
        str(found) == "this setting took 600 MiB here before, more than the memory limit of 400 MiB"
        " (memory_limit_bytes), so it was not started; raise the limit, or choose what fitted"
        " here: network_size 256 (300 MiB) or network_size 128 (150 MiB); --ignore-history runs"
        " it all the same"
    )
    assert "--ignore-history" not in render(found, is_public=True)
    assert render(found, is_public=True).endswith("network_size 128 (150 MiB)")
    nothing = why_not_fit(LARGE, asked(1), took(LARGE, 600), others)
    assert "nothing that fits has been run here" in str(nothing)


def test_what_was_ended_is_refused_below_what_it_reached_and_never_offered() -> None:
    """A limit above the bytes reached may be enough; a setting that was ended is not suggested."""
    ended = Peak(settings=LARGE, ended_bytes=410 * MIB)
    assert str(why_not_fit(LARGE, asked(400), ended, [took(SMALL, 300)])).startswith(
        "this setting was ended at 410 MiB here before, more than the memory limit of 400 MiB"
        " (memory_limit_bytes), so it was not started; raise the limit, or choose what fitted here:"
        " network_size 256 (300 MiB)"
    )
    assert why_not_fit(LARGE, asked(410), ended, []) is None
    others = [ended, Peak(settings=SMALL, runs=4)]  # visitors ran SMALL, so its peak is unknown
    told = why_not_fit(OTHER, asked(500), took(OTHER, 600), others)
    assert "nothing that fits has been run here" in str(told)


def test_a_cgroups_limit_is_named_with_how_it_is_raised() -> None:
    """memory_limit_bytes would be wrong advice, and a visitor of a page cannot raise a limit."""
    limit = MemoryLimit(size_bytes=400 * MIB, cgroup=CGROUP)
    for message in (
        why_not_fit(LARGE, limit, took(LARGE, 600), []),
        over_limit(410 * MIB, limit),
    ):
        assert message is not None
        shell, page = str(message), render(message, is_public=True)
        assert "the limit of 400 MiB of cgroup /kubepods/burstable/pod1" in shell
        assert (
            "raise the container's memory (--memory of its start, memory.max of the cgroup), or"
            in shell
        )
        assert "kubepods" not in page
        assert "raise" not in page
        assert "memory_limit_bytes" not in shell + page
    machine = MemoryLimit(size_bytes=400 * MIB)
    for text in (
        str(why_not_fit(LARGE, machine, took(LARGE, 600), [])),
        str(over_limit(410 * MIB, machine)),
    ):
        assert "this machine's memory of 400 MiB" in text
        assert "raise the limit" not in text
    assert (
        str(over_limit(410 * MIB, asked(400)))
        == "the worker used 410 MiB, more than its limit of 400 MiB (memory_limit_bytes), and was"
        " stopped; raise the limit, or choose a smaller setting"
    )


def test_a_limit_is_the_settings_or_the_hosts() -> None:
    """Without a limit of the settings, the lower of the cgroup's and the machine's applies."""
    host = Host(
        cpu="",
        affinity_cpus=2,
        quota_cpus=None,
        total_memory_bytes=900 * MIB,
        memory_limit_bytes=500 * MIB,
        features=frozenset(),
        memory_cgroup=CGROUP,
    )
    assert limit_of(replace(SMALL, memory_limit_bytes=MIB), host) == asked(1)
    assert limit_of(SMALL, host) == MemoryLimit(size_bytes=500 * MIB, cgroup=CGROUP)
    roomy = replace(host, memory_limit_bytes=2000 * MIB)
    assert limit_of(SMALL, roomy) == MemoryLimit(size_bytes=900 * MIB)
    unknown = replace(host, memory_limit_bytes=None, total_memory_bytes=None, memory_cgroup=None)
    assert limit_of(SMALL, unknown) is None


class MadeMeter:
    """A meter whose peaks are exact."""

    peak_source = "vmhwm"


def make_worker() -> WarmWorker:
    """Return a worker without a process, whose load peaked at 100 MiB."""
    worker = WarmWorker(
        process=None,  # type: ignore[arg-type]  # not used
        meter=MadeMeter(),  # type: ignore[arg-type]
        key=(),
        start_s=0.0,
        load_s=0.0,
        baseline_rss_bytes=None,
        load_peak_rss_bytes=100 * MIB,
        effective={},
        warnings=(),
        environment=None,  # type: ignore[arg-type]  # not used
    )
    worker.note_load()
    return worker


def test_a_pictures_own_memory_is_not_its_settings() -> None:
    """A picture's own memory is subtracted; a run beside a read-ahead is not counted.

    The size of a warm worker includes everything.
    """
    worker = make_worker()
    assert worker.note_run(RunPeak(peak_bytes=156 * MIB, picture_bytes=6 * MIB)) == 150 * MIB
    assert worker.note_run(RunPeak(peak_bytes=200 * MIB, has_next=True)) == 0
    assert worker.note_run(RunPeak(peak_bytes=None)) == 0
    assert worker.note_run(RunPeak(peak_bytes=435 * MIB, picture_bytes=200 * MIB)) == 235 * MIB
    assert worker.note_run(RunPeak(peak_bytes=250 * MIB, picture_bytes=MIB)) == 0
    assert (worker.peak_bytes, worker.is_stretched) == (435 * MIB, True)


def test_the_stock_pipelines_pictures_are_not_its_settings() -> None:
    """It holds whole pictures several times, so a run's peak predicts little about the next."""
    stock = picture_bytes_of(Settings(engine="rembg"), [{}])
    assert math.isinf(stock)
    assert make_worker().note_run(RunPeak(peak_bytes=2100 * MIB, picture_bytes=stock)) == 0
    one_after_another: list[dict[str, object]] = [
        {"picture_bytes": 5},
        {"picture_bytes": 7},
        {"kind": "bad_input"},
    ]
    assert picture_bytes_of(SMALL, one_after_another) == 7


def note(
    peaks: KnownPeaks, worker: WarmWorker, folder: Path, mib: int, picture_mib: int = 0
) -> tuple[Message, ...]:
    """Store the peak of a run of SMALL."""
    run = RunPeak(peak_bytes=mib * MIB, picture_bytes=picture_mib * MIB)
    return peaks.note(resolve(SMALL, read_machine()), worker, run, folder)


def test_the_settings_part_alone_is_held_against_the_limit(tmp_path: Path) -> None:
    """A picture of 60 MiB does not cause a refusal of one that is read in strips."""
    peaks, here = KnownPeaks(), resolve(SMALL, read_machine())
    note(peaks, make_worker(), tmp_path, 260, picture_mib=60)
    assert peaks.refuse_what_will_not_fit(here, asked(210), tmp_path) == 260 * MIB
    with pytest.raises(FailedRunError, match="took 200 MiB here before"):
        peaks.refuse_what_will_not_fit(here, asked(190), tmp_path)
    assert KnownPeaks("ignored").refuse_what_will_not_fit(here, asked(190), tmp_path) == 200 * MIB
    known = Measurements(tmp_path).find_peak(key_of(SMALL))
    assert known is not None
    assert (known.load_bytes, known.run_bytes, known.picture_bytes) == (
        100 * MIB,
        200 * MIB,
        60 * MIB,
    )


def test_a_long_batch_writes_what_is_news(tmp_path: Path) -> None:
    """Three runs settle a peak; later only higher ones are written."""
    peaks, worker = KnownPeaks(), make_worker()
    for mib in (200, 200, 200, 200, 200, 190, 220, 220):
        worker.runs += 1
        note(peaks, worker, tmp_path, mib)
    known = Measurements(tmp_path).find_peak(key_of(SMALL))
    assert known is not None
    assert (known.runs, known.run_bytes, known.is_settled) == (4, 220 * MIB, True)


def test_what_the_very_first_start_took_holds_until_another(tmp_path: Path) -> None:
    """The first start compiles, which needs more memory than later starts."""
    first, later, key = make_worker(), make_worker(), key_of(SMALL)
    peaks, known = KnownPeaks(), Measurements(tmp_path)
    for worker, mib, expected in (
        (first, 250, (250, 1)),
        (first, 260, (260, 2)),
        (later, 230, (230, 1)),
        (later, 235, (235, 2)),
    ):
        worker.runs += 1
        note(peaks, worker, tmp_path, mib)
        found = known.find_peak(key)
        assert found is not None
        assert (found.run_bytes // MIB, found.runs) == expected


@pytest.mark.parametrize(
    ("stage", "is_noted"),
    [("load", True), ("predict", True), ("read_small", False), ("focus", False), ("write", False)],
)
def test_a_worker_ended_while_it_held_a_picture_says_nothing_of_its_setting(
    stage: str, tmp_path: Path, *, is_noted: bool
) -> None:
    """A worker ended while it held a picture, or after another one stretched it, is not recorded.

    The stage `focus` reads the picture again.
    """
    error = OverLimitError(over_limit(300 * MIB, asked(290)), stage, reached_bytes=300 * MIB)
    here = resolve(SMALL, read_machine())
    worker = make_worker()
    worker.is_stretched = True
    KnownPeaks().note_ended(here, error, worker, tmp_path)
    assert Measurements(tmp_path).find_peak(key_of(SMALL)) is None
    KnownPeaks().note_ended(here, error, None, tmp_path)
    found = Measurements(tmp_path).find_peak(key_of(SMALL))
    assert (found is not None and found.ended_bytes == 300 * MIB) is is_noted


def test_another_engine_libvips_or_other_weights_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peaks of other versions or weights neither refuse nor suggest a setting."""
    own = tmp_path / "own.onnx"
    own.write_bytes((Path(__file__).parent.parent / "rembg_tuner/models/u2netp.onnx").read_bytes())
    mine = Settings(engine="onnxruntime", model=str(own), network_size=64)
    peaks, run = KnownPeaks(), RunPeak(peak_bytes=900 * MIB)
    for settings in (SMALL, mine):
        peaks.note(resolve(settings, read_machine()), make_worker(), run, tmp_path)
    for settings in (SMALL, mine):
        with pytest.raises(FailedRunError):
            peaks.refuse_what_will_not_fit(resolve(settings, read_machine()), asked(800), tmp_path)
    own.write_bytes(
        (Path(__file__).parent.parent / "rembg_tuner/models/u2netp-int8.onnx").read_bytes()
    )
    peaks.refuse_what_will_not_fit(resolve(mine, read_machine()), asked(800), tmp_path)
    versions = read_machine().version
    for package in (LIBVIPS_PACKAGE, "onnxruntime", "rembg-tuner"):
        monkeypatch.setattr(
            "rembg_tuner.runtime.this_machine._version_of",
            lambda name, of=package: "99" if name == of else versions(name),
        )
        peaks.refuse_what_will_not_fit(resolve(SMALL, read_machine()), asked(800), tmp_path)


def test_what_was_measured_with_other_versions_is_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only settings measured with the current versions are suggested."""
    peaks = KnownPeaks()
    tiny, run = replace(SMALL, network_size=64), RunPeak(peak_bytes=150 * MIB)
    peaks.note(resolve(tiny, read_machine()), make_worker(), run, tmp_path)
    note(peaks, make_worker(), tmp_path, 900)

    def refusal() -> str:
        with pytest.raises(FailedRunError) as refused:
            peaks.refuse_what_will_not_fit(resolve(SMALL, read_machine()), asked(800), tmp_path)
        return str(refused.value)

    assert "choose what fitted here: network_size 64 (150 MiB)" in refusal()
    versions = read_machine().version
    monkeypatch.setattr(
        "rembg_tuner.runtime.this_machine._version_of",
        lambda name: "99" if name == LIBVIPS_PACKAGE else versions(name),
    )
    note(KnownPeaks(), make_worker(), tmp_path, 900)
    assert "nothing that fits has been run here" in refusal()


def make_older_files(folder: Path) -> None:
    """Write the databases as release 0.1.0 did."""
    with closing(sqlite3.connect(folder / "history.sqlite")) as file, file:
        file.execute(
            "CREATE TABLE setting_peaks (setting TEXT NOT NULL, made_by TEXT NOT NULL, peak_bytes"
            " INTEGER NOT NULL, runs INTEGER NOT NULL, latest TEXT NOT NULL, PRIMARY KEY (setting,"
            " made_by))"
        )
        file.execute("INSERT INTO setting_peaks VALUES ('{}', 'onnxruntime 1, 1 1', 1, 1, '')")
    with closing(sqlite3.connect(folder / "trials.sqlite")) as file, file:
        file.execute(
            "CREATE TABLE trials (context TEXT NOT NULL, setting TEXT NOT NULL, number INTEGER NOT"
            " NULL, trial TEXT NOT NULL, PRIMARY KEY (context, setting))"
        )


def test_an_older_versions_files_are_renamed_and_never_lost(tmp_path: Path) -> None:
    """Files of an older version are renamed with a warning; later ones get another name."""
    assert set_older_aside(tmp_path) == ()
    make_older_files(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = set_older_aside(tmp_path)
    assert [message.code for message in said] == ["older_measurements_renamed"] * 2
    assert str(said[0]).startswith(
        f"{tmp_path / 'history.sqlite'} of an older version was renamed to history.sqlite.old:"
    )
    assert set_older_aside(tmp_path) == ()
    make_older_files(tmp_path)
    set_older_aside(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == {
        "history.sqlite.old",
        "history.sqlite.old1",
        "trials.sqlite.old",
        "trials.sqlite.old1",
    }
    assert all(after[f"{name}.old"] == content for name, content in before.items())


def test_an_older_file_that_cannot_be_renamed_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be renamed causes a warning; one that is not a database is renamed too."""
    (tmp_path / "history.sqlite").write_bytes(b"no database")

    def refuse(_: Path, __: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        [said] = set_older_aside(tmp_path)
    assert said.code == "older_measurements_left"
    assert "cannot be renamed (Permission denied)" in str(said)
    [renamed] = set_older_aside(tmp_path)
    assert renamed.code == "older_measurements_renamed"


def test_a_run_says_once_that_older_files_were_renamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's result has the warnings; on a server they are only in the log."""
    make_older_files(tmp_path)
    peaks = KnownPeaks()
    assert len(note(peaks, make_worker(), tmp_path, 200)) == 2
    assert note(peaks, make_worker(), tmp_path, 200) == ()
    make_older_files(tmp_path)
    assert note(KnownPeaks("visitors"), make_worker(), tmp_path, 200) == ()
    assert "history.sqlite of an older version was renamed to history.sqlite.old1" in caplog.text


@pytest.fixture
def own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache folder for this test."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.alone
def test_a_run_is_remembered_and_the_next_one_refused_before_it_starts(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """A setting whose known peak exceeds the limit is refused without starting a worker."""
    settings = Settings(engine="onnxruntime", network_size=128)
    limited = Settings(engine="onnxruntime", network_size=128, memory_limit_bytes=40 * MIB)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        done = runner.run(job, settings)
        assert isinstance(done, Result)
        known = Measurements(own_history).find_peak(key_of(settings))
        assert known is not None
        assert 0 < (done.peak_rss_bytes or 0) - known.run_bytes < 4 * MIB  # strips of 512 px
        assert known.load_bytes == done.load_peak_rss_bytes
        pids = runner.worker_pids
        refused = runner.run(job, limited)
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.stage) == ("out_of_memory", "prepare")
        assert "here before, more than the memory limit of 40 MiB" in str(refused.message)
        assert runner.worker_pids == pids


@pytest.mark.alone
def test_a_large_webp_refuses_no_later_picture(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """A WebP is decoded whole, but only the setting's part is stored, also of an ended run."""
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
    known = Measurements(own_history).find_peak(key_of(settings))
    small_peak = max(small.peak_rss_bytes or 0, small.load_peak_rss_bytes or 0)
    assert known is not None
    assert known.peak_bytes <= small_peak < (whole.peak_rss_bytes or 0) - 100 * MIB
    limited = replace(settings, memory_limit_bytes=small_peak + 40 * MIB)
    with Runner() as runner:
        ended = runner.run(heavy, limited)
        assert isinstance(ended, Failure)
        assert (ended.kind, ended.stage != "prepare") == ("out_of_memory", True)
        assert isinstance(runner.run(job, limited), Result)


@pytest.mark.alone
def test_a_run_ended_at_its_limit_is_not_started_again(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """The second run is refused at once; with a higher limit it runs."""

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
    known = Measurements(own_history).find_peak(key_of(limited_to(60)))
    assert known is not None
    assert known.runs == 1


@pytest.mark.alone
def test_a_damaged_history_is_set_aside_and_made_anew(
    astronaut: Path, tmp_path: Path, own_history: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run succeeds without a warning and is stored; the log reports the renamed file."""
    own_history.mkdir()
    damaged = b"no database at all, " * 50
    (own_history / FILE).write_bytes(damaged)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    settings = Settings(engine="onnxruntime")
    with Runner() as runner:
        done = runner.run(job, settings)
    assert isinstance(done, Result)
    assert done.warnings == ()
    assert Measurements(own_history).find_peak(key_of(settings)) is not None
    assert (own_history / f"{FILE}.damaged").read_bytes() == damaged
    assert f"{FILE} was damaged (file is not a database); it was renamed to" in caplog.text


def test_a_visitors_run_refuses_nobody(astronaut: Path, tmp_path: Path, own_history: Path) -> None:
    """A server stores no peaks of visitors' runs, whether they succeeded or were ended."""

    def limited_to(mib: int | None) -> Settings:
        limit = None if mib is None else mib * MIB
        return Settings(engine="onnxruntime", network_size=128, memory_limit_bytes=limit)

    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with open_slots() as lane:
        for settings, kind in ((limited_to(60), "out_of_memory"), (limited_to(None), None)):
            task = submit_run(lane, PictureRun(job=job, settings=settings))
            assert task.done.wait(30)
            [run] = runs_of(task)
            assert (run.kind if isinstance(run, Failure) else None) == kind
        trial = submit_run(lane, TrialRun(jobs=(job,), settings=limited_to(None)))
        assert trial.done.wait(30)
        assert isinstance(runs_of(trial)[-1], Result)
    known = Measurements(own_history)
    assert known.counts() == {"peaks": 0, "starts": 1, "timings": 0, "measured_trials": 0}
    assert known.was_started(key_of(limited_to(None)))


@pytest.mark.alone
def test_workers_stay_warm_while_their_peaks_fit(astronaut: Path, tmp_path: Path) -> None:
    """The least recently used worker ends first; a warm one runs again without a start."""
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
    with Runner() as runner:  # without a limit one worker stays, whatever its size
        for settings in sizes[:2]:
            runner.run(job, settings)
        assert len(runner.worker_pids) == 1


def test_a_server_notes_a_setting_once(astronaut: Path, tmp_path: Path, own_history: Path) -> None:
    """Writing takes 10 to 40 ms, which would delay each visitor.

    The first successful start is stored.
    """
    settings = Settings(engine="onnxruntime", network_size=64)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner(history="visitors") as runner:
        assert isinstance(runner.run(job, settings), Result)
        assert Measurements(own_history).was_started(key_of(settings))
        written = (own_history / FILE).stat().st_mtime_ns
        assert isinstance(runner.run(job, replace(settings, max_side=64)), Result)
    assert (own_history / FILE).stat().st_mtime_ns == written
    assert Measurements(own_history).counts()["peaks"] == 0


@pytest.mark.alone
def test_a_larger_picture_refuses_no_smaller_one(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """A picture of 3.8 MP, decoded whole (31 MiB), does not raise what a smaller one needs."""
    larger = tmp_path / "larger.webp"
    with Image.open(astronaut) as picture:
        picture.convert("RGB").resize((2400, 1600)).save(larger, quality=80)
    settings = Settings(engine="onnxruntime", network_size=64)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        small = [runner.run(job, settings) for _ in range(3)]
    needed = max(run.peak_rss_bytes or 0 for run in small if isinstance(run, Result))
    (own_history / FILE).unlink()
    with Runner() as runner:
        for _ in range(3):
            run = runner.run(Job(input=str(larger), output=job.output), settings)
            assert isinstance(run, Result)
            assert (run.peak_rss_bytes or 0) > needed + 10 * MIB
    with Runner() as runner:
        limited = replace(settings, memory_limit_bytes=needed + 4 * MIB)
        assert isinstance(runner.run(job, limited), Result)


@pytest.mark.alone
def test_ignore_history_runs_what_was_refused(
    astronaut: Path, tmp_path: Path, own_history: Path
) -> None:
    """--ignore-history runs a refused setting, and the limit still applies during the run."""
    settings = Settings(engine="onnxruntime", network_size=64)
    job = Job(input=str(astronaut), output=str(tmp_path / "out.png"))
    own_history.mkdir()
    Measurements(own_history).note_ended(key_of(settings), settings, 900 * MIB)
    limited = replace(settings, memory_limit_bytes=800 * MIB)
    with Runner() as runner:
        refused = runner.run(job, limited)
        assert isinstance(refused, Failure)
        assert refused.code == "will_not_fit"
    with Runner(history="ignored") as runner:
        assert isinstance(runner.run(job, limited), Result)
        ended = runner.run(job, replace(settings, memory_limit_bytes=40 * MIB))
        assert isinstance(ended, Failure)
        assert (ended.kind, ended.stage != "prepare") == ("out_of_memory", True)
