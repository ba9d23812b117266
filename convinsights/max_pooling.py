"""Keep of every window its largest number.

    y[n, i, j, c] = max over u, v of x[n, i s + u d - before, j s + v d - before, c]

over the pixels that are there: padding is never the maximum, not even among negative numbers. A nan
is. One tap of each window wins, the first in C order if several are as large; all of the window's
gradient belongs to its pixel, and a pixel that won several windows adds theirs up:

    dx[n, i s + u d - before, j s + v d - before, c] += dy[n, i, j, c]        (u, v) the winner

What was smaller could change a little, and y would not.

References
----------
Riesenhuber and Poggio, "Hierarchical Models of Object Recognition in Cortex", 1999.
Scherer, Müller and Behnke, "Evaluation of Pooling Operations in Convolutional Architectures for
Object Recognition", 2010.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add, mul
from typing import Any, NamedTuple

import numpy as np

from convinsights import _pooling
from convinsights._arguments import (
    Array,
    DType,
    Ints,
    Pad,
    as_array,
    check_cache,
    check_dy,
    compute_dtype,
    result_dtype,
)
from convinsights._caches import cache_class
from convinsights._geometry import Geometry
from convinsights._passes import Box

__all__ = ["Cache", "Gradients", "backward", "forward", "output_shape"]

# Taps whose places are looked up at most: half a MiB of them.
TABLE = 2**16


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradient with respect to the argument of `forward`."""

    x: Array


@cache_class
class Cache:
    """What backward reads: which tap won each window, in small integers, and where they lay."""

    winners: Array
    geometry: Geometry
    dtype: DType


