"""The report of a sweep: one HTML file that needs nothing else, and the trials as CSV and JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import dataclass, replace
from html import escape as escape_html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.escapes import encode_text, escape_cell, escape_text
from rembg_tuner.base.files import replacing
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.imaging.quality import edge_stars
from rembg_tuner.settings.results import is_busy
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.plot_drawing import draw, points_script
from rembg_tuner.tuning.plot_layout import lay_out
from rembg_tuner.tuning.trials import differences, label_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_STYLE = """
:root{color-scheme:light dark;--rt-ink:#0f172a;--rt-muted:#52607a;--rt-line:#dfe4ec;--rt-panel:#fff;--rt-ground:#f5f7fa;--rt-accent:#0f766e;--rt-soft:#dcf2ef;--rt-warn:#8a4b00}
@media(prefers-color-scheme:dark){:root{--rt-ink:#e8edf5;--rt-muted:#9dabc2;--rt-line:#2b3648;--rt-panel:#151c28;--rt-ground:#0d121b;--rt-accent:#4fd1c0;--rt-soft:#123f3c;--rt-warn:#f0b95c}}
body{margin:0;background:var(--rt-ground);color:var(--rt-ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}h1{font-size:24px;font-weight:600;margin:0 0 8px}h2{font-size:16px;margin:32px 0 8px}
.lead{border-left:3px solid var(--rt-accent);padding-left:14px;max-width:76ch}
.box{background:var(--rt-panel);border:1px solid var(--rt-line);border-radius:12px;padding:12px;overflow-x:auto}
.box:focus-visible{outline:3px solid var(--rt-accent)}.box svg{display:block;width:100%;height:auto;background:none}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--rt-line);white-space:nowrap}
th:first-child,td:first-child,.left{text-align:left}tr.chosen{background:var(--rt-soft)}tr:target,tr.lit{outline:2px solid var(--rt-accent)}
td img{width:56px;height:56px;object-fit:contain;background:repeating-conic-gradient(#c9ced6 0 25%,#fff 0 50%) 0 0/12px 12px;border-radius:6px;margin-right:4px;vertical-align:middle}
.failed{color:var(--rt-warn);white-space:normal}.choice{display:inline-block;max-width:34ch;white-space:normal;font-size:12.5px;color:var(--rt-muted)}tr.chosen .choice{color:var(--rt-accent);font-weight:600}.muted{color:var(--rt-muted);font-size:13px}li{margin:3px 0;max-width:90ch}dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0}dt{color:var(--rt-muted)}dd{margin:0;overflow-wrap:anywhere}
.rt-tip{position:absolute;z-index:9;display:grid;gap:2px;max-width:280px;padding:8px 10px;border-radius:10px;background:var(--rt-panel);border:1px solid var(--rt-line);box-shadow:0 6px 24px rgb(0 0 0/18%);font-size:13px;pointer-events:none}.rt-tip[hidden]{display:none}.rt-tip-low{grid-template-columns:auto 1fr;column-gap:8px}.rt-tip-low img{width:48px!important;height:48px!important;grid-row:span 2}
.rt-tip img{width:132px;height:132px;object-fit:contain;justify-self:center;border-radius:6px;background:repeating-conic-gradient(#c9ced6 0 25%,#fff 0 50%) 0 0/12px 12px}
.rt-point{cursor:pointer;outline:none}.rt-point:focus-visible .rt-hit{stroke:var(--rt-accent);stroke-width:2}
"""
_SCRIPT = """
followPoints(document,point=>document.querySelector("#trial-"+point.dataset.trial+" img")?.src);
const show=t=>{const row=document.getElementById("trial-"+t);document.querySelectorAll(".lit").forEach(r=>r.classList.remove("lit"));if(row){row.classList.add("lit");row.scrollIntoView({block:"center",behavior:"smooth"})}};
document.addEventListener("click",e=>{const p=e.target.closest("[data-trial]");if(p)show(p.dataset.trial)});
document.addEventListener("keydown",e=>{if((e.key==="Enter"||e.key===" ")&&e.target.matches(".rt-point")){e.preventDefault();show(e.target.dataset.trial)}});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a report says besides its trials.

    Attributes:
        title: of the report.
        environment: the machine and its versions.
        how: sentences that say how it was measured.
        recommendation: what is recommended and why, or that nothing is.
        chosen: number of the recommended trial; None: none fits the budgets.
        nearest: where none fits, the number of the trial that is nearest to the budgets; None:
            there is none.
        misses: what the nearest misses, each in words.
        budgets: as `Budgets.to_dict`.
        expected_s: as `Recommendation`'s.
    """

    title: str
    environment: Mapping[str, object]
    how: Sequence[str]
    recommendation: str
    chosen: int | None
    budgets: Mapping[str, Any]
    nearest: int | None = None
    misses: Sequence[str] = ()
    expected_s: tuple[float, float] | None = None


def write_report(
    folder: Path, trials: Sequence[Trial], story: Story, *, is_public: bool = False
) -> list[Path]:
    """Write report.html, trials.csv and trials.json, each to a temporary name that is then renamed.

    Args:
        folder: where; it is there already.
        trials: in the order they were run.
        story: what is said of them.
        is_public: whether the readers are a page's, who get files by name.

    Returns:
        The files' paths.

    Raises:
        OSError: one cannot be written.
    """
    told = [trial.public() for trial in trials] if is_public else trials
    # The page holds thumbnails, so that it needs their places.
    drawn = [replace(one, pictures=trial.pictures) for one, trial in zip(told, trials, strict=True)]
    document = {
        "title": story.title,
        "environment": dict(story.environment),
        "how": list(story.how),
        "recommendation": story.recommendation,
        "chosen": story.chosen,
        "fits": story.chosen is not None,
        "nearest": story.nearest,
        "misses": list(story.misses),
        "expected_s": story.expected_s,
        "budgets": dict(story.budgets),
        "trials": [trial.to_dict() for trial in told],
    }
    texts = {
        HTML_FILE: _page(drawn, story),
        CSV_FILE: write_csv(told, story),
        JSON_FILE: json.dumps(document, indent=2),
    }
    for name, text in texts.items():
        with replacing(folder / name) as file:
            file.write(encode_text(text))
    return [folder / name for name in texts]


def write_csv(trials: Sequence[Trial], story: Story) -> str:
    """Write trials as CSV (RFC 4180).

    Number, choice (recommended, nearest or nothing), every knob, every figure.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, ["number", "choice", *KNOBS, *_FIGURES])
    writer.writeheader()
    for trial in trials:
        failure = "" if trial.failure is None else str(trial.failure)
        content = {**trial.to_dict(), "workers": len(trial.worker_times_s), "failure": failure}
        figures = {name: content[name] for name in _FIGURES}
        row = {"number": trial.number, "choice": _choice(trial, story), **trial.settings.to_dict()}
        writer.writerow({name: escape_cell(value) for name, value in {**row, **figures}.items()})
    return out.getvalue()


def _choice(trial: Trial, story: Story) -> str:
    """Name what a trial is among the others: recommended, nearest, or nothing."""
    return {story.chosen: "recommended", story.nearest: "nearest"}.get(trial.number, "")


def _escape(text: str) -> str:
    """Return text for HTML; a name's controls and direction marks are shown as escapes."""
    return escape_html(escape_text(text))


def _page(trials: Sequence[Trial], story: Story) -> str:
    """Write the HTML."""
    info = lay_out(
        trials,
        chosen=story.chosen,
        max_memory_bytes=story.budgets.get("max_memory_bytes"),
        max_time_s=story.budgets.get("max_time_s"),
        min_agreement=story.budgets.get("min_agreement"),
    )
    title = _escape(story.title)
    how = "".join(f"<li>{_escape(text)}</li>" for text in story.how)
    machine = "".join(
        f"<dt>{_escape(name)}</dt><dd>{_escape(str(value))}</dd>"
        for name, value in story.environment.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        ' content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<p class="lead">{_escape(story.recommendation)}</p>'
        f'<div class="box rt-follows-system">{draw(info)}</div><h2>Trials</h2><div class="box"'
        f' tabindex="0" role="region" aria-label="Trials">{_table(trials, story)}</div>'
        f"<h2>How it was measured</h2><ul>{how}</ul><h2>Where</h2><dl>{machine}</dl>"
        f"</main><script>{points_script()}{_SCRIPT}</script></body></html>"
    )


def _table(trials: Sequence[Trial], story: Story) -> str:
    """Draw the table: those measured first, the fastest on top.

    Those that failed with their reason.
    """
    names = differences([trial.settings for trial in trials])
    ordered = sorted(trials, key=lambda trial: (not trial.is_measured, trial.time_s or 0.0))
    heads = (
        "<th>trial</th><th"
        ' class="left">setting</th><th>cut-out</th><th>time</th><th>range</th><th>n</th><th>peak</th><th>agreement</th><th'
        ' class="left">edge</th>'
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(_row(trial, names, story) for trial in ordered)}</tbody></table>"


def _row(trial: Trial, names: Sequence[str], story: Story) -> str:
    """Draw one trial."""
    label = _escape(str(label_of(trial.settings, names)))
    choice = _choice(trial, story)
    mark = ' class="chosen"' if choice == "recommended" else ""
    if choice:
        said = f"nearest, misses {' and '.join(story.misses)}" if choice == "nearest" else choice
        label += f'<br><span class="choice">{_escape(said)}</span>'
    head = (
        f'<tr id="trial-{trial.number}"{mark}><td>{trial.number}</td><td class="left">{label}</td>'
    )
    if not trial.is_measured:
        return f'{head}<td colspan="7" class="failed left">{_escape(str(trial.failure))}</td></tr>'
    agreement = "" if trial.agreement is None else f"{trial.agreement:.3f}"
    stars = "" if trial.boundary_f is None else f"{edge_stars(trial.boundary_f):g} ★"
    spread = f"{format_seconds(trial.time_low_s)} to {format_seconds(trial.time_high_s)}"
    if trial.may_be_unstable:
        spread += ", may be unstable"
    if is_busy(trial.warnings):
        spread += ", machine busy"
    return (
        f"{head}<td>{_thumbnails(trial)}</td><td>{format_seconds(trial.time_s)}</td><td>{spread}</td><td>{trial.n}</td>"
        f"<td>{format_bytes(trial.peak_bytes)}</td><td>{agreement}</td><td"
        f' class="left">{stars}</td></tr>'
    )


def _thumbnails(trial: Trial) -> str:
    """Put the first cut-outs into the file itself; one that is gone is left out."""
    drawn = []
    for one in trial.pictures[:3]:
        path = Path(one.thumbnail) if one.thumbnail else None
        if path is not None and path.is_file():
            content = base64.b64encode(path.read_bytes()).decode()
            drawn.append(
                f'<img alt="{_escape(Path(one.input).name)}"'
                f' src="data:image/webp;base64,{content}">'
            )
    return "".join(drawn)
