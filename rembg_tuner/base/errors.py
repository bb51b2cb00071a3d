"""What can go wrong, as a tree; each class is one kind of Failure.

    TunerError
    ├── SettingsError(ValueError)   invalid_settings: misuse, exit code 2
    ├── PresetError                 invalid_settings: presets.yaml or the name of a preset
    ├── PictureError                bad_input
    │   └── PictureTooLargeError    too_large
    ├── OutputError                 bad_output
    ├── ModelError                  bad_model
    │   └── MissingModelError       missing_model
    │       └── DownloadError       missing_model: getting it failed; what came is kept
    ├── EngineError                 engine_error
    │   ├── MissingProviderError    missing_provider
    │   └── OutOfMemoryError        out_of_memory: in the worker itself, which lives on
    └── CancelledError              cancelled

A message is one sentence for a person: what was wrong, the value given, what is allowed, what to do
next. Kinds that only the parent of a worker can see (timeout, crash, busy) have no class: they are
Failures that the runner makes, as it makes out_of_memory where the system ended the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rembg_tuner.base.messages import Message, join_sentences, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_FOREGROUND = "no_foreground"  # the code of the warning of a picture without a clear foreground


class TunerError(Exception):
    """Anything this program says went wrong; `kind` is the Failure's word for it.

    Attributes:
        message: what is said; `str(error)` writes it in English.
    """

    kind: ClassVar[str] = "engine_error"

    def __init__(self, message: Message) -> None:
        """Keep what is said."""
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        """Write it in English."""
        return str(self.message)


def message_of(error: BaseException) -> Message:
    """Return what an error says; the text of one that is not ours is quoted."""
    own = getattr(error, "message", None)
    if isinstance(own, Message):
        return own
    return quoted(str(error) or type(error).__name__)


class SettingsError(TunerError, ValueError):
    """Settings that cannot be; carries every problem found, not only the first."""

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
    """A preset that is unknown or does not read."""

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
    """A model's file that is not what it should be."""

    kind = "bad_model"


class MissingModelError(ModelError):
    """A model whose file is not on disk."""

    kind = "missing_model"


class DownloadError(MissingModelError):
    """A model's file that could not be got; what came of it is kept for another try."""


class EngineError(TunerError):
    """An engine that is not installed, or failed while loading or running."""


class MissingProviderError(EngineError):
    """An execution provider that was asked for and is absent."""

    kind = "missing_provider"


class OutOfMemoryError(EngineError):
    """Memory that an engine asked for and did not get, on the CPU's side or the GPU's."""

    kind = "out_of_memory"


class CancelledError(TunerError):
    """A run that was stopped because somebody asked for it."""

    kind = "cancelled"
