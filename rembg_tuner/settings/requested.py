"""Create settings from a preset and the values that the user set by flag or form."""

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
    from collections.abc import Iterable, Mapping

    from rembg_tuner.settings.check import Refusal
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings


def requested_settings(
    preset: Preset | None, given: Mapping[str, object], machine: Machine
) -> tuple[Settings, tuple[Message, ...]]:
    """Create the settings of a run from a preset and the user's values.

    A user's value that is not possible is an error; a preset's value that this machine or the
    engine does not support is replaced by the default, with a warning. Missing files and execution
    providers are kept: the run then ends in a Failure of its own kind.

    Args:
        preset: the base values; None: the defaults.
        given: the user's values by knob; an engine of None counts as missing.
        machine: where the settings are to run.

    Returns:
        The settings, and the warnings for the Result.

    Raises:
        SettingsError: a value of the user is not valid; lists every problem.
    """
    given = {name: value for name, value in given.items() if (name, value) != ("engine", None)}
    wishes = {} if preset is None else {k: v for k, v in preset.values.items() if k not in given}
    warnings = _set_engine(wishes, given, machine)
    values = {**wishes, **given}
    warnings += _alias_warnings(values.get("model"))
    while True:
        settings, problems, wrong = build_with_defaults(values)
        refusals = check(settings, machine, given=given.keys(), wrong=wrong)
        dropped = _first_wish(refusals, wishes)
        if dropped is None:
            break
        warnings.append(_dropped_warning(dropped, wishes.pop(dropped.knob), preset))
        del values[dropped.knob]
    problems += [one.reason for one in refusals if one.missing is None]
    if problems:
        raise SettingsError(problems)
    return settings, tuple(warnings)


def _set_engine(
    wishes: dict[str, object], given: Mapping[str, object], machine: Machine
) -> list[Message]:
    """Replace a preset's engine that is missing or not installed by the machine's best."""
    wanted = wishes.get("engine")
    if "engine" in given or wanted in machine.engines:
        return []
    wishes["engine"] = machine.best_engine
    if wanted is None:
        return []
    return [
        Message(
            "the preset's engine {engine} is not installed, so engine {used} is used; {install}",
            code="engine_replaced",
            engine=Term(str(wanted), "choice"),
            used=Term(machine.best_engine, "choice"),
            install=ENGINES[str(wanted)].install,
        )
    ]


def _alias_warnings(model: object) -> list[Message]:
    """Return a warning if a model is named by an alias."""
    if not isinstance(model, str) or model not in MODEL_ALIASES:
        return []
    return [
        Message(
            "model {model} is another name for {meant}",
            code="model_alias",
            model=model,
            meant=MODEL_ALIASES[model],
        )
    ]


def _first_wish(refusals: Iterable[Refusal], wishes: Mapping[str, object]) -> Refusal | None:
    """Return the refusal of the first preset value that can be dropped; None: there is none."""
    refused: dict[str, Refusal] = {}
    for one in refusals:
        if one.missing is None or one.knob == "precision":
            refused.setdefault(one.knob, one)
    return next((refused[name] for name in wishes if name in refused), None)


def _dropped_warning(refusal: Refusal, value: object, preset: Preset | None) -> Message:
    """Return the warning that a preset's value is replaced by the default, with the reason."""
    name = refusal.knob
    return Message(
        "{knob} {value} of preset {preset} is not possible here, so {knob} {default} is used:"
        " {reason}",
        code="knob_dropped",
        knob=Term(name, "knob"),
        value=value_term(value),
        preset=Term("" if preset is None else preset.name, "preset"),
        default=value_term(default_of(name)),
        reason=refusal.clause or refusal.reason,
    )
