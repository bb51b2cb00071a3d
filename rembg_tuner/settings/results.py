"""The outcome of a run: a Result or a Failure.

All sizes are in bytes and all times in seconds. Unknown values are None, never 0.
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
EffectiveValue = Value | dict[str, Any]  # what an engine reports for a knob; for focus, a mapping
MACHINE_BUSY = "machine_busy"  # the code of the warning that other programs ran
# Codes of warnings by the beginning of their text, for sweeps of versions without codes.
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
        cpu_s: CPU time that the worker has used since it started; None in most samples, because
            reading it doubles the cost of a sample.
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
    """The agreement of a matte with a reference's matte; see `imaging.quality`."""

    reference: str
    mae: float
    iou: float
    boundary_f: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A successful run.

    Attributes:
        run_index: 0 for the first run of a worker, the cold one.
        settings: as requested.
        effective: the actual settings, as read back from the engine; None: the engine does not have
            the setting. focus is {passes, box, share}: how often the network ran; left, top, width
            and height of the subject's box with its margin, px of the upright picture; the box's
            share of the picture, for several subjects their sum. box and share are None if the
            first run of the network finds nothing.
        stages_s: wall time by stage: read_small, normalise, predict, matte, focus (the runs of the
            network after the first, including reading; only if there were any), write. Engine
            rembg: predict, rest. They sum to total_s within 5 %. In `batch`, read_small and
            normalise may run while the previous picture is written; the sum of the pictures'
            total_s is then larger than the elapsed time.
        total_s: from sending the request to renaming the file; start and load are not included. For
            pictures that run together, and for all pictures of `batch`, the sum of the picture's
            own stages.
        load_s: verification of the model and creation of the session, in the worker of this run.
        start_s: from creating the worker's process to the end of its imports.
        cpu_s: CPU time of the run, all threads of the worker; for pictures that run together, each
            picture's share. If the next picture is read meanwhile, that counts for the next
            picture, by the CPU clock of its thread.
        baseline_rss_bytes: resident memory after the imports, before the session.
        load_peak_rss_bytes: the peak while loading.
        peak_rss_bytes: the peak of this run: VmHWM, reset before the run, if /proc provides it. In
            `batch`, it includes reading the next pictures meanwhile.
        retained_rss_bytes: resident memory right after the run.
        rss_file_bytes: the part of it that is mapped files, right after the run.
        peak_source: vmhwm, or sampled (every 20 ms) if /proc does not provide it.
        curve: (t_s, rss_bytes) during the run, at most 300 points.
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
        """Return the fields by name, ready for JSON; warnings by code and in English."""
        return {**asdict(self), "warnings": [message_to_dict(one) for one in self.warnings]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that failed.

    Attributes:
        kind: the kind of failure; see `errors`.
        message: for the user; its code, if it has one, is for programs.
        stage: where the run was: prepare, start, load, or a stage of the run.
    """

    kind: FailureKind
    message: Message
    stage: str
    input: str
    settings: Settings
    run_index: int

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON; the message in English."""
        said = {"kind": self.kind, "code": self.code, "message": str(self.message)}
        return {**said, "stage": self.stage, **asdict(self), **said}

    @property
    def code(self) -> str:
        """What failed, for programs: the message's code, or the kind if the message has none."""
        return self.message.code or self.kind


def message_to_dict(message: Message) -> dict[str, str | None]:
    """Return a message as JSON for programs."""
    return {"code": message.code, "message": str(message)}


def read_message(content: object) -> Message:
    """Read what `message_to_dict` or `Message.to_json` returned, or an older version's sentence.

    Raises:
        ValueError: the content is neither.
    """
    match content:
        case {"code": str() | None as code, "message": str(text)}:
            return quoted(text).with_code(code)
        case str(text):
            return quoted(text).with_code(_code_before_codes(text))
    return Message.from_json(content)


def _code_before_codes(text: str) -> str | None:
    """Return the code of a warning in a file of a version without codes; None: not known."""
    return next((code for start, code in _BEFORE_CODES.items() if text.startswith(start)), None)


def has_code(code: str, messages: Iterable[Message]) -> bool:
    """Return whether one of several messages has a code."""
    return any(one.code == code for one in messages)


def is_busy(warnings: Iterable[Message]) -> bool:
    """Return whether a warning says that the machine was busy with other work."""
    return has_code(MACHINE_BUSY, warnings)


def is_disturbed(warnings: Iterable[Message]) -> bool:
    """Return whether a warning says that other work made a run longer.

    Other work is another program, or the run of another slot.
    """
    return any(one.code in (MACHINE_BUSY, CONCURRENT_RUN.code) for one in warnings)


def distinct(warnings: Iterable[Message]) -> tuple[Message, ...]:
    """Return each warning once; of the warnings that the machine was busy, only the first.

    Those differ only in their figures.
    """
    kept: dict[Message | str, Message] = {}
    for one in warnings:
        kept.setdefault(MACHINE_BUSY if one.code == MACHINE_BUSY else one, one)
    return tuple(kept.values())


def setting_peak_bytes(results: list[Result]) -> int | None:
    """Return the peak of a setting: the highest of the load and its runs; None: unknown.

    One run is not enough: ONNX Runtime's memory pattern adds a planned block from the second run
    on. Pass at least three runs of one worker.
    """
    peaks = [r.peak_rss_bytes for r in results] + [r.load_peak_rss_bytes for r in results]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known else None
