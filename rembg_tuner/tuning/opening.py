"""A sweep made ready: its grid, its reference, and the store that it goes on from."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_bytes
from rembg_tuner.engines.versions import package_versions
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.diagnosis import absent_providers, provider_states
from rembg_tuner.runtime.meter import load_average
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.machine import LIBVIPS_PACKAGE
from rembg_tuner.settings.settings import default_of
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.grid import make_grid
from rembg_tuner.tuning.guess import guess_trial_s, left_range_s
from rembg_tuner.tuning.measure import ROUNDS, Ground, Reference, make_reference
from rembg_tuner.tuning.plan_file import take_folder, written_plan
from rembg_tuner.tuning.search import GuidedSearch, WholeGrid
from rembg_tuner.tuning.stats import CONFIRMING
from rembg_tuner.tuning.store import STORE_FILE, TrialStore, context_of, key_of
from rembg_tuner.tuning.sweep import Sweep
from rembg_tuner.tuning.trusted import find_mask, find_trusted, trusted_model
from rembg_tuner.tuning.weights import weights_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rembg_tuner.runtime.comparer import Comparer
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.grid import Grid
    from rembg_tuner.tuning.trial_runner import TrialRunner

# Of which figures depend on besides those in the measurement key: what reads and writes pictures.
_PICTURE_LIBRARIES = ("pyvips", "isal")
# What versions without a measurement key put into a sweep's context.
_OLDER_LIBRARIES = ("rembg-tuner", "onnxruntime", "openvino", "ncnn", "rembg", "pyvips", "isal")


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


def open_sweep(
    plan: Plan,
    folder: Path,
    runner: TrialRunner,
    comparer: Comparer,
    *,
    resume: bool = False,
    thumbnails: Path | None = None,
) -> Sweep:
    """Make a sweep ready to run: the reference is cut out, and what the folder has is taken.

    Args:
        plan: what to sweep.
        folder: where trials, thumbnails and reports go; made if it is not there.
        runner: runs pictures.
        comparer: compares cut-outs.
        resume: go on with the sweep that lies in the folder.
        thumbnails: where what is remembered of this machine's trials keeps its thumbnails, a folder
            that somebody else sweeps; None: the cache's.

    Raises:
        SettingsError: the axes make nothing, the reference is none or has another shape, or the
        folder
            holds another sweep.
        PictureError: a picture is none.
        OutputError: the folder cannot be written, or the reference not made.
    """
    grid, environment = plan.grid(), describe_environment()  # before it is loaded with our own work
    for path in plan.pictures:
        sniff(path)
    take_folder(plan.to_dict(), folder, resume=resume)
    masks = _masks(plan, comparer)
    machine = read_machine().shared_by(runner.slots)
    context = _context(plan, masks, machine, runner.slots)
    trials = plan.count()
    search = (
        WholeGrid(grid, plan.seed)
        if plan.trials is None
        else GuidedSearch(grid, plan.axes, trials=trials, seed=plan.seed)
    )
    record = {
        **plan.to_dict(),
        "planned": trials,
        "context": context,
        "environment": environment,
    }
    with written_plan(record, folder):
        reference = _reference(plan, masks, runner, folder)
    ground = Ground(
        pictures=plan.pictures,
        reference=reference,
        folder=folder,
        rounds=plan.rounds,
        comparer=comparer,
        max_pixels=plan.pixel_limits(),
    )
    sweep = Sweep(
        search=search,
        planned=trials,
        ground=ground,
        runner=runner,
        context=context,
        own=TrialStore(folder / STORE_FILE, machine=machine),
        known=TrialStore.of_this_machine(open_cache()[0], machine),
        is_again=plan.again,
        environment=environment,
        guesses_s=plan.guesses_s(),
        thumbnails=thumbnails,
        confirming=plan.confirming,
    )
    if resume:
        sweep.resume(_older_context(plan, masks, runner.slots))
    return sweep


def describe_machine() -> list[str]:
    """Name what figures depend on: CPU, cores, versions."""
    host = read_host()
    return [
        host.cpu,
        str(host.usable_cpus),
        f"rembg-tuner {_version_of('rembg-tuner')}",
        *(f"{name} {number or 'absent'}" for name, number in package_versions().items()),
        *(f"{name} {_version_of(name)}" for name in (*_PICTURE_LIBRARIES, LIBVIPS_PACKAGE)),
    ]


def describe_environment() -> dict[str, str]:
    """Tell where and when a sweep is measured, for its report.

    Date (UTC), machine, what it may use, its load.
    """
    cpu, cores, *versions = describe_machine()
    memory, load = read_host().usable_memory_bytes, load_average()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": cores,
        "versions": ", ".join(versions),
        "memory_limit": format_bytes(memory),
        "load_average": "unknown" if load is None else f"{load:.2f}",
    }


def _version_of(name: str) -> str:
    """Give an installed library's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _context(plan: Plan, masks: dict[str, str], machine: Machine, slots: int) -> str:
    """Name what a trial's figures depend on besides its measurement key; see `context_of`.

    Args:
        plan: of the sweep.
        masks: of the pictures; empty: the reference is not masks.
        machine: with the share of CPUs that a trial has.
        slots: that share the machine's CPUs.
    """
    reference = _mask_digests(masks)
    if not masks:
        settings, name = _trusted(plan)
        reference = [str(name), key_of(settings, machine), settings.max_side]
    libraries = (f"{name} {_version_of(name)}" for name in _PICTURE_LIBRARIES)
    words = [
        machine.cpu,
        str(machine.cpus),
        *sorted(machine.features),
        f"{slots} slots",
        *libraries,
    ]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def _older_context(plan: Plan, masks: dict[str, str], slots: int) -> str:
    """Name the same as versions without a measurement key did, all libraries' versions in it."""
    reference = _mask_digests(masks)
    if not masks:
        settings, name = _trusted(plan)
        reference = [str(name), settings.to_dict(), weights_key(settings)]
    host = read_host()
    libraries = (f"{name} {_version_of(name)}" for name in _OLDER_LIBRARIES)
    words = [host.cpu, str(host.usable_cpus), *libraries, *sorted(host.features), f"{slots} slots"]
    return context_of(plan.pictures, json.dumps(reference), rounds=plan.rounds, machine=words)


