"""Get a model's file: resumable, checked, by one process at a time.

Nothing is got without being asked.

The file goes where rembg would put it, so that neither of the two gets it twice. What came of a try
that failed stays beside it under a temporary name, and the next try goes on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from rembg_tuner import __version__
from rembg_tuner.base.errors import CancelledError, DownloadError, ModelError, OutputError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.models.catalogue import refuse_no_home
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.errand import Errand

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
_ABOUT_SHARE = 0.1  # by which a size that is known about, and not to the byte, may be wrong
_SAID_LETTERS = 200  # of what a server says, for people
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
                Message(
                    "the download was cancelled; what came is kept, and the next try goes on from"
                    " there"
                )
            )
        self.on_progress(
            DownloadProgress(done_bytes=done, total_bytes=total, is_waiting=is_waiting)
        )


class _EndedEarlyError(Exception):
    """A try that is worth another: the connection ended, stalled, or the server is busy."""

    def __init__(self, message: Message) -> None:
        """Keep what happened."""
        super().__init__(message)
        self.message = message


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
        raise ModelError(
            Message(
                "model {model} is not to be had as a file: {get}",
                model=entry.name,
                get=entry.get_text(),
            )
        )
    place, listener = entry.place(), _Listener(on_progress=on_progress, is_cancelled=is_cancelled)
    refuse_no_home(place.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place, listener):
            if not place.is_file():  # another process may have got it meanwhile
                _get(entry, model_url(entry), place, listener)
    except OSError as error:
        raise OutputError(
            Message(
                "{place} cannot be written: {reason}",
                place=place,
                reason=error.strerror or Quoted(str(error)),
            )
        ) from error
    return place


def model_url(entry: CatalogueEntry) -> str:
    """Give a model's address: rembg's, or the same file of the mirror that the environment names.

    Raises:
        ModelError: the mirror's is no address that can be asked.
    """
    url = str(entry.url)
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return url
    if not _is_address(mirror):
        raise ModelError(
            Message(
                "{variable} must be an address such as https://mirror.example/models or"
                " http://10.0.0.2:8000, got {mirror!r}",
                variable=MIRROR_VARIABLE,
                mirror=mirror,
            )
        )
    return f"{mirror.rstrip('/')}/{url.rsplit('/', 1)[-1]}"


def _is_address(text: str) -> bool:
    """Tell whether urllib can ask an address: http or https, a host, no spaces, no user's name."""
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return False
    is_asked = parts.scheme in ("http", "https") and host != "" and port != 0
    return is_asked and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", text) is not None


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
    reason = Message("")
    for i in range(TRIES):
        if i:
            _pause(listener, part)
        try:
            _try_once(entry, url, part, listener)
        except _EndedEarlyError as error:
            reason = error.message
            continue
        problem = _checksum_problem(entry, part)
        if problem is None:
            part.replace(place)
            return
        part.unlink()
        if not was_begun_before:
            raise DownloadError(
                Message(
                    "{url} gave another file than the released {file}: {problem}; {by_hand}",
                    url=url,
                    file=entry.file,
                    problem=problem,
                    by_hand=_by_hand(entry),
                )
            )
        was_begun_before = (
            False  # the beginning may have been another file's: once more from the start
        )
    kept = _size_of(part)
    if not kept:
        raise DownloadError(
            Message(
                "{url} could not be got in {tries} tries: {reason}; try again later, or {by_hand}",
                url=url,
                tries=TRIES,
                reason=reason,
                by_hand=_by_hand(entry),
            )
        )
    raise DownloadError(
        Message(
            "{url} could not be got in {tries} tries: {reason}; what came ({kept:bytes}) is kept,"
            " so try again, or {by_hand}",
            url=url,
            tries=TRIES,
            reason=reason,
            kept=kept,
            by_hand=_by_hand(entry),
        )
    )


def _pause(listener: _Listener, part: Path) -> None:
    """Wait before another try."""
    until = time.monotonic() + WAIT_BETWEEN_S
    while time.monotonic() < until:
        listener.tell(_size_of(part), None)
        time.sleep(min(0.1, WAIT_BETWEEN_S))


def _not_got(url: str, reason: Message, entry: CatalogueEntry) -> DownloadError:
    """Return the error of an address that gives no file, with what to do by hand."""
    return DownloadError(
        Message(
            "{url} cannot be got: {reason}; {by_hand}",
            url=url,
            reason=reason,
            by_hand=_by_hand(entry),
        )
    )


def _by_hand(entry: CatalogueEntry) -> Message:
    """Return which file to put where, for a machine without a network."""
    if os.environ.get(MIRROR_VARIABLE):  # it is the mirror that was asked
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


