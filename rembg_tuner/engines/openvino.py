"""OpenVINO on the CPU; the only module that imports openvino.

A compiled model is exported to the cache and imported at the next start. This saves the
compilation, its memory (30 MiB with u2netp), and reading the ONNX file. The cached file is mapped,
not read: with a network of u2net's size the peak of the load falls from 610 to 443 MiB, and the
memory after the load from 557 to 389 MiB. With half-precision arithmetic, the weights are stored in
half precision, which also halves the file (peak 275 MiB, then 249 MiB). Only the first output is
kept: the six side outputs of the U2-Net graphs are not used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import properties

from rembg_tuner.base.errors import CancelledError, EngineError, ModelError
from rembg_tuner.base.files import has_its_sum, making_folder, replacing, write_sum
from rembg_tuner.base.messages import Message, join_parts, quoted
from rembg_tuner.engines.protocols import fill_up, pictures_of, resolve_side
from rembg_tuner.models.onnx_header import refuse_newer
from rembg_tuner.models.spec import check_outputs, not_a_picture

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.settings import Value

_DEVICE = "CPU"
# int8 is part of the graph; its remaining float operators are computed in fp32.
_PRECISIONS = {
    "fp32": openvino.Type.f32,
    "bf16": openvino.Type.bf16,
    "fp16": openvino.Type.f16,
    "int8": openvino.Type.f32,
}
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
_HALF = frozenset({"bf16", "fp16"})
_FORM = 2  # increased when the compiled content changes, so that older files are not used
_INT8_CONVOLUTIONS = frozenset({"I8", "U8"})


def version() -> str:
    """Return OpenVINO's version, without its build."""
    return str(openvino.__version__).split("-", maxsplit=1)[0]


