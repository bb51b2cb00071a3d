"""Create ONNX Runtime sessions: options, the cache of optimised graphs, clear errors.

Thread counts, arena and pattern are attributes of SessionOptions: as provider options or keyword
arguments they would be silently ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from rembg_tuner.base.errors import (
    EngineError,
    ModelError,
    OutOfMemoryError,
    TunerError,
)
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.base.units import MIB, format_bytes
from rembg_tuner.engines.onnxruntime.providers import (
    provider_options,
    refusal_of_provider,
    require_provider,
)
from rembg_tuner.engines.spec import ONNXRUNTIME_PROVIDERS, OPTION_ATTRIBUTES
from rembg_tuner.models.spec import BATCH, HEIGHT, WIDTH

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

_NO_CPU_FALLBACK = ("session.disable_cpu_ep_fallback", "1")
_SPINNING = "session.{}_op.allow_spinning"
_WORTH_KEEPING_BYTES = 32 * MIB
_ONLY_ERRORS = 3  # log severity
# This program's names of providers, by ONNX Runtime's names.
_WORDS = {full: word for word, full in ONNXRUNTIME_PROVIDERS.items()}
_NEW_IR = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_NEW_OPSET = re.compile(r"Opset (\d+) is under development.*till opset (\d+)")
_NO_MEMORY = re.compile(
    r"Failed to allocate memory(?: for requested buffer of size (\d+))?|bad_alloc|CUDA failure"
    r" 2:|ALLOC_FAILED"
)
_MODEL_FAULTS = frozenset(
    {"InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NoSuchFile", "NotImplemented", "Fail"}
)


def session_options(settings: Settings, *, threads: int) -> onnxruntime.SessionOptions:
    """Create SessionOptions from settings.

    Args:
        settings: threads, arena, pattern, mode and spinning are used.
        threads: replaces 0 intra-op threads; 0: ONNX Runtime's own default.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads or threads
    options.inter_op_num_threads = settings.inter_op_threads
    for knob, attribute in OPTION_ATTRIBUTES.items():
        setattr(options, attribute, getattr(settings, knob))
    if settings.execution_mode == "parallel":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = settings.inter_op_threads or threads
    if not settings.spinning:
        options.add_session_config_entry(_SPINNING.format("intra"), "0")
        options.add_session_config_entry(_SPINNING.format("inter"), "0")
    options.log_severity_level = _ONLY_ERRORS
    return options


def open_session(
    request: EngineRequest,
) -> tuple[onnxruntime.InferenceSession, tuple[Message, ...]]:
    """Create the session of a request; return it with its warnings."""
    settings, model = request.settings, request.model
    provider = require_provider(settings.provider)
    options = session_options(settings, threads=request.threads)
    fix_sizes(options, side=settings.network_size or model.side, batch=settings.batch_size)
    if settings.provider == "cpu":
        return _optimised_session(request, options)
    options.add_session_config_entry(*_NO_CPU_FALLBACK)
    if settings.provider == "tensorrt":
        request.tell("build")  # minutes, the first time
    return make_session(model, options, provider, provider_options(request)), ()


def fix_sizes(options: onnxruntime.SessionOptions, *, side: int | None, batch: int) -> None:
    """Set the named dimensions of a graph's input to numbers; without a side, they stay open."""
    for name, size in ((HEIGHT, side), (WIDTH, side), (BATCH, batch)):
        if size:
            options.add_free_dimension_override_by_name(name, size)


def _optimised_session(
    request: EngineRequest, options: onnxruntime.SessionOptions
) -> tuple[onnxruntime.InferenceSession, tuple[Message, ...]]:
    """Create a session of the optimised graph in the cache; write it there at the first start.

    With a network of u2net's size, this reduces the load from 562 to 265 ms and the setting's peak
    from 896 to 755 MiB; with ISNet, it reduces the load from 526 to 216 ms, with a peak that is 3 %
    higher. Small graphs are not cached: u2netp would save 30 ms once, and its peak would rise from
    558 to 634 MiB. ONNX Runtime's own format (.ort) saves less than half as much.

    Returns:
        The session, and its warnings.
    """
    path, provider = _optimised_path(request), ONNXRUNTIME_PROVIDERS["cpu"]
    if Path(request.model.graph_path).stat().st_size < _WORTH_KEEPING_BYTES:
        return make_session(request.model, options, provider), ()
    if not _is_utf_8(str(path)):
        warning = Message(
            "the optimised graph is not kept in {folder}, whose name is not UTF-8, so each start"
            " optimises again; set REMBG_TUNER_CACHE to another folder",
            code="optimised_not_kept",
            folder=path.parent,
        )
        return make_session(request.model, options, provider), (warning,)
    session = _load_optimised(path, request, options)
    if session is not None:
        return session, ()
    result = _keep_optimised(path, request, options)
    if not isinstance(result, Message):
        return result, ()
    options.optimized_model_filepath = ""
    return make_session(request.model, options, provider), (result,)  # a bad model fails here too


