"""Replace every window by its mean.

    y[n, i, j, c] = sum over u, v of x[n, i s + u - before, j s + v - before, c] / count(i, j)

over the pixels that are there. `count` is how many these are or, if padding counts, k1 k2: then a
window that hangs over the edge averages zeros too. With a count of k1 k2 it is a depthwise
convolution with all weights 1 / (k1 k2). Every pixel of a window has the same share in the mean,
and gets the same share of the gradient:

    dx[n, i s + u - before, j s + v - before, c] += dy[n, i, j, c] / count(i, j)        for all u, v

References
----------
LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998 (subsampling).
Lin, Chen and Yan, "Network In Network", 2013 (global average pooling).
"""

from __future__ import annotations

import math
from functools import reduce

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
    check_flag,
    compute_dtype,
    result_dtype,
)
from convinsights._caches import cache_class
from convinsights._geometry import Geometry
from convinsights.max_pooling import Gradients

__all__ = ["Cache", "Gradients", "backward", "forward", "output_shape"]


def __dir__() -> list[str]:
    return __all__


@cache_class
class Cache:
    """What backward reads: the shape of the input, where the windows lay, and what they count."""

    x_shape: tuple[int, ...]
    geometry: Geometry
    count_padding: bool
    dtype: DType


def forward(
    x: Array,
    pool_size: Ints | None,
    *,
    strides: Ints | None = None,
    padding: Pad = "valid",
    count_padding: bool = False,
) -> tuple[Array, Cache]:
    """Average every window, channel by channel.

    Parameters
    ----------
    x : array (N, *spatial, C)
        Images with one, two or three spatial axes.
    pool_size : int or one per spatial axis, or None
        Pixels of the window. None: the whole image (global pooling), without strides and padding.
    strides : int or one per spatial axis, or None
        Pixels between neighbouring windows. None: the pool size, so that windows lie side by side.
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Pixels around the image that are not there: a window may hang over the edge by so many.
    count_padding : bool
        Whether the mean is over them too, as zeros (PyTorch's default), or only over the pixels of
        the image (Keras's way).

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
    >>> from convinsights import average_pooling
    >>> x = np.array([3, 1, 4, 2, 5, 9]).reshape(1, 6, 1)
    >>> y, cache = average_pooling.forward(x, 2)
    >>> y.ravel()
    array([2., 3., 7.])
    """
    x, count_padding = as_array("x", x), check_flag("count_padding", count_padding)
    geometry = _pooling.canonical_plan(x.shape, pool_size, strides, padding)
    dtype = result_dtype(x)
    y = np.empty((len(x), *geometry.output_size, x.shape[-1]), dtype)
    compute = compute_dtype(dtype)
    for box, pixels, part in _pooling.patches(x.shape, geometry, compute):
        image = x[pixels].astype(compute, copy=False)
        for axis in reversed(range(1, x.ndim - 1)):
            image = _sums(image, part, axis)
        np.divide(image, _counts(part, count_padding, image.dtype), out=y[box])
    return y, Cache(x.shape, geometry, count_padding, dtype)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Share the gradient of every window out among its pixels.

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
    >>> from convinsights import average_pooling
    >>> x = np.array([3, 1, 4, 2, 5, 9]).reshape(1, 6, 1)
    >>> y, cache = average_pooling.forward(x, 2)
    >>> average_pooling.backward(np.array([10, 20, 30]).reshape(1, 3, 1), cache).x.ravel()
    array([ 5.,  5., 10., 10., 15., 15.])
    """
    cache = check_cache(cache, Cache, "average_pooling")
    geometry, dtype = cache.geometry, compute_dtype(cache.dtype)
    dy = check_dy(dy, (cache.x_shape[0], *geometry.output_size, cache.x_shape[-1]))
    dx = np.zeros(cache.x_shape, dtype)
    for box, pixels, part in _pooling.patches(dx.shape, geometry, dtype):
        slopes = dy[box].astype(dtype, copy=False) / _counts(part, cache.count_padding, dtype)
        for axis in range(1, dx.ndim - 1):
            slopes = _spread(slopes, part, axis)
        dx[pixels] += slopes
    return Gradients(dx.astype(cache.dtype, copy=False))


def output_shape(
    input_shape: tuple[int, ...],
    pool_size: Ints | None,
    *,
    strides: Ints | None = None,
    padding: Pad = "valid",
    count_padding: bool = False,
) -> tuple[int, ...]:
    """Tell the shape that `forward` makes of an input_shape: (N, *output_size, C).

    Examples
    --------
    >>> from convinsights import average_pooling
    >>> average_pooling.output_shape((8, 56, 56, 64), 2)
    (8, 28, 28, 64)
    """
    check_flag("count_padding", count_padding)
    return _pooling.output_shape(input_shape, pool_size, strides, padding)


def _sums(image: Array, geometry: Geometry, axis: int) -> Array:
    # Along one axis, the sum of every window.
    sums = np.zeros(_pooling.pooled_shape(image, geometry, axis), image.dtype)
    for i, (windows, _, pixels) in enumerate(_pooling.reads(geometry, axis)):
        part = image[pixels]
        if _pooling.one_by_one(geometry, axis):
            # Many terms: in float64 none is lost among the others.
            sums[windows] = part.sum(axis=axis, dtype=np.float64, keepdims=True)
        elif i == 0:
            sums[windows] = part
        else:
            # Copied first: to add pixels that lie apart takes 1.6 times as long.
            sums[windows] += np.ascontiguousarray(part)
    return sums


def _spread(slopes: Array, geometry: Geometry, axis: int) -> Array:
    # Its adjoint: along one axis, every window's slope to each of its pixels.
    shape = *slopes.shape[:axis], geometry.input_size[axis - 1], *slopes.shape[axis + 1 :]
    image = np.zeros(shape, slopes.dtype)
    for windows, _, pixels in _pooling.reads(geometry, axis):
        image[pixels] += slopes[windows]
    return image


def _counts(geometry: Geometry, count_padding: bool, dtype: DType) -> Array:
    # How many pixels every window averages: one number, or (*output_size, 1)
    if count_padding or not geometry.is_padded:
        return np.array(math.prod(geometry.kernel_size), dtype)
    axes = [last - first + 1 for first, last in _pooling.taps_over_pixels(geometry)]
    return reduce(np.multiply.outer, axes)[..., None].astype(dtype)
