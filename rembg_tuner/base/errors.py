"""The tree of errors; each class is one kind of Failure.

    TunerError
    ├── SettingsError(ValueError)   invalid_settings: misuse, exit code 2
    ├── PresetError                 invalid_settings: presets.yaml or the name of a preset
    ├── PictureError                bad_input
    │   └── PictureTooLargeError    too_large
    ├── OutputError                 bad_output
    ├── ModelError                  bad_model
    │   └── MissingModelError       missing_model
    │       └── DownloadError       missing_model: the download failed; the received part is kept
    ├── EngineError                 engine_error
    │   ├── MissingProviderError    missing_provider
    │   └── OutOfMemoryError        out_of_memory: in the worker, which continues to run
    └── CancelledError              cancelled

A message is one sentence for the user: what was wrong, the value given, what is allowed, what to do
next. Kinds that only the parent process of a worker can detect (timeout, crash, busy) have no
class: the runner creates those Failures. It also creates out_of_memory if the system ended the
worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rembg_tuner.base.messages import Message, join_sentences, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_FOREGROUND = "no_foreground"  # the code of the warning of a picture without a clear foreground


class TunerError(Exception):
    """Base class of this program's errors; `kind` is the kind of the Failure.

    Attributes:
        message: the text; `str(error)` returns it in English.
    """

    kind: ClassVar[str] = "engine_error"

    def __init__(self, message: Message) -> None:
        """Store the message."""
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        """Return the message in English."""
        return str(self.message)


def message_of(error: BaseException) -> Message:
    """Return an error's message; the text of an error from a library is quoted."""
    own = getattr(error, "message", None)
    if isinstance(own, Message):
        return own
    return quoted(str(error) or type(error).__name__)


class SettingsError(TunerError, ValueError):
    """Invalid settings, with every problem that was found."""

    kind = "invalid_settings"

    def __init__(self, problems: Message | Sequence[Message]) -> None:
        """Join the problems into one message.

        Args:
            problems: one, or several.
        """
        self.problems = (problems,) if isinstance(problems, Message) else tuple(problems)
        super().__init__(join_sentences(self.problems))

    def __reduce__(self) -> tuple[type[SettingsError], tuple[tuple[Message, ...]]]:
        """Pickle the problems."""
        return type(self), (self.problems,)


class PresetError(TunerError):
    """A preset that is unknown or cannot be read."""

    kind = "invalid_settings"


class PictureError(TunerError):
    """A picture that cannot be read."""

    kind = "bad_input"


class PictureTooLargeError(PictureError):
    """A picture with more pixels than the limit."""

    kind = "too_large"


class OutputError(TunerError):
    """A result that cannot be written."""

    kind = "bad_output"


class ModelError(TunerError):
    """A model file that is not valid."""

    kind = "bad_model"


class MissingModelError(ModelError):
    """A model whose file is not on disk."""

    kind = "missing_model"


class DownloadError(MissingModelError):
    """A model file that could not be downloaded; the received part is kept for the next attempt."""


class EngineError(TunerError):
    """An engine that is not installed, or failed while loading or running."""


class MissingProviderError(EngineError):
    """A requested execution provider that is not available."""

    kind = "missing_provider"


class OutOfMemoryError(EngineError):
    """An engine's failed allocation of memory, on the CPU or the GPU."""

    kind = "out_of_memory"


class CancelledError(TunerError):
    """A run that was cancelled on request."""

    kind = "cancelled"
