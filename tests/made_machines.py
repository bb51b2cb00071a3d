"""Machines for tests: their installed engines, CPU features and model files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import MissingModelError
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import by_rank
from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, name_of
from rembg_tuner.settings.machine import Machine, ModelFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from rembg_tuner.models.agreement import AgreementWithFp32

EVERY_ENGINE = tuple(spec.name for spec in by_rank())
INT8_OF_U2NETP = ("u2netp openvino", "u2netp onnxruntime")
OLD_CPU = frozenset({"fp32", "int8"})  # AVX2 only
NEW_CPU = frozenset({"fp32", "int8", "bf16"})  # VNNI and bf16


def make_machine(
    *,
    engines: tuple[str, ...] = EVERY_ENGINE,
    precisions: frozenset[str] = NEW_CPU,
    int8_models: Collection[str] = (),
    absent_models: Collection[str] = (),
    cache: Path = Path("/nonexistent"),
    **more: Any,
) -> Machine:
    """Return a machine.

    Args:
        engines: the installed engines, best first.
        precisions: the number formats of the CPU; without bf16 it has AVX2 only.
        int8_models: the models with an int8 form, each with its engine: `u2netp openvino`.
        absent_models: the models without a file.
        cache: the cache folder with this machine's own agreements.
        more: other fields of `Machine`, and `int8_kind`.
    """
    kind = more.pop("int8_kind", "vnni")

    def find(model: str, int8_for: str | None) -> ModelFile:
        is_there = model not in absent_models and (
            int8_for is None or f"{model} {int8_for}" in int8_models
        )
        if not is_there:
            raise MissingModelError(Message("model {model} is not on disk", model=name_of(model)))
        return make_model_file(model if int8_for is None else f"{model}-int8-{int8_for}")

    def agreement(model: str, engine: str, precision: str) -> AgreementWithFp32 | None:
        return agreement_with_fp32(model, engine, precision, cache, int8_kind=kind)

    fields: dict[str, Any] = {
        "engines": engines,
        "cpu": "Toy CPU",
        "features": frozenset({"avx2"}),
        "precisions": precisions,
        "int8_kind": kind,
        "cpus": 2,
        "memory_limit_bytes": None,
        "large_models": frozenset({"isnet-general-use"}),
        "find": find,
        "agreement": agreement,
        "version": lambda _: "1.0",
    }
    return Machine(**{**fields, **more})


def make_model_file(name: str, *, side: int | None = 320) -> ModelFile:
    """Return the description of a model file that does not exist."""
    spec = ModelSpec(
        name=name,
        path=f"/models/{name}.onnx",
        graph_path=f"/models/{name}.onnx",
        checksums={},
        side=side,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    return ModelFile(
        spec=spec,
        size_bytes=4,
        mtime_ns=1,
        side=side,
        digest=lambda file: f"hash of {file.spec.path}",
    )
