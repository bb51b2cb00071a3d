"""The previews' process seen from its parent."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.child_process import AnsweringProcess, LateAnswerError
from rembg_tuner.base.errors import OutputError, PictureError, PictureTooLargeError, message_of
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

TIMEOUT_S = 30.0  # for a picture of the greatest size, decoded whole
INSPECTION_TIMEOUT_S = 10.0  # a visitor waits for it, and others behind them


def _process() -> AnsweringProcess:
    """Name the process."""
    return AnsweringProcess("rembg_tuner.imaging.previews", TIMEOUT_S)


@dataclass(slots=True)
class Previewer:
    """Makes previews of runs that are done."""

    _process: AnsweringProcess = field(default_factory=_process, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def start(self) -> None:
        """Start the process unless it runs, and wait until it answers.

        Trouble is told by `make`, which starts anew.
        """
        with self._lock:
            try:
                self._process.ask({"op": "ready"})
            except (OSError, ValueError):
                self.close()

    def make(self, job: Job, settings: Settings) -> Message | None:
        """Make the previews that a job wants.

        Returns:
            Why there are none; None: they are there.
        """
        request = {
            "op": "make",
            "input": job.input,
            "output": job.output,
            # the stock pipeline leaves no matte: its cut-out itself is scaled down
            "matte": None if settings.engine_spec.is_stock else job.matte,
            "preview": job.preview,
            "mask": job.mask,
            "before": job.before_preview,
            "max_side": settings.max_side,
        }
        with self._lock:
            try:
                error = self._process.ask(request)["error"]
            except LateAnswerError as reason:
                return reason.message
            except (OSError, ValueError) as reason:
                self.close()
                return Message("the previews' process ended: {reason}", reason=message_of(reason))
        return None if error is None else Message.from_json(error)

    def close(self) -> None:
        """End the process."""
        self._process.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known of an upload before it is run.

    Attributes:
        width, height: px, upright.
        is_shown: whether browsers can be relied on to show the file.
    """

    width: int
    height: int
    is_shown: bool


class Inspector:
    """Checks uploads in a process of its own, so that the process that asks decodes nothing."""

    def __init__(self, timeout_s: float = INSPECTION_TIMEOUT_S) -> None:
        """Make an inspector; the process is started when first needed."""
        self._process = AnsweringProcess("rembg_tuner.imaging.previews", timeout_s)
        self._lock = threading.Lock()
        atexit.register(self.close)

    def inspect(self, picture: Path, *, max_pixels: int) -> Inspection:
        """Read a picture's header.

        Args:
            picture: the upload.
            max_pixels: above which it is refused.

        Raises:
            PictureError: it cannot be read, is too large or takes too long.
        """
        answer = self._ask(
            picture, {"op": "inspect", "input": str(picture), "max_pixels": max_pixels}
        )
        return Inspection(**{name: answer[name] for name in ("width", "height", "is_shown")})

    def make_original(self, picture: Path, target: Path, *, max_pixels: int) -> None:
        """Write what the page shows of a picture: see `imaging.previews.write_original`.

        Args:
            picture: the upload.
            target: where the JPEG goes.
            max_pixels: above which the picture is refused.

        Raises:
            PictureError: it cannot be read, is too large or takes too long.
            OutputError: the file cannot be written.
        """
        request = {"op": "original", "input": str(picture), "max_pixels": max_pixels}
        self._ask(picture, {**request, "before": str(target)})

    def _ask(self, picture: Path, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the process about a picture.

        Raises:
            TunerError: of the kind that the process names.
        """
        with self._lock:
            try:
                answer = self._process.ask(request)
            except LateAnswerError as error:
                raise PictureError(
                    Message(
                        "{path} was not read: {reason}; choose another picture",
                        path=picture,
                        reason=error.message,
                    )
                ) from error
            except (OSError, ValueError) as error:
                self._process.close()
                raise PictureError(
                    Message(
                        "{path} ended the process that reads pictures: {reason}; choose another"
                        " picture",
                        path=picture,
                        reason=message_of(error),
                    )
                ) from error
        if answer["error"] is not None:
            raise _ERRORS.get(answer["kind"], PictureError)(Message.from_json(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.close()


_ERRORS = {error.kind: error for error in (PictureError, PictureTooLargeError, OutputError)}
