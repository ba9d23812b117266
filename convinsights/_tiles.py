"""The normalizations of large arrays: the laws of `_normalize`, tile by tile and block by block.

With the mean and the variance of `_moments`, about its centre c, one per group, and r = gamma /
root, root = sqrt(variance + epsilon),

    y         = r (x - c) + (beta - r (mean - c))
    sum(dy x̂) = (sum(dy (x - c)) - (mean - c) sum(dy)) / root
    dx        = r dy - (a (x - c) + b)    a = mean(r dy x̂) / root, b = mean(r dy) - a (mean - c)

These differences cancel where the mean is many deviations away from c. A c of 0, where that is near
enough, saves one pass over x, and one operation in each of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array, DType
from convinsights._moments import Moments, from_centre, gain, mean_and_variance
from convinsights._passes import (
    PASS,
    Sums,
    column_sums,
    in_blocks,
    short_buffers,
    steps,
    together,
)

__all__ = ["gradients", "normalized", "statistics"]

# A tile has at most so many channels, counting those of all its parts, and each as many times as
# `in_blocks` puts it side by side. Each kind of number per channel (r, a, b, sums) is held for all
# of them at once: in float64 that takes half of PASS, which is in bytes.
TILE = PASS // 16


class Tile(NamedTuple):
    """Some groups of some parts, TILE channels at most; or one group of one part."""

    parts: slice
    groups: slice
    channels: slice
    values: int  # in a group


@short_buffers()
def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G)."""
    mean, variance = np.empty((2, len(x), groups), dtype)
    for tile in _tiles(x, groups):
        here = tile.parts, tile.groups
        mean[here], variance[here] = mean_and_variance(partial(_about, x, tile, dtype), dtype)
    return mean, variance


@short_buffers()
def normalized(
    x: Array,
    moments: Moments,
    gamma: Array | None,
    beta: Array | None,
    out: Array,
) -> None:
    """Write y = r (x - c) + (beta - r (mean - c))."""
    for tile in _tiles(x, moments.mean.shape[1]):
        off, root, centre = _from_centre(moments, tile)
        r = _gain(gamma, root, tile)
        shift = -r * _per_channel(off, tile)
        if beta is not None:
            shift += beta[tile.channels]
        arrays = [_taken(a, tile) for a in (x, out)]
        for _, (centred, y, scale, addend) in _centred(out.dtype, arrays, centre, tile, r, shift):
            np.multiply(centred, scale, out=y)
            y += addend


@short_buffers()
def gradients(
    dy: Array,
    x: Array,
    moments: Moments,
    gamma: Array | None,
    out: Array,
    *,
    constant: bool = False,
) -> tuple[Array, Array]:
    """Write dx = r dy - (a (x - c) + b); return what `_normalize.gradients` returns."""
    dtype = out.dtype
    # In float64, because the sums of many parts are added up here. In dtype if there are more than
    # TILE channels: float64 would take memory then, and of parts so large there are few.
    dgamma, dbeta = np.zeros((2, x.shape[2]), np.float64 if x.shape[2] <= TILE else dtype)
    for tile in _tiles(x, moments.mean.shape[1]):
        off, root, centre = _from_centre(moments, tile)
        taken_x, taken_dy, taken_dx = (_taken(a, tile) for a in (x, dy, out))
        along, level = _sums(taken_x, taken_dy, centre, tile, dtype)
        along -= _per_channel(off, tile)[:, 0] * level
        along /= _per_channel(root, tile)[:, 0]
        dgamma[tile.channels] += along.sum(axis=0)
        dbeta[tile.channels] += level.sum(axis=0)
        r = _gain(gamma, root, tile)
        if constant:
            for _, (slope, dx, scale) in in_blocks(dtype, [taken_dy, taken_dx], r):
                np.multiply(slope, scale, out=dx, dtype=dtype)
            continue
        a = _group_sums(r[:, 0] * along, root.shape[1]) / tile.values / root
        b = _group_sums(r[:, 0] * level, root.shape[1]) / tile.values - a * off
        arrays = [taken_x, taken_dy, taken_dx]
        numbers = r, _per_channel(a, tile), _per_channel(b, tile), None
        for _, block in _centred(dtype, arrays, centre, tile, *numbers):
            centred, slope, dx, scale, factor, addend, room = block
            np.multiply(slope, scale, out=dx)
            np.multiply(centred, factor, out=room)
            room += addend
            dx -= room
    return dgamma.astype(dtype, copy=False), dbeta.astype(dtype, copy=False)


