"""What a sweep leaves in its folder: report.html, trials.csv and trials.json; and how it is read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rembg_tuner.errors import OutputError, SettingsError
from rembg_tuner.report import JSON_FILE, Story, write_report
from rembg_tuner.sweep.opening import describe_machine
from rembg_tuner.trials import read_trial

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.recommend import Budgets, Recommendation
    from rembg_tuner.sweep.opening import Plan
    from rembg_tuner.sweep.run import Sweep
    from rembg_tuner.trials import Trial


def write_summary(
    folder: Path, sweep: Sweep, plan: Plan, found: Recommendation, budgets: Budgets
) -> Path:
    """Write the three files.

    Args:
        folder: of the sweep.
        sweep: with its trials.
        plan: that it followed.
        found: what is recommended of them.
        budgets: under which.

    Returns:
        The path of trials.json.

    Raises:
        OutputError: the folder cannot be written.
    """
    machine = describe_machine()
    try:
        story = Story(
            title="A sweep of background removal",
            environment={"cpu": machine[0], "cores": machine[1], "versions": ", ".join(machine[2:])},
            how=_how(sweep, plan),
            recommendation=_told(found),
            chosen=None if found.chosen is None else found.chosen.number,
            budgets=budgets.to_dict(),
        )  # fmt: skip
        write_report(folder, sweep.trials, story)
    except OSError as error:
        raise OutputError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return folder / JSON_FILE


def _told(found: Recommendation) -> str:
    """Tell a recommendation in sentences."""
    steps = "".join(f" {step.text}." for step in found.steps)
    return f"{found.why}.{steps}"


def _how(sweep: Sweep, plan: Plan) -> list[str]:
    """Say how it was measured."""
    reference = sweep.ground.reference
    kind = "ground truth" if reference.is_ground_truth else "agreement, not accuracy: no ground truth was given"  # fmt: skip
    without = sorted(reference.without_foreground)
    how = [
        f"Each setting ran in a worker of its own: one warm-up that is left out, then {plan.rounds} runs of each of {len(plan.pictures)} pictures in turn; the order of settings is {'shuffled' if plan.trials is None else 'chosen by a guided search'} with seed {plan.seed}.",
        "Time is the median over the runs of the mean over pictures, from the request to the file written; start and load are not in it.",
        "Peak is the highest resident memory of the worker over load and all runs (VmHWM).",
        f"Agreement is the mean IoU at 0.5 with {reference.name} ({kind}), at most 1,024 px a side; stars are the boundary's F-measure (DAVIS, CVPR 2016) at 0.8 % of the diagonal, by the table in the README.",
    ]
    if without:
        how.append(f"Left out of the averages, having no clear foreground: {', '.join(without)}.")
    return how


def recommendation_of(found: Recommendation) -> dict[str, object]:
    """Give a recommendation by name, ready for JSON."""
    return {
        "fits": found.fits,
        "why": found.why,
        "chosen": None if found.chosen is None else found.chosen.to_dict(),
        "runner_up": None if found.runner_up is None else found.runner_up.to_dict(),
        "steps": [{"trial": s.trial, "budget": s.budget, "direction": s.direction, "text": s.text} for s in found.steps],
    }  # fmt: skip


def read_summary(folder: Path) -> list[Trial]:
    """Read a sweep's trials back.

    Raises:
        SettingsError: the folder holds none.
    """
    file = folder / JSON_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return [read_trial(one) for one in content["trials"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            [f"{file} is not a sweep's trials ({error}); name the folder that `sweep -o` wrote"]
        ) from error
