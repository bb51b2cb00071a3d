"""OpenVINO's part of an exported Python script."""

from __future__ import annotations

from rembg_tuner.engines.spec import Script

_BLOCK = """import sys
from pathlib import Path

# The openvino package reports to Google Analytics while it is imported; without this module it does
# not.
sys.modules["openvino_telemetry"] = None"""

_BODY = '''def load():
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

SCRIPT = Script(
    block=_BLOCK, imports="import openvino", body=_BODY, packages={"cpu": ("openvino",)}
)
