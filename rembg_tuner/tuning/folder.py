"""The file in a sweep's folder that tells what is swept there, so that only the same is gone on with."""

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


# What figures and their order depend on; the rest of the file may change from one start to the
# next.
_MUST_AGREE = ("pictures", "axes", "base", "reference", "rounds", "seed")


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a sweep's folder, and keep others from sweeping there meanwhile.

    Their files would have the same names.

    Raises:
        SettingsError: somebody sweeps there now.
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, however that ends
    except OSError as error:
        os.close(held)
        raise SettingsError(
            [
                Message(
                    "another sweep is running in {folder}; wait for its end, or name another -o",
                    folder=folder,
                )
            ]
        ) from error
    try:
        yield
    finally:
        os.close(held)


def take_folder(plan: Mapping[str, object], folder: Path, *, resume: bool) -> None:
    """Make the folder, or check that it holds the same sweep; nothing is written to it.

    Args:
        plan: as `Plan.to_dict`.
        folder: of the sweep.
        resume: go on with the sweep that lies there.

    Raises:
        SettingsError: it holds a sweep, and is not to be gone on with; or another one, or a damaged
        one.
        OutputError: it cannot be made.
    """
    there = read_plan_file(folder) if resume else None
    if there is not None:
        _refuse_another(there, json.loads(json.dumps(plan)), folder)
    elif (folder / PLAN_FILE).is_file():
        raise SettingsError(
            [
                Message(
                    "{folder} holds a sweep already; go on with it by --resume, or name another -o",
                    folder=folder,
                )
            ]
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error


@contextlib.contextmanager
def written_plan(plan: Mapping[str, object], folder: Path) -> Iterator[None]:
    """Write down what is swept while its reference is made, so that a start that was killed can be resumed.

    A start that fails leaves what was there before: the folder is free for a corrected command.

    Args:
        plan: ready for JSON.
        folder: of the sweep.

    Raises:
        OutputError: it cannot be written.
    """
    file = folder / PLAN_FILE
    before = file.read_bytes() if file.is_file() else None
    _write(plan, folder)
    try:
        yield
    except BaseException:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(before)
        raise


def _write(plan: Mapping[str, object], folder: Path) -> None:
    """Write plan.json.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(folder / PLAN_FILE) as out:
            out.write(json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error


def read_plan_file(folder: Path) -> dict[str, object] | None:
    """Read plan.json.

    Returns:
        None: there is none.

    Raises:
        SettingsError: it does not read.
    """
    file = folder / PLAN_FILE
    if not file.is_file():
        return None
    reason: Message | Quoted = Message("it is no JSON object")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, ValueError, RecursionError) as error:
        reason = Quoted(str(error))
    raise SettingsError(
        [
            Message(
                "{file} does not read, so that its sweep cannot be gone on with ({reason}); name"
                " another -o",
                file=file,
                reason=reason,
            )
        ]
    )


def _refuse_another(there: dict[str, object], here: dict[str, object], folder: Path) -> None:
    """Refuse to go on with a sweep of something else.

    Raises:
        SettingsError: names what differs.
    """
    old, new = _flat(there), _flat(here)
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
                    "the sweep in {folder} differs in {parts}; give the same to go on with it, or"
                    " name another -o",
                    folder=folder,
                    parts=join_parts(differing),
                )
            ]
        )


def _flat(plan: dict[str, object]) -> dict[str, object]:
    """Give a plan's parts that must be the same, each knob for itself."""
    found: dict[str, object] = {}
    for name, value in plan.items():
        if name in _MUST_AGREE and isinstance(value, dict):
            found.update({f"{name} {knob}": one for knob, one in value.items()})
        elif name in _MUST_AGREE:
            found[name] = value
    # An older version wrote pictures as they were named, from the folder of that time.
    found["pictures"] = [str(Path(str(one)).absolute()) for one in _listed(plan.get("pictures"))]
    return found


def _listed(value: object) -> list[object]:
    """Return a list as it is, and anything else as an empty one."""
    return value if isinstance(value, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """What a sweep's folder holds, of a sweep that has ended, was killed, or goes on.

    Attributes:
        trials: in the order they were run.
        budgets: under which the sweep recommends.
        environment: date (ISO, UTC), cpu, cores, versions, memory_limit, load_average at the start;
            a file of another version may have fewer.
        planned: how many trials the sweep has when it is done; None: not known.
        outdated: how many trials are left out, since their model has other weights now.
    """

    trials: list[Trial]
    budgets: Budgets
    environment: Mapping[str, str]
    planned: int | None = None
    outdated: int = 0


def read_summary(folder: Path) -> SweepRecord:
    """Read a sweep's folder: its trials from the store, which has each as soon as it is measured, else from trials.json.

    Raises:
        SettingsError: the folder holds no sweep, or it is damaged.
    """
    plan = read_plan_file(folder)
    file = folder / JSON_FILE
    if plan is None or (file.is_file() and "context" not in plan):  # as an older version leaves it
        return _read_json(file)
    summary = _read_store(folder, plan)
    return _read_json(file) if not summary.trials and file.is_file() else summary


def _read_store(folder: Path, plan: Mapping[str, object]) -> SweepRecord:
    """Read a sweep's trials as they were kept one by one; there may be none yet.

    Raises:
        SettingsError: the store or the plan is damaged.
    """
    store = TrialStore(folder / STORE_FILE)
    try:
        contexts = [str(plan["context"])] if "context" in plan else store.contexts()
        trials, outdated = store.kept(contexts[0]) if len(contexts) == 1 else ([], 0)
    except sqlite3.Error as error:
        raise SettingsError(
            [
                Message(
                    "{file} does not read: {error}",
                    file=folder / STORE_FILE,
                    error=Quoted(str(error)),
                )
            ]
        ) from error
    budgets, environment, planned = (
        plan.get(name) for name in ("budgets", "environment", "planned")
    )
    return SweepRecord(
        trials=trials,
        budgets=_budgets_of(budgets if isinstance(budgets, dict) else {}, folder),
        environment=_texts(environment if isinstance(environment, dict) else {}),
        planned=planned if type(planned) is int else None,
        outdated=outdated,
    )


def _budgets_of(content: Mapping[str, object], folder: Path) -> Budgets:
    """Read the budgets in a folder's plan.

    Raises:
        SettingsError: one cannot be.
    """
    try:
        return read_budgets(content)
    except SettingsError as error:
        problem = Message(
            "{file}: {problem}; name another folder",
            file=folder / PLAN_FILE,
            problem=error.message,
        )
        raise SettingsError([problem]) from error


def _read_json(file: Path) -> SweepRecord:
    """Read trials.json.

    Raises:
        SettingsError: there is none, or it is damaged.
    """
    try:
        return _summary_of(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        reason: Message | Quoted | str = error.strerror or Quoted(str(error))
    except SettingsError as error:
        reason = error.message
    except (ValueError, RecursionError) as error:  # JSON's and text's
        reason = Quoted(str(error))
    raise SettingsError(
        [
            Message(
                "{file} is not a sweep's trials ({reason}); name the folder that `sweep -o` wrote",
                file=file,
                reason=reason,
            )
        ]
    )


def _summary_of(content: object) -> SweepRecord:
    """Check what trials.json holds.

    Raises:
        SettingsError: it is no summary.
    """
    kinds = {"trials": list, "budgets": dict, "environment": dict}
    if not isinstance(content, dict):
        raise SettingsError([Message("it is no JSON object")])
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise SettingsError([Message("it has no {names}", names=" and no ".join(wrong))])
    trials = [read_trial(one) for one in content["trials"]]
    numbers = [trial.number for trial in trials]
    if len(set(numbers)) < len(numbers):
        raise SettingsError([Message("two of its trials have the same number")])
    return SweepRecord(
        trials=trials,
        budgets=read_budgets(content["budgets"]),
        environment=_texts(content["environment"]),
    )


def _texts(content: Mapping[object, object]) -> dict[str, str]:
    """Return names and values as texts."""
    return {str(name): str(value) for name, value in content.items()}
