"""Where the two grids of a picture of windows lie, and their cells."""

from __future__ import annotations

from math import floor
from typing import NamedTuple, TypeAlias

from convinsights.draw._canvas import MARGIN, WIDTH
from convinsights.draw._scenes import Scene

__all__ = ["Grid", "Index", "Layout", "lay_out"]

GAP = 72  # between the two grids of an image, for the beam
Index: TypeAlias = tuple[int, ...]


class Grid(NamedTuple):
    """Where the cells of an image lie: the first, their size, and how far they lie apart."""

    x: float
    y: float
    size: float
    pitch: float

    def at(self, index: tuple[int, ...]) -> tuple[float, float]:
        """Return the corner of a cell; the columns are the last axis."""
        row, column = index if len(index) == 2 else (0, *index)
        return self.x + column * self.pitch, self.y + row * self.pitch


class Layout(NamedTuple):
    """Both grids of one plane, and where it ends."""

    large: Grid
    small: Grid
    bottom: float


def lay_out(view: Scene, top: float, part: str) -> Layout:
    """Set the grids of two axes side by side, those of one axis below each other."""
    return (_flat if len(view.input_size) == 1 else _side_by_side)(view, top, part)


def _side_by_side(view: Scene, top: float, part: str) -> Layout:
    geometry = view.geometry
    shapes = [geometry.padded_size, geometry.output_size]
    if view.back:  # the input is on the left
        shapes.reverse()
    (rows, columns), room = zip(*shapes, strict=True), WIDTH - 2 * MARGIN - GAP
    size = floor(min(38, room / sum(columns), 460 / max(rows)))
    # A grid has at least the room of the label above it.
    label = 9 * len(f"output {' × '.join(map(str, view.output_size))} {part}")
    wide = [max(size * count, min(label, room // 2)) for count in columns]
    gap = min(3 * GAP // 2, WIDTH - 2 * MARGIN - sum(wide))
    left = (WIDTH - sum(wide) - gap) // 2
    corners = [
        (x + (width - size * count) // 2, top + 14 + size * (max(rows) - high) // 2)
        for x, width, high, count in zip(
            (left, left + wide[0] + gap), wide, rows, columns, strict=True
        )
    ]
    if view.back:
        corners.reverse()
    (x, y), (before_y, before_x) = corners[0], (before for before, _ in geometry.padding)
    large = Grid(x + before_x * size, y + before_y * size, size, size)
    return Layout(large, Grid(*corners[1], size, size), top + 14 + size * max(rows))


def _flat(view: Scene, top: float, part: str) -> Layout:
    (padded,), (stride,) = view.geometry.padded_size, view.geometry.strides
    ((before, after),) = view.geometry.padding
    size = floor(min(38, (WIDTH - 2 * MARGIN) / padded))
    x = (WIDTH - size * padded) // 2 + before * size
    # The cell of a window stands at its middle; where zeros are in front only, at its last tap.
    middle = 0 if before and not after else (view.span[0] - 1) / 2 - before
    upper, lower = top + 14, top + 14 + size + 66
    rows = (lower, upper) if view.back else (upper, lower)
    small = Grid(x + middle * size, rows[1], size, size * stride)
    return Layout(Grid(x, rows[0], size, size), small, lower + size + 22)
