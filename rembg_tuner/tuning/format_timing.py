"""Time the precisions of models on this machine, for `precision auto`; takes seconds per model."""

from __future__ import annotations

import sqlite3
import statistics
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, OutputError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message, Quoted, join_parts
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.models.spec import name_of
from rembg_tuner.runtime.timings import note_times
from rembg_tuner.settings.precision import TIE_MARGIN, Formats, rank_formats
from rembg_tuner.settings.results import Failure, Result, is_disturbed
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import EngineName
    from rembg_tuner.tuning.measure import TrialRunner

_ROUNDS = 2  # workers of each format, in turn, so that a slow moment affects all formats


_RUNS = 3  # timed runs in each worker, after a warm-up


_SIDE = 256  # px, of the picture; only the network is timed, whose input size does not depend on it


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatState:
    """The precision that `auto` chooses for a model and an engine.

    Attributes:
        settings: with precision auto.
        formats: candidates, times and choice.
    """

    settings: Settings
    formats: Formats

    @property
    def text(self) -> Message:
        """The choice, and whether it is based on times of this machine or of other machines."""
        found = self.formats
        if found.is_timed:
            times = [
                Message("{format} {time:seconds}", format=one, time=found.times_s[one])
                for one in found.candidates
            ]
            if found.times_s[found.chosen] > min(found.times_s[one] for one in found.candidates):
                return Message(
                    "precision auto is {chosen}, as timed on this machine: {times}; a format must"
                    " be {margin:.0%} faster to replace it",
                    code="auto_is_timed",
                    chosen=found.chosen,
                    times=join_parts(times),
                    margin=TIE_MARGIN,
                )
            return Message(
                "precision auto is {chosen}, as timed on this machine: {times}",
                code="auto_is_timed",
                chosen=found.chosen,
                times=join_parts(times),
            )
        return Message(
            "precision auto is {chosen}, as recorded on other machines; not timed here",
            code="auto_is_recorded",
            chosen=found.chosen,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
        found = self.formats
        return {
            "model": self.settings.model,
            "engine": self.settings.engine,
            "auto": found.chosen,
            "is_timed": found.is_timed,
            "candidates": list(found.candidates),
            "times_s": dict(found.times_s),
        }


def format_states(machine: Machine, models: Iterable[str] = ()) -> list[FormatState]:
    """Return the installed models and engines for which `precision auto` has a choice.

    Args:
        machine: with its timings.
        models: names of models; empty: those of the catalogue.
    """
    found = []
    for model in models or read_catalogue():
        for engine in machine.engines:
            settings = _auto(model, engine)
            if settings is None or not machine.has_model(model):
                continue
            formats = rank_formats(settings, machine)
            if formats.is_choice:
                found.append(FormatState(settings=settings, formats=formats))
    return found


def _auto(model: str, engine: EngineName) -> Settings | None:
    """Return settings with precision auto; None: the engine does not support precisions."""
    settings = Settings(model=model, engine=engine)
    return (
        Settings(model=model, engine=engine, precision="auto")
        if "precision" in settings.engine_spec.knobs
        else None
    )


def step_text(settings: Settings) -> Message:
    """Return the model, engine and precision that is being timed."""
    return Message(
        "{model} in {engine}, {precision}",
        model=name_of(settings.model),
        engine=settings.engine,
        precision=settings.precision,
    )


def time_formats(
    state: FormatState,
    machine: Machine,
    runner: TrialRunner,
    folder: Path,
    on_step: Callable[[Message], None] = lambda _: None,
) -> None:
    """Time a model's precisions in turn and store the times; takes seconds for a small model.

    Args:
        state: model, engine and precisions.
        machine: shared by the runner's slots; see `Machine.shared_by`.
        runner: runs the pictures.
        folder: for the picture and its cut-outs.
        on_step: called before each worker with the name of the step.

    Raises:
        OutputError: a precision does not run, other work ran at the same time, or the times cannot
            be stored.
    """
    picture = folder / "timed.bmp"
    _write_picture(picture)
    job = Job(input=str(picture), output=str(folder / "timed.png"))
    times: dict[str, list[float]] = {one: [] for one in state.formats.candidates}
    for _ in range(_ROUNDS):
        for precision, found in times.items():
            settings = replace(state.settings, precision=precision)  # type: ignore[arg-type]
            on_step(step_text(settings))
            found += _predict_times(runner.measure([job] * (1 + _RUNS), settings))
    medians = {name: statistics.median(found) for name, found in times.items()}
    try:
        key = machine.times_key(state.settings.model, state.settings.engine)
        note_times(open_cache()[0], key, machine.kind, medians, _ROUNDS * _RUNS)
    except (sqlite3.Error, ModelError) as error:
        raise OutputError(
            Message(
                "the times could not be stored: {reason}",
                code="times_not_kept",
                reason=Quoted(str(error)),
            )
        ) from error


def _predict_times(runs: Sequence[Result | Failure]) -> list[float]:
    """Return the times of the network in the timed runs of a worker.

    Raises:
        OutputError: a run failed, or the machine was busy.
    """
    times = []
    for run in runs:
        if isinstance(run, Failure):
            raise OutputError(
                Message(
                    "the number formats were not timed: {reason}",
                    code="not_timed",
                    reason=run.message,
                )
            )
        if is_disturbed(run.warnings):
            raise OutputError(
                Message(
                    "the number formats were not timed, because other work ran at the same time;"
                    " try again when the machine is idle",
                    code="not_timed_busy",
                )
            )
        times.append(run.stages_s["predict"])
    return times[1:]


def _write_picture(path: Path) -> None:
    """Write a grey ramp as BMP; a network's time does not depend on the picture.

    Raises:
        OutputError: it cannot be written.
    """
    row = bytes(level for column in range(_SIDE) for level in (column, column, column))
    body = row * _SIDE
    header = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, len(body), 2835, 2835, 0, 0)
    try:
        path.write_bytes(header + info + body)
    except OSError as error:
        raise OutputError(
            Message("{path} cannot be written: {reason}", path=path, reason=error.strerror)
        ) from error
