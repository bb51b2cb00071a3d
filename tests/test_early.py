"""The worker that is launched before the command line is imported.

Which engine it has, which command uses it, and that none is left.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from rembg_tuner.cli.early import guess_engine, launch_early
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.runtime.launching import EarlyWorker, launch_worker
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import (
    DEFAULT_PRESET,
    MORE_PRESETS_VARIABLE,
    find_preset,
    read_presets,
)
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
# Runs `main` as the installed script does; writes the processes that it spawns, and when, to
# standard error. The first argument is a module, and code to execute before its import.
SPIED = """
import os, signal, sys
wanted, action = sys.argv.pop(1).split(":", 1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            exec(action)
sys.meta_path.insert(0, Finder())
real = os.posix_spawn
def spawn(path, words, environment, **rest):
    pid = real(path, words, environment, **rest)
    if "-c" in words:  # a worker, and not the process that converts its model
        when = "late" if "argparse" in sys.modules else "early"
        sys.stderr.write(f"spawned {words[4]} {pid} {when}\\n")
    return pid
os.posix_spawn = spawn
from rembg_tuner.cli.main import main
sys.exit(main())
"""


def spied(
    *words: str, action: str = "nothing:pass"
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run a command line; return it, and the workers that it spawned.

    Each worker has its engine, its process id, and `early` or `late`.
    """
    done = subprocess.run(
        [sys.executable, "-c", SPIED, action, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    lines = [line.split() for line in done.stderr.splitlines()]
    return done, [line[1:] for line in lines if line[:1] == ["spawned"]]


def is_running(pid: int) -> bool:
    """Return whether a process runs; an orphan is a zombie until the first process reaps it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_gone_soon(pid: int) -> bool:
    """Wait up to 20 s for a process to end; return whether it ended."""
    end = time.perf_counter() + 20
    while is_running(pid) and time.perf_counter() < end:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that replaces Python by a shell script."""

    def put(script: str) -> None:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    return put


# The choice of the engine


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        pytest.param("cut a.png", "openvino", id="default"),
        pytest.param("batch pictures -o out", "openvino", id="batch"),
        pytest.param("cut a.png --engine onnxruntime", "onnxruntime", id="engine"),
        pytest.param(
            "cut a.png --engine=ncnn --engine=onnxruntime", "onnxruntime", id="last-engine"
        ),
        pytest.param("cut a.png --preset edge", "onnxruntime", id="preset"),
        pytest.param("cut a.png --preset=edge --engine openvino", "openvino", id="both"),
        pytest.param("cut a.png --model u2net", "openvino", id="model"),
        pytest.param("cut a.png --preset article-light", None, id="stock-preset"),
        pytest.param("cut a.png --engine rembg", None, id="stock"),
        pytest.param("cut a.png --engine tvm", None, id="no-engine"),
        pytest.param("cut a.png --help", None, id="help"),
        pytest.param("cut a.png --hel", None, id="short-help"),
        pytest.param("cut", None, id="no-picture"),
        pytest.param("doctor --json", None, id="other-command"),
        pytest.param("--version", None, id="version"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_engine_is_guessed_by_the_words(words: str, engine: str | None) -> None:
    """The engine is guessed only if a worker is needed, and never for the stock pipeline."""
    assert guess_engine(words.split()) == engine


@pytest.mark.parametrize("name", list(read_presets()))
def test_the_guess_is_right_for_every_preset(name: str) -> None:
    """The simple reading of presets.yaml finds the same engine as the complete one."""
    engine = requested_settings(find_preset(name), {}, read_machine())[0].engine
    assert guess_engine(["cut", "a.png", "--preset", name]) == (
        None if engine == STOCK_ENGINE else engine
    )
    if name == DEFAULT_PRESET:
        assert guess_engine(["cut", "a.png"]) == engine


def test_the_guess_knows_every_engine() -> None:
    """Every engine except the stock pipeline is guessed by its name."""
    for name, spec in ENGINES.items():
        assert guess_engine(["cut", "a.png", "--engine", name]) == (None if spec.is_stock else name)


def test_presets_of_ones_own_are_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's preset file comes first; an unreadable one is left for the command to report."""
    own = tmp_path / "own.yaml"
    own.write_text("balanced:\n  for: me\n  settings:\n    engine: onnxruntime\n", encoding="utf-8")
    monkeypatch.setenv(MORE_PRESETS_VARIABLE, str(own))
    assert guess_engine(["cut", "a.png"]) == "onnxruntime"
    own.write_bytes(b"\xff\xfe")
    assert guess_engine(["cut", "a.png"]) == "openvino"


def test_nothing_is_launched_within_a_limit_or_without_the_usual_descriptors(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`main` reports these cases itself."""
    stand_in("sleep 60")

    def fail(_: int) -> None:
        raise OSError(errno.EBADF, "closed")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _: (2**30, resource.RLIM_INFINITY))
        assert launch_early(["cut", "a.png"]).started_at is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail)
        assert launch_early(["cut", "a.png"]).started_at is None
    with launch_early(["cut", "a.png"]) as early:
        assert early.started_at is not None


# The process


def test_a_worker_inherits_its_own_descriptors_only(
    stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    """Inheritable descriptors of this process and the ends of other pipes are not inherited."""
    told = tmp_path / "told"
    stand_in(f'ls /proc/self/fd > "{told}"')
    out, into = os.pipe()
    os.set_inheritable(into, True)  # noqa: FBT003  # it takes no keyword
    first = launch_worker("openvino", dict(os.environ))
    assert first.wait(20) == 0
    second = launch_worker("openvino", dict(os.environ))  # while the first one's pipes are open
    assert second.wait(20) == 0
    for descriptor in (out, into):
        os.close(descriptor)
    for one in (first, second):
        assert os.read(one._open[2], 1) == b""  # no other process has the pipe's other end
        one.close()
    *kept, listing = told.read_text(encoding="ascii").split()
    assert kept == ["0", "1", "2", "3", "4"]
    assert listing == "5"


def test_a_descriptor_beyond_the_limit_of_open_files_does_no_harm(
    stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    """A descriptor opened before the limit was lowered is not inherited either."""
    told = tmp_path / "told"
    stand_in(f'ls /proc/self/fd > "{told}"')
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    far = fcntl.fcntl(0, fcntl.F_DUPFD, limits[0] - 1)
    os.set_inheritable(far, True)  # noqa: FBT003  # it takes no keyword
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0] - 1, limits[1]))
    try:
        worker = launch_worker("openvino", dict(os.environ))
        assert worker.wait(20) == 0
        worker.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(far)
    assert str(far) not in told.read_text(encoding="ascii").split()


def test_a_worker_that_cannot_be_started_loses_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the launch fails, all descriptors are closed; the runner starts another worker."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    before = sorted(Path("/proc/self/fd").iterdir())
    assert launch_early(["cut", "a.png"]).started_at is None
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_log_goes_where_temporary_files_go(
    monkeypatch: pytest.MonkeyPatch, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    """If TMPDIR names a missing folder, the log is in another one."""
    stand_in("echo the last line")
    for folder in (tmp_path, tmp_path / "absent"):
        monkeypatch.setenv("TMPDIR", str(folder))
        worker = launch_worker("openvino", dict(os.environ))
        worker.wait(20)
        assert os.pread(worker.log, 100, 0) == b"the last line\n"
        worker.close()
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_a_worker_is_taken_once_and_only_for_its_engine(stand_in: Callable[[str], None]) -> None:
    """A worker that is not taken, or is of another engine, is killed and leaves no zombie."""
    stand_in("exec sleep 60")
    workers = [launch_worker("ncnn", dict(os.environ)) for _ in range(3)]
    pids = [worker.pid for worker in workers]
    with EarlyWorker("ncnn", workers[0]) as early:
        assert early.started_at == workers[0].started_at
        assert early.take("ncnn") is workers[0]
        assert early.take("ncnn") is None
    assert workers[0].poll() is None
    workers[0].close()
    with EarlyWorker("ncnn", workers[1]) as early:
        assert early.take("openvino") is None
        assert workers[1].exit_code == -signal.SIGKILL
    with EarlyWorker("ncnn", workers[2]):
        pass
    assert [worker.exit_code for worker in workers] == [-signal.SIGKILL] * 3
    assert not any(psutil.pid_exists(pid) for pid in pids)


# The command


def test_a_cut_takes_the_worker_that_was_launched_first(tmp_path: Path) -> None:
    """`cut` starts one worker in all; it uses the permitted CPUs and reports its start time."""
    one_cpu = "argparse:os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])"
    done, spawned = spied(
        "cut",
        str(COFFEE),
        "-o",
        str(tmp_path / "out.png"),
        "--json",
        action=one_cpu if sys.platform == "linux" else "nothing:pass",
    )
    assert done.returncode == 0, done.stderr
    assert [(engine, when) for engine, _, when in spawned] == [("openvino", "early")]
    run = json.loads(done.stdout)["runs"][0]
    assert 0 < run["start_s"] < 60
    if sys.platform == "linux":
        assert run["effective"]["intra_op_threads"] == 1
    assert not psutil.pid_exists(int(spawned[0][1]))


def test_a_wrong_guess_is_ended_and_the_right_worker_started(tmp_path: Path) -> None:
    """The guess does not recognise an abbreviated flag."""
    done, spawned = spied(
        "cut",
        str(COFFEE),
        "-o",
        str(tmp_path / "out.png"),
        "--eng",
        "onnxruntime",
        "--network-size",
        "64",
    )
    assert done.returncode == 0, done.stderr
    assert [(engine, when) for engine, _, when in spawned] == [
        ("openvino", "early"),
        ("onnxruntime", "late"),
    ]
    assert "onnxruntime" in done.stdout
    assert not any(psutil.pid_exists(int(pid)) for _, pid, _ in spawned)


@pytest.mark.parametrize(
    ("words", "code", "count"),
    [
        pytest.param(["cut", "a.png", "--no-such"], 2, 1, id="misuse"),
        pytest.param(["cut", "a.png", "-o", "out.bmp"], 2, 1, id="bad-output"),
        pytest.param(["cut", "--help"], 0, 0, id="help"),
    ],
)
def test_a_command_that_runs_nothing_leaves_no_worker(
    words: list[str], code: int, count: int
) -> None:
    """The worker ends before the command."""
    done, spawned = spied(*words)
    assert (done.returncode, len(spawned)) == (code, count), done.stderr
    assert not any(psutil.pid_exists(int(pid)) for _, pid, _ in spawned)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_a_worker_ends_with_a_command_that_is_ended_while_it_imports(
    number: str, tmp_path: Path
) -> None:
    """The command ends at once, and the worker when its pipe closes."""
    words = ("cut", str(COFFEE), "-o", str(tmp_path / "out.png"))
    done, spawned = spied(*words, action=f"argparse:os.kill(os.getpid(), signal.{number})")
    assert done.returncode == -signal.Signals[number]
    assert "Traceback" not in done.stderr
    assert is_gone_soon(int(spawned[0][1]))
