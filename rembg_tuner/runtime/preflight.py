"""Before a run: will this fit? Only what was measured on this machine is compared with the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, ShellOrPage
from rembg_tuner.runtime.limits import limit_text, with_raising
from rembg_tuner.settings.settings import KNOBS, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.runtime.measurements import Peak
    from rembg_tuner.settings.settings import Settings

_MAX_OFFERS = 2


def why_not_fit(
    settings: Settings, limit: MemoryLimit, own: Peak | None, others: Sequence[Peak]
) -> Message | None:
    """Return why a setting will not fit, with those that do; None: it fits, or was never run here.

    Args:
        settings: that are about to run, as asked.
        limit: of memory.
        own: what is known of them here, their pictures' own share left out; None: nothing is.
        others: what is known of other settings here, with the versions and weights of now.
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
    """Name what fitted here, the nearest to what was asked first."""
    fitting = [one for one in others if one.runs and 0 < one.known_bytes <= limit.size_bytes]
    # The same model first, then the most of the memory that there is.
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
    """Name the knobs in which a setting differs from the one asked for."""
    theirs, ours = ({"focus": "off", **dict(one.peak_key())} for one in (other, asked))
    return ", ".join(
        f"{name} {value_text(theirs[name])}" for name in KNOBS if theirs.get(name) != ours.get(name)
    )
