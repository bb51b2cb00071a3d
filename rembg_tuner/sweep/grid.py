"""The grid: every setting that a sweep's axes can make, and no two that are the same."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rembg_tuner.engines.table import ENGINES
from rembg_tuner.errors import SettingsError
from rembg_tuner.presets import foreign_text, unnative_text
from rembg_tuner.settings import (
    KNOBS,
    MODEL_ALIASES,
    Settings,
    build_settings,
    default_of,
    is_honoured,
    problems_of,
    type_of,
    unhonoured_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rembg_tuner.presets import Capabilities
    from rembg_tuner.settings import Value

    Axes = Mapping[str, Sequence[Value]]

MOST_SETTINGS = 2000
MOST_COMBINATIONS = 20_000  # of the axes' values, most of which make equal settings; some 3 s
# Small enough for a few minutes, and wide enough to hold what usually wins, with the engines' own.
_COMMON_AXES: dict[str, tuple[Value, ...]] = {
    "intra_op_threads": (1, 2),
    "network_size": (192, 224, 256, 288, 320),
}


def default_axes() -> dict[str, tuple[Value, ...]]:
    """Return what is swept where no axes are named: engines that say so, with their own knobs' values."""
    swept = {name: spec.axes for name, spec in ENGINES.items() if spec.axes is not None}
    own: dict[str, set[Value]] = {}
    for axes in swept.values():
        for name, values in axes.items():
            own.setdefault(name, set()).update(values)
    ordered = {name: tuple(sorted(values, key=partial(_place, name))) for name, values in own.items()}  # fmt: skip
    beside_engine = {name: ordered.pop(name) for name in list(ordered) if KNOBS[name].group == KNOBS["engine"].group}  # fmt: skip
    return {"engine": tuple(swept), **beside_engine, **_COMMON_AXES, **ordered}


def _place(name: str, value: Value) -> float:
    """Return where a value stands among a knob's: choices as declared, on before off, numbers from the least."""
    choices = KNOBS[name].choices
    if choices:
        return choices.index(str(value))
    return -float(value or 0) if isinstance(value, bool) else float(value or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What axes make on this machine.

    Attributes:
        settings: in the axes' order, the last changing fastest; at least one.
        left_out: the axes' values that none of them has, each in a sentence with the reason.
    """

    settings: tuple[Settings, ...]
    left_out: tuple[str, ...]


def make_grid(axes: Axes, base: Settings, able: Capabilities) -> Grid:
    """Make every setting of the axes that can run here.

    Where an engine does not honour a knob it stays at its default, and what this makes equal counts
    once; a number format that an engine, the CPU or the disk does not have is left out, and named where
    no setting has it.

    Args:
        axes: knobs with their values.
        base: gives the knobs that are no axis.
        able: what this machine can do.

    Raises:
        SettingsError: a knob is none, a value is not allowed, nothing remains, there are more than 2,000, or the
            values combine to more than 20,000.
    """
    axes = {name: tuple(dict.fromkeys(values)) for name, values in axes.items()}
    if math.prod(map(len, axes.values())) > MOST_COMBINATIONS:
        raise SettingsError([f"these axes combine to more than {MOST_COMBINATIONS:,}; name fewer values"])  # fmt: skip
    _refuse_what_is_never_allowed(axes)
    found: dict[Settings, None] = {}
    reasons: dict[tuple[str, Value], dict[str, None]] = {}
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        made = _make({**base.to_dict(), **chosen}, able)
        if isinstance(made, _Refusal):
            for name in [made.knob] if made.knob in chosen else chosen:
                reasons.setdefault((name, chosen[name]), {}).update(dict.fromkeys(made.reasons))
        else:
            found[made] = None
        if len(found) > MOST_SETTINGS:
            raise SettingsError(
                [f"these axes make more than {MOST_SETTINGS:,} settings; name fewer values"]
            )
    if not found:
        told = dict.fromkeys(text for texts in reasons.values() for text in texts)
        raise SettingsError(list(told) or ["the axes make no setting"])
    left_out = [
        f"{name} {_text(value)} cannot be had here: {'; '.join(reasons.get((name, value)) or _unhonoured(name, found))}"
        for name, values in axes.items()
        for value in values
        if not _is_used(name, value, found)
    ]
    return Grid(settings=tuple(found), left_out=tuple(left_out))


def _refuse_what_is_never_allowed(axes: Axes) -> None:
    """Refuse knobs that are none, and values that no machine could do.

    Raises:
        SettingsError: with every problem.
    """
    problems = [f"{name!r} is not a setting; the settings are {', '.join(KNOBS)}" for name in axes if name not in KNOBS]  # fmt: skip
    problems += [
        problem
        for name in axes.keys() & KNOBS.keys()
        for value in axes[name]
        for problem in problems_of(name, _as_float(name, value))
    ]
    if problems:
        raise SettingsError(problems)


def _as_float(name: str, value: Value) -> Value:
    """Take a whole number for a knob of another kind of number, as `build_settings` does."""
    return float(value) if type_of(name) is float and type(value) is int else value


def _is_used(name: str, value: Value, settings: Iterable[Settings]) -> bool:
    """Tell whether any of the settings has a value."""
    return any(one.to_dict()[name] == _meant(name, value) for one in settings)


def _meant(name: str, value: Value) -> Value:
    """Give a model's own name where another one of it is given."""
    return MODEL_ALIASES.get(str(value), value) if name == "model" else value


def _unhonoured(name: str, settings: Iterable[Settings]) -> list[str]:
    """Say which of the engines that are left do not have a knob."""
    engines = dict.fromkeys(one.engine for one in settings)
    return [unhonoured_text(name, engine) for engine in engines if not is_honoured(name, engine)]


def _text(value: Value) -> str:
    """Write a value as its flag takes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why a setting cannot run here: by one knob alone, or by how several go together (none named)."""

    reasons: tuple[str, ...]
    knob: str = ""


def _make(wanted: dict[str, Value], able: Capabilities) -> Settings | _Refusal:
    """Make one setting, or say why it cannot run here."""
    engine = str(wanted["engine"])
    if engine not in able.engines:
        reason = f"engine {engine} is not installed; choose engine {', '.join(able.engines)}"
        return _Refusal(reasons=(reason,), knob="engine")
    values: dict[str, object] = {
        name: value if is_honoured(name, engine) else default_of(name)
        for name, value in wanted.items()
    }
    values["model"] = _meant("model", wanted["model"])
    precision = _why_no_precision(values, engine, able)
    if precision is not None:
        return _Refusal(reasons=(precision,), knob="precision")
    try:
        return build_settings(values)
    except SettingsError as error:
        return _Refusal(reasons=tuple(str(one) for one in error.problems))


def _why_no_precision(values: dict[str, object], engine: str, able: Capabilities) -> str | None:
    """Say why a number format cannot be had here; None: it can."""
    precision = values["precision"]
    if is_honoured("precision", engine) and (reason := foreign_text(precision, engine)) is not None:
        return reason
    if precision == "int8" and f"{values['model']} {engine}" not in able.int8_models:
        return f"model {values['model']} has no int8 form for engine {engine}; make it with `models quantize`"
    return unnative_text(precision, engine, able)


def shuffled(settings: Sequence[Settings], seed: int) -> list[Settings]:
    """Give settings in an order by chance, so that a machine that warms up favours none.

    Args:
        settings: in any order.
        seed: the same seed gives the same order.
    """
    order = list(settings)
    random.Random(seed).shuffle(order)  # not for secrets
    return order
