"""Measure the rendering of all messages of the catalogue and of a sweep, in each language.

    python benchmarks/messages.py [n]

It alternates the languages, and prints median, minimum and maximum of n runs (default: 11) in CPU
time of this process.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from drawn_sweep import made_study  # noqa: E402  # in tests/
from test_locale import messages_of, source  # noqa: E402

from rembg_tuner.base.messages import render  # noqa: E402
from rembg_tuner.settings.host import read_host  # noqa: E402
from rembg_tuner.tuning.budgets import Budgets  # noqa: E402
from rembg_tuner.tuning.recommend import recommend  # noqa: E402
from rembg_tuner.web.locale.catalogues import LANGUAGES, catalogue_of  # noqa: E402
from rembg_tuner.web.pages.sweep_tab.rendering import show_sweep  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Measure and print."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    messages, task = messages_of(source()), made_study(60)
    found = recommend(task.progress.trials if task.progress else (), Budgets())

    def render_all(language: str) -> None:
        catalogue = catalogue_of(language)
        for message in messages:
            render(message, catalogue, is_public=True)

    works: dict[str, Callable[[str], object]] = {
        f"rendering {len(messages)} messages": render_all,
        "drawing a sweep of 60 trials": lambda language: show_sweep(task, found, language),
    }
    print(read_host().cpu)
    for name, work in works.items():
        times: dict[str, list[float]] = {language: [] for language in LANGUAGES}
        for language in LANGUAGES:
            work(language)  # reads the catalogue
        for _ in range(n):
            for language in LANGUAGES:
                began_s = time.process_time()
                work(language)
                times[language].append((time.process_time() - began_s) * 1000)
        for language, found_ms in times.items():
            print(
                f"{name}, {language}: {statistics.median(found_ms):.1f} ms ({min(found_ms):.1f} to"
                f" {max(found_ms):.1f}), n = {n}"
            )


if __name__ == "__main__":
    main()
