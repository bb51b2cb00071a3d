"""The engines' parts of exported Python scripts."""

from __future__ import annotations

from rembg_tuner.engines.spec import OPTION_ATTRIBUTES, Script

_ONNXRUNTIME_BLOCK = '''import os
import sys
from pathlib import Path

# ONNX Runtime reports to its maker, and keeps a device id below the home folder, unless told not
# to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"'''

_ONNXRUNTIME_BODY = '''def load():
    """Make the session. These are attributes of SessionOptions: as provider options they would be ignored."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = INTER_OP_THREADS
@OPTIONS@    if IS_PARALLEL:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if not SPINNING:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider",
                "tensorrt": "TensorrtExecutionProvider", "openvino": "OpenVINOExecutionProvider"}[PROVIDER]
    own = {"tensorrt": {"trt_fp16_enable": "1" if PRECISION == "fp16" else "0"}, "cuda": {"use_tf32": "0"}}
    session = onnxruntime.InferenceSession(
        graph(), sess_options=options, providers=[(provider, own.get(PROVIDER, {}))]
    )
    if session.get_providers()[0] != provider:
        sys.exit(f"{provider} was asked for, and {session.get_providers()[0]} is what runs")
    return session


def graph():
    """Read the graph and set the side of its input; its inner sizes are computed from that."""
    model = onnx.load(MODEL)
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    for place, size in enumerate((1, 3, SIDE, SIDE)):
        dimensions[place].dim_value = size
    del model.graph.output[1:]  # the others are the network's own supervision
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model.SerializeToString()


def predict(session, tensor):
    """Run the network: float32 (1, 3, side, side) in, float32 (1, 1, side, side) out."""
    run = onnxruntime.RunOptions()
    if ARENA_SHRINK:
        run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return session.run(None, {session.get_inputs()[0].name: tensor}, run)[0]
'''
# Knobs that are attributes of SessionOptions.
_OPTIONS = "".join(
    f"    options.{attribute} = {knob.upper()}\n" for knob, attribute in OPTION_ATTRIBUTES.items()
)

ONNXRUNTIME = Script(
    block=_ONNXRUNTIME_BLOCK,
    imports="import onnx\nimport onnxruntime",
    body=_ONNXRUNTIME_BODY.replace("@OPTIONS@", _OPTIONS),
    # By execution provider: the packages are different builds of ONNX Runtime.
    packages={
        "cpu": ("onnx", "onnxruntime"),
        "cuda": ("onnx", "onnxruntime-gpu"),
        "tensorrt": ("onnx", "onnxruntime-gpu"),
        "openvino": ("onnx", "onnxruntime-openvino"),
    },
)

_OPENVINO_BLOCK = """import sys
from pathlib import Path

# The openvino package reports to Google Analytics while it is imported; without this module it does
# not.
sys.modules["openvino_telemetry"] = None"""

_OPENVINO_BODY = '''def load():
    """Compile the model for one picture at a time."""
    core = openvino.Core()
    model = core.read_model(MODEL)
    model.reshape({model.inputs[0]: openvino.PartialShape([1, 3, SIDE, SIDE])})
    model = openvino.Model([model.outputs[0]], model.get_parameters())  # the others are supervision
    options = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    if THREADS:
        options["INFERENCE_NUM_THREADS"] = str(THREADS)
    if PRECISION in ("bf16", "fp16"):
        options["INFERENCE_PRECISION_HINT"] = {"bf16": "bf16", "fp16": "f16"}[PRECISION]
    else:  # int8 is in the file itself; what is left is fp32, on a CPU with bf16 too
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return core.compile_model(model, "CPU", options)


def predict(compiled, tensor):
    """Run the network: float32 (1, 3, side, side) in, float32 (1, 1, side, side) out."""
    return compiled([tensor])[compiled.outputs[0]]
'''

OPENVINO = Script(
    block=_OPENVINO_BLOCK,
    imports="import openvino",
    body=_OPENVINO_BODY,
    packages={"cpu": ("openvino",)},
)
