"""The measured child process: `running.process` calls `main` with ENGINE REQUEST_FD RESULT_FD.

Requests and results are JSON lines on separate pipes, since native libraries write to fd 1. The
module does not import pages, meters or plots, so the process's memory is that of the setting only.
The process exits when the parent's end of the request pipe closes.

Requests: {"op": "load", ...}, {"op": "run", ...}, {"op": "run_together", ...}, {"op": "cancel"}.
          "run_together" also names the pictures of the next request ("following"), which may be
          read meanwhile.
Results:  {"event": "ready" | "loaded" | "stage" | "done" | "done_together" | "failed", ...}.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rembg_tuner import __version__
from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.engines.table import ENGINES, open_engine
from rembg_tuner.models.spec import ModelSpec, verify
from rembg_tuner.settings.address_space import root_reason
from rembg_tuner.settings.building import build_settings
from rembg_tuner.worker.pipeline import Job, Outcome, Stages, Undone, run_job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_tuner.engines.protocols import NetworkEngine, StockEngine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.read_ahead import ReadAhead

_FIRST_TO_BE_KILLED = "1000"


class Worker:
    """A loaded engine and its current run."""

    def __init__(self, result_fd: int) -> None:
        """Open the file descriptor for results."""
        self._results = os.fdopen(result_fd, "w", encoding="utf-8")
        self._engine: NetworkEngine | StockEngine | None = None
        self._settings: Settings | None = None
        self._model: ModelSpec | None = None
        self._stages: Stages | None = None
        self._ahead: ReadAhead | None = None

    def tell(self, event: str, **content: Any) -> None:
        """Write one result line."""
        self._results.write(json.dumps({"event": event, **content}) + "\n")
        self._results.flush()

    def handle(self, request: dict[str, Any]) -> None:
        """Handle a request, and write errors as results."""
        operation, stage = request.pop("op"), "load"
        try:
            if operation == "load":
                self._load(**request)
            elif operation == "run":
                self._run(**request)
            else:
                self._run_together(**request)
        except TunerError as error:
            stage = self._stages.current if self._stages else stage
            self._fail(error.kind, error.message, stage)
        except MemoryError:
            stage = self._stages.current if self._stages else stage
            message = Message(
                "the worker ran out of memory; choose a smaller network_size or max_side, or a"
                " higher limit"
            )
            self._fail("out_of_memory", message, stage)
        except Exception as error:  # noqa: BLE001  # the outer edge: the traceback is logged
            import traceback

            traceback.print_exc()
            stage = self._stages.current if self._stages else stage
            message = Message(
                "unexpected error, please report it: {kind}: {error}",
                kind=type(error).__name__,
                error=Quoted(str(error)),
            )
            self._fail("engine_error", message, stage)
        finally:
            self._stages = None

    def _fail(self, kind: str, message: Message, stage: str) -> None:
        """Write that a request failed."""
        self.tell("failed", kind=kind, message=message.to_json(), stage=stage)

    def _load(
        self,
        *,
        settings: dict[str, object],
        model: dict[str, Any],
        threads: int,
        cache: str,
        cpu: dict[str, object],
    ) -> None:
        """Verify the model and open the engine."""
        from rembg_tuner.engines.protocols import EngineRequest

        started = time.perf_counter()
        self._settings = build_settings(settings)
        if not ENGINES[self._settings.engine].is_stock:
            from rembg_tuner.imaging import libvips

            libvips.use_threads(threads)
        self._model = ModelSpec.from_dict(model)
        digest = verify(self._model)
        self._engine = open_engine(
            EngineRequest(
                settings=self._settings,
                model=self._model,
                model_digest=digest,
                threads=threads,
                cache=Path(cache),
                cpu=cpu,
                tell=lambda phase: self.tell("stage", stage=phase),
            )
        )
        self.tell(
            "loaded",
            load_s=time.perf_counter() - started,
            effective=self._engine.effective,
            warnings=_sent(self._engine.warnings),
        )

    def _run(self, *, job: dict[str, Any], settings: dict[str, object]) -> None:
        """Cut out one picture."""
        engine, model = self._loaded()
        if self._ahead is not None:
            self._ahead.stop()
        self._stages = stages = Stages(lambda name: self.tell("stage", stage=name))
        outcome = run_job(Job.from_dict(job), build_settings(settings), engine, model, stages)
        self.tell("done", **_outcome(outcome))

    def _run_together(
        self,
        *,
        jobs: list[dict[str, Any]],
        following: list[dict[str, Any]],
        settings: dict[str, object],
    ) -> None:
        """Cut out pictures with one run of the network, and read the following ones meanwhile."""
        from rembg_tuner.worker.read_ahead import ReadAhead
        from rembg_tuner.worker.together import cut_out_together

        loaded, model = self._loaded()
        engine = cast("NetworkEngine", loaded)
        ahead = self._ahead = self._ahead or ReadAhead(engine, model)
        stages = Stages(lambda name: self.tell("stage", stage=name), cpu_clock=ahead.cpu_clock)
        self._stages = stages
        these, built = [Job.from_dict(job) for job in jobs], build_settings(settings)
        ahead.keep_only(these, built)
        ahead.following = [Job.from_dict(job) for job in following]
        came = cut_out_together(these, built, engine, model, stages, ahead=ahead)
        outcomes = [
            (
                {"kind": one.error.kind, "message": one.error.message.to_json(), "stage": one.stage}
                if isinstance(one, Undone)
                else _outcome(one)
            )
            for one in came
        ]
        self.tell("done_together", outcomes=outcomes)

    def _loaded(self) -> tuple[NetworkEngine | StockEngine, ModelSpec]:
        """Return the engine and its model.

        Raises:
            TunerError: the worker has not loaded them yet.
        """
        if self._engine is None or self._model is None:
            raise TunerError(Message("the worker received a run before a load"))
        return self._engine, self._model

    def cancel(self) -> None:
        """Cancel the current run; called from the thread that reads requests."""
        stages, engine = self._stages, self._engine
        if stages is not None and engine is not None:
            stages.cancelled.set()
            if self._ahead is not None:
                self._ahead.cancel()
            engine.cancel()


def _sent(warnings: Iterable[Message]) -> list[dict[str, object]]:
    """Convert warnings to JSON values for the pipe."""
    return [warning.to_json() for warning in warnings]


def _outcome(outcome: Outcome) -> dict[str, object]:
    """Convert an outcome to JSON values for the pipe."""
    return {**asdict(outcome), "warnings": _sent(outcome.warnings)}


def read_requests(request_fd: int, worker: Worker, requests: queue.Queue[dict[str, Any]]) -> None:
    """Read requests until the parent closes the pipe, then exit the process at once."""
    with os.fdopen(request_fd, encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            if request["op"] == "cancel":
                worker.cancel()
            else:
                requests.put(request)
    os._exit(0)


def _import_libraries(engine: str) -> dict[str, str]:
    """Import the modules that runs of this engine need, before any run, and return the versions."""
    versions = {"python": sys.version.split()[0], "rembg_tuner": __version__}
    spec = ENGINES[engine]
    if spec.is_stock:
        return {**versions, **spec.imports()}
    from rembg_tuner.imaging import compose, libvips, png_writer  # noqa: F401
    from rembg_tuner.worker import looks  # noqa: F401  # looks and compose import all of imaging

    libvips.start_libvips(1)  # the load request sets the number of threads
    versions |= {"libvips": libvips.libvips_version(), "pyvips": libvips.binding_version()}
    versions[png_writer.DEFLATE_LIBRARY] = png_writer.DEFLATE_VERSION
    return {**versions, **spec.imports()}


def _why_not_loaded(engine: str, error: Exception) -> Message:
    """Return the reason why an engine's libraries could not be imported."""
    if isinstance(error, TunerError):
        return error.message
    if isinstance(error, ModuleNotFoundError):
        return Message(
            "engine {engine} is not installed here ({error}); choose another engine, or install it",
            engine=engine,
            error=Quoted(str(error)),
        )
    return Message(
        (
            "the libraries of engine {engine} could not be loaded ({error}); choose another "
            "engine, or install it again"
        ),
        engine=engine,
        error=Quoted(str(root_reason(error))),
    )


def main(engine: str, request_fd: int, result_fd: int) -> None:
    """Handle requests until the parent closes the pipe.

    The process starts with the garbage collector off: during imports it frees no memory, but takes
    a twentieth of the time. It is enabled before any measurement. For the stock pipeline it is
    enabled at the start, because that pipeline is measured unmodified.
    """
    if ENGINES[engine].is_stock:
        gc.enable()
    # The parent process handles Ctrl-C at the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the kernel chooses by size
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")
    worker = Worker(result_fd)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    reader = threading.Thread(
        target=read_requests, args=(request_fd, worker, requests), daemon=True
    )
    reader.start()
    try:
        versions = _import_libraries(engine)
    except (TunerError, ImportError, OSError, MemoryError, RuntimeError) as error:
        message = _why_not_loaded(engine, error).to_json()
        worker.tell("failed", kind="engine_error", message=message, stage="start")
        return
    if not gc.isenabled():
        # Imported objects are never freed, and scanning them in a run would take 20 ms.
        gc.freeze()
        gc.enable()
    worker.tell("ready", versions=versions, ready_at=time.perf_counter())
    while True:
        worker.handle(requests.get())
