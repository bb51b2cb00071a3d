"""The previews' process seen from its parent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.children.answering import AnsweringProcess
from rembg_tuner.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings

TIMEOUT_S = 30.0  # for a picture of the greatest size, decoded whole


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
