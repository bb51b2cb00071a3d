"""Measure the agreement of u2netp's int8 mattes with fp32 on a CPU with AVX2 only.

    python benchmarks/avx2_agreement.py --eval DIR [-o DIR] [--only agreement,times]

--eval: a folder with images/. AVX2 has no instruction that sums four products of 8-bit numbers
exactly: pairs of products are added in 16 bits, which can saturate, so the mattes differ from those
of a CPU with VNNI. A CPU with VNNI is limited to AVX2: OpenVINO by ONEDNN_MAX_CPU_ISA, ONNX Runtime
(which has no such option) by qemu's user mode emulation of a Haswell CPU (Debian's package
qemu-user; about two minutes per picture). The emulation is used for agreement only, not for times.
The times and peaks of OpenVINO with ONEDNN_MAX_CPU_ISA are recorded too. The results are written to
benchmarks/results/avx2-agreement-DATE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

MODELS = ROOT / "rembg_tuner" / "models"
FILES = {
    ("onnxruntime", "fp32"): "u2netp.onnx",
    ("onnxruntime", "int8"): "u2netp-int8-onnxruntime.onnx",
    ("openvino", "fp32"): "u2netp.onnx",
    ("openvino", "int8"): "u2netp-int8.onnx",
}
EMULATED = ["qemu-x86_64", "-cpu", "Haswell"]
TIMED = 7
MIB = 2**20


def answer_in_child(engine: str, file: str, inputs: Path, outputs: Path) -> None:
    """Run a network on inputs, one at a time, and write its first outputs.

    The outputs are float32 (n, side, side). This function runs in a separate process and prints one
    JSON line: the seconds of each run, and the peak RSS in bytes.
    """
    pictures = np.load(inputs)
    answers: list[Any] = []
    seconds: list[float] = []
    ask = _open_onnxruntime(file) if engine == "onnxruntime" else _open_openvino(file)
    for picture in pictures:
        began = time.perf_counter()
        answers.append(ask(picture[None])[0, 0])
        seconds.append(time.perf_counter() - began)
    np.save(outputs, np.stack(answers))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak_rss_bytes": int(peak) * 1024}))


def _open_onnxruntime(file: str) -> Any:
    """Open a model with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda picture: session.run(None, {name: picture})[0]


def _open_openvino(file: str) -> Any:
    """Open a model with OpenVINO in fp32, or in int8 if the graph is quantised."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # no telemetry
    import openvino

    model = openvino.Core().read_model(file)
    model = openvino.Model([model.outputs[0].get_node().input_value(0)], model.get_parameters())
    model.reshape([1, 3, 320, 320])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

    def ask(picture: Any) -> Any:
        request.infer([picture])
        return request.get_output_tensor(0).data.copy()

    return ask


def run_child(
    engine: str, precision: str, inputs: Path, folder: Path, *, is_emulated: bool
) -> tuple[Any, dict[str, Any]]:
    """Run one engine and precision in a separate process.

    Returns:
        The outputs of the network, and the JSON that the process printed.
    """
    outputs = folder / f"{engine}-{precision}.npy"
    python = [str(Path(sys.executable).resolve())]
    words = [*(EMULATED if is_emulated else []), *python, __file__, "--child", engine]
    words += [str(MODELS / FILES[engine, precision]), str(inputs), str(outputs)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": path}
    done = subprocess.run(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    printed: dict[str, Any] = json.loads(done.stdout)
    return np.load(outputs), printed


def read_inputs(folder: Path) -> Any:
    """Read all pictures as network inputs, as a run does: float32 (n, 3, 320, 320)."""
    from rembg_tuner.imaging import network_input, source
    from rembg_tuner.imaging.header import read_header
    from rembg_tuner.models.catalogue import find_model

    model = find_model("u2netp")
    read = []
    for path in sorted(folder.iterdir()):
        small = source.read_small(read_header(path), width=320, height=320)
        read.append(network_input.normalise(small, side=320, mean=model.mean, std=model.std))
    return np.concatenate(read)


def agree(answers: Any, references: Any) -> dict[str, float]:
    """Return mean and worst agreement of the mattes, at the network's size."""
    from rembg_tuner.imaging.matte import scale_to_matte
    from rembg_tuner.imaging.quality import intersection_over_union, mean_absolute_error

    pairs = [
        (scale_to_matte(a), scale_to_matte(b)) for a, b in zip(answers, references, strict=True)
    ]
    differences = [mean_absolute_error(a, b) for a, b in pairs]
    overlaps = [intersection_over_union(a, b) for a, b in pairs]
    return {
        "mae": round(statistics.mean(differences), 5),
        "worst_mae": round(max(differences), 5),
        "iou": round(statistics.mean(overlaps), 5),
        "worst_iou": round(min(overlaps), 5),
        "pictures": len(pairs),
    }


def measure_agreement(pictures: Path, scratch: Path) -> dict[str, Any]:
    """Measure the int8 agreement of both engines with their fp32, and record the CPU."""
    from rembg_tuner.settings.host import read_host

    host = read_host()
    inputs = scratch / "inputs.npy"
    np.save(inputs, read_inputs(pictures))
    has_more = bool(host.features & {"avx512_vnni", "avx_vnni", "amx_int8", "avx512f"})
    found: dict[str, Any] = {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "held_to_avx2": has_more,
    }
    for engine in ("openvino", "onnxruntime"):
        is_emulated = has_more and engine == "onnxruntime"
        # fp32 differs between instruction sets by rounding only, so it is not emulated.
        reference, _ = run_child(engine, "fp32", inputs, scratch, is_emulated=False)
        answers, _ = run_child(engine, "int8", inputs, scratch, is_emulated=is_emulated)
        found[engine] = {"is_emulated": is_emulated, **agree(answers, reference)}
        print(engine, found[engine], file=sys.stderr, flush=True)
    return found


def time_openvino(pictures: Path, scratch: Path) -> dict[str, Any]:
    """Measure OpenVINO's times and process peaks in fp32 and int8, alternating."""
    timed = scratch / "timed.npy"
    np.save(timed, np.repeat(read_inputs(pictures)[:1], TIMED + 2, axis=0))
    rows: dict[str, dict[str, list[float]]] = {p: {"s": [], "peak": []} for p in ("fp32", "int8")}
    for _ in range(3):
        for precision, row in rows.items():
            _, printed = run_child("openvino", precision, timed, scratch, is_emulated=False)
            row["s"] += printed["seconds"][2:]
            row["peak"].append(printed["peak_rss_bytes"] / MIB)
    return {
        precision: {
            "p50_s": round(statistics.median(row["s"]), 4),
            "low_s": round(min(row["s"]), 4),
            "high_s": round(max(row["s"]), 4),
            "n": len(row["s"]),
            "process_peak_mib": round(max(row["peak"]), 1),
        }
        for precision, row in rows.items()
    }


def main() -> None:
    """Measure, print the report, and write it as JSON."""
    if sys.argv[1:2] == ["--child"]:
        engine, file, inputs, outputs = sys.argv[2:]
        answer_in_child(engine, file, Path(inputs), Path(outputs))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--only", default="agreement,times", help="both by default")
    arguments = parser.parse_args()
    date = datetime.now(tz=UTC).date().isoformat()
    path = arguments.output / f"avx2-agreement-{date}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    sections = arguments.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        if "agreement" in sections:
            found |= measure_agreement(arguments.eval / "images", Path(folder))
        if "times" in sections:
            found["openvino_network"] = time_openvino(arguments.eval / "images", Path(folder))
    text = json.dumps(found, indent=1)
    print(text)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
