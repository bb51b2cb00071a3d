"""The plan of `sweep`: a new plan from its flags, or the plan of the folder to resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.cli.console import log
from rembg_tuner.cli.flags import find_and_log, given_knobs, log_sizes, parse_budgets
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import Settings, flag_of
from rembg_tuner.tuning.folder import PLAN_FILE
from rembg_tuner.tuning.grid import default_axes
from rembg_tuner.tuning.measure import ROUNDS
from rembg_tuner.tuning.plan import Plan, read_plan
from rembg_tuner.tuning.stats import CONFIRMING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    Contradiction = tuple[Message, Message]  # the value of a flag, and that of the plan


def plan_of_flags(arguments: argparse.Namespace) -> Plan:
    """Return the plan requested by the arguments.

    With --resume it is the plan of the folder in -o. Budgets, --confirm and more --trials may be
    given again; all other flags must agree with the plan.

    Raises:
        SettingsError: no picture is named, or a flag contradicts the plan.
    """
    folder = Path(arguments.output)
    there = read_plan(folder) if arguments.resume else None
    if there is not None:
        return _resumed(arguments, there, folder / PLAN_FILE)
    if not arguments.images:
        raise _no_pictures(folder, is_resumed=arguments.resume)
    axes = given_knobs(arguments)
    log_sizes(axes)
    return Plan(
        pictures=tuple(Path(name) for name in find_and_log(arguments.images).images),
        axes=axes or default_axes(),
        base=_base_of(arguments.preset),
        reference=arguments.reference or "",
        trials=arguments.trials,
        rounds=ROUNDS if arguments.rounds is None else arguments.rounds,
        seed=arguments.seed or 0,
        again=bool(arguments.again),
        confirming=CONFIRMING if arguments.confirm is None else arguments.confirm,
        budgets=parse_budgets(arguments),
    )


def _no_pictures(folder: Path, *, is_resumed: bool) -> SettingsError:
    """Return the error of a sweep without pictures."""
    why = Message("a sweep needs pictures")
    if is_resumed:
        why = Message(
            "{folder} holds no sweep to resume ({file} is not there)", folder=folder, file=PLAN_FILE
        )
    return SettingsError(
        [
            Message(
                "{why}; name pictures or folders, such as: rembg-tuner sweep my-pictures/ -o"
                " {folder}",
                why=why,
                folder=folder,
            )
        ]
    )


def _base_of(preset: str | None) -> Settings:
    """Return the knobs that are not an axis, and log what a preset loses on this machine."""
    if preset is None:
        return Settings()
    base, warnings = requested_settings(find_preset(preset), {}, read_machine())
    for text in warnings:
        log(f"preset {preset}: {text}")
    return base


def _resumed(arguments: argparse.Namespace, there: Plan, file: Path) -> Plan:
    """Return a folder's plan, with the flags that may be given again.

    Raises:
        SettingsError: lists every flag that contradicts the plan.
    """
    contradictions = [
        *_contradicting_values(arguments, there),
        *_contradicting_axes(arguments, there),
        *_contradicting_preset(arguments, there),
    ]
    if contradictions:
        raise SettingsError(
            [
                Message(
                    "{given} contradicts {file}, which has {planned}; leave it out to resume that"
                    " sweep, or name another -o",
                    given=given,
                    file=file,
                    planned=planned,
                )
                for given, planned in contradictions
            ]
        )
    return replace(
        there,
        trials=there.trials if arguments.trials is None else arguments.trials,
        confirming=there.confirming if arguments.confirm is None else arguments.confirm,
        budgets=parse_budgets(arguments, there.budgets),
    )


def _contradicting_values(arguments: argparse.Namespace, there: Plan) -> list[Contradiction]:
    """List the flags, except axes, that differ from the plan."""
    trials = there.trials if arguments.trials is None else arguments.trials
    is_fewer = trials is not None and (there.trials is None or trials < there.trials)
    rows = [
        _pictures_row(arguments.images, there),
        _reference_row(arguments.reference, there),
        *(
            (
                getattr(arguments, name) not in (None, getattr(there, name)),
                Message("--{knob} {value}", knob=name, value=getattr(arguments, name)),
                Message("{knob} {value}", knob=name, value=getattr(there, name)),
            )
            for name in ("rounds", "seed")
        ),
        (
            arguments.again and not there.again,
            Message("--again"),
            Message("trials taken from what was measured on this machine before"),
        ),
        (
            is_fewer,
            Message("--trials {trials}", trials=trials),
            Message("all of its settings")
            if there.trials is None
            else Message("{trials} trials, and can only get more", trials=there.trials),
        ),
    ]
    return [(given, planned) for differs, given, planned in rows if differs]


def _pictures_row(images: list[str], there: Plan) -> tuple[bool, Message, Message]:
    """Return whether the named pictures differ from the plan's, with both texts."""
    pictures = tuple(map(Path, find_and_log(images).images)) if images else there.pictures
    given, planned = ({path.absolute() for path in one} for one in (pictures, there.pictures))
    return (
        given != planned,
        Message("IMAGE {pictures}", pictures=_first_names(pictures)),
        Message("the pictures {pictures}", pictures=_first_names(there.pictures)),
    )


def _reference_row(given: str | None, there: Plan) -> tuple[bool, Message, Message]:
    """Return whether --reference differs from the plan's, with both texts."""
    reference = there.reference if given is None else given
    planned = Message("the model in fp32 as its reference")
    if there.reference:
        planned = Message("the reference {reference}", reference=there.reference)
    return (
        _absolute(reference) != _absolute(there.reference),
        Message("--reference {reference}", reference=reference),
        planned,
    )


def _contradicting_axes(arguments: argparse.Namespace, there: Plan) -> list[Contradiction]:
    """List the axes' flags whose values differ from the plan; other knobs have one value there."""
    found: list[Contradiction] = []
    base = there.base.to_dict()
    for name, values in given_knobs(arguments).items():
        given, planned = list(values), list(there.axes.get(name, (base[name],)))
        if set(given) != set(planned):
            found.append(
                (
                    Message("{knob} {value}", knob=flag_of(name), value=_words(given)),
                    Message("{knob} {value}", knob=name, value=_words(planned)),
                )
            )
    return found


def _contradicting_preset(arguments: argparse.Namespace, there: Plan) -> list[Contradiction]:
    """List the preset's knobs that are not an axis and differ from the plan's."""
    if arguments.preset is None:
        return []
    given, planned = _base_of(arguments.preset).to_dict(), there.base.to_dict()
    differing = [name for name in given if given[name] != planned[name] and name not in there.axes]
    return [
        (
            Message(
                "--preset {preset} ({knob} {value})",
                preset=arguments.preset,
                knob=name,
                value=_words([given[name]]),
            ),
            Message("{knob} {value}", knob=name, value=_words([planned[name]])),
        )
        for name in differing
    ]


def _absolute(reference: str) -> str:
    """Return a reference's absolute path; a reference that is not a path is returned unchanged."""
    path = Path(reference)
    return str(path.absolute()) if reference and path.exists() else reference


def _first_names(paths: Sequence[Path]) -> Message:
    """Return the names of the first three pictures, and the number of the others."""
    named = join_parts(paths[:3])
    if len(paths) <= 3:
        return Message("{paths}", paths=named)
    return Message("{paths} and {n} more", paths=named, n=len(paths) - 3)


def _words(values: Sequence[object]) -> str:
    """Return values in the format of their flag."""
    return ",".join(
        {True: "on", False: "off"}[one] if isinstance(one, bool) else str(one) for one in values
    )
