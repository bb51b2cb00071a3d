"""Model downloads that visitors start; they continue after the visitor has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.models.catalogue import find_entry
from rembg_tuner.runtime.download import get_model
from rembg_tuner.runtime.http_download import DownloadProgress
from rembg_tuner.runtime.lanes import Lane, PlainSlot

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.runtime.tasks import Task

MAX_DOWNLOADS = 8  # at the same time; the others wait


class Downloads:
    """The lane of the downloads, and the latest download of each model."""

    def __init__(self, *, are_allowed: bool) -> None:
        """Create the lane.

        Args:
            are_allowed: whether visitors may start downloads. On a public page they could fill the
                disk of the host.
        """
        self.are_allowed = are_allowed
        self._lane = Lane([PlainSlot() for _ in range(MAX_DOWNLOADS)])
        self._latest: dict[str, Task[Path]] = {}

    def task_of(self, model: str) -> Task[Path] | None:
        """Return the latest download of a model; None: there is none, or it was cancelled."""
        task = self._latest.get(model)
        is_cancelled = task is not None and (
            task.failure is not None and task.failure.kind == "cancelled"
        )
        return None if is_cancelled else task

    @property
    def is_running(self) -> bool:
        """Whether any download waits or runs."""
        return bool(self._lane.tasks)

    def start(self, model: str) -> None:
        """Start the download of a model, unless it is already running.

        Raises:
            SettingsError: visitors may not start downloads.
            ModelError: there is no such model.
        """
        if not self.are_allowed:
            raise SettingsError(
                [
                    Message(
                        "this page does not download models; its host can start it with --downloads"
                    )
                ]
            )
        entry = find_entry(model)

        def get(task: Task[Path], _: PlainSlot) -> Path:
            def record(progress: DownloadProgress) -> None:
                task.progress = progress

            return get_model(entry, on_progress=record, is_cancelled=lambda: task.is_cancelled)

        self._latest[model] = self._lane.submit(
            get, kind="download", key=entry.name, on_leave="keep"
        )

    def stop(self, model: str) -> None:
        """Stop the download of a model; the received part is kept for another attempt."""
        if model in self._latest:
            self._latest[model].cancel()
