"""The times of number formats on this machine.

How they are stored and found, and how `precision auto` uses them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.models.agreement import AgreementWithFp32
from rembg_tuner.runtime.measurements import Measurements, Timing
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import find_times, note_times
from rembg_tuner.settings.machine import Machine, times_key
from rembg_tuner.settings.precision import rank_formats
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AUTO = Settings(engine="openvino", precision="auto")
HOLDS = AgreementWithFp32(mae=0.003, iou=0.98, pictures=9)
BREAKS = AgreementWithFp32(mae=0.3, iou=0.1, pictures=9)


def machine(times_s: Mapping[str, float], **formats: AgreementWithFp32 | None) -> Machine:
    """Return a machine with fp32, bf16 and int8; `formats` replaces the agreement of a format."""
    known = {"int8": HOLDS, "bf16": HOLDS, **formats}
    return replace(
        read_machine(),
        precisions=frozenset({"fp32", "bf16", "int8"}),
        agreement=lambda _model, _engine, precision: known.get(precision),
        timing=lambda _key, _kind: times_s,
    )


def test_times_are_kept_for_a_key_and_a_machine(tmp_path: Path) -> None:
    """Another version, other files or another CPU has no times."""
    key = times_key([["u2netp", 4], None], "openvino", "2026.4")
    assert note_times(tmp_path, key, "a CPU", {"int8": 0.1, "fp32": 0.2}, 6) == {
        "int8": 0.1,
        "fp32": 0.2,
    }
    assert find_times(tmp_path, key, "a CPU") == {"int8": 0.1, "fp32": 0.2}
    assert find_times(tmp_path, key, "another CPU") == {}
    assert (
        find_times(tmp_path, times_key([["u2netp", 4], None], "openvino", "2027.1"), "a CPU") == {}
    )
    assert (
        find_times(tmp_path, times_key([["u2netp", 5], None], "openvino", "2026.4"), "a CPU") == {}
    )


@pytest.mark.parametrize("value", [None, "x", 0, -1.0, True, float("inf")])
def test_a_damaged_row_was_not_timed(tmp_path: Path, value: object) -> None:
    """Times with an invalid value are ignored."""
    about: dict[str, object] = {"times_s": {"int8": 0.1, "fp32": value}}
    Measurements(tmp_path).note_timing(
        "k", "m", Timing(time_s=0.1, low_s=0.1, high_s=0.1, n=6, about=about)
    )
    assert find_times(tmp_path, "k", "m") == {}


def test_noise_is_not_kept(tmp_path: Path) -> None:
    """A second timing within the margin changes nothing, and one outside it replaces the first."""
    note_times(tmp_path, "k", "m", {"int8": 0.109, "fp32": 0.100}, 6)
    assert note_times(tmp_path, "k", "m", {"int8": 0.112, "fp32": 0.100}, 6)["int8"] == 0.109
    assert note_times(tmp_path, "k", "m", {"int8": 0.200, "fp32": 0.100}, 6)["int8"] == 0.200


@pytest.mark.parametrize(
    ("times_s", "formats", "chosen", "is_timed"),
    [
        ({}, {}, "int8", False),
        ({"int8": 1.0, "bf16": 2.0, "fp32": 3.0}, {}, "int8", True),
        ({"int8": 3.0, "bf16": 2.0, "fp32": 1.0}, {}, "fp32", True),
        ({"int8": 3.0, "bf16": 1.0, "fp32": 2.0}, {}, "bf16", True),
        ({"int8": 1.05, "bf16": 2.0, "fp32": 1.0}, {}, "int8", True),
        ({"int8": 3.0, "fp32": 1.0}, {}, "int8", False),  # bf16 was not timed
        ({"int8": 3.0, "fp32": 1.0}, {"bf16": BREAKS}, "fp32", True),
        ({"int8": 1.0, "bf16": 9.0, "fp32": 3.0}, {"int8": BREAKS}, "fp32", True),
        ({"int8": 1.0, "bf16": 9.0, "fp32": 3.0}, {"int8": None, "bf16": None}, "fp32", False),
    ],
)
def test_auto_is_the_fastest_that_agrees(
    times_s: dict[str, float],
    formats: dict[str, AgreementWithFp32 | None],
    chosen: str,
    is_timed: bool,
) -> None:
    """`auto` is the fastest format if every candidate was timed here; else as recorded."""
    here = machine(times_s, **formats)
    found = rank_formats(AUTO, here)
    assert (found.chosen, found.is_timed) == (chosen, is_timed)
    assert resolve(AUTO, here).precision == chosen


def test_another_format_than_recorded_is_said() -> None:
    """The note has both times; without a difference to the record there is no note."""
    slow = machine({"int8": 0.03, "bf16": 0.04, "fp32": 0.02})
    [note] = resolve(AUTO, slow).notes
    assert note.code == "auto_timed"
    assert (
        str(note)
        == "precision auto is fp32, as timed on this machine: fp32 took 20 ms, int8 took 30 ms"
    )
    assert resolve(AUTO, machine({"int8": 0.01, "bf16": 0.04, "fp32": 0.02})).notes == ()
    assert resolve(AUTO, machine({})).notes == ()


def test_a_format_that_should_not_be_faster_is_a_candidate_where_it_was_timed() -> None:
    """The bf16 of ncnn is slower than fp32 where it was recorded, but may be faster elsewhere."""
    settings = Settings(engine="ncnn", precision="auto")
    assert rank_formats(settings, machine({})).chosen == "fp32"
    assert rank_formats(settings, machine({"bf16": 1.0, "fp32": 2.0})).chosen == "bf16"


def test_the_database_is_read_with_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are found for the same number of CPUs; an unreadable database has none."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path))
    here = read_machine()
    note_times(tmp_path, here.times_key("u2netp", "openvino"), here.kind, {"fp32": 0.5}, 3)
    assert read_machine().format_times("u2netp", "openvino") == {"fp32": 0.5}
    assert replace(here, cpus=here.cpus + 1).format_times("u2netp", "openvino") == {}
    assert here.format_times("no-such-model", "openvino") == {}

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("rembg_tuner.runtime.timings.Measurements.find_timing", fail)
    assert read_machine().format_times("u2netp", "openvino") == {}
