"""The Python API: cut out pictures in a worker process that is started once.

    from rembg_tuner.api import Cutter, Failure

    with Cutter("fastest") as cutter:
        for name in ("cup.jpg", "lamp.jpg"):
            outcome = cutter.cut(name)
            if isinstance(outcome, Failure):
                print(outcome.kind, outcome.message)
            else:
                print(outcome.output, outcome.total_s, outcome.peak_rss_bytes)

It prints nothing. Misuse raises a TunerError; a run that fails returns a Failure.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.errors import OutputError, SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.formats import check_output
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import DEFAULT_PRESET, find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Cutter", "Failure", "Result", "TunerError"]


class Cutter:
    """Cuts out one picture at a time with one setting; a context manager.

    Attributes:
        settings: the preset with the overrides.
        warnings: the preset's values that this machine does not support; each Result has them too.
    """

    def __init__(self, preset: str | None = DEFAULT_PRESET, **overrides: object) -> None:
        """Check the settings; the first cut starts the worker.

        Args:
            preset: a preset's name; None: the knobs' own defaults.
            overrides: knobs by name, such as network_size=320; see docs/settings.md.

        Raises:
            PresetError: the preset is unknown.
            SettingsError: an override is not valid; lists every problem.
        """
        machine = read_machine()
        found = None if preset is None else find_preset(preset)
        settings, self.warnings = requested_settings(found, overrides, machine)
        if "batch_size" in overrides and settings.batch_size != 1:
            raise SettingsError(
                [
                    Message(
                        "batch_size {size} is for several pictures at once, and Cutter takes one at"
                        " a time; leave it out",
                        size=settings.batch_size,
                    )
                ]
            )
        self.settings = replace(settings, batch_size=1)
        self._runner = Runner(machine=machine)
        self._is_closed = False

    def cut(
        self,
        picture: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        *,
        background: str | None = None,
    ) -> Result | Failure:
        """Cut out a picture, and wait until the output file is written.

        Args:
            picture: path of the picture.
            output: .png, .webp or .jpg; None: <stem>.cutout.png beside the picture.
            background: a colour's name or #rrggbb; None: transparent.

        Returns:
            A Result with the path and the measurements, or a Failure with its kind and message.

        Raises:
            OutputError: the output's format is not supported, or it would replace the picture.
            SettingsError: the colour is unknown, or the Cutter is closed.
        """
        if self._is_closed:
            raise SettingsError([Message("this Cutter is closed; create another")])
        source = Path(picture)
        target = source.with_name(f"{source.stem}.cutout.png") if output is None else Path(output)
        colour = None if background is None else parse_colour(background)
        check_output(target, colour)
        if target.resolve() == source.resolve():
            raise OutputError(
                Message("the cut-out would replace the picture {path}; name another", path=source)
            )
        job = Job(input=str(source), output=str(target), background=colour)
        return self._runner.run(job, self.settings, warnings=self.warnings)

    def close(self) -> None:
        """Stop the worker."""
        self._is_closed = True
        self._runner.__exit__(None, None, None)

    def __enter__(self) -> Self:
        """Return the Cutter."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the worker."""
        self.close()
