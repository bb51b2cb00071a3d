"""The rules between the knobs of a setting, and between a setting and a machine.

`Settings` checks the type and the range of each value by itself; every other rule is here. Callers
decide what a refusal means: for a flag or a form's field it is an error, for a preset's value a
warning and the default (`requested`), for a form's choice a disabled choice, and a sweep leaves the
value out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.engines.table import ENGINES, own_file_problem
from rembg_tuner.models.spec import name_of
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.settings import KNOBS, Settings, default_of, is_honoured, value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from rembg_tuner.base.messages import JoinedParts
    from rembg_tuner.settings.machine import Machine, ModelFile
    from rembg_tuner.settings.settings import Value

# The knobs that only one value of focus uses, and that value.
FOCUS_USES = {"focus_box": "box", "focus_max_share": "auto"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The reason why a knob's value is not possible.

    Attributes:
        knob: its name.
        value: the requested value.
        reason: what is wrong and what to do, for the user who set the value; its code names the
            rule.
        clause: the reason as part of another sentence, such as a preset's warning; None: `reason`.
        related: the other knobs that the rule depends on.
        missing: what is missing on disk or in ONNX Runtime; a run of such settings ends in a
            Failure of its own kind. None: nothing is missing, the settings are invalid.
    """

    knob: str
    value: Value
    reason: Message
    clause: Message | None = None
    related: tuple[str, ...] = ()
    missing: Literal["model", "provider"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """The arguments of `check`, for the rules."""

    settings: Settings
    machine: Machine | None
    given: Collection[str] | None

    def refuse(self, knob: str, reason: Message, *related: str, **more: Any) -> Refusal:
        """Refuse the value of a knob."""
        value = getattr(self.settings, knob)
        return Refusal(knob=knob, value=value, reason=reason, related=related, **more)


def check(
    settings: Settings,
    machine: Machine | None,
    *,
    given: Collection[str] | None = None,
    wrong: Collection[str] = (),
) -> tuple[Refusal, ...]:
    """Return everything that is wrong with a setting; empty: it can run.

    Args:
        settings: the requested settings.
        machine: the machine to run on; None: check only rules that hold on every machine.
        given: the knobs that the user set. They are refused even at their defaults if the engine
            does not support them, and are exempt from the rules for presets. None: all values are
            the user's.
        wrong: knobs whose values were replaced by defaults; rules that depend on them are skipped.
    """
    context = _Context(settings=settings, machine=machine, given=given)
    found = [
        refusal
        for knob, rule in _RULES
        if is_honoured(knob, settings.engine)
        for refusal in rule(context)
    ]
    return tuple(one for one in found if not {one.knob, *one.related} & set(wrong))


def checked_settings(values: Mapping[str, object]) -> Settings:
    """Create Settings from values by name, and check them against the rules for every machine.

    Args:
        values: by knob; missing ones take their defaults.

    Raises:
        SettingsError: a value or a combination of values is not valid; lists all problems.
    """
    settings, problems, wrong = build_with_defaults(values)
    problems += [refusal.reason for refusal in check(settings, None, wrong=wrong)]
    if problems:
        raise SettingsError(problems)
    return settings


def value_term(value: object) -> Term | Path | str:
    """Return a knob's value as its flag takes it; the user's own model file as a path."""
    if not isinstance(value, bool | str):
        return value_text(value)
    named = name_of(value_text(value))
    return named if isinstance(named, Path) else Term(named, "choice")


def unhonoured_reason(name: str, engine: str) -> Message:
    """Return the message that an engine does not support a knob, and which engines do."""
    return Message(
        "engine {engine} does not support {knob}; leave {knob} out, or choose engine {engines}",
        code="knob_unhonoured",
        knob=Term(name, "knob"),
        engine=Term(engine, "choice"),
        engines=_choices(one for one in ENGINES if is_honoured(name, one)),
    )


def no_size_reason(model: ModelFile) -> Message:
    """Return the message that neither a model's record nor its graph specifies the input size."""
    return Message(
        "the input size of {model} is unknown; set --network-size",
        code="no_network_size",
        model=Path(model.spec.path),
    )


def _choices(names: Iterable[str]) -> JoinedParts:
    return join_parts(Term(one, "choice") for one in names)


def _absent_engine(context: _Context) -> Iterator[Refusal]:
    """Refuse an engine that is not installed."""
    engine, machine = context.settings.engine, context.machine
    if machine is None or engine in machine.engines:
        return
    name, install = Term(engine, "choice"), ENGINES[engine].install
    if not machine.engines:
        reason = Message(
            "engine {engine} is not installed; {install}",
            code="engine_absent",
            engine=name,
            install=install,
        )
        yield context.refuse("engine", reason)
        return
    reason = Message(
        "engine {engine} is not installed; {install}, or choose engine {engines}",
        code="engine_absent",
        engine=name,
        install=install,
        engines=_choices(machine.engines),
    )
    clause = Message(
        "engine {engine} is not installed; choose engine {engines}",
        code="engine_absent",
        engine=name,
        engines=_choices(machine.engines),
    )
    yield context.refuse("engine", reason, clause=clause)


def _unhonoured(context: _Context) -> Iterator[Refusal]:
    """Refuse knobs that the engine does not support."""
    engine = context.settings.engine
    clause = Message(
        "engine {engine} does not support it",
        code="knob_unhonoured",
        engine=Term(engine, "choice"),
    )
    for name in KNOBS:
        is_set = name in (context.given or ()) or name in context.settings.changed()
        if is_set and not is_honoured(name, engine):
            yield context.refuse(name, unhonoured_reason(name, engine), "engine", clause=clause)


def _precision(context: _Context) -> Iterator[Refusal]:
    """Refuse a number format that the engine or its execution provider does not support."""
    settings = context.settings
    engine, precision = settings.engine, settings.precision
    need = ENGINES[engine].precisions.get(precision)
    if precision == "auto":
        return
    if need is None:
        yield _unsupported_precision(context)
    elif need.provider and settings.provider != need.provider:
        reason = _provider_reason(settings, need.provider)
        yield context.refuse("precision", reason, "engine", "provider")


def _precision_here(context: _Context) -> Iterator[Refusal]:
    """Refuse a number format that the CPU does not support, or whose file is missing."""
    settings, machine = context.settings, context.machine
    engine, precision = settings.engine, settings.precision
    need = ENGINES[engine].precisions.get(precision)
    if machine is None or need is None:
        return
    if need.cpu and precision not in machine.precisions:
        clause = Message(
            "this precision needs a CPU with native {precision}, and this CPU does not have it",
            code="precision_not_native",
            precision=precision,
        )
        reason = _unavailable_reason(precision, clause)
        yield context.refuse("precision", reason, "engine", clause=clause)
    if need.int8_file and not machine.has_int8(settings.model, engine):
        yield _missing_int8(context, machine)


def _unsupported_precision(context: _Context) -> Refusal:
    """Refuse a number format that the engine does not support on any machine."""
    engine, precision = context.settings.engine, context.settings.precision
    name, known = Term(engine, "choice"), _choices(ENGINES[engine].precision_choices)
    clause = Message(
        "engine {engine} does not support precision {precision}, only {precisions}",
        code="precision_foreign",
        engine=name,
        precision=precision,
        precisions=known,
    )
    in_a_file = Message(
        "engine {engine} does not support precision {precision}; choose one of {precisions}",
        code="precision_foreign",
        engine=name,
        precision=precision,
        precisions=known,
    )
    reason = in_a_file if context.machine is None else _unavailable_reason(precision, clause)
    return context.refuse("precision", reason, "engine", clause=clause)


def _provider_reason(settings: Settings, needed: str) -> Message:
    """Return the message that a number format needs another execution provider."""
    params = {
        "precision": settings.precision,
        "engine": settings.engine,
        "needed": needed,
        "provider": settings.provider,
    }
    if needed == "cpu":  # the other provider may not support fp32
        return Message(
            "precision {precision} in engine {engine} needs provider {needed}, got provider"
            " {provider}; choose provider {needed}, or another precision",
            code="precision_of_provider",
            **params,
        )
    return Message(
        "precision {precision} in engine {engine} needs provider {needed}, got provider"
        " {provider}; choose provider {needed}, or precision fp32",
        code="precision_of_provider",
        **params,
    )


def _missing_int8(context: _Context, machine: Machine) -> Refusal:
    """Refuse int8 if the model has no int8 file."""
    model, engine = context.settings.model, context.settings.engine
    reason = clause = Message(
        "model {model} has no int8 file for engine {engine} on disk",
        code="int8_absent",
        model=name_of(model),
        engine=engine,
    )
    try:
        machine.find(model, engine)
    except ModelError as error:
        reason = error.message.with_code("int8_absent")
    return context.refuse("precision", reason, "model", "engine", clause=clause, missing="model")


def _unavailable_reason(precision: str, clause: Message) -> Message:
    """Return the reason for a user who chose a number format that is not possible."""
    return Message(
        "precision {precision} is not available: {reason}; choose precision fp32",
        code=clause.code,
        precision=precision,
        reason=clause,
    )


def _focus(context: _Context) -> Iterator[Refusal]:
    """Refuse knobs that the chosen focus does not use, and a missing box."""
    settings = context.settings
    focus = settings.focus
    if focus == "box" and settings.focus_box is None:
        reason = Message(
            "focus box needs a box; set focus_box, such as 120,40,300,500 or 10%,5%,50%,80%, or"
            " choose focus auto",
            code="focus_box_missing",
        )
        yield context.refuse("focus_box", reason, "focus", "engine")
    for name, used_in in FOCUS_USES.items():
        if focus != used_in and getattr(settings, name) != default_of(name):
            reason = Message(
                "{knob} is used with focus {used_in} only, got focus {focus}; choose focus"
                " {used_in}, or leave {knob} out",
                code="focus_unused",
                knob=Term(name, "knob"),
                used_in=Term(used_in, "choice"),
                focus=Term(focus, "choice"),
            )
            yield context.refuse(name, reason, "focus", "engine")


def _arena(context: _Context) -> Iterator[Refusal]:
    """Refuse to shrink an arena that is off."""
    if context.settings.arena_shrink and not context.settings.cpu_mem_arena:
        reason = Message(
            "arena_shrink returns the arena's memory to the system, so it needs cpu_mem_arena on;"
            " turn arena_shrink off, or cpu_mem_arena on",
            code="arena_absent",
        )
        yield context.refuse("arena_shrink", reason, "cpu_mem_arena", "engine")


def _inter_op(context: _Context) -> Iterator[Refusal]:
    """Refuse threads across operators that run one after another."""
    threads = context.settings.inter_op_threads
    if threads > 0 and context.settings.execution_mode == "sequential":
        reason = Message(
            "inter_op_threads is used with execution_mode parallel only, got {threads} with"
            " sequential; set it to 0, or choose parallel",
            code="inter_op_unused",
            threads=threads,
        )
        yield context.refuse("inter_op_threads", reason, "execution_mode", "engine")


def _large_focus(context: _Context) -> Iterator[Refusal]:
    """Refuse a preset's focus with a large network; the user may set it."""
    settings, machine = context.settings, context.machine
    if machine is None or context.given is None or "focus" in context.given:
        return
    if settings.focus != "off" and settings.model in machine.large_models:
        reason = Message(
            "focus was not measured with networks as large as model {model}'s; set focus yourself"
            " to try it",
            code="focus_unmeasured",
            model=settings.model,
        )
        yield context.refuse("focus", reason, "model")


def _missing_model(context: _Context) -> Iterator[Refusal]:
    """Refuse a model whose file is missing, not the engine's, or of unknown input size."""
    settings, machine = context.settings, context.machine
    if machine is None:
        return
    own_file = own_file_problem(settings.engine, settings.model)
    if own_file is not None:
        reason = own_file.with_code("own_file_refused")
        yield context.refuse("model", reason, "engine", missing="model")
        return
    try:
        model = machine.find(settings.model, None)
    except ModelError as error:
        yield context.refuse("model", error.message, missing="model")
        return
    needs_size = not settings.network_size and is_honoured("network_size", settings.engine)
    if needs_size and model.side is None:
        yield context.refuse("network_size", no_size_reason(model), "model", missing="model")


def _unavailable_provider(context: _Context) -> Iterator[Refusal]:
    """Refuse an execution provider that ONNX Runtime does not have here."""
    providers = context.machine and context.machine.absent_providers
    absent = (providers or {}).get(context.settings.provider)
    own_file = own_file_problem(context.settings.engine, context.settings.model)
    if absent is not None and own_file is None:
        yield context.refuse("provider", absent, "engine", missing="provider")


# Each rule, and the knob that it is about: engines that do not support the knob skip the rule.
_RULES: tuple[tuple[str, Callable[[_Context], Iterator[Refusal]]], ...] = (
    ("engine", _absent_engine),
    ("engine", _unhonoured),
    ("precision", _precision),
    ("precision", _precision_here),
    ("focus", _focus),
    ("arena_shrink", _arena),
    ("inter_op_threads", _inter_op),
    ("focus", _large_focus),
    ("model", _missing_model),
    ("provider", _unavailable_provider),
)
