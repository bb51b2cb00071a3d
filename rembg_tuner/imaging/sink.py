"""Let libvips encode an image into something that takes bytes, until a cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.errors import CancelledError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable


def cancelled() -> CancelledError:
    """Return what is raised where a run was cancelled while its cut-out was written."""
    return CancelledError(Message("the run was cancelled while its cut-out was written"))


class Sink:
    """Where libvips writes; keeps the reason why it could not."""

    def __init__(self, take: Callable[[bytes], int], is_cancelled: Callable[[], bool]) -> None:
        """Write to a function.

        Args:
            take: takes bytes and returns how many, as a file's `write` does.
            is_cancelled: asked at every block; True ends the writing.
        """
        self._take = take
        self._is_cancelled = is_cancelled
        self.error: Exception | None = None

    def write(self, block: bytes) -> int:
        """Take a block; -1 makes libvips give up."""
        if self._is_cancelled():
            self.error = cancelled()
            return -1
        try:
            return self._take(block)
        except Exception as error:  # noqa: BLE001  # called by libvips, which takes no exception: `encode` raises it
            self.error = error
            return -1


def encode(image: pyvips.Image, sink: Sink, suffix: str, options: dict[str, object]) -> None:
    """Encode an image into a sink.

    Of its metadata, only the colour profile and the resolution are kept.

    Raises:
        pyvips.Error: the image cannot be decoded or encoded.
        CancelledError: the sink's `is_cancelled` said so.
        Exception: whatever the sink's `take` raised.
    """
    target = pyvips.TargetCustom()
    target.on_write(sink.write)
    try:
        image.write_to_target(target, suffix, keep="icc", **options)
    except pyvips.Error:
        if sink.error is not None:
            raise sink.error from None
        raise
    if sink.error is not None:
        raise sink.error
