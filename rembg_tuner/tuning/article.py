"""The article's tuning table, measured here.

U2net as rembg ships it, the article's two steps, then ours.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.quality import edge_stars
from rembg_tuner.models.catalogue import find_entry
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.meter import OwnLoad
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Failure, distinct, is_busy, setting_peak_bytes
from rembg_tuner.settings.settings import STOCK_ENGINE, Settings
from rembg_tuner.tuning.stats import summarise
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.settings.results import Result

ARTICLE_ROWS = ("article-default", "article-light", "article-onnx")


OUR_ROWS = ("balanced", "fastest", "smallest")


CLAIMED_MEMORY, CLAIMED_SPEED = 0.25, 6.0  # of the first row's peak; times as fast


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleRow:
    """One row of the table.

    Attributes:
        name: of the preset.
        time_s: median; None: not measured.
        low_s, high_s: the fastest and the slowest.
        n: timed runs.
        peak_bytes: highest of load and all runs.
        stars: of the edge against the reference; None: not told.
        why_not: why it was not measured, and what gets it; None: it was.
    """

    name: str
    time_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    n: int = 0
    peak_bytes: int | None = None
    stars: float | None = None
    why_not: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleTable:
    """The table.

    Attributes:
        rows: the article's, then ours.
        first: name of the row that ratios are to: the first that was measured.
        is_real: whether that row is the article's own u2net, its checksum held.
        is_stand_in: whether u2net's file is one of its size and speed only.
        verdict: what of the article's claim holds.
        busy: that the machine was busy with other work, once; empty: it was quiet.
    """

    rows: tuple[ArticleRow, ...]
    first: str
    is_real: bool
    is_stand_in: bool
    verdict: Message
    busy: tuple[str, ...] = ()

    def row(self, name: str) -> ArticleRow:
        """Find a row."""
        return next(row for row in self.rows if row.name == name)

    def ratios(self, row: ArticleRow) -> tuple[float, float] | None:
        """Give a row's share of the first one's peak, and how many times as fast it is."""
        first = self.row(self.first)
        if row.time_s is None or not row.peak_bytes or not first.time_s or not first.peak_bytes:
            return None
        return row.peak_bytes / first.peak_bytes, first.time_s / row.time_s

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        return {
            **asdict(self),
            "verdict": str(self.verdict),
            "rows": [
                {**asdict(row), "why_not": str(row.why_not or ""), "ratios": self.ratios(row)}
                for row in self.rows
            ],
        }


def measure_article(
    picture: Path,
    *,
    rounds: int,
    is_stand_in: bool = False,
    tell: Callable[[str], None],
) -> ArticleTable:
    """Measure every row, each in a worker of its own, in turn: A B C A B C; warm-ups are left out.

    Args:
        picture: to cut out.
        rounds: timed runs of each row, from 1 on.
        is_stand_in: u2net's file is a stand-in of its size and speed: its matte is noise, whose PNG
            is slow to write, so that the time of its row is its own network's and what is left of
            u2netp's run in the same pipeline.
        tell: called with what goes on.

    Raises:
        OutputError: a row that should run did not.
    """
    machine = read_machine()
    settings: dict[str, Settings] = {}
    missing: dict[str, Message] = {}
    for name in (*ARTICLE_ROWS, *OUR_ROWS):
        wanted, warnings = requested_settings(find_preset(name), {}, machine)
        for said in warnings:
            tell(f"preset {name}: {said}")
        entry = find_entry(wanted.model)
        if entry.find() is None:
            missing[name] = Message(
                "model {model} is not on disk; {get}",
                code="model_absent",
                model=wanted.model,
                get=entry.get_text(),
            )
        else:
            settings[name] = wanted
    if is_stand_in and "article-default" in missing:
        raise SettingsError(
            [
                Message(
                    "--stand-in needs a file in u2net's place: {problem}",
                    problem=missing["article-default"],
                )
            ]
        )
    composing = Settings(model="u2netp", engine=STOCK_ENGINE)
    measured = dict(settings)
    if is_stand_in:
        measured["composed"] = composing
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-article-") as folder:
        runs = _run_rows(picture, measured, Path(folder), rounds, tell)
        stars = _stars(runs, settings, Path(folder), is_stand_in=is_stand_in)
    rows = [
        (
            _row(
                name,
                runs[name],
                stars.get(name),
                runs.get("composed") if name == "article-default" else None,
            )
            if name in settings
            else ArticleRow(name=name, why_not=missing[name])
        )
        for name in (*ARTICLE_ROWS, *OUR_ROWS)
    ]
    first = next(row.name for row in rows if row.time_s is not None)
    is_real = first == "article-default" and not is_stand_in and _is_released(settings[first])
    busy = distinct(
        one for taken in runs.values() for run in taken for one in run.warnings if is_busy([one])
    )
    for one in busy:
        tell(f"warning: {one}")
    table = ArticleTable(
        rows=tuple(rows),
        first=first,
        is_real=is_real,
        is_stand_in=is_stand_in,
        verdict=Message(""),
        busy=tuple(map(str, busy)),
    )
    return replace(table, verdict=verdict_of(table))


def _is_released(settings: Settings) -> bool:
    """Tell whether a model's file is the released one, by its checksum, whatever the environment lets pass."""
    entry = find_entry(settings.model)
    path = entry.find()
    return path is not None and file_digests(path, list(entry.checksums)) == entry.checksums


