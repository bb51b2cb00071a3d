"""What a sweep leaves in its folder: report.html, trials.csv and trials.json.

And how a folder is read back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.messages import Message, plural
from rembg_tuner.settings.results import is_busy
from rembg_tuner.tuning.report import JSON_FILE, ReportData, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.sweep import Sweep
    from rembg_tuner.tuning.trials import Trial


def write_summary(
    folder: Path,
    sweep: Sweep,
    plan: Plan,
    found: Recommendation,
    budgets: Budgets,
    *,
    is_public: bool = False,
) -> Path:
    """Write the three files.

    Args:
        folder: of the sweep.
        sweep: with its trials.
        plan: that it followed.
        found: what is recommended of them.
        budgets: under which.
        is_public: whether the readers are a page's, who get files by name.

    Returns:
        The path of trials.json.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        data = ReportData(
            title="A sweep of background removal",
            environment=sweep.environment,
            how=_how(sweep, plan, is_public=is_public),
            recommendation=_told(found),
            chosen=None if found.chosen is None else found.chosen.number,
            nearest=None if found.nearest is None else found.nearest.number,
            misses=tuple(map(str, found.misses)),
            expected_s=found.expected_s,
            budgets=budgets,
        )
        write_report(folder, sweep.trials, data, is_public=is_public)
    except OSError as error:
        raise OutputError(
            Message(
                "the report cannot be written to {folder}: {reason}",
                folder=folder,
                reason=error.strerror,
            )
        ) from error
    return folder / JSON_FILE


def _told(found: Recommendation) -> str:
    """Tell a recommendation in sentences."""
    steps = "".join(f" {step.text}." for step in found.steps)
    expected = "" if found.expected is None else f" {found.expected}."
    lead = "Recommended" if found.fits else "Nothing is recommended"
    return f"{lead}: {found.why}.{steps}{expected}"


def _how(sweep: Sweep, plan: Plan, *, is_public: bool) -> list[str]:
    """Say how it was measured."""
    reference = sweep.ground.reference
    kind = (
        "ground truth"
        if reference.is_ground_truth
        else "agreement, not accuracy: no ground truth was given"
    )
    without = dict.fromkeys(
        part.input for trial in sweep.trials for part in trial.pictures if not part.has_foreground
    )
    runs = plural("{n} run", "{n:,} runs", n=plan.rounds)
    pictures = plural("{n} picture", "{n:,} pictures", n=len(plan.pictures))
    how = [
        (
            f"Each setting ran in a worker of its own: one warm-up that is left out, then {runs} of"
            f" each of {pictures} in turn; the order of settings is"
            f" {'shuffled' if plan.trials is None else 'chosen by a guided search'} with seed"
            f" {plan.seed}."
        ),
        (
            "Time is the median over the runs of the mean over pictures, from the request to the"
            " file written; start and load are not in it."
        ),
        "Peak is the highest resident memory of the worker over load and all runs (VmHWM).",
        (
            f"Agreement is the mean IoU at 0.5 with {reference.name} ({kind}), at most 1,024 px a"
            " side; stars are the boundary's F-measure (DAVIS, CVPR 2016) at 0.8 % of the"
            " diagonal, by the table in the README."
        ),
    ]
    workers = sum(max(0, len(trial.worker_times_s) - 1) for trial in sweep.trials)
    if workers:
        more = plural("{n} worker", "{n:,} workers", n=workers)
        how.insert(
            1,
            f"The best were measured again, the recommended one first, in {more} more; a setting's"
            " runs are joined, and its peak is the highest of them.",
        )
    if (busy := busy_text(sweep.trials)) is not None:
        how.append(f"{busy}.")
    if without:
        names = [Path(one).name for one in without] if is_public else without
        how.append(f"Left out of the averages, having no clear foreground: {', '.join(names)}.")
    return how


def busy_text(trials: Sequence[Trial]) -> Message | None:
    """Say how many trials ran while the machine was busy with other work; None: none did."""
    busy = [trial for trial in trials if is_busy(trial.warnings)]
    if not busy:
        return None
    return plural(
        "{busy} of {n} trial ran while the machine was busy with other work (its load average"
        " without our own workers exceeded the usable CPUs), so their times are longer than on a"
        " quiet machine; sweep --again measures anew",
        "{busy} of {n} trials ran while the machine was busy with other work (its load average"
        " without our own workers exceeded the usable CPUs), so their times are longer than on a"
        " quiet machine; sweep --again measures anew",
        n=len(trials),
        busy=len(busy),
    )


def recommendation_dict(found: Recommendation) -> dict[str, object]:
    """Give a recommendation by name, ready for JSON."""
    return {
        "fits": found.fits,
        "why": str(found.why),
        "chosen": None if found.chosen is None else found.chosen.to_dict(),
        "nearest": None if found.nearest is None else found.nearest.to_dict(),
        "misses": list(map(str, found.misses)),
        "runner_up": None if found.runner_up is None else found.runner_up.to_dict(),
        "expected_s": found.expected_s,
        "expected": "" if found.expected is None else str(found.expected),
        "steps": [
            {"trial": s.trial, "budget": s.budget, "direction": s.direction, "text": str(s.text)}
            for s in found.steps
        ],
    }
