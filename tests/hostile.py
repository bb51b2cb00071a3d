"""The real worker with faults on request; test_runner starts it as a child and never imports it.

`HOSTILE_START` names a fault that occurs before the worker serves. The stem of a picture's name
names a fault that occurs in its run. Every other picture is cut out as usual.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.worker import pipeline, worker
from rembg_tuner.worker.pipeline import Job, Outcome, Stages

ENGINE, REQUEST_FD, RESULT_FD = sys.argv[-3], *(int(word) for word in sys.argv[-2:])
REAL_RUN = pipeline.run_job
LONG_S = 60.0
MIB = 2**20


def say(line: bytes) -> None:
    """Write bytes where only messages are expected."""
    os.write(RESULT_FD, line)


def say_and_sleep(line: bytes) -> None:
    """Write bytes where only messages are expected, then hang."""
    say(line)
    time.sleep(LONG_S)


def say_and_end(line: bytes) -> None:
    """Write bytes where only messages are expected, then exit with code 0."""
    say(line)
    os._exit(0)


def say_for_ever(piece: bytes) -> None:
    """Write the same bytes repeatedly, without end."""
    while True:
        say(piece)


def close_and_sleep() -> None:
    """Close the result pipe and stay alive."""
    os.close(RESULT_FD)
    time.sleep(LONG_S)


def die_of_memory() -> None:
    """Raise MemoryError."""
    raise MemoryError


def go_wrong_unforeseen() -> None:
    """Raise an unexpected error."""
    raise KeyError("boom")


def last_words() -> None:
    """Write the reason to fd 2, then exit with code 3."""
    os.write(2, b"something before\nthe sky is falling\n")
    os._exit(3)


def die_while_reading_ahead() -> None:
    """Make the worker kill itself when it starts to read a picture ahead."""
    from rembg_tuner.worker import read_ahead

    setattr(read_ahead, "begin", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010


STAGE = json.dumps({"event": "stage", "stage": "predict"}).encode() + b"\n"
READY = json.dumps({"event": "ready", "versions": {}, "ready_at": 0.0}).encode() + b"\n"
AT_START: dict[str, Callable[[], None]] = {
    "exit": lambda: os._exit(7),
    "rubbish": lambda: say_and_sleep(b"Hello from a library!\n"),
    "endless": lambda: say_for_ever(b"x" * 65536),
    "empty": lambda: say_and_sleep(b'{"event": "ready"}\n'),
    "list": lambda: say_and_sleep(b"[1, 2]\n"),
    "unknown": lambda: say_and_sleep(b'{"event": "joy"}\n'),
    "ready-then-end": lambda: say_and_end(READY),
    "dies-reading-ahead": die_while_reading_ahead,
}
IN_RUN: dict[str, Callable[[], None]] = {
    "abort": os.abort,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": last_words,
    "rubbish": lambda: say_and_sleep(b"\x00\xff rubbish\n"),
    "half": lambda: say_and_end(b'{"event": "do'),
    "half-and-hang": lambda: say_and_sleep(b'{"event": "do'),
    "hollow": lambda: say_and_sleep(b'{"event": "done"}\n'),
    "close": close_and_sleep,
    "hang": lambda: time.sleep(LONG_S),
    "chatter": lambda: say_for_ever(STAGE),
    "memory": die_of_memory,
    "unforeseen": go_wrong_unforeseen,
}
# Faults that do no harm: the run continues.
BESIDE_A_RUN: dict[str, Callable[[], object]] = {
    "noise": lambda: [os.write(1, b'{"event": "done"}\n' * 1000) for _ in range(100)],
    "flood": lambda: [os.write(2, b"warning: deprecated\n" * 50_000) for _ in range(8)],
    "heavy": lambda: bytearray(b"\x01") * (200 * MIB),
}


def nap(stages: Stages) -> Outcome:
    """Sleep for 50 ms instead of a run."""
    with stages.stage("predict"):
        time.sleep(0.05)
    return Outcome(
        stages_s=stages.seconds,
        renamed_at=time.perf_counter(),
        cpu_s=0.0,
        output_bytes=1,
        warnings=(),
    )


def run_job(job: Job, *rest: object) -> Outcome:
    """Replace the worker's `run_job`: cause the fault that the picture's stem names."""
    name = Path(job.input).stem
    stages = rest[-1]
    assert isinstance(stages, Stages)
    if name == "nap":
        return nap(stages)
    if name in IN_RUN:
        with stages.stage("predict"):
            IN_RUN[name]()
    if name in BESIDE_A_RUN:
        BESIDE_A_RUN[name]()
    return REAL_RUN(job, *rest)  # type: ignore[arg-type]  # handed on as it came


if __name__ == "__main__":
    AT_START.get(os.environ.get("HOSTILE_START", ""), lambda: None)()
    setattr(worker, "run_job", run_job)  # noqa: B010  # the name that the worker imported
    worker.main(ENGINE, REQUEST_FD, RESULT_FD)
