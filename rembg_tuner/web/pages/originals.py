"""What the page shows of a picture.

Made once, when it is chosen or with its first run, and kept for the visit.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_tuner.imaging.formats import PREVIEW_SIDE

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A picture's files for the page, at most 1600 px.

    Attributes:
        colours: the JPEG over which a cut-out's mask is laid.
        shown: what is shown as the picture: the JPEG, or a WebP where the picture has transparency
            of its own.
    """

    colours: str
    shown: str

    @classmethod
    def of(cls, colours: str) -> Self:
        """Return what was made of a picture, by its JPEG's path."""
        with_alpha = Path(colours).with_suffix(".webp")
        return cls(colours=colours, shown=str(with_alpha) if with_alpha.is_file() else colours)

    @property
    def is_there(self) -> bool:
        """Whether its files have not been swept away."""
        return Path(self.colours).is_file() and Path(self.shown).is_file()

    def keep(self) -> None:
        """Make its files as young as the run that uses them, so that they are not swept away before its own."""
        for path in {self.colours, self.shown}:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)


class Originals:
    """A visit's originals by picture and side."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[str, int], Original] = {}

    def find(self, picture: str, settings: Settings | None = None) -> Original | None:
        """Return what was made of a picture for runs with these settings.

        None where nothing is there.
        """
        found = self._found.get((picture, _side(settings)))
        return found if found is not None and found.is_there else None

    def add(self, picture: str, original: Original, settings: Settings | None = None) -> None:
        """Keep what was made of a picture."""
        self._found[(picture, _side(settings))] = original


def _side(settings: Settings | None) -> int:
    """Return the longest side of what is shown of a run, px.

    Without settings as of one at full size.
    """
    max_side = settings.max_side if settings is not None else 0
    return min(max_side or PREVIEW_SIDE, PREVIEW_SIDE)
