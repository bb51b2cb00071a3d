"""The report of a sweep: one HTML file that needs nothing else, and the trials as CSV and JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.escapes import encode_text, escape_cell
from rembg_tuner.base.files import replacing
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
    """What a report contains besides its trials.

    Attributes:
        title: of the report.
        environment: the machine and its versions.
        how: sentences that describe how it was measured.
        recommendation: what is recommended and why, or that nothing is.
        chosen: number of the recommended trial; None: none fits the budgets.
        nearest: if none fits, the number of the trial that is nearest to the budgets; else None.
        misses: the budgets that the nearest misses, each in words.
        budgets: of the recommendation.
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


def write_report(
    folder: Path, trials: Sequence[Trial], data: ReportData, *, is_public: bool = False
) -> list[Path]:
    """Write report.html, trials.csv and trials.json.

    Each file is complete or missing.

    Args:
        folder: an existing folder.
        trials: in the order they were run.
        data: what the report says of them.
        is_public: whether visitors of a page read it: files are written by name only.

    Returns:
        The paths of the files.

    Raises:
        OSError: a file cannot be written.
    """
    shown = [trial.public() for trial in trials] if is_public else trials
    # The page contains thumbnails: it needs their paths.
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
    """Return the name and the bytes, as base64, of the first cut-outs; missing files are skipped."""
    files = [
        (Path(one.input).name, Path(one.thumbnail)) for one in trial.pictures[:3] if one.thumbnail
    ]
    return [
        (name, base64.b64encode(file.read_bytes()).decode())
        for name, file in files
        if file.is_file()
    ]
