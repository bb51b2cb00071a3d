"""ONNX Runtime; the only door to onnxruntime.

Thread counts, arena and pattern are attributes of SessionOptions: as provider options or keyword
arguments they would be ignored in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from rembg_tuner.engines import first_matte
from rembg_tuner.errors import CancelledError, EngineError, MissingProviderError, ModelError
from rembg_tuner.models.freed import HEIGHT, WIDTH

if TYPE_CHECKING:
    from rembg_tuner.engines import EngineRequest
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings import Settings, Value

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_PROVIDER_WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu and TensorRT",
    "openvino": "onnxruntime-openvino",
}
_SHRINK_CPU_ARENA = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_NO_CPU_FALLBACK = ("session.disable_cpu_ep_fallback", "1")
_SPINNING = "session.{}_op.allow_spinning"
_ONLY_ERRORS = 3


def version() -> str:
    """Give ONNX Runtime's version."""
    return str(onnxruntime.__version__)


def require_provider(provider: str) -> str:
    """Give ONNX Runtime's name of an execution provider.

    Raises:
        MissingProviderError: this build does not have it.
    """
    name = PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if name not in available:
        have = ", ".join(word for word, full in PROVIDERS.items() if full in available)
        raise MissingProviderError(
            f"execution provider {provider} is not in this ONNX Runtime, which has {have}; put "
            f"{_PROVIDER_WHEELS[provider]} in place of onnxruntime, or choose provider cpu"
        )
    return name


def session_options(settings: Settings, *, threads: int) -> onnxruntime.SessionOptions:
    """Make SessionOptions of settings.

    Args:
        settings: threads, arena, pattern, mode and spinning are read.
        threads: what 0 intra-op threads is replaced by; 0 leaves ONNX Runtime's own default.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads or threads
    options.inter_op_num_threads = settings.inter_op_threads
    options.enable_cpu_mem_arena = settings.cpu_mem_arena
    options.enable_mem_pattern = settings.mem_pattern
    if settings.execution_mode == "parallel":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = settings.inter_op_threads or threads
    if not settings.spinning:
        options.add_session_config_entry(_SPINNING.format("intra"), "0")
        options.add_session_config_entry(_SPINNING.format("inter"), "0")
    options.log_severity_level = _ONLY_ERRORS
    return options


def read_back(session: onnxruntime.InferenceSession) -> dict[str, Value]:
    """Read from a session what it does, by the settings' names."""
    options = session.get_session_options()
    is_parallel = options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    provider = session.get_providers()[0]
    words = {full: word for word, full in PROVIDERS.items()}
    return {
        "provider": words.get(provider, provider),
        "precision": "fp32",
        "intra_op_threads": options.intra_op_num_threads or None,
        "inter_op_threads": options.inter_op_num_threads if is_parallel else 1,
        "execution_mode": "parallel" if is_parallel else "sequential",
        "spinning": _has_spinning(options),
        "cpu_mem_arena": options.enable_cpu_mem_arena,
        # ONNX Runtime makes no memory pattern in parallel mode, whatever was asked.
        "mem_pattern": options.enable_mem_pattern and not is_parallel,
    }


def _has_spinning(options: onnxruntime.SessionOptions) -> bool:
    """Tell whether waiting threads spin; the entry is absent unless it was set."""
    try:
        return bool(options.get_session_config_entry(_SPINNING.format("intra")) != "0")
    except RuntimeError:
        return True


def count_threads() -> int | None:
    """Count this process's threads; None where /proc does not tell."""
    folder = Path("/proc/self/task")
    return len(list(folder.iterdir())) if folder.is_dir() else None


def fresh_run_options(*, is_shrinking: bool) -> onnxruntime.RunOptions:
    """Make RunOptions that have not been told to terminate."""
    options = onnxruntime.RunOptions()
    if is_shrinking:
        options.add_run_config_entry(*_SHRINK_CPU_ARENA)
    return options


