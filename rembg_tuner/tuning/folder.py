"""The folder of a sweep: its lock, its plan.json and its records.

A sweep is only resumed in a folder with the same plan.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import reprlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, Quoted, join_parts
from rembg_tuner.tuning.budgets import read_budgets
from rembg_tuner.tuning.report import JSON_FILE
from rembg_tuner.tuning.store import STORE_FILE, TrialStore
from rembg_tuner.tuning.trials import read_trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.trials import Trial

PLAN_FILE = "plan.json"
# The figures and their order depend on these fields; the others may differ on a resume.
_FIXED_FIELDS = ("pictures", "axes", "base", "reference", "rounds", "seed")


@contextlib.contextmanager
def _reporting_unwritable(folder: Path) -> Iterator[None]:
    """Raise an OutputError for an OSError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a sweep's folder and lock it against other sweeps.

    Raises:
        SettingsError: another sweep is running in it.
        OutputError: it cannot be created.
    """
    with _reporting_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The system releases the lock when the process ends, also after a crash.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SettingsError(
            [
                Message(
                    "another sweep is running in {folder}; wait until it ends, or name another -o",
                    folder=folder,
                )
            ]
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def take_folder(plan: Mapping[str, object], folder: Path, *, resume: bool) -> None:
    """Create a sweep's folder, or check that it contains the same sweep.

    Args:
        plan: the result of `Plan.to_dict`.
        folder: the folder of the sweep.
        resume: whether to continue the sweep in the folder.

    Raises:
        SettingsError: the folder contains a sweep and `resume` is False, or it contains another or
            a damaged sweep.
        OutputError: the folder cannot be created.
    """
    found = read_plan_file(folder) if resume else None
    if found is not None:
        _check_same_plan(found, json.loads(json.dumps(plan)), folder)
    elif (folder / PLAN_FILE).is_file():
        raise SettingsError(
            [
                Message(
                    "{folder} already contains a sweep; continue it with --resume, or name another"
                    " -o",
                    folder=folder,
                )
            ]
        )
    with _reporting_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def written_plan(plan: Mapping[str, object], folder: Path) -> Iterator[None]:
    """Write plan.json before the body runs, and restore the earlier state if the body fails.

    If the process is killed in the body, the sweep can be resumed. If the body fails, the folder
    can be used by a corrected command.

    Args:
        plan: ready for JSON.
        folder: the folder of the sweep.

    Raises:
        OutputError: plan.json cannot be written.
    """
    file = folder / PLAN_FILE
    before = file.read_bytes() if file.is_file() else None
    with _reporting_unwritable(folder), replacing(file) as out:
        out.write(json.dumps(plan, indent=2).encode())
    try:
        yield
    except BaseException:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(before)
        raise


def read_plan_file(folder: Path) -> dict[str, object] | None:
    """Return the content of plan.json; None: there is no such file.

    Raises:
        SettingsError: it is damaged.
    """
    file = folder / PLAN_FILE
    if not file.is_file():
        return None
    reason: Message | Quoted = Message("it is not a JSON object")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, ValueError, RecursionError) as error:
        reason = Quoted(str(error))
    raise SettingsError(
        [
            Message(
                "{file} cannot be read, so its sweep cannot be resumed ({problem}); name another"
                " -o",
                file=file,
                problem=reason,
            )
        ]
    )


def _check_same_plan(found: dict[str, object], plan: dict[str, object], folder: Path) -> None:
    """Check that two plans have equal fixed fields.

    Raises:
        SettingsError: lists the differences.
    """
    old, new = _fixed_values(found), _fixed_values(plan)
    differing = [
        Message(
            "{part} ({old} there, {new} here)",
            part=name,
            old=reprlib.repr(old.get(name)),
            new=reprlib.repr(new.get(name)),
        )
        for name in dict.fromkeys((*new, *old))
        if old.get(name) != new.get(name)
    ]
    if differing:
        raise SettingsError(
            [
                Message(
                    "the sweep in {folder} differs in {parts}; use the same values to resume it, or"
                    " name another -o",
                    folder=folder,
                    parts=join_parts(differing),
                )
            ]
        )


def _fixed_values(plan: dict[str, object]) -> dict[str, object]:
    """Return the values of a plan that must not change, one entry for each knob."""
    found: dict[str, object] = {}
    for name in _FIXED_FIELDS:
        value = plan.get(name)
        if isinstance(value, dict):
            found.update({f"{name} {knob}": one for knob, one in value.items()})
        elif name in plan:
            found[name] = value
    pictures = plan.get("pictures")
    # Older versions wrote pictures relative to the working directory of that time.
    found["pictures"] = [
        str(Path(str(one)).absolute()) for one in (pictures if isinstance(pictures, list) else [])
    ]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """The contents of a sweep's folder; the sweep may be complete, killed or still running.

    Attributes:
        trials: in the order they were run.
        budgets: the budgets of the recommendation.
        environment: date (ISO, UTC), cpu, cores, versions, memory_limit and load_average at the
            start; files of other versions may have fewer entries.
        planned: number of trials of the complete sweep; None: unknown.
        outdated: number of trials left out because their model now has other weights.
    """

    trials: list[Trial]
    budgets: Budgets
    environment: Mapping[str, str]
    planned: int | None = None
    outdated: int = 0


def read_sweep_folder(folder: Path) -> SweepRecord:
    """Read a sweep's folder: the trials from its store, or from trials.json.

    Raises:
        SettingsError: the folder does not contain a sweep, or it is damaged.
    """
    plan, file = read_plan_file(folder), folder / JSON_FILE
    if plan is None or (file.is_file() and "context" not in plan):  # written by an older version
        return _read_json(file)
    found = _read_store(folder, plan)
    return _read_json(file) if not found.trials and file.is_file() else found


def _read_store(folder: Path, plan: Mapping[str, object]) -> SweepRecord:
    """Read the trials that a sweep has stored so far.

    Raises:
        SettingsError: the store or the plan is damaged.
    """
    store = TrialStore(folder / STORE_FILE)
    try:
        contexts = [str(plan["context"])] if "context" in plan else store.contexts()
        trials, outdated = store.kept(contexts[0]) if len(contexts) == 1 else ([], 0)
    except sqlite3.Error as error:
        problem = Message(
            "{file} cannot be read: {error}", file=folder / STORE_FILE, error=Quoted(str(error))
        )
        raise SettingsError([problem]) from error
    budgets, planned = plan.get("budgets"), plan.get("planned")
    try:
        read = read_budgets(budgets if isinstance(budgets, dict) else {})
    except SettingsError as error:
        problem = Message(
            "{file}: {problem}; name another folder",
            file=folder / PLAN_FILE,
            problem=error.message,
        )
        raise SettingsError([problem]) from error
    return SweepRecord(
        trials=trials,
        budgets=read,
        environment=_texts(plan.get("environment")),
        planned=planned if type(planned) is int else None,
        outdated=outdated,
    )


def _read_json(file: Path) -> SweepRecord:
    """Read trials.json.

    Raises:
        SettingsError: it is missing or damaged.
    """
    try:
        return _record_of(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        reason: Message | Quoted | str = error.strerror or Quoted(str(error))
    except SettingsError as error:
        reason = error.message
    except (ValueError, RecursionError) as error:  # of JSON and UTF-8
        reason = Quoted(str(error))
    raise SettingsError(
        [
            Message(
                "{file} does not contain the trials of a sweep ({reason}); name the folder that"
                " `sweep -o` wrote",
                file=file,
                reason=reason,
            )
        ]
    )


def _record_of(content: object) -> SweepRecord:
    """Build a record from the content of trials.json.

    Raises:
        SettingsError: the content is not valid.
    """
    kinds = {"trials": list, "budgets": dict, "environment": dict}
    if not isinstance(content, dict):
        raise SettingsError([Message("it is not a JSON object")])
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise SettingsError([Message("it lacks {names}", names=", ".join(wrong))])
    trials = [read_trial(one) for one in content["trials"]]
    if len({trial.number for trial in trials}) < len(trials):
        raise SettingsError([Message("two of its trials have the same number")])
    return SweepRecord(
        trials=trials,
        budgets=read_budgets(content["budgets"]),
        environment=_texts(content["environment"]),
    )


def _texts(content: object) -> dict[str, str]:
    """Return the names and values of a dict as text; empty: the content is not a dict."""
    found = content if isinstance(content, dict) else {}
    return {str(name): str(value) for name, value in found.items()}
