"""Measure how each number format of a model agrees with its fp32 form on the user's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, SettingsError, TunerError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.agreement import AgreementWithFp32
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import name_of
from rembg_tuner.quantization.mattes import average_agreement, predict_mattes
from rembg_tuner.quantization.pictures import list_pictures, read_pictures
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.check import check
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.imaging.matte import Matte
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.machine import Machine


def measure_formats(
    model: str,
    engine: str,
    pictures: Path,
    *,
    machine: Machine,
    cache: Path,
    tell: Callable[[str], None],
) -> dict[str, AgreementWithFp32]:
    """Measure every number format that the engine supports on this CPU, against fp32.

    Args:
        model: a name, or a path to an .onnx file.
        engine: the engine's name.
        pictures: a folder.
        machine: this machine.
        cache: the folder for files derived from the model.
        tell: called with each format or picture that is left out, and the reason.

    Returns:
        Agreement with fp32 by precision.

    Raises:
        SettingsError: the engine is not installed or is the stock pipeline, or the folder contains
            no pictures.
        ModelError: the size of the model's input is unknown.
        TunerError: fp32 does not run.
    """
    side = _check(model, engine, machine)
    inputs = read_pictures(list_pictures(pictures), find_model(model), side, tell=tell).judged
    references = _mattes(model, engine, "fp32", inputs, cache)
    found: dict[str, AgreementWithFp32] = {}
    for precision in _formats_besides_fp32(engine):
        try:
            _refuse_impossible(model, engine, precision, machine)
            mattes = _mattes(model, engine, precision, inputs, cache)
        except TunerError as error:
            tell(f"{precision} is left out: {error}")
            continue
        agreement = average_agreement(mattes, references)
        found[precision] = AgreementWithFp32(
            mae=round(agreement.mae, 5), iou=round(agreement.iou, 5), pictures=len(inputs)
        )
    return found


def _check(model: str, engine: str, machine: Machine) -> int:
    """Check the engine, and return the side of the network's input, px.

    Raises:
        SettingsError: the engine is not installed, or is the stock pipeline.
        ModelError: the size of the model's input is unknown.
    """
    if engine not in machine.engines or ENGINES[engine].is_stock:
        known = join_parts(name for name in machine.engines if not ENGINES[name].is_stock)
        raise SettingsError(
            [
                Message(
                    "--engine must be one of those installed, {known}, got {engine!r}",
                    known=known,
                    engine=engine,
                )
            ]
        )
    side = find_model(model).side
    if side is None:
        raise ModelError(
            Message(
                "model {model} does not tell its input size; write it as side into the .json"
                " beside it",
                model=name_of(model),
            )
        )
    return side


def _formats_besides_fp32(engine: str) -> list[str]:
    """Return the number formats that an engine supports on the CPU, fp32 excluded."""
    precisions = ENGINES[engine].precisions.items()
    return [name for name, need in precisions if name != "fp32" and need.provider in ("", "cpu")]


def _refuse_impossible(model: str, engine: str, precision: str, machine: Machine) -> None:
    """Check that a number format can run on this machine.

    Raises:
        ModelError: it cannot.
    """
    settings = build_with_defaults({"model": model, "engine": engine, "precision": precision})[0]
    for refusal in check(settings, machine):
        if refusal.knob == "precision":
            short = None if refusal.missing else refusal.clause
            raise ModelError(short or refusal.reason)


def _mattes(
    model: str, engine: str, precision: str, inputs: list[NetworkInput], cache: Path
) -> list[Matte]:
    """Run one number format on the inputs and return the mattes."""
    spec = find_model(model, int8_for=engine if precision == "int8" else None)
    # Settings checks the precision.
    settings = Settings(model=model, engine=engine, precision=precision)  # type: ignore[arg-type]
    ready = prepare(settings, spec, cache, is_cancelled=lambda: False, on_start=lambda: None)
    return predict_mattes(ready, engine, inputs, cache=cache, precision=precision)
