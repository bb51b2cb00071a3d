"""The order in which settings of a grid are measured: random, or chosen by Optuna.

Optuna is imported only by the search that uses it, so that a page starts without it.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Protocol

from rembg_tuner.tuning.grid import shuffled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna

    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.trials import Trial

_STARTUP_SHARE = 0.4  # of the trials: distributed over the grid before Optuna models it
_MAX_SUGGESTIONS = 64  # that were measured before, until a setting is chosen at random


class Search(Protocol):
    """Chooses the settings to measure."""

    def next(self) -> Settings | None:
        """Return the next setting; None: all have been measured."""

    def add(self, trial: Trial) -> None:
        """Add a trial that has been measured."""


class WholeGrid:
    """Every setting, in random order."""

    def __init__(self, grid: Sequence[Settings], seed: int) -> None:
        """Shuffle the settings; equal seeds give equal orders."""
        self._left = shuffled(grid, seed)

    def next(self) -> Settings | None:
        """Return the next setting; None: all have been measured."""
        return self._left.pop(0) if self._left else None

    def add(self, trial: Trial) -> None:
        """Remove a setting that has been measured."""
        self._left = [settings for settings in self._left if settings != trial.settings]


class GuidedSearch:
    """A part of a grid: first settings with large distances, then those that Optuna suggests.

    Multi-objective TPE (Ozaki et al., GECCO 2020) over the axes minimizes the logarithms of memory
    and time, and 1 - agreement. Each setting is suggested at most once.
    """

    def __init__(
        self,
        grid: Sequence[Settings],
        axes: Mapping[str, Sequence[Value]],
        *,
        trials: int,
        seed: int,
    ) -> None:
        """Create an Optuna study.

        Args:
            grid: the settings to choose from.
            axes: the knobs to search, with their values.
            trials: number of trials to measure, at least 1.
            seed: equal seeds and equal trials give equal suggestions.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._left = dict.fromkeys(grid)
        self._axes = {name: list(values) for name, values in axes.items() if len(values) > 1}
        self._measured: list[Settings] = []
        self._startup = max(4, math.ceil(_STARTUP_SHARE * trials))
        self._random = random.Random(seed)  # not used for security
        self._study = optuna.create_study(
            directions=["minimize"] * 3,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True),
        )
        self._space: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(values)
            for name, values in self._axes.items()
        }

    def next(self) -> Settings | None:
        """Suggest a setting; None: all have been measured."""
        if not self._left:
            return None
        if len(self._measured) < self._startup:
            return self._farthest()
        import optuna

        for _ in range(_MAX_SUGGESTIONS):
            asked = self._study.ask(self._space)
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)  # `add` adds the outcome
            for settings in self._left:
                if self._axis_values(settings) == asked.params:
                    return settings
        return self._random.choice(list(self._left))

    def add(self, trial: Trial) -> None:
        """Add a trial; a failed trial only prevents another suggestion of its setting."""
        self._left.pop(trial.settings, None)
        self._measured.append(trial.settings)
        if not trial.is_measured:
            return
        import optuna

        peak, time, disagreement = trial.costs()
        self._study.add_trial(
            optuna.trial.create_trial(
                params=self._axis_values(trial.settings),
                distributions=self._space,
                values=[math.log(peak), math.log(time), disagreement],
            )
        )

    def _axis_values(self, settings: Settings) -> dict[str, Value]:
        """Return a setting's value on each axis; the first one for a knob that its engine lacks."""
        own = settings.to_dict()
        return {
            name: own[name] if own[name] in values else values[0]
            for name, values in self._axes.items()
        }

    def _farthest(self) -> Settings:
        """Return the setting farthest from its nearest measured one; ties are broken at random."""
        left = list(self._left)
        if not self._measured:
            return self._random.choice(left)
        distances = [min(self._distance(one, other) for other in self._measured) for one in left]
        farthest = max(distances)
        return self._random.choice(
            [one for one, far in zip(left, distances, strict=True) if far == farthest]
        )

    def _distance(self, a: Settings, b: Settings) -> float:
        """Return the number of axes in which settings differ; numbers count by their distance."""
        ours, theirs, distance = self._axis_values(a), self._axis_values(b), 0.0
        for name, values in self._axes.items():
            one, other = ours[name], theirs[name]
            if isinstance(one, str) or len(values) == 2:
                distance += float(one != other)
            else:
                distance += abs(values.index(one) - values.index(other)) / (len(values) - 1)
        return distance


def make_search(plan: Plan, grid: Sequence[Settings]) -> Search:
    """Return the search of a plan."""
    if plan.trials is None:
        return WholeGrid(grid, plan.seed)
    return GuidedSearch(grid, plan.axes, trials=plan.count(), seed=plan.seed)
