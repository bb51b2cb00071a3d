"""Exit codes: 0 done, 1 failed, 2 misuse, 124 timed out, 128 and the signal's number where one ended the command.

Those signals are SIGHUP (129), SIGINT (130) and SIGTERM (143). Of several, the first of 143, 130,
129, 124, 1 counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, FAILED, MISUSE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 124, 130


def exit_code(runs: Sequence[Result | Failure], *, is_interrupted: bool) -> int:
    """Return the exit code of several runs; `main` puts the one of a signal in its place."""
    kinds = {run.kind for run in runs if isinstance(run, Failure)}
    if is_interrupted or "cancelled" in kinds:
        return INTERRUPTED
    if "timeout" in kinds:
        return TIMED_OUT
    return FAILED if kinds else DONE
