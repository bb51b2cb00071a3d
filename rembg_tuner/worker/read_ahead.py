"""Read the next pictures while the present ones are written.

One thread reads, in strips, all of its work in itself: its CPU clock tells what the reading took.
It reads JPEG and PNG of at most 8192 px a side, which take at most 50 MiB. Pictures that are
decoded whole, larger ones, and those whose colours take floats to convert are left for their own
turn, so that memory stays bounded. One that cannot be read is left too, and read again at its turn,
which then tells why; so is one whose file changed after it was read. One whose file lacks its end
is left, since libvips' complaints about it, by which missing pixels are found, are kept in one
place for all threads.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import TunerError
from rembg_tuner.imaging import source
from rembg_tuner.imaging.formats import JPEG, PNG
from rembg_tuner.imaging.header import is_cut
from rembg_tuner.worker.pipeline import Stages, begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyvips

    from rembg_tuner.base.boxes import Box
    from rembg_tuner.engines.protocols import NetworkEngine
    from rembg_tuner.imaging.header import PictureHeader
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job, Picture


_FORMATS = (JPEG, PNG)
_MAX_SIDE = 8192  # px; a strip's memory grows with the picture's width


_Identity = tuple[int, int, int, int]  # of a file: device, number, size, time of its last change


class _LeftError(Exception):
    """A picture is left for its own turn."""


class ReadAhead:
    """Pictures of the next request, read or being read.

    Attributes:
        following: what `start` will read; set before each request.
    """

    def __init__(self, engine: NetworkEngine, model: ModelSpec) -> None:
        """Read nothing yet.

        Args:
            engine: which the pictures are read for.
            model: likewise.
        """
        self.following: Sequence[Job] = ()
        self._settings: Settings | None = None
        self._engine, self._model = engine, model
        self._thread = ThreadPoolExecutor(1, initializer=self._find_clock)
        self._reads: dict[Job, Future[Picture | None]] = {}
        self._files: dict[Job, _Identity | None] = {}
        self._stopped = threading.Event()
        self._clock: int | None = None
        self._cpu_s = 0.0

    def _find_clock(self) -> None:
        """Note this thread's CPU clock for others to read, where the system has such a thing."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def cpu_clock(self) -> float:
        """Return the CPU seconds of this process without those of reading ahead.

        On macOS, what is read ahead is known to a strip's accuracy: 3 ms of a JPEG of 12 MP.
        """
        own_s = self._cpu_s if self._clock is None else time.clock_gettime(self._clock)
        return time.process_time() - own_s

    def start(self) -> None:
        """Begin to read `following` in another thread, once."""
        following, self.following = self.following, ()
        if following:
            self.stop()
            self._stopped = threading.Event()
        for job in following:
            self._reads[job] = self._thread.submit(self._read, job, self._stopped)

    def take(self, job: Job, stages: Stages) -> Picture | None:
        """Wait for a picture that is being read.

        Args:
            job: the picture.
            stages: of its run; what its reading took is noted there.

        Returns:
            The picture; None: it was not read ahead.
        """
        future = self._reads.pop(job, None)
        try:
            picture = None if future is None else future.result()
        except FutureCancelledError:
            picture = None
        file = self._files.pop(job, None)
        if picture is not None and file != _identity_of(job):
            return None
        if picture is not None:
            stages.seconds.update(picture.stages.seconds)
            picture.stages = stages
        return picture

    def keep_only(self, jobs: Sequence[Job], settings: Settings) -> None:
        """Drop what was read if it is not of these jobs and settings, and wait until no other is being read.

        What is read after this is read for these settings.
        """
        if settings != self._settings or not self._reads.keys() <= set(jobs):
            self.stop()
        self._settings = settings

    def cancel(self) -> None:
        """Stop reading at the next strip; called from any thread."""
        self._stopped.set()

    def stop(self) -> None:
        """Stop reading, wait for that, and drop what was read."""
        self.cancel()
        for future in self._reads.values():
            if not future.cancel():
                future.exception()
        self._reads, self._files = {}, {}

    def _read(self, job: Job, stopped: threading.Event) -> Picture | None:
        """Read one picture; None where it is left for its own turn."""

        def after_strip() -> None:
            self._cpu_s = time.thread_time()
            if stopped.is_set():
                raise _LeftError

        def read_small(
            header: PictureHeader, *, width: int, height: int, box: Box | None
        ) -> pyvips.Image:
            if not _is_light(header):
                raise _LeftError
            return source.read_small(
                header, width=width, height=height, box=box, after_strip=after_strip
            )

        settings, stages = self._settings, Stages(lambda _: None, cpu_clock=time.thread_time)
        try:
            after_strip()
            assert settings is not None  # `keep_only` comes first
            self._files[job] = _identity_of(job)
            if is_cut(Path(job.input)):
                return None
            return begin(job, settings, self._engine, self._model, stages, read_small=read_small)
        except (_LeftError, TunerError, MemoryError):
            return None  # its own turn reads it, and tells what is wrong with it
        finally:
            self._cpu_s = time.thread_time()


def _identity_of(job: Job) -> _Identity | None:
    """Return which file a picture is now, and in which state; None: it is gone."""
    try:
        found = os.stat(job.input)  # noqa: PTH116  # four numbers of one call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_light(header: PictureHeader) -> bool:
    """Return whether reading a picture takes little memory, and no longer in one thread than in several."""
    return (
        header.format in _FORMATS
        and not header.is_whole
        and header.view.colour is None
        and max(header.width, header.height) <= _MAX_SIDE
    )
