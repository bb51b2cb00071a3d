"""The plan of a sweep: pictures, axes, reference and counts, and its form in plan.json."""

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
from rembg_tuner.tuning.reference import find_reference, reference_model
from rembg_tuner.tuning.stats import CONFIRMING, MAX_COUNT, left_range_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.grid import Grid

# Measured on two cores at 2.5 GHz in fp32 with u2netp and u2net at 320 px; the time is proportional
# to the area.
_START_S, _RUN_S, _RUN_SIDE = 1.2, 0.25, 320
_LARGE_BYTES, _LARGE_FACTOR = 50_000_000, 2.4


def guess_trial_s(settings: Settings, *, pictures: int, rounds: int) -> float:
    """Estimate the duration of a trial from model size and input side, seconds.

    Args:
        settings: the settings of the trial.
        pictures: number of pictures.
        rounds: timed runs of each picture; the warm-up counts as one more.
    """
    side, size_bytes = _network(settings.model)
    run_s = _RUN_S * ((settings.network_size or side) / _RUN_SIDE) ** 2
    if size_bytes > _LARGE_BYTES:
        run_s *= _LARGE_FACTOR
    return _START_S + (rounds + 1) * pictures * run_s


def _network(model: str) -> tuple[int, int]:
    """Return the input side (px) and file size (bytes) of a model; unknown ones count as small."""
    entry = read_catalogue().get(model)
    if entry is not None:
        return entry.side, entry.bytes or entry.about_bytes or 0
    try:
        spec = find_model(model)
        return spec.side or _RUN_SIDE, Path(spec.path).stat().st_size
    except (ModelError, OSError):  # its trials fail with the reason
        return _RUN_SIDE, 0


@dataclass(frozen=True, kw_only=True)  # no slots: the grid is cached
class Plan:
    """The plan of a sweep.

    Attributes:
        pictures: paths.
        axes: knobs with their values.
        base: the other knobs.
        reference: name of a preset or model, or path of a mask or of a folder of masks named as the
            pictures; empty: the sweep's model in fp32 at its own size.
        trials: number of trials, chosen by Optuna; None: the whole grid.
        rounds: timed runs of each picture in a trial.
        seed: seed of the order.
        confirming: additional workers that measure the best settings again at the end.
        again: whether settings that this machine measured before are measured again.
        budgets: the budgets of the recommendation.
        max_pixels: returns the host's limit for a picture; None: the limits of the formats.
    """

    pictures: tuple[Path, ...]
    axes: Mapping[str, Sequence[Value]]
    base: Settings
    reference: str = ""
    trials: int | None = None
    rounds: int = ROUNDS
    seed: int = 0
    again: bool = False
    # The following fields do not change the measurements.
    budgets: Budgets = field(default_factory=Budgets, compare=False)
    confirming: int = field(default=CONFIRMING, compare=False)
    max_pixels: Callable[[Path], int] | None = field(default=None, compare=False)

    @cached_property
    def _grid(self) -> Grid:
        """The settings of the axes on this machine; takes about 20 ms for 50 settings."""
        machine = read_machine()
        if any(one != default_of("provider") for one in self.axes.get("provider", ())):
            machine = replace(machine, absent_providers=absent_providers(provider_states()))
        return make_grid(self.axes, self.base, machine)

    def grid(self) -> list[Settings]:
        """Return every setting of the axes that this machine can run.

        Raises:
            SettingsError: no setting remains, or a value is not allowed.
        """
        return list(self._grid.settings)

    def left_out(self) -> tuple[Message, ...]:
        """Return a sentence for each axis value that this machine cannot run.

        Raises:
            SettingsError: as `grid`.
        """
        return self._grid.left_out

    def reference_settings(self) -> tuple[str, Settings]:
        """Return the name and the settings of a reference that is cut out.

        Raises:
            SettingsError: the name is unknown.
        """
        model = str(next(iter(self.axes.get("model", ())), self.base.model))
        choice = find_reference(self.reference) if self.reference else reference_model(model)
        assert choice.settings is not None  # only a mask or a compared setting has no settings
        return str(choice.name), choice.settings

    def reference_file_name(self) -> str:
        """Return the name of a reference of masks for reports: a file name, or a folder path."""
        path = Path(self.reference)
        return str(path) if path.is_dir() else path.name

    def pixel_limits(self) -> dict[str, int]:
        """Return the host's limit for each picture by path; empty: there is no limit."""
        limit = self.max_pixels
        return {} if limit is None else {str(path): limit(path) for path in self.pictures}

    def count(self) -> int:
        """Return the number of trials."""
        settings = len(self.grid())
        return settings if self.trials is None else min(self.trials, settings)

    def guess_s(self) -> float:
        """Estimate the duration of the sweep before it starts, seconds."""
        return (self.count() + self.confirming) * statistics.fmean(self.guesses_s().values())

    def guess_range_s(self) -> tuple[float, float]:
        """Estimate the range of the sweep's duration before it starts, seconds."""
        return left_range_s(self.guess_s(), self.count() + self.confirming, ())

    def guesses_s(self) -> dict[Settings, float]:
        """Estimate the duration of the trial of each setting, seconds."""
        return {
            settings: guess_trial_s(settings, pictures=len(self.pictures), rounds=self.rounds)
            for settings in self.grid()
        }

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON; paths are absolute, to resume from any folder."""
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
    """Read the plan in a sweep's folder; None: there is no plan.

    Raises:
        SettingsError: plan.json is damaged.
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
                    "{file} cannot be read, so its sweep cannot be resumed ({problem}); name"
                    " another -o",
                    file=folder / PLAN_FILE,
                    problem=error.message,
                )
            ]
        ) from error


