"""Measure the article's table: stock u2net, the article's two steps, then our presets."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
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
CLAIMED_MEMORY, CLAIMED_SPEED = 0.25, 6.0  # share of the first row's peak; speed relative to it
# The name of u2netp in the stock pipeline, for the time outside a stand-in's network.
_STAND_IN_RUN = "composed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleRow:
    """One row of the table.

    Attributes:
        name: name of the preset.
        time_s: median; None: not measured.
        low_s, high_s: minimum and maximum.
        n: timed runs.
        peak_bytes: highest of load and all runs.
        stars: stars of the edges, compared with the reference; None: unknown.
        why_not: why it was not measured, and what to do; None: it was measured.
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
    """The article's table.

    Attributes:
        rows: the article's rows, then ours.
        first: name of the first measured row; ratios are relative to it.
        is_real: whether that row is the article's own u2net, by its checksum.
        is_stand_in: whether u2net's file is a stand-in with the same size and speed.
        verdict: whether the article's claim is confirmed.
        busy: warnings that the machine was busy with other work; empty: it was idle.
    """

    rows: tuple[ArticleRow, ...]
    first: str
    is_real: bool
    is_stand_in: bool
    verdict: Message
    busy: tuple[str, ...] = ()

    def row(self, name: str) -> ArticleRow:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)

    def ratios(self, row: ArticleRow) -> tuple[float, float] | None:
        """Return a row's peak as a share of the first row's, and its speed relative to it."""
        first = self.row(self.first)
        if row.time_s is None or not row.peak_bytes or not first.time_s or not first.peak_bytes:
            return None
        return row.peak_bytes / first.peak_bytes, first.time_s / row.time_s

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
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
    log: Callable[[str], None],
) -> ArticleTable:
    """Measure every row in its own worker, in turn: A B C A B C; warm-ups are not counted.

    Args:
        picture: the picture to cut out.
        rounds: timed runs of each row, at least 1.
        is_stand_in: whether u2net's file is a stand-in with the same size and speed. Its matte is
            noise, whose PNG takes long to write. Therefore the row's time is the time of its
            network plus the time that u2netp takes outside its network in the same pipeline.
        log: called with the progress and with warnings.

    Raises:
        SettingsError: the stand-in is missing.
        OutputError: a row failed.
    """
    settings, missing = _find_rows(log)
    if is_stand_in and "article-default" in missing:
        problem = Message(
            "--stand-in needs a file in u2net's place: {problem}",
            problem=missing["article-default"],
        )
        raise SettingsError([problem])
    composed = {_STAND_IN_RUN: Settings(model="u2netp", engine=STOCK_ENGINE)} if is_stand_in else {}
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-article-") as folder:
        runs = _run_rows(picture, {**settings, **composed}, Path(folder), rounds, log)
        stars = _stars(runs, settings, Path(folder), is_stand_in=is_stand_in)
    busy = _log_busy(runs, log)
    rest = runs.pop(_STAND_IN_RUN, None)
    first = next(name for name in ARTICLE_ROWS + OUR_ROWS if name in runs)
    table = ArticleTable(
        rows=tuple(
            ArticleRow(name=name, why_not=missing[name])
            if name in missing
            else _row(name, runs[name], stars.get(name), rest if name == ARTICLE_ROWS[0] else None)
            for name in ARTICLE_ROWS + OUR_ROWS
        ),
        first=first,
        is_real=first == "article-default" and not is_stand_in and _is_released(settings[first]),
        is_stand_in=is_stand_in,
        verdict=Message(""),
        busy=busy,
    )
    return replace(table, verdict=verdict_of(table))


def _log_busy(runs: dict[str, list[Result]], log: Callable[[str], None]) -> tuple[str, ...]:
    """Log and return the warnings that the machine was busy."""
    warnings = distinct(one for taken in runs.values() for run in taken for one in run.warnings)
    texts = tuple(str(one) for one in warnings if is_busy([one]))
    for text in texts:
        log(f"warning: {text}")
    return texts