class OpenVinoEngine:
    """One compiled model and one infer request."""

    def __init__(self, request: EngineRequest) -> None:
        """Compile the model, or import the compiled model from the cache.

        Raises:
            ModelError: the file is not a model, or cannot take the network size.
            EngineError: the CPU does not support the precision, or the compilation failed.
        """
        core = openvino.Core()
        settings = request.settings
        capabilities = core.get_property(_DEVICE, properties.device.capabilities())
        if _CAPABILITIES[settings.precision] not in capabilities:
            raise EngineError(
                Message(
                    "precision {precision} is not this CPU's own, which has {capabilities}; choose"
                    " precision fp32",
                    precision=settings.precision,
                    capabilities=join_parts(sorted(capabilities)),
                )
            )
        config = {
            properties.hint.inference_precision(): _PRECISIONS[settings.precision],
            properties.inference_num_threads(): settings.intra_op_threads or request.threads,
            properties.num_streams(): 1,
            properties.hint.performance_mode(): properties.hint.PerformanceMode.LATENCY,
        }
        self._cancelled = False
        self._batch = settings.batch_size
        self._path = request.model.path
        # The mapped file must live as long as the compiled model, which reads its weights from it.
        self._compiled, self._mapped, self.warnings = _import_or_compile(core, request, config)
        self._request = self._compiled.create_infer_request()
        shape = self._compiled.input(0).get_partial_shape()
        self.side = int(shape[2].get_length())
        self.effective = self._read_back(request.model.name)

    def _read_back(self, model: str) -> dict[str, Value]:
        """Read the actual settings from the compiled model, by the settings' names."""
        precision = self._compiled.get_property(properties.hint.inference_precision())
        words = {kind: word for word, kind in reversed(_PRECISIONS.items())}
        word = words.get(precision, str(precision))
        return {
            "model": model,
            "engine": "openvino",
            "provider": None,
            "precision": "int8" if _runs_int8(self._compiled) else word,
            "intra_op_threads": int(
                self._compiled.get_property(properties.inference_num_threads())
            ),
            "network_size": self.side,
            "batch_size": self._batch,
        }

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once; see `NetworkEngine`."""
        self._cancelled = False
        count = len(network_input)
        try:
            self._request.infer([fill_up(network_input, self._batch)], share_inputs=True)
        except RuntimeError as error:
            if self._cancelled:
                raise CancelledError(
                    Message("the run was cancelled while the network ran")
                ) from error
            raise EngineError(
                Message("OpenVINO failed: {reason}", reason=_reason(error))
            ) from error
        output: RawOutput = self._request.get_output_tensor(0).data
        return pictures_of(output, self._path)[:count].copy()

    def cancel(self) -> None:
        """Stop the running inference."""
        self._cancelled = True
        self._request.cancel()

    def close(self) -> None:
        """Release the compiled model."""
        del self._request, self._compiled
        self._mapped = None


def _import_or_compile(
    core: openvino.Core, request: EngineRequest, config: dict[str, object]
) -> tuple[openvino.CompiledModel, openvino.Tensor | None, tuple[Message, ...]]:
    """Return the compiled model (from the cache if possible), its mapped file, and warnings."""
    blob = _blob_path(core, request, config)
    if has_its_sum(blob):  # OpenVINO accepts a file with a flipped bit, and returns wrong mattes
        try:
            # Copy on write: OpenVINO requires writable memory, and other processes use the file.
            mapped = openvino.Tensor(np.memmap(blob, np.uint8, mode="c"), shared_memory=True)
            return core.import_model(mapped, _DEVICE, config), mapped, ()
        except (RuntimeError, ValueError, OSError):
            blob.unlink(missing_ok=True)  # of another build: it is compiled again below
    compiled = _compile(core, request, config)
    try:
        with replacing(blob) as file:
            file.write(compiled.export_model().getvalue())
        write_sum(blob)
    except OSError as error:
        reason = Message(
            "the compiled model was not kept in {folder} ({reason}), so the next start compiles"
            " again",
            code="compiled_not_kept",
            folder=blob.parent,
            reason=error.strerror,
        )
        return compiled, None, (reason,)
    return compiled, None, ()


def _blob_path(core: openvino.Core, request: EngineRequest, config: dict[str, object]) -> Path:
    """Return the path of the compiled model, named by everything that it depends on."""
    parts = {
        "form": _FORM,
        "model": request.model_digest,
        "openvino": openvino.__version__,
        "cpu": core.get_property(_DEVICE, properties.device.full_name()),
        "capabilities": sorted(core.get_property(_DEVICE, properties.device.capabilities())),
        "network_size": request.settings.network_size,
        "side": request.model.side,
        "batch_size": request.settings.batch_size,
        "config": {key: str(value) for key, value in config.items()},
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return request.cache / f"openvino-{key}.blob"


def _compile(
    core: openvino.Core, request: EngineRequest, config: dict[str, object]
) -> openvino.CompiledModel:
    """Read the released file, keep the first output, fix the input's size, and compile.

    Raises:
        ModelError: the file is not a model, or cannot take the network size.
        EngineError: the compilation failed.
    """
    path = Path(request.model.path)
    model = _read_model(core, request)
    shape = model.inputs[0].get_partial_shape()
    height, width = (
        0 if size.is_dynamic else int(size.get_length()) for size in (shape[2], shape[3])
    )
    side = resolve_side(request, width=width, height=height)
    try:
        model.reshape(
            {model.inputs[0]: openvino.PartialShape([request.settings.batch_size, 3, side, side])}
        )
    except RuntimeError as error:
        raise ModelError(
            Message(
                "{path} cannot take network_size {side}; leave it at 0: {reason}",
                path=path,
                side=side,
                reason=_reason(error),
            )
        ) from error
    if request.settings.precision in _HALF:
        model = _halved(core, model, request)
    try:
        return core.compile_model(model, _DEVICE, config)
    except RuntimeError as error:
        raise EngineError(
            Message("OpenVINO could not compile {path}: {reason}", path=path, reason=_reason(error))
        ) from error


def _read_model(core: openvino.Core, request: EngineRequest) -> openvino.Model:
    """Read the model's file and keep the first output.

    Raises:
        ModelError: the file is not a model, does not take one picture, or has no output.
    """
    path = Path(request.model.path)
    refuse_newer(Path(request.model.graph_path), called=path)
    try:
        model = core.read_model(request.model.graph_path)
    except RuntimeError as error:
        raise ModelError(
            Message(
                "{path} is not a model that OpenVINO can read: {reason}",
                path=path,
                reason=_reason(error),
            )
        ) from error
    if not _takes_a_picture(model):
        raise not_a_picture(
            path,
            [
                (str(one.get_partial_shape()), one.get_element_type().to_string())
                for one in model.inputs
            ],
        )
    check_outputs(len(model.outputs), path)
    return openvino.Model([model.outputs[0].get_node().input_value(0)], model.get_parameters())


def _halved(core: openvino.Core, model: openvino.Model, request: EngineRequest) -> openvino.Model:
    """Return a model with its weights in half precision.

    OpenVINO converts weights only while it writes a file. The file is written to the cache, where
    files of killed workers are deleted later.
    """
    try:
        with making_folder(request.cache) as scratch:
            path = scratch / "halved.xml"
            openvino.save_model(model, path, compress_to_fp16=True)
            return core.read_model(path)
    except (OSError, RuntimeError) as error:
        raise EngineError(
            Message(
                "{path} could not be written in half precision to {folder}, which may be full;"
                " choose precision fp32",
                path=Path(request.model.path),
                folder=request.cache,
            )
        ) from error


def _takes_a_picture(model: openvino.Model) -> bool:
    """Return whether a graph takes one RGB picture: float32 (n, 3, h, w)."""
    if len(model.inputs) != 1 or model.inputs[0].get_element_type() != openvino.Type.f32:
        return False
    shape = model.inputs[0].get_partial_shape()
    return len(shape) == 4 and (shape[1].is_dynamic or shape[1].get_length() == 3)


def _runs_int8(compiled: openvino.CompiledModel) -> bool:
    """Return whether the plugin's graph computes convolutions in 8-bit numbers."""
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        is_convolution = "layerType" in info and info["layerType"].astype(str) == "Convolution"
        if is_convolution and info["runtimePrecision"].astype(str).upper() in _INT8_CONVOLUTIONS:
            return True
    return False


