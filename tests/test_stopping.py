"""SIGINT, SIGTERM and SIGHUP: the cleanup of a command, its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.cli.exits import StoppedError, Stops, noting_stops, stoppable
from rembg_tuner.cli.main import main

if TYPE_CHECKING:
    import argparse

pytestmark = pytest.mark.usefixtures("usual_signal_stack")

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
FAST = ["--engine", "onnxruntime", "--network-size", "64"]
CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}

# Sends this process a signal when the import of a module begins, then runs a command.
SIGNALLED = """
import os, signal, sys
wanted = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
if sys.argv[1] == "app.py":
    import runpy
    runpy.run_path(sys.argv[1], run_name="__main__")
from rembg_tuner.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("rembg_tuner.cli.console", "doctor"),
        ("argparse", "doctor"),
        ("rembg_tuner.cli.doctor", "doctor"),
        ("psutil", "doctor"),
        ("rembg_tuner.settings.address_space", "app.py"),
        ("rembg_tuner.web.server.launch", "app.py"),
    ],
)
def test_ctrl_c_while_modules_are_imported_prints_nothing(module: str, command: str) -> None:
    """The process ends at once by SIGINT, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, module, command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_a_command_with_its_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code does not depend on how a library converts the exception."""
    from rembg_tuner.cli import doctor

    def run(_: argparse.Namespace) -> int:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            raise ImportError("numpy could not be imported") from error
        return 0

    monkeypatch.setattr(doctor, "run", run)
    handlers = [signal.getsignal(one) for one in CODES]
    assert main(["doctor"]) == CODES[number]
    word = {129: "hung up", 130: "interrupted", 143: "terminated"}[CODES[number]]
    assert capsys.readouterr().err == f"rembg-tuner: {word}\n"
    assert [signal.getsignal(one) for one in CODES] == handlers


def test_a_repeated_signal_leaves_the_clean_up_alone() -> None:
    """A closing terminal sends SIGHUP twice; the exit code is that of the strongest signal."""
    with stoppable() as stops:
        with pytest.raises(StoppedError, match="hung up"):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert stops.exit_code == 143


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """`nohup` and the background jobs of a shell depend on this."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable() as stops:
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stops.exit_code is None


def test_a_signal_in_a_callback_is_not_lost() -> None:
    """Python drops an exception in __del__, and the command ends nevertheless."""

    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def drop_and_wait() -> None:
        Dropped()
        time.sleep(5)

    with stoppable() as stops, pytest.raises(StoppedError, match="terminated"):
        drop_and_wait()
    assert stops.exit_code == 143


def test_a_first_signal_can_be_noted() -> None:
    """The first signal is recorded, as a stress test needs; the second one raises an error."""
    with stoppable(), noting_stops() as noted:
        signal.raise_signal(signal.SIGTERM)
        assert noted == [signal.SIGTERM]
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGINT)


def test_a_fork_of_a_librarys_ends_silently() -> None:
    """A forked process has nothing to clean up and prints no traceback."""
    with stoppable():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert Stops().exit_code is None


def begin(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a command with its own folder for temporary files."""
    (folder / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "rembg_tuner", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
    )


def children_of(pid: int) -> list[str]:
    """List the children of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send a signal, wait for the end, and check that no child process is left."""
    children = children_of(process.pid)
    assert children
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == CODES[number], err
    assert "Traceback" not in err
    deadline = time.perf_counter() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.perf_counter() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    return out, err


def test_a_terminated_cut_leaves_neither_worker_nor_temporary_file(tmp_path: Path) -> None:
    """The command is terminated during a run, and the finished output is kept."""
    out = tmp_path / "out.png"
    process = begin(["cut", str(COFFEE), *FAST, "--repeat", "10000", "-o", str(out)], tmp_path)
    assert process.stdout is not None
    while "ran" not in (line := process.stdout.readline()):
        assert line, "the command ended by itself"
    end(process, signal.SIGTERM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_terminated_stress_test_writes_what_it_found(tmp_path: Path) -> None:
    """The test ends after the current run and writes its results."""
    words = ["soak", str(COFFEE), *FAST, "--runs", "10000", "--idle", "0s", "-o", str(tmp_path)]
    process = begin(words, tmp_path)
    assert process.stderr is not None
    while "20/10000" not in (line := process.stderr.readline()):
        assert line, "the command ended by itself"
    out, _ = end(process, signal.SIGTERM)
    assert "cancelled" in out
    assert (tmp_path / "soak.json").is_file()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_terminated_sweep_keeps_its_trials(tmp_path: Path) -> None:
    """The report has the measured trials, and the message suggests --resume."""
    folder = tmp_path / "sweep"
    axes = ["--engine", "onnxruntime", "--network-size", "64,96,128", "--spinning", "on,off"]
    words = ["sweep", str(COFFEE), *axes, "--rounds", "1", "--confirm", "0", "-o", str(folder)]
    process = begin(words, tmp_path)
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("1/6"):
        assert line, "the command ended by itself"
    while not children_of(process.pid):
        time.sleep(0.01)
    _, err = end(process, signal.SIGTERM)
    assert "terminated; 1 trial kept, continue with" in err
    assert "--resume" in err
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "trials.json", "trials.sqlite", "plan.json"} <= names
    assert [name for name in names if name.startswith(".")] == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_terminated_batch_counts_what_was_not_run(tmp_path: Path) -> None:
    """The JSON document is written, and each input is counted as done or not run."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i}.png").symlink_to(COFFEE)
    out = tmp_path / "out"
    process = begin(["batch", str(folder), *FAST, "-o", str(out), "--json"], tmp_path)
    deadline = time.perf_counter() + 60
    while len(list(out.glob("[0-9]*.png"))) < 3:
        assert time.perf_counter() < deadline
        time.sleep(0.01)
    text, _ = end(process, signal.SIGTERM)
    summary = json.loads(text)["summary"]
    assert summary["inputs"] == 200 == summary["done"] + summary["not_run"]
    assert 1 <= summary["done"] < 200
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
