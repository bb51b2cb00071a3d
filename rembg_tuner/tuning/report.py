"""The report of a sweep: one self-contained HTML file, and the trials as CSV and JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.escapes import encode_text, escape_cell
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, plural
from rembg_tuner.base.templates import render
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.imaging.quality import edge_stars
from rembg_tuner.settings.results import is_busy
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.axes import TEMPLATES
from rembg_tuner.tuning.plot import draw_plot, lay_out_plot
from rembg_tuner.tuning.trials import differing_knobs, label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.sweep import Sweep
    from rembg_tuner.tuning.trials import Trial

HTML_FILE, CSV_FILE, JSON_FILE = "report.html", "trials.csv", "trials.json"
_FIGURES = (
    "time_s",
    "time_low_s",
    "time_high_s",
    "spread",
    "n",
    "workers",
    "peak_bytes",
    "load_s",
    "agreement",
    "boundary_f",
    "mae",
    "failure_kind",
    "failure",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """The contents of a report besides its trials.

    Attributes:
        title: title of the report.
        environment: the machine and its versions.
        how: sentences that describe the method of measurement.
        recommendation: the recommendation and its reason, or why there is none.
        chosen: number of the recommended trial; None: no trial keeps the budgets.
        nearest: without a chosen trial, the number of the trial nearest to the budgets; otherwise
            None.
        misses: a text for each budget that the nearest trial misses.
        budgets: the budgets of the recommendation.
        expected_s: as in `Recommendation`.
    """

    title: str
    environment: Mapping[str, object]
    how: Sequence[str]
    recommendation: str
    chosen: int | None
    budgets: Budgets
    nearest: int | None = None
    misses: Sequence[str] = ()
    expected_s: tuple[float, float] | None = None


def write_sweep_report(
    folder: Path,
    sweep: Sweep,
    plan: Plan,
    found: Recommendation,
    budgets: Budgets,
    *,
    is_public: bool = False,
) -> Path:
    """Write the report of a sweep.

    Args:
        folder: the folder of the sweep.
        sweep: the sweep with its trials.
        plan: the plan of the sweep.
        found: the recommendation.
        budgets: the budgets of the recommendation.
        is_public: as in `write_report`.

    Returns:
        The path of trials.json.

    Raises:
        OutputError: the folder cannot be written.
    """
    data = ReportData(
        title="A sweep of background removal",
        environment=sweep.environment,
        how=_describe_method(sweep, plan, is_public=is_public),
        recommendation=_describe_recommendation(found),
        chosen=None if found.chosen is None else found.chosen.number,
        nearest=None if found.nearest is None else found.nearest.number,
        misses=tuple(map(str, found.misses)),
        expected_s=found.expected_s,
        budgets=budgets,
    )
    try:
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


def _describe_recommendation(found: Recommendation) -> str:
    """Return a recommendation as sentences."""
    lead = "Recommended" if found.fits else "Nothing is recommended"
    sentences = [f"{lead}: {found.why}", *(str(step.text) for step in found.steps)]
    if found.expected is not None:
        sentences.append(str(found.expected))
    return " ".join(f"{one}." for one in sentences)


def _describe_method(sweep: Sweep, plan: Plan, *, is_public: bool) -> list[str]:
    """Return sentences that describe how a sweep measured."""
    reference = sweep.context.reference
    is_truth = reference.is_ground_truth
    kind = "ground truth" if is_truth else "agreement, not accuracy: no ground truth was given"
    order = "shuffled" if plan.trials is None else "chosen by a guided search"
    runs = plural("{n} run", "{n:,} runs", n=plan.rounds)
    pictures = plural("{n} picture", "{n:,} pictures", n=len(plan.pictures))
    repeated = sum(max(0, len(trial.worker_times_s) - 1) for trial in sweep.trials)
    again = plural("{n} more worker", "{n:,} more workers", n=repeated)
    excluded = _excluded_pictures(sweep.trials, is_public=is_public)
    sentences = (
        f"Each setting ran in its own worker process: one warm-up, which is not counted, then"
        f" {runs} of each of {pictures} in turn; the order of the settings was {order} with seed"
        f" {plan.seed}.",
        repeated
        and f"The best settings were measured again in {again}, the recommended one first; all runs"
        " of a setting are combined, and its peak is the highest of them.",
        "Time is the median over the runs of the mean over the pictures, from the request to the"
        " written file, without start and load.",
        "Peak is the highest resident memory of the worker over load and all runs (VmHWM).",
        f"Agreement is the mean IoU at 0.5 with {reference.name} ({kind}), at most 1,024 px a side;"
        " stars are the boundary F-measure (DAVIS, CVPR 2016) at 0.8 % of the diagonal, by the"
        " table in docs/measuring.md.",
        (busy := busy_text(sweep.trials)) and f"{busy}.",
        excluded
        and "Left out of the averages because they have no clear foreground:"
        f" {', '.join(excluded)}.",
    )
    return [one for one in sentences if isinstance(one, str)]


def _excluded_pictures(trials: Sequence[Trial], *, is_public: bool) -> list[str]:
    """Return the pictures that are left out of the averages."""
    paths = dict.fromkeys(
        part.input for trial in trials for part in trial.pictures if not part.has_foreground
    )
    return [Path(path).name if is_public else path for path in paths]


def busy_text(trials: Sequence[Trial]) -> Message | None:
    """Return how many trials ran while the machine was busy with other work; None: none."""
    busy = sum(is_busy(trial.warnings) for trial in trials)
    if not busy:
        return None
    return plural(
        "{busy} of {n} trial ran while the machine was busy with other work (its load average"
        " without our own workers exceeded the usable CPUs), so its times are longer than on an"
        " idle machine; sweep --again measures again",
        "{busy} of {n} trials ran while the machine was busy with other work (its load average"
        " without our own workers exceeded the usable CPUs), so their times are longer than on an"
        " idle machine; sweep --again measures again",
        n=len(trials),
        busy=busy,
    )


def write_report(
    folder: Path, trials: Sequence[Trial], data: ReportData, *, is_public: bool = False
) -> list[Path]:
    """Write report.html, trials.csv and trials.json.

    Each file is either complete or missing.

    Args:
        folder: an existing folder.
        trials: in the order they were run.
        data: the other contents of the report.
        is_public: whether the report is for visitors of a page; then it contains file names without
            folders.

    Returns:
        The paths of the files.

    Raises:
        OSError: a file cannot be written.
    """
    shown = [trial.public() for trial in trials] if is_public else trials
    # The page embeds the thumbnails, so it needs their full paths.
    with_thumbnails = [
        replace(one, pictures=trial.pictures) for one, trial in zip(shown, trials, strict=True)
    ]
    document = {
        "title": data.title,
        "environment": dict(data.environment),
        "how": list(data.how),
        "recommendation": data.recommendation,
        "chosen": data.chosen,
        "fits": data.chosen is not None,
        "nearest": data.nearest,
        "misses": list(data.misses),
        "expected_s": data.expected_s,
        "budgets": data.budgets.to_dict(),
        "trials": [trial.to_dict() for trial in shown],
    }
    texts = {
        HTML_FILE: _page(with_thumbnails, data),
        CSV_FILE: write_csv(shown, data),
        JSON_FILE: json.dumps(document, indent=2),
    }
    for name, text in texts.items():
        with replacing(folder / name) as file:
            file.write(encode_text(text))
    return [folder / name for name in texts]


def write_csv(trials: Sequence[Trial], data: ReportData) -> str:
    """Return trials as CSV (RFC 4180): number, choice, every knob, every figure."""
    out = io.StringIO()
    writer = csv.DictWriter(out, ["number", "choice", *KNOBS, *_FIGURES])
    writer.writeheader()
    for trial in trials:
        failure = "" if trial.failure is None else str(trial.failure)
        content = {**trial.to_dict(), "workers": len(trial.worker_times_s), "failure": failure}
        figures = {name: content[name] for name in _FIGURES}
        row = {"number": trial.number, "choice": _choice(trial, data), **trial.settings.to_dict()}
        writer.writerow({name: escape_cell(value) for name, value in {**row, **figures}.items()})
    return out.getvalue()


def _choice(trial: Trial, data: ReportData) -> str:
    """Return `recommended`, `nearest` or an empty text."""
    return {data.chosen: "recommended", data.nearest: "nearest"}.get(trial.number, "")


def _page(trials: Sequence[Trial], data: ReportData) -> str:
    """Return the HTML page."""
    names = differing_knobs([trial.settings for trial in trials])
    return render(
        TEMPLATES / "report.html",
        data=data,
        plot=draw_plot(lay_out_plot(trials, data.budgets, chosen=data.chosen)),
        trials=sorted(trials, key=lambda trial: (not trial.is_measured, trial.time_s or 0.0)),
        choice_of=lambda trial: _choice(trial, data),
        label_of=lambda trial: label_of(trial.settings, names),
        thumbnails_of=_thumbnails,
        edge_stars=edge_stars,
        format_bytes=format_bytes,
        format_seconds=format_seconds,
        is_busy=is_busy,
    )


def _thumbnails(trial: Trial) -> list[tuple[str, str]]:
    """Return name and content (base64) of the first three cut-outs; missing files are skipped."""
    files = [
        (Path(one.input).name, Path(one.thumbnail)) for one in trial.pictures[:3] if one.thumbnail
    ]
    return [
        (name, base64.b64encode(file.read_bytes()).decode())
        for name, file in files
        if file.is_file()
    ]
