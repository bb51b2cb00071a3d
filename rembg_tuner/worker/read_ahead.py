"""Read the next pictures while the current ones are written.

One thread does all of the reading, in strips, so its CPU clock measures the reading. It reads JPEG
and PNG of at most 8192 px a side, which need at most 50 MiB. To limit memory, larger pictures,
pictures that are decoded whole, and pictures whose colours are converted in floats are not read
ahead. Pictures that are not read ahead are read when they are processed. This includes pictures
that cannot be read, whose error is reported then, and pictures whose file changed after it was
read. Truncated files are not read ahead either: missing pixels are detected from the warnings of
libvips, which all threads share.
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


_Identity = tuple[int, int, int, int]  # of a file: device, inode, bytes, modification time in ns


class _LeftError(Exception):
    """A picture is not read ahead."""


class ReadAhead:
    """The pictures of the next request, read or being read in another thread.

    Attributes:
        following: the jobs that `start` reads; set before each request.
    """

    def __init__(self, engine: NetworkEngine, model: ModelSpec) -> None:
        """Create the thread, without reading.

        Args:
            engine: its input size is used.
            model: its normalisation is used.
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
        """Store the id of this thread's CPU clock, if the system has one."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def cpu_clock(self) -> float:
        """Return the CPU seconds of this process, without those of reading ahead.

        On macOS, the time of reading ahead is updated after each strip: 3 ms for a JPEG of 12 MP.
        """
        own_s = self._cpu_s if self._clock is None else time.clock_gettime(self._clock)
        return time.process_time() - own_s

    def start(self) -> None:
        """Start reading `following` in the other thread, and clear it."""
        following, self.following = self.following, ()
        if following:
            self.stop()
            self._stopped = threading.Event()
        for job in following:
            self._reads[job] = self._thread.submit(self._read, job, self._stopped)

    def take(self, job: Job, stages: Stages) -> Picture | None:
        """Wait for a picture that is being read, and remove it from the queue.

        Args:
            job: the picture.
            stages: of its run; the reading's stage times are added to it.

        Returns:
            The picture; None: it was not read ahead, or its file changed.
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
        """Drop the pictures read ahead unless all belong to these jobs and settings.

        It first stops the reading and waits for its end. Later pictures are read with these
        settings.
        """
        if settings != self._settings or not self._reads.keys() <= set(jobs):
            self.stop()
        self._settings = settings

    def cancel(self) -> None:
        """Stop reading after the current strip; may be called from any thread."""
        self._stopped.set()

    def stop(self) -> None:
        """Stop reading, wait for its end, and drop the pictures."""
        self.cancel()
        for future in self._reads.values():
            if not future.cancel():
                future.exception()
        self._reads, self._files = {}, {}

    def _read(self, job: Job, stopped: threading.Event) -> Picture | None:
        """Read one picture; return None if it is not read ahead."""

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
            assert settings is not None  # `keep_only` is called first
            self._files[job] = _identity_of(job)
            if is_cut(Path(job.input)):
                return None
            return begin(job, settings, self._engine, self._model, stages, read_small=read_small)
        except (_LeftError, TunerError, MemoryError):
            return None  # it is read again when it is processed, which reports the error
        finally:
            self._cpu_s = time.thread_time()


def _identity_of(job: Job) -> _Identity | None:
    """Return the file's device, inode, size and modification time; None: it does not exist."""
    try:
        found = os.stat(job.input)  # noqa: PTH116  # four numbers of one call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_light(header: PictureHeader) -> bool:
    """Return whether reading a picture needs little memory and is not slower in one thread."""
    return (
        header.format in _FORMATS
        and not header.is_whole
        and header.view.colour is None
        and max(header.width, header.height) <= _MAX_SIDE
    )
