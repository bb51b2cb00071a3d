"""Visits of tabs that are being loaded anew.

Kept for a while after the tab has left, under the tab's token.

The token is 128 random bits that the tab makes and keeps in its session storage. It is sent in the
body of one request at each load, and never stands in an address.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.web.pages.visitors import Visitor

KEPT_S = 3600.0  # as long as the files of a visit are kept
MAX_KEPT = 100
_TOKEN = re.compile(r"[0-9a-f]{32}")


def read_token(text: object) -> str | None:
    """Return a tab's token; None for anything that is not 128 bits in hexadecimal digits."""
    return text if isinstance(text, str) and _TOKEN.fullmatch(text) else None


class KeptVisits:
    """Visitors by token, the one that left first at the front. Not thread-safe: the owner locks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Visitor]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def keep(self, token: str, visitor: Visitor) -> None:
        """Keep a visitor who has left; beyond the bound the one that left first is dropped."""
        self._drop_old()
        self._kept.pop(token, None)
        self._kept[token] = (self._clock(), visitor)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def take(self, token: str) -> Visitor | None:
        """Return the visitor who left with a token, once.

        None if there is none, or it left too long ago.
        """
        self._drop_old()
        found = self._kept.pop(token, None)
        return None if found is None else found[1]

    def _drop_old(self) -> None:
        """Drop those that left too long ago."""
        oldest = self._clock() - KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] <= oldest:
            self._kept.popitem(last=False)
