"""`recommend`: another choice out of a sweep that was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cli.chosen import chosen_budgets
from rembg_tuner.cli.console import emit_json
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.sweep import print_recommendation, tell_what_is_missing
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.summary import read_summary, recommendation_of

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Recommend under these budgets; nothing is measured."""
    folder = Path(arguments.folder)
    summary = read_summary(folder)
    tell_what_is_missing(summary, folder)
    trials, budgets = summary.trials, chosen_budgets(arguments, summary.budgets)
    found = recommend(trials, budgets)
    if arguments.json:
        emit_json(recommendation_of(found))
    else:
        print_recommendation(found, trials, budgets, folder, summary.budgets)
    return DONE if found.fits else FAILED
