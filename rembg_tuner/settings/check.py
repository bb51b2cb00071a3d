"""What is wrong between the knobs of a setting, and between a setting and a machine.

Every such rule, once.

`Settings` itself sees to the type and the range of one value. Code that makes settings calls
`check` for the rest: a flag or a form's field that is refused is an error with every reason, a
preset's wish falls back to the default with a warning (`requested`), a choice in a form is grey with
the reason, an axis' value of a sweep is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.engines.table import ENGINES, own_file_problem
from rembg_tuner.models.spec import name_of
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.settings import (
    KNOBS,
    Settings,
    default_of,
    is_honoured,
    value_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from rembg_tuner.settings.machine import Machine, ModelFile
    from rembg_tuner.settings.settings import Value

# The knobs that one value of focus uses, and which.
FOCUS_USES = {"focus_box": "box", "focus_max_share": "auto"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a knob's value is not possible.

    Attributes:
        knob: its name.
        value: as asked.
        reason: what is wrong and what to do, for the user who gave the value; its code names the
            rule.
        clause: the same as a part of another sentence, such as a preset's warning; None: the reason
            is.
        related: the other knobs that the rule looks at.
        missing: what is missing on disk or in ONNX Runtime; a run of such settings ends in a
            Failure of its own kind. None: the settings themselves cannot be.
    """

    knob: str
    value: Value
    reason: Message
    clause: Message | None = None
    related: tuple[str, ...] = ()
    missing: Literal["model", "provider"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What the rules look at.

    Attributes:
        machine: None: only what is wrong on every machine is asked for.
        given: the knobs that the user named; None: it is not known.
    """

    settings: Settings
    machine: Machine | None
    given: Collection[str] | None


def check(
    settings: Settings,
    machine: Machine | None,
    *,
    given: Collection[str] | None = None,
    wrong: Collection[str] = (),
) -> tuple[Refusal, ...]:
    """Find everything that is wrong with a setting; empty: it can run here.

    Args:
        settings: as asked.
        machine: that is to run them; None: only what is wrong on every machine is found.
        given: the knobs that the user named: those are refused at their defaults too where the
            engine has no such knob, and are not held to what is only no preset's wish. None: all
            values are the user's.
        wrong: knobs whose values stand in for ones that cannot be; rules that look at them are not
            asked.
    """
    asked = _Context(settings=settings, machine=machine, given=given)
    found = [refusal for rule in _RULES for refusal in rule(asked)]
    return tuple(one for one in found if not {one.knob, *one.related} & set(wrong))


def _absent_engine(asked: _Context) -> Iterator[Refusal]:
    """Refuse an engine that is not installed."""
    engine, machine = asked.settings.engine, asked.machine
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
        yield Refusal(knob="engine", value=engine, reason=reason)
        return
    here = join_parts(Term(one, "choice") for one in machine.engines)
    yield Refusal(
        knob="engine",
        value=engine,
        reason=Message(
            "engine {engine} is not installed; {install}, or choose engine {engines}",
            code="engine_absent",
            engine=name,
            install=install,
            engines=here,
        ),
        clause=Message(
            "engine {engine} is not installed; choose engine {engines}",
            code="engine_absent",
            engine=name,
            engines=here,
        ),
    )


def _unhonoured(asked: _Context) -> Iterator[Refusal]:
    """Refuse knobs that the engine does not have."""
    engine = asked.settings.engine
    for name in KNOBS:
        if is_honoured(name, engine):
            continue
        value = getattr(asked.settings, name)
        if value != default_of(name) or name in (asked.given or ()):
            yield Refusal(
                knob=name,
                value=value,
                reason=unhonoured_reason(name, engine),
                clause=Message(
                    "engine {engine} has no such knob",
                    code="knob_unhonoured",
                    engine=Term(engine, "choice"),
                ),
                related=("engine",),
            )


def value_term(value: object) -> Term | Path | str:
    """Write a knob's value as its flag takes it; a model's own file as a path."""
    if not isinstance(value, bool | str):
        return value_text(value)
    named = name_of(value_text(value))
    return named if isinstance(named, Path) else Term(named, "choice")


def unhonoured_reason(name: str, engine: str) -> Message:
    """Return that an engine does not honour a knob, and which engines do."""
    able = (one for one in ENGINES if is_honoured(name, one))
    return Message(
        "{knob} is not a knob of engine {engine}; leave it out, or choose engine {engines}",
        code="knob_unhonoured",
        knob=Term(name, "knob"),
        engine=Term(engine, "choice"),
        engines=join_parts(Term(one, "choice") for one in able),
    )


def _precision(asked: _Context) -> Iterator[Refusal]:
    """Refuse a number format that the engine, its execution provider, the CPU or the disk does not have."""
    settings, machine = asked.settings, asked.machine
    engine, precision = settings.engine, settings.precision
    if not is_honoured("precision", engine) or precision == "auto":
        return
    need = ENGINES[engine].precisions.get(precision)
    if need is None:
        yield _foreign(asked)
        return
    if need.provider and settings.provider != need.provider:
        yield _of_precision(
            asked, _provider_text(settings, need.provider), related=("engine", "provider")
        )
    if machine is None:
        return
    if need.cpu and precision not in machine.precisions:
        clause = Message(
            "this CPU has no native {precision}, and it is offered only on CPUs that have it",
            code="precision_not_native",
            precision=precision,
        )
        yield _of_precision(asked, _cannot_be_had(precision, clause), clause, related=("engine",))
    if need.int8_file and not machine.has_int8(settings.model, engine):
        yield _no_int8(asked, machine)


def _foreign(asked: _Context) -> Refusal:
    """Refuse a number format that the engine does not have, on any machine."""
    engine, precision = asked.settings.engine, asked.settings.precision
    known = join_parts(Term(one, "choice") for one in ENGINES[engine].precision_choices)
    clause = Message(
        "engine {engine} has no precision {precision}, it has {precisions}",
        code="precision_foreign",
        engine=Term(engine, "choice"),
        precision=precision,
        precisions=known,
    )
    in_a_file = Message(
        "precision {precision} is not one of engine {engine}'s, which are {precisions}; choose one"
        " of them",
        code="precision_foreign",
        precision=precision,
        engine=Term(engine, "choice"),
        precisions=known,
    )
    reason = in_a_file if asked.machine is None else _cannot_be_had(precision, clause)
    return _of_precision(asked, reason, clause, related=("engine",))


def _provider_text(settings: Settings, wanted: str) -> Message:
    """Return that a number format needs another execution provider."""
    if wanted == "cpu":  # where fp32 may be what the other provider is for
        return Message(
            "precision {precision} in engine {engine} is provider {needed}'s, got provider"
            " {provider}; choose provider {needed}, or another precision",
            code="precision_of_provider",
            precision=settings.precision,
            engine=settings.engine,
            needed=wanted,
            provider=settings.provider,
        )
    return Message(
        "precision {precision} in engine {engine} is provider {needed}'s, got provider {provider};"
        " choose provider {needed}, or precision fp32",
        code="precision_of_provider",
        precision=settings.precision,
        engine=settings.engine,
        needed=wanted,
        provider=settings.provider,
    )


def _no_int8(asked: _Context, machine: Machine) -> Refusal:
    """Refuse int8 where the model has no such form."""
    model, engine = asked.settings.model, asked.settings.engine
    clause = Message(
        "model {model} has no int8 form for engine {engine} on disk",
        code="int8_absent",
        model=name_of(model),
        engine=engine,
    )
    try:
        machine.find(model, engine)
        reason = clause
    except ModelError as error:
        reason = error.message.with_code("int8_absent")
    return Refusal(
        knob="precision",
        value="int8",
        reason=reason,
        clause=clause,
        related=("model", "engine"),
        missing="model",
    )


def _of_precision(
    asked: _Context, reason: Message, clause: Message | None = None, *, related: tuple[str, ...]
) -> Refusal:
    """Refuse the number format."""
    return Refusal(
        knob="precision",
        value=asked.settings.precision,
        reason=reason,
        clause=clause,
        related=related,
    )


def _cannot_be_had(precision: str, clause: Message) -> Message:
    """Return the reason for a user who asked for a number format that is not possible."""
    return Message(
        "precision {precision} cannot be had: {reason}; choose precision fp32",
        code=clause.code,
        precision=precision,
        reason=clause,
    )


def _focus(asked: _Context) -> Iterator[Refusal]:
    """Refuse knobs that the given focus does not use, and a missing box."""
    settings = asked.settings
    focus = settings.focus
    for name, used_in in FOCUS_USES.items():
        if not is_honoured(name, settings.engine):
            continue
        value = getattr(settings, name)
        is_set = value != default_of(name)
        if is_set and focus != used_in:
            reason = Message(
                "{knob} is used in focus {used_in} only, got focus {focus}; choose focus {used_in},"
                " or leave {knob} out",
                code="focus_unused",
                knob=Term(name, "knob"),
                used_in=Term(used_in, "choice"),
                focus=Term(focus, "choice"),
            )
            yield Refusal(knob=name, value=value, reason=reason, related=("focus", "engine"))
        elif name == "focus_box" and focus == "box" and not is_set:
            reason = Message(
                "focus box needs the box; give focus_box, such as 120,40,300,500 or 10%,5%,50%,80%,"
                " or choose focus auto",
                code="focus_box_missing",
            )
            yield Refusal(knob=name, value=value, reason=reason, related=("focus", "engine"))


def _arena(asked: _Context) -> Iterator[Refusal]:
    """Refuse to give back the memory of an arena that is off."""
    settings = asked.settings
    if not is_honoured("arena_shrink", settings.engine):
        return
    if settings.arena_shrink and not settings.cpu_mem_arena:
        reason = Message(
            "arena_shrink gives back the arena's memory, so it needs cpu_mem_arena on; switch one"
            " of the two",
            code="arena_absent",
        )
        yield Refusal(
            knob="arena_shrink", value=True, reason=reason, related=("cpu_mem_arena", "engine")
        )


def _inter_op(asked: _Context) -> Iterator[Refusal]:
    """Refuse threads across operators that run one after another."""
    settings = asked.settings
    if not is_honoured("inter_op_threads", settings.engine):
        return
    threads = settings.inter_op_threads
    if threads > 0 and settings.execution_mode == "sequential":
        reason = Message(
            "inter_op_threads is used in execution_mode parallel only, got {threads} with"
            " sequential; leave it at 0 or choose parallel",
            code="inter_op_unused",
            threads=threads,
        )
        yield Refusal(
            knob="inter_op_threads",
            value=threads,
            reason=reason,
            related=("execution_mode", "engine"),
        )


def _large_focus(asked: _Context) -> Iterator[Refusal]:
    """Refuse a preset's focus with a large network; given by hand it holds."""
    settings, machine = asked.settings, asked.machine
    is_wish = asked.given is not None and "focus" not in asked.given
    if (
        machine is None
        or not is_wish
        or settings.focus == "off"
        or not is_honoured("focus", settings.engine)
    ):
        return
    if settings.model in machine.large_models:
        reason = Message(
            "it is not measured with networks as large as model {model}'s; give focus by hand to"
            " try it",
            code="focus_unmeasured",
            model=settings.model,
        )
        yield Refusal(knob="focus", value=settings.focus, reason=reason, related=("model",))


def _missing_files(asked: _Context) -> Iterator[Refusal]:
    """Refuse a model whose file is not here or not the engine's, and an execution provider that is not here."""
    settings, machine = asked.settings, asked.machine
    if machine is None:
        return
    own_file = own_file_problem(settings.engine, settings.model)
    if own_file is not None:
        reason = own_file.with_code("own_file_refused")
        yield Refusal(
            knob="model", value=settings.model, reason=reason, related=("engine",), missing="model"
        )
        return
    try:
        model = machine.find(settings.model, None)
    except ModelError as error:
        yield Refusal(knob="model", value=settings.model, reason=error.message, missing="model")
    else:
        if (
            not settings.network_size
            and model.side is None
            and is_honoured("network_size", settings.engine)
        ):
            yield Refusal(
                knob="network_size",
                value=0,
                reason=no_size_reason(model),
                related=("model",),
                missing="model",
            )
    absent = (machine.absent_providers or {}).get(settings.provider)
    if absent is not None and is_honoured("provider", settings.engine):
        yield Refusal(
            knob="provider",
            value=settings.provider,
            reason=absent,
            related=("engine",),
            missing="provider",
        )


def no_size_reason(model: ModelFile) -> Message:
    """Return that neither a model's record nor its graph has the size of its input."""
    return Message(
        "{model} does not tell its input size; give --network-size",
        code="no_network_size",
        model=Path(model.spec.path),
    )


_RULES: tuple[Callable[[_Context], Iterator[Refusal]], ...] = (
    _absent_engine,
    _unhonoured,
    _precision,
    _focus,
    _arena,
    _inter_op,
    _large_focus,
    _missing_files,
)


def checked_settings(values: Mapping[str, object]) -> Settings:
    """Make Settings of values by name that may run on some machine, as a file has them.

    Args:
        values: knobs by name; those left out take their defaults.

    Raises:
        SettingsError: with everything that is wrong with single values and between them.
    """
    settings, problems, wrong = build_with_defaults(values)
    problems += [refusal.reason for refusal in check(settings, None, wrong=wrong)]
    if problems:
        raise SettingsError(problems)
    return settings
