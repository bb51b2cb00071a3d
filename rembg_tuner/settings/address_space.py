"""The limit of a process's address space (`ulimit -v`), and what to say where it may be too low.

Libraries fail under it in many ways: a shared object is not mapped, a thread is not started, an
allocation ends the process, or a model is called unreadable.
"""

from __future__ import annotations

import os
import resource

from rembg_tuner.base.messages import Message, quoted

# Measured on a CPU with AMX and two threads: the smallest run takes 560 MiB, and below these the
# libraries hang or end the process.
WORKER_MIN_BYTES = 256 * 2**20  # no engine's library can be mapped
PAGE_MIN_BYTES = 512 * 2**20
QUANTIZE_MIN_BYTES = 1024 * 2**20
_LOW_BYTES = 2 * 2**30  # above it only a shortage of memory itself is likely to come from the limit
_CODE = "address_space_limit"
_MEMORY_KINDS = frozenset({"crash", "out_of_memory", "engine_error"})
_OTHER_KINDS = frozenset({"bad_model", "bad_input", "bad_output"})


def read_limit() -> int | None:
    """Return the limit in bytes; None: there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def save_address_space() -> None:
    """Have numpy start one thread where there is a limit.

    Each takes 32 MiB and ends the process without it.
    """
    if read_limit() is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def refusal(needed_bytes: int) -> Message | None:
    """Return that the limit is below what is needed in any case; None: it may work."""
    limit = read_limit()
    if limit is None or limit >= needed_bytes:
        return None
    return Message(
        "the limit of a process's address space (ulimit -v) is {limit:bytes}, and at least"
        " {needed:bytes} are needed; raise it, better to 2 GiB or more",
        code=_CODE,
        limit=limit,
        needed=needed_bytes,
    )


def with_limit(reason: Message, kind: str) -> Message:
    """Return a failure's reason, behind the limit where that may be what is wrong.

    Args:
        reason: what failed.
        kind: the Failure's word for it.
    """
    limit = read_limit()
    if limit is None or kind not in (
        _MEMORY_KINDS | _OTHER_KINDS if limit < _LOW_BYTES else _MEMORY_KINDS
    ):
        return reason
    if reason.has_code(_CODE):  # said already, by the run that failed
        return reason
    return Message(
        "the limit of a process's address space (ulimit -v), {limit:bytes}, may be too low: raise"
        " it, or try a smaller setting; the error was: {reason}",
        code=_CODE,
        limit=limit,
        reason=reason,
    )


def shortage(error: Exception) -> Message | None:
    """Return what to say of an error that the limit may have caused; None: it did not."""
    is_ours = str(getattr(error, "name", "")).startswith("rembg_tuner")  # a fault of this program
    if (
        read_limit() is None
        or is_ours
        or not isinstance(error, ImportError | MemoryError | OSError | RuntimeError | SystemError)
    ):
        return None
    return with_limit(quoted(root_reason(error)), "out_of_memory")


def root_reason(error: BaseException) -> str:
    """Return the first error of a chain in one line; libraries wrap it into pages of advice."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
