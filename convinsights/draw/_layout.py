"""Where the two grids of a picture of windows lie, and their cells."""

from __future__ import annotations

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
    padded, small = geometry.padded_size, geometry.output_size
    room = WIDTH - 2 * MARGIN - GAP
    size = min(38.0, room / (padded[1] + small[1]), 460 / max(padded[0], small[0]))
    height = size * max(padded[0], small[0])
    # A column is at least as wide as the label above it.
    label = 8.0 * len(f"output {' × '.join(map(str, view.output_size))} {part}")
    wide = [max(size * count, min(label, room / 2)) for count in (padded[1], small[1])]
    if view.back:
        wide.reverse()
    gap = min(GAP * 1.5, WIDTH - 2 * MARGIN - sum(wide))
    left = (WIDTH - sum(wide) - gap) / 2
    middles = left + wide[0] / 2, left + wide[0] + gap + wide[1] / 2
    if view.back:
        middles = middles[1], middles[0]
    y = top + 14
    corners = [
        (middle - size * count / 2, y + (height - size * rows) / 2)
        for middle, (rows, count) in zip(middles, (padded, small), strict=True)
    ]
    (before_y, _), (before_x, _) = geometry.padding
    x0, y0 = corners[0]
    large = Grid(x0 + before_x * size, y0 + before_y * size, size, size)
    return Layout(large, Grid(*corners[1], size, size), y + height)


def _flat(view: Scene, top: float, part: str) -> Layout:
    geometry = view.geometry
    (padded,), (stride,), ((before, after),) = (
        geometry.padded_size,
        geometry.strides,
        geometry.padding,
    )
    size = min(38.0, (WIDTH - 2 * MARGIN) / padded)
    x = (WIDTH - size * padded) / 2 + before * size
    # The cell of a window stands at its middle; where zeros are in front only, at its last tap.
    middle = 0.0 if before and not after else (view.span[0] - 1) / 2 - before
    y, lower = top + 14, top + 14 + size + 66
    rows = (lower, y) if view.back else (y, lower)
    large = Grid(x, rows[0], size, size)
    small = Grid(x + middle * size, rows[1], size, size * stride)
    return Layout(large, small, lower + size + 22)