def forward(
    x: Array,
    pool_size: Ints | None,
    *,
    strides: Ints | None = None,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[Array, Cache]:
    """Let the largest number of every window win, channel by channel.

    Parameters
    ----------
    x : array (N, *spatial, C)
        Images with one, two or three spatial axes.
    pool_size : int or one per spatial axis, or None
        Taps of the window. None: the whole image (global pooling), without strides and padding.
    strides : int or one per spatial axis, or None
        Pixels between neighbouring windows. None: the pool size, so that windows lie side by side.
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Pixels around the image that are not there: a window may hang over the edge by so many.
    dilation_rate : int or one per spatial axis
        Pixels between neighbouring taps (1: adjacent).

    Returns
    -------
    y : array (N, *output_size, C)
    cache : Cache
        For `backward`; refers to no argument.

    Raises
    ------
    ValueError
        Also if some window would have padding alone.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import max_pooling
    >>> x = np.array([3, 1, 4, 1, 5, 9]).reshape(1, 6, 1)
    >>> y, cache = max_pooling.forward(x, 2)
    >>> y.ravel()
    array([3., 4., 9.])
    """
    x = as_array("x", x)
    geometry = _pooling.canonical_plan(x.shape, pool_size, strides, padding, dilation_rate)
    dtype = result_dtype(x)
    y = np.empty((len(x), *geometry.output_size, x.shape[-1]), dtype)
    winners = np.empty(y.shape, np.min_scalar_type(math.prod(geometry.kernel_size) - 1))
    compute = compute_dtype(dtype)
    for box, pixels, part in _pooling.patches(x.shape, geometry, compute):
        image = x[pixels].astype(compute, copy=False)
        y[box], winners[box] = _compete(image, part, winners.dtype)
    return y, Cache(winners, geometry, dtype)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient of every window to the pixel that won it.

    Parameters
    ----------
    dy : array (N, *output_size, C)
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import max_pooling
    >>> x = np.array([3, 1, 4, 1, 5, 9]).reshape(1, 6, 1)
    >>> y, cache = max_pooling.forward(x, 2)
    >>> max_pooling.backward(np.array([10, 20, 30]).reshape(1, 3, 1), cache).x.ravel()
    array([10.,  0., 20.,  0.,  0., 30.])
    """
    cache = check_cache(cache, Cache, "max_pooling")
    winners, geometry, dtype = cache.winners, cache.geometry, compute_dtype(cache.dtype)
    dy = check_dy(dy, winners.shape)
    dx = np.zeros((len(dy), *geometry.input_size, dy.shape[-1]), dtype)
    # A target, the place of a tap in dx.ravel(), is the sum of how far along every axis the window
    # and in it the tap lie.
    images, *axes, channels = (stride // dx.itemsize for stride in dx.strides)
    to_window = images, *map(mul, geometry.strides, axes), channels
    to_tap = tuple(map(mul, geometry.dilation_rate, axes))
    first = -sum(before * step for (before, _), step in zip(geometry.padding, axes, strict=True))

    def place(tap: Array) -> Array:
        numbers = np.unravel_index(tap.astype(np.intp, copy=False), geometry.kernel_size)
        return reduce(add, map(mul, numbers, to_tap))

    # Looked up, a place takes a quarter of the time; but a table may be twice as large as dx.
    taps = math.prod(geometry.kernel_size)
    places = place(np.arange(taps)) if taps <= TABLE else None
    for box, _, _ in _pooling.patches(dx.shape, geometry, dtype):
        targets = place(winners[box]) if places is None else places[winners[box]]
        some = zip((*box, slice(None)), winners.shape, to_window, strict=True)
        along = (np.arange(*of.indices(n)) * step for of, n, step in some)
        targets += sum(np.ix_(*along), first)
        slopes = dy[box].astype(dtype, copy=False)
        np.add.at(dx.reshape(-1), targets.ravel(), slopes.ravel())
    return Gradients(dx.astype(cache.dtype, copy=False))


def output_shape(
    input_shape: tuple[int, ...],
    pool_size: Ints | None,
    *,
    strides: Ints | None = None,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[int, ...]:
    """Tell the shape that `forward` makes of an input_shape: (N, *output_size, C).

    Examples
    --------
    >>> from convinsights import max_pooling
    >>> max_pooling.output_shape((8, 112, 112, 64), 3, strides=2, padding=1)
    (8, 56, 56, 64)
    """
    return _pooling.output_shape(input_shape, pool_size, strides, padding, dilation_rate)


def _compete(image: Array, geometry: Geometry, dtype: DType) -> tuple[Array, Array]:
    # The maxima, and the numbers in C order of the taps that won: along the last axis first, and
    # then the winners of these rows against one another.
    numbers: Any = None
    taps = 1
    for axis in reversed(range(1, image.ndim - 1)):
        along = _window_by_window if _pooling.one_by_one(geometry, axis) else _tap_by_tap
        image, numbers = along(image, numbers, taps, geometry, axis, dtype)
        taps *= geometry.kernel_size[axis - 1]
    return image, numbers


def _tap_by_tap(
    image: Array, numbers: Any, taps: int, geometry: Geometry, axis: int, dtype: DType
) -> tuple[Array, Array]:
    shape = _pooling.pooled_shape(image, geometry, axis)
    # The last tap first: of equal pixels the one compared last is the winner.
    reads = _pooling.reads(geometry, axis)[::-1]
    (_, last, pixels), duels = reads[0], reads
    if image[pixels].shape == shape:  # every window has it: nobody to fight with yet
        maxima, duels = image[pixels].copy(), reads[1:]
        winners = np.full(shape, _number(numbers, pixels, last * taps), dtype)
    else:
        maxima, winners = np.full(shape, -np.inf, image.dtype), np.zeros(shape, dtype)
    for windows, tap, pixels in duels:
        number = _number(numbers, pixels, tap * taps)
        # Copied first: pixels that lie apart take twice as long, and are read twice.
        challenger, most = np.ascontiguousarray(image[pixels]), maxima[windows]
        won, winner = challenger >= most, winners[windows]
        winner ^= np.multiply(winner ^ number, won, dtype=dtype)  # the bits that differ change
        np.maximum(most, challenger, out=most)
    if np.isnan(maxima).any():  # nan wins no comparison
        for windows, tap, pixels in reads:
            number = _number(numbers, pixels, tap * taps)
            np.copyto(winners[windows], number, where=np.isnan(image[pixels]))
    return maxima, winners


def _window_by_window(
    image: Array, numbers: Any, taps: int, geometry: Geometry, axis: int, dtype: DType
) -> tuple[Array, Array]:
    shape = _pooling.pooled_shape(image, geometry, axis)
    maxima, winners = np.empty(shape, image.dtype), np.empty(shape, dtype)
    for windows, tap, pixels in _pooling.reads(geometry, axis):
        winner = image[pixels].argmax(axis=axis, keepdims=True)  # nan is the largest here
        maxima[windows] = np.take_along_axis(image[pixels], winner, axis)
        winners[windows] = (tap + winner) * taps
        if numbers is not None:
            winners[windows] += np.take_along_axis(numbers[pixels], winner, axis)
    return maxima, winners


def _number(numbers: Any, pixels: Box, tap: int) -> Any:
    # This tap's number, plus that of the tap that won each of these pixels on the axes behind
    return tap if numbers is None else numbers[pixels] + numbers.dtype.type(tap)
