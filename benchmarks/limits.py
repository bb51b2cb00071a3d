"""Compare the speed of the network with that of a matrix product.

Run it on an idle machine; it takes about two minutes.

    python benchmarks/limits.py [--avx2] [--rounds N] [-o DIR]

A convolutional network in fp32 can hardly be faster than sgemm, the float32 matrix product, on the
same threads. numpy's matrix product (OpenBLAS) and the network of u2netp run alternately, each in
its own process. The time of the network is `predict` of the measured worker. Its operations are
counted in the graph: two for each multiply-add of the convolutions that the first output needs.
--avx2 limits OpenVINO and OpenBLAS to AVX2. The results are written to
benchmarks/results/limits-DATE.json or avx2-limits-DATE.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.models.catalogue import find_model
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import Result, is_busy
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.bench.pictures import P1080
from rembg_tuner.worker.pipeline import Job

RESULTS = Path(__file__).parent / "results"
SIDE = 320
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
NETWORKS = {
    "openvino fp32": Settings(engine="openvino"),
    "openvino bf16": Settings(engine="openvino", precision="bf16"),
    "openvino int8": Settings(engine="openvino", precision="int8"),
    "onnxruntime fp32": Settings(engine="onnxruntime"),
}
_SGEMM = """
import time, numpy
n = 2048
a, b, c = (numpy.random.default_rng(i).random((n, n), numpy.float32) for i in range(3))
rates = []
for _ in range(6):
    began = time.perf_counter()
    numpy.matmul(a, b, out=c)
    rates.append(2 * n**3 / (time.perf_counter() - began) / 1e9)
print(sorted(rates[1:])[2])
"""


def sgemm_gflops(threads: int) -> float:
    """Measure numpy's matrix product in a separate process.

    Returns:
        GFLOP/s; the median of five runs after one warm-up.
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", _SGEMM], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def network_gflop() -> float:
    """Count the operations of u2netp's first output at 320 px, in 10^9; two per multiply-add."""
    model = onnx.load(find_model("u2netp").path)
    graph = model.graph
    for axis, size in enumerate((1, 3, SIDE, SIDE)):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.output]
    }
    weights = {one.name: list(one.dims) for one in graph.initializer}
    needed = {graph.output[0].name}
    total = 0
    for node in reversed(graph.node):
        if not needed & set(node.output):
            continue
        needed |= set(node.input)
        if node.op_type == "Conv":
            total += 2 * math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
    return total / 1e9


def measure(rounds: int, threads: int) -> dict[str, Any]:
    """Run the matrix product and the networks alternately; return medians by name."""
    machine = read_machine()
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        machine = replace(machine, precisions=machine.precisions & {"fp32", "int8"})
    named = {name: settings for name, settings in NETWORKS.items() if not check(settings, machine)}
    rates: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in named}
    busy: list[str] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runners = {name: stack.enter_context(Runner()) for name in named}
        job = Job(input=str(P1080.make()), output=str(scratch / "out.png"))
        for index in range(-1, rounds):
            rate = sgemm_gflops(threads)
            if index >= 0:
                rates.append(rate)
            for name, settings in named.items():
                values = {**settings.changed(), "intra_op_threads": threads}
                run = runners[name].run(job, Settings(**values))
                if not isinstance(run, Result):
                    raise SystemExit(f"{name}: {run.message}")
                if index >= 0:
                    seconds[name].append(run.stages_s["predict"])
                    busy += [text for text in run.warnings if is_busy([text])]
    gflop = network_gflop()
    return {
        "n": rounds,
        "sgemm_gflops": {"p50": statistics.median(rates), "low": min(rates), "high": max(rates)},
        "networks": {
            name: {
                "p50_s": statistics.median(taken),
                "low_s": min(taken),
                "high_s": max(taken),
                "gflops": gflop / statistics.median(taken),
                "of_sgemm": gflop / statistics.median(taken) / statistics.median(rates),
            }
            for name, taken in seconds.items()
        },
        "busy": busy[:1],
    }


def main() -> None:
    """Measure with one thread and with all CPUs, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.avx2:
        os.environ.update(HELD)
    host = read_host()
    report: dict[str, Any] = {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "held_to": "AVX2" if arguments.avx2 else None,
        "network": "u2netp",
        "side": SIDE,
        "gflop": round(network_gflop(), 2),
        "threads": {},
    }
    for threads in sorted({1, host.usable_cpus}):
        print(f"{threads} threads", file=sys.stderr, flush=True)
        report["threads"][str(threads)] = measure(arguments.rounds, threads)
    name = f"{'avx2-' if arguments.avx2 else ''}limits-{datetime.now(UTC).date().isoformat()}.json"
    (arguments.output / name).write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["threads"], indent=1))


if __name__ == "__main__":
    main()
