"""The windows of an image, and the rows of the matrix that they become."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from convinsights import conv
from convinsights._arguments import Ints, Pad, check_flag
from convinsights.draw import _words as words
from convinsights.draw._canvas import WIDTH, Canvas, number, placed, squares, together
from convinsights.draw._layout import Grid, Index
from convinsights.draw._picture import Picture
from convinsights.draw._scenes import MOST_CELLS, Scene, scene
from convinsights.draw._windows import draw_window, key, telling

__all__ = ["columns"]

LABEL, GAP = 50, 28  # the number of a window before its row, and the way from the image to there
LEAST = 19  # units of a cell with a pixel's name in it


def columns(
    input_size: Ints,
    kernel_size: Ints,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
    animate: bool = True,
) -> Picture:
    """Lay window after window of an image into the rows of a matrix, as `im2col` does.

    Pixels are named by their coordinates, row and column; zeros of the padding are 0.

    Parameters
    ----------
    input_size : int or one for each of two axes
        Pixels of the image.
    kernel_size : int or one per axis
        Taps of the kernel.
    strides, padding, dilation_rate
        As in `im2col.im2col`.
    animate : bool
        False: the still picture alone.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the kernel does not fit, a size is out of its range, or there is no room for the names.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> from convinsights import draw
    >>> draw.columns((3, 4), (2, 2))
    <Picture: the windows of 3 × 4 pixels as 6 rows: kernel 2 × 2, strides 1, padding "valid">
    """
    options = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
    view = scene(conv, input_size, kernel_size, options)
    windows = list(np.ndindex(*view.output_size))
    canvas = Canvas(len(windows) if check_flag("animate", animate) else 0)
    canvas.show_each()
    image, table, bottom = _lay_out(view)
    still, taps = telling(view), view.reads.shape[1]
    _labels(canvas, view, image, table)
    _pixels(canvas, view, image)
    rows = [table.at((row, 0)) for row in range(len(windows))]
    cells = [table.at((row, tap)) for row in range(len(windows)) for tap in range(taps)]
    canvas.add(squares(cells, table.size, "bl"))
    for frame, (window, read) in enumerate(zip(windows, view.reads, strict=True)):
        canvas.text(rows[frame][0] - 6, _middle(rows[frame][1], table), _name(window), "e m")
        shapes = [
            placed(f"p{pixel}", *table.at((frame, tap)), "px" if pixel else "ze")
            for tap, pixel in enumerate(read)
        ]
        canvas.add(f'<g class="o o{frame}" data-row="{key(window)}">', *shapes, "</g>")
    for frame in range(len(windows)):
        if canvas.frames or frame == still:
            kind = f"f d{frame}" + " s" * (frame == still)
            x, y = rows[frame]
            wide = number(taps * table.size)
            canvas.add(
                f'<rect class="{kind} wi" data-window="{key(windows[frame])}" x="{number(x)}" '
                f'y="{number(y)}" width="{wide}" height="{number(table.size)}" rx="4"/>'
            )
    for frame in range(canvas.frames):
        canvas.show_from(frame)
    draw_window(canvas, view, image, 0, windows, still, named=True)
    y = bottom + 30
    shown = [f"row {k}, {words.counted(view, k, window)}" for k, window in enumerate(windows)]
    canvas.text(WIDTH / 2, y, shown[still] + words.beside(view), "g")
    for frame in range(canvas.frames):
        canvas.text(WIDTH / 2, y, shown[frame], f"n d{frame}")
    if canvas.frames:
        canvas.text(WIDTH / 2, y, _summary(view), "z")
    y = canvas.legend(y + 26, _legend(view)) + 4
    y = canvas.lines(y, [words.settings(view)])
    y = canvas.lines(y, [words.sides(view), *words.law(view)], "m")
    title = (
        f"the windows of {words.by(view.input_size)} pixels as {len(windows)} rows: "
        f"{words.settings(view)}"
    )
    return canvas.picture(y - 6, title, f"{_summary(view)}. {words.description(view)}")


def _lay_out(view: Scene) -> tuple[Grid, Grid, float]:
    geometry = view.geometry
    high, wide = (1, *geometry.padded_size)[-2:]
    windows, taps = view.reads.shape
    room = WIDTH - 16 - LABEL - GAP
    size = math.floor(min(34, room / (wide + taps)))
    rows, most = (1, *geometry.input_size)[-2], room // LEAST
    if size < LEAST or windows > MOST_CELLS or rows > 10:
        raise ValueError(
            f"input_size must leave room for the names of its pixels: at most 10 rows, {most} "
            f"pixels, zeros and taps side by side and {MOST_CELLS} windows, got {rows}, "
            f"{wide} + {taps} and {windows}"
        )
    height = size * max(high, windows)
    left = (WIDTH - LABEL - GAP - size * (wide + taps)) // 2
    y = 38
    before = [pair[0] for pair in ((0, 0), *geometry.padding)[-2:]]
    image = Grid(
        left + before[1] * size, y + (height - high * size) // 2 + before[0] * size, size, size
    )
    table = Grid(left + wide * size + GAP + LABEL, y + (height - windows * size) // 2, size, size)
    return image, table, y + height


def _labels(canvas: Canvas, view: Scene, image: Grid, table: Grid) -> None:
    windows, taps = view.reads.shape
    wide = (1, *view.geometry.padded_size)[-1]
    left = image.x - view.geometry.padding[-1][0] * image.size
    top = image.y - (0, *(pair[0] for pair in view.geometry.padding))[-2] * image.size
    y = min(top, table.y) - 12
    canvas.heading(left + wide * image.size / 2, y, f"image {words.by(view.input_size)}")
    middle = table.x + taps * table.size / 2
    canvas.heading(middle, y, f"matrix {windows} × {taps}")


def _pixels(canvas: Canvas, view: Scene, grid: Grid) -> None:
    geometry, counts = view.geometry, view.counts
    canvas.define("p0", grid.size, 0)
    sides, shapes = zip(geometry.input_size, geometry.padding, strict=True), []
    for place in product(*(range(-before, size + after) for size, (before, after) in sides)):
        if any(p < 0 or p >= size for p, size in zip(place, geometry.input_size, strict=True)):
            shapes.append(placed("p0", *grid.at(place), "ze", f' data-padding="{key(place)}"'))
            continue
        pixel = int(np.ravel_multi_index(place, geometry.input_size))
        canvas.define(f"p{pixel + 1}", grid.size, "".join(map(str, place)))
        kind = "px" if counts[pixel] else "un"
        more = f' data-input="{key(place)}"'
        shapes.append(placed(f"p{pixel + 1}", *grid.at(place), kind, more))
    canvas.add(*together(shapes))


def _middle(y: float, grid: Grid) -> float:
    return y + grid.size / 2 + 5


def _name(window: Index) -> str:
    return str(window[0]) if len(window) == 1 else f"({', '.join(map(str, window))})"


def _legend(view: Scene) -> list[tuple[str, str]]:
    names = {"tp": ("ts", "window")}
    return [names.get(kind, (kind, what)) for kind, what in words.legend(view)[:-1]]


def _summary(view: Scene) -> str:
    windows, taps = view.reads.shape
    pixels = math.prod(view.input_size)
    return f"{windows} windows × {taps} taps: {windows * taps} numbers from {pixels} pixels"
