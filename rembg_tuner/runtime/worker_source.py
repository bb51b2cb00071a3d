"""Find or start the worker that settings need, in one slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.runtime.known_peaks import KnownPeaks
from rembg_tuner.runtime.limits import limit_of
from rembg_tuner.runtime.this_machine import read_machine, refresh
from rembg_tuner.runtime.watch import Progress
from rembg_tuner.runtime.workers import Start, start_worker
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.launching import EarlyWorker
    from rembg_tuner.runtime.meter import OwnLoad
    from rembg_tuner.runtime.watch import FailedRunError
    from rembg_tuner.runtime.workers import WarmWorker, WarmWorkers
    from rembg_tuner.settings.host import Host
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.resolve import ResolvedSettings
    from rembg_tuner.settings.settings import Settings


@dataclass(slots=True, kw_only=True)
class WorkerSource:
    """The workers of one slot; see `Runner`.

    Attributes:
        slots: how many slots share the CPUs of this machine.
        history: how earlier peaks on this machine are used.
        warm: the warm workers.
        early: a worker that the first run uses if it has the same engine.
        machine: the machine on which settings are resolved; None: this one, read again for each
            run.
        cancel: set to stop a start.
        load: the load of the workers of this process.
    """

    slots: int
    history: HistoryUse
    warm: WarmWorkers
    early: EarlyWorker | None
    machine: Machine | None
    cancel: threading.Event
    load: OwnLoad
    host: Host = field(default_factory=read_host)
    peaks: KnownPeaks = field(init=False)
    _fixed: Machine | None = field(default=None, init=False)
    _current: Machine | None = field(default=None, init=False)
    _cache: tuple[Path, tuple[Message, ...]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Divide the machine among the slots."""
        self.peaks = KnownPeaks(self.history)
        self._fixed = None if self.machine is None else self.machine.shared_by(self.slots)

    @property
    def threads(self) -> int:
        """The CPUs that a worker may use."""
        return max(1, self.host.usable_cpus // self.slots)

    def resolve(self, settings: Settings) -> ResolvedSettings:
        """Return the settings resolved for this slot.

        Raises:
            SettingsError: they are not possible here.
            ModelError: the model is missing.
        """
        machine = self._fixed or self._machine_now()
        refused = [one.reason for one in check(settings, machine) if one.missing is None]
        if refused:
            raise SettingsError(refused)
        return resolve(settings, machine)

    def _machine_now(self) -> Machine:
        """Return this machine; only the data on disk is read again on each call."""
        if self._current is None:
            self._current = read_machine().shared_by(self.slots)
        return refresh(self._current)

    def ready(
        self, asked: ResolvedSettings, on_progress: Callable[[Progress], None] | None
    ) -> WarmWorker:
        """Return the warm worker with these settings, or start a new one.

        Raises:
            FailedRunError, TunerError: the worker could not be started.
        """
        limit = limit_of(asked.settings, self.host)
        cache, cache_warnings = self.open_cache()
        expected_bytes = self.peaks.refuse_what_will_not_fit(asked, limit, cache)
        worker = self.warm.find(asked.worker_key)
        if worker is not None:
            return worker
        model = self._prepared_model(asked, cache, on_progress)
        self.warm.make_room(expected_bytes)  # last, since an invalid model must not stop one
        worker = start_worker(
            Start(
                settings=asked.worker_settings,
                model=model,
                key=asked.worker_key,
                threads=self.threads,
                cache=cache,
                memory_limit=limit,
                cancel=self.cancel,
                on_progress=on_progress,
                early=self.early,
            )
        )
        self.load.add(worker.meter.runnable_s() or 0.0, worker.start_s + worker.load_s)
        worker.warnings = (*cache_warnings, *worker.warnings)
        self.warm.add(worker)
        return worker

    def _prepared_model(
        self,
        asked: ResolvedSettings,
        cache: Path,
        on_progress: Callable[[Progress], None] | None,
    ) -> ModelSpec:
        """Convert the model for the engine if needed, and report a conversion, which takes long.

        Raises:
            ModelError: its file is damaged, or does not support another size.
            EngineError: the converter is not installed, or failed.
        """

        def report() -> None:
            if on_progress is not None:
                on_progress(Progress(stage="convert", sample=None))

        model, is_cancelled = asked.model.spec, self.cancel.is_set
        settings = asked.worker_settings
        try:
            return prepare(settings, model, cache, is_cancelled=is_cancelled, on_start=report)
        except OSError as error:
            raise ModelError(
                Message(
                    "what the engine needs made of {model} cannot be written to {cache}: {reason}",
                    model=Path(model.path),
                    cache=cache,
                    reason=error.strerror,
                )
            ) from error

    def note_ended(
        self, asked: ResolvedSettings, error: FailedRunError, worker: WarmWorker | None
    ) -> None:
        """Store that a setting exceeds its memory limit."""
        self.peaks.note_ended(asked, error, worker, self.open_cache()[0])

    def open_cache(self) -> tuple[Path, tuple[Message, ...]]:
        """Open the cache folder on the first call, and return it with its warnings."""
        if self._cache is None:
            self._cache = open_cache()
        return self._cache
