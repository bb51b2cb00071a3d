"""In which order a grid's settings are measured: all by chance, or the promising ones by Optuna.

Optuna is imported by the search that uses it, so that a page starts without it.
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
    from rembg_tuner.tuning.trials import Trial

_STARTUP_SHARE = 0.4  # of the trials: what spreads over the grid before anything is modelled


_MAX_SUGGESTIONS = 64  # suggestions that were measured already, before one is taken by chance


class Search(Protocol):
    """Says which setting comes next."""

    def next(self) -> Settings | None:
        """Give the next setting; None: there is none left."""

    def tell(self, trial: Trial) -> None:
        """Take down what came of one."""


class WholeGrid:
    """Every setting, in an order by chance."""

    def __init__(self, grid: Sequence[Settings], seed: int) -> None:
        """Shuffle; the same seed gives the same order."""
        self._left = shuffled(grid, seed)

    def next(self) -> Settings | None:
        """Give the next."""
        return self._left.pop(0) if self._left else None

    def tell(self, trial: Trial) -> None:
        """Leave out what was measured already."""
        self._left = [settings for settings in self._left if settings != trial.settings]


class GuidedSearch:
    """A few settings of a grid: first some that differ from each other much, then what Optuna proposes.

    Multi-objective TPE (Ozaki et al., GECCO 2020) over the axes, with the logarithms of memory and
    time and the disagreement as what is to be small. A setting is never proposed twice.
    """

    def __init__(
        self,
        grid: Sequence[Settings],
        axes: Mapping[str, Sequence[Value]],
        *,
        trials: int,
        seed: int,
    ) -> None:
        """Begin.

        Args:
            grid: what may be proposed.
            axes: the knobs that are searched, with their values.
            trials: how many will be measured, from 1 on.
            seed: the same seed and the same answers give the same proposals.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._left = dict.fromkeys(grid)
        self._axes = {name: list(values) for name, values in axes.items() if len(values) > 1}
        self._told: list[Settings] = []
        self._startup = max(4, math.ceil(_STARTUP_SHARE * trials))
        self._chance = random.Random(seed)  # not for secrets
        self._study = optuna.create_study(
            directions=["minimize"] * 3,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True),
        )
        self._space: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(values)
            for name, values in self._axes.items()
        }

    def next(self) -> Settings | None:
        """Propose a setting; None: every one was measured."""
        if not self._left:
            return None
        if len(self._told) < self._startup:
            return self._far()
        import optuna

        for _ in range(_MAX_SUGGESTIONS):
            asked = self._study.ask(self._space)
            near = self._nearest(asked.params)
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)  # told whole by `tell`
            if near is not None:
                return near
        return self._chance.choice(list(self._left))

    def tell(self, trial: Trial) -> None:
        """Take down what came of a setting; a failure only bars it."""
        self._left.pop(trial.settings, None)
        self._told.append(trial.settings)
        if not trial.is_measured:
            return
        import optuna

        peak, time, disagreement = trial.costs()
        values = trial.settings.to_dict()
        self._study.add_trial(
            optuna.trial.create_trial(
                params={name: self._on_axis(name, values[name]) for name in self._axes},
                distributions=self._space,
                values=[math.log(peak), math.log(time), disagreement],
            )
        )

    def _on_axis(self, name: str, value: Value) -> Value:
        """Give the axis's value that a setting has.

        Its first, where the engine has no such knob.
        """
        values = self._axes[name]
        return value if value in values else values[0]

    def _nearest(self, params: Mapping[str, Value]) -> Settings | None:
        """Find what is left in the grid with exactly these values, as far as its engine has the knobs."""
        fitting = [
            settings
            for settings in self._left
            if all(
                self._on_axis(name, settings.to_dict()[name]) == params[name] for name in self._axes
            )
        ]
        return fitting[0] if fitting else None

    def _far(self) -> Settings:
        """Give what differs most from its nearest among those measured; of equals one by chance."""
        left = list(self._left)
        if not self._told:
            return self._chance.choice(left)
        distances = [min(self._distance(one, told) for told in self._told) for one in left]
        most = max(distances)
        return self._chance.choice(
            [one for one, far in zip(left, distances, strict=True) if far == most]
        )

    def _distance(self, a: Settings, b: Settings) -> float:
        """Tell how many axes two settings differ in; numbers by how far apart their places are."""
        ours, theirs, far = a.to_dict(), b.to_dict(), 0.0
        for name, values in self._axes.items():
            one, other = self._on_axis(name, ours[name]), self._on_axis(name, theirs[name])
            if isinstance(one, str) or len(values) == 2:
                far += float(one != other)
            else:
                far += abs(values.index(one) - values.index(other)) / (len(values) - 1)
        return far
