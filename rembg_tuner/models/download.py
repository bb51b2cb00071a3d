"""Get a model's file: resumable, checked, by one process at a time; nothing is got without being asked.

The file goes where rembg would put it, so that neither of the two gets it twice. What came of a try that
failed stays beside it under a temporary name, and the next try goes on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from rembg_tuner import __version__
from rembg_tuner.errors import CancelledError, DownloadError, ModelError, OutputError
from rembg_tuner.models.spec import file_digests
from rembg_tuner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rembg_tuner.models.catalogue import CatalogueEntry

MIRROR_VARIABLE = "REMBG_TUNER_MIRROR"
ANSWER_TIMEOUT_S = 30.0  # for the connection, and for each piece
SLOW_AFTER_S = 30.0
LEAST_BYTES_PER_S = 1024
TRIES = 4
WAIT_BETWEEN_S = 1.0
_PIECE_BYTES = 256 * 1024
_LOCK_POLL_S = 0.2
_HTTP_PARTIAL, _HTTP_RANGE = 206, 416
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        done_bytes: on disk by now, an earlier try's included.
        total_bytes: of the file; None: the server does not tell.
        is_waiting: another process is getting the same file.
    """

    done_bytes: int
    total_bytes: int | None
    is_waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listener:
    """Who is told of the progress, and may stop it."""

    on_progress: Callable[[DownloadProgress], None]
    is_cancelled: Callable[[], bool]

    def tell(self, done: int, total: int | None, *, is_waiting: bool = False) -> None:
        """Tell how far it is.

        Raises:
            CancelledError: it was stopped.
        """
        if self.is_cancelled():
            raise CancelledError(
                "the download was cancelled; what came is kept, and the next try goes on from there"
            )
        self.on_progress(
            DownloadProgress(done_bytes=done, total_bytes=total, is_waiting=is_waiting)
        )


class _EndedEarlyError(Exception):
    """A try that is worth another: the connection ended, stalled, or the server is busy."""


