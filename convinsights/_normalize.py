"""Centre and scale, and the gradient of both: what all normalizations share.

An array is taken as rows, (B, m, C): B parts that are normalized each by itself, with m rows of C
channels. In each part the channels form G equal groups, of K = C / G channels, and the m K values
of a group have one mean and one variance:

    normalization                B    m              G
    batch                        1    N * pixels     C
    layer, instance, group       N    pixels         1, C, groups

With root = sqrt(variance + epsilon), x̂ = (x - mean) / root and r = gamma / root,

    y  = r (x - mean) + beta
    dx = r dy - mean(r dy) - x̂ mean(r dy x̂)

Here they stand as they are, for arrays (B, m, G, K) of few numbers. A large array would leave the
cache between two operations: it is done in `_tiles`, or in `_wide` where a group has more than
twice as many channels as rows, or where a part is one group, and small.
"""

from __future__ import annotations

import numpy as np

from convinsights import _tiles, _wide
from convinsights._arguments import Array, DType
from convinsights._moments import Moments, gain, variance_from
from convinsights._passes import FEW, column_sums

__all__ = ["gradients", "normalized", "statistics"]


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G).

    The first mean has the rounding error of its sum. `off`, the mean of what is left when it is
    subtracted, corrects mean and variance (see `_moments`, with c the first mean).
    """
    if x.size > FEW:
        if _wide.is_wide(x, groups):
            return _wide.statistics(x, groups, dtype)
        return _tiles.statistics(x, groups, dtype)
    values = _split(x.astype(np.float64), groups)
    mean = _mean(values)
    values -= _spread(mean)
    off = _mean(values)
    variance = variance_from(off, _mean(values * values))
    return (mean + off).astype(dtype), variance.astype(dtype)


def normalized(
    x: Array, moments: Moments, gamma: Array | None, beta: Array | None, out: Array
) -> None:
    """Write y = r (x - mean) + beta."""
    groups = moments.mean.shape[1]
    if x.size > FEW:
        if _wide.is_wide(x, groups):
            _wide.normalized(x, moments, gamma, beta, out)
        else:
            _tiles.normalized(x, moments, gamma, beta, out)
        return
    y = _split(out, groups)
    np.subtract(_split(x, groups), _spread(moments.mean), out=y, dtype=out.dtype)
    y *= _gain(gamma, moments.root)
    if beta is not None:
        y += beta.reshape(groups, -1)


def gradients(
    dy: Array,
    x: Array,
    moments: Moments,
    gamma: Array | None,
    out: Array,
    *,
    constant: bool = False,
) -> tuple[Array, Array]:
    """Write dx = r dy - mean(r dy) - x̂ mean(r dy x̂); return sum(dy x̂) and sum(dy), each (C,).

    The sums are over the rows of all parts. With constant moments, as in inference, dx = r dy.
    (Every group is one channel then, so never wide.)
    """
    dtype, groups = out.dtype, moments.mean.shape[1]
    if x.size > FEW:
        if _wide.is_wide(x, groups):
            return _wide.gradients(dy, x, moments, gamma, out)
        return _tiles.gradients(dy, x, moments, gamma, out, constant=constant)
    slopes, values, dx = (_split(a, groups) for a in (dy, x, out))
    normal = np.subtract(values, _spread(moments.mean), dtype=dtype)
    normal /= _spread(moments.root)
    dgamma, dbeta = _sums(slopes * normal), _sums(slopes)
    np.multiply(slopes, _gain(gamma, moments.root), out=dx, dtype=dtype)
    if not constant:
        along, level = _mean(dx * normal), _mean(dx)
        normal *= _spread(along.astype(dtype))
        dx -= normal
        dx -= _spread(level.astype(dtype))
    of_parts = (each.sum(axis=0).ravel() for each in (dgamma, dbeta))
    dgamma, dbeta = (total.astype(dtype, copy=False) for total in of_parts)
    return dgamma, dbeta


def _split(rows: Array, groups: int) -> Array:
    # (B, m, C) -> (B, m, G, K)
    parts, m, channels = rows.shape
    return rows.reshape(parts, m, groups, channels // groups)


def _sums(values: Array) -> Array:
    # Sums over the rows, in float64: (B, m, G, K) -> (B, G, K)
    parts, m, groups, width = values.shape
    rows = values.reshape(parts, m, groups * width).astype(np.float64, copy=False)
    return column_sums(rows).reshape(parts, groups, width)


def _mean(values: Array) -> Array:
    # (B, m, G, K) -> (B, G), in float64
    _, m, _, width = values.shape
    mean: Array = np.add.reduce(_sums(values), axis=2) / (m * width)
    return mean


def _spread(values: Array) -> Array:
    # (B, G) -> (B, 1, G, 1)
    return values[:, np.newaxis, :, np.newaxis]


def _gain(gamma: Array | None, root: Array) -> Array:
    # r, (B, 1, G, K) or (B, 1, G, 1)
    return gain(None if gamma is None else gamma.reshape(root.shape[1], -1), _spread(root))
