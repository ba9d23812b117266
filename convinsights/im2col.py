"""Gather the windows of an image as the rows of a matrix, and scatter such rows back.

A convolution looks at an image through a window, again and again. Write every window as a row and
the convolution is one matrix product:

    columns[(n, i, j), (u, v, c)] = x[n, i s + u d - before, j s + v d - before, c]
    y = columns @ kernel          with the kernel as a matrix, ((u, v, c), o)

`im2col` is linear in x: it copies pixels, some of them several times, and never adds. Its adjoint
`col2im` adds every entry back to the pixel that it was read from, so that
`<columns, im2col(x)> == <col2im(columns), x>`. The gradients of every convolution here follow from
the pair, and so does the transposed convolution.

References
----------
Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing", 2006: windows as rows, and the product.
Claerbout, "Earth Soundings Analysis: Processing versus Inversion", 1992: adjoint operators.
van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016: "causal", section 2.1.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np

from convinsights._arguments import (
    Array,
    DType,
    Ints,
    Pad,
    as_array,
    check_pixels,
    compute_dtype,
    per_axis,
    result_dtype,
    shape_of,
)
from convinsights._costs import Scatter, way_to_scatter
from convinsights._geometry import Geometry
from convinsights._passes import FEW
from convinsights._weights import spatial_size

__all__ = ["col2im", "im2col", "resolve_padding"]


def __dir__() -> list[str]:
    return __all__


def im2col(
    x: Array,
    kernel_size: Ints,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> Array:
    """Write every window of an image as one row.

    Parameters
    ----------
    x : array (N, *spatial, C)
        Images with one, two or three spatial axes.
    kernel_size : int or one per spatial axis
        Taps of the window.
    strides, dilation_rate : int or one per spatial axis
        Pixels between neighbouring windows, and between neighbouring taps (1: adjacent).
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Zeros around the image.

    Returns
    -------
    array (N * prod(output_size), prod(kernel_size) * C)
        Windows in the order of the output's pixels; a row in the order (*kernel_size, C).

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights.im2col import im2col
    >>> x = np.array([[10, 11, 12], [20, 21, 22]]).reshape(1, 2, 3, 1)
    >>> im2col(x, (2, 2)).astype(int)
    array([[10, 11, 20, 21],
           [11, 12, 21, 22]])
    """
    x = as_array("x", x)
    geometry = _plan("x", x.shape, kernel_size, strides, padding, dilation_rate)
    # columns[(n, i, j), (u, v, c)] = x[n, i s + u d - before, j s + v d - before, c]
    view = windows(pad(x, geometry, result_dtype(x)), geometry)
    columns = np.empty(view.shape, view.dtype)
    copy_runs(columns, view)
    entries = math.prod(geometry.kernel_size) * x.shape[-1]
    return columns.reshape(len(x) * math.prod(geometry.output_size), entries)


def col2im(
    columns: Array,
    input_shape: tuple[int, ...],
    kernel_size: Ints,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> Array:
    """Add every entry of the columns back to the pixel that it was read from.

    It is the adjoint of `im2col`, not the inverse: a pixel that k windows read comes back k times.

    Parameters
    ----------
    columns : array (N * prod(output_size), prod(kernel_size) * C)
        One row per window, in the order of `im2col`.
    input_shape : (N, *spatial, C)
        Shape of the images that the windows lie over.

    Returns
    -------
    array of input_shape
        Pixels that no window reads are 0.

    Examples
    --------
    How many of the four 2×2 windows of a 3×3 image read each pixel:

    >>> import numpy as np
    >>> from convinsights.im2col import col2im
    >>> col2im(np.ones((4, 4)), (1, 3, 3, 1), (2, 2)).reshape(3, 3).astype(int)
    array([[1, 2, 1],
           [2, 4, 2],
           [1, 2, 1]])
    """
    columns = as_array("columns", columns)
    shape = shape_of("input_shape", input_shape, minimum=0)
    geometry = _plan("input_shape", shape, kernel_size, strides, padding, dilation_rate)
    rows = shape[0] * math.prod(geometry.output_size)
    entries = math.prod(geometry.kernel_size) * shape[-1]
    if columns.shape != (rows, entries):
        raise ValueError(
            f"columns must be {(rows, entries)} (N * prod(output_size), prod(kernel_size) * C) "
            f"for input_shape {shape}, got shape {columns.shape}"
        )
    dtype = result_dtype(columns)
    way = way_to_scatter(geometry, shape[-1], shape[0])
    padded = blank(shape[:1], geometry, shape[-1], compute_dtype(dtype), way.planar)
    view = windows(padded, geometry)
    scatter(columns.reshape(view.shape), view, geometry, way)
    return np.ascontiguousarray(crop(padded, geometry), dtype)


def resolve_padding(
    input_size: Ints,
    kernel_size: Ints,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[tuple[int, int], ...]:
    """Say in zeros what a padding means for an input_size, as one pair (before, after) per axis.

    Examples
    --------
    At stride 2, "same" is not PyTorch's `padding=1`:

    >>> from convinsights.im2col import resolve_padding
    >>> resolve_padding((8, 7), (3, 3), strides=2, padding="same")
    ((0, 1), (1, 1))
    """
    sizes = spatial_size(input_size, "input_size")
    kernel = per_axis("kernel_size", kernel_size, len(sizes))
    names = "input_size", "kernel_size"
    return Geometry.of(sizes, kernel, strides, padding, dilation_rate, names=names).padding


def pad(x: Array, geometry: Geometry, dtype: DType, planar: bool = False) -> Array:
    """Return x (…, *input_size, C) in `dtype`, with its zeros around it, in C order.

    x itself, if nothing is to change. planar: stored channel by channel instead.
    """
    if not (geometry.is_padded or planar) and x.flags.c_contiguous and x.dtype == dtype:
        return x
    target, kept = geometry.interior
    outer = x.shape[: -len(geometry.input_size) - 1]
    if x.size < FEW:  # to set all to 0 is quicker than to find the border
        padded = blank(outer, geometry, x.shape[-1], dtype, planar)
        padded[target] = x[kept]
        return padded
    padded = blank(outer, geometry, x.shape[-1], dtype, planar, np.empty)
    # Only the border is set to 0, each pixel of it once. From the last axis to the first: all that
    # lies outside along this axis and inside along the axes behind it.
    around = target[-1:]  # inside, along the axes already done
    for inside in target[-2:0:-1]:
        for outside in (slice(inside.start), slice(inside.stop, None)):
            padded[(..., outside, *around)] = 0
        around = (inside, *around)
    copy_runs(padded[target], x[kept])
    return padded


def blank(
    outer: tuple[int, ...],
    geometry: Geometry,
    channels: int,
    dtype: DType,
    planar: bool = False,
    make: Callable[..., Array] = np.zeros,
) -> Array:
    """Return padded images as `make` fills them; planar: stored channel by channel."""
    size = *outer, *geometry.padded_size
    if planar:
        return make((channels, *size), dtype).transpose(*range(1, len(size) + 1), 0)
    return make((*size, channels), dtype)


def copy_runs(target: Array, source: Array) -> None:
    """Write source to target, of the same shape.

    What lies side by side in both, along the last axes, is copied as one element of so many bytes.
    NumPy copies one long element faster than it loops over many short ones: windows are gathered in
    0.6 to 0.8 of the time, groups taken apart in 0.2 to 0.6 (on AMD Zen 4).
    """
    if target.size < FEW:  # to look for them would take longer
        np.copyto(target, source)
        return
    axis, run = target.ndim, target.itemsize
    steps = list(zip(target.shape, target.strides, source.strides, strict=True))
    most = 2**31 - 1  # an itemsize is a C int
    while axis and steps[axis - 1][1:] == (run, run) and run * steps[axis - 1][0] <= most:
        axis -= 1
        run *= steps[axis][0]
    if target.dtype == source.dtype and run > target.itemsize:
        shape = *target.shape[:axis], run // target.itemsize
        target, source = (a.reshape(shape).view(f"V{run}") for a in (target, source))
    np.copyto(target, source)


def crop(padded: Array, geometry: Geometry) -> Array:
    """Return a view without the zeros: the adjoint of `pad`, unless a padding is negative."""
    image: Array = padded[geometry.interior[0]]
    return image


def windows(padded: Array, geometry: Geometry) -> Array:
    """Show padded images as their windows, (…, *output_size, *kernel_size, C), without copying.

    The images must be as `blank` makes them. Windows that do not fit in their memory are refused.
    """
    rank = len(geometry.kernel_size)
    *outer, channel = padded.strides
    several, axes = outer[:-rank], outer[-rank:]
    sizes = *geometry.output_size, *geometry.kernel_size
    shape = (*padded.shape[: len(several)], *sizes, padded.shape[-1])
    strides = (*several, *map(operator.mul, axes + axes, geometry.steps), channel)
    # A planar image lies in memory with its channels in front: in that order it is contiguous.
    contiguous = padded.flags.c_contiguous
    memory = padded if contiguous else padded.transpose(-1, *range(padded.ndim - 1))
    return view_of(memory, shape, 0, strides)


def view_of(memory: Array, shape: tuple[int, ...], start: int, strides: tuple[int, ...]) -> Array:
    """Show contiguous memory in another shape, from byte `start` on, with strides of its own.

    What reaches beyond the memory is refused.
    """
    if not memory.size and 0 not in shape:  # np.ndarray does not check an empty buffer's bounds
        raise ValueError(f"a view of {shape} does not fit in an empty array")
    return np.ndarray(shape, memory.dtype, memory, start, strides)


def scatter(columns: Array, view: Array, geometry: Geometry, way: Scatter) -> None:
    """Add columns, shaped as windows, to the pixels under a view made by `windows`.

    Neighbouring windows overlap, but the pixels under one tap are distinct, as are those under one
    window, and `+=` adds each of them just once. Windows that lie apart are written: their pixels
    must have been 0.
    """
    if geometry.disjoint:
        copy_runs(view, columns)
        return
    rank = len(geometry.kernel_size)
    if way.one_by_one:  # window by window
        first, shape = view.ndim - 1 - 2 * rank, view.shape[-1 - 2 * rank : -1 - rank]
    else:  # tap by tap
        first, shape = view.ndim - 1 - rank, geometry.kernel_size
    outer = (slice(None),) * first
    if way.planar:
        shape = *shape, view.shape[-1]
    for entry in np.ndindex(*shape):
        view[(*outer, *entry)] += columns[(*outer, *entry)]


def _plan(
    name: str,
    shape: tuple[int, ...],
    kernel_size: Ints,
    strides: Ints,
    padding: Pad,
    dilation_rate: Ints,
) -> Geometry:
    check_pixels(name, shape)
    kernel = per_axis("kernel_size", kernel_size, len(shape) - 2)
    padded = shape[0], math.prod(kernel) * shape[-1]
    names = name, "kernel_size"
    return Geometry.of(
        shape[1:-1], kernel, strides, padding, dilation_rate, padded=padded, names=names
    )