def _mask_digests(masks: dict[str, str]) -> list[object]:
    """Name masks by their content."""
    return [file_digests(Path(one), ["sha256"])["sha256"] for one in masks.values()]


def _masks(plan: Plan, comparer: Comparer) -> dict[str, str]:
    """Find each picture's mask, of the picture's shape; empty: the reference is not masks.

    Raises:
        SettingsError: one mask is given for several pictures, or one has another shape.
        PictureError: a picture has none.
        OutputError: one does not read.
    """
    path = Path(plan.reference)
    if not plan.reference or not path.exists():
        return {}
    if path.is_file() and len(plan.pictures) > 1:
        raise SettingsError(
            [
                Message(
                    "--reference {path} is one mask for {count} pictures; name a folder of masks"
                    " named as the pictures",
                    path=path,
                    count=len(plan.pictures),
                )
            ]
        )
    found = {one: find_mask(one, path) if path.is_dir() else path for one in plan.pictures}
    for picture, mask in found.items():
        comparer.refuse_another_shape(str(mask), str(picture))
    return {str(picture): str(mask) for picture, mask in found.items()}


def _reference(plan: Plan, masks: dict[str, str], runner: TrialRunner, folder: Path) -> Reference:
    """Take the masks, or cut the pictures out with what is trusted."""
    if masks:
        path = Path(plan.reference)
        name = str(path) if path.is_dir() else path.name
        return Reference(name=name, mattes=masks, is_ground_truth=True)
    settings, called = _trusted(plan)
    return make_reference(
        plan.pictures, settings, str(called), runner, folder, max_pixels=plan.pixel_limits()
    )


def _trusted(plan: Plan) -> tuple[Settings, Message]:
    """Give the settings of the reference, and what a person calls it.

    Raises:
        SettingsError: the name is no preset and no model.
    """
    if plan.reference:
        return find_trusted(plan.reference)
    return trusted_model(str(next(iter(plan.axes.get("model", ())), plan.base.model)))
