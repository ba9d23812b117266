"""The window that moves over an image, or the stamp over an output, one frame after the other.

Windows lie on the large grid, that with the padding; each belongs to one cell of the small one. A
convolution gathers from large to small, a transposed one stamps from small to large.
"""

from __future__ import annotations

import math
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import Ints, check_flag
from convinsights.draw import _words as words
from convinsights.draw._canvas import (
    WIDTH,
    Canvas,
    cell,
    number,
    placed,
    squares,
    together,
)
from convinsights.draw._layout import Grid, Index, Layout, lay_out
from convinsights.draw._picture import Picture
from convinsights.draw._scenes import Scene, scene

__all__ = ["draw_window", "key", "telling", "windows"]


def windows(
    module: ModuleType,
    input_size: Ints,
    kernel_size: Ints | None = None,
    *,
    animate: bool = True,
    **hyperparameters: Any,
) -> Picture:
    """Move the window of a convolution over its input, and fill its output.

    A transposed convolution stamps instead: every input pixel stamps the kernel onto the output,
    and each pixel there counts the stamps that add up. Channels that stay apart (depthwise, groups)
    have two of them drawn; of depthwise_separable that is what its pointwise kernel mixes.

    Parameters
    ----------
    module : module of convinsights
        average_pooling, conv, depthwise, depthwise_separable, dilated, max_pooling, transposed or
        unary.
    input_size : int or one for each of two axes
        Pixels of the input, up to 40 with their zeros.
    kernel_size : int or one per axis
        Taps of the kernel, or the pool size; may be left out for unary, and for the pooling of
        the whole image.
    animate : bool
        False: the still picture alone.
    **hyperparameters
        Those of `module.forward`, with its defaults.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the module refuses a size or a hyperparameter, or the picture would be too large.
    TypeError
        If an argument is of the wrong type, or no hyperparameter of the module.

    Examples
    --------
    >>> from convinsights import conv, draw
    >>> draw.windows(conv, (6, 6), (3, 3), strides=2, padding="same")
    <Picture: conv: input 6 × 6, kernel 3 × 3, strides 2, padding "same", output 3 × 3>
    """
    view = scene(module, input_size, kernel_size, hyperparameters)
    moving = check_flag("animate", animate)
    geometry = view.geometry
    frames = list(np.ndindex(*geometry.output_size))
    canvas = Canvas(len(frames) if moving else 0)
    canvas.show_each()
    still = telling(view)
    y = 24.0
    for part, label in enumerate(view.parts):
        layout = lay_out(view, y, label)
        _plane(canvas, view, layout, part, frames, still)
        y = layout.bottom + 30
    for frame in range(canvas.frames):
        canvas.show_from(frame)
    still_words = words.counted(view, still, frames[still]) + words.beside(view)
    canvas.text(WIDTH / 2, y, still_words, "g")
    if moving:
        for frame, window in enumerate(frames):
            canvas.text(WIDTH / 2, y, words.counted(view, frame, window), f"n d{frame}")
        canvas.text(WIDTH / 2, y, words.summary(view), "z")
    y = canvas.legend(y + 26, words.legend(view)) + 4
    y = canvas.lines(y, [words.settings(view), *words.mixing(view)])
    y = canvas.lines(y, [words.sides(view), *words.law(view)], "m")
    return canvas.picture(y - 6, words.title(view), words.description(view))


def _plane(
    canvas: Canvas, view: Scene, layout: Layout, part: int, windows: list[Index], still: int
) -> None:
    large, small = layout.large, layout.small
    largest = int(view.counts.max()) if view.back else 0
    if part == 0:
        canvas.define("c", large.size)
        zeros = not view.pools or view.options.get("count_padding", False)
        canvas.define("zero", large.size, 0 if zeros and large.size >= 14 else "")
        canvas.shades("k", largest)
        for count in range(1, largest + 1):
            canvas.define(f"k{count}", large.size, count if large.size >= 16 else "")
    _labels(canvas, view, layout, view.parts[part])
    _image(canvas, view, large)
    if view.back:
        canvas.add(*together([_cell(small, "px", "input", window) for window in windows]))
        _stamps(canvas, view, large, windows)
    else:
        canvas.add(squares([small.at(window) for window in windows], small.size, "bl"))
        for frame, window in enumerate(windows):
            canvas.add(_cell(small, f"ou o o{frame}", "output", window))
    for frame, window in enumerate(windows):
        if canvas.frames or frame == still:
            kind = f"f d{frame}" + " s" * (frame == still)
            beam, ring = _beam(view, layout, window), cell(*small.at(window), small.size, "wi")
            canvas.add(f'<g class="{kind}" data-window="{key(window)}">{beam}{ring}</g>')
    draw_window(canvas, view, large, part, windows, still)


def _labels(canvas: Canvas, view: Scene, layout: Layout, part: str) -> None:
    geometry, flat = view.geometry, len(view.input_size) == 1
    for grid, size, is_input in (
        (layout.large, geometry.input_size, not view.back),
        (layout.small, geometry.output_size, view.back),
    ):
        what = f"{'input' if is_input else view.result} {words.by(size)}{part and ', ' + part}"
        middle = grid.x + ((size[-1] - 1) * grid.pitch + grid.size) / 2
        if flat:
            y = grid.y - 8 if is_input else grid.y + grid.size + 18
        else:
            lowest = min(layout.large.y - geometry.padding[0][0] * grid.size, layout.small.y)
            y = lowest - 9
        canvas.heading(middle, y, what)


