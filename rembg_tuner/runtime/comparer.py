"""Cut-outs compared, in a process of its own; seen from its parent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rembg_tuner.base.child_process import AnsweringProcess
from rembg_tuner.base.errors import OutputError, SettingsError, message_of
from rembg_tuner.base.messages import Message

TIMEOUT_S = 60.0  # for two pictures of the greatest size


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How like the reference's a cut-out's matte is; see `quality`. None: there was no reference.

    Attributes:
        small_matte: the cut-out's matte at most 32 px a side, as `SmallMatte.to_text` writes it;
            None: it was not made.
    """

    mae: float | None
    iou: float | None
    boundary_f: float | None
    has_foreground: bool
    small_matte: str | None = None


def _process() -> AnsweringProcess:
    """Name the process."""
    return AnsweringProcess("rembg_tuner.imaging.comparisons", TIMEOUT_S)


def _not_compared(about: str, reason: Message) -> OutputError:
    """Make the error of a picture that could not be compared."""
    return OutputError(
        Message("{path} could not be compared: {reason}", path=Path(about), reason=reason)
    )


@dataclass(slots=True)
class Comparer:
    """Compares cut-outs with references. Use it with `with`, or close it."""

    _process: AnsweringProcess = field(default_factory=_process, init=False)

    def __enter__(self) -> Comparer:
        """Hold the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
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
            reference: the same of what is trusted; None: nothing to compare with.
            thumbnail: where the cut-out goes at 240 px, as WebP; None: nowhere.
            difference: where the map of differences goes, as WebP; None: nowhere.

        Raises:
            OutputError: a picture does not read, one cannot be written, or the process ended.
        """
        request = {
            "cutout": cutout,
            "reference": reference,
            "thumbnail": thumbnail,
            "difference": difference,
        }
        return Comparison(**self._ask(request, cutout))

    def refuse_another_shape(self, mask: str, picture: str) -> None:
        """Check by their headers that a mask is one of a picture.

        Raises:
            SettingsError: its aspect ratio is another one.
            OutputError: one of the two does not read, or the process ended.
        """
        problem = self._ask({"mask": mask, "picture": picture}, mask)["problem"]
        if problem is not None:
            raise SettingsError([Message.from_json(problem)])

    def _ask(self, request: dict[str, Any], about: str) -> dict[str, Any]:
        """Ask the process.

        Raises:
            OutputError: it could not do it, or ended.
        """
        try:
            answer = self._process.ask(request)
        except (OSError, ValueError) as error:
            self.close()
            raise _not_compared(about, message_of(error)) from error
        problem = answer.pop("error")
        if problem is not None:
            raise _not_compared(about, Message.from_json(problem))
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.close()
