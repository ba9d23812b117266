"""Arrays as tables of numbers: an image, a kernel, and the matrix of a convolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convinsights import conv
from convinsights._arguments import Array, Ints, Pad, as_array, check_flag, shape_of, shown
from convinsights.draw import _words as words
from convinsights.draw._canvas import MARGIN, WIDTH, Canvas, number, squares
from convinsights.draw._layout import Grid
from convinsights.draw._picture import Picture
from convinsights.draw._scenes import MOST_CELLS, scene
from convinsights.draw._style import HUES, shade, written

__all__ = ["array", "matrix"]

LEVELS = 12  # of shade
BESIDE, GAP = 24, 36  # rows and columns that leave room for the transpose, and its distance
MOST_COLUMNS, MOST_ROWS = 64, 90


def array(x: Array, *, title: str = "array") -> Picture:
    """Show an image or a kernel as shades, with its numbers where there is room for them.

    The further a number is from 0, the darker (on a dark page the lighter); negative ones are
    orange.

    Parameters
    ----------
    x : array (size,) or (rows, columns)
        At most 64 columns.
    title : str
        What it is called on the picture.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If x has no elements, more than two axes, infinities or NaNs, or is too large.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> from convinsights import draw
    >>> draw.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], title="Sobel's kernel")
    <Picture: Sobel's kernel, 3 × 3: numbers from −2 to 2>
    """
    numbers, name = _numbers(x), _title(title)
    rows, columns = table = numbers.shape
    sizes = words.by(table if np.ndim(x) == 2 else (columns,))
    labels = [_label(value) for value in numbers.ravel()]
    longest = max(map(len, labels))
    size = math.floor(min(max(44, 8.4 * longest + 4), (WIDTH - 2 * MARGIN) / columns, 640 / rows))
    canvas, grid = Canvas(), Grid((WIDTH - size * columns) // 2, 40, size, size)
    most = float(np.abs(numbers).max())
    parts = np.abs(numbers) / most if most else numbers
    levels = (np.ceil(LEVELS * parts) * np.sign(numbers)).astype(int)
    canvas.heading(WIDTH / 2, 24, f"{name} {sizes}")
    for level in np.unique(levels):
        kind, part = _kind(level), abs(level) / LEVELS
        canvas.styles[f".{kind}"] = shade(kind[0], part)
        canvas.styles[f".t{kind}"] = written(kind[0], part)
        cells = [grid.at((i, j)) for i, j in np.argwhere(levels == level)]
        canvas.add(squares(cells, size, kind, gap=1 if size > 20 else 0))
    font = min(14.0, size * 0.42)
    if font >= 11 and longest * font * 0.6 <= size - 3:
        for place, label in zip(np.ndindex(*table), labels, strict=True):
            left, top = grid.at(place)
            kind = f"t{_kind(int(levels[place]))}"
            canvas.text(left + size / 2, top + size / 2 + font * 0.36, label, kind, font)
    told = {int(levels.flat[place]): labels[place] for place in _telling(numbers)}
    legend = [(_kind(level), told[level]) for level in sorted(told)]
    y = canvas.legend(40 + rows * size + 28, legend)
    summary = f"numbers from {_label(numbers.min())} to {_label(numbers.max())}"
    return canvas.picture(y - 6, f"{name}, {sizes}: {summary}", f"Shades of {summary}.", "x")


def matrix(
    kernel: Array,
    input_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
    groups: int = 1,
    animate: bool = True,
) -> Picture:
    """Show the matrix of a convolution, each weight in its colour, and the transpose beside it.

    Row by row is what the outputs gather, and what a transposed convolution scatters. The transpose
    is left out where there is no room for it.

    Parameters
    ----------
    kernel : array (*kernel_size, C_in // groups, C_out)
    input_shape : (*spatial, C_in)
        Shape of one image of one or two axes, without the batch.
    strides, padding, dilation_rate, groups
        As in `conv.matrix`.
    animate : bool
        False: the still picture alone.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError, TypeError
        As `conv.matrix` does, and if the picture would be too large.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import draw
    >>> draw.matrix(np.array([1, 2, 3]).reshape(3, 1, 1), (7, 1), strides=2)
    <Picture: the matrix of a convolution, 3 × 7: kernel 3, strides 2, padding "valid">
    """
    options: dict[str, Any] = {"strides": strides, "padding": padding}
    options |= {"dilation_rate": dilation_rate, "groups": groups}
    kernel, shape = as_array("kernel", kernel), shape_of("input_shape", input_shape)
    outputs = conv.output_shape((1, *shape), kernel.shape, **options)
    rows, inputs = math.prod(outputs[1:]), math.prod(shape)
    both = rows + inputs <= BESIDE
    size = math.floor(min(38, (WIDTH - 2 * MARGIN - GAP * both) / (inputs + rows * both)))
    if max(rows, inputs) > MOST_CELLS:
        raise ValueError(
            f"input_shape must make a matrix that can be seen, at most {MOST_CELLS} × "
            f"{MOST_CELLS}, got {rows} × {inputs}"
        )
    view = scene(conv, shape[:-1], kernel.shape[:-2], options)
    dense = conv.matrix(kernel, shape, **options)
    # The same of the weights' numbers says which of them stands where.
    order = np.arange(1, kernel.size + 1).reshape(kernel.shape)
    weights = conv.matrix(order, shape, **options).astype(int)
    canvas = Canvas(rows if check_flag("animate", animate) else 0)
    canvas.show_each()
    height = size * (max(rows, inputs) if both else rows)
    left = (WIDTH - size * (inputs + rows * both) - GAP * both) // 2
    first = Grid(left, 38 + (height - rows * size) // 2, size, size)
    second = Grid(left + inputs * size + GAP, 38 + (height - inputs * size) // 2, size, size)
    _weights(canvas, first, dense, weights, "A", "w", (0, size))
    if both:
        _weights(canvas, second, dense.T, weights.T, "Aᵀ", "t", (size, 0))
    y = 66.0 + height
    shown = [_row(row, entries, both) for row, entries in enumerate(weights)]
    canvas.text(WIDTH / 2, y, shown[rows // 2], "g")
    for frame in range(canvas.frames):
        canvas.text(WIDTH / 2, y, shown[frame], f"n d{frame}")
    used = int((weights > 0).sum())
    summary = f"{rows} × {inputs} = {weights.size} entries, {used} of them weights"
    if canvas.frames:
        canvas.text(WIDTH / 2, y, summary, "z")
    y = canvas.legend(y + 26, _hues(kernel)) + 4
    y = canvas.lines(y, [words.settings(view)])
    y = canvas.lines(y, [words.sides(view), *words.law(view)], "m")
    title = f"the matrix of a convolution, {rows} × {inputs}: {words.settings(view)}"
    return canvas.picture(y - 6, title, f"{summary}. {words.description(view)}", "input_shape")


def _weights(
    canvas: Canvas,
    grid: Grid,
    numbers: Array,
    weights: Array,
    name: str,
    moving: str,
    step: tuple[float, float],
) -> None:
    # One table of the two, and the outline of a row, or a column, that moves over it
    rows, columns = weights.shape
    canvas.heading(grid.x + columns * grid.size / 2, grid.y - 12, name)
    font = min(14.0, grid.size * 0.42)
    for weight in np.unique(weights):
        kind = f"h{(weight - 1) % len(HUES)}" if weight else "bl"
        cells = [grid.at((i, j)) for i, j in np.argwhere(weights == weight)]
        canvas.add(squares(cells, grid.size, kind, f' data-{name[1:] and "t"}weight="{weight}"'))
    for hue, colour in enumerate(HUES):
        canvas.styles[f".h{hue}"] = ("stroke:none", f"fill:{colour}", f"fill:{colour}")
    labels = [_label(number) for number in numbers[weights > 0]]
    if font >= 11 and max(map(len, labels), default=0) * font * 0.6 <= grid.size - 3:
        for place, label in zip(np.argwhere(weights > 0), labels, strict=True):
            x, y = grid.at(tuple(place))
            canvas.text(x + grid.size / 2, y + grid.size / 2 + font * 0.36, label, "d", font)
    count = rows if step[1] else columns
    places = [(k * step[0], k * step[1]) for k in range(count)]
    size = (columns, 1) if step[1] else (1, rows)
    wide, high = (number(n * grid.size) for n in size)
    x, y = places[count // 2]
    corner = f"translate({number(grid.x)} {number(grid.y)})", f"translate({number(x)} {number(y)})"
    canvas.add(
        f'<g transform="{corner[0]}"><rect class="wi {moving}" transform="{corner[1]}" '
        f'width="{wide}" height="{high}" rx="4"/></g>'
    )
    if canvas.frames:
        canvas.glide(moving, places)


def _row(row: int, entries: Array, both: bool) -> str:
    gathered = f"row {row} gathers {np.count_nonzero(entries)} inputs"
    return gathered + f"; column {row} of Aᵀ scatters to them" * both


def _hues(kernel: Array) -> list[tuple[str, str]]:
    if kernel.size > len(HUES):
        return [("h0", "weights, each in its colour"), ("bl", "0")]
    plain = kernel.shape[-2:] == (1, 1)
    names = [
        place[0] if len(place) == 1 else place
        for place in np.ndindex(*(kernel.shape[:-2] if plain else kernel.shape))
    ]
    what = "tap" if plain else "weight"
    return [*((f"h{k}", f"{what} {name}") for k, name in enumerate(names)), ("bl", "0")]


def _numbers(x: object) -> Array:
    array = as_array("x", x)
    if not 1 <= array.ndim <= 2 or not array.size:
        raise ValueError(
            f"x must be (size,) or (rows, columns) with no size of 0, got shape {array.shape}"
        )
    numbers = np.atleast_2d(array).astype(np.float64)
    if numbers.shape[0] > MOST_ROWS or numbers.shape[1] > MOST_COLUMNS:
        raise ValueError(
            f"x must be small enough to be seen, at most {MOST_COLUMNS} columns and {MOST_ROWS} "
            f"rows, got shape {array.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("x must be finite, got infinities or NaNs")
    return numbers


def _kind(level: int) -> str:
    return f"{'m' if level < 0 else 'v'}{abs(level)}"


def _title(title: object) -> str:
    if not isinstance(title, str):
        raise TypeError(f"title must be a string, got {shown(title)}")
    if not title.isprintable() or len(title) > 40:
        raise ValueError(f"title must be printable and at most 40 characters, got {shown(title)}")
    return title


def _label(value: float) -> str:
    whole = value == round(value) and abs(value) < 1e6
    return f"{value:.{'0f' if whole else '3g'}}".replace("-", "−")


def _telling(numbers: Array) -> set[int]:
    # Of the legend: the least, the largest, and a 0 where there is one
    zeros = np.flatnonzero(numbers == 0)[:1]
    return {int(numbers.argmin()), int(numbers.argmax()), *map(int, zeros)}
