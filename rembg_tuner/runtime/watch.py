"""Wait for an event of a worker; sample it meanwhile, and enforce its limits."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.child_process import ChildGoneError, InvalidAnswerError, invalid_answer
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.limits import over_limit
from rembg_tuner.runtime.meter import SAMPLING_INTERVAL_S
from rembg_tuner.settings.host import oom_kill_count

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from rembg_tuner.base.child_process import ChildProcess
    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.runtime.meter import Meter
    from rembg_tuner.settings.results import FailureKind, Sample

CANCEL_GRACE_S = 0.4  # an engine that can stop does so within 30 ms
_MAX_CURVE_POINTS = 300
_CPU_EVERY_SAMPLES = 10  # CPU time is read at 5 Hz: it costs as much as reading the memory


# The required fields of each event; see `worker.worker`.
_CONTENT = {
    "ready": {"versions", "ready_at"},
    "loaded": {"load_s", "effective", "warnings"},
    "stage": {"stage"},
    "done": {
        "stages_s",
        "renamed_at",
        "cpu_s",
        "output_bytes",
        "warnings",
        "picture_bytes",
        "focus",
    },
    "done_together": {"outcomes"},
    "failed": {"kind", "message", "stage"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run.

    Attributes:
        stage: start, load, or a stage of the run.
        sample: the newest sample; None before the worker runs.
        baseline_rss_bytes: memory of the worker before it loaded the model; None until known.
    """

    stage: str
    sample: Sample | None
    baseline_rss_bytes: int | None = None


class FailedRunError(Exception):
    """A failed run: the kind, message and stage of its Failure."""

    def __init__(self, kind: FailureKind, message: Message, stage: str) -> None:
        """Store the values of the Failure."""
        self.message = message
        super().__init__(str(self.message))
        self.kind, self.stage = kind, stage


class DiedIdleError(FailedRunError):
    """A warm worker ended before the run, so this picture is not the cause."""


class OverLimitError(FailedRunError):
    """A worker was killed at its memory limit; `reached_bytes` is its memory at that time."""

    def __init__(self, message: Message, stage: str, *, reached_bytes: int) -> None:
        """Store the values of the Failure and the reached bytes."""
        super().__init__("out_of_memory", message, stage)
        self.reached_bytes = reached_bytes


