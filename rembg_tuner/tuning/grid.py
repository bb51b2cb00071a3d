"""The grid of a sweep: all distinct settings of its axes that can run on this machine."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import MODEL_ALIASES
from rembg_tuner.settings.building import interpret_values, unknown_problems
from rembg_tuner.settings.check import check, unhonoured_reason, value_term
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import KNOBS, Settings, default_of, is_honoured, value_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rembg_tuner.base.messages import Parameter
    from rembg_tuner.settings.check import Refusal
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Value

    Axes = Mapping[str, Sequence[Value]]
    # The knobs in which two settings differ, each with both values.
    Difference = tuple[tuple[str, Value, Value], ...]

MAX_SETTINGS = 2000
MAX_COMBINATIONS = 20_000  # most of which make equal settings; takes about 3 s
# Small enough for a few minutes; with the engines' own axes it includes the usual best settings.
_COMMON_AXES: dict[str, tuple[Value, ...]] = {
    "intra_op_threads": (1, 2),
    "network_size": (192, 224, 256, 288, 320),
}


def default_axes() -> dict[str, tuple[Value, ...]]:
    """Return the default axes of a sweep: the engines with their own knobs, and common ones."""
    swept = {name: spec.axes for name, spec in ENGINES.items() if spec.axes is not None}
    own: dict[str, set[Value]] = {}
    for axes in swept.values():
        for name, values in axes.items():
            own.setdefault(name, set()).update(values)
    ordered = {
        name: tuple(sorted(values, key=partial(_rank, name))) for name, values in own.items()
    }
    with_engine = {
        name: ordered.pop(name)
        for name in list(ordered)
        if KNOBS[name].group == KNOBS["engine"].group
    }
    return {"engine": tuple(swept), **with_engine, **_COMMON_AXES, **ordered}


def _rank(name: str, value: Value) -> float:
    """Return the rank of a value: choices as declared, on before off, numbers ascending."""
    choices = KNOBS[name].choices
    if choices:
        return choices.index(str(value))
    return -float(value or 0) if isinstance(value, bool) else float(value or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The settings of some axes on a machine.

    Attributes:
        settings: in the order of the axes, the last axis varies fastest; at least one.
        left_out: a sentence for each axis value without a setting, with the reason, and for each
            value that is equivalent to another one here.
    """

    settings: tuple[Settings, ...]
    left_out: tuple[Message, ...]


def make_grid(axes: Axes, base: Settings, machine: Machine) -> Grid:
    """Make every setting of the axes that can run on a machine.

    A knob that an engine does not support keeps its default. Settings that become equal by this, or
    that resolve to the same settings, count once.

    Args:
        axes: knobs with their values.
        base: the knobs that are not an axis.
        machine: the machine that runs the settings.

    Raises:
        SettingsError: a knob is unknown, a value is not allowed, no setting remains, there are more
            than 2,000 settings, or the values make more than 20,000 combinations.
    """
    axes = {name: tuple(dict.fromkeys(values)) for name, values in axes.items()}
    _check_values(axes)
    found = _Builder(machine)
    for values in itertools.product(*axes.values()):
        found.add(base, dict(zip(axes, values, strict=True)))
        if len(found.kept) > MAX_SETTINGS:
            problem = Message(
                "these axes make more than {limit:,} settings; name fewer values",
                limit=MAX_SETTINGS,
            )
            raise SettingsError([problem])
    settings = tuple(found.kept.values())
    if not settings:
        problems = dict.fromkeys(text for texts in found.reasons.values() for text in texts)
        raise SettingsError(list(problems) or [Message("the axes make no setting")])
    unused = _unused_texts(axes, settings, found.reasons)
    return Grid(settings=settings, left_out=(*unused, *found.duplicate_texts()))


def _check_values(axes: Axes) -> None:
    """Check the axes independently of a machine.

    Raises:
        SettingsError: there are too many combinations, or knobs or values are unknown (all are
            listed).
    """
    if math.prod(map(len, axes.values())) > MAX_COMBINATIONS:
        problem = Message(
            "these axes combine to more than {limit:,}; name fewer values", limit=MAX_COMBINATIONS
        )
        raise SettingsError([problem])
    problems = unknown_problems(axes)
    problems += [
        problem
        for name in axes.keys() & KNOBS.keys()
        for value in axes[name]
        for problem in value_problems(name, interpret_values({name: value})[name])
    ]
    if problems:
        raise SettingsError(problems)


def _is_used(name: str, value: Value, settings: Iterable[Settings]) -> bool:
    """Return whether any of the settings has a value."""
    meant = MODEL_ALIASES.get(str(value), value) if name == "model" else value
    return any(getattr(one, name) == meant for one in settings)


