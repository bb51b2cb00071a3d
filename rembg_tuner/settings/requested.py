"""Settings made of a preset and of what was given on top of it, by flag or by form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import MODEL_ALIASES
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.check import check, value_term
from rembg_tuner.settings.settings import default_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.settings.check import Refusal
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings


def requested_settings(
    preset: Preset | None, given: Mapping[str, object], machine: Machine
) -> tuple[Settings, tuple[Message, ...]]:
    """Make the settings of a run from a preset and what was given by flag or form.

    What was given and cannot be had is an error; what only the preset says and this machine or the
    engine cannot do is left out, with a warning. Files and execution providers that are missing
    stay: the run ends in a Failure of its own kind.

    Args:
        preset: where the knobs start from; None: their own defaults.
        given: knobs that the user set; an engine that is None is as one left out.
        machine: that is to run them.

    Returns:
        The settings, and the warnings for the Result.

    Raises:
        SettingsError: with every problem of what was given.
    """
    given = {name: value for name, value in given.items() if (name, value) != ("engine", None)}
    wishes = {} if preset is None else {k: v for k, v in preset.values.items() if k not in given}
    warnings: list[Message] = []
    if "engine" not in given and wishes.get("engine") not in machine.engines:
        wanted = wishes.get("engine")
        wishes["engine"] = machine.best_engine
        if wanted is not None:
            warnings.append(_other_engine(str(wanted), machine))
    values = {**wishes, **given}
    model = values.get("model")
    if isinstance(model, str) and model in MODEL_ALIASES:
        warnings.append(
            Message(
                "model {model} is understood as {meant}",
                code="model_alias",
                model=model,
                meant=MODEL_ALIASES[model],
            )
        )
    while True:
        settings, problems, wrong = build_with_defaults(values)
        refusals = check(settings, machine, given=given.keys(), wrong=wrong)
        dropped = _first_wish(refusals, wishes)
        if dropped is None:
            break
        warnings.append(_left_out(dropped, wishes.pop(dropped.knob), preset))
        del values[dropped.knob]
    problems += [one.reason for one in refusals if one.missing is None]
    if problems:
        raise SettingsError(problems)
    return settings, tuple(warnings)


def _first_wish(refusals: tuple[Refusal, ...], wishes: Mapping[str, object]) -> Refusal | None:
    """Find the first of a preset's wishes that is refused and can be left out.

    None: there is none.
    """
    refused: dict[str, Refusal] = {}
    for one in refusals:
        if one.missing is None or one.knob == "precision":
            refused.setdefault(one.knob, one)
    return next((refused[name] for name in wishes if name in refused), None)


def _other_engine(wanted: str, machine: Machine) -> Message:
    """Return the warning that a preset's engine is not installed and which one is used."""
    return Message(
        "engine {engine} of the preset is not installed, engine {used} is used; {install}",
        code="engine_replaced",
        engine=Term(wanted, "choice"),
        used=Term(machine.best_engine, "choice"),
        install=ENGINES[wanted].install,
    )


def _left_out(refusal: Refusal, value: object, preset: Preset | None) -> Message:
    """Return the warning that a preset's value is left out, with the reason."""
    name = refusal.knob
    return Message(
        "{knob} {value} of preset {preset} is left out, {knob} {default} is used: {reason}",
        code="knob_dropped",
        knob=Term(name, "knob"),
        value=value_term(value),
        preset=Term("" if preset is None else preset.name, "preset"),
        default=value_term(default_of(name)),
        reason=refusal.clause or refusal.reason,
    )