def get_model(
    entry: CatalogueEntry,
    *,
    on_progress: Callable[[DownloadProgress], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Get a model's file, unless it is there already.

    Args:
        entry: of the catalogue.
        on_progress: called some times a second.
        is_cancelled: asked as often.

    Returns:
        Where the file lies; its checksum is the released one.

    Raises:
        ModelError: rembg makes it of another model.
        DownloadError: it could not be got; the message says which file to put where.
        OutputError: it could not be written.
        CancelledError: `is_cancelled` said so.
    """
    present = entry.find()
    if present is not None:
        return present
    if entry.url is None:
        raise ModelError(f"model {entry.name} is not to be had as a file: {entry.get_text()}")
    place, listener = entry.place(), _Listener(on_progress=on_progress, is_cancelled=is_cancelled)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place, listener):
            if not place.is_file():  # another process may have got it meanwhile
                _get(entry, model_url(entry), place, listener)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from error
    return place


def model_url(entry: CatalogueEntry) -> str:
    """Give a model's address: rembg's, or the same file of the mirror that the environment names."""
    url = str(entry.url)
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        url = f"{mirror.rstrip('/')}/{url.rsplit('/', 1)[-1]}"
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ModelError(
            f"{MIRROR_VARIABLE} must be an address that begins with https:// or http://, got {mirror!r}"
        )
    return url


@contextlib.contextmanager
def _alone(place: Path, listener: _Listener) -> Iterator[None]:
    """Hold a lock beside the file while it is got; wait for it where another process does."""
    with place.with_name(f".{place.name}.lock").open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                listener.tell(_size_of(_part_of(place)), None, is_waiting=True)
                time.sleep(_LOCK_POLL_S)
        yield


def _part_of(place: Path) -> Path:
    """Name what has come so far; always the same, so that the next try finds it."""
    return place.with_name(f".{place.name}.part")


def _size_of(path: Path) -> int:
    """Give a file's size; 0 where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _get(entry: CatalogueEntry, url: str, place: Path, listener: _Listener) -> None:
    """Get, check and rename, going on where a try ended early."""
    part = _part_of(place)
    was_begun_before = _size_of(part) > 0
    reason = ""
    for i in range(TRIES):
        if i:
            _pause(listener, part)
        try:
            _try_once(entry, url, part, listener)
        except _EndedEarlyError as error:
            reason = str(error)
            continue
        problem = _checksum_problem(entry, part)
        if problem is None:
            part.replace(place)
            return
        part.unlink()
        if not was_begun_before:
            raise DownloadError(
                f"{url} gave another file than the released {entry.file}: {problem}; {_by_hand(entry)}"
            )
        was_begun_before = (
            False  # the beginning may have been another file's: once more from the start
        )
    raise DownloadError(
        f"{url} could not be got in {TRIES} tries: {reason}; what came ({format_bytes(_size_of(part))}) is kept, so try again, or {_by_hand(entry)}"
    )


def _pause(listener: _Listener, part: Path) -> None:
    """Wait before another try."""
    until = time.monotonic() + WAIT_BETWEEN_S
    while time.monotonic() < until:
        listener.tell(_size_of(part), None)
        time.sleep(min(0.1, WAIT_BETWEEN_S))


def _by_hand(entry: CatalogueEntry) -> str:
    """Say which file to put where, for a machine without a network."""
    return f"put {entry.url} at {entry.place()} by hand, or name a mirror in {MIRROR_VARIABLE}"


def _try_once(entry: CatalogueEntry, url: str, part: Path, listener: _Listener) -> None:
    """Ask for what is missing, and write it.

    Raises:
        _EndedEarlyError: it is not all of it, and another try may bring the rest.
        DownloadError: another try would bring no more.
    """
    have = _size_of(part)
    request = urllib.request.Request(url, headers={"User-Agent": f"rembg-tuner/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
            start = have if answer.status == _HTTP_PARTIAL else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            _refuse_another_size(entry, url, total)
            _refuse_a_full_disk(part, (total or 0) - start)
            with part.open("ab" if start else "wb") as file:
                _copy(answer, file, start, total, listener)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if error.code == _HTTP_RANGE:  # there is no more of it: the checksum will tell
            return
        text = f"the server answered {error.code} {error.reason}"
        if error.code in _WORTH_ANOTHER_TRY:
            raise _EndedEarlyError(text) from error
        raise DownloadError(f"{url} cannot be got: {text}; {_by_hand(entry)}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _EndedEarlyError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from error
        raise DownloadError(
            f"{url} cannot be reached: {error.reason}; {_by_hand(entry)}"
        ) from error
    except TimeoutError as error:
        raise _EndedEarlyError(f"nothing came for {ANSWER_TIMEOUT_S:g} s") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise _EndedEarlyError(f"the connection ended: {error}") from error


def _refuse_another_size(entry: CatalogueEntry, url: str, total: int | None) -> None:
    """Refuse, before a gigabyte is got in vain, a file of another size."""
    if entry.bytes is not None and total is not None and total != entry.bytes:
        raise DownloadError(
            f"{url} offers {total:,} bytes, and the released {entry.file} has {entry.bytes:,}; {_by_hand(entry)}"
        )


def _refuse_a_full_disk(part: Path, missing: int) -> None:
    """Refuse what would not fit."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise OutputError(
            f"{part.parent} has {format_bytes(free)} left, and {format_bytes(missing)} are missing; make room, or set REMBG_HOME to another folder"
        )


def _copy(
    answer: http.client.HTTPResponse,
    file: BinaryIO,
    start: int,
    total: int | None,
    listener: _Listener,
) -> None:
    """Copy an answer's body to the end of a file.

    Raises:
        _EndedEarlyError: it came to an end too early, or hardly at all.
    """
    done, window_at, window_done = start, time.monotonic(), start
    while piece := answer.read1(_PIECE_BYTES):
        file.write(piece)
        done += len(piece)
        listener.tell(done, total)
        now = time.monotonic()
        if now - window_at >= SLOW_AFTER_S:
            if done - window_done < LEAST_BYTES_PER_S * (now - window_at):
                raise _EndedEarlyError(
                    f"less than {LEAST_BYTES_PER_S} bytes a second came for {SLOW_AFTER_S:g} s"
                )
            window_at, window_done = now, done
    if total is not None and done < total:
        raise _EndedEarlyError(f"the connection ended at {done:,} of {total:,} bytes")


def _checksum_problem(entry: CatalogueEntry, part: Path) -> str | None:
    """Hold what came against the released file's checksum; None: it is the released file."""
    found = file_digests(part, list(entry.checksums))
    for algorithm, expected in entry.checksums.items():
        if found[algorithm] != expected:
            return f"its {algorithm} is {found[algorithm]}, expected {expected}"
    return None
