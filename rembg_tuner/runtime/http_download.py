"""Fetch the missing part of a file over HTTP, in one try that can be cancelled."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import shutil
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, cast

from rembg_tuner import __version__
from rembg_tuner.base.errors import CancelledError, DownloadError, OutputError
from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.models.catalogue import CatalogueEntry

MIRROR_VARIABLE = "REMBG_TUNER_MIRROR"
ANSWER_TIMEOUT_S = 30.0  # for the connection, and for each read
SLOW_AFTER_S = 30.0
MIN_BYTES_PER_S = 1024
_PIECE_BYTES = 256 * 1024
_POLL_S = 0.2
_SIZE_TOLERANCE = 0.1  # of a size that is only known approximately
_MAX_QUOTED = 200  # characters of a server's response
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress:
    """The progress of a download.

    Attributes:
        done_bytes: on disk now, including the part of earlier tries.
        total_bytes: the size of the file; None: unknown.
        is_waiting: whether another process is downloading the same file.
    """

    done_bytes: int
    total_bytes: int | None
    is_waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Callbacks that receive the progress of a download and may cancel it."""

    on_progress: Callable[[DownloadProgress], None]
    is_cancelled: Callable[[], bool]

    def tell(self, done: int, total: int | None, *, is_waiting: bool = False) -> None:
        """Report the progress.

        Raises:
            CancelledError: it was cancelled.
        """
        if self.is_cancelled():
            raise CancelledError(
                Message(
                    "the download was cancelled; the received part is kept, and the next try"
                    " continues from there"
                )
            )
        self.on_progress(
            DownloadProgress(done_bytes=done, total_bytes=total, is_waiting=is_waiting)
        )


class EndedEarlyError(Exception):
    """A failure that may be temporary: a lost or stalled connection, or a busy server."""

    def __init__(self, message: Message) -> None:
        """Store the reason."""
        super().__init__(message)
        self.message = message


