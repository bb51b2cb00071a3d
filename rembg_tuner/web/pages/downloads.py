"""Models that somebody asked this page to get; they go on when the visitor leaves."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace

from rembg_tuner.base.errors import CancelledError, SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.models.catalogue import find_entry
from rembg_tuner.runtime.download import DownloadProgress, get_model

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A model that is being got, or was.

    Attributes:
        progress: how far it is; None: not begun.
        problem: why it failed; None: it did not.
        is_running: whether it still goes on.
    """

    progress: DownloadProgress | None = None
    problem: Message | None = None
    is_running: bool = True


class Downloads:
    """What is being got, by model."""

    def __init__(self, *, are_allowed: bool) -> None:
        """Begin with none.

        Args:
            are_allowed: whether a visitor may start one: on a public page each would fill the
                host's disk.
        """
        self.are_allowed = are_allowed
        self._states: dict[str, Download] = {}
        self._stopped: set[str] = set()
        self._lock = threading.Lock()

    def state_of(self, model: str) -> Download | None:
        """Tell how a model's download stands; None: it was not asked for."""
        return self._states.get(model)

    @property
    def is_running(self) -> bool:
        """Whether anything is being got."""
        return any(state.is_running for state in self._states.values())

    def start(self, model: str) -> None:
        """Begin to get a model, unless it is being got already.

        Raises:
            SettingsError: visitors may not.
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
        with self._lock:
            state = self._states.get(model)
            if state is not None and state.is_running:
                return
            self._states[model] = Download()
            self._stopped.discard(model)
        threading.Thread(
            target=self._run, args=(entry.name,), daemon=True, name=f"get-{model}"
        ).start()

    def stop(self, model: str) -> None:
        """Stop getting a model, if it is being got; what came is kept for another try."""
        with self._lock:
            if model in self._states:
                self._stopped.add(model)

    def _run(self, model: str) -> None:
        """Get a model in a thread of its own."""
        try:
            get_model(
                find_entry(model),
                on_progress=lambda progress: self._note(model, progress=progress),
                is_cancelled=lambda: model in self._stopped,
            )
        except CancelledError:
            self._states.pop(model, None)
        except TunerError as error:
            self._note(model, problem=error.message, is_running=False)
        except Exception:  # noqa: BLE001  # a thread's edge: nobody else would see it
            _LOG.exception("a download ended in a way nobody foresaw")
            self._note(
                model,
                problem=Message(
                    "the download ended in a way nobody foresaw, which stands in the server's log;"
                    " try again"
                ),
                is_running=False,
            )
        else:
            self._note(model, is_running=False)

    def _note(self, model: str, **changes: object) -> None:
        """Take down how it stands."""
        with self._lock:
            self._states[model] = replace(self._states.get(model, Download()), **changes)  # type: ignore[arg-type]  # fields by name
