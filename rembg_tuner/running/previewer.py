"""The previews' process seen from its parent."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.children.answering import AnsweringProcess
from rembg_tuner.errors import OutputError, PictureError, PictureTooLargeError
from rembg_tuner.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings

TIMEOUT_S = 30.0  # for a picture of the greatest size, decoded whole
INSPECTION_TIMEOUT_S = 10.0  # a visitor waits for it, and others behind them


def _process() -> AnsweringProcess:
    """Name the process."""
    return AnsweringProcess("rembg_tuner.imaging.previews", TIMEOUT_S)


@dataclass(slots=True)
class Previewer:
    """Makes previews of runs that are done."""

    _process: AnsweringProcess = field(default_factory=_process, init=False)

    def start(self) -> None:
        """Start the process unless it runs, so that it is ready when a run is done.

        Raises:
            OSError: no process could be started.
        """
        self._process.start()

    def make(self, job: Job, settings: Settings) -> str | None:
        """Make the previews that a job wants.

        Returns:
            Why there are none, as a sentence; None: they are there.
        """
        request = {
            "input": job.input,
            "output": job.output,
            # the stock pipeline leaves no matte: its cut-out itself is scaled down
            "matte": None if settings.engine == STOCK_ENGINE else job.matte,
            "preview": job.preview,
            "before": job.before_preview,
            "max_side": settings.max_side,
        }
        try:
            error: str | None = self._process.ask(request)["error"]
        except TimeoutError as reason:
            return str(reason)
        except (OSError, ValueError) as reason:
            self.close()
            return f"the previews' process ended: {reason}"
        return error

    def close(self) -> None:
        """End the process."""
        self._process.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known of an upload before it is run.

    Attributes:
        width, height: px, upright.
        preview: of a format that browsers may not show; None: they show the file itself.
    """

    width: int
    height: int
    preview: Path | None


class Inspector:
    """Checks uploads in a process of its own, so that the process that asks decodes nothing."""

    def __init__(self, timeout_s: float = INSPECTION_TIMEOUT_S) -> None:
        """Make an inspector; the process is started when first needed."""
        self._process = AnsweringProcess("rembg_tuner.imaging.previews", timeout_s)
        self._lock = threading.Lock()
        atexit.register(self.close)

    def inspect(self, picture: Path, *, max_pixels: int, preview: Path) -> Inspection:
        """Read a picture's header, and make a preview if browsers may not show the file.

        Args:
            picture: the upload.
            max_pixels: above which it is refused.
            preview: where a preview is written if one is needed.

        Raises:
            PictureError: it cannot be read, is too large or takes too long.
            OutputError: the preview cannot be written.
        """
        request = {"inspect": str(picture), "max_pixels": max_pixels, "preview": str(preview)}
        with self._lock:
            try:
                answer = self._process.ask(request)
            except TimeoutError as error:
                raise PictureError(f"{picture} was not read: {error}; choose another picture") from error  # fmt: skip
            except (OSError, ValueError) as error:
                self._process.close()
                raise PictureError(f"{picture} ended the process that reads pictures: {error}; choose another picture") from error  # fmt: skip
        if answer["error"] is not None:
            raise _ERRORS.get(answer["kind"], PictureError)(answer["error"])
        return Inspection(
            width=answer["width"],
            height=answer["height"],
            preview=preview if answer["has_preview"] else None,
        )

    def close(self) -> None:
        """End the process."""
        self._process.close()


_ERRORS = {error.kind: error for error in (PictureError, PictureTooLargeError, OutputError)}
