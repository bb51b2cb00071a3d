"""What a setting means on a machine, and what is wrong with it there."""

from __future__ import annotations

from typing import Any

import pytest
from made_machines import INT8_OF_U2NETP, NEW_CPU, OLD_CPU, make_machine

from rembg_tuner.check import check
from rembg_tuner.machine import read_machine
from rembg_tuner.resolve import resolve
from rembg_tuner.settings import Settings


@pytest.mark.parametrize("precisions", [OLD_CPU, NEW_CPU])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["auto", "int8"])
@pytest.mark.parametrize("network_size", [0, 320])
@pytest.mark.parametrize("threads", [0, 2])
def test_what_is_the_same_here_has_one_worker(
    precisions: frozenset[str], engine: Any, precision: Any, network_size: int, threads: int
) -> None:
    """`auto` and what it means, 0 and the own size, 0 and the CPUs; what was asked stays."""
    machine = make_machine(
        precisions=precisions,
        int8_models=INT8_OF_U2NETP,
        int8_kind="vnni" if "bf16" in precisions else "avx2",
    )
    asked = Settings(
        engine=engine,
        precision=precision,
        network_size=network_size,
        intra_op_threads=threads,
    )
    assert check(asked, machine) == ()
    found = resolve(asked, machine)
    plain = resolve(Settings(engine=engine, precision="int8"), machine)
    assert found.worker_key == plain.worker_key
    assert found.settings == asked
    assert (found.precision, found.threads, found.network_size) == ("int8", 2, 320)
    assert found.worker_settings.network_size == 0
    assert resolve(asked, machine.shared_by(2)).worker_key != found.worker_key


def test_this_machine_is_read() -> None:
    """The model that comes along is there, with its hash; the versions are those of the packages."""
    machine = read_machine()
    found = resolve(Settings(engine="onnxruntime"), machine)
    assert len(found.model.sha256) == 64
    assert found.network_size == 320
    assert '"onnxruntime": "' in found.measurement_key
    assert machine.version("pyvips-binary") in found.measurement_key
