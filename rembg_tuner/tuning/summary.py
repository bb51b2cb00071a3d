"""What a sweep leaves in its folder: report.html, trials.csv and trials.json.

And how a folder is read back.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message, Quoted, plural
from rembg_tuner.settings.results import is_busy
from rembg_tuner.tuning.budgets import read_budgets
from rembg_tuner.tuning.plan_file import PLAN_FILE, read_plan_file
from rembg_tuner.tuning.report import JSON_FILE, ReportData, write_report
from rembg_tuner.tuning.store import STORE_FILE, TrialStore
from rembg_tuner.tuning.trials import read_trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.opening import Plan
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


def recommendation_of(found: Recommendation) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a sweep's folder holds, of a sweep that has ended, was killed, or goes on.

    Attributes:
        trials: in the order they were run.
        budgets: under which the sweep recommends.
        environment: date (ISO, UTC), cpu, cores, versions, memory_limit, load_average at the start;
            a file of another version may have fewer.
        planned: how many trials the sweep has when it is done; None: not known.
        outdated: how many trials are left out, since their model has other weights now.
    """

    trials: list[Trial]
    budgets: Budgets
    environment: Mapping[str, str]
    planned: int | None = None
    outdated: int = 0


def read_summary(folder: Path) -> Summary:
    """Read a sweep's folder: its trials from the store, which has each as soon as it is measured, else from trials.json.

    Raises:
        SettingsError: the folder holds no sweep, or it is damaged.
    """
    plan = read_plan_file(folder)
    file = folder / JSON_FILE
    if plan is None or (file.is_file() and "context" not in plan):  # as an older version leaves it
        return _read_json(file)
    summary = _read_store(folder, plan)
    return _read_json(file) if not summary.trials and file.is_file() else summary


def _read_store(folder: Path, plan: Mapping[str, object]) -> Summary:
    """Read a sweep's trials as they were kept one by one; there may be none yet.

    Raises:
        SettingsError: the store or the plan is damaged.
    """
    store = TrialStore(folder / STORE_FILE)
    try:
        contexts = [str(plan["context"])] if "context" in plan else store.contexts()
        trials, outdated = store.kept(contexts[0]) if len(contexts) == 1 else ([], 0)
    except sqlite3.Error as error:
        raise SettingsError(
            [
                Message(
                    "{file} does not read: {error}",
                    file=folder / STORE_FILE,
                    error=Quoted(str(error)),
                )
            ]
        ) from error
    budgets, environment, planned = (
        plan.get(name) for name in ("budgets", "environment", "planned")
    )
    return Summary(
        trials=trials,
        budgets=_budgets_of(budgets if isinstance(budgets, dict) else {}, folder),
        environment=_texts(environment if isinstance(environment, dict) else {}),
        planned=planned if type(planned) is int else None,
        outdated=outdated,
    )


def _budgets_of(content: Mapping[str, object], folder: Path) -> Budgets:
    """Read the budgets in a folder's plan.

    Raises:
        SettingsError: one cannot be.
    """
    try:
        return read_budgets(content)
    except SettingsError as error:
        problem = Message(
            "{file}: {problem}; name another folder",
            file=folder / PLAN_FILE,
            problem=error.message,
        )
        raise SettingsError([problem]) from error


def _read_json(file: Path) -> Summary:
    """Read trials.json.

    Raises:
        SettingsError: there is none, or it is damaged.
    """
    try:
        return _summary_of(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        reason: Message | Quoted | str = error.strerror or Quoted(str(error))
    except SettingsError as error:
        reason = error.message
    except (ValueError, RecursionError) as error:  # JSON's and text's
        reason = Quoted(str(error))
    raise SettingsError(
        [
            Message(
                "{file} is not a sweep's trials ({reason}); name the folder that `sweep -o` wrote",
                file=file,
                reason=reason,
            )
        ]
    )


def _summary_of(content: object) -> Summary:
    """Check what trials.json holds.

    Raises:
        SettingsError: it is no summary.
    """
    kinds = {"trials": list, "budgets": dict, "environment": dict}
    if not isinstance(content, dict):
        raise SettingsError([Message("it is no JSON object")])
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise SettingsError([Message("it has no {names}", names=" and no ".join(wrong))])
    trials = [read_trial(one) for one in content["trials"]]
    numbers = [trial.number for trial in trials]
    if len(set(numbers)) < len(numbers):
        raise SettingsError([Message("two of its trials have the same number")])
    return Summary(
        trials=trials,
        budgets=read_budgets(content["budgets"]),
        environment=_texts(content["environment"]),
    )


def _texts(content: Mapping[object, object]) -> dict[str, str]:
    """Return names and values as texts."""
    return {str(name): str(value) for name, value in content.items()}
