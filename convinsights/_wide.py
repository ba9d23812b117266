"""The normalizations of wide groups: the laws of `_normalize`, a few parts at a time.

A group is wide if it has more than twice as many channels as rows, as in layer normalization of
words (a row each: r = gamma / root then has as many numbers as x). Broadcasting then saves little,
for few rows share what is broadcast. So the factor s and the addend t of every number of x are laid
out in full, each the product of a pair that belongs to its row and a pair that belongs to its
channel: about the centre c of `_tiles`,

    y = s (x - c) + t    s = (1 / root, 0) (gamma, 0)    t = ((c - mean) / root, 1) (gamma, beta)

Per group, the pairs of the n rows of x are one matrix (n, 2), those of the K channels another
(2, K). (NumPy multiplies matrices of inner length 2 several times as fast as of 1: hence the
zeros.) Sums are products too: with gamma over the channels of a group, with 1 / root over the rows
of x.

    sum(dy x̂) = sum(dy (x - c) / root) - sum(dy (mean - c) / root)
    dx        = r dy - (a (x - c) + b), a and b as in `_tiles`
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from convinsights._arguments import Array, DType
from convinsights._moments import Moments, from_centre, mean_and_variance
from convinsights._passes import PASS, RUN, steps
from convinsights._tiles import TILE

__all__ = ["gradients", "is_wide", "normalized", "statistics"]

# How many times as many channels as rows make a group wide. With 1, normalizing 8 rows of 256
# channels in 16 groups takes 1.2 times as long; with 3, 49 rows of 128 channels in one group 1.3
# times; with 8, 20000 images of one row of 64 channels, in 8 groups, 2 times.
WIDE = 2


def is_wide(x: Array, groups: int) -> bool:
    """Tell whether the groups of x (B, m, C) are wide, once `_as_rows` has laid them out."""
    values, m = _as_rows(x, groups)
    return bool(values.shape[2] > WIDE * m)


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G)."""
    return mean_and_variance(partial(_about, *_as_rows(x, groups), dtype), dtype)


def normalized(
    x: Array,
    moments: Moments,
    gamma: Array | None,
    beta: Array | None,
    out: Array,
) -> None:
    """Write y = r (x - c) + (beta - r (mean - c))."""
    values, m = _as_rows(x, moments.mean.shape[1])
    y, dtype = out.reshape(values.shape), out.dtype
    off, root, centre = from_centre(Moments(*(np.repeat(a, m, axis=0) for a in moments)))
    gammas, betas = _by_group(gamma, values), _by_group(beta, values)
    s_left, t_left = _left(1 / root, 0), _left(-off / root, 1)
    for some in _batches(values, m, dtype, len(values)):
        for piece in steps(values.shape[2], TILE):
            part = y[some, :, piece]
            centred = _centred(values[some, :, piece], some, centre, dtype)
            np.multiply(centred, _product(s_left[:, some], _right(gammas, part, piece)), out=part)
            part += _product(t_left[:, some], _right(gammas, part, piece, betas))


def gradients(
    dy: Array,
    x: Array,
    moments: Moments,
    gamma: Array | None,
    out: Array,
) -> tuple[Array, Array]:
    """Write dx = r dy - (a (x - c) + b); return what `_normalize.gradients` returns."""
    values, m = _as_rows(x, moments.mean.shape[1])
    slopes, dx, dtype = dy.reshape(values.shape), out.reshape(values.shape), out.dtype
    _, groups, width = values.shape
    off, root, centre = from_centre(Moments(*(np.repeat(a, m, axis=0) for a in moments)))
    gammas, inverse = _by_group(gamma, values), 1 / root
    s_left, t_left = _left(inverse, 0), _left(-off * inverse, 1)
    # Of dy x̂ and of dy. In float64 or dtype as in `_tiles`.
    sums = np.zeros((groups, 2, width), np.float64 if groups * width <= TILE else dtype)
    # RUN rows at most, or one part: these are added in dtype, and their sums to `sums`.
    for some in _batches(values, m, dtype, RUN):
        # The first pass, for the sums. dx is room for dy (x - c).
        along, level = np.zeros((2, *off[some].shape))
        for piece in steps(values.shape[2], TILE):
            centred = _centred(values[some, :, piece], some, centre, dtype)
            slope, part = slopes[some, :, piece].astype(dtype, copy=False), dx[some, :, piece]
            np.multiply(slope, centred, out=part)
            # -sum(dy (mean - c) / root) and sum(dy); then sum(dy (x - c) / root) added to the first
            row_sums = t_left[:, some].swapaxes(1, 2) @ slope.swapaxes(0, 1)
            row_sums[:, :1] += inverse[some].T[:, np.newaxis] @ part.swapaxes(0, 1)
            sums[..., piece] += row_sums
            along += _group_sums(part, gammas, piece, m)
            level += _group_sums(slope, gammas, piece, m)
        # The second pass, for dx. Over a group, along = sum(gamma dy (x - c)), level = sum(gamma
        # dy). So a = mean(r dy x̂) / root has 1 / root three times; in b, mean(r dy) has it once.
        share = inverse[some] / (m * width)
        a = (along - off[some] * level) * (share * inverse[some] ** 2)
        a_left, b_left = _left(a, 0), _left(share * level - a * off[some], 0)
        for piece in steps(values.shape[2], TILE):
            slope, part = slopes[some, :, piece], dx[some, :, piece]
            table = _product(s_left[:, some], _right(gammas, part, piece))
            np.multiply(slope, table, out=part, dtype=dtype)
            ones = _right(None, part, piece)
            table = _product(a_left, ones)
            table *= _centred(values[some, :, piece], some, centre, dtype)
            part -= table
            part -= _product(b_left, ones)
    # A part that was taken as one row has its channels several times.
    of_channels = (sums[:, i].reshape(-1, x.shape[2]).sum(axis=0) for i in range(2))
    dgamma, dbeta = (total.astype(dtype, copy=False) for total in of_channels)
    return dgamma, dbeta


