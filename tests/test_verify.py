"""The command `verify`: a preset measured again and compared with its record.

A figure is inside its range, outside, or not compared.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pyvips
from fake_trial_runner import FakeTrialRunner

from rembg_tuner.base.errors import OutputError, PresetError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.small_matte import SmallMatte
from rembg_tuner.base.units import MIB
from rembg_tuner.base.yaml_files import format_mapping, read_mapping
from rembg_tuner.cli.main import main
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import measured_of_trial
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import find_figures
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import Preset, read_presets
from rembg_tuner.settings.records import Record, RecordedPicture, read_record
from rembg_tuner.settings.results import CONCURRENT_RUN
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.environment import sweep_environment
from rembg_tuner.tuning.measure import DirectTrialRunner, SweepContext, TrialRunner, measure_trial
from rembg_tuner.tuning.record_check import (
    Check,
    MeasuredFigures,
    Ranges,
    compare_with_record,
)
from rembg_tuner.tuning.reference import Reference
from rembg_tuner.tuning.verification import find_pictures

SETTINGS = Settings(engine="onnxruntime", network_size=64)
MATTE = SmallMatte(width=2, height=1, levels=b"\xff\0")
RECORD = Record(
    date="2026-02-03",
    picture="own pictures",
    n=7,
    time_s=0.100,
    small_time_s=None,
    peak_bytes=100 * MIB,
    engine="openvino 2026.1",
    precision="",
    pictures=(RecordedPicture(name="cup.jpg", sha256="0" * 16, matte=MATTE),),
)
FOUND = MeasuredFigures(
    time_s=0.100, small_time_s=None, peak_bytes=100 * MIB, precision="int8", mattes=(MATTE,)
)
MEASURED: dict[str, object] = {
    "date": "2026-02-03",
    "cpu": "AMD EPYC",
    "cores": 2,
    "picture": "a",
    "n": 3,
    "latency_p50_s": 1,
    "peak_rss_mib": 1,
    "engine": "ncnn",
}
ELSEWHERE = Message("measured on another CPU", code="measured_elsewhere")


def states(
    record: Record,
    found: MeasuredFigures,
    ranges: Ranges | None = None,
    elsewhere: Message | None = None,
) -> dict[str, str]:
    """Compare, and return the state of each figure."""
    checks = compare_with_record(record, found, ranges or Ranges(), elsewhere=elsewhere)
    return {check.what: check.state for check in checks}


def save_preset(folder: Path, picture: Path, bench: TrialRunner, **knobs: Any) -> Path:
    """Measure a setting and export it as a preset file."""
    settings = replace(SETTINGS, **knobs)
    with Comparer() as comparer:
        ground = SweepContext(
            pictures=(picture,),
            reference=Reference(name=""),
            folder=folder,
            comparer=comparer,
            rounds=1,
        )
        trial = measure_trial(0, settings, ground, bench)
    assert trial.is_measured, trial.failure
    measured = measured_of_trial(trial, sweep_environment())
    path = folder / "presets.yaml"
    path.write_text(export(settings, "preset", measured=measured, name="mine").text)
    return path


def doctor(path: Path, **figures: object) -> None:
    """Change figures of the record."""
    content: Any = read_mapping(path)
    content["mine"]["measured"] |= figures
    path.write_text(format_mapping(content))


@pytest.fixture
def picture(tmp_path: Path, astronaut: Path) -> Path:
    """Put a picture beside the preset file."""
    return Path(shutil.copy(astronaut, tmp_path / "astronaut.png"))


@pytest.fixture
def saved(tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a preset with fake runs, and use fake runs in verify too."""
    bench = FakeTrialRunner()
    monkeypatch.setattr("rembg_tuner.cli.verify.DirectTrialRunner", lambda *_: bench)
    return save_preset(tmp_path, picture, bench)