@dataclass(slots=True, kw_only=True)
class Watch:
    """Waits for one event of a worker, and enforces the limits meanwhile.

    Attributes:
        process, meter: the worker.
        cancel: set to stop the run.
        stage: the stage of the run, reported by the worker.
        deadline_s: maximum seconds after `started_at`; `deadline_text` is the message afterwards.
        memory_limit: the limit at which the worker is killed; None: no limit.
        on_progress: called with every sample.
        baseline_rss_bytes: memory of the worker before it loaded the model.
        is_warm: whether the worker has run before, so that its end may have another cause than this
            picture.
    """

    process: ChildProcess
    meter: Meter
    cancel: threading.Event
    stage: str
    deadline_s: float
    deadline_text: Message
    memory_limit: MemoryLimit | None
    on_progress: Callable[[Progress], None] | None
    baseline_rss_bytes: int | None = None
    started_at: float = field(default_factory=time.perf_counter)
    curve: list[tuple[float, int]] = field(default_factory=list)
    samples: int = 0
    is_warm: bool = False
    is_heard: bool = False
    cancelled_at: float | None = None

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait for an event, and take samples meanwhile.

        Raises:
            FailedRunError: the worker failed, ended, exceeded a limit, or was cancelled.
        """
        while True:
            try:
                message = receive_event(self.process, SAMPLING_INTERVAL_S)
            except ChildGoneError as error:
                raise self.death(error) from error
            if message is None:
                self._look()
                continue
            self.is_heard = True
            if message["event"] == event:
                self._sample()
                return message
            if message["event"] == "stage":
                self.stage = message["stage"]
                self._look()
            elif message["event"] == "failed":
                raise FailedRunError(message["kind"], message["message"], message["stage"])

    def request(self, request: dict[str, Any], event: str) -> dict[str, Any]:
        """Send a request, and wait for the event that ends it.

        Raises:
            FailedRunError: see `wait_for`.
        """
        try:
            self.process.send(request)
        except ChildGoneError as error:
            raise self.death(error) from error
        return self.wait_for(event)

    def _sample(self) -> Sample | None:
        """Take a sample and report it."""
        sample = self.meter.sample(
            self.started_at,
            with_cpu=self.on_progress is not None and self.samples % _CPU_EVERY_SAMPLES == 0,
        )
        self.samples += 1
        if sample is not None:
            self.curve.append((round(sample.t_s, 4), sample.rss_bytes))
            if self.on_progress is not None:
                progress = Progress(
                    stage=self.stage, sample=sample, baseline_rss_bytes=self.baseline_rss_bytes
                )
                self.on_progress(progress)
        return sample

    def _look(self) -> None:
        """Take a sample and check the limits.

        Raises:
            FailedRunError: a limit was exceeded, or the run was cancelled and the engine did not
                stop in time.
        """
        sample, now = self._sample(), time.perf_counter()
        limit = self.memory_limit
        if limit is not None and sample is not None and sample.rss_bytes > limit.size_bytes:
            self.process.kill()
            raise OverLimitError(
                over_limit(sample.rss_bytes, limit),
                self.stage,
                reached_bytes=sample.rss_bytes,
            )
        if now - self.started_at > self.deadline_s:
            self.process.kill()
            raise FailedRunError("timeout", self.deadline_text, self.stage)
        if self.cancelled_at is not None and now - self.cancelled_at > CANCEL_GRACE_S:
            self.process.kill()
            raise FailedRunError("cancelled", Message("the run was cancelled"), self.stage)
        if self.cancel.is_set() and self.cancelled_at is None:
            self.cancelled_at = now
            try:
                self.process.send({"op": "cancel"})
            except ChildGoneError as error:
                raise self.death(error) from error

    def death(self, error: ChildGoneError) -> FailedRunError:
        """Return the error of a worker that has ended, and kill its process."""
        failure = DiedIdleError if self.is_warm and not self.is_heard else FailedRunError
        if isinstance(error, InvalidAnswerError):
            self.process.kill()
            said = Message("{what}, and was ended", what=error.message)
            return failure("crash", said, self.stage)
        how = self.process.exit_reason()
        for_memory = _was_killed_for_memory(self.process)
        self.process.kill()
        if for_memory:
            return failure(
                "out_of_memory",
                Message(
                    "the system ran out of memory and killed the worker; choose a smaller setting, "
                    "or give it more memory"
                ),
                self.stage,
            )
        return failure("crash", how, self.stage)

    def thinned_curve(self) -> tuple[tuple[float, int], ...]:
        """Return at most 300 points, the highest of each interval."""
        step = -(-len(self.curve) // _MAX_CURVE_POINTS)
        if step <= 1:
            return tuple(self.curve)
        return tuple(
            max(self.curve[i : i + step], key=lambda point: point[1])
            for i in range(0, len(self.curve), step)
        )


def receive_event(worker: ChildProcess, timeout_s: float) -> dict[str, Any] | None:
    """Wait for one event; None: the time-out has passed.

    Raises:
        ChildGoneError: the worker closed its end of the pipe, which happens when it ends.
        InvalidAnswerError: the worker wrote something else than an event.
    """
    content = worker.receive(timeout_s)
    return None if content is None else read_event(content)


def read_event(content: dict[str, Any]) -> dict[str, Any]:
    """Check an event, and parse its messages.

    Raises:
        InvalidAnswerError: it is not an event.
    """
    event = content.get("event")
    try:
        if isinstance(event, str) and _CONTENT.get(event, {"unknown event"}) <= content.keys():
            return _with_messages(content)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise invalid_answer(json.dumps(content).encode())


def _with_messages(content: dict[str, Any]) -> dict[str, Any]:
    """Return an event or an outcome with its failure and warnings as `Message`s.

    Raises:
        ValueError, TypeError, AttributeError: they are not messages.
    """
    read = dict(content)
    if "message" in read:
        read["message"] = Message.from_json(read["message"])
    if "warnings" in read:
        read["warnings"] = tuple(Message.from_json(one) for one in read["warnings"])
    if "outcomes" in read:
        read["outcomes"] = [_with_messages(one) for one in read["outcomes"]]
    return read


def _was_killed_for_memory(worker: ChildProcess) -> bool:
    """Return whether the kernel killed a worker for memory, by the cgroup's counter."""
    before, now = worker.oom_kills, oom_kill_count()
    is_killed = worker.exit_code == -signal.SIGKILL and not worker.was_killed
    return is_killed and before is not None and now is not None and now > before
