"""Scores of `focus auto` relative to `focus off`, on scenes with known alpha.

The worker of the program runs each scene with focus off and with focus auto. The alpha of the
written files is scored.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.edges.metrics import all_errors
from rembg_tuner.settings.results import Result
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.edges.metrics import Matte
    from rembg_tuner.runtime.runner import Runner
    from rembg_tuner.settings.settings import Settings

MIN_SAD = (
    0.05  # 50 pixels; smaller SADs count as this, so that ratios of tiny errors do not dominate
)
WORSE_FROM = 1.02  # ratios of SADs above this count as worse
SEEN_FROM = 0.5  # minimum IoU with focus off of a scene whose subject was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of one scene with one engine.

    Attributes:
        scene: name of the scene.
        kind: class of the scene.
        passes: runs of the network with focus auto; 1: focus does not apply.
        share: share of the picture in the subject's box after the first pass; None: no subject was
            found.
        cpu_s: CPU seconds of the worker, with focus off and with focus auto.
        off, auto: errors by name, see `metrics.all_errors`.
    """

    scene: str
    kind: str
    passes: int
    share: float | None
    cpu_s: tuple[float, float]
    off: dict[str, float]
    auto: dict[str, float]

    @property
    def sad_ratio(self) -> float:
        """The SAD with focus auto divided by the SAD with focus off."""
        return max(self.auto["sad"], MIN_SAD) / max(self.off["sad"], MIN_SAD)


def score_scene(
    runner: Runner,
    settings: tuple[Settings, Settings],
    scene: tuple[str, str],
    alpha: Matte,
    files: tuple[Path, Path],
) -> Score:
    """Run a scene with focus off and with focus auto.

    Args:
        runner: runs the worker.
        settings: the settings with focus off, and with focus auto.
        scene: name and class of the scene.
        alpha: the true alpha, float32 (h, w) in [0, 1].
        files: paths of the scene and of the cut-out to write.

    Raises:
        SystemExit: a run failed.
    """
    off, auto = ((_cut(runner, files, chosen), _read_alpha(files[1])) for chosen in settings)
    focus: Any = auto[0].effective["focus"]
    return Score(
        scene=scene[0],
        kind=scene[1],
        passes=focus["passes"],
        share=focus["share"],
        cpu_s=(off[0].cpu_s, auto[0].cpu_s),
        off=all_errors(off[1], alpha),
        auto=all_errors(auto[1], alpha),
    )


def _cut(runner: Runner, files: tuple[Path, Path], settings: Settings) -> Result:
    """Cut out a scene.

    Raises:
        SystemExit: the run failed.
    """
    run = runner.run(Job(input=str(files[0]), output=str(files[1])), settings)
    if not isinstance(run, Result):
        raise SystemExit(f"{settings.changed()}: {run.message}")
    return run


def _read_alpha(path: Path) -> Matte:
    """Read the alpha of a cut-out: float32 (h, w) in [0, 1]."""
    with Image.open(path) as image:
        band: npt.NDArray[np.uint8] = np.asarray(image.getchannel("A"))
    return band.astype(np.float32) / np.float32(255)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def summarise(scores: Sequence[Score]) -> dict[str, Any]:
    """Summarise the scores of one engine: ratios of SADs and mean errors where focus applies.

    Returns:
        n and applied. If focus applies to any scene: sad_ratio (geometric mean), worst_ratio,
        worse_share, mean_passes, and the means of each error with focus off and with focus auto.
    """
    applied = [score for score in scores if score.passes > 1]
    found: dict[str, Any] = {"n": len(scores), "applied": len(applied)}
    if not applied:
        return found
    ratios = [score.sad_ratio for score in applied]
    found["sad_ratio"] = round(geometric_mean(ratios), 3)
    found["worst_ratio"] = round(max(ratios), 3)
    found["worse_share"] = round(sum(ratio > WORSE_FROM for ratio in ratios) / len(ratios), 3)
    found["mean_passes"] = round(statistics.fmean(score.passes for score in applied), 2)
    for name in applied[0].off:
        means = [
            statistics.fmean(getattr(score, way)[name] for score in applied)
            for way in ("off", "auto")
        ]
        found[name] = [round(mean, 5) for mean in means]
    return found


def groups(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Group the scores by class, and add the groups of the goals.

    `area and number` has the classes of share and number and the photographs, which are hard-edged
    and opaque. `seen` has the scenes whose subject was found in the first pass, since focus cannot
    correct the others.
    """
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.kind, []).append(score)
    soft = ("hair", "wires", "glass", "bottle", "motion")
    found["area and number"] = [score for score in scores if score.kind not in soft]
    found["soft or thin"] = [score for score in scores if score.kind in soft]
    found["seen"] = [score for score in scores if score.off["iou"] >= SEEN_FROM]
    found["all"] = list(scores)
    return found


def table(scores: Sequence[Score]) -> list[str]:
    """Return the printed lines: one for each group, and the worst scenes."""
    lines = [
        f"{'class':16} {'n':>4} {'focus':>5}  SAD ratio  worst  worse  passes   SAD  MSE x1000 "
        " gradient  connectivity  IoU"
    ]
    for name, members in groups(scores).items():
        found = summarise(members)
        line = f"{name:16} {found['n']:4d} {found['applied']:5d}"
        if found["applied"]:
            line += (
                f"  {found['sad_ratio']:9.2f}  {found['worst_ratio']:5.2f} "
                f" {found['worse_share']:5.0%}  {found['mean_passes']:6.2f}"
            )
            line += (
                f"   {_pair(found['sad'], 1)}  {_pair([1000 * part for part in found['mse']], 1)} "
                f" {_pair(found['gradient'], 2)}  {_pair(found['connectivity'], 1)} "
                f" {_pair(found['iou'], 3)}"
            )
        lines.append(line)
    applied = sorted(
        (score for score in scores if score.passes > 1), key=lambda score: -score.sad_ratio
    )
    lines += [f"  {score.sad_ratio:.2f}: {score.scene}" for score in applied[:5]]
    return lines


def _pair(values: Sequence[float], digits: int) -> str:
    """Format two numbers: focus off and focus auto."""
    return " > ".join(f"{value:.{digits}f}" for value in values)


def record(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the record of one engine: the summary of each group, and a line per scene."""
    scenes = []
    for score in scores:
        share = "none" if score.share is None else f"{score.share:.3f}"
        sad = f"SAD {score.off['sad']:.2f} > {score.auto['sad']:.2f}"
        cpu = f"{score.cpu_s[0]:.2f} > {score.cpu_s[1]:.2f} s CPU"
        scenes.append(f"{score.scene}: share {share}, {score.passes} passes, {sad}, {cpu}")
    return {
        "groups": {name: summarise(members) for name, members in groups(scores).items()},
        "scenes": scenes,
    }
