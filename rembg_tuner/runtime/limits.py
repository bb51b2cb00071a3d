"""The memory limit of a run: its size, its source, and whether a setting fits.

Only measurements of this machine are compared with the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, ShellOrPage
from rembg_tuner.settings.settings import KNOBS, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_tuner.runtime.measurements import Peak
    from rembg_tuner.settings.host import Host
    from rembg_tuner.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """The memory that a worker may use.

    Attributes:
        size_bytes: the limit.
        is_asked: whether the settings set it, by memory_limit_bytes.
        cgroup: the cgroup that sets it otherwise; None: the limit is the machine's memory.
    """

    size_bytes: int
    is_asked: bool = False
    cgroup: Path | None = None


def limit_of(settings: Settings, host: Host) -> MemoryLimit | None:
    """Return the limit of a run; None: neither the settings nor the host have one."""
    if settings.memory_limit_bytes is not None:
        return MemoryLimit(size_bytes=settings.memory_limit_bytes, is_asked=True)
    size_bytes = host.usable_memory_bytes
    return (
        None if size_bytes is None else MemoryLimit(size_bytes=size_bytes, cgroup=host.limited_by)
    )


def over_limit(held_bytes: int, limit: MemoryLimit) -> Message:
    """Return the message that a worker was killed at its limit, and what to do."""
    held, size = held_bytes, limit.size_bytes
    if limit.is_asked:
        return Message(
            (
                "the worker used {held:bytes}, more than its limit of {limit:bytes} "
                "(memory_limit_bytes), and was stopped; raise the limit, or choose a smaller "
                "setting"
            ),
            code="memory_limit",
            held=held,
            limit=size,
        )
    if limit.cgroup is None:
        return Message(
            (
                "the worker used {held:bytes}, more than this machine's memory of "
                "{limit:bytes}, and was stopped; choose a smaller setting"
            ),
            code="memory_limit",
            held=held,
            limit=size,
        )
    said = ShellOrPage(
        shell=Message(
            (
                "the worker used {held:bytes}, more than the limit of {limit:bytes} of cgroup "
                "{cgroup}, and was stopped; raise the container's memory (--memory of its "
                "start, memory.max of the cgroup), or choose a smaller setting"
            ),
            cgroup=str(limit.cgroup),
            held=held,
            limit=size,
        ),
        page=Message(
            (
                "the worker used {held:bytes}, more than this server's limit of {limit:bytes}, "
                "and was stopped; choose a smaller setting"
            ),
            held=held,
            limit=size,
        ),
    )
    return Message("{said}", code="memory_limit", said=said)


def limit_text(limit: MemoryLimit) -> Message:
    """Return the text of a limit."""
    size = limit.size_bytes
    if limit.is_asked:
        return Message("the memory limit of {size:bytes} (memory_limit_bytes)", size=size)
    if limit.cgroup is None:
        return Message("this machine's memory of {size:bytes}", size=size)
    said = ShellOrPage(
        shell=Message(
            "the limit of {size:bytes} of cgroup {cgroup}", size=size, cgroup=str(limit.cgroup)
        ),
        page=Message("this server's memory limit of {size:bytes}", size=size),
    )
    return Message("{said}", said=said)


def with_raising(limit: MemoryLimit, choice: Message) -> Message:
    """Return a suggestion, preceded by how to raise the limit if it can be raised."""
    if limit.is_asked:
        return Message("raise the limit, or {choice}", choice=choice)
    if limit.cgroup is None:
        return choice
    said = ShellOrPage(
        shell=Message(
            "raise the container's memory (--memory of its start, memory.max of the cgroup), or"
            " {choice}",
            choice=choice,
        ),
        page=choice,
    )
    return Message("{said}", said=said)


_MAX_OFFERS = 2


def why_not_fit(
    settings: Settings, limit: MemoryLimit, own: Peak | None, others: Sequence[Peak]
) -> Message | None:
    """Return why a setting will not fit, with settings that do; None: it fits or never ran here.

    Args:
        settings: the requested settings of the next run.
        limit: the memory limit.
        own: the peak of these settings here, without the pictures' share; None: unknown.
        others: the peaks of other settings here, with the current versions and weights.
    """
    if own is None or own.known_bytes <= limit.size_bytes:
        return None
    what = (
        Message("this setting took {size:bytes} here before", size=own.known_bytes)
        if own.runs
        else Message("this setting was ended at {size:bytes} here before", size=own.known_bytes)
    )
    choice = with_raising(limit, _choice(settings, limit, others))
    advice = ShellOrPage(
        shell=Message("{advice}; --ignore-history runs it all the same", advice=choice), page=choice
    )
    return Message(
        "{what}, more than {limit}, so it was not started; {advice}",
        code="will_not_fit",
        what=what,
        limit=limit_text(limit),
        advice=Message("{said}", said=advice),
    )


def _choice(settings: Settings, limit: MemoryLimit, others: Sequence[Peak]) -> Message:
    """Return the suggestion: settings that fitted here, the most similar first."""
    fitting = [one for one in others if one.runs and 0 < one.known_bytes <= limit.size_bytes]
    # The same model first, then those that use the most of the available memory.
    fitting.sort(key=lambda one: (one.settings.model != settings.model, -one.known_bytes))
    offers = [
        Message(
            "{difference} ({size:bytes})",
            difference=_difference(settings, one.settings),
            size=one.known_bytes,
        )
        for one in fitting[:_MAX_OFFERS]
    ]
    match offers:
        case []:
            return Message(
                "choose a smaller network_size or model, since nothing that fits has been run here"
            )
        case [one]:
            return Message("choose what fitted here: {offer}", offer=one)
        case one, other:
            return Message("choose what fitted here: {offer} or {other}", offer=one, other=other)
    raise AssertionError(offers)


def _difference(asked: Settings, other: Settings) -> str:
    """Return the knobs in which a setting differs from the requested one."""
    theirs, ours = ({"focus": "off", **dict(one.peak_key())} for one in (other, asked))
    return ", ".join(
        f"{name} {value_text(theirs[name])}" for name in KNOBS if theirs.get(name) != ours.get(name)
    )
