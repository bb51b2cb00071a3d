"""Run networks with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from rembg_tuner.base.errors import (
    CancelledError,
    EngineError,
    ModelError,
)
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.engines.onnxruntime.loading import (
    create_session,
    fix_sizes,
    open_session,
    out_of_memory,
)
from rembg_tuner.engines.onnxruntime.providers import (
    refuse_another_provider,
)
from rembg_tuner.engines.protocols import INT8_MARK, fill_up, noise, pictures_of, resolve_side
from rembg_tuner.engines.spec import ONNXRUNTIME_PROVIDERS, OPTION_ATTRIBUTES
from rembg_tuner.models.spec import check_outputs, not_a_picture

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.settings import Value

_SHRINK_CPU_ARENA = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_SPINNING = "session.{}_op.allow_spinning"
_ONLY_FATAL = 4  # log severity
# This program's names of providers, by ONNX Runtime's names.
_WORDS = {full: word for word, full in ONNXRUNTIME_PROVIDERS.items()}


def version() -> str:
    """Return ONNX Runtime's version."""
    return str(onnxruntime.__version__)


def read_back(session: onnxruntime.InferenceSession) -> dict[str, Value]:
    """Read the actual settings of a session, by the settings' names."""
    options = session.get_session_options()
    is_parallel = options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    provider = session.get_providers()[0]
    return {
        "provider": _WORDS.get(provider, provider),
        "precision": session.get_modelmeta().custom_metadata_map.get(INT8_MARK, "fp32"),
        "intra_op_threads": options.intra_op_num_threads or None,
        "inter_op_threads": options.inter_op_num_threads if is_parallel else 1,
        "execution_mode": "parallel" if is_parallel else "sequential",
        "spinning": _has_spinning(options),
        **{knob: getattr(options, name) for knob, name in OPTION_ATTRIBUTES.items()},
        # ONNX Runtime does not use a memory pattern in parallel mode.
        "mem_pattern": options.enable_mem_pattern and not is_parallel,
    }


def _has_spinning(options: onnxruntime.SessionOptions) -> bool:
    """Return whether waiting threads spin; the entry is absent unless it was set."""
    try:
        return bool(options.get_session_config_entry(_SPINNING.format("intra")) != "0")
    except RuntimeError:
        return True


def count_threads() -> int | None:
    """Count this process's threads; None: /proc is not available."""
    folder = Path("/proc/self/task")
    return len(list(folder.iterdir())) if folder.is_dir() else None


def fresh_run_options(*, is_shrinking: bool) -> onnxruntime.RunOptions:
    """Create RunOptions that are not terminated."""
    options = onnxruntime.RunOptions()
    if is_shrinking:
        options.add_run_config_entry(*_SHRINK_CPU_ARENA)
    return options


class OnnxRuntimeEngine:
    """One InferenceSession."""

    def __init__(self, request: EngineRequest) -> None:
        """Create the session.

        Raises:
            MissingProviderError: the requested provider is missing, or is not the one that runs.
            ModelError: the file is not a model, or not of the kind that this program takes.
            EngineError: the session could not be created.
        """
        settings, model = request.settings, request.model
        self._session, self.warnings = open_session(request)
        refuse_another_provider(self._session, settings.provider)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _check_inputs(inputs, request)
        check_outputs(len(outputs), Path(model.path))
        self._input, self._output = inputs[0].name, outputs[0].name
        self._path, self._batch = model.path, settings.batch_size
        height, width = (size if isinstance(size, int) else 0 for size in inputs[0].shape[2:])
        self.side = resolve_side(request, width=width, height=height)
        self._is_shrinking = settings.arena_shrink
        self._run_options = fresh_run_options(is_shrinking=self._is_shrinking)
        self.effective: dict[str, Value] = {
            "model": model.name,
            "engine": "onnxruntime",
            **read_back(self._session),
            "arena_shrink": self._is_shrinking,
            "network_size": self.side,
            "batch_size": self._batch,
        }
        if settings.provider == "tensorrt":
            options = self._session.get_provider_options()
            own = options.get(ONNXRUNTIME_PROVIDERS["tensorrt"], {})
            self.effective["precision"] = "fp16" if own.get("trt_fp16_enable") == "1" else "fp32"

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once; see `NetworkEngine`."""
        self._run_options = fresh_run_options(is_shrinking=self._is_shrinking)
        count = len(network_input)
        feed = {self._input: fill_up(network_input, self._batch)}
        output = run_session(self._session, feed, self._run_options, [self._output])[0]
        return pictures_of(output, self._path)[:count]

    def cancel(self) -> None:
        """Stop the running inference; RunOptions.terminate is read between operators."""
        self._run_options.terminate = True

    def close(self) -> None:
        """Release the session."""
        del self._session


def run_session(
    session: onnxruntime.InferenceSession,
    feed: dict[str, NetworkInput],
    run_options: onnxruntime.RunOptions,
    outputs: list[str] | None,
) -> list[RawOutput]:
    """Run a session that can be terminated.

    Raises:
        CancelledError: it was terminated.
        OutOfMemoryError: there is too little memory.
        EngineError: the run failed.
    """
    try:
        result: list[RawOutput] = session.run(outputs, feed, run_options)
    except Exception as error:  # as in create_session
        if run_options.terminate:
            raise CancelledError(Message("the run was cancelled while the network ran")) from error
        reason = " ".join(str(error).split())
        fault = out_of_memory(reason, session.get_providers()[0])
        failed = Message("ONNX Runtime failed: {reason}", reason=Quoted(reason))
        raise fault or EngineError(failed) from error
    return result


def probe(path: Path, *, side: int, batch: int) -> RawOutput:
    """Run a graph once on `noise`, with as little memory as possible, and return its first output.

    Raises:
        ModelError: it does not load.
        EngineError: it does not run.
    """
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = _ONLY_FATAL
    fix_sizes(options, side=side, batch=batch)
    session = create_session(
        str(path), options, (ONNXRUNTIME_PROVIDERS["cpu"], {}), called=str(path)
    )
    feed = {session.get_inputs()[0].name: noise(side=side, batch=batch)}
    outputs = [session.get_outputs()[0].name]
    return run_session(session, feed, fresh_run_options(is_shrinking=False), outputs)[0]


def _check_inputs(inputs: list[onnxruntime.NodeArg], request: EngineRequest) -> None:
    """Check that a graph takes pictures, float32 (n, 3, h, w), and as many as are requested.

    Raises:
        ModelError: it does not.
    """
    path, shape = Path(request.model.path), inputs[0].shape if inputs else []
    is_picture = len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(shape) == 4
    if not is_picture or (isinstance(shape[1], int) and shape[1] != 3):
        raise not_a_picture(path, [(one.name, one.type, one.shape) for one in inputs])
    declared, batch = shape[0], request.settings.batch_size
    if isinstance(declared, int) and declared != batch:
        raise ModelError(
            Message(
                "{path} takes {declared} pictures at once, and batch_size is {asked}; set"
                " batch_size to {declared}, or export it with a free batch",
                path=path,
                declared=declared,
                asked=batch,
            )
        )
