"""The measurements database: rows by measurement key, damage, a full disk, two processes."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime import this_machine
from rembg_tuner.runtime.measurements import FILE, Measurements, Peak, Timing
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Settings(engine="onnxruntime", network_size=256)
LARGE = Settings(engine="onnxruntime", network_size=512)


def note(known: Measurements, key: str, run_mib: int, *, load_mib: int = 100) -> None:
    """Record a run."""
    known.note_run(key, SMALL, load_bytes=load_mib * MIB, run_bytes=run_mib * MIB)


def test_the_highest_of_load_and_runs_is_the_settings_peak(tmp_path: Path) -> None:
    """A peak is settled after three runs; the highest share of a picture is kept beside it."""
    known = Measurements(tmp_path)
    assert known.find_peak("a") is None
    assert not known.path.exists()  # a read creates no file
    for run_mib, picture_mib in ((200, 5), (300, 90), (250, 20)):
        known.note_run(
            "a",
            SMALL,
            load_bytes=100 * MIB,
            run_bytes=run_mib * MIB,
            picture_bytes=picture_mib * MIB,
        )
    found = known.find_peak("a")
    assert found == Peak(
        settings=SMALL,
        load_bytes=100 * MIB,
        run_bytes=300 * MIB,
        picture_bytes=90 * MIB,
        runs=3,
    )
    assert (found.peak_bytes, found.known_bytes, found.is_settled) == (300 * MIB, 300 * MIB, True)
    note(known, "b", 90, load_mib=150)
    other = known.find_peak("b")
    assert other is not None
    assert (other.peak_bytes, other.is_settled) == (150 * MIB, False)
    assert [key for key, _ in known.all_peaks()] == ["b", "a"]


def test_a_run_that_was_ended_is_a_lower_bound(tmp_path: Path) -> None:
    """A terminated run sets a lower bound and is not counted; a completed run is counted."""
    known = Measurements(tmp_path)
    known.note_ended("a", LARGE, 410 * MIB)
    assert known.find_peak("a") == Peak(settings=LARGE, ended_bytes=410 * MIB)
    assert not known.was_started("a")
    known.note_run("a", LARGE, load_bytes=100 * MIB, run_bytes=600 * MIB)
    found = known.find_peak("a")
    assert found is not None
    assert (found.runs, found.known_bytes) == (1, 600 * MIB)
    assert known.was_started("a")


def test_a_start_holds_no_figure(tmp_path: Path) -> None:
    """A start records no memory figure, so no visitor's picture can be inferred from the file."""
    known = Measurements(tmp_path)
    known.note_start("a")
    known.note_start("a")
    assert known.was_started("a")
    assert not known.was_started("b")
    assert known.find_peak("a") is None
    assert known.counts() == {"peaks": 0, "starts": 1, "timings": 0, "measured_trials": 0}


def test_a_timing_is_of_one_key_and_one_machine(tmp_path: Path) -> None:
    """A later timing replaces the earlier one; another machine's timing is not found."""
    known = Measurements(tmp_path)
    timing = Timing(time_s=0.05, low_s=0.04, high_s=0.07, n=7, about={"libvips": "8.18"})
    known.note_timing("a", "cpu, 2 cores", timing)
    known.note_timing(
        "a", "cpu, 2 cores", Timing(time_s=0.06, low_s=0.05, high_s=0.08, n=9, about={})
    )
    found = known.find_timing("a", "cpu, 2 cores")
    assert found is not None
    assert (found.time_s, found.n, found.about) == (0.06, 9, {})
    assert len(found.date) == len("2026-11-26")
    assert known.find_timing("a", "another") is None
    assert known.find_timing("b", "cpu, 2 cores") is None


def test_a_files_hash_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes share one computation; a replaced file of equal size and time is hashed again."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    stat = file.stat()
    computed = []

    def compute(path: Path, _: list[str]) -> dict[str, str]:
        computed.append(path.read_bytes())
        return {"sha256": path.read_bytes().hex()}

    monkeypatch.setattr("rembg_tuner.runtime.this_machine.file_digests", compute)

    def ask() -> str:
        this_machine._digest.cache_clear()  # as in a new process
        now = file.stat()
        return this_machine._digest(
            str(file), now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino
        )

    assert {ask() for _ in range(3)} == {b"one".hex()}
    assert computed == [b"one"]
    other.replace(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ask() == b"two".hex()
    this_machine._digest.cache_clear()


def test_settings_of_another_version_are_left_out(tmp_path: Path) -> None:
    """A row with an unknown knob is left out, and the other rows are still read."""
    known = Measurements(tmp_path)
    note(known, "a", 200)
    with closing(sqlite3.connect(known.path)) as file, file:
        file.execute("INSERT INTO peaks VALUES ('b', '{\"gone\": 1}', 1, 1, 1, 1, 1, 0, '')")
    assert [key for key, _ in known.all_peaks()] == ["a"]
    assert known.find_peak("b") is None


def test_what_was_run_longest_ago_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has a maximum number of rows, and the oldest are removed first."""
    monkeypatch.setattr("rembg_tuner.runtime.measurements._MAX_ROWS", 3)
    known = Measurements(tmp_path)
    for i in range(5):
        note(known, str(i), 200)
        known.note_start(str(i))
    assert (known.counts()["peaks"], known.counts()["starts"]) == (3, 3)


@pytest.mark.parametrize("damage", ["header", "middle", "schema", "journal"])
def test_any_damage_is_repaired(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged first bytes, a damaged later page and another version's table are repaired."""
    known = Measurements(tmp_path)
    for i in range(60):
        note(known, f"{i}" * 100, 200)
    if damage == "schema":
        with closing(sqlite3.connect(known.path)) as tables, tables:
            tables.execute("ALTER TABLE peaks RENAME COLUMN runs TO times")
    else:
        content = bytearray(known.path.read_bytes())
        at = len(content) // 2 if damage == "middle" else 0
        content[at : at + 4000] = b"\xa5" * 4000
        known.path.write_bytes(content)
    if damage == "journal":
        (tmp_path / f"{FILE}-journal").write_bytes(b"\xa5" * 4000)
    if damage == "middle":  # found only when all rows are read
        known.all_peaks()
        known.counts()
    note(known, "a", 200)
    found = known.find_peak("a")
    assert found is not None
    assert (found.peak_bytes, found.runs) == (200 * MIB, 1)
    aside = [path.name for path in tmp_path.iterdir() if path.name.endswith(".damaged")]
    assert aside == [f"{FILE}.damaged"]
    assert f"{FILE} was damaged" in caplog.text


def test_a_full_disk_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write raises an error and leaves the file unchanged."""
    known = Measurements(tmp_path)
    note(known, "a", 200)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def fail(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("rembg_tuner.base.sqlite_files.open_tables", fail)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            note(known, "a", 300)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    found = known.find_peak("a")
    assert found is not None
    assert (found.peak_bytes, found.runs) == (200 * MIB, 1)


def _note_many(folder: Path, word: str) -> None:
    """Record runs from another process."""
    known = Measurements(folder)
    for _ in range(25):
        note(known, "shared", 200)
        note(known, word, 200)


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Each process waits for the other's write, so no run is lost."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_note_many, args=(tmp_path, word)) for word in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    counted = {key: peak.runs for key, peak in Measurements(tmp_path).all_peaks()}
    assert counted == {"shared": 50, "a": 25, "b": 25}
