"""The paths through a stack of layers: what one output pixel sees, and how often each is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from convinsights import receptive_field as fields
from convinsights._arguments import (
    Array,
    Ints,
    check_flag,
    is_sequence,
    shown,
    to_integer,
    to_integers,
)
from convinsights._stacks import Layers, as_stack
from convinsights._ways import Step, Sum, lay
from convinsights.draw._canvas import MARGIN, WIDTH, Canvas, number, squares, together
from convinsights.draw._counts import (
    Stacked,
    bars,
    cells,
    check_room,
    counted,
    described,
    layer_words,
    legend,
    lit,
    paths,
    plane,
    shades,
    summary,
)
from convinsights.draw._layout import Grid
from convinsights.draw._picture import Picture
from convinsights.draw._scenes import axes
from convinsights.draw._words import by, several

__all__ = ["overlaps", "receptive_field"]

PITCH = 88  # from one layer to the next


def receptive_field(
    layers: Layers | Iterable[Layers],
    output_pixel: Ints | None = None,
    input_size: Ints | None = None,
    *,
    animate: bool = True,
) -> Picture:
    """Follow one output pixel back through a stack of layers, and count how often it sees each.

    Along one axis layer by layer; along two axes what is seen of the input.

    Parameters
    ----------
    layers : iterable of Layer and Residual, or one such stack per axis
        As in `receptive_field.dependencies`.
    output_pixel : int or one per axis
        By default one in the middle.
    input_size : int or one per axis
        By default, along one axis, two pixels more than the receptive field.
    animate : bool
        False: the still picture alone.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError, TypeError
        As `receptive_field.dependencies` does, and if there is no room for so many pixels.

    Examples
    --------
    >>> from convinsights import draw
    >>> from convinsights.receptive_field import Layer
    >>> draw.receptive_field([Layer(3, dilation_rate=d, padding=d) for d in (1, 2, 4)])
    <Picture: what output pixel 8 of 17 sees: 15 of 17 pixels, by 27 paths>
    """
    moving = check_flag("animate", animate)
    if is_sequence(input_size):
        return _in_a_plane(_stacks(layers, True), output_pixel, input_size)
    (stack,) = _stacks(layers, False)
    size = _default_size(stack) if input_size is None else to_integer("input_size", input_size)
    check_room(size)
    sizes = [len(fields.overlaps(stack[:depth], size)) for depth in range(len(stack) + 1)]
    pixel = (sizes[-1] - 1) // 2 if output_pixel is None else output_pixel
    counts = [fields.dependencies(stack[depth:], pixel, n) for depth, n in enumerate(sizes)]
    rows = _rows(stack, sizes)
    # It begins with the whole, which a single frame of it should show.
    canvas = Canvas(len(sizes), len(sizes)) if moving else Canvas()
    canvas.show_each()
    most = max(int(stage.max()) for stage in counts)
    cells(canvas, rows[0].size, counts)
    shades(canvas, counts, most)
    end = rows[0].y + rows[0].size + 28
    for frame, depth in enumerate(reversed(range(len(sizes)))):
        row, stage = rows[depth], counts[depth]
        words = f"{counted(stage)} {_stage(depth, len(stack))}"
        canvas.add(squares([row.at((i,)) for i in range(len(stage))], row.size, "un"))
        lines = _lines(rows, counts, stack, sizes, depth) if depth < len(stack) else ""
        seen = [lit(stage, row.at((i,)), (i,), most) for i in np.flatnonzero(stage).tolist()]
        canvas.add(f'<g class="o o{frame}" data-depth="{depth}">', lines, *together(seen), "</g>")
        if canvas.frames:
            canvas.show_from(frame)
            canvas.text(WIDTH / 2, end, f"{words}, by {paths(stage)}", f"n d{frame}")
    for depth, (row, stage) in enumerate(zip(rows, counts, strict=True)):
        canvas.text(MARGIN, row.y - 10, f"{counted(stage)} {_stage(depth, len(stack))}", "l")
        if depth:
            canvas.text(WIDTH - MARGIN, row.y + row.size + 16, layer_words(stack[depth - 1]), "e m")
    total = summary(counts[0], [stack])
    canvas.text(WIDTH / 2, end, total, "g")
    if moving:
        canvas.text(WIDTH / 2, end, total, "z")
    y = canvas.legend(end + 26, legend(counts[0], most, "not seen"))
    title = f"what output pixel {pixel} of {sizes[-1]} sees: {total}"
    return canvas.picture(y - 6, title, f"{total}. {'; '.join(described([stack]))}.")


def overlaps(layers: Layers | Iterable[Layers], input_size: Ints) -> Picture:
    """Count the paths that end in every output pixel: uneven, they make a checkerboard.

    Of one transposed layer, each path is a stamp that lies on the pixel.

    Parameters
    ----------
    layers : iterable of Layer and Residual, or one such stack per axis
        As in `receptive_field.overlaps`.
    input_size : int or one for each of two axes

    Returns
    -------
    Picture

    Raises
    ------
    ValueError, TypeError
        As `receptive_field.overlaps` does, and if there is no room for so many pixels.

    Examples
    --------
    >>> from convinsights import draw
    >>> from convinsights.receptive_field import Layer
    >>> draw.overlaps([Layer(3, strides=2, transposed=True)], 4)
    <Picture: 1 to 2 stamps on each of 9 output pixels>
    """
    stacks = _stacks(layers, is_sequence(input_size))
    size = axes("input_size", input_size)
    check_room(max(size))
    counts = fields.overlaps(*((stacks, size) if is_sequence(input_size) else (stacks[0], size[0])))
    least, most = int(counts.min()), int(counts.max())
    canvas = Canvas()
    if counts.ndim == 1:
        bottom = bars(canvas, counts, most)
    else:
        bottom = plane(canvas, counts, most, "output")
    noun, where = ("stamp", "on") if all(map(_stamps, stacks)) else ("path", "to")
    found = several(most, noun) if least == most else f"{least} to {most} {noun}s"
    total = f"{found} {where} each of {by(counts.shape)} output pixels"
    y = canvas.legend(bottom + 26, legend(counts, most, f"no {noun}", noun))
    y = canvas.lines(y + 4, [total])
    y = canvas.lines(y, described(stacks), "m")
    return canvas.picture(y - 6, total, f"{total}. {'; '.join(described(stacks))}.")


def _rows(stack: Stacked, sizes: list[int]) -> list[Grid]:
    # The grid of every stage, each cell over the middle of what it sees; the input is the lowest
    steps, _ = lay([as_stack("layers", stack)], (sizes[0],))
    places = [(0.0, 1.0)]
    for step in steps:
        places.append(_moved(step, *places[-1]))
    ends = [(first, first + (n - 1) * jump) for (first, jump), n in zip(places, sizes, strict=True)]
    check_room(max(sizes))
    least, low, high = min(jump for _, jump in places), min(ends)[0], max(e for _, e in ends)
    unit = min(38 / least, (WIDTH - 2 * MARGIN) / (high - low + least))
    size = unit * least
    left = (WIDTH - unit * (high - low) - size) / 2
    depth = len(stack)
    return [
        Grid(left + unit * (first - low), 40 + (depth - k) * PITCH, size, unit * jump)
        for k, (first, jump) in enumerate(places)
    ]


def _moved(step: Step | Sum, first: float, jump: float) -> tuple[float, float]:
    # Where the first pixel behind a layer stands, and how far apart they are, in input pixels
    if isinstance(step, Sum):
        for inner in step.shortcut:
            first, jump = _moved(inner, first, jump)
        return first, jump
    window = step.window
    causal = window.before and not window.after
    middle = 0.0 if causal else (window.span - 1) / 2 - window.before
    if window.transposed:
        return first - middle / window.strides * jump, jump / window.strides
    return first + middle * jump, jump * window.strides


def _lines(
    rows: list[Grid], counts: list[Array], stack: Stacked, sizes: list[int], depth: int
) -> str:
    # From every pixel above that is seen to those below that it depends on
    upper, lower = rows[depth + 1], rows[depth]
    half, path = upper.size / 2, ""
    for i in np.flatnonzero(counts[depth + 1]).tolist():
        x, y = upper.at((i,))
        start = f"M{number(x + half)} {number(y + upper.size)}"
        below = fields.dependencies(stack[depth : depth + 1], i, sizes[depth])
        for p in np.flatnonzero(below).tolist():
            to_x, to_y = lower.at((p,))
            path += f"{start}L{number(to_x + half)} {number(to_y)}"
    return f'<path class="ln" d="{path}"/>'


def _default_size(stack: Stacked) -> int:
    try:
        return fields.receptive_field(stack).size + 2
    except ValueError as error:
        raise ValueError(f"input_size must be given, for {error}") from None


def _in_a_plane(
    stacks: list[Stacked], output_pixel: Ints | None, input_size: Sequence[int]
) -> Picture:
    size = to_integers("input_size", input_size)
    if len(size) != 2:
        raise ValueError(f"input_size must be an int or one for each of 2 axes, got {size}")
    check_room(max(size))
    if output_pixel is None:
        shape = fields.overlaps(stacks, size).shape
        output_pixel = tuple((n - 1) // 2 for n in shape)
    counts, canvas = fields.dependencies(stacks, output_pixel, size), Canvas()
    most, total = int(counts.max()), summary(counts, stacks)
    bottom = plane(canvas, counts, most, "input")
    y = canvas.legend(bottom + 26, legend(counts, most, "not seen"))
    y = canvas.lines(y + 4, [total])
    y = canvas.lines(y, described(stacks), "m")
    title = f"what output pixel {output_pixel} sees: {total}"
    return canvas.picture(y - 6, title, f"{total}. {'; '.join(described(stacks))}.")


def _stacks(layers: object, several_axes: bool) -> list[Stacked]:
    # Kept, for they are read more than once
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers must be an iterable of Layer, got {shown(layers)}")
    entries = tuple(layers)
    if not several_axes:
        return [entries]
    return [tuple(entry) if isinstance(entry, Iterable) else entry for entry in entries]


def _stamps(stack: Stacked) -> bool:
    one = len(stack) == 1 and not isinstance(stack[0], fields.Residual)
    return one and fields.Layer(*stack[0]).transposed


def _stage(depth: int, last: int) -> str:
    return "of the output" if depth == last else f"after layer {depth}" if depth else "of the input"