# The comparison


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"time_s": 0.125}, {"time": "inside"}),
        ({"time_s": 0.126}, {"time": "outside"}),
        ({"time_s": 0.001, "peak_bytes": MIB}, {"time": "inside", "peak": "inside"}),
        ({"peak_bytes": 110 * MIB}, {"peak": "inside"}),
        ({"peak_bytes": 111 * MIB}, {"peak": "outside"}),
        ({"mattes": (SmallMatte(width=2, height=1, levels=b"\xfd\0"),)}, {"matte": "inside"}),
        ({"mattes": (SmallMatte(width=2, height=1, levels=b"\xfb\0"),)}, {"matte": "outside"}),
        ({"mattes": (SmallMatte(width=1, height=2, levels=b"\xff\0"),)}, {"matte": "outside"}),
        ({"left_out": (Message("no int8 here"),)}, {"settings": "outside"}),
    ],
)
def test_a_figure_and_its_range(found: dict[str, Any], state: dict[str, str]) -> None:
    """More time, more memory or another matte than the range is outside; less is inside."""
    expected = {"time": "inside", "peak": "inside", "matte": "inside"} | state
    assert states(RECORD, replace(FOUND, **found)) == expected


def test_ranges_are_the_users() -> None:
    """The user's ranges replace the default ones."""
    found = replace(
        FOUND,
        time_s=0.15,
        peak_bytes=104 * MIB,
        mattes=(SmallMatte(width=2, height=1, levels=b"\xcc\0"),),
    )
    assert set(states(RECORD, found, Ranges(time=0.5, peak=0.05, matte=0.8)).values()) == {"inside"}
    assert set(states(RECORD, found, Ranges(time=0.4, peak=0.03, matte=0.81)).values()) == {
        "outside"
    }


def test_on_another_cpu_only_mattes_are_compared() -> None:
    """Time and peak are compared only if the user gives a range."""
    found = replace(FOUND, time_s=9, peak_bytes=900 * MIB)
    left = {"time": "not_compared", "peak": "not_compared", "matte": "inside"}
    assert states(RECORD, found, elsewhere=ELSEWHERE) == left
    given = Ranges(is_time_given=True)
    assert states(RECORD, found, given, ELSEWHERE) == left | {"time": "outside"}
    given = Ranges(is_peak_given=True)
    assert states(RECORD, found, given, ELSEWHERE) == left | {"peak": "outside"}


def test_auto_that_is_another_format() -> None:
    """Another format is outside on the same CPU; on another CPU only the matte decides."""
    record = replace(RECORD, precision="fp32")
    assert states(record, FOUND)["precision"] == "outside"
    checks = compare_with_record(record, FOUND, Ranges(), elsewhere=ELSEWHERE)
    assert (checks[0].what, checks[0].state) == ("precision", "not_compared")
    assert str(checks[0].note) == "precision auto is int8 here, and was fp32 in the record"
    assert "precision" not in states(replace(record, precision="int8"), FOUND)


def test_a_small_subject_has_a_time_of_its_own() -> None:
    """Its time is compared if the record has one."""
    record = replace(RECORD, small_time_s=0.2)
    assert states(record, replace(FOUND, small_time_s=0.26))["time_small_subject"] == "outside"


def test_an_older_record_without_mattes() -> None:
    """Time and peak are compared, and a note says that the matte is not."""
    found = compare_with_record(
        replace(RECORD, pictures=()), replace(FOUND, mattes=()), Ranges(), elsewhere=None
    )
    assert [(check.what, check.state) for check in found][-1] == ("matte", "not_compared")
    assert isinstance(found[-1], Check)
    assert found[-1].to_dict()["note"] == {
        "code": "record_without_mattes",
        "message": "the record has no mattes: an older version wrote it",
    }


def test_a_busy_machine_leaves_a_longer_time_out() -> None:
    """Only a time outside its range is left out; memory and mattes are compared as usual."""
    slow = replace(FOUND, time_s=9, peak_bytes=900 * MIB, is_disturbed=True)
    checks = compare_with_record(RECORD, slow, Ranges(), elsewhere=None)
    assert {check.what: check.state for check in checks} == {
        "time": "not_compared",
        "peak": "outside",
        "matte": "inside",
    }
    assert checks[0].note is not None
    assert checks[0].note.code == "time_disturbed"
    assert str(checks[0].note).endswith("run again when it is idle")
    assert states(RECORD, replace(FOUND, is_disturbed=True))["time"] == "inside"