class OnnxRuntimeEngine:
    """One InferenceSession."""

    def __init__(self, request: EngineRequest) -> None:
        """Make the session.

        Raises:
            MissingProviderError: the provider asked for is absent, or is not what runs.
            ModelError: the file is no model, or not of the kind this program takes.
            EngineError: the session could not be made.
        """
        settings = request.settings
        provider = require_provider(settings.provider)
        options = session_options(settings, threads=request.threads)
        if settings.provider != "cpu":
            options.add_session_config_entry(*_NO_CPU_FALLBACK)
        if settings.network_size:
            options.add_free_dimension_override_by_name(HEIGHT, settings.network_size)
            options.add_free_dimension_override_by_name(WIDTH, settings.network_size)
        self._session = make_session(request.model, options, provider)
        if self._session.get_providers()[0] != provider:
            raise MissingProviderError(
                f"execution provider {settings.provider} was asked for, and ONNX Runtime runs "
                f"{self._session.get_providers()[0]} instead; its libraries may be missing"
            )
        taken, given = self._session.get_inputs(), self._session.get_outputs()
        if not _takes_a_picture(taken):
            raise ModelError(
                f"{request.model.path} does not take one picture: its inputs are {[(i.name, i.type, i.shape) for i in taken]}, and one tensor(float) of shape (1, 3, height, width) is needed"
            )
        self._input, self._output = taken[0].name, given[0].name
        self._path = request.model.path
        self.side = _side(request, taken[0].shape)
        self._is_shrinking = settings.arena_shrink
        self._run_options = fresh_run_options(is_shrinking=self._is_shrinking)
        self.warnings: tuple[str, ...] = ()
        self.effective: dict[str, Value] = {
            "model": request.model.name,
            "engine": "onnxruntime",
            **read_back(self._session),
            "arena_shrink": self._is_shrinking,
            "network_size": self.side,
        }
        if settings.mem_pattern and not self.effective["mem_pattern"]:
            self.warnings = (
                "mem_pattern has no effect in execution_mode parallel: ONNX Runtime makes none there",
            )

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once; see `NetworkEngine`."""
        self._run_options = fresh_run_options(is_shrinking=self._is_shrinking)
        feed = {self._input: network_input}
        output = run_session(self._session, feed, self._run_options, [self._output])[0]
        return first_matte(output, self._path)

    def cancel(self) -> None:
        """End the running inference; RunOptions.terminate is read between operators."""
        self._run_options.terminate = True

    def close(self) -> None:
        """Drop the session."""
        del self._session


def make_session(
    model: ModelSpec, options: onnxruntime.SessionOptions, provider: str
) -> onnxruntime.InferenceSession:
    """Make a session of a model's file.

    Raises:
        ModelError: the file is no ONNX, cut short, or newer than this ONNX Runtime.
        EngineError: anything else.
    """
    try:
        return onnxruntime.InferenceSession(
            model.graph_path, sess_options=options, providers=[provider]
        )
    except Exception as error:  # the binding's own exception classes share no base but Exception
        reason = " ".join(str(error).split())
        kind = type(error).__name__
        if kind in (
            "InvalidProtobuf",
            "InvalidGraph",
            "InvalidArgument",
            "NoSuchFile",
            "NotImplemented",
            "Fail",
        ):
            raise ModelError(
                f"{model.path} is not a model that ONNX Runtime loads: {reason}"
            ) from error
        raise EngineError(f"ONNX Runtime could not load {model.path}: {reason}") from error


def run_session(
    session: onnxruntime.InferenceSession,
    feed: dict[str, NetworkInput],
    run_options: onnxruntime.RunOptions,
    outputs: list[str] | None,
) -> list[RawOutput]:
    """Run a session that can be told to terminate.

    Raises:
        CancelledError: it was.
        EngineError: the run failed.
    """
    try:
        result: list[RawOutput] = session.run(outputs, feed, run_options)
    except Exception as error:  # as in make_session
        if run_options.terminate:
            raise CancelledError("the run was cancelled while the network ran") from error
        raise EngineError(f"ONNX Runtime failed: {' '.join(str(error).split())}") from error
    return result


def _takes_a_picture(inputs: list[onnxruntime.NodeArg]) -> bool:
    """Tell whether a graph takes one RGB picture: float32 (n, 3, h, w)."""
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        return False
    channels = inputs[0].shape[1]
    return channels == 3 or not isinstance(channels, int)


def _side(request: EngineRequest, shape: list[int | str]) -> int:
    """Tell the side the network is fed with: asked, else the graph's, else the catalogue's.

    Raises:
        ModelError: none of them says.
    """
    declared = [size for size in shape[2:] if isinstance(size, int)]
    if len(set(declared)) == 2:
        raise ModelError(
            f"{request.model.path} takes {declared[1]} x {declared[0]} px, and only square inputs are run here"
        )
    side = request.settings.network_size or (declared[0] if declared else request.model.side)
    if side is None:
        raise ModelError(f"{request.model.path} leaves its input size open; give --network-size")
    return side


def available_providers() -> list[str]:
    """List the execution providers of this build, by our words."""
    present = onnxruntime.get_available_providers()
    return [word for word, full in PROVIDERS.items() if full in present]
