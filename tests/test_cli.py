"""The command line as users type it: arguments in; exit code, output and files out."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from rembg_tuner.cli.console import emit, log, show_progress
from rembg_tuner.cli.flags import history_use
from rembg_tuner.cli.main import build_parser, main
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.runtime.measurements import FILE, Measurements
from rembg_tuner.settings.presets import MORE_PRESETS_VARIABLE, read_presets
from rembg_tuner.settings.settings import KNOBS, Settings, flag_of

ROOT = Path(__file__).parent.parent

if TYPE_CHECKING:
    from collections.abc import Callable

FAST = ["--engine", "onnxruntime", "--network-size", "64"]


def png_with_header(width: int, height: int) -> bytes:
    """Return a PNG whose header declares more pixels than its data contains."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def _misuse_table() -> list[object]:
    """List invalid arguments, and the parts that each message must contain."""
    return [
        pytest.param(["-o", "x.bmp"], ["x.bmp", ".png, .webp, .jpg"], id="unwritten-format"),
        pytest.param(["-o", "x.jpg"], ["JPEG", "--background"], id="jpeg-without-background"),
        pytest.param(
            ["--engine", "openvino", "--mem-pattern"],
            ["mem_pattern", "onnxruntime"],
            id="unhonoured-knob",
        ),
        pytest.param(
            ["--network-size", "100"], ["network_size", "100", "multiple of 32"], id="no-multiple"
        ),
        pytest.param(
            ["--intra-op-threads", "257"],
            ["intra_op_threads", "0 to 256", "257"],
            id="too-many-threads",
        ),
        pytest.param(["--preset", "nope"], ["'nope'", "balanced"], id="unknown-preset"),
        pytest.param(["--background", "puce"], ["'puce'", "#rrggbb"], id="unknown-colour"),
        pytest.param(
            ["--engine", "onnxruntime", "--arena-shrink", "--no-cpu-mem-arena"],
            ["arena_shrink", "cpu_mem_arena"],
            id="cross-field",
        ),
        pytest.param(
            ["--engine", "onnxruntime", "--batch-size", "4"],
            ["batch_size 4", "one at a time", "command batch"],
            id="batch-of-one-picture",
        ),
    ]


