"""The file in a sweep's folder that tells what is swept there, so that only the same is gone on with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, Quoted, join_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
