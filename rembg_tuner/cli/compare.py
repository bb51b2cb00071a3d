"""`compare`: a few presets on one picture, in one table."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.cli.cut import DONE, FAILED
from rembg_tuner.comparer import Comparer
from rembg_tuner.comparison import Entry, Question, compare_settings
from rembg_tuner.errors import SettingsError
from rembg_tuner.presets import find_preset, read_presets, resolve
from rembg_tuner.sweep.bench import OwnBench
from rembg_tuner.trials import differences, label_of
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.comparison import Compared

_LEAST, _MOST = 2, 6


def run(arguments: argparse.Namespace) -> int:
    """Measure each preset on the picture, and tell how they differ."""
    entries = _entries(arguments.presets)
    with ExitStack() as stack:
        kept = arguments.output is not None
        folder = Path(arguments.output) if kept else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rembg-tuner-compare-")))  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        reference, mask = _reference(arguments.reference, entries, folder, arguments.image)
        comparer = stack.enter_context(Comparer())
        question = Question(
            picture=Path(arguments.image),
            entries=tuple(entries),
            reference=reference,
            mask=mask,
            rounds=arguments.rounds,
        )
        compared = compare_settings(question, folder, OwnBench(), comparer)
    document = {
        "picture": arguments.image,
        "reference": reference,
        "compared": [one.to_dict() for one in compared],
    }
    if kept:
        (folder / "compare.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        _print(compared, reference)
    return FAILED if any(one.trial.failure for one in compared) else DONE


def _entries(text: str) -> list[Entry]:
    """Read the presets' names."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not _LEAST <= len(names) <= _MOST or len(set(names)) != len(names):
        raise SettingsError(
            [f"--presets takes two to six names that differ, got {text!r}; the presets are {', '.join(read_presets())}"]
        )  # fmt: skip
    able = look_at_this_machine()
    return [Entry(name=name, settings=resolve(find_preset(name), {}, able)[0]) for name in names]


def _reference(text: str, entries: list[Entry], folder: Path, image: str) -> tuple[str, str | None]:
    """Give the reference's name among the entries, or a mask's path; a preset that is none is added."""
    if not text:
        return entries[0].name, None
    if any(entry.name == text for entry in entries):
        return text, None
    path = Path(text)
    if path.is_file():
        copy = folder / f"reference{path.suffix}"
        if path.resolve() != copy.resolve():
            shutil.copyfile(path, copy)
        return path.name, str(copy)
    raise SettingsError([f"--reference {text} is none of the presets compared, and no file; name one of {', '.join(entry.name for entry in entries)}, or a mask of {image}"])  # fmt: skip


def _print(compared: list[Compared], reference: str) -> None:
    """Print the table."""
    names = differences([one.entry.settings for one in compared])
    width = max(len(one.entry.name) for one in compared)
    print(f"{'':{width}}  {'time':>9}  {'peak':>9}  {'IoU':>6}  {'diff.':>6}  stars")
    for one in compared:
        trial = one.trial
        if trial.failure:
            print(f"{one.entry.name:{width}}  {trial.failure}")
            continue
        agreement = (
            "     -       -      -"
            if trial.agreement is None
            else f"{trial.agreement:6.3f}  {trial.mae:6.4f}  {one.stars or 0:5.1f}"
        )
        unstable = " (may be unstable)" if trial.may_be_unstable else ""
        print(f"{one.entry.name:{width}}  {format_seconds(trial.time_s):>9}  {format_bytes(trial.peak_bytes):>9}  {agreement}  {label_of(one.entry.settings, names)}{unstable}")  # fmt: skip
    print(f"agreement with {reference}, which is no ground truth unless you gave one; stars: the boundary")  # fmt: skip
