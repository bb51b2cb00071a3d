"""Which trial of a sweep the Deploy tab ships; knows nothing of the page's parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.long_tasks import LongTask

Source = Literal["recommended", "taken", "taken_other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """The trial that is shipped.

    Attributes:
        trial: of the sweep.
        source: recommended: the sweep recommends it; taken: the visitor took it with "use this
            setting", and it is the recommended one, or none is recommended; taken_other: another
            one is recommended.
    """

    trial: Trial
    source: Source


def shipped_trial(study: LongTask, found: Recommendation) -> Shipped | None:
    """Return the trial that the visitor took, else the recommended one.

    A trial that was only looked at is never shipped.

    Args:
        study: the visitor's sweep.
        found: what it recommends under the budgets of now.

    Returns:
        None: nothing was taken, and nothing fits the budgets.
    """
    recommended = found.chosen
    trials = study.progress.trials if study.progress else ()
    taken = next((trial for trial in trials if trial.number == study.taken), None)
    if taken is None:
        return None if recommended is None else Shipped(trial=recommended, source="recommended")
    is_other = recommended is not None and recommended.number != taken.number
    return Shipped(trial=taken, source="taken_other" if is_other else "taken")
