"""The grid: every setting that a sweep's axes can make, and no two that are the same."""

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

MAX_SETTINGS = 2000


MAX_COMBINATIONS = 20_000  # of the axes' values, most of which make equal settings; some 3 s


# Small enough for a few minutes, and wide enough to hold what usually wins, with the engines' own.
_COMMON_AXES: dict[str, tuple[Value, ...]] = {
    "intra_op_threads": (1, 2),
    "network_size": (192, 224, 256, 288, 320),
}


def default_axes() -> dict[str, tuple[Value, ...]]:
    """Return what is swept where no axes are named.

    Engines that say so, with their own knobs' values.
    """
    swept = {name: spec.axes for name, spec in ENGINES.items() if spec.axes is not None}
    own: dict[str, set[Value]] = {}
    for axes in swept.values():
        for name, values in axes.items():
            own.setdefault(name, set()).update(values)
    ordered = {
        name: tuple(sorted(values, key=partial(_place, name))) for name, values in own.items()
    }
    beside_engine = {
        name: ordered.pop(name)
        for name in list(ordered)
        if KNOBS[name].group == KNOBS["engine"].group
    }
    return {"engine": tuple(swept), **beside_engine, **_COMMON_AXES, **ordered}


def _place(name: str, value: Value) -> float:
    """Return where a value stands among a knob's.

    Choices as declared, on before off, numbers from the least.
    """
    choices = KNOBS[name].choices
    if choices:
        return choices.index(str(value))
    return -float(value or 0) if isinstance(value, bool) else float(value or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What axes make on this machine.

    Attributes:
        settings: in the axes' order, the last changing fastest; at least one.
        left_out: the axes' values that none of them has, each in a sentence with the reason; and
            those that mean the same as another here, and count once.
    """

    settings: tuple[Settings, ...]
    left_out: tuple[Message, ...]


def make_grid(axes: Axes, base: Settings, machine: Machine) -> Grid:
    """Make every setting of the axes that can run here.

    Where an engine does not honour a knob it stays at its default; what is the same here, by this
    or by what it resolves to, counts once. What `check` refuses is left out, and named where no
    setting has it.

    Args:
        axes: knobs with their values.
        base: gives the knobs that are no axis.
        machine: that is to run them.

    Raises:
        SettingsError: a knob is none, a value is not allowed, nothing remains, there are more than
        2,000, or the
            values combine to more than 20,000.
    """
    axes = {name: tuple(dict.fromkeys(values)) for name, values in axes.items()}
    if math.prod(map(len, axes.values())) > MAX_COMBINATIONS:
        raise SettingsError(
            [
                Message(
                    "these axes combine to more than {limit:,}; name fewer values",
                    limit=MAX_COMBINATIONS,
                )
            ]
        )
    _refuse_what_is_never_allowed(axes)
    found = _Found(machine)
    for values in itertools.product(*axes.values()):
        found.take(base, dict(zip(axes, values, strict=True)))
        if len(found.kept) > MAX_SETTINGS:
            raise SettingsError(
                [
                    Message(
                        "these axes make more than {limit:,} settings; name fewer values",
                        limit=MAX_SETTINGS,
                    )
                ]
            )
    if not found.kept:
        told = dict.fromkeys(text for texts in found.reasons.values() for text in texts)
        raise SettingsError(list(told) or [Message("the axes make no setting")])
    settings = tuple(found.kept.values())
    left_out = [
        Message(
            "{knob} {value} cannot be had here: {reasons}",
            knob=Term(name, "knob"),
            value=value_term(value),
            reasons=join_parts(reasons, "; "),
        )
        for name, values in axes.items()
        for value in values
        if not _is_used(name, value, settings)
        and (reasons := found.reasons.get((name, value)) or _unhonoured(name, settings))
    ]
    return Grid(settings=settings, left_out=(*left_out, *found.same_texts()))


def _refuse_what_is_never_allowed(axes: Axes) -> None:
    """Refuse knobs that are none, and values that no machine could do.

    Raises:
        SettingsError: with every problem.
    """
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


def _unhonoured(name: str, settings: Iterable[Settings]) -> list[Message]:
    """Say which of the engines that are left do not have a knob."""
    engines = dict.fromkeys(one.engine for one in settings)
    return [unhonoured_reason(name, engine) for engine in engines if not is_honoured(name, engine)]


Difference = tuple[
    tuple[str, "Value", "Value"], ...
]  # knobs, each with one's and the other's value


class _Found:
    """What the combinations of axes make, one by one.

    Attributes:
        kept: by what they resolve to.
        reasons: why a value of an axis was refused.
    """

    def __init__(self, machine: Machine) -> None:
        """Keep none yet."""
        self._machine = machine
        self.kept: dict[tuple[Value, ...], Settings] = {}
        self.reasons: dict[tuple[str, Value], dict[Message, None]] = {}
        self._seen: set[Settings] = set()
        self._same: dict[Difference, dict[str, None]] = {}

    def take(self, base: Settings, chosen: dict[str, Value]) -> None:
        """Make one setting, and keep it or why it cannot run here."""
        settings = _made(base, chosen)
        if settings in self._seen:
            return
        refusals = check(settings, self._machine)
        absent = [one for one in refusals if one.knob == "engine"]  # nothing else of it can be told
        for refusal in absent or refusals:
            of_axes = [name for name in (refusal.knob, *refusal.related) if name in chosen]
            for name in of_axes or chosen:
                self.reasons.setdefault((name, chosen[name]), {})[_of_axis(refusal)] = None
        if refusals:
            return
        self._seen.add(settings)
        resolved = resolve(settings, self._machine)
        others = (getattr(settings, name) for name, knob in KNOBS.items() if not knob.reload)
        twin = self.kept.setdefault((*resolved.worker_key, *others), settings)
        if twin is not settings:
            ours, theirs = settings.to_dict(), twin.to_dict()
            differing = tuple(
                (name, ours[name], theirs[name]) for name in KNOBS if ours[name] != theirs[name]
            )
            self._same.setdefault(differing, {})[settings.engine] = None

    def same_texts(self) -> list[Message]:
        """Say what means the same as something else here.

        Not of several values what is said of each.
        """
        alone = {differing[0] for differing in self._same if len(differing) == 1}
        return [
            _same_text(differing, engines)
            for differing, engines in self._same.items()
            if len(differing) == 1 or not alone.issuperset(differing)
        ]


def _same_text(differing: Difference, engines: Iterable[str]) -> Message:
    """Say that values mean the same."""

    def written(place: int) -> Parameter:
        return join_parts(
            Message("{knob} {value}", knob=Term(one[0], "knob"), value=value_term(one[place]))
            for one in differing
        )

    return Message(
        "{values} is left out with engine {engines}: it is the same as {others} here",
        values=written(1),
        engines=join_parts(Term(engine, "choice") for engine in engines),
        others=written(2),
    )


def _made(base: Settings, chosen: dict[str, Value]) -> Settings:
    """Make one setting; knobs that its engine does not have stay at their defaults."""
    wanted = {**base.to_dict(), **interpret_values(chosen)}
    engine = str(wanted["engine"])
    values = {
        name: value if is_honoured(name, engine) else default_of(name)
        for name, value in wanted.items()
    }
    return Settings(**values)  # type: ignore[arg-type]  # of settings, and of axes that were looked at


def _of_axis(refusal: Refusal) -> Message:
    """Say of an axis' value why it is left out."""
    said = refusal.clause or refusal.reason
    if said.code != "int8_absent":
        return said
    return Message(
        "model {model} has no int8 form for engine {engine}; make it with `models quantize`",
        code="int8_absent",
        model=said["model"],
        engine=said["engine"],
    )


def shuffled(settings: Sequence[Settings], seed: int) -> list[Settings]:
    """Give settings in an order by chance, so that a machine that warms up favours none.

    Args:
        settings: in any order.
        seed: the same seed gives the same order.
    """
    order = list(settings)
    random.Random(seed).shuffle(order)  # not for secrets
    return order
