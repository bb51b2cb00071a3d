"""Scenes with known alpha, generated with fixed seeds.

The class of a scene is the size of its subject, the number of subjects, or the kind of difficulty.
The `tuning` set and the `held-out` set have different subjects, backgrounds and seeds. Thresholds
are chosen on the tuning set, and scores are reported for the held-out set. If the rule is changed
after the held-out scores are known, increase `EDITION`, which replaces the seeds of the set.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from benchmarks.edges.backgrounds import BACKGROUNDS
from benchmarks.edges.drawing import blur, blur_along
from benchmarks.edges.photographs import PHOTOGRAPHS, read_subject
from benchmarks.edges.subjects import SUBJECTS

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.edges.drawing import Pixels, Plane

SetName = Literal["tuning", "held-out"]
Place = Literal["centre", "corner", "edge"]

EDITION: dict[SetName, int] = {"tuning": 1, "held-out": 2}
SIZES = ((1280, 960), (1440, 960), (1000, 1250))  # width and height, px: 1.2 to 1.4 MP
SHARES = (0.05, 0.10, 0.20, 0.40, 0.80)  # share of the picture in the subject's bounding box
PLACES: tuple[Place, ...] = ("centre", "corner", "edge")
OF_SET: dict[SetName, dict[str, tuple[str, ...]]] = {
    "tuning": {
        "shares": ("carton", "mug", "chair", "beetle", "plant", "car"),
        "photographs": ("coffee", "photographer"),
        "hair": ("dark hair",),
        "wires": ("plug",),
        "glass": ("tumbler",),
        "bottle": ("bottle",),
    },
    "held-out": {
        "shares": ("kettle", "lamp", "stool", "heron", "cactus", "bicycle", "duck"),
        "photographs": ("astronaut", "cat", "horse"),
        "hair": ("fair hair",),
        "wires": ("headphones",),
        "glass": ("wine glass",),
        "bottle": ("spray",),
    },
}
_HARD = ("hair", "wires", "glass", "bottle", "motion")
_HARD_SHARES = (0.06, 0.12, 0.30)
_PHOTOGRAPH_SHARES = (0.05, 0.10, 0.20, 0.40)
_APART, _CLOSE = 0.16, 0.02  # gaps between two subjects, as shares of the picture's longer side
_GRAIN = 2.0 / 255  # standard deviation of a camera's noise
_BEYOND = 0.06  # share of the subject outside the picture if an edge cuts it off


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The definition of a scene.

    Attributes:
        name: unique name.
        kind: its class, such as `10 %`, `two apart` or `hair`.
        subjects: names of one or two subjects.
        share: share of the picture in each subject's bounding box.
        place: position of the subject.
        background: name of the background.
        set_name: its set.
        seed: seed of all random parts.
    """

    name: str
    kind: str
    subjects: tuple[str, ...]
    share: float
    place: Place
    background: str
    set_name: SetName
    seed: int

    def make(self) -> tuple[npt.NDArray[np.uint8], Plane]:
        """Render the picture, uint8 (h, w, 3), and its alpha, float32 (h, w) in [0, 1]."""
        return _render(self)


def plan(set_name: SetName) -> list[Scene]:
    """List the scenes of a set; the list is always the same."""
    return list(_numbered(set_name))


