"""Cut-outs compared, in a process of its own; seen from its parent."""

from __future__ import annotations

from dataclasses import dataclass, field

from rembg_tuner.answering import AnsweringProcess
from rembg_tuner.errors import OutputError

TIMEOUT_S = 60.0  # for two pictures of the greatest size


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How like the reference's a cut-out's matte is; see `quality`. None: there was no reference."""

    mae: float | None
    iou: float | None
    boundary_f: float | None
    has_foreground: bool


def _process() -> AnsweringProcess:
    """Name the process."""
    return AnsweringProcess("rembg_tuner.imaging.comparisons", TIMEOUT_S)


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
        try:
            answer = self._process.ask(request)
        except (OSError, ValueError) as error:
            self.close()
            raise OutputError(f"{cutout} could not be compared: {error}") from error
        problem = answer.pop("error")
        if problem is not None:
            raise OutputError(f"{cutout} could not be compared: {problem}")
        return Comparison(**answer)

    def close(self) -> None:
        """End the process."""
        self._process.close()
