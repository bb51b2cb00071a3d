"""What the before/after viewer shows: a turn, or a picture that has not been run yet."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.web.pages.templating import file_link
from rembg_tuner.web.pages.views.result import brief

if TYPE_CHECKING:
    from rembg_tuner.web.pages.visit import Turn
    from rembg_tuner.web.pages.visitors import ChosenPicture


def viewer_value(turn: Turn, language: str) -> dict[str, object] | None:
    """Return what the viewer shows of a turn; None where its files are gone."""
    after, original = existing(turn.after), turn.original
    if after is None or original is None or not original.is_there:
        return None
    download = existing(turn.download)
    return {
        "turn": turn.number,
        "before": file_link(original.shown),
        "after": None if turn.is_masked else file_link(after),
        # What the cut-out's alpha is laid over, and the alpha. It is sent along: CSS would fetch a
        # mask once more.
        "colours": file_link(original.colours) if turn.is_masked else None,
        "mask": _data_address(Path(after)) if turn.is_masked else None,
        "download": file_link(download) if download else None,
        "name": Path(turn.download).name if turn.download else "",
        "backdrop": turn.backdrop,
        "source": file_link(turn.picture_path),
        "empty": turn.has_no_foreground,
        "alt": brief(turn, language),
    }


def _data_address(png: Path) -> str:
    """Return a PNG as an address that holds it."""
    return f"data:image/png;base64,{b64encode(png.read_bytes()).decode()}"


def picture_value(chosen: ChosenPicture) -> dict[str, object] | None:
    """Return what the viewer shows of a picture before it is run; None where the file is gone."""
    if not existing(chosen.shown):
        return None
    return {
        "turn": 0,
        "before": file_link(chosen.shown),
        "source": file_link(chosen.path),
        "alt": Path(chosen.path).name,
    }


def existing(path: str | None) -> str | None:
    """Return a path if a file is there."""
    return path if path and Path(path).is_file() else None