def _numbered(set_name: SetName) -> Iterator[Scene]:
    """Yield the scenes of a set with names, backgrounds and seeds."""
    backgrounds = list(BACKGROUNDS[set_name])
    for i, (kind, subjects, share, place) in enumerate(_combined(set_name)):
        name = f"{set_name} {i:03d} {kind}, {' and '.join(subjects)}, {place}"
        # A prime step, so that the backgrounds of a class vary.
        background = backgrounds[(i * 5 + i // 6 + EDITION[set_name] - 1) % len(backgrounds)]
        yield Scene(
            name=name,
            kind=kind,
            subjects=subjects,
            share=share,
            place=place,
            background=background,
            set_name=set_name,
            seed=zlib.crc32(f"{set_name} {i}".encode()) + EDITION[set_name] - 1,
        )


def _combined(set_name: SetName) -> Iterator[tuple[str, tuple[str, ...], float, Place]]:
    """Yield the combinations of classes, subjects, shares and places."""
    of = OF_SET[set_name]
    shares = of["shares"]
    for k, share in enumerate(SHARES):
        for i in range(9):
            yield (
                f"{share:.0%}".replace("%", " %"),
                (shares[(i + 2 * k) % len(shares)],),
                share,
                PLACES[i % 3],
            )
    for kind in ("two apart", "two close"):
        for i in range(9):
            pair = shares[i % len(shares)], shares[(i + 1 + i // len(shares)) % len(shares)]
            yield kind, pair, (0.03, 0.05, 0.08)[i % 3], "centre"
    for kind in _HARD:
        names = of.get(kind, shares)
        for i in range(9):
            yield kind, (names[i % len(names)],), _HARD_SHARES[i % 3], PLACES[i // 3]
    for i in range(24):
        names = of["photographs"]
        name = names[i % len(names)]
        place: Place = "edge" if PHOTOGRAPHS[name].anchor else PLACES[(i // len(names)) % 3]
        yield "photograph", (name,), _PHOTOGRAPH_SHARES[i // 6], place


def _render(scene: Scene) -> tuple[npt.NDArray[np.uint8], Plane]:
    """Render a scene; see `Scene.make`."""
    rng = np.random.default_rng(scene.seed)
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    picture = np.clip(BACKGROUNDS[scene.set_name][scene.background](height, width, rng), 0, 1)
    alpha = np.zeros((height, width), np.float32)
    drawn = [_draw(name, scene, width, height, rng) for name in scene.subjects]
    for pixels, (left, top) in zip(drawn, _places(scene, drawn, width, height, rng), strict=True):
        picture, alpha = _compose(picture, alpha, pixels, left=left, top=top)
    picture = picture + rng.normal(0, _GRAIN, picture.shape).astype(np.float32)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8), np.clip(alpha, 0, 1)


def _draw(name: str, scene: Scene, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Draw a subject at its size: float32 (h, w, 4), straight."""
    if name in PHOTOGRAPHS:
        pixels = read_subject(name)
        w, h = _size(pixels.shape[1] / pixels.shape[0], scene.share, width, height)
        return _resized(pixels, width=w, height=h)
    subject = SUBJECTS[name]
    w, h = _size(subject.aspect, scene.share, width, height)
    pixels = subject.render(width=w, height=h, rng=rng)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if scene.kind == "motion":
        length = max(9, round(float(rng.uniform(0.06, 0.14)) * max(w, h)))
        pixels = blur_along(pixels, length_px=length, degrees=float(rng.uniform(-25, 25)))
    return pixels


def _size(aspect: float, share: float, width: int, height: int) -> tuple[int, int]:
    """Return width and height of a box with a share of the picture, px.

    A subject that does not fit into the picture is stretched.
    """
    area, most = share * width * height, 0.97
    aspect = min(max(aspect, area / (most * height) ** 2), (most * width) ** 2 / area)
    h = (area / aspect) ** 0.5
    return max(8, round(h * aspect)), max(8, round(h))


def _resized(pixels: Pixels, *, width: int, height: int) -> Pixels:
    """Resize straight colours and alpha: float32 (height, width, 4)."""
    layers = [pixels[..., i] * (pixels[..., 3] if i < 3 else 1) for i in range(4)]
    images = [Image.fromarray(layer.astype(np.float32)) for layer in layers]
    method = Image.Resampling.BICUBIC
    r, g, b, a = (np.asarray(image.resize((width, height), method)) for image in images)
    alpha = np.clip(a, 0, 1)
    colours = np.stack([r, g, b], axis=2) / np.maximum(alpha, np.float32(1e-3))[..., None]
    return np.concatenate([np.clip(colours, 0, 1), alpha[..., None]], axis=2)


def _places(
    scene: Scene, drawn: list[Pixels], width: int, height: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return the upper left corner of each subject, px; it can be outside the picture."""
    if len(drawn) == 2:
        return _beside(scene.kind, drawn, width, height, rng)
    h, w = drawn[0].shape[:2]
    free_x, free_y = width - w, height - h
    photograph = PHOTOGRAPHS.get(scene.subjects[0])
    if photograph is not None and photograph.anchor:
        left = 0 if "l" in photograph.anchor else int(free_x * rng.uniform(0.2, 0.8))
        return [(left, free_y)]
    if scene.place == "centre":
        x, y = rng.uniform(0.4, 0.6, 2)
        return [(int(free_x * x), int(free_y * y))]
    if scene.place == "corner":
        x, y = rng.choice([0.06, 0.94], 2)
        return [(int(free_x * x), int(free_y * y))]
    # Cut off at the bottom, or at a side.
    along = float(rng.uniform(0.2, 0.8))
    side = int(rng.integers(3))
    if side == 0:
        return [(int(free_x * along), free_y + int(_BEYOND * h))]
    return [(-int(_BEYOND * w) if side == 1 else free_x + int(_BEYOND * w), int(free_y * along))]


def _beside(
    kind: str, drawn: list[Pixels], width: int, height: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return the upper left corners of two subjects side by side on one base line, px."""
    gap = int((_APART if kind == "two apart" else _CLOSE) * max(width, height))
    (h0, w0), (h1, w1) = (one.shape[:2] for one in drawn)
    free = width - w0 - w1 - gap
    left = int(free * rng.uniform(0.3, 0.7))
    base = int(height * rng.uniform(0.6, 0.8))
    base = min(max(base, h0, h1), height)
    return [(left, base - h0), (left + w0 + gap, base - h1)]


def _compose(
    picture: Pixels, alpha: Plane, pixels: Pixels, *, left: int, top: int
) -> tuple[Pixels, Plane]:
    """Compose a subject and its soft shadow over a picture: I = alpha F + (1 - alpha) B."""
    height, width = alpha.shape
    cover = np.zeros((height, width, 4), np.float32)
    h, w = pixels.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + w), min(height, top + h)
    cover[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    over = cover[..., 3]
    drop = max(2, h // 25)
    shadow = np.roll(blur(over, max(2.0, min(h, w) / 20)), drop, axis=0)
    shadow[:drop] = 0
    darkened = picture * (1 - np.float32(0.4) * shadow * (1 - alpha))[..., None]
    keep = (1 - over)[..., None]
    return cover[..., :3] * over[..., None] + darkened * keep, over + alpha * (1 - over)