def _find_rows(log: Callable[[str], None]) -> tuple[dict[str, Settings], dict[str, Message]]:
    """Return the settings of the rows whose model is installed, and why the others are missing."""
    machine = read_machine()
    settings: dict[str, Settings] = {}
    missing: dict[str, Message] = {}
    for name in ARTICLE_ROWS + OUR_ROWS:
        wanted, warnings = requested_settings(find_preset(name), {}, machine)
        for warning in warnings:
            log(f"preset {name}: {warning}")
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
    return settings, missing


def _is_released(settings: Settings) -> bool:
    """Return whether a model's file is the released one, by its checksum."""
    entry = find_entry(settings.model)
    path = entry.find()
    return path is not None and file_digests(path, list(entry.checksums)) == entry.checksums


def _run_rows(
    picture: Path,
    settings: dict[str, Settings],
    folder: Path,
    rounds: int,
    log: Callable[[str], None],
) -> dict[str, list[Result]]:
    """Run the rows in turn.

    Raises:
        OutputError: a row failed.
    """
    runs: dict[str, list[Result]] = {name: [] for name in settings}
    load = OwnLoad()
    with ExitStack() as stack:
        runners = {
            name: stack.enter_context(Runner(load=load, history="ignored")) for name in settings
        }
        for i in range(1 + rounds):
            log(f"round {i} of {rounds}" if i else "warm-up")
            for name, runner in runners.items():
                job = Job(input=str(picture), output=str(folder / f"{name}.png"))
                run = runner.run(job, settings[name])
                if isinstance(run, Failure):
                    raise OutputError(
                        Message("row {row} failed: {problem}", row=name, problem=run.message)
                    )
                runs[name].append(run)
    return runs


def _stars(
    runs: dict[str, list[Result]], settings: dict[str, Settings], folder: Path, *, is_stand_in: bool
) -> dict[str, float]:
    """Return the stars of each row's edges, compared with those of the first row.

    A stand-in is left out, because its matte is noise.
    """
    names = [name for name in settings if not (is_stand_in and settings[name].model == "u2net")]
    reference = str(folder / f"{_STAND_IN_RUN if _STAND_IN_RUN in runs else names[0]}.png")
    found: dict[str, float] = {}
    with Comparer() as comparer:
        for name in names:
            comparison = comparer.compare(str(folder / f"{name}.png"), reference)
            if comparison.boundary_f is not None:
                found[name] = edge_stars(comparison.boundary_f)
    return found


def _row(
    name: str, results: list[Result], stars: float | None, composed: list[Result] | None
) -> ArticleRow:
    """Return the row of some runs; the first run is the warm-up."""
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
    """Return whether our fastest row has "1/4 of the memory and 6 times the speed"."""
    measured = [
        (ratios, row.name)
        for row in table.rows
        if row.name in OUR_ROWS and (ratios := table.ratios(row))
    ]
    if not measured:
        return Message("none of our rows was measured")
    (memory, speed), name = max(measured, key=lambda one: one[0][1])
    comparison = Message(
        "{row} takes {memory:.0%} of the memory of {first} and is {speed:.1f} times as fast",
        row=name,
        memory=memory,
        first=table.first,
        speed=speed,
    )
    if table.is_real:
        if memory <= CLAIMED_MEMORY and speed >= CLAIMED_SPEED:
            return Message("{said}; the article's 1/4 and 6 times hold here", said=comparison)
        return Message("{said}; the article's 1/4 and 6 times do not hold here", said=comparison)
    if table.is_stand_in:
        return Message(
            "{said}; u2net's file is a stand-in of its size and speed, so the article's claim is"
            " not judged by it",
            said=comparison,
        )
    if table.first == "article-default":
        return Message(
            "{said}; u2net's file here is not the released one, so the article's claim is not"
            " judged by it, and the stars of edges compared with its mattes mean nothing",
            said=comparison,
        )
    return Message(
        "{said}; u2net is not on disk, so the article's claim is not judged: get it with `python -m"
        " rembg_tuner models get u2net`",
        said=comparison,
    )