def _about(values: Array, m: int, dtype: DType, centre: Array | None) -> tuple[Array, Array]:
    # E[x - c] and E[(x - c)²] of every group, in float64
    level, square = np.zeros((2, *values.shape[:2]))
    middle = None if centre is None else np.repeat(centre, m, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows about 0 gets a second pass
        for some in _batches(values, m, dtype, len(values)):
            for piece in steps(values.shape[2], TILE):
                centred = _centred(values[some, :, piece], some, middle, dtype)
                level[some] += _group_sums(centred, None, piece, m)
                square[some] += _group_sums(centred * centred, None, piece, m)
    return level[::m] / (m * values.shape[2]), square[::m] / (m * values.shape[2])


def _centred(values: Array, some: slice, centre: Array | None, dtype: DType) -> Array:
    if centre is None:
        return values.astype(dtype, copy=False)
    return np.subtract(values, centre[some, :, np.newaxis], dtype=dtype)


def _group_sums(values: Array, weights: Array | None, piece: slice, m: int) -> Array:
    # Sums over all rows of a part and some channels of each group, weighted by (G, K): (n, G, k) ->
    # (n, G), repeated for the m rows of a part. RUN numbers are added in their own precision, their
    # sums in float64.
    n, groups, width = values.shape
    by_group, total = values.swapaxes(0, 1), np.zeros((groups, n, 1))
    for start in range(0, width, RUN):
        run = by_group[:, :, start : start + RUN]
        row = np.ones((1, run.shape[2]), run.dtype)
        if weights is not None:
            first = piece.start + start
            row = weights[:, first : first + run.shape[2]].astype(run.dtype, copy=False)
        total += run @ row[:, :, np.newaxis]
    if m > 1:
        total = np.repeat(total.reshape(groups, -1, m).sum(axis=2), m, axis=1)
    return total.reshape(groups, n).T


def _left(first: Array, second: int) -> Array:
    # One number for each row and each of its groups, (n, G), and `second` beside it: (G, n, 2)
    left = np.full((*first.T.shape, 2), second, first.dtype)
    left[..., 0] = first.T
    return left


def _right(first: Array | None, like: Array, piece: slice, second: Array | None = None) -> Array:
    # For some channels of every group: `first` in one row (1 if None), `second` in the next (0 if
    # None), each given as (G, K): (G, 2, k)
    _, groups, width = like.shape
    right = np.zeros((groups, 2, width), like.dtype)
    right[:, 0] = 1 if first is None else first[:, piece]
    if second is not None:
        right[:, 1] = second[:, piece]
    return right


def _product(left: Array, right: Array) -> Array:
    # (G, n, 2) (G, 2, k) -> (n, G, k)
    table = np.empty((left.shape[1], len(right), right.shape[2]), right.dtype)
    np.matmul(left.astype(right.dtype, copy=False), right, out=table.swapaxes(0, 1))
    return table


def _batches(values: Array, m: int, dtype: DType, most: int) -> Iterator[slice]:
    # The rows of some parts: as many as stay in the cache, at most `most`, or one part
    n, groups, width = values.shape
    most = min(PASS // (groups * width * dtype.itemsize), most) // m
    return (slice(some.start * m, some.stop * m) for some in steps(n // m, most))


def _as_rows(x: Array, groups: int) -> tuple[Array, int]:
    # (B m, G, K) and m, or (B, 1, m C) and 1: a small part of one group becomes a single row, for
    # all of its numbers have one mean. (Images of 4 words of 16 channels then take a third of the
    # time.)
    parts, m, channels = x.shape
    if groups == 1 and m * channels <= RUN:
        return x.reshape(parts, 1, m * channels), 1
    return x.reshape(parts * m, groups, channels // groups), m


def _by_group(vector: Array | None, values: Array) -> Array | None:
    # (C,) -> (G, K), in which it is repeated where rows are taken as one
    if vector is None:
        return None
    _, groups, width = values.shape
    return np.tile(vector, groups * width // len(vector)).reshape(groups, width)
