"""What is exported, and what was measured of it."""

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

TARGETS = ("compose", "dockerfile", "rembg", "python", "env", "preset")
FILE_NAMES = {
    "compose": "compose.yaml",
    "dockerfile": "Dockerfile",
    "rembg": "rembg.sh",
    "python": "cutout.py",
    "env": "tuned.env",
    "preset": "presets.yaml",
}
_KEPT_BY_US = ("timeout_s", "memory_limit_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of a setting: bytes, seconds, how many runs, when, on what.

    Attributes:
        picture: what was cut out.
        precision: the number format that it ran in; empty: not told.
        cpu_formats: the number formats that the CPU has instructions for; None: not known.
        engine: the engine's name and version; empty: not known.
        pictures: those that were cut out, with their mattes; empty: not known.
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
        target: of `TARGETS`.
        file_name: what it is usually called.
        text: the file.
        notes: what it does not carry, and what to know, each a sentence.
        files: the paths of this machine that the text names.
        beside: what the text needs in its own folder: the name there, and the file's path here.
    """

    target: str
    file_name: str
    text: str
    notes: tuple[Message, ...] = ()
    files: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()

    def beside_notes(self) -> list[Message]:
        """Return what to copy next to the text."""
        return [
            Message(
                "put a copy of {path} into the folder of {file}, as {name}",
                path=Path(path),
                file=self.file_name,
                name=name,
            )
            for name, path in self.beside
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is to be exported."""

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
    """Make an export of a text."""
    name = FILE_NAMES[target]
    return Export(target=target, file_name=name, text=text, notes=notes, files=files, beside=beside)


def measured_of_trial(trial: Trial, environment: Mapping[str, str]) -> Measured:
    """Give a measured trial's figures.

    Args:
        trial: of a sweep.
        environment: cpu and cores of the machine, and the sweep's date for a trial that does not
            tell its own.

    Raises:
        ValueError: it was not measured.
        SettingsError: the sweep does not tell its cores, by which CPUs are given.
    """
    peak, time_s, _ = trial.costs()
    cores = environment.get("cores", "")
    if not cores.isdecimal():
        raise SettingsError(
            [
                Message(
                    "the sweep does not tell on how many cores it was measured, got {cores!r};"
                    " sweep again",
                    cores=cores,
                )
            ]
        )
    return Measured(
        peak_bytes=int(peak),
        time_s=time_s,
        n=trial.n,
        date=trial.date or environment.get("date", "date unknown"),
        cpu=environment.get("cpu", "CPU unknown"),
        cores=int(cores),
        precision=str(trial.effective.get("precision", "")),
        cpu_formats=_formats_of(environment),
        engine=engine_with_version(trial.settings.engine, environment.get("versions", "")),
        pictures=_recorded_pictures(trial.pictures),
    )


def _formats_of(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the number formats of a sweep's CPU.

    None: it is another CPU than this one, whose are not known.
    """
    host = read_host()
    is_here = (environment.get("cpu"), environment.get("cores")) == (
        host.cpu,
        str(host.usable_cpus),
    )
    return host.fast_formats if is_here else None


def _recorded_pictures(pictures: Sequence[PictureTrial]) -> tuple[RecordedPicture, ...]:
    """Return what is recorded of a trial's pictures.

    Empty where one is gone, or an older version measured it.
    """
    found = []
    for one in pictures:
        path = Path(one.input)
        if one.small_matte is None or not path.is_file():
            return ()
        digest = file_digests(path, ["sha256"])["sha256"][:HASH_LETTERS]
        matte = read_small_matte(one.small_matte)
        found.append(RecordedPicture(name=path.name, sha256=digest, matte=matte))
    return tuple(found)


def kept_notes(settings: Settings) -> list[Message]:
    """Say which of a setting's knobs are limits that a command or a script does not keep."""
    kept = [Term(name, "knob") for name in _KEPT_BY_US if name in settings.changed()]
    return (
        [
            Message(
                "only rembg tuner's runner keeps {knobs}, nothing does here",
                knobs=join_parts(kept, " and "),
            )
        ]
        if kept
        else []
    )