def size_of(path: Path) -> int:
    """Return the size of a file; 0 where it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class BackgroundCall:
    """A thread for calls that may block, so that a cancellation is noticed meanwhile.

    A short time-out of the socket is not an alternative: after a time-out, the rest of the response
    cannot be read. Use it with `with`; leaving the block does not wait for the thread.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            on_wait: called five times per second during a call; an exception from it ends the call.
        """
        self._on_wait = on_wait
        self._asked: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._came: queue.SimpleQueue[tuple[object, Exception | None]] = queue.SimpleQueue()
        # daemon thread: it may block while the server sends nothing, and is not joined
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        """Return the object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread after the current call."""
        self._asked.put(None)

    def do(self, action: Callable[[], _Value]) -> _Value:
        """Call a function in the thread, and return its value or raise its error."""
        self._asked.put(action)
        while True:
            try:
                value, error = self._came.get(timeout=_POLL_S)
            except queue.Empty:
                self._on_wait()
                continue
            if error is not None:
                raise error
            return cast("_Value", value)

    def _serve(self) -> None:
        """Run the submitted calls until the end marker."""
        answer: http.client.HTTPResponse | None = None
        for action in iter(self._asked.get, None):
            try:
                value = action()
            except Exception as error:  # noqa: BLE001  # raised again in `do`
                self._came.put((None, error))
                continue
            answer = value if isinstance(value, http.client.HTTPResponse) else answer
            self._came.put((value, None))
        if answer is not None:  # in this thread, since closing waits for a read in progress
            with contextlib.suppress(OSError):
                answer.close()


def _not_downloaded(url: str, reason: Message, entry: CatalogueEntry) -> DownloadError:
    """Return the error for a URL that does not return the file, with manual instructions."""
    return DownloadError(
        Message(
            "{url} cannot be downloaded: {reason}; {by_hand}",
            url=url,
            reason=reason,
            by_hand=by_hand(entry),
        )
    )


def by_hand(entry: CatalogueEntry) -> Message:
    """Return the manual instructions: which file to put where."""
    if os.environ.get(MIRROR_VARIABLE):  # the URL that failed is the mirror's
        return Message(
            "put {url} at {place} by hand, or unset {variable} to ask rembg's own address",
            url=entry.url,
            place=entry.place(),
            variable=MIRROR_VARIABLE,
        )
    return Message(
        "put {url} at {place} by hand, or name a mirror in {variable}",
        url=entry.url,
        place=entry.place(),
        variable=MIRROR_VARIABLE,
    )


def fetch(entry: CatalogueEntry, url: str, part: Path, listener: Listener) -> None:
    """Request the missing part of a file, and write it.

    Raises:
        EndedEarlyError: the part is incomplete; another try may fetch the rest.
        DownloadError: another try would not help.
    """
    have = size_of(part)
    with BackgroundCall(lambda: listener.tell(size_of(part), None)) as call:
        answer = call.do(lambda: _ask(entry, url, have))
        if answer is None:  # the part is complete; the checksum is checked next
            return
        start = have if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else entry.bytes
        _refuse_another_size(entry, url, total)
        _refuse_a_full_disk(part, (total or 0) - start)
        with part.open("ab" if start else "wb") as file:
            done = _copy(
                lambda: call.do(lambda: _read_piece(answer)),
                file,
                start=start,
                total=total,
                most=max_bytes(entry),
                listener=listener,
            )
        # a chunked body has an explicit end, so a short one is a different file
        is_short = total is not None and done < min(total, max_bytes(entry) or total)
        if is_short and not answer.chunked:
            raise EndedEarlyError(
                Message(
                    "the connection ended at {done:,} of {total:,} bytes", done=done, total=total
                )
            )


def _ask(entry: CatalogueEntry, url: str, have: int) -> http.client.HTTPResponse | None:
    """Request the rest of the file after the bytes on disk; None: the file is complete.

    Raises:
        EndedEarlyError: there is no response; another try may help.
        DownloadError: another try would not help.
    """
    request = urllib.request.Request(url, headers={"User-Agent": f"rembg-tuner/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()  # it keeps the connection open
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        reason = _refusal(error)
        if error.code in _WORTH_ANOTHER_TRY:
            raise EndedEarlyError(reason) from error
        raise _not_downloaded(url, reason, entry) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _no_answer(error, url, entry) from error
    return answer


def _no_answer(error: Exception, url: str, entry: CatalogueEntry) -> Exception:
    """Return the error of a request without a response."""
    match error:
        case urllib.error.URLError(reason=TimeoutError()):
            return EndedEarlyError(
                Message("no answer within {timeout_s:g} s", timeout_s=ANSWER_TIMEOUT_S)
            )
        case urllib.error.URLError():
            return DownloadError(
                Message(
                    "{url} cannot be reached: {reason}; {by_hand}",
                    url=url,
                    reason=_quoted(error.reason),
                    by_hand=by_hand(entry),
                )
            )
        case OSError():
            return _ended(error)
        case ValueError() | http.client.InvalidURL():
            reason = Message("it redirects to an invalid address ({reason})", reason=_quoted(error))
            return _not_downloaded(url, reason, entry)
    return EndedEarlyError(Message("the answer is not HTTP: {reason}", reason=_quoted(error)))


def _refusal(error: urllib.error.HTTPError) -> Message:
    """Return the message for an HTTP error status."""
    if error.code // 100 == 3:
        return Message(
            "the server answered {status}, a redirect that cannot be followed", status=error.code
        )
    said = _quoted(error.reason)
    is_usual = said.text == http.client.responses.get(error.code)
    return Message(
        "the server answered {status} {reason}",
        status=error.code,
        reason=said.text if is_usual else said,
    )


def _ended(error: OSError | http.client.HTTPException) -> EndedEarlyError:
    """Return the error for a network failure."""
    if isinstance(error, TimeoutError):
        return EndedEarlyError(Message("no data for {timeout_s:g} s", timeout_s=ANSWER_TIMEOUT_S))
    known = error.strerror if isinstance(error, OSError) else None
    return EndedEarlyError(
        Message("the connection ended: {reason}", reason=known or _quoted(error))
    )


def _quoted(said: object) -> Quoted:
    """Return the text of a server or library as one printable line of at most 200 characters."""
    text = " ".join(str(said).split())[:_MAX_QUOTED]
    return Quoted("".join(letter for letter in text if letter.isprintable()))


def _refuse_another_size(entry: CatalogueEntry, url: str, total: int | None) -> None:
    """Raise DownloadError before downloading a file of the wrong size."""
    if entry.bytes is not None and total is not None and total != entry.bytes:
        raise DownloadError(
            Message(
                "{url} offers {offered:,} bytes, and the released {file} has {released:,};"
                " {by_hand}",
                url=url,
                offered=total,
                file=entry.file,
                released=entry.bytes,
                by_hand=by_hand(entry),
            )
        )


def max_bytes(entry: CatalogueEntry) -> int | None:
    """Return the maximum size of the released file; None: unknown."""
    if entry.bytes is not None or entry.about_bytes is None:
        return entry.bytes
    return round(entry.about_bytes * (1 + _SIZE_TOLERANCE))


def _refuse_a_full_disk(part: Path, missing: int) -> None:
    """Raise OutputError if the disk has too little free space."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise OutputError(
            Message(
                "{folder} has {free:bytes} left, and {missing:bytes} are missing; make room, or set"
                " REMBG_HOME to another folder",
                folder=part.parent,
                free=free,
                missing=missing,
            )
        )


def _copy(
    read: Callable[[], bytes],
    file: BinaryIO,
    *,
    start: int,
    total: int | None,
    most: int | None,
    listener: Listener,
) -> int:
    """Append the body of a response to a file, up to the maximum size of the released file.

    Returns:
        The size of the file.

    Raises:
        EndedEarlyError: the network failed, or the transfer was too slow.
    """
    done, window_at, window_done = start, time.monotonic(), start
    while piece := read():
        file.write(piece)
        done += len(piece)
        listener.tell(done, total)
        if most is not None and done > most:
            break
        now = time.monotonic()
        if now - window_at >= SLOW_AFTER_S:
            if done - window_done < MIN_BYTES_PER_S * (now - window_at):
                raise EndedEarlyError(
                    Message(
                        "less than {rate} bytes per second for {duration_s:g} s",
                        rate=MIN_BYTES_PER_S,
                        duration_s=SLOW_AFTER_S,
                    )
                )
            window_at, window_done = now, done
    return done


def _read_piece(answer: http.client.HTTPResponse) -> bytes:
    """Read the next piece; empty at the end.

    Raises:
        EndedEarlyError: the network failed.
    """
    try:
        return answer.read1(_PIECE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _ended(error) from error
