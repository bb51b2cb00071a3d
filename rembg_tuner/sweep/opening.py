"""A sweep made ready: its grid, its reference, and the store that it goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cache import open_cache, replacing
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.errors import OutputError, PictureError, SettingsError
from rembg_tuner.host import read_host
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.meter import load_average
from rembg_tuner.sweep.grid import make_grid
from rembg_tuner.sweep.measure import ROUNDS, Ground, Reference, make_reference
from rembg_tuner.sweep.run import GUESSED_TRIAL_S, Sweep
from rembg_tuner.sweep.search import GuidedSearch, WholeGrid
from rembg_tuner.sweep.store import TrialStore, context_of
from rembg_tuner.sweep.trusted import find_trusted, trusted_model
from rembg_tuner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.comparer import Comparer
    from rembg_tuner.settings import Settings, Value
    from rembg_tuner.sweep.measure import Bench

STORE_FILE = "trials.sqlite"
PLAN_FILE = "plan.json"
_LIBRARIES = ("rembg-tuner", "onnxruntime", "openvino", "ncnn", "rembg", "pyvips")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be swept.

    Attributes:
        pictures: paths.
        axes: knobs with their values.
        base: gives the other knobs.
        reference: a preset's name, a model's, or the path of a mask or of a folder of masks named as
            the pictures; empty: the sweep's model in fp32 at its own size.
        trials: how many, searched by Optuna; None: the whole grid.
        rounds: timed runs of each picture in a trial.
        seed: of the order.
        again: whether what was measured on this machine before is measured again.
    """

    pictures: tuple[Path, ...]
    axes: Mapping[str, Sequence[Value]]
    base: Settings
    reference: str = ""
    trials: int | None = None
    rounds: int = ROUNDS
    seed: int = 0
    again: bool = False

    def grid(self) -> list[Settings]:
        """Give every setting that the axes make here.

        Raises:
            SettingsError: they make none.
        """
        return make_grid(self.axes, self.base, look_at_this_machine())

    def count(self) -> int:
        """Tell how many trials there will be."""
        settings = len(self.grid())
        return settings if self.trials is None else min(self.trials, settings)

    def guess_s(self) -> float:
        """Guess how long it takes, before anything was measured, seconds."""
        return self.count() * GUESSED_TRIAL_S * (1 + 0.4 * (len(self.pictures) - 1))

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        return {
            "pictures": [str(path) for path in self.pictures],
            "axes": {name: list(values) for name, values in self.axes.items()},
            "base": self.base.to_dict(),
            "reference": self.reference,
            "trials": self.trials,
            "rounds": self.rounds,
            "seed": self.seed,
        }


def open_sweep(
    plan: Plan, folder: Path, bench: Bench, comparer: Comparer, *, resume: bool = False
) -> Sweep:
    """Make a sweep ready to run: the reference is cut out, and what the folder has is taken.

    Args:
        plan: what to sweep.
        folder: where trials, thumbnails and reports go; made if it is not there.
        bench: runs pictures.
        comparer: compares cut-outs.
        resume: go on with the sweep that lies in the folder.

    Raises:
        SettingsError: the axes make nothing, the reference is none, or the folder holds another sweep.
        PictureError: a picture is none.
        OutputError: the folder cannot be written, or the reference not made.
    """
    grid, environment = plan.grid(), describe_environment()  # before it is loaded with our own work
    for path in plan.pictures:
        sniff(path)
    _take_folder(plan, folder, resume=resume)
    context = context_of(
        plan.pictures, _reference_key(plan), rounds=plan.rounds, machine=describe_machine()
    )
    trials = plan.count()
    search = (
        WholeGrid(grid, plan.seed)
        if plan.trials is None
        else GuidedSearch(grid, plan.axes, trials=trials, seed=plan.seed)
    )
    ground = Ground(
        pictures=plan.pictures,
        reference=_reference(plan, bench, folder),
        folder=folder,
        rounds=plan.rounds,
        comparer=comparer,
    )
    sweep = Sweep(
        search=search,
        planned=trials,
        ground=ground,
        bench=bench,
        context=context,
        own=TrialStore(folder / STORE_FILE),
        known=None if plan.again else TrialStore(open_cache()[0] / STORE_FILE),
        environment=environment,
    )
    if resume:
        sweep.resume()
    return sweep


def describe_machine() -> list[str]:
    """Name what figures depend on: CPU, cores, versions."""
    host = read_host()
    return [
        host.cpu,
        str(host.usable_cpus),
        *(f"{name} {_version_of(name)}" for name in _LIBRARIES),
    ]


def describe_environment() -> dict[str, str]:
    """Tell where and when a sweep is measured, for its report: date (UTC), machine, what it may use, its load."""
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


def _take_folder(plan: Plan, folder: Path, *, resume: bool) -> None:
    """Make the folder, or check that it holds the same sweep.

    Raises:
        SettingsError: it holds a sweep, and is not to be gone on with; or another one.
        OutputError: it cannot be written.
    """
    wanted = json.dumps(plan.to_dict(), indent=2)
    file = folder / PLAN_FILE
    if file.is_file() and not resume:
        raise SettingsError([f"{folder} holds a sweep already; go on with it by --resume, or name another -o"])  # fmt: skip
    if file.is_file() and file.read_text(encoding="utf-8") != wanted:
        raise SettingsError([f"{folder} holds a sweep of other pictures or axes; give the same ones to go on with it, or name another -o"])  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(file) as out:
            out.write(wanted.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def _reference_key(plan: Plan) -> str:
    """Name the reference so that another one is another context."""
    path = Path(plan.reference)
    if not plan.reference or not path.exists():
        settings, name = _trusted(plan)
        return json.dumps([name, settings.to_dict()])
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    return json.dumps(stats)


def _reference(plan: Plan, bench: Bench, folder: Path) -> Reference:
    """Find the masks, or cut the pictures out with what is trusted."""
    path = Path(plan.reference)
    if plan.reference and path.is_dir():
        masks = {str(one): str(_mask_of(one, path)) for one in plan.pictures}
        return Reference(name=str(path), mattes=masks, is_ground_truth=True)
    if plan.reference and path.is_file():
        if len(plan.pictures) > 1:
            raise SettingsError([f"--reference {path} is one mask for {len(plan.pictures)} pictures; name a folder of masks named as the pictures"])  # fmt: skip
        return Reference(
            name=path.name, mattes={str(plan.pictures[0]): str(path)}, is_ground_truth=True
        )
    settings, name = _trusted(plan)
    return make_reference(plan.pictures, settings, name, bench, folder)


def _mask_of(picture: Path, folder: Path) -> Path:
    """Find a picture's mask by its stem.

    Raises:
        PictureError: there is none.
    """
    found = [path for path in sorted(folder.iterdir()) if path.stem == picture.stem]
    if not found:
        raise PictureError(f"there is no mask named {picture.stem}.* in {folder}, which --reference names")  # fmt: skip
    return found[0]


def _trusted(plan: Plan) -> tuple[Settings, str]:
    """Give the settings of the reference, and what a person calls it.

    Raises:
        SettingsError: the name is no preset and no model.
    """
    if plan.reference:
        return find_trusted(plan.reference)
    return trusted_model(str(next(iter(plan.axes.get("model", ())), plan.base.model)))
