"""Counts of paths as shaded cells, as towers, and in words."""

from __future__ import annotations

from itertools import groupby
from math import floor
from typing import Any, TypeAlias

import numpy as np

from convinsights import receptive_field as fields
from convinsights._arguments import Array
from convinsights.draw._canvas import MARGIN, WIDTH, Canvas, number, placed, squares, together
from convinsights.draw._layout import Grid
from convinsights.draw._style import shade
from convinsights.draw._windows import key
from convinsights.draw._words import by, several
from convinsights.im2col import resolve_padding

__all__ = [
    "MOST",
    "Stacked",
    "bars",
    "cells",
    "check_room",
    "counted",
    "described",
    "layer_words",
    "legend",
    "lit",
    "paths",
    "plane",
    "shades",
    "summary",
]

Stacked: TypeAlias = tuple[Any, ...]
LEVELS = 12  # of shade
MOST = 50  # cells side by side, and below each other


def _level(count: int, most: int) -> int:
    return -(-LEVELS * count // most)


def cells(canvas: Canvas, size: float, counts: list[Array]) -> None:
    """Define a cell for every number."""
    for count in _numbers(counts):
        canvas.define(f"n{count}", size, count if 8 * len(str(count)) <= size - 2 else "")


def shades(canvas: Canvas, counts: list[Array], most: int) -> None:
    """Add a colour for every twelfth of the largest number."""
    for count in _numbers(counts):
        level = _level(count, most)
        canvas.styles[f".k{level}"] = shade("k", level / LEVELS)


def _numbers(counts: list[Array]) -> list[int]:
    return sorted({int(count) for stage in counts for count in stage.ravel() if count})


def lit(counts: Array, corner: tuple[float, float], place: tuple[int, ...], most: int) -> str:
    """Return a cell with its number."""
    count = int(counts[place])
    more = f' data-pixel="{key(place)}" data-count="{count}"'
    return placed(f"n{count}", *corner, f"k{_level(count, most)}", more)


def legend(counts: Array, most: int, none: str, noun: str = "path") -> list[tuple[str, str]]:
    """Explain the shades, or of many those of the least and of the most that there are."""
    told = sorted({most, *map(int, counts.ravel())} - {0})
    if len(told) > 3:
        told = [told[0], most]
    shown = [(f"k{_level(n, most)}", several(n, noun)) for n in told]
    return [*shown, *[("un", none)] * (not counts.all())]


def plane(canvas: Canvas, counts: Array, most: int, what: str) -> float:
    """Draw counts along two axes as a table; return where it ends."""
    rows, columns = counts.shape
    size = floor(min(34, (WIDTH - 2 * MARGIN) / columns))
    check_room(max(counts.shape))
    grid = Grid((WIDTH - columns * size) // 2, 40, size, size)
    canvas.heading(WIDTH / 2, 24, f"{what} {by(counts.shape)}")
    cells(canvas, size, [counts])
    shades(canvas, [counts], most)
    canvas.add(squares(map(grid.at, np.ndindex(*counts.shape)), size, "un"))
    met = (place for place in np.ndindex(*counts.shape) if counts[place])
    canvas.add(*together(lit(counts, grid.at(place), place, most) for place in met))
    return float(40 + rows * size)


def bars(canvas: Canvas, counts: Array, most: int) -> float:
    """Draw a tower of blocks on every pixel, one for each path; return where they end."""
    check_room(len(counts))
    if most > MOST:
        raise ValueError(
            f"layers must make few enough paths to be seen, at most {MOST} to a pixel, got {most}"
        )
    size = floor(min(34, (WIDTH - 2 * MARGIN) / len(counts)))
    block = floor(min(26, 240 / max(most, 1)))
    left, base = (WIDTH - size * len(counts)) // 2, 50 + most * block
    canvas.heading(WIDTH / 2, 24, f"output {len(counts)}")
    shades(canvas, [counts], most)
    wide, high = number(size - 2), number(block - 2)
    for i, count in enumerate(counts):
        x = left + i * size
        path = "".join(
            f"M{number(x + 1)} {number(base - (k + 1) * block + 1)}h{wide}v{high}h-{wide}z"
            for k in range(count)
        )
        kind = f"k{_level(count, most)}" if count else "un"
        canvas.add(f'<path class="{kind}" data-pixel="{i}" data-count="{count}" d="{path}"/>')
        if size >= 16:
            canvas.text(x + size / 2, base + 18, count)
    return base + 18


def check_room(count: int) -> None:
    """Refuse more pixels side by side than can be seen."""
    if count > MOST:
        raise ValueError(
            f"input_size must be small enough to be seen, at most {MOST} pixels side by side in "
            f"every layer, got {count}"
        )


def counted(counts: Array) -> str:
    """Count the pixels that are seen."""
    return f"{np.count_nonzero(counts)} of {several(counts.size, 'pixel')}"


def paths(counts: Array) -> str:
    """Count the paths."""
    return several(int(counts.sum()), "path")


def summary(counts: Array, stacks: list[Stacked]) -> str:
    """Count both, and say whether pixels are left out between."""
    settled = map(_settled, stacks, counts.shape)
    gaps = ", with gaps between" if any(map(fields.has_gaps, settled)) else ""
    return f"{counted(counts)}, by {paths(counts)}{gaps}"


def _settled(stack: Stacked, size: int) -> Stacked:
    # The stack with numbers for "same", which means other zeros from another size on
    known: list[Any] = []
    for layer in stack:
        if isinstance(layer, fields.Residual):
            known.append(fields.Residual(*(_settled(tuple(part), size) for part in layer)))
        else:
            one = fields.Layer(*layer)
            if one.padding == "same" and not one.transposed:
                (zeros,) = resolve_padding(
                    size,
                    one.kernel_size,
                    strides=one.strides,
                    padding="same",
                    dilation_rate=one.dilation_rate,
                )
                one = one._replace(padding=zeros)
            known.append(one)
        size = len(fields.overlaps(known[-1:], size))
    return tuple(known)


def described(stacks: list[Stacked]) -> list[str]:
    """Describe every layer, equal ones behind each other at once."""
    axes = [
        [_times(len(list(equal)), words) for words, equal in groupby(map(layer_words, stack))]
        for stack in stacks
    ]
    if len({tuple(axis) for axis in axes}) == 1:
        return axes[0]
    names = ("rows", "columns")
    return [f"{name}: {'; '.join(axis)}" for name, axis in zip(names, axes, strict=True)]


def _times(count: int, words: str) -> str:
    return words if count == 1 else f"{count} layers: {words}"


def layer_words(layer: Any) -> str:
    """Describe a layer."""
    if isinstance(layer, fields.Residual):
        return "a branch and its short cut"
    layer = fields.Layer(*layer)
    words = f"{'transposed, ' * layer.transposed}kernel {layer.kernel_size}"
    words += f", strides {layer.strides}" * (layer.strides > 1)
    words += f", dilation rate {layer.dilation_rate}" * (layer.dilation_rate > 1)
    padded = f", padding {layer.padding}" if layer.padding else ""
    return f"{words}{padded}"