def plan_of(content: Mapping[str, object]) -> Plan:
    """Build a Plan from the result of `Plan.to_dict`; fields of later versions have defaults.

    Raises:
        SettingsError: lists every field that is missing or invalid.
    """
    values = {"confirming": CONFIRMING, "again": False, "budgets": {}, **content}
    problems = [
        Message("its {part} cannot be {value}", part=name, value=reprlib.repr(values.get(name)))
        for name, is_valid in _FIELDS.items()
        if not is_valid(values.get(name))
    ]
    if problems:
        raise SettingsError(problems)
    fields = cast("dict[str, Any]", {name: values.get(name) for name in _FIELDS})
    return Plan(
        **{
            **fields,
            "pictures": tuple(map(Path, fields["pictures"])),
            "axes": {name: tuple(axis) for name, axis in fields["axes"].items()},
            "base": build_settings(fields["base"]),
            "budgets": read_budgets(fields["budgets"]),
        }
    )


def _is_count(value: object, minimum: int) -> bool:
    """Return whether a value is an integer from a minimum to MAX_COUNT."""
    return type(value) is int and minimum <= value <= MAX_COUNT


def _is_path(value: object) -> bool:
    """Return whether a value can be the path of a file."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # a surrogate that does not encode a byte
        return False


def _are_axes(value: object) -> bool:
    """Return whether a value is a dict of lists that are not empty."""
    return isinstance(value, dict) and all(isinstance(one, list) and one for one in value.values())


_FIELDS: dict[str, Callable[[object], bool]] = {
    "pictures": lambda value: isinstance(value, list) and bool(value) and all(map(_is_path, value)),
    "axes": _are_axes,
    "base": lambda value: isinstance(value, dict),
    "reference": _is_path,
    "trials": lambda value: value is None or _is_count(value, 1),
    "rounds": lambda value: _is_count(value, 1),
    "seed": lambda value: type(value) is int,
    "again": lambda value: isinstance(value, bool),
    "confirming": lambda value: _is_count(value, 0),
    "budgets": lambda value: isinstance(value, dict),
}