def _run_rows(
    picture: Path,
    settings: dict[str, Settings],
    folder: Path,
    rounds: int,
    tell: Callable[[str], None],
) -> dict[str, list[Result]]:
    """Run the rows in turn.

    Raises:
        OutputError: one failed.
    """
    runs: dict[str, list[Result]] = {name: [] for name in settings}
    load = OwnLoad()
    runners = {name: Runner(load=load, history="ignored") for name in settings}
    try:
        for i in range(1 + rounds):
            tell(f"round {i} of {rounds}" if i else "warm-up")
            for name, runner in runners.items():
                job = Job(input=str(picture), output=str(folder / f"{name}.png"))
                run = runner.run(job, settings[name])
                if isinstance(run, Failure):
                    raise OutputError(
                        Message("row {row} did not run: {problem}", row=name, problem=run.message)
                    )
                runs[name].append(run)
    finally:
        for runner in runners.values():
            runner.__exit__(None, None, None)
    return runs


def _stars(
    runs: dict[str, list[Result]], settings: dict[str, Settings], folder: Path, *, is_stand_in: bool
) -> dict[str, float]:
    """Hold each row's edge against the first row's.

    A stand-in's is noise, and nobody's reference.
    """
    names = [name for name in settings if not (is_stand_in and settings[name].model == "u2net")]
    reference = "composed" if "composed" in runs else names[0]
    found: dict[str, float] = {}
    with Comparer() as comparer:
        for name in names:
            comparison = comparer.compare(
                str(folder / f"{name}.png"), str(folder / f"{reference}.png")
            )
            if comparison.boundary_f is not None:
                found[name] = edge_stars(comparison.boundary_f)
    return found


def _row(
    name: str, results: list[Result], stars: float | None, composed: list[Result] | None
) -> ArticleRow:
    """Put a row together of its runs, of which the first is the warm-up."""
    times_s = [run.total_s for run in results[1:]]
    if composed is not None:
        rest = statistics.median(run.stages_s["rest"] for run in composed[1:])
        times_s = [run.stages_s["predict"] + rest for run in results[1:]]
    times = summarise(times_s)
    return ArticleRow(
        name=name,
        time_s=times.median,
        low_s=times.low,
        high_s=times.high,
        n=times.n,
        peak_bytes=setting_peak_bytes(results),
        stars=stars,
    )


def verdict_of(table: ArticleTable) -> Message:
    """Return what of "1/4 of the memory and 6 times the speed" holds for ours."""
    best = max(
        (row for row in table.rows if row.name in OUR_ROWS and table.ratios(row)),
        key=lambda row: (table.ratios(row) or (0.0, 0.0))[1],
        default=None,
    )
    ratios = None if best is None else table.ratios(best)
    if best is None or ratios is None:
        return Message("none of our rows was measured")
    said = Message(
        "{row} takes {memory:.0%} of the memory of {first} and is {speed:.1f} times as fast",
        row=best.name,
        memory=ratios[0],
        first=table.first,
        speed=ratios[1],
    )
    if table.is_real:
        holds = ratios[0] <= CLAIMED_MEMORY and ratios[1] >= CLAIMED_SPEED
        if holds:
            return Message("{said}; the article's 1/4 and 6 times hold here", said=said)
        return Message("{said}; the article's 1/4 and 6 times do not hold here", said=said)
    if table.is_stand_in:
        return Message(
            "{said}; u2net's file is a stand-in of its size and speed, so the article's claim is"
            " not judged by it",
            said=said,
        )
    if table.first == "article-default":
        return Message(
            "{said}; u2net's file here is not the released one, so the article's claim is not"
            " judged by it, and edges held against its mattes tell nothing",
            said=said,
        )
    return Message(
        "{said}; u2net is not on disk, so the article's claim is not judged: get it with `python -m"
        " rembg_tuner models get u2net`",
        said=said,
    )
