"""Define the values of an export: the request, the measured figures, and the exported text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.base.small_matte import read_small_matte
from rembg_tuner.models.spec import file_digests
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.records import (
    HASH_LETTERS,
    OWN_PICTURES,
    RecordedPicture,
    engine_with_version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.trials import PictureTrial, Trial

FILE_NAMES = {
    "compose": "compose.yaml",
    "dockerfile": "Dockerfile",
    "rembg": "rembg.sh",
    "python": "cutout.py",
    "env": "tuned.env",
    "preset": "presets.yaml",
}
TARGETS = tuple(FILE_NAMES)
_LIMITS = ("timeout_s", "memory_limit_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measured figures of a setting.

    Attributes:
        peak_bytes: peak RSS, bytes.
        time_s: median time of a run, seconds.
        n: number of timed runs.
        date: of the measurement.
        cpu: the CPU's name.
        cores: number of CPUs.
        picture: description of the picture.
        precision: the number format of the runs; empty: not recorded.
        cpu_formats: the number formats that the CPU has instructions for; None: unknown.
        engine: the engine's name and version; empty: unknown.
        pictures: the pictures with their mattes; empty: unknown.
    """

    peak_bytes: int
    time_s: float
    n: int
    date: str
    cpu: str
    cores: int
    picture: str = OWN_PICTURES
    precision: str = ""
    cpu_formats: tuple[str, ...] | None = None
    engine: str = ""
    pictures: tuple[RecordedPicture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A text that runs a setting.

    Attributes:
        target: one of `TARGETS`.
        file_name: its usual name.
        text: its content.
        notes: unsupported settings and advice, one sentence each.
        files: the local paths in the text.
        beside: files to copy into the text's folder: the name there, and the local path.
    """

    target: str
    file_name: str
    text: str
    notes: tuple[Message, ...] = ()
    files: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()

    def beside_notes(self) -> list[Message]:
        """Return a sentence for each file to copy into the text's folder."""
        return [
            Message(
                "copy {path} into the folder of {file} as {name}",
                path=Path(path),
                file=self.file_name,
                name=name,
            )
            for name, path in self.beside
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """The setting to export, and the name of its preset."""

    settings: Settings
    measured: Measured | None
    name: str


def make_export(
    target: str,
    text: str,
    *notes: Message,
    files: tuple[str, ...] = (),
    beside: tuple[tuple[str, str], ...] = (),
) -> Export:
    """Create an export from a text."""
    name = FILE_NAMES[target]
    return Export(target=target, file_name=name, text=text, notes=notes, files=files, beside=beside)


def limit_notes(settings: Settings) -> list[Message]:
    """Return a note on the setting's limits, which a command or a script does not enforce."""
    limits = [Term(name, "knob") for name in _LIMITS if name in settings.changed()]
    if not limits:
        return []
    return [
        Message(
            "only rembg tuner itself enforces {knobs}, not this export",
            knobs=join_parts(limits, " and "),
        )
    ]


def measured_of_trial(trial: Trial, environment: Mapping[str, str]) -> Measured:
    """Return a measured trial's figures.

    Args:
        trial: a trial of a sweep.
        environment: the machine's cpu and cores, the engines' versions, and the sweep's date, which
            is used for a trial without a date.

    Raises:
        ValueError: the trial was not measured.
        SettingsError: the sweep does not record its number of cores.
    """
    peak, time_s, _ = trial.costs()
    cores = environment.get("cores", "")
    if not cores.isdecimal():
        raise SettingsError(
            Message(
                "the sweep does not record its number of cores, got {cores!r}; run the sweep again",
                cores=cores,
            )
        )
    return Measured(
        peak_bytes=int(peak),
        time_s=time_s,
        n=trial.n,
        date=trial.date or environment.get("date", "date unknown"),
        cpu=environment.get("cpu", "CPU unknown"),
        cores=int(cores),
        precision=str(trial.effective.get("precision", "")),
        cpu_formats=_cpu_formats(environment),
        engine=engine_with_version(trial.settings.engine, environment.get("versions", "")),
        pictures=_recorded_pictures(trial.pictures),
    )


def _cpu_formats(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the number formats of the sweep's CPU; None: the sweep ran on another machine."""
    host = read_host()
    there = (environment.get("cpu"), environment.get("cores"))
    return host.fast_formats if there == (host.cpu, str(host.usable_cpus)) else None


def _recorded_pictures(pictures: Sequence[PictureTrial]) -> tuple[RecordedPicture, ...]:
    """Return the records of a trial's pictures; empty if a file or a matte is missing."""
    found = []
    for one in pictures:
        path = Path(one.input)
        if one.small_matte is None or not path.is_file():
            return ()
        digest = file_digests(path, ["sha256"])["sha256"][:HASH_LETTERS]
        matte = read_small_matte(one.small_matte)
        found.append(RecordedPicture(name=path.name, sha256=digest, matte=matte))
    return tuple(found)