def _load_optimised(
    path: Path, request: EngineRequest, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession | None:
    """Create a session of a cached graph; None: it is missing, or damaged and now deleted."""
    if not path.is_file():
        return None
    level = options.graph_optimization_level
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return create_session(
            str(path), options, (ONNXRUNTIME_PROVIDERS["cpu"], {}), called=request.model.path
        )
    except (ModelError, EngineError):
        path.unlink(missing_ok=True)
        options.graph_optimization_level = level
        return None


def _keep_optimised(
    path: Path, request: EngineRequest, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession | Message:
    """Create a session and write its optimised graph to the cache; return the reason on failure."""
    scratch = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part")
    try:
        scratch.touch()
        options.optimized_model_filepath = str(scratch)
        session = make_session(request.model, options, ONNXRUNTIME_PROVIDERS["cpu"])
        scratch.replace(path)
    except OSError as error:
        return Message(
            "the optimised graph was not kept in {folder} ({reason}), so the next start optimises"
            " again",
            code="optimised_not_kept",
            folder=path.parent,
            reason=error.strerror,
        )
    except (ModelError, EngineError):  # ONNX Runtime reports a full disk as an error of the model
        return Message(
            "the optimised graph could not be written to {folder}, which may be full, so the next"
            " start optimises again",
            code="optimised_not_kept",
            folder=path.parent,
        )
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()
    return session


def _optimised_path(request: EngineRequest) -> Path:
    """Return the path of the optimised graph, named by everything that it depends on.

    The processor is part of it, because the graph's layout is specific to it.
    """
    parts = {
        "model": request.model_digest,
        "graph": Path(request.model.graph_path).name,
        "onnxruntime": onnxruntime.__version__,
        **request.cpu,
        "network_size": request.settings.network_size,
        "side": request.model.side,
        "batch_size": request.settings.batch_size,
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return request.cache / f"onnxruntime-{key}.onnx"


def make_session(
    model: ModelSpec,
    options: onnxruntime.SessionOptions,
    provider: str,
    provider_options: dict[str, str] | None = None,
) -> onnxruntime.InferenceSession:
    """Create a session of a model's file.

    Raises:
        ModelError: the file is not an ONNX file, cut short, or newer than this ONNX Runtime.
        MissingProviderError: the provider finds no device.
        OutOfMemoryError: there is too little memory.
        EngineError: anything else.
    """
    own = (provider, provider_options or {})
    return create_session(model.graph_path, options, own, called=model.path)


def create_session(
    graph: str,
    options: onnxruntime.SessionOptions,
    provider: tuple[str, dict[str, str]],
    *,
    called: str,
) -> onnxruntime.InferenceSession:
    """Create a session of a file; messages name `called` instead of the file."""
    path = Path(called)
    try:
        content = graph if _is_utf_8(graph) else Path(graph).read_bytes()
    except OSError as error:
        raise ModelError(
            Message("{path} cannot be read: {reason}", path=path, reason=error.strerror)
        ) from error
    try:
        return onnxruntime.InferenceSession(content, sess_options=options, providers=[provider])
    except Exception as error:  # the binding's own exception classes share no base but Exception
        raise _load_error(error, path, provider[0]) from error


def _load_error(error: Exception, path: Path, provider: str) -> TunerError:
    """Return the error that ONNX Runtime's exception means: of a provider, memory or the model."""
    reason = " ".join(str(error).split())
    cause = refusal_of_provider(reason, _WORDS[provider]) or out_of_memory(reason, provider)
    if cause is not None:
        return cause
    if (opset := _NEW_OPSET.search(reason)) is not None:
        return ModelError(
            Message(
                "{path} is in opset {opset}, and this ONNX Runtime supports opsets up to {newest};"
                " export it in one of those, or install a newer onnxruntime",
                path=path,
                opset=int(opset[1]),
                newest=int(opset[2]),
            )
        )
    if (version := _NEW_IR.search(reason)) is not None:
        return ModelError(
            Message(
                "{path} is in IR version {ir}, and this ONNX Runtime supports IR versions up to"
                " {newest}; export it in one of those, or install a newer onnxruntime",
                path=path,
                ir=int(version[1]),
                newest=int(version[2]),
            )
        )
    if type(error).__name__ in _MODEL_FAULTS:
        return ModelError(
            Message(
                "{path} is not a model that ONNX Runtime can load: {reason}",
                path=path,
                reason=Quoted(reason),
            )
        )
    return EngineError(
        Message("ONNX Runtime could not load {path}: {reason}", path=path, reason=Quoted(reason))
    )


def _is_utf_8(path: str) -> bool:
    """Return whether a path can be encoded in UTF-8, which ONNX Runtime requires."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def out_of_memory(reason: str, provider: str) -> OutOfMemoryError | None:
    """Return the error if ONNX Runtime's text says that memory ran out; None: it does not.

    Args:
        reason: ONNX Runtime's text.
        provider: by ONNX Runtime's name; determines whose memory it is.
    """
    found = _NO_MEMORY.search(reason)
    if found is None:
        return None
    asked = format_bytes(int(found[1])) if found[1] else Message("an unknown size")
    if _WORDS.get(provider) in ("cuda", "tensorrt"):
        return OutOfMemoryError(
            Message(
                "the GPU has too little free memory ({asked} more was asked for); nvidia-smi shows"
                " what holds it; choose a smaller network_size or batch_size, or provider cpu",
                asked=asked,
            )
        )
    return OutOfMemoryError(
        Message(
            "the worker ran out of memory ({asked} more was asked for); choose a smaller"
            " network_size or batch_size, or a higher limit",
            asked=asked,
        )
    )
