"""Passes over an array, block by block, with numbers that belong to its channels.

NumPy carries out an expression one operation at a time. That is fast where

* one operation finds in the cache what the last one left there: `blocks` cuts the array,
* the innermost loop is long: `in_blocks` shows neighbouring rows as one with many channels,
* everything that is added or multiplied lies in memory alike. What is broadcast, and whatever goes
  with it, NumPy copies through buffers: `in_blocks` repeats the channels' numbers for a block,
* it writes to memory that is in the cache. Other memory is fetched before it is written to, except
  by a plain copy: `in_blocks` has room for results, and the finished block is copied out,
* what it writes to begins with a cache line, as that room does. A multiplication of 64 bytes at a
  time takes twice as long where it does not.

Batch normalization takes 1.1 times as long without the last, 1.1 to 1.2 times without the fourth,
1.2 to 1.3 times without the third, and that of 3 channels 2.3 times without the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from convinsights._arguments import Array, DType

__all__ = [
    "BLOCK",
    "Box",
    "Sums",
    "add_bias",
    "blocks",
    "channel_sum",
    "column_sums",
    "in_blocks",
    "rows",
]

Box = tuple[slice, ...]

# Bytes of a block of one array. Several passes over a block that stays in the cache of one core
# cost little more than one over the whole array.
BLOCK = 2**18

# Bytes that a block of all arrays together may take, numbers and room included, to stay there. With
# eight of them, blocks of 256 KiB take 1.1 to 1.3 times as long.
CACHE = 2**20

# Numbers of each part that a block has at least: NumPy copies through buffers of 8192 numbers what
# lies in shorter pieces. With 8 parts and without this they take 1.1 to 1.6 times as long.
PIECE = 2**14

# Bytes of a cache line.
LINE = 64

# Numbers that are put side by side at most: starting a loop, which costs as much as some 30 of its
# steps, then costs 3 %, and a few rows, 4 KiB each in float32, still fit in the nearest cache. It
# also leaves few rows in a block, so that little is lost when they are summed in float32.
RUN = 1024


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
    parts = -(-shape[axis - 1] // max(1, most // inner))
    step = -(-shape[axis - 1] // parts)
    for outer in np.ndindex(*shape[: axis - 1]):
        fixed = tuple(slice(index, index + 1) for index in outer)
        for start in range(0, shape[axis - 1], step):
            yield (*fixed, slice(start, start + step), *whole)


def rows(x: Array, parts: int) -> Array:
    """Return x (N, …, C) as (B, m, C), contiguous; what is written to it reaches x if x is too."""
    return np.ascontiguousarray(x).reshape(parts, math.prod(x.shape[:-1]) // parts, x.shape[-1])


def together(count: int, channels: int) -> int:
    """Return how many neighbouring rows `in_blocks` shows as one.

    As many as fit in RUN, or down to half as many if then no row is left over.
    """
    most = max(1, min(count, RUN // channels))
    return next((t for t in range(most, most // 2, -1) if count % t == 0), most)


def in_blocks(
    dtype: DType, arrays: Sequence[Array], *values: Array | None
) -> Iterator[list[Array]]:
    """Go through contiguous arrays (B, m, C), a block of their rows at a time, as views.

    Of t = `together(m, C)` neighbours a block makes one row of t C channels; the m mod t rows that
    are left come last, as they are.

    Yields views of the arrays, then for each of the values the numbers of the channels, (B, 1, C)
    or (C,), repeated in dtype to the shape of the block; or, for None, room of that shape to write
    to: the same memory for every block.
    """
    parts, m, channels = arrays[0].shape
    most_together = together(m, channels)
    whole = m - m % most_together
    size = min(BLOCK, CACHE // (len(arrays) + len(values)))
    for first, last, t in ((0, whole, most_together), (whole, m, 1)):
        if first == last:
            continue
        width = t * channels
        wide = [a[:, first:last].reshape(parts, (last - first) // t, width) for a in arrays]
        most = max(1, PIECE // width, size // (parts * width * dtype.itemsize))
        repeated: list[Array] = []
        for (box,) in blocks(wide[0].shape[1:2], most):
            block = [a[:, box] for a in wide]
            shape = block[0].shape
            if not repeated:  # no later block has more rows
                repeated = [_repeated(a, t, shape, dtype) for a in values]
            yield block + [a[:, : shape[1]] for a in repeated]


def _repeated(values: Array | None, t: int, shape: tuple[int, ...], dtype: DType) -> Array:
    repeated = _room(shape, dtype)
    if values is not None:
        repeated[...] = np.tile(values.astype(dtype, copy=False), t)
    return repeated


def _room(shape: tuple[int, ...], dtype: DType) -> Array:
    # Memory from the start of a cache line; NumPy's own starts anywhere in one.
    memory = np.empty(math.prod(shape) * dtype.itemsize + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return memory[start : len(memory) - LINE + start].view(dtype).reshape(shape)


def add_bias(y: Array, bias: Array) -> None:
    """Add a number per channel to every pixel of y, which must be contiguous."""
    if 1 < len(bias) < 32:  # plainly, 3 channels take 3 to 8 times as long
        for part, shift in in_blocks(y.dtype, [rows(y, 1)], bias):
            part += shift
    else:
        y += bias


def channel_sum(a: Array, dtype: DType) -> Array:
    """Return the sum over all axes but the last: the adjoint of `add_bias`.

    The sums of the blocks are added in float64: the error does not grow with their number.
    """
    pixels = rows(a, 1)
    sums = Sums(pixels)
    for (part,) in in_blocks(dtype, [pixels]):
        sums.add(column_sums(part.astype(dtype, copy=False)))
    total: Array = sums.total()[0].astype(dtype)
    return total


class Sums:
    """Sums over the rows of an array (B, m, C), in float64, gathered from those of its blocks."""

    def __init__(self, x: Array) -> None:
        parts, m, self.channels = x.shape
        self.wide = np.zeros((parts, together(m, self.channels) * self.channels))

    def add(self, sums: Array) -> None:
        """Add the sums over the rows of a block of `in_blocks`."""
        self.wide[:, : sums.shape[-1]] += sums

    def total(self) -> Array:
        """Return the sums, (B, C)."""
        total: Array = self.wide.reshape(len(self.wide), -1, self.channels).sum(axis=1)
        return total


def column_sums(part: Array) -> Array:
    """Return the sum over the last axis but one.

    A product with a vector of ones is three times as fast as `sum(axis=-2)`.
    """
    sums: Array = np.ones(part.shape[-2], part.dtype) @ part
    return sums