def _from_centre(moments: Moments, tile: Tile) -> tuple[Array, Array, Array | None]:
    return from_centre(Moments(*(a[tile.parts, tile.groups] for a in moments)))


def _about(x: Array, tile: Tile, dtype: DType, centre: Array | None) -> tuple[Array, Array]:
    # E[x - c] and E[(x - c)²] of the groups of a tile, in float64
    squares, total = _sums(_taken(x, tile), None, centre, tile, dtype)
    groups = tile.groups.stop - tile.groups.start
    return _group_sums(total, groups) / tile.values, _group_sums(squares, groups) / tile.values


def _sums(
    x: Array, dy: Array | None, centre: Array | None, tile: Tile, dtype: DType
) -> tuple[Array, Array]:
    # sum(dy (x - c)) and sum(dy) over the rows, each (b, channels), in float64; None: dy = x - c
    along, level = Sums(x), Sums(x)
    arrays = [x] if dy is None else [x, dy]
    for parts, block in _centred(dtype, arrays, centre, tile):
        centred, slope = block[0], block[-1]
        along.add(parts, np.einsum("bmc,bmc->bc", slope, centred))
        level.add(parts, column_sums(slope))
    return along.total(), level.total()


def _centred(
    dtype: DType,
    arrays: list[Array],
    centre: Array | None,
    tile: Tile,
    *values: Array | None,
) -> Iterator[tuple[slice, list[Array]]]:
    # The blocks of `in_blocks`, with x - c in place of x, the first of the arrays, all in dtype.
    # What has that dtype already, as `out` has, stays a view, so that writing to it reaches `out`.
    more = [] if centre is None else [_per_channel(centre, tile), None]
    for parts, block in in_blocks(dtype, arrays, *values, *more):
        if more:
            middle, room = block.pop(-2), block.pop()
            block[0] = np.subtract(block[0], middle, out=room, dtype=dtype)
        yield parts, [a.astype(dtype, copy=False) for a in block]


def _tiles(x: Array, groups: int) -> Iterator[Tile]:
    # As many parts as fit, with all groups; of a part that does not fit, as many groups
    parts, m, channels = x.shape
    width = channels // groups  # of a group
    row = together(x) * channels
    for some in steps(parts, TILE // row):
        for few in steps(groups, TILE // width):
            yield Tile(some, few, slice(few.start * width, few.stop * width), m * width)


def _taken(rows: Array, tile: Tile) -> Array:
    return rows[tile.parts, :, tile.channels]


def _per_channel(values: Array, tile: Tile) -> Array:
    # The number of its group for every channel of a tile: (b, g) -> (b, 1, channels)
    width = (tile.channels.stop - tile.channels.start) // values.shape[1]
    return (np.repeat(values, width, axis=1) if width > 1 else values)[:, np.newaxis]


def _group_sums(values: Array, groups: int) -> Array:
    # Sums over the channels of a group: (b, channels) -> (b, g)
    if values.shape[1] == groups:  # of one channel each
        return values
    by_group = values.reshape(len(values), groups, -1)
    sums: Array = by_group @ np.ones(by_group.shape[2])  # of 4, five times as fast as `sum`
    return sums


def _gain(gamma: Array | None, root: Array, tile: Tile) -> Array:
    # r, (b, 1, channels)
    return gain(None if gamma is None else gamma[tile.channels], _per_channel(root, tile))
