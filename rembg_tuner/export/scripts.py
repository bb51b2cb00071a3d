"""The scripts that `export --to python` fills in: each needs its engine, numpy and Pillow, and none of ours."""

from __future__ import annotations

_HEAD = '''# /// script
# requires-python = ">=3.11"
# dependencies = @DEPENDENCIES@
# ///
"""Cut a picture out of its background: python cutout.py in.jpg out.png. Written by rembg tuner.

`uv run cutout.py in.jpg out.png` installs what it needs first. The model's file lies beside this script.
"""

@BLOCK@

import numpy as np
@IMPORT@
from PIL import Image, ImageOps

@CONSTANTS@


'''

_BLOCK_ONNXRUNTIME = '''import os
import sys
from pathlib import Path

# ONNX Runtime reports to its maker, and keeps a device id below the home folder, unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"'''

_BLOCK_OPENVINO = """import sys
from pathlib import Path

# The openvino package reports to Google Analytics while it is imported; without this module it does not.
sys.modules["openvino_telemetry"] = None"""

_TAIL = '''

def cut_out(network, picture):
    """Give an RGBA picture whose alpha is the network's matte; colours are the picture's own."""
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    if MAX_SIDE and max(picture.size) > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    small = small / max(float(small.max()), 1e-6)
    tensor = ((small - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[np.newaxis]
    raw = predict(network, tensor.astype(np.float32))[0, 0]
    low, high = float(raw.min()), float(raw.max())
    matte = (raw - low) / (high - low) if high > low else np.zeros_like(raw)
    mask = Image.fromarray((matte * 255).astype(np.uint8))
    picture.putalpha(mask.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].lower().endswith((".png", ".webp", ".tif", ".tiff")):
        sys.exit("use: python cutout.py in.jpg out.png (or .webp, .tif: a JPEG has no transparency)")
    source, target = sys.argv[1:]
    if not MODEL.is_file():
        sys.exit(f"{MODEL} is missing: put a copy of the model's file there")
    try:
        picture = Image.open(source)
    except OSError as error:
        sys.exit(f"{source} cannot be read: {error}")
    cut_out(load(), picture).save(target)
'''

ONNXRUNTIME_SCRIPT = (
    _HEAD.replace("@IMPORT@", "import onnx\nimport onnxruntime").replace(
        "@BLOCK@", _BLOCK_ONNXRUNTIME
    )
    + '''def load():
    """Make the session. These are attributes of SessionOptions: as provider options they would be ignored."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = INTER_OP_THREADS
    options.enable_cpu_mem_arena = CPU_MEM_ARENA
    options.enable_mem_pattern = MEM_PATTERN
    if IS_PARALLEL:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if not SPINNING:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider",
                "tensorrt": "TensorrtExecutionProvider", "openvino": "OpenVINOExecutionProvider"}[PROVIDER]
    session = onnxruntime.InferenceSession(graph(), sess_options=options, providers=[provider])
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
    + _TAIL
)

OPENVINO_SCRIPT = (
    _HEAD.replace("@IMPORT@", "import openvino").replace("@BLOCK@", _BLOCK_OPENVINO)
    + '''def load():
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
    + _TAIL
)