# Records and their pictures


@pytest.mark.parametrize("name", [n for n, preset in read_presets().items() if preset.measured])
def test_the_presets_have_records_with_mattes(name: str) -> None:
    """Each preset can be verified in a checkout.

    The pictures are those of the bench, and their mattes are not empty.
    """
    record = read_record(read_presets()[name])
    assert [one.name for one in record.pictures][:1] == ["1080p"]
    assert len(record.pictures) == (1 if record.small_time_s is None else 2)
    assert all(sum(one.matte.levels) > 255 for one in record.pictures)
    assert all(path.is_file() for path in find_pictures(name, record, ()))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"n": None}, "n must be a whole number of at least 1, got None"),
        ({"n": True}, "n must be a whole number of at least 1, got True"),
        ({"latency_p50_s": "quick"}, "latency_p50_s must be a number of at least 0, got 'quick'"),
        ({"latency_p50_s": math.nan}, "latency_p50_s must be a number of at least 0, got nan"),
        ({"latency_p50_s": -1}, "latency_p50_s must be a number of at least 0, got -1"),
        ({"peak_rss_mib": math.inf}, "peak_rss_mib must be a number of at least 0, got inf"),
        ({"cpu": 3}, "cpu must be text, got 3"),
        ({"cores": [2]}, "cores must be a whole number of at least 1, got [2]"),
        ({"cpu_formats": "bf16"}, "cpu_formats must be a list of text, got 'bf16'"),
        ({"small_subject": 3}, "small_subject must be a mapping, got 3"),
        ({"small_subject": {"share": 0.1, "passes": 2}}, "small_subject.latency_p50_s is missing"),
        ({"pictures": 3}, "pictures must be a list of mappings, got 3"),
        ({"pictures": [{"name": "a"}]}, "matte is missing"),
        ({"pictures": [{"name": "a", "matte": "x"}]}, "a small matte cannot be 'x'"),
    ],
)
def test_a_record_that_does_not_read(figures: dict[str, object], said: str) -> None:
    """An invalid record raises an error with the reason."""
    preset = Preset(
        name="mine", purpose="", values={}, measured={**MEASURED, **figures}, why_not_measured=None
    )
    with pytest.raises(PresetError, match="its record is not valid") as raised:
        read_record(preset)
    assert str(raised.value).startswith("preset mine: its record is not valid: ")
    assert said in str(raised.value)


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_a_record_that_lacks_a_field(name: str) -> None:
    """The missing field is named."""
    measured = {key: value for key, value in MEASURED.items() if key != name}
    preset = Preset(name="mine", purpose="", values={}, measured=measured, why_not_measured=None)
    with pytest.raises(
        PresetError, match=f"^preset mine: its record is not valid: {name} is missing$"
    ):
        read_record(preset)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([1], "bad.yaml: preset 'mine': measured must be a mapping or null, got [1]"),
        ("x", "bad.yaml: preset 'mine': measured must be a mapping or null, got 'x'"),
        (
            {key: value for key, value in MEASURED.items() if key != "cpu"},
            "preset mine: its record is not valid: cpu is missing",
        ),
    ],
)
def test_a_file_whose_record_does_not_read(
    measured: object,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`verify` and `presets` end with one sentence."""
    file = tmp_path / "bad.yaml"
    file.write_text(format_mapping({"mine": {"for": "x", "settings": {}, "measured": measured}}))
    assert main(["verify", str(file)]) == 2
    assert capsys.readouterr().err == f"rembg-tuner: {said}\n"
    monkeypatch.setenv("REMBG_TUNER_PRESETS", str(file))
    read_presets.cache_clear()
    try:
        assert main(["presets"]) == 2
    finally:
        monkeypatch.undo()
        read_presets.cache_clear()
    assert said in capsys.readouterr().err


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error reports that the pictures cannot be written, and no partial file is left."""
    monkeypatch.setattr("rembg_tuner.tuning.bench.pictures.open_cache", lambda: (tmp_path, None))

    def fill(_: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    usual = replace(RECORD, picture="1080p", pictures=())
    with pytest.raises(OutputError, match="cannot be written: the disk is full; free some space"):
        find_pictures("mine", usual, ())
    assert not list((tmp_path / "bench-pictures").iterdir())


def test_a_record_of_own_pictures_needs_them(tmp_path: Path) -> None:
    """The pictures are found by content; an older record does not name them."""
    with pytest.raises(SettingsError, match=r"missing: cup\.jpg"):
        find_pictures("mine", RECORD, [Path(__file__)])
    with pytest.raises(SettingsError, match="does not name its pictures"):
        find_pictures("mine", replace(RECORD, pictures=()), [])
    unknown = replace(RECORD, pictures=(replace(RECORD.pictures[0], sha256=None),))
    with pytest.raises(SettingsError, match=r"cannot make: cup\.jpg"):
        find_pictures("mine", unknown, [])
    with pytest.raises(SettingsError, match="is a folder, not a picture"):
        find_pictures("mine", unknown, [tmp_path])


# The command


def test_verify_finds_the_pictures_beside_the_file(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All figures are inside, and the ranges are shown."""
    assert main(["verify", str(saved)]) == 0
    said = capsys.readouterr().out
    assert "mine: inside the range of its record" in said
    assert "100 ms, recorded 100 ms, at most 125 ms: inside" in said
    assert "100 MiB, recorded 100 MiB, at most 110 MiB: inside" in said
    assert "astronaut.png: overlap 1.0000 with the recorded one, at least 0.99: inside" in said


def test_a_picture_that_was_renamed_is_given(saved: Path, picture: Path) -> None:
    """It is found by content, in a folder too, and another file with its name is not used."""
    moved = picture.rename(picture.with_name("renamed.png"))
    assert main(["verify", str(saved)]) == 2
    assert main(["verify", str(saved), str(moved)]) == 0
    assert main(["verify", str(saved), str(moved.parent)]) == 0
    pyvips.Image.black(8, 8).write_to_file(str(picture))
    assert main(["verify", str(saved)]) == 2


def test_a_picture_that_is_not_there_is_told(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error equals that of `cut`, and a FIFO does not block."""
    assert main(["verify", str(saved), "/no/such.png"]) == 2
    assert capsys.readouterr().err.endswith("/no/such.png does not exist; check the path\n")
    os.mkfifo(tmp_path / "fifo.png")
    assert main(["verify", str(saved), str(tmp_path / "fifo.png")]) == 2
    assert "is not a regular file" in capsys.readouterr().err


def test_a_small_subject_among_own_pictures(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its time is not compared, and the note has the reason."""
    doctor(saved, small_subject={"share": 0.1, "passes": 2, "latency_p50_s": 0.2})
    assert main(["verify", str(saved)]) == 0
    assert "not compared: the time of a small subject is only compared" in capsys.readouterr().out


@pytest.mark.parametrize("warning", [CONCURRENT_RUN, Message("busy", code="machine_busy")])
def test_a_busy_machine_does_not_fail(
    warning: Message, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a disturbed run is not compared with the record."""
    bench = FakeTrialRunner()
    monkeypatch.setattr("rembg_tuner.cli.verify.DirectTrialRunner", lambda *_: bench)
    path = save_preset(tmp_path, picture, bench)
    bench.warnings = (warning,)
    doctor(path, latency_p50_s=0.01)
    assert main(["verify", str(path)]) == 0
    other = path.with_name("other.yaml")  # a process reads a file once
    path.rename(other)
    doctor(other, peak_rss_mib=80)
    assert main(["verify", str(other)]) == 1


def test_figures_that_cannot_be_kept_are_a_warning(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comparison and the exit code do not change."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("rembg_tuner.tuning.verification.note_figures", fail)
    assert main(["verify", str(saved)]) == 0
    said = capsys.readouterr().out
    assert "mine: inside the range of its record" in said
    assert re.search(r"warning +what was measured could not be kept: database is locked", said)
    assert main(["verify", str(saved), "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["verified"]
    assert [one["code"] for one in found["trial"]["warnings"]] == ["figures_not_kept"]


@pytest.mark.parametrize(
    ("figures", "words", "code"),
    [
        ({"latency_p50_s": 0.01}, [], 1),
        ({"latency_p50_s": 0.01}, ["--time-range", "1000%"], 0),
        ({"peak_rss_mib": 80}, [], 1),
        ({"peak_rss_mib": 80}, ["--peak-range", "30"], 0),
        ({"cpu": "another"}, [], 0),
        ({"cpu": "another", "latency_p50_s": 0.01}, [], 0),
        ({"cpu": "another", "latency_p50_s": 0.01}, ["--time-range", "25%"], 1),
        ({"cpu": "another", "pictures": []}, [], 2),
        ({"n": 0, "peak_rss_mib": "x"}, [], 2),
    ],
)
def test_a_doctored_record(
    figures: dict[str, object], words: list[str], code: int, saved: Path
) -> None:
    """A figure outside its range exits with 1, and an invalid comparison with 2."""
    doctor(saved, **figures)
    assert main(["verify", str(saved), *words]) == code


def test_another_matte_is_outside(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another cut-out of the same picture fails on any CPU."""
    content: Any = read_mapping(saved)
    [recorded] = content["mine"]["measured"]["pictures"]
    empty = SmallMatte(width=32, height=32, levels=bytes(1024)).to_text()
    doctor(saved, cpu="another", pictures=[{**recorded, "matte": empty}])
    assert main(["verify", str(saved), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["is_inside"] is False
    [verified] = document["verified"]
    found = {check["what"]: check for check in verified["checks"]}
    assert found["matte"]["state"] == "outside"
    assert found["matte"]["measured"] == 0
    assert found["time"]["state"] == "not_compared"
    assert "measured on another, " in found["time"]["note"]["message"]
    assert verified["ranges"] == {"time": 0.25, "peak": 0.1, "matte": 0.99}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "'nothing' is not a preset or a file of presets"),
        (["studio"], "preset studio has no record: "),
        (
            ["balanced", "--time-range", "-1"],
            "a percentage from 0 to 10,000, such as 25%, is needed",
        ),
        (["balanced", "--time-range", "nan"], "a percentage from 0"),
        (["balanced", "--matte-range", "2"], "a number from 0 to 1 is needed, got '2'"),
        (["balanced", "--rounds", "0"], "a whole number from 1"),
    ],
)
def test_misuse(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command exits with 2 and measures nothing."""
    try:
        code = main(["verify", *words])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_setting_that_fails_is_told(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the reason of the failed run."""
    monkeypatch.setattr("rembg_tuner.cli.verify.DirectTrialRunner", DirectTrialRunner)
    content: Any = read_mapping(saved)
    content["mine"]["settings"]["model"] = "/nowhere/net.onnx"
    saved.write_text(format_mapping(content))
    assert main(["verify", str(saved)]) == 1
    assert "preset mine does not run here: " in capsys.readouterr().err


def test_a_real_worker(tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same setting produces the same matte and peak.

    The record of another network size does not match.
    """
    path = save_preset(tmp_path, picture, DirectTrialRunner())
    record: Any = read_mapping(path)["mine"]
    host = read_host()
    assert record["measured"]["cpu_formats"] == list(host.fast_formats)
    assert record["measured"]["engine"].startswith("onnxruntime 1.")
    words = ["verify", str(path), "--rounds", "1", "--time-range", "10000%"]
    assert main(words) == 0, capsys.readouterr().out
    assert "overlap 1.0000" in capsys.readouterr().out
    kept = find_figures(SETTINGS, read_machine())
    assert kept is not None
    assert (kept.n, kept.is_of_bench) == (1, False)
    content: Any = read_mapping(path)
    content["mine"]["settings"]["network_size"] = 96
    other = path.with_name("other.yaml")  # a process reads a file once
    other.write_text(format_mapping(content))
    assert main(["verify", str(other), *words[2:]]) == 1
    assert "OUTSIDE" in capsys.readouterr().out