@pytest.mark.parametrize(("words", "parts"), _misuse_table())
def test_misuse_exits_2_and_says_what_is_allowed(
    words: list[str], parts: list[str], picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid argument is reported before any work, with its value and the allowed ones."""
    assert main(["cut", str(picture), *words]) == 2
    captured = capsys.readouterr()
    assert all(part in captured.err for part in parts), captured.err
    assert captured.out == ""
    assert sorted(path.name for path in picture.parent.iterdir()) == ["picture.png"]


def test_a_batch_that_only_a_preset_says_is_left_out_with_a_warning(
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`cut` runs one picture at a time; a preset's batch size is ignored with a warning."""
    more = tmp_path / "more.yaml"
    settings = "{engine: onnxruntime, network_size: 64, batch_size: 4}"
    more.write_text(
        f"many: {{for: x, settings: {settings}, measured: null, why_not_measured: x}}\n"
    )
    monkeypatch.setenv(MORE_PRESETS_VARIABLE, str(more))
    read_presets.cache_clear()
    try:
        assert main(["cut", str(picture), "--preset", "many", "--json"]) == 0
    finally:
        read_presets.cache_clear()
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["effective"]["batch_size"] == 1
    assert any(
        "batch_size 4 of the preset is left out" in one["message"] for one in run["warnings"]
    )


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--precision", "fp8"], id="choice"),
        pytest.param(["--max-side", "big"], id="number"),
        pytest.param(["--memory-limit-bytes", "much"], id="size"),
        pytest.param(["--timeout-s", "soon"], id="duration"),
        pytest.param(["--repeat", "0"], id="repeat"),
        pytest.param(["--unknown-flag"], id="unknown-flag"),
    ],
)
def test_a_word_that_does_not_parse_exits_2(
    words: list[str], picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that its flag does not accept exits with 2 and is named."""
    try:
        code = main(["cut", str(picture), *words])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    assert words[-1] in capsys.readouterr().err


@pytest.fixture
def picture(tmp_path: Path, astronaut: Path) -> Path:
    """Return a small picture in its own folder."""
    path = tmp_path / "picture.png"
    with Image.open(astronaut) as image:
        image.resize((128, 128)).save(path)
    return path


def test_every_knob_has_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """`cut --help` lists every knob's flag."""
    with pytest.raises(SystemExit):
        main(["cut", "--help"])
    text = capsys.readouterr().out
    assert [name for name in KNOBS if flag_of(name) not in text] == []


def test_a_cut_out_is_written_beside_the_picture(
    picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without -o the cut-out is <stem>.cutout.png, RGBA, in the picture's size."""
    assert main(["cut", str(picture), *FAST]) == 0
    cutout = picture.with_name("picture.cutout.png")
    with Image.open(cutout) as image:
        assert (image.mode, image.size) == ("RGBA", (128, 128))
    text = capsys.readouterr().out
    assert f"{picture} -> {cutout}" in text
    assert "peak" in text
    assert "MiB" in text


def test_json_is_one_document_ordered_by_picture_then_repeat(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints only the runs, in order; a failure is among them with its kind."""
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    words = ["cut", str(picture), str(tmp_path / "absent.png"), str(other), *FAST]
    assert main([*words, "--repeat", "2", "--json", "-o", str(tmp_path / "out")]) == 1
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [Path(run["input"]).name for run in runs] == [
        "picture.png",
        "picture.png",
        "absent.png",
        "other.png",
        "other.png",
    ]
    assert [run.get("kind") for run in runs] == [None, None, "bad_input", None, None]
    assert [run["run_index"] for run in runs if "kind" not in run][:2] == [0, 1]
    first = runs[0]
    assert first["settings"]["network_size"] == first["effective"]["network_size"] == 64
    # The worker may wait for a CPU between stages, but hardly in each of the four runs.
    beside = [run["total_s"] - sum(run["stages_s"].values()) for run in runs if "kind" not in run]
    assert -0.001 <= min(beside) <= 0.03
    assert first["peak_rss_bytes"] >= first["baseline_rss_bytes"] > 0


def _bad_pictures() -> list[object]:
    """List invalid pictures: how to create each, and a part of its message."""
    jpeg = Path(__file__).parent.parent / "examples" / "coffee.png"
    return [
        pytest.param(lambda p: p.write_bytes(b""), "empty", id="empty"),
        pytest.param(
            lambda p: p.write_bytes(jpeg.read_bytes()[:5000]), "cut short", id="truncated"
        ),
        pytest.param(lambda p: p.write_text("hello"), "not a picture", id="text"),
        pytest.param(lambda p: p.write_text("1,2,3\n4,5,6\n"), "not a picture", id="csv"),
        pytest.param(
            lambda p: p.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
            "not a picture",
            id="svg",
        ),
        pytest.param(
            lambda p: p.write_bytes(png_with_header(30000, 30000)),
            "30000 x 30000 px",
            id="huge-header",
        ),
        pytest.param(lambda p: p.write_bytes(png_with_header(0, 10)), "damaged", id="no-width"),
        pytest.param(lambda p: p.mkdir(), "folder", id="folder"),
        pytest.param(lambda _: None, "does not exist", id="absent"),
    ]


@pytest.mark.parametrize(("make", "part"), _bad_pictures())
def test_a_bad_picture_is_named_and_the_others_are_done(
    make: Callable[[Path], object], part: str, picture: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An invalid picture has one line with its name and leaves no file; the others are done.

    The exit code is 1.
    """
    bad = picture.with_name("bad.jpg")
    make(bad)
    out = picture.parent / "out"
    assert main(["cut", str(bad), str(picture), *FAST, "-o", str(out)]) == 1
    err = capfd.readouterr().err
    assert str(bad) in err
    assert part in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in out.iterdir()] == ["picture.png"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, astronaut: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills during the write is reported, and the partial file is deleted."""
    full = tmp_path / "full"
    full.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(full)], check=False
    ).returncode:
        pytest.skip("this sandbox does not let a file system be mounted")
    try:
        assert main(["cut", str(astronaut), *FAST, "-o", str(full / "x.png")]) == 1
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert "the disk is full" in capfd.readouterr().err


def test_collisions_are_misuse_before_any_work(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal stems, one output for two pictures, and a picture as its own output are misuse."""
    twin = tmp_path / "twin" / "picture.jpg"
    twin.parent.mkdir()
    twin.write_bytes(picture.read_bytes())
    assert main(["cut", str(picture), str(twin), "-o", str(tmp_path / "out")]) == 2
    assert main(["cut", str(picture), str(twin), "-o", str(tmp_path / "out.png")]) == 2
    assert main(["cut", str(picture), "-o", str(picture)]) == 2
    err = capsys.readouterr().err
    assert "would both be written" in err
    assert "names one file for 2 pictures" in err
    assert "take the place of the picture" in err
    assert not (tmp_path / "out").exists()


def test_a_deadline_exits_124(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that exceeds its deadline is ended and reported, with exit code 124."""
    assert main(["cut", str(picture), "--engine", "onnxruntime", "--timeout-s", "1ms"]) == 124
    assert "deadline" in capsys.readouterr().err


def test_a_jpeg_is_written_on_a_colour(picture: Path, tmp_path: Path) -> None:
    """--background #f00 writes an RGB JPEG with red pixels."""
    target = tmp_path / "on-red.jpg"
    assert main(["cut", str(picture), *FAST, "--background", "#f00", "-o", str(target)]) == 0
    with Image.open(target) as image:
        assert image.mode == "RGB"
        pixels = np.asarray(image).astype(int)
    redness = pixels[:, :, 0] - pixels[:, :, 1:].max(axis=2)
    assert int(redness.max()) > 150


def test_interrupted_ends_the_worker_and_exits_130(picture: Path) -> None:
    """SIGINT during the runs exits with 130 and a message, and leaves no worker."""
    command = [sys.executable, "-m", "rembg_tuner", "cut", str(picture), *FAST, "--repeat", "10000"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    while "ran" not in (line := process.stdout.readline()):
        assert line, "the command ended by itself"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in err
    deadline = time.perf_counter() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.perf_counter() < deadline, "the worker outlived its parent"
        time.sleep(0.05)
    assert children


def test_presets_are_listed_with_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """`presets` lists each preset; --json prints the content of the file."""
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    assert main(["presets", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [name for name in content if name not in text] == []
    assert "balanced (default)" in text


def test_doctor_tells_the_machine_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor --json` reports the CPUs, engines, models and providers that exist."""
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["affinity_cpus"] == len(os.sched_getaffinity(0))
    assert [engine["name"] for engine in found["engines"]] == list(ENGINES)
    assert any(
        model["name"] == "u2netp" and model["path"].endswith("u2netp.onnx")
        for model in found["models"]
    )
    assert any(
        provider["name"] == "cpu" and provider["is_present"] for provider in found["providers"]
    )
    absent = [provider for provider in found["providers"] if not provider["is_present"]]
    assert all(provider["detail"] for provider in absent)


def test_doctor_says_where_measurements_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor` shows the number of rows and the file, whose deletion forgets them."""
    monkeypatch.setattr(
        "rembg_tuner.runtime.diagnosis._ask", lambda _: ""
    )  # it takes seconds, and is not tested here
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path))
    Measurements(tmp_path).note_ended("a", Settings(), 1)
    assert main(["doctor"]) == 0
    said = f"1 peaks, 0 trials, 0 timings in {tmp_path / FILE}; deleting this file forgets them"
    assert said in capsys.readouterr().out

    def fail(_: Measurements) -> dict[str, int]:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Measurements, "counts", fail)
    assert main(["doctor"]) == 0
    assert f"measured  {tmp_path / FILE} cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["cut", "batch", "compare", "sweep", "soak"])
def test_commands_that_measure_can_ignore_the_history(command: str, tmp_path: Path) -> None:
    """Each command has the flag --ignore-history, also in its documented synopsis."""
    needed = {"batch": ["-o", str(tmp_path)], "compare": ["--presets", "a,b"]}.get(command, [])
    parser = build_parser(command)
    for flags, history in (([], "own"), (["--ignore-history"], "ignored")):
        assert history_use(parser.parse_args([command, "a.png", *needed, *flags])) == history
    page = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text()
    synopses = re.findall(
        rf"^    rembg-tuner {command} (?!--resume)(.*\n(?:     +.*\n)*)", page, re.MULTILINE
    )
    assert any("[--ignore-history]" in one for one in synopses)


def test_doctor_lines_its_models_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The text about each model starts in the same column, however long the names are."""
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.split("\nmodels\n")[1].splitlines()
    names = [line.split()[0] for line in lines]
    starts = {line.index(line.split()[1]) for line in lines}
    assert starts == {2 + max(map(len, names)) + 1}


@pytest.mark.parametrize("engine", ["onnxruntime", "rembg"])
def test_nothing_is_reported_to_a_librarys_maker(engine: str, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry, which is on by default, leaves no files."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rembg_tuner",
            "cut",
            str(ROOT / "examples" / "coffee.png"),
            "--engine",
            engine,
            "-o",
            str(tmp_path / "out.png"),
        ],
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert [
        str(path) for path in tmp_path.rglob("*") if "microsoft" in str(path.name).lower()
    ] == []


class Terminal(io.StringIO):
    """A stream that reports that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar is shown on standard error below the log lines, and only on a terminal."""
    with show_progress(2, "pictures") as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress(2, "pictures", "a\x1b[31m") as advance:
        advance(1)
        log("a note")
        emit("a result")
        advance(2, 2)
    assert capsys.readouterr().out == "a result\n"
    text = terminal.getvalue()
    assert "\ra note\n" in text
    assert text.endswith("\r")  # the bar is cleared at the end
    assert "\x1b" not in text  # no colour, and no escape sequence of a name
    assert "1/2" in text
