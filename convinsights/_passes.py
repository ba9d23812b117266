"""Passes over an array, block by block, with numbers that belong to its channels.

NumPy carries out an expression one operation at a time. That is fast where

* one operation finds in the cache what the last one left there: `in_blocks` cuts the array,
* the innermost loop is long: `in_blocks` shows neighbouring rows as one with many channels, and
  repeats the channels' numbers side by side,
* nothing is copied on the way: `short_buffers`.

Batch normalization takes 1.5 times as long without the first, batch normalization of 3 channels 4
times without the second, and every normalization by tiles 1.2 to 1.4 times without the third.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from convinsights._arguments import Array, DType

__all__ = [
    "CALL",
    "FEW",
    "PASS",
    "RUN",
    "Box",
    "Sums",
    "add_bias",
    "blocks",
    "channel_sum",
    "column_sums",
    "in_blocks",
    "rows",
    "short_buffers",
    "steps",
    "together",
]

Box = tuple[slice, ...]

# Bytes of a block of one array in a pass: a few arrays of it fit in the caches, and to start ten
# calls on it costs little. With a quarter of it batch normalization takes 1.3 times as long.
PASS = 2**20

# Numbers that are put side by side at most: starting a loop, which costs as much as some 30 of its
# steps, then costs 1.5 %, and a few rows, 8 KiB each in float32, still fit in the nearest cache.
# With 4096 in its place, images of 14×14×256 take 1.3 times as long; with 1024, normalizations
# 1.03 times.
RUN = 2048

# So many numbers are gone through in the time that one call costs (NumPy's part of it, and that of
# what prepares it).
CALL = 10_000

# Up to so many numbers an array is gone through at once: laying out blocks would take longer.
FEW = 2 * CALL


def blocks(shape: tuple[int, ...], most: int) -> Iterator[Box]:
    """Cut an array of this shape into boxes of at most `most` elements, contiguous in C order.

    An empty array is one box.
    """
    axis, inner = len(shape), 1
    while axis and inner * shape[axis - 1] <= most:
        axis -= 1
        inner *= shape[axis]
    if axis == 0 or 0 in shape:
        yield (slice(None),) * len(shape)
        return
    whole = (slice(None),) * (len(shape) - axis)
    for outer in np.ndindex(*shape[: axis - 1]):
        fixed = tuple(slice(index, index + 1) for index in outer)
        for part in steps(shape[axis - 1], most // inner):
            yield (*fixed, part, *whole)


def steps(count: int, most: int) -> Iterator[slice]:
    """Cut range(count), count > 0, into as few slices of at most max(1, most) as can be.

    All are equally long but the last, which may be shorter.
    """
    parts = -(-count // max(1, most))
    step = -(-count // parts)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def rows(x: Array, parts: int) -> Array:
    """Return x (N, …, C) as (parts, m, C), contiguous.

    If x is contiguous, the result is a view: what is written to it is written to x.
    """
    m = math.prod(x.shape[:-1]) // max(1, parts)
    return np.ascontiguousarray(x).reshape(parts, m, x.shape[-1])


def together(x: Array) -> int:
    """Return how many neighbouring rows of (B, m, C) `in_blocks` shows as one.

    As many as fit in RUN, or fewer, down to half of that, if then no row is left over.

    If there are several parts (the images, say, if each is normalized by itself), each has numbers
    of its own, and t neighbours need t copies of them. That pays only if the part has at least t
    joined rows to use the copies: m / t is at least t, so t is at most sqrt(m).

    1 where the rows do not lie side by side, as those of a slice of the channels.
    """
    parts, count, channels = x.shape
    if x.strides[1] != channels * x.itemsize:
        return 1
    most = max(1, min(math.isqrt(count) if parts > 1 else count, RUN // channels))
    return next((t for t in range(most, most // 2, -1) if count % t == 0), most)


def in_blocks(
    dtype: DType, arrays: Sequence[Array], *values: Array | None
) -> Iterator[tuple[slice, list[Array]]]:
    """Go through arrays (B, m, C) of contiguous rows, some rows at a time.

    t = `together` neighbours are shown as one row of t C channels; the m mod t rows that are left
    come last, as they are.

    Yields the slice of the B parts that a block is of, and a list with

    * a view of each array,
    * for each of the values, (B, 1, C) or (1, 1, C), its numbers for the block, t times side by
      side, in dtype, to be broadcast over the rows,
    * in place of a value that is None an array of the block's shape, to write to. Every block uses
      the same memory for it.
    """
    parts, m, channels = arrays[0].shape
    most_together = together(arrays[0])
    whole = m - m % most_together
    for first, last, t in ((0, whole, most_together), (whole, m, 1)):
        if first == last:
            continue
        shape = parts, (last - first) // t, t * channels
        wide = [a[:, first:last].reshape(shape) for a in arrays]
        beside = [v if v is None else np.tile(v.astype(dtype, copy=False), t) for v in values]
        most = max(1, PASS // (shape[2] * dtype.itemsize))
        room = [
            np.empty(min(most, parts * shape[1]) * shape[2], dtype) for v in values if v is None
        ]
        for box in blocks(shape[:2], most):
            block = [a[box] for a in wide]
            size, places = block[0].size, iter(room)
            block += [
                next(places)[:size].reshape(block[0].shape)
                if v is None
                else (v if len(v) == 1 else v[box[0]])
                for v in beside
            ]
            yield box[0], block


@contextmanager
def short_buffers() -> Iterator[None]:
    """Shorten NumPy's buffers to RUN / 2 numbers: no more than a row of `in_blocks` mostly has.

    NumPy copies a row that it broadcasts into its buffers where the row is shorter than a buffer,
    which has 8192 numbers unless set.
    """
    before = np.setbufsize(RUN // 2)
    try:
        yield
    finally:
        np.setbufsize(before)


def add_bias(y: Array, bias: Array) -> None:
    """Add a number per channel to every pixel of y, which must be contiguous."""
    if y.size <= FEW or not 1 < len(bias) < RUN:
        y += bias
        return
    with short_buffers():  # by `y += bias` 3 channels take 3 to 8 times as long, and 64 twice
        for _, (part, shift) in in_blocks(y.dtype, [rows(y, 1)], bias.reshape(1, 1, -1)):
            part += shift


def channel_sum(a: Array, dtype: DType) -> Array:
    """Return the sum over all axes but the last: the adjoint of `add_bias`.

    The sums of the blocks are added in float64: the error does not grow with their number.
    """
    pixels = rows(a, 1)
    if a.size <= FEW:
        few: Array = column_sums(pixels[0].astype(np.float64)).astype(dtype)
        return few
    sums = Sums(pixels)
    for part, (block,) in in_blocks(dtype, [pixels]):
        sums.add(part, column_sums(block.astype(dtype, copy=False)))
    total: Array = sums.total()[0].astype(dtype)
    return total


class Sums:
    """Sums over the rows of an array (B, m, C), in float64, gathered from those of its blocks."""

    def __init__(self, x: Array) -> None:
        parts, _, self.channels = x.shape
        self.wide = np.zeros((parts, together(x) * self.channels))

    def add(self, parts: slice, sums: Array) -> None:
        """Add the sums over the rows of a block of `in_blocks`."""
        self.wide[parts, : sums.shape[-1]] += sums

    def total(self) -> Array:
        """Return the sums, (B, C)."""
        return column_sums(self.wide.reshape(len(self.wide), -1, self.channels))


def column_sums(block: Array) -> Array:
    """Return the sum over the last axis but one.

    A product with a vector of ones is three times as fast as `sum(axis=-2)`.
    """
    sums: Array = np.ones(block.shape[-2], block.dtype) @ block
    return sums
