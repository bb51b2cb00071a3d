"""Find the connected components of a small binary picture from runs of pixels, with numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Binary = npt.NDArray[np.bool_]  # (h, w)
    Ints = npt.NDArray[np.int64]  # (n,)


@dataclass(frozen=True, slots=True)
class Component:
    """A set of pixels connected by sides or corners.

    Attributes:
        area: pixels.
        left, top: the first column and row.
        right, bottom: the last column and row plus one.
    """

    area: int
    left: int
    top: int
    right: int
    bottom: int


def components_of(binary: Binary) -> list[Component]:
    """Return the components of a binary picture, the largest first.

    A run is a sequence of adjacent True pixels in a row. Touching runs of neighbouring rows are
    linked. Linked runs repeatedly take the lowest label among them until no label changes.

    Args:
        binary: bool (h, w).
    """
    row, start, end = _runs_of(binary)
    if not len(row):
        return []
    names, label = np.unique(_label_runs(row, start, end, binary.shape[1]), return_inverse=True)
    n = len(names)
    area = np.bincount(label, weights=end - start, minlength=n).astype(np.int64)
    left, top = np.full(n, binary.shape[1]), np.full(n, binary.shape[0])
    right, bottom = np.zeros(n, np.int64), np.zeros(n, np.int64)
    np.minimum.at(left, label, start)
    np.minimum.at(top, label, row)
    np.maximum.at(right, label, end)
    np.maximum.at(bottom, label, row + 1)
    order = np.argsort(-area, kind="stable")
    table = np.stack([area, left, top, right, bottom], axis=1)[order]
    return [Component(*map(int, line)) for line in table]


def enclosed(binary: Binary) -> Binary:
    """Mark the components that do not touch the picture's border.

    Args:
        binary: bool (h, w).

    Returns:
        bool (h, w).
    """
    height, width = binary.shape
    row, start, end = _runs_of(binary)
    steps = np.zeros((height, width + 1), np.int8)
    if len(row):
        label = _label_runs(row, start, end, width)
        is_outer = (row == 0) | (row == height - 1) | (start == 0) | (end == width)
        is_inner = ~np.isin(label, label[is_outer])
        steps[row[is_inner], start[is_inner]] = 1
        steps[row[is_inner], end[is_inner]] = -1
    marked: Binary = np.cumsum(steps[:, :-1], axis=1, dtype=np.int8) > 0
    return marked


def _runs_of(binary: Binary) -> tuple[Ints, Ints, Ints]:
    """Return the row, the start and the exclusive end of each run, row by row."""
    edges = np.diff(np.pad(binary, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    return row, start, np.nonzero(edges == -1)[1]


def _label_runs(row: Ints, start: Ints, end: Ints, width: int) -> Ints:
    """Return for each run the lowest index among the runs connected with it."""
    a, b = _linked_runs(row, start, end, width)
    label = np.arange(len(row))
    while True:
        low = np.minimum(label[a], label[b])
        if np.array_equal(low, label[a]) and np.array_equal(low, label[b]):
            return label
        # The run whose index is the label takes the lower label too, which merges whole components
        # at once.
        for high in (label[a], label[b]):
            np.minimum.at(label, high, low)
        np.minimum.at(label, a, low)
        np.minimum.at(label, b, low)
        while not np.array_equal(label, label[label]):
            label = label[label]


def _linked_runs(row: Ints, start: Ints, end: Ints, width: int) -> tuple[Ints, Ints]:
    """Return the pairs of touching runs in neighbouring rows, as two arrays of indices."""
    stride = width + 2  # positions in the flattened picture, with a gap between rows
    starts, ends = row * stride + start, row * stride + end
    # In the next row, linked runs end at or after this run's start, and start at or before its end.
    first = np.searchsorted(ends, starts + stride, side="left")
    last = np.searchsorted(starts, ends + stride, side="right")
    count = np.maximum(0, last - first)
    a = np.repeat(np.arange(len(row)), count)
    offset = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    return a, np.repeat(first, count) + offset
