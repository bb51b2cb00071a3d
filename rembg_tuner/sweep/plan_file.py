"""The file in a sweep's folder that tells what is swept there, so that only the same is gone on with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import reprlib
from typing import TYPE_CHECKING

from rembg_tuner.cache import replacing
from rembg_tuner.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PLAN_FILE = "plan.json"
_MAY_DIFFER = ("trials",)  # a search can be lengthened


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a sweep's folder, and keep others from sweeping there meanwhile: their files would have the same names.

    Raises:
        SettingsError: somebody sweeps there now.
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, however that ends
    except OSError as error:
        os.close(held)
        raise SettingsError([f"another sweep is running in {folder}; wait for its end, or name another -o"]) from error  # fmt: skip
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
        SettingsError: it holds a sweep, and is not to be gone on with; or another one, or a damaged one.
        OutputError: it cannot be made.
    """
    file = folder / PLAN_FILE
    if file.is_file():
        if not resume:
            raise SettingsError([f"{folder} holds a sweep already; go on with it by --resume, or name another -o"])  # fmt: skip
        _refuse_another(_read(file), json.loads(json.dumps(plan)), folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def write_plan(plan: Mapping[str, object], folder: Path) -> None:
    """Write down what is swept, once it can be: from here on the folder is taken.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(folder / PLAN_FILE) as out:
            out.write(json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def _read(file: Path) -> dict[str, object]:
    """Read what was swept.

    Raises:
        SettingsError: it does not read.
    """
    reason = "it is no JSON object"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise SettingsError([f"{file} does not read, so that its sweep cannot be gone on with ({reason}); name another -o"])  # fmt: skip


def _refuse_another(there: dict[str, object], here: dict[str, object], folder: Path) -> None:
    """Refuse to go on with a sweep of something else.

    Raises:
        SettingsError: names what differs.
    """
    old, new = _flat(there), _flat(here)
    differing = [
        f"{name} ({reprlib.repr(old.get(name))} there, {reprlib.repr(new.get(name))} here)"
        for name in dict.fromkeys((*new, *old))
        if old.get(name) != new.get(name)
    ]
    if differing:
        raise SettingsError([f"the sweep in {folder} differs in {', '.join(differing)}; give the same to go on with it, or name another -o"])  # fmt: skip


def _flat(plan: dict[str, object]) -> dict[str, object]:
    """Give a plan's parts that must be the same, each knob for itself."""
    found: dict[str, object] = {}
    for name, value in plan.items():
        if isinstance(value, dict):
            found.update({f"{name} {knob}": one for knob, one in value.items()})
        elif name not in _MAY_DIFFER:
            found[name] = value
    return found
