"""A child process seen from its parent: requests and answers as lines of JSON on its own pipes.

The command line starts a worker before it imports the rest of this program. Therefore this module
imports almost nothing, and has no dataclass.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # a part of the interpreter without stubs
import os
import time
from _thread import allocate_lock

from rembg_tuner.base.spawning import child_environment, open_log, raised, spawn

TYPE_CHECKING = False  # `typing` and `pathlib` take a while to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from rembg_tuner.base.messages import Message

REAP_TIMEOUT_S = 5.0
PRIVATE, STANDARD = (3, 4), (0, 1)  # descriptors of requests and answers in the child
_POLL_S = 0.001
_CANCEL_POLL_S = 0.05
_READ_BYTES = 65536
_MAX_LINE_BYTES = 2**20  # a message has some thousand bytes
_LOG_TAIL_BYTES = 2000


class ChildGoneError(OSError):
    """The child closed its end of a pipe, or has ended.

    Attributes:
        message: the reason.
    """

    def __init__(self, message: Message) -> None:
        """Store the reason."""
        super().__init__(str(message))
        self.message = message


class InvalidAnswerError(ChildGoneError):
    """The child wrote something that is not a message; its later answers cannot be trusted."""


class AnswerTimeoutError(ChildGoneError, TimeoutError):
    """An answer took too long; the child was killed."""


class ChildProcess:
    """A command that runs as a child; it is started when first needed, and again after it ended.

    Attributes:
        started_at: `perf_counter` when it was started.
        pid: its process id.
        exit_code: negative: the signal that ended it; None: it is not known to have ended.
        was_killed: whether this process killed it.
        oom_kills: the kernel's count of processes killed for memory when it was started, set by
            callers that need it; None: unknown.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        descriptors: tuple[int, int] = STANDARD,
    ) -> None:
        """Describe a child; `start` starts it.

        Args:
            command: the program and its arguments.
            environment: of the child; None: `child_environment` with few threads and arenas.
            descriptors: of requests and answers in the child. With PRIVATE, its standard output
                goes to the log, so that a library's output is not read as an answer.
        """
        self._command, self._environment = tuple(command), environment
        self._descriptors = descriptors
        self.oom_kills: int | None = None
        self.exit_code: int | None = None
        self.was_killed = False
        self.pid, self.started_at = 0, 0.0
        self._open: tuple[int, ...] = ()  # the log, the pipe of requests, the pipe of answers
        self._pending = b""
        self._lock = allocate_lock()

    def start(self) -> None:
        """Start the child if it is not running.

        Raises:
            OSError: the process could not be started.
        """
        if self._open and self.poll() is None:
            return
        self.close()
        self.exit_code, self.was_killed, self._pending = None, False, b""
        environment = self._environment
        if environment is None:
            lean = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            environment = {**child_environment(), **lean}
        self.started_at = time.perf_counter()
        own: list[int] = []
        lent: list[int] = []
        try:
            # A file, not a pipe: a full pipe that is not read would stop the child.
            own.append(open_log())
            for mine, its in ((1, 0), (0, 1)):
                ends = os.pipe()
                own.append(ends[mine])
                lent.append(raised(ends[its]))
            self.pid = spawn(self._command, environment, [own[0], *lent], self._descriptors)
            self._open = tuple(own)
        except OSError:
            for descriptor in own:
                os.close(descriptor)
            raise
        finally:
            for descriptor in lent:
                os.close(descriptor)

    @property
    def log(self) -> int:
        """The descriptor of the log file."""
        return self._open[0]

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one request.

        Raises:
            ChildGoneError: the child no longer reads requests.
        """
        import json

        try:
            os.write(self._open[1], json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._gone() from error

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait for one message; return None if it has not arrived completely in time.

        Raises:
            ChildGoneError: the child closed its end of the pipe, or ended.
            InvalidAnswerError: it wrote something other than a JSON object.
        """
        if b"\n" not in self._pending:
            piece = self._read(timeout_s)
            if piece is None:
                return None
            if not piece:
                raise self._gone()
            self._pending += piece
        line, newline, rest = self._pending.partition(b"\n")
        if newline:
            self._pending = rest
            return _read_object(line)
        if len(line) > _MAX_LINE_BYTES:
            raise invalid_answer(line)
        return None

    def _read(self, timeout_s: float) -> bytes | None:
        """Read the bytes that arrived; empty: the child closed its end; None: timeout."""
        import select

        poller = select.poll()
        poller.register(self._open[2], select.POLLIN)
        return os.read(self._open[2], _READ_BYTES) if poller.poll(timeout_s * 1000) else None

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Start the child if it is not running, send a request and wait for its answer.

        Raises:
            AnswerTimeoutError: it took too long; the child was killed.
            ChildGoneError, InvalidAnswerError: the child ended, or did not write JSON.
            OSError: the process could not be started.
        """
        self.start()
        self.send(request)
        end = time.perf_counter() + timeout_s
        while (left_s := end - time.perf_counter()) > 0:
            if (answer := self.receive(left_s)) is not None:
                return answer
        raise self._late(timeout_s)

    def read_to_end(
        self, timeout_s: float, *, is_cancelled: Callable[[], bool] = lambda: False
    ) -> str:
        """Start the child if it is not running, and return its output when it has ended.

        Args:
            timeout_s: after which the child is killed.
            is_cancelled: called 20 times per second.

        Raises:
            AnswerTimeoutError: it took too long.
            CancelledError: `is_cancelled` returned true; the child was killed.
            OSError: the process could not be started.
        """
        self.start()
        end, text = time.perf_counter() + timeout_s, b""
        while True:
            has_ended = self.poll() is not None
            piece = self._read(0 if has_ended else _CANCEL_POLL_S)
            text += piece or b""
            if has_ended and not piece:
                return text.decode(errors="replace")
            if is_cancelled():
                from rembg_tuner.base.errors import CancelledError
                from rembg_tuner.base.messages import Message

                self.kill()
                raise CancelledError(Message("the run was cancelled"))
            if time.perf_counter() > end:
                raise self._late(timeout_s)
            if piece == b"":
                time.sleep(_POLL_S)  # it closed its end of the pipe, but is running

    def _gone(self) -> ChildGoneError:
        """Return the error of a child that has ended, with the last line of its log."""
        from rembg_tuner.base.messages import Message, quoted

        last = self.last_log_line()
        return ChildGoneError(quoted(last) if last else Message("no reason was given"))

    def _late(self, timeout_s: float) -> AnswerTimeoutError:
        """Kill the child, and return the error."""
        from rembg_tuner.base.messages import Message

        self.close()
        return AnswerTimeoutError(
            Message("it took more than {timeout_s:.0f} s", timeout_s=timeout_s)
        )

    def poll(self) -> int | None:
        """Return the exit code; None: the child is running."""
        with self._lock:  # two threads may call this
            if self.exit_code is None and self.pid:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # SIGCHLD is ignored, so the kernel dropped the exit code
                    self.exit_code = 0
                else:
                    if pid:
                        self.exit_code = os.waitstatus_to_exitcode(status)
                        _kill_group(pid)  # at once, before the process id is reused
            return self.exit_code

    def is_alive(self) -> bool:
        """Return whether the child is running."""
        return bool(self._open) and self.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child to end and return its exit code; None: timeout."""
        end = time.perf_counter() + timeout_s
        while self.poll() is None and time.perf_counter() < end:
            time.sleep(_POLL_S)
        return self.exit_code

    def kill(self) -> None:
        """Kill the child and the processes that it started, and wait until its memory is free."""
        if self.pid and self.poll() is None:  # only `poll` releases the process id
            self.was_killed = True
            _kill_group(self.pid)
            self.wait(REAP_TIMEOUT_S)

    def close(self) -> None:
        """Kill the child and close its descriptors."""
        self.kill()
        closing, self._open, self.pid = self._open, (), 0
        for descriptor in closing:
            os.close(descriptor)

    def exit_reason(self) -> Message:
        """Return how the worker ended, with its last log line; kill it if it is still running."""
        from rembg_tuner.base.messages import Message, Quoted

        self.wait(0.5)
        self.kill()
        code = self.exit_code
        if self.was_killed:
            how = Message("the worker closed its pipe but did not end, so it was killed")
        elif code is not None and code < 0:
            how = _signal_text(-code)
        else:
            how = Message("the worker ended with exit code {number}", number=code)
        last = self.last_log_line()
        if not last:
            return how
        return Message("{how}; last log line: {line}", how=how, line=Quoted(last[:300]))

    def last_log_line(self) -> str:
        """Return the last line of the log; empty: the log is empty."""
        if not self._open:
            return ""
        size = os.fstat(self.log).st_size
        tail = os.pread(self.log, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return "".join(tail.decode(errors="replace").strip().splitlines()[-1:])


def _kill_group(group: int) -> None:
    """Kill the remaining processes of a group."""
    try:  # noqa: SIM105  # contextlib takes a while to import
        os.killpg(group, signal.SIGKILL)
    except OSError:  # no process is left
        pass


def _signal_text(number: int) -> Message:
    """Return the message that a signal ended the worker."""
    import signal

    from rembg_tuner.base.messages import Message

    is_known = number in set(signal.Signals)
    name = signal.Signals(number).name if is_known else Message("signal {number}", number=number)
    if number == signal.SIGKILL:
        return Message(
            "the worker was ended by {signal}; the system may have run out of memory", signal=name
        )
    return Message("the worker was ended by {signal}", signal=name)


def _read_object(line: bytes) -> dict[str, Any]:
    """Read one line as a JSON object.

    Raises:
        InvalidAnswerError: it is something else.
    """
    import json

    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise invalid_answer(line) from error
    if not isinstance(read, dict):
        raise invalid_answer(line)
    return read


def invalid_answer(line: bytes) -> InvalidAnswerError:
    """Return the error of a line that is not a message."""
    from rembg_tuner.base.messages import Message, Quoted

    text = Quoted(repr(line[:80]))
    return InvalidAnswerError(Message("the worker wrote {text}, which is not a message", text=text))
