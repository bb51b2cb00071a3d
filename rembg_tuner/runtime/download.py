"""Download a model on request: resumable, with a checksum, one process at a time.

The file is saved where rembg saves it, so that neither program downloads it twice. The received
part of a failed try is kept beside it under a temporary name, and the next try continues from
there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import DownloadError, ModelError, OutputError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.models.catalogue import refuse_no_home
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.http_download import (
    MIRROR_VARIABLE,
    DownloadProgress,
    EndedEarlyError,
    Listener,
    by_hand,
    fetch,
    max_bytes,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rembg_tuner.models.catalogue import CatalogueEntry

TRIES = 4
WAIT_BETWEEN_S = 1.0
_LOCK_POLL_S = 0.2


def get_model(
    entry: CatalogueEntry,
    *,
    on_progress: Callable[[DownloadProgress], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Download a model, unless it is on disk already.

    Args:
        entry: the catalogue entry of the model.
        on_progress: called several times per second.
        is_cancelled: called as often as `on_progress`.

    Returns:
        The path of the file, whose checksum is correct.

    Raises:
        ModelError: rembg makes the model from another model.
        DownloadError: the download failed; the message says which file to put where.
        OutputError: the file could not be written.
        CancelledError: `is_cancelled` returned true.
    """
    present = entry.find()
    if present is not None:
        return present
    if entry.url is None:
        raise ModelError(
            Message(
                "model {model} is not available as a file: {get}",
                model=entry.name,
                get=entry.get_text(),
            )
        )
    place, listener = entry.place(), Listener(on_progress=on_progress, is_cancelled=is_cancelled)
    refuse_no_home(place.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place, listener):
            if not place.is_file():  # another process may have downloaded it meanwhile
                _download(entry, model_url(entry), place, listener)
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
    """Return the URL of a model: rembg's, or that of the mirror set in the environment.

    Raises:
        ModelError: the address of the mirror is invalid.
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
    """Return whether a text is an http or https URL with a host, without spaces or a user name."""
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return False
    is_asked = parts.scheme in ("http", "https") and host != "" and port != 0
    return is_asked and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", text) is not None


@contextlib.contextmanager
def _alone(place: Path, listener: Listener) -> Iterator[None]:
    """Lock a file beside the target; wait while another process has the lock."""
    with place.with_name(f".{place.name}.lock").open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                listener.tell(size_of(_part_of(place)), None, is_waiting=True)
                time.sleep(_LOCK_POLL_S)
        yield


def _part_of(place: Path) -> Path:
    """Return the path of the received part; it is the same for all tries."""
    return place.with_name(f".{place.name}.part")


def _download(entry: CatalogueEntry, url: str, place: Path, listener: Listener) -> None:
    """Download, check and rename; continue after a try that ended early."""
    part = _part_of(place)
    had_part = size_of(part) > 0
    reason = Message("")
    for i in range(TRIES):
        if i:
            _pause(listener, part)
        try:
            fetch(entry, url, part, listener)
        except EndedEarlyError as error:
            reason = error.message
            continue
        problem = _checksum_problem(entry, part)
        if problem is None:
            part.replace(place)
            return
        part.unlink()
        if not had_part:
            raise DownloadError(
                Message(
                    "{url} returned a different file than the released {file}: {problem}; {by_hand}",
                    url=url,
                    file=entry.file,
                    problem=problem,
                    by_hand=by_hand(entry),
                )
            )
        had_part = False  # the part may belong to another file, so start again once
    raise DownloadError(_failed_text(entry, url, reason, kept=size_of(part)))


def _failed_text(entry: CatalogueEntry, url: str, reason: Message, *, kept: int) -> Message:
    """Return the message for a download whose tries all failed."""
    if not kept:
        return Message(
            "{url} could not be downloaded in {tries} tries: {reason}; try again later, or"
            " {by_hand}",
            url=url,
            tries=TRIES,
            reason=reason,
            by_hand=by_hand(entry),
        )
    return Message(
        "{url} could not be downloaded in {tries} tries: {reason}; the received part ({kept:bytes})"
        " is kept, so try again, or {by_hand}",
        url=url,
        tries=TRIES,
        reason=reason,
        kept=kept,
        by_hand=by_hand(entry),
    )


def _pause(listener: Listener, part: Path) -> None:
    """Wait before another try."""
    until = time.monotonic() + WAIT_BETWEEN_S
    while time.monotonic() < until:
        listener.tell(size_of(part), None)
        time.sleep(min(0.1, WAIT_BETWEEN_S))


def _checksum_problem(entry: CatalogueEntry, part: Path) -> Message | None:
    """Compare size and checksum with those of the released file; None: they match."""
    most = max_bytes(entry)
    if most is not None and size_of(part) > most:
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
