"""`article`: measure the article's tuning table on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.cli.console import emit, emit_json, log, write_files
from rembg_tuner.cli.exits import DONE
from rembg_tuner.cli.flags import add_count, add_json
from rembg_tuner.tuning.article import ArticleRow, ArticleTable, measure_article
from rembg_tuner.tuning.bench.pictures import P1080

if TYPE_CHECKING:
    import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `article`."""
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="default: a 1080p product shot")
    add_count(parser, "--rounds", 7, "timed runs of each row; ")
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help=(
            "u2net's file is a stand-in of its size and speed: its row is composed with u2netp's"
            " matte, and the article's claim is not judged"
        ),
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="write article.md and article.json")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure the table and print it."""
    picture = Path(arguments.image) if arguments.image else P1080.make()
    table = measure_article(
        picture,
        rounds=arguments.rounds,
        is_stand_in=arguments.stand_in,
        log=log,
    )
    text = describe_table(table)
    if arguments.output is not None:
        texts = {"article.md": text, "article.json": json.dumps(table.to_dict(), indent=2)}
        write_files(Path(arguments.output), texts)
    if arguments.json:
        emit_json(table.to_dict())
    else:
        emit(*text.splitlines())
    return DONE


def describe_table(table: ArticleTable) -> str:
    """Return the table as Markdown, followed by its verdict."""
    verdict = str(table.verdict)
    lines = [
        "| setting | time | range | n | peak | of the first's | times as fast | edge |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
        *(_line(row, table) for row in table.rows),
        "",
        f"{verdict[0].upper()}{verdict[1:]}.",
    ]
    return "\n".join(lines)


def _line(row: ArticleRow, table: ArticleTable) -> str:
    """Return one row of the table as Markdown."""
    if row.time_s is None:
        return f"| {row.name} | {row.why_not} | | | | | | |"
    memory, speed = table.ratios(row) or (1.0, 1.0)
    stars = "not told" if row.stars is None else f"{row.stars:g} ★"
    mark = " (stand-in)" if table.is_stand_in and row.name == "article-default" else ""
    spread = f"{format_seconds(row.low_s)} to {format_seconds(row.high_s)}"
    return (
        f"| {row.name}{mark} | {format_seconds(row.time_s)} | {spread} | {row.n} |"
        f" {format_bytes(row.peak_bytes)} | {memory:.0%} | {speed:.2f} | {stars} |"
    )
