"""The child processes that compare cut-outs, make previews and check uploads.

Therefore this process does not decode pictures.
"""

from __future__ import annotations

import atexit
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.child_process import AnswerTimeoutError, ChildProcess
from rembg_tuner.base.errors import (
    OutputError,
    PictureError,
    PictureTooLargeError,
    SettingsError,
    message_of,
)
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

COMPARISON_TIMEOUT_S = 60.0  # for two pictures of the largest size
PREVIEW_TIMEOUT_S = 30.0  # for a picture of the largest size, decoded whole
INSPECTION_TIMEOUT_S = 10.0  # a visitor waits for it, and the queue behind


def _child(module: str) -> ChildProcess:
    """Return the child process that runs a module of `imaging`."""
    return ChildProcess((sys.executable, "-P", "-m", f"rembg_tuner.imaging.{module}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The agreement of a cut-out with the reference; see `quality`. None: no reference.

    Attributes:
        small_matte: the cut-out's matte, at most 32 px a side, as written by `SmallMatte.to_text`;
            None: it was not made.
    """

    mae: float | None
    iou: float | None
    boundary_f: float | None
    has_foreground: bool
    small_matte: str | None = None


def _not_compared(about: str, reason: Message) -> OutputError:
    """Return the error of a picture that could not be compared."""
    return OutputError(
        Message("{path} could not be compared: {reason}", path=Path(about), reason=reason)
    )


@dataclass(slots=True)
class Comparer:
    """Compares cut-outs with references. Use it with `with`, or close it."""

    _process: ChildProcess = field(default_factory=lambda: _child("comparisons"), init=False)

    def __enter__(self) -> Comparer:
        """Return the comparer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self.close()

    def compare(
        self,
        cutout: str,
        reference: str | None,
        *,
        thumbnail: str | None = None,
        difference: str | None = None,
    ) -> Comparison:
        """Compare a cut-out with a reference.

        Args:
            cutout: path of a picture with alpha, or of a mask.
            reference: path of the reference, of the same kind; None: there is no reference.
            thumbnail: path of the cut-out at 240 px as WebP; None: it is not written.
            difference: path of the map of differences as WebP; None: it is not written.

        Raises:
            OutputError: a picture cannot be read or written, or the process ended.
        """
        request = {
            "cutout": cutout,
            "reference": reference,
            "thumbnail": thumbnail,
            "difference": difference,
        }
        return Comparison(**self._ask(request, cutout))

    def refuse_another_shape(self, mask: str, picture: str) -> None:
        """Check that a mask has the aspect ratio of a picture; only the headers are read.

        Raises:
            SettingsError: the aspect ratios differ.
            OutputError: a file cannot be read, or the process ended.
        """
        problem = self._ask({"mask": mask, "picture": picture}, mask)["problem"]
        if problem is not None:
            raise SettingsError([Message.from_json(problem)])

    def _ask(self, request: dict[str, Any], about: str) -> dict[str, Any]:
        """Send a request to the process, and return its answer.

        Raises:
            OutputError: the request failed, or the process ended.
        """
        try:
            answer = self._process.ask(request, COMPARISON_TIMEOUT_S)
        except (OSError, ValueError) as error:
            self.close()
            raise _not_compared(about, message_of(error)) from error
        problem = answer.pop("error")
        if problem is not None:
            raise _not_compared(about, Message.from_json(problem))
        return answer

    def close(self) -> None:
        """Stop the process."""
        self._process.close()


@dataclass(slots=True)
class Previewer:
    """Makes previews of runs that have ended. Call `close` after use."""

    _process: ChildProcess = field(default_factory=lambda: _child("previews"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def start(self) -> None:
        """Start the process unless it runs, and wait until it answers.

        Errors are not raised: `make` starts it again and reports them.
        """
        with self._lock:
            try:
                self._process.ask({"op": "ready"}, PREVIEW_TIMEOUT_S)
            except (OSError, ValueError):
                self.close()

    def make(self, job: Job, settings: Settings) -> Message | None:
        """Make the previews of a job.

        Returns:
            The reason why there are no previews; None: they were made.
        """
        request = {
            "op": "make",
            "input": job.input,
            "output": job.output,
            # the stock pipeline does not write a matte: its cut-out is scaled down instead
            "matte": None if settings.engine_spec.is_stock else job.matte,
            "preview": job.preview,
            "mask": job.mask,
            "before": job.before_preview,
            "max_side": settings.max_side,
        }
        with self._lock:
            try:
                error = self._process.ask(request, PREVIEW_TIMEOUT_S)["error"]
            except AnswerTimeoutError as reason:
                return reason.message
            except (OSError, ValueError) as reason:
                self.close()
                return Message("the previews' process ended: {reason}", reason=message_of(reason))
        return None if error is None else Message.from_json(error)

    def close(self) -> None:
        """Stop the process."""
        self._process.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The properties of an upload before it runs.

    Attributes:
        width, height: px, in upright orientation.
        is_shown: whether all browsers can display the file.
    """

    width: int
    height: int
    is_shown: bool


class Inspector:
    """Checks uploads in a child process, so that this process does not decode pictures."""

    def __init__(self, timeout_s: float = INSPECTION_TIMEOUT_S) -> None:
        """Create an inspector; the first request starts the process."""
        self._process = _child("previews")
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        atexit.register(self.close)

    def inspect(self, picture: Path, *, max_pixels: int) -> Inspection:
        """Read a picture's header.

        Args:
            picture: the upload.
            max_pixels: maximum number of pixels; larger pictures are refused.

        Raises:
            PictureError: the picture cannot be read, is too large or takes too long.
        """
        answer = self._ask(
            picture, {"op": "inspect", "input": str(picture), "max_pixels": max_pixels}
        )
        return Inspection(**{name: answer[name] for name in ("width", "height", "is_shown")})

    def make_original(self, picture: Path, target: Path, *, max_pixels: int) -> None:
        """Write the version of a picture that the page shows.

        See `imaging.previews.write_original`.

        Args:
            picture: the upload.
            target: path of the JPEG.
            max_pixels: maximum number of pixels; larger pictures are refused.

        Raises:
            PictureError: the picture cannot be read, is too large or takes too long.
            OutputError: the file cannot be written.
        """
        request = {"op": "original", "input": str(picture), "max_pixels": max_pixels}
        self._ask(picture, {**request, "before": str(target)})

    def _ask(self, picture: Path, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request about a picture, and return the answer.

        Raises:
            TunerError: an error of the kind that the process reports.
        """
        with self._lock:
            try:
                answer = self._process.ask(request, self._timeout_s)
            except AnswerTimeoutError as error:
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
        """Stop the process."""
        self._process.close()


_ERRORS = {error.kind: error for error in (PictureError, PictureTooLargeError, OutputError)}
