"""Check the limit of a process's address space (`ulimit -v`), and explain the errors it causes.

If the limit is too low, libraries fail in many ways: a shared object is not mapped, a thread is not
started, an allocation ends the process, or a model is reported as unreadable.
"""

from __future__ import annotations

import os
import resource

from rembg_tuner.base.messages import Message, quoted

# Measured on a CPU with AMX and two threads: the smallest run takes 560 MiB. Below these limits the
# libraries hang or end the process.
WORKER_MIN_BYTES = 256 * 2**20  # below it, no engine's library can be mapped
PAGE_MIN_BYTES = 512 * 2**20
QUANTIZE_MIN_BYTES = 1024 * 2**20
_LOW_BYTES = 2 * 2**30  # above it, the limit is a likely cause of memory errors only
_CODE = "address_space_limit"
_MEMORY_KINDS = frozenset({"crash", "out_of_memory", "engine_error"})
_OTHER_KINDS = frozenset({"bad_model", "bad_input", "bad_output"})


def read_limit() -> int | None:
    """Return the limit in bytes; None: there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def save_address_space() -> None:
    """Limit numpy to one thread if the address space is limited.

    Each thread takes 32 MiB; the process ends if they cannot be allocated.
    """
    if read_limit() is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def refusal(needed_bytes: int) -> Message | None:
    """Return the reason if the limit is lower than what is always needed; None: it may suffice."""
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
    """Return a failure's reason, with a note on the limit if the limit may be the cause.

    Args:
        reason: what failed.
        kind: the kind of the Failure.
    """
    limit = read_limit()
    if limit is None or kind not in (
        _MEMORY_KINDS | _OTHER_KINDS if limit < _LOW_BYTES else _MEMORY_KINDS
    ):
        return reason
    if reason.has_code(_CODE):  # the failed run has added the note
        return reason
    return Message(
        "the limit of a process's address space (ulimit -v), {limit:bytes}, may be too low: raise"
        " it, or try a smaller setting; the error was: {reason}",
        code=_CODE,
        limit=limit,
        reason=reason,
    )


def shortage(error: Exception) -> Message | None:
    """Return the message of an error that the limit may have caused; None: it did not cause it."""
    is_ours = str(getattr(error, "name", "")).startswith("rembg_tuner")  # an error of this program
    if (
        read_limit() is None
        or is_ours
        or not isinstance(error, ImportError | MemoryError | OSError | RuntimeError | SystemError)
    ):
        return None
    return with_limit(quoted(root_reason(error)), "out_of_memory")


def root_reason(error: BaseException) -> str:
    """Return the first error of a chain in one line; libraries wrap it in pages of advice."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