def _reason(error: RuntimeError) -> Message:
    """Return the last line of OpenVINO's error, which is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return quoted(lines[-1]) if lines else Message("no reason was given")


def cpu_capabilities() -> list[str]:
    """List the capabilities of the CPU device, by OpenVINO's names."""
    return sorted(openvino.Core().get_property(_DEVICE, properties.device.capabilities()))


def int8_versions() -> dict[str, str]:
    """Return the versions of the packages that create the int8 graph."""
    from importlib.metadata import version as version_of

    return {name: version_of(name) for name in ("nncf", "onnx")}


def quantize(
    model: Any, inputs: list[NetworkInput], *, input_name: str, left_out: list[str]
) -> Any:
    """Quantise a graph: weights by channel and symmetric, activations asymmetric, biases corrected.

    Args:
        model: an onnx.ModelProto with one input, opset 13 or newer.
        inputs: the inputs for calibration, each float32 (1, 3, side, side).
        input_name: of the graph's input.
        left_out: names of the nodes that stay in float32.

    Returns:
        A new onnx.ModelProto.

    Source: Kozlov et al., Neural Network Compression Framework, arXiv:2002.08679.
    """
    # Imported here, because a measured worker must not import them.
    import contextlib
    import logging
    import sys

    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    scope = {"ignored_scope": nncf.IgnoredScope(names=left_out)} if left_out else {}
    # Its progress bars go to standard output, which may contain only the document of --json.
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda one: {input_name: one}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            fast_bias_correction=True,
            **scope,
        )
