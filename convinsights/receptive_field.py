"""How far one output pixel sees, and where.

Per axis, a stack of convolutions is again a window that slides over the input. With effective
kernels ke = (k - 1) d + 1, the jump before a layer being the product of the strides before it:

    size   = 1 + sum over layers of (ke - 1) * jump before the layer
    stride = product of all strides
    start  = - sum over layers of zeros in front * jump before the layer

Output pixel i sees the input pixels start + i stride … start + i stride + size - 1 and none outside
(`receptive_field`); a sum of two stacks sees the smallest window around both of theirs. Inside,
dilation and strides may leave gaps: the pixels seen are start + i stride + any sum of up to k - 1
steps of d * jump per layer (`has_gaps`).

A pixel may be seen in several ways. A layer is a matrix of zeros and ones, a stack their product,
and its entries count the paths from an input pixel to an output pixel; a transposed layer is the
transposed matrix, and where a branch and a shortcut meet, their matrices are added. A row
(`dependencies`) is the gradient of one output pixel with all weights 1. The sum of every row
(`overlaps`) is the output for an image of ones; behind a transposed layer it may be uneven, a
checkerboard.

References
----------
Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
2019, doi:10.23915/distill.00021: `receptive_field`.
Wang et al., "Understanding Convolution for Semantic Segmentation", 2017: section 3.2, the gridding
of `has_gaps`, with a weaker condition.
Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks",
2016: section 3, the paths.
Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016,
doi:10.23915/distill.00003: `overlaps`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array, Ints, check_size, is_sequence, per_axis, to_integer
from convinsights._gaps import has_gaps_somewhere
from convinsights._stacks import Fork, Layer, Layers, Residual, Stack, along_axes, as_stack
from convinsights._ways import Steps, follow, lay, ways

__all__ = [
    "Layer",
    "ReceptiveField",
    "Residual",
    "dependencies",
    "has_gaps",
    "overlaps",
    "receptive_field",
]


def __dir__() -> list[str]:
    return __all__


class ReceptiveField(NamedTuple):
    """The windows that output pixels see: their size, their distance, where the first starts."""

    size: int
    stride: int
    start: int


def receptive_field(layers: Layers) -> ReceptiveField:
    """Follow one output pixel back through a stack of layers to the window it sees.

    Parameters
    ----------
    layers : iterable of Layer and Residual
        The input's side first. Of padding, only the zeros in front count.

    Returns
    -------
    ReceptiveField(size, stride, start)
        Size of the window, distance between the windows of neighbouring output pixels, and first
        pixel of the first window (negative: in the padding).

    Raises
    ------
    ValueError
        Also if a layer is transposed (with strides above 1 what an output pixel sees through it
        depends on its place: `dependencies`), or branch and shortcut of a Residual do not go by the
        same stride.

    Examples
    --------
    Three layers of three taps, each with twice the dilation rate of the one before:

    >>> from convinsights.receptive_field import Layer, receptive_field
    >>> receptive_field([Layer(3, dilation_rate=d, padding=d) for d in (1, 2, 4)])
    ReceptiveField(size=15, stride=1, start=-7)

    A pooling is a layer with its window and its strides:

    >>> receptive_field([Layer(3, padding=1), Layer(2, strides=2), Layer(3, padding="same")])
    ReceptiveField(size=8, stride=2, start=-3)
    """
    return _field(as_stack("layers", layers))


def has_gaps(layers: Layers) -> bool:
    """Tell whether an output pixel overlooks pixels between the first and the last that it sees.

    Along one axis, away from the borders. With the layers of two taps or more sorted by
    D = d * jump, there are no gaps if and only if each D is at most one more than what the layers
    before it in this order reach:

        D_i <= 1 + sum over j < i of (k_j - 1) D_j

    Through transposed layers and sums the pixels are followed one by one, for every output pixel of
    one period; one with a gap is enough. Beyond some millions of pixels that is refused.

    Examples
    --------
    >>> from convinsights.receptive_field import Layer, has_gaps
    >>> has_gaps([Layer(3, dilation_rate=d) for d in (2, 2, 2)])
    True
    >>> has_gaps([Layer(3, dilation_rate=d) for d in (9, 1, 3)])
    False
    """
    stack = as_stack("layers", layers)
    windows = [part for part in stack if not isinstance(part, Fork) and not part.transposed]
    if len(windows) < len(stack):
        return has_gaps_somewhere(stack)
    jump, steps = 1, []
    for window in windows:
        steps.append((window.dilation_rate * jump, window.kernel_size - 1))
        jump *= window.strides
    reach = 0
    for step, count in sorted(steps):
        if count and step > 1 + reach:
            return True
        reach += count * step
    return False


def dependencies(layers: Layers | Iterable[Layers], output_pixel: Ints, input_size: Ints) -> Array:
    """Count the paths that lead from every input pixel to one output pixel.

    Parameters
    ----------
    layers : iterable of Layer and Residual, or one such stack per axis
        One stack where output_pixel is an int; where it is a sequence, one stack per axis, with
        sums in the same places.
    output_pixel : int or one per axis
        Which output pixel, from 0.
    input_size : int or one per axis

    Returns
    -------
    array of input_size
        The gradient of the output pixel with all weights 1: 0 where it does not depend on an input
        pixel. Along several axes that is the outer product of the counts along each, unless there
        are sums. int64; Python's integers (dtype object) if one is too large for that.

    Raises
    ------
    ValueError
        Also if a layer does not fit its padded input, the parts of a Residual end in different
        sizes, or there is no such output pixel.

    Examples
    --------
    >>> from convinsights.receptive_field import Layer, Residual, dependencies
    >>> dependencies([Layer(3, dilation_rate=2, padding=2)] * 2, 4, 9)
    array([1, 0, 2, 0, 3, 0, 2, 0, 1])

    The shortcut adds a path:

    >>> block = Residual([Layer(3, padding=1)] * 2)
    >>> dependencies([block], 2, 6)
    array([1, 2, 4, 2, 1, 0])

    Neighbours behind a transposed layer do not depend on as many pixels:

    >>> larger = [Layer(3, strides=2, transposed=True)]
    >>> [dependencies(larger, pixel, 3).tolist() for pixel in (2, 3)]
    [[1, 1, 0], [0, 1, 0]]

    Two axes:

    >>> dependencies([[Layer(2)], [Layer(3, padding=1)]], (0, 0), (3, 4))
    array([[1, 1, 0, 0],
           [1, 1, 0, 0],
           [0, 0, 0, 0]])
    """
    stacks, pixel = along_axes(layers, "output_pixel", output_pixel, minimum=0)
    several = is_sequence(output_pixel)
    size = (
        per_axis("input_size", input_size, len(pixel))
        if several
        else (to_integer("input_size", input_size),)
    )
    steps, output_size = lay(stacks, check_size("input_size", size))
    for axis, (index, count) in enumerate(zip(pixel, output_size, strict=True)):
        if index >= count:
            name = f"output_pixel[{axis}]" if several else "output_pixel"
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {index}")
    counts: Array = np.zeros(output_size, _dtype(steps))
    counts[pixel] = 1
    return _as_integers(follow(steps, counts, back=True))


def overlaps(layers: Layers | Iterable[Layers], input_size: Ints) -> Array:
    """Count the paths that end in every output pixel: the sum of its `dependencies`.

    A transposed layer whose stride does not divide its kernel size makes a checkerboard: without
    dilation and away from the borders, ceil((k - i) / s) stamps overlap on every pixel that lies
    i = 0 … s - 1 behind the first pixel of some stamp. layers, input_size and the dtype are as for
    `dependencies`: one stack where input_size is an int.

    Examples
    --------
    >>> from convinsights.receptive_field import Layer, overlaps
    >>> overlaps([Layer(3, strides=2, transposed=True)], 4)
    array([1, 1, 2, 1, 2, 1, 2, 1, 1])
    >>> overlaps([Layer(4, strides=2, padding=1, transposed=True)], 4)
    array([1, 2, 2, 2, 2, 2, 2, 1])
    """
    stacks, size = along_axes(layers, "input_size", input_size)
    steps, _ = lay(stacks, check_size("input_size", size))
    counts: Array = np.ones(size, _dtype(steps))
    return _as_integers(follow(steps, counts, back=False))


def _field(stack: Stack) -> ReceptiveField:
    size, jump, start = 1, 1, 0
    for part in stack:
        if isinstance(part, Fork):
            one, other = _field(part.branch), _field(part.shortcut)
            first = min(one.start, other.start)
            last = max(one.start + one.size, other.start + other.size)
            window = ReceptiveField(last - first, one.stride, first)
        elif part.transposed:
            raise ValueError(
                f"{part.name} must not be transposed: what an output pixel sees through it depends "
                f"on its place (see dependencies)"
            )
        else:
            window = ReceptiveField(part.span, part.strides, -part.before)
        size += (window.size - 1) * jump
        start += window.start * jump
        jump *= window.stride
    return ReceptiveField(size, jump, start)


def _dtype(steps: Steps) -> type:
    # Python's integers only where 64 bits might not do
    return np.int64 if ways(steps) < 2**63 else object


def _as_integers(counts: Array) -> Array:
    try:
        return counts.astype(np.int64, copy=False)
    except OverflowError:
        return counts
