"""What came of a run: a Result or a Failure, never something half-filled.

All sizes are bytes and all times seconds. What is not known is None, never 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from rembg_tuner.base.errors import NO_FOREGROUND
from rembg_tuner.base.messages import Message, quoted
from rembg_tuner.settings.settings import Settings, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

FailureKind = Literal[
    "bad_input",
    "too_large",
    "bad_output",
    "bad_model",
    "missing_model",
    "missing_provider",
    "invalid_settings",
    "engine_error",
    "timeout",
    "out_of_memory",
    "crash",
    "cancelled",
    "busy",
]
PeakSource = Literal["vmhwm", "sampled"]
CONCURRENT_RUN = Message(
    "another slot was running at the same time, so this took longer than it would alone",
    code="concurrent_run",
)
EffectiveValue = (
    Value | dict[str, Any]
)  # what an engine says of one of its knobs; of focus, a mapping
MACHINE_BUSY = "machine_busy"  # the code of the warning that other programs ran
# Warnings that something decides on, by how they began before they had codes: sweeps of those
# versions are read.
_BEFORE_CODES = {
    "the machine was busy": MACHINE_BUSY,
    str(CONCURRENT_RUN): str(CONCURRENT_RUN.code),
    "no clear foreground": NO_FOREGROUND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of the worker while it runs.

    Attributes:
        t_s: seconds since the request was sent.
        rss_bytes: resident memory of the worker.
        cpu_s: CPU seconds the worker has used since it started; None in most samples, since reading
            it costs as much again.
    """

    t_s: float
    rss_bytes: int
    cpu_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the versions that a result was measured with."""

    cpu: str
    cores: int
    quota: float | None
    memory_limit: int | None
    versions: dict[str, str]
    load_average: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatteAgreement:
    """How like a reference's matte a matte is; see `quality`."""

    reference: str
    mae: float
    iou: float
    boundary_f: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run that went through.

    Attributes:
        run_index: 0 for the first run of a worker, the cold one.
        settings: what was asked.
        effective: what the engine says it did, read back from it; None where it has no such thing.
            focus is {passes, box, share}: how often the network ran; left, top, width and height of
            the subject's box with its margin, px of the upright picture; the box's share of the
            picture, of several subjects the sum. box and share are None where the first look shows
            nothing.
        stages_s: wall time by stage. read_small, normalise, predict, matte, focus (the looks after
            the first, reading included; only where there were any), write; engine rembg: predict,
            rest. They sum to total_s within 5 %. Of `batch`, read_small and normalise may have run
            while the picture before was
            written: pictures' total_s then sum to more than the time that passed.
        total_s: from the request sent to the file renamed; start and load are not in it. Of
            pictures run together, and of all of `batch`, the sum of the picture's own stages.
        load_s: the model's verification and the session's making, on the worker that ran this.
        start_s: from the worker's process created to its imports done.
        cpu_s: CPU time of the run, all threads of the worker; of pictures run together each one's
            share. The reading of a next picture meanwhile is the next picture's, by its thread's
            CPU clock.
        baseline_rss_bytes: resident memory after the imports, before the session.
        load_peak_rss_bytes: the peak while loading.
        peak_rss_bytes: the peak of this run: VmHWM, reset before it, where /proc gives it. Of
            `batch`, the reading of the next pictures meanwhile is in it.
        retained_rss_bytes: resident memory right after the run.
        rss_file_bytes: how much of it right after the run is mapped files, not the process's own.
        peak_source: vmhwm, or sampled (every 20 ms) where /proc does not give it.
        curve: (t_s, rss_bytes) while the run went on, at most 300 points.
    """

    input: str
    output: str
    preview: str | None
    before_preview: str | None
    run_index: int
    settings: Settings
    effective: dict[str, EffectiveValue]
    stages_s: dict[str, float]
    total_s: float
    load_s: float
    start_s: float
    cpu_s: float
    baseline_rss_bytes: int | None
    load_peak_rss_bytes: int | None
    peak_rss_bytes: int | None
    retained_rss_bytes: int | None
    rss_file_bytes: int | None
    peak_source: PeakSource
    output_bytes: int
    agreement: MatteAgreement | None
    warnings: tuple[Message, ...]
    environment: Environment
    curve: tuple[tuple[float, int], ...]

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON; warnings by code and in English."""
        return {**asdict(self), "warnings": [message_to_dict(one) for one in self.warnings]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One run that did not go through.

    Attributes:
        kind: which of the ways to fail; see `errors`.
        message: for a person; its code, where it has one, for programs.
        stage: where the run was: prepare, start, load, or a stage of the run.
    """

    kind: FailureKind
    message: Message
    stage: str
    input: str
    settings: Settings
    run_index: int

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON; the message in English."""
        said = {"kind": self.kind, "code": self.code, "message": str(self.message)}
        return {**said, "stage": self.stage, **asdict(self), **said}

    @property
    def code(self) -> str:
        """What failed, for programs: the message's code; of a message without one, the kind."""
        return self.message.code or self.kind


def message_to_dict(message: Message) -> dict[str, str | None]:
    """Give a message as JSON for programs."""
    return {"code": message.code, "message": str(message)}


def read_message(content: object) -> Message:
    """Read what `message_to_dict` or `Message.to_json` gave, or a sentence that an older version wrote.

    Raises:
        ValueError: it is neither.
    """
    match content:
        case {"code": str() | None as code, "message": str(text)}:
            return quoted(text).with_code(code)
        case str(text):
            return quoted(text).with_code(_code_before_codes(text))
    return Message.from_json(content)


def _code_before_codes(text: str) -> str | None:
    """Return the code of a warning in a file of a version without codes.

    None: nothing decides on it.
    """
    return next((code for start, code in _BEFORE_CODES.items() if text.startswith(start)), None)


def has_code(code: str, messages: Iterable[Message]) -> bool:
    """Return whether one of several messages has a code."""
    return any(one.code == code for one in messages)


def is_busy(warnings: Iterable[Message]) -> bool:
    """Return whether a warning says that the machine was busy with other work."""
    return has_code(MACHINE_BUSY, warnings)


def is_disturbed(warnings: Iterable[Message]) -> bool:
    """Return whether a warning says that other work made a run longer.

    Other programs, or another slot's run.
    """
    return any(one.code in (MACHINE_BUSY, CONCURRENT_RUN.code) for one in warnings)


def distinct(warnings: Iterable[Message]) -> tuple[Message, ...]:
    """Return each warning once; of those that the machine was busy, whose figures differ, the first."""
    kept: dict[Message | str, Message] = {}
    for one in warnings:
        kept.setdefault(MACHINE_BUSY if one.code == MACHINE_BUSY else one, one)
    return tuple(kept.values())


def setting_peak_bytes(results: list[Result]) -> int | None:
    """Give the peak of a setting: the highest of the load and its runs.

    One run tells too little: ONNX Runtime's memory pattern adds a planned block from the second run
    on, so give at least three runs of one worker.
    """
    peaks = [r.peak_rss_bytes for r in results] + [r.load_peak_rss_bytes for r in results]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known else None
