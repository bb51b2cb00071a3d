"""How long a trial will take, before any was measured, and how long those that are left will."""

from __future__ import annotations

import os
import reprlib
import statistics
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.models.catalogue import find_model, read_catalogue
from rembg_tuner.runtime.diagnosis import absent_providers, provider_states
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.settings import default_of
from rembg_tuner.tuning.budgets import Budgets, read_budgets
from rembg_tuner.tuning.folder import PLAN_FILE, read_plan_file
from rembg_tuner.tuning.grid import make_grid
from rembg_tuner.tuning.measure import ROUNDS
from rembg_tuner.tuning.stats import CONFIRMING, MAX_COUNT, left_range_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.grid import Grid

# Of two cores at 2.5 GHz, in fp32: u2netp's and u2net's time at 320 px; others by the input's area.
_START_S = 1.2


_RUN_S = 0.25


_GUESSED_SIDE = 320  # px


_LARGE_BYTES = 50_000_000


_LARGE_FACTOR = 2.4


def guess_trial_s(settings: Settings, *, pictures: int, rounds: int) -> float:
    """Guess a trial's duration by the model's size and its input's side, seconds.

    Args:
        settings: of the trial.
        pictures: how many.
        rounds: timed runs of each; the warm-up counts as one more.
    """
    own_side, size_bytes = _network(settings.model)
    side = settings.network_size or own_side
    run_s = _RUN_S * (side / _GUESSED_SIDE) ** 2
    if size_bytes > _LARGE_BYTES:
        run_s *= _LARGE_FACTOR
    return _START_S + (rounds + 1) * pictures * run_s


def _network(model: str) -> tuple[int, int]:
    """Give the side of a model's input (px) and its file's size (bytes).

    A small one's where unknown.
    """
    entry = read_catalogue().get(model)
    if entry is not None:
        return entry.side, entry.bytes or entry.about_bytes or 0
    try:
        spec = find_model(model)
        return spec.side or _GUESSED_SIDE, Path(spec.path).stat().st_size
    except (ModelError, OSError):  # its trials will say so
        return _GUESSED_SIDE, 0