def _try_once(entry: CatalogueEntry, url: str, part: Path, listener: _Listener) -> None:
    """Ask for what is missing, and write it.

    Raises:
        _EndedEarlyError: it is not all of it, and another try may bring the rest.
        DownloadError: another try would bring no more.
    """
    have = _size_of(part)
    with Errand(lambda: listener.tell(_size_of(part), None)) as errand:
        answer = errand.do(lambda: _ask(entry, url, have))
        if answer is None:  # there is no more of it: the checksum will tell
            return
        start = have if answer.status == _HTTP_PARTIAL else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else entry.bytes
        _refuse_another_size(entry, url, total)
        _refuse_a_full_disk(part, (total or 0) - start)
        with part.open("ab" if start else "wb") as file:
            done = _copy(
                lambda: errand.do(lambda: _read_piece(answer)),
                file,
                start=start,
                total=total,
                most=_most_bytes(entry),
                listener=listener,
            )
        # A body in chunks tells its own end: there a short one is another file, and no connection
        # that ended.
        is_short = total is not None and done < min(total, _most_bytes(entry) or total)
        if is_short and not answer.chunked:
            raise _EndedEarlyError(
                Message(
                    "the connection ended at {done:,} of {total:,} bytes", done=done, total=total
                )
            )


def _ask(entry: CatalogueEntry, url: str, have: int) -> http.client.HTTPResponse | None:
    """Ask for what comes after the bytes that are there; None: nothing does.

    Raises:
        _EndedEarlyError: there is no answer, and another try may bring one.
        DownloadError: another try would bring no other.
    """
    request = urllib.request.Request(url, headers={"User-Agent": f"rembg-tuner/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if error.code == _HTTP_RANGE:
            return None
        reason = _refusal(error)
        if error.code in _WORTH_ANOTHER_TRY:
            raise _EndedEarlyError(reason) from error
        raise _not_got(url, reason, entry) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _EndedEarlyError(
                Message("no answer within {timeout_s:g} s", timeout_s=ANSWER_TIMEOUT_S)
            ) from error
        raise DownloadError(
            Message(
                "{url} cannot be reached: {reason}; {by_hand}",
                url=url,
                reason=_quoted(error.reason),
                by_hand=_by_hand(entry),
            )
        ) from error
    except OSError as error:
        raise _ended(error) from error
    except (ValueError, http.client.InvalidURL) as error:
        reason = Message(
            "it leads to an address that does not read ({reason})", reason=_quoted(error)
        )
        raise _not_got(url, reason, entry) from error
    except http.client.HTTPException as error:
        raise _EndedEarlyError(
            Message("the answer is not HTTP: {reason}", reason=_quoted(error))
        ) from error
    return answer


def _refusal(error: urllib.error.HTTPError) -> Message:
    """Return what a server answered instead of the file."""
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


def _ended(error: OSError | http.client.HTTPException) -> _EndedEarlyError:
    """Say that the network failed, whatever it was that failed there."""
    if isinstance(error, TimeoutError):
        return _EndedEarlyError(
            Message("nothing came for {timeout_s:g} s", timeout_s=ANSWER_TIMEOUT_S)
        )
    known = error.strerror if isinstance(error, OSError) else None
    return _EndedEarlyError(
        Message("the connection ended: {reason}", reason=known or _quoted(error))
    )


def _quoted(said: object) -> Quoted:
    """Return what a server or a library said, in one line."""
    text = " ".join(str(said).split())[:_SAID_LETTERS]
    return Quoted("".join(letter for letter in text if letter.isprintable()))


def _refuse_another_size(entry: CatalogueEntry, url: str, total: int | None) -> None:
    """Refuse, before a gigabyte is got in vain, a file of another size."""
    if entry.bytes is not None and total is not None and total != entry.bytes:
        raise DownloadError(
            Message(
                "{url} offers {offered:,} bytes, and the released {file} has {released:,};"
                " {by_hand}",
                url=url,
                offered=total,
                file=entry.file,
                released=entry.bytes,
                by_hand=_by_hand(entry),
            )
        )


def _most_bytes(entry: CatalogueEntry) -> int | None:
    """Give the most bytes that the released file can have; None: nothing is known of its size."""
    if entry.bytes is not None or entry.about_bytes is None:
        return entry.bytes
    return round(entry.about_bytes * (1 + _ABOUT_SHARE))


def _refuse_a_full_disk(part: Path, missing: int) -> None:
    """Refuse what would not fit."""
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
    listener: _Listener,
) -> int:
    """Copy an answer's body to the end of a file, and no more of it than the released file can have.

    Returns:
        How many bytes the file has now.

    Raises:
        _EndedEarlyError: the network failed, or hardly anything came.
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
            if done - window_done < LEAST_BYTES_PER_S * (now - window_at):
                raise _EndedEarlyError(
                    Message(
                        "less than {rate} bytes a second came for {duration_s:g} s",
                        rate=LEAST_BYTES_PER_S,
                        duration_s=SLOW_AFTER_S,
                    )
                )
            window_at, window_done = now, done
    return done


def _read_piece(answer: http.client.HTTPResponse) -> bytes:
    """Read what has come; nothing at the end.

    Raises:
        _EndedEarlyError: the network failed.
    """
    try:
        return answer.read1(_PIECE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _ended(error) from error


def _checksum_problem(entry: CatalogueEntry, part: Path) -> Message | None:
    """Hold what came against the released file's size and checksum.

    None: it is the released file.
    """
    most = _most_bytes(entry)
    if most is not None and _size_of(part) > most:
        return Message("it has more than {size:,} bytes", size=most)
    found = file_digests(part, list(entry.checksums))
    for algorithm, expected in entry.checksums.items():
        if found[algorithm] != expected:
            return Message(
                "its {algorithm} is {found}, expected {expected}",
                algorithm=algorithm,
                found=found[algorithm],
                expected=expected,
            )
    return None
