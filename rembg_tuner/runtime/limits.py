"""The memory limit of a run: how much, who sets it, and what is said where a worker passes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, ShellOrPage

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.settings.host import Host
    from rembg_tuner.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """What a worker may hold.

    Attributes:
        size_bytes: how much.
        is_asked: whether the settings say so, by memory_limit_bytes.
        cgroup: that sets it where they do not; None: the machine's memory does.
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
    """Return that a worker was ended at its limit, and what to do."""
    held, size = held_bytes, limit.size_bytes
    if limit.is_asked:
        return Message(
            "the worker held {held:bytes}, more than its limit of {limit:bytes}"
            " (memory_limit_bytes), and was ended; raise it, or choose a smaller setting",
            code="memory_limit",
            held=held,
            limit=size,
        )
    if limit.cgroup is None:
        return Message(
            "the worker held {held:bytes}, more than this machine's memory of {limit:bytes}, and"
            " was ended; choose a smaller setting",
            code="memory_limit",
            held=held,
            limit=size,
        )
    said = ShellOrPage(
        shell=Message(
            "the worker held {held:bytes}, more than the limit of {limit:bytes} of cgroup {cgroup},"
            " and was ended; raise the container's memory (--memory of its start, memory.max of the"
            " cgroup), or choose a smaller setting",
            cgroup=str(limit.cgroup),
            held=held,
            limit=size,
        ),
        page=Message(
            "the worker held {held:bytes}, more than this server's limit of {limit:bytes}, and was"
            " ended; choose a smaller setting",
            held=held,
            limit=size,
        ),
    )
    return Message("{said}", code="memory_limit", said=said)


def limit_text(limit: MemoryLimit) -> Message:
    """Name a limit within a sentence."""
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
    """Put how a limit is raised before what else can be done, as far as it can be raised."""
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