def _unsupported(name: str, settings: Iterable[Settings]) -> list[Message]:
    """Return a reason for each remaining engine that does not support a knob."""
    engines = dict.fromkeys(one.engine for one in settings)
    return [unhonoured_reason(name, engine) for engine in engines if not is_honoured(name, engine)]


def _unused_texts(
    axes: Axes,
    settings: Sequence[Settings],
    refused: Mapping[tuple[str, Value], Iterable[Message]],
) -> list[Message]:
    """Return a sentence for each axis value that no setting has, with the reasons."""
    return [
        Message(
            "{knob} {value} is not possible here: {reasons}",
            knob=Term(name, "knob"),
            value=value_term(value),
            reasons=join_parts(reasons, "; "),
        )
        for name, values in axes.items()
        for value in values
        if not _is_used(name, value, settings)
        and (reasons := refused.get((name, value)) or _unsupported(name, settings))
    ]


class _Builder:
    """Collects the settings of a grid.

    Attributes:
        kept: the settings by their resolved values.
        reasons: the reasons why values were refused.
    """

    def __init__(self, machine: Machine) -> None:
        """Start without settings."""
        self._machine = machine
        self.kept: dict[tuple[Value, ...], Settings] = {}
        self.reasons: dict[tuple[str, Value], dict[Message, None]] = {}
        self._seen: set[Settings] = set()
        self._duplicates: dict[Difference, dict[str, None]] = {}

    def add(self, base: Settings, chosen: dict[str, Value]) -> None:
        """Add the setting of a combination, or the reasons why it cannot run."""
        settings = _build(base, chosen)
        if settings in self._seen:
            return
        if refusals := check(settings, self._machine):
            self._add_reasons(refusals, chosen)
            return
        self._seen.add(settings)
        others = (getattr(settings, name) for name, knob in KNOBS.items() if not knob.reload)
        key = (*resolve(settings, self._machine).worker_key, *others)
        twin = self.kept.setdefault(key, settings)
        if twin is not settings:
            ours, theirs = settings.to_dict(), twin.to_dict()
            difference = tuple(
                (name, ours[name], theirs[name]) for name in KNOBS if ours[name] != theirs[name]
            )
            self._duplicates.setdefault(difference, {})[settings.engine] = None

    def _add_reasons(self, refusals: Sequence[Refusal], chosen: dict[str, Value]) -> None:
        """Add the reasons why a combination cannot run, by the values that cause them."""
        # Without its engine, nothing else about a setting can be checked.
        for refusal in [one for one in refusals if one.knob == "engine"] or refusals:
            knobs = [name for name in (refusal.knob, *refusal.related) if name in chosen]
            for name in knobs or chosen:
                self.reasons.setdefault((name, chosen[name]), {})[_axis_reason(refusal)] = None

    def duplicate_texts(self) -> list[Message]:
        """Return a sentence for each value that is equivalent to another one.

        Combinations are omitted if each of their values has its own sentence.
        """
        single = {difference[0] for difference in self._duplicates if len(difference) == 1}
        return [
            Message(
                "{values} is left out with engine {engines}: it is the same as {others} here",
                values=_values_text(difference, 1),
                engines=join_parts(Term(engine, "choice") for engine in engines),
                others=_values_text(difference, 2),
            )
            for difference, engines in self._duplicates.items()
            if len(difference) == 1 or not single.issuperset(difference)
        ]


def _values_text(difference: Difference, side: int) -> Parameter:
    """Return the knobs of a difference with the values of one side (1 or 2)."""
    return join_parts(
        Message("{knob} {value}", knob=Term(one[0], "knob"), value=value_term(one[side]))
        for one in difference
    )


def _build(base: Settings, chosen: dict[str, Value]) -> Settings:
    """Build one setting; knobs that its engine does not support keep their defaults."""
    wanted = {**base.to_dict(), **interpret_values(chosen)}
    engine = str(wanted["engine"])
    values = {
        name: value if is_honoured(name, engine) else default_of(name)
        for name, value in wanted.items()
    }
    return Settings(**values)  # type: ignore[arg-type]  # from valid settings and checked axes


def _axis_reason(refusal: Refusal) -> Message:
    """Return the reason of a refusal, worded for a sweep."""
    reason = refusal.clause or refusal.reason
    if reason.code != "int8_absent":
        return reason
    return Message(
        "model {model} has no int8 form for engine {engine}; make it with `models quantize`",
        code="int8_absent",
        model=reason["model"],
        engine=reason["engine"],
    )


def shuffled(settings: Sequence[Settings], seed: int) -> list[Settings]:
    """Return settings in random order, so that a machine that warms up does not favour any.

    Args:
        settings: in any order.
        seed: equal seeds give equal orders.
    """
    order = list(settings)
    random.Random(seed).shuffle(order)  # not used for security
    return order