def _image(canvas: Canvas, view: Scene, grid: Grid) -> None:
    # The large grid: every pixel, and the padding around it
    geometry, counts = view.geometry, view.counts
    sides = zip(geometry.input_size, geometry.padding, strict=True)
    shapes = []
    for place in product(*(range(-before, size + after) for size, (before, after) in sides)):
        if any(p < 0 or p >= size for p, size in zip(place, geometry.input_size, strict=True)):
            shapes.append(_cell(grid, "ze", "padding", place, "c" if view.back else "zero"))
        elif view.back:
            shapes.append(_cell(grid, "bl", "output", place))
        else:
            pixel = np.ravel_multi_index(place, geometry.input_size)
            shapes.append(_cell(grid, "px" if counts[pixel] else "un", "input", place))
    canvas.add(*together(shapes))


def _stamps(canvas: Canvas, view: Scene, grid: Grid, windows: list[Index]) -> None:
    # Every stamp writes over its pixels how many stamps now lie there, and stays.
    geometry = view.geometry
    counts = np.zeros(math.prod(geometry.input_size) + 1, int)
    for frame, (window, row) in enumerate(zip(windows, view.reads, strict=True)):
        shapes = []
        for pixel in row[row > 0]:
            counts[pixel] += 1
            place = grid.at(np.unravel_index(pixel - 1, geometry.input_size))
            shapes.append(placed(f"k{counts[pixel]}", *place, f"k{counts[pixel]}"))
        canvas.add(f'<g class="o o{frame}" data-stamp="{key(window)}">', *together(shapes), "</g>")


def draw_window(
    canvas: Canvas,
    view: Scene,
    grid: Grid,
    part: int,
    windows: list[Index],
    still: int,
    named: bool = False,
) -> None:
    """Draw the window that moves, and in the still picture the outline of its neighbour."""
    geometry, size = view.geometry, grid.size
    places = [Grid(0, 0, size, size).at(view.origin(window)) for window in windows]
    kind = "ts" if view.back or named else words.TAPS[part]
    taps = [
        Grid(0, 0, size, size).at(
            tuple(u * d for u, d in zip(tap, geometry.dilation_rate, strict=True))
        )
        for tap in np.ndindex(*geometry.kernel_size)
    ]
    rows, columns = (1, *view.span)[-2:]
    outline = f'width="{number(columns * size)}" height="{number(rows * size)}" rx="4"/>'
    x, y = places[still]
    neighbour = _neighbour(geometry.output_size, windows[still])
    canvas.add(f'<g transform="translate({number(grid.x)} {number(grid.y)})">')
    if neighbour is not None:
        nx, ny = places[windows.index(neighbour)]
        canvas.add(f'<rect class="gh g" x="{number(nx)}" y="{number(ny)}" {outline}')
    canvas.add(
        f'<g class="w" transform="translate({number(x)} {number(y)})">',
        *(cell(*tap, size, kind) for tap in taps),
        f'<rect class="wi" {outline}',
        "</g></g>",
    )
    if canvas.frames and part == 0:
        canvas.glide("w", places)


def _beam(view: Scene, layout: Layout, window: Index) -> str:
    # From a window to its cell, or in one dimension from every tap
    geometry, (large, small) = view.geometry, layout[:2]
    x, y = large.at(view.origin(window))
    to_x, to_y = small.at(window)
    if len(window) == 1:
        below = small.y > large.y
        start, end = y + below * large.size, to_y + (not below) * small.size
        middle = to_x + small.size / 2
        taps = (
            x + (u * geometry.dilation_rate[0] + 0.5) * large.size
            for u in range(geometry.kernel_size[0])
        )
        end_point = f"{number(middle)} {number(end)}"
        path = "".join(f"M{number(tap)} {number(start)}L{end_point}" for tap in taps)
    else:
        right = small.x > large.x
        start, end = x + right * view.span[1] * large.size, to_x + (not right) * small.size
        path = (
            f"M{number(start)} {number(y)}L{number(end)} {number(to_y)}v{number(small.size)}"
            f"L{number(start)} {number(y + view.span[0] * large.size)}z"
        )
    return f'<path class="be" d="{path}"/>'


def _cell(grid: Grid, kind: str, what: str, place: Index, name: str = "c") -> str:
    return placed(name, *grid.at(place), kind, f' data-{what}="{key(place)}"')


def key(place: Index) -> str:
    """Write a place as an attribute."""
    return ",".join(map(str, place))


def _neighbour(size: Index, window: Index) -> Index | None:
    # The next window along the last axis that has one, or else the one before
    for axis in reversed(range(len(size))):
        if size[axis] > 1:
            step = 1 if window[axis] + 1 < size[axis] else -1
            return (*window[:axis], window[axis] + step, *window[axis + 1 :])
    return None


def telling(view: Scene) -> int:
    """Pick the frame of the still picture: a stamp in the middle, a window over most zeros."""
    if view.back:
        size = view.geometry.output_size
        return int(np.ravel_multi_index(tuple(n // 2 for n in size), size))
    pixels = (view.reads > 0).sum(axis=1)
    return int(np.where(pixels, pixels, pixels.max() + 1).argmin())