@dataclass(frozen=True, kw_only=True)  # no slots: what its axes make is worked out once, and kept
class Plan:
    """What is to be swept.

    Attributes:
        pictures: paths.
        axes: knobs with their values.
        base: gives the other knobs.
        reference: a preset's name, a model's, or the path of a mask or of a folder of masks named
            as the pictures; empty: the sweep's model in fp32 at its own size.
        trials: how many, searched by Optuna; None: the whole grid.
        rounds: timed runs of each picture in a trial.
        seed: of the order.
        confirming: workers more, in which the best are measured again at the end; no part of what
            is swept.
        again: whether what was measured on this machine before is measured again.
        budgets: under which one is recommended; no part of what is swept.
        max_pixels: gives a host's own limit of a picture; None: the formats'. It is no part of what
            is swept.
    """

    pictures: tuple[Path, ...]
    axes: Mapping[str, Sequence[Value]]
    base: Settings
    reference: str = ""
    trials: int | None = None
    rounds: int = ROUNDS
    seed: int = 0
    again: bool = False
    budgets: Budgets = field(default_factory=Budgets, compare=False)
    confirming: int = field(default=CONFIRMING, compare=False)
    max_pixels: Callable[[Path], int] | None = field(default=None, compare=False)

    @cached_property
    def _grid(self) -> Grid:
        """What the axes make here; some 20 ms for 50 settings."""
        machine = read_machine()
        if any(one != default_of("provider") for one in self.axes.get("provider", ())):
            machine = replace(machine, absent_providers=absent_providers(provider_states()))
        return make_grid(self.axes, self.base, machine)

    def grid(self) -> list[Settings]:
        """Give every setting that the axes make here.

        Raises:
            SettingsError: they make none, or a value is not allowed.
        """
        return list(self._grid.settings)

    def left_out(self) -> tuple[Message, ...]:
        """Tell the axes' values that this machine cannot do, each in a sentence with the reason.

        Raises:
            SettingsError: as `grid`.
        """
        return self._grid.left_out

    def pixel_limits(self) -> dict[str, int]:
        """Give the host's own limit of each picture, by its path; empty: it has none."""
        if self.max_pixels is None:
            return {}
        return {str(path): self.max_pixels(path) for path in self.pictures}

    def count(self) -> int:
        """Tell how many trials there will be."""
        settings = len(self.grid())
        return settings if self.trials is None else min(self.trials, settings)

    def guess_s(self) -> float:
        """Guess how long it takes, before anything was measured, seconds."""
        return (self.count() + self.confirming) * statistics.fmean(self.guesses_s().values())

    def guess_range_s(self) -> tuple[float, float]:
        """Guess between what durations it takes, before anything was measured, seconds."""
        return left_range_s(self.guess_s(), self.count() + self.confirming, ())

    def guesses_s(self) -> dict[Settings, float]:
        """Guess how long each of the settings' trials takes, seconds."""
        return {
            settings: guess_trial_s(settings, pictures=len(self.pictures), rounds=self.rounds)
            for settings in self.grid()
        }

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON.

        Paths are absolute, so that any folder can resume it.
        """
        is_path = bool(self.reference) and Path(self.reference).exists()
        return {
            "pictures": [str(path.absolute()) for path in self.pictures],
            "axes": {name: list(values) for name, values in self.axes.items()},
            "base": self.base.to_dict(),
            "reference": str(Path(self.reference).absolute()) if is_path else self.reference,
            "trials": self.trials,
            "rounds": self.rounds,
            "seed": self.seed,
            "again": self.again,
            "confirming": self.confirming,
            "budgets": self.budgets.to_dict(),
        }


def read_plan(folder: Path) -> Plan | None:
    """Read what is swept in a folder.

    Returns:
        None: nothing is swept there.

    Raises:
        SettingsError: plan.json does not read.
    """
    content = read_plan_file(folder)
    if content is None:
        return None
    try:
        return plan_of(content)
    except SettingsError as error:
        raise SettingsError(
            [
                Message(
                    "{file} does not read, so its sweep cannot be resumed ({problem}); name"
                    " another -o",
                    file=folder / PLAN_FILE,
                    problem=error.message,
                )
            ]
        ) from error


def plan_of(content: Mapping[str, object]) -> Plan:
    """Make a Plan of what `Plan.to_dict` returned.

    What an older version did not write is the default.

    Raises:
        SettingsError: with every part that is missing or cannot be.
    """
    values = {"confirming": CONFIRMING, "again": False, "budgets": {}, **content}
    problems = [
        Message("its {part} cannot be {value}", part=name, value=reprlib.repr(values.get(name)))
        for name, may_be in _PARTS.items()
        if not may_be(values.get(name))
    ]
    if problems:
        raise SettingsError(problems)
    parts = cast("dict[str, Any]", values)
    return Plan(
        pictures=tuple(Path(name) for name in parts["pictures"]),
        axes={name: tuple(axis) for name, axis in parts["axes"].items()},
        base=build_settings(parts["base"]),
        reference=parts["reference"],
        trials=parts["trials"],
        rounds=parts["rounds"],
        seed=parts["seed"],
        again=parts["again"],
        confirming=parts["confirming"],
        budgets=read_budgets(parts["budgets"]),
    )


def _is_whole(value: object, least: int) -> bool:
    """Return whether a value is a whole number from a minimum to MAX_COUNT."""
    return type(value) is int and least <= value <= MAX_COUNT


def _are_paths(value: object) -> bool:
    """Return whether a value is a list of paths, and not empty."""
    return isinstance(value, list) and bool(value) and all(map(_is_path, value))


def _is_path(value: object) -> bool:
    """Return whether a value can be a file's path."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False


def _are_axes(value: object) -> bool:
    """Return whether a value is lists by name, none of them empty."""
    return isinstance(value, dict) and all(isinstance(one, list) and one for one in value.values())


_PARTS: dict[str, Callable[[object], bool]] = {
    "pictures": _are_paths,
    "axes": _are_axes,
    "base": lambda value: isinstance(value, dict),
    "reference": _is_path,
    "trials": lambda value: value is None or _is_whole(value, 1),
    "rounds": lambda value: _is_whole(value, 1),
    "seed": lambda value: type(value) is int,
    "again": lambda value: isinstance(value, bool),
    "confirming": lambda value: _is_whole(value, 0),
    "budgets": lambda value: isinstance(value, dict),
}
