"""Centre and scale, and project the gradient: what all normalizations share.

An array is taken as rows, (B, m, C): B parts that are normalized each by itself, with m rows of C
channels. In each part the channels form G equal groups, of K = C / G channels, and the m K values
of a group have one mean and one variance:

    normalization                B    m              G
    batch                        1    N * pixels     C
    layer, instance, group       N    pixels         1, C, groups

With root = sqrt(variance + epsilon), x̂ = (x - mean) / root and r = gamma / root,

    y  = r (x - mean) + beta
    dx = r dy - mean(r dy) - x̂ mean(r dy x̂)

Here they stand as they are, for arrays (B, m, G, K). Large ones are done in `_tiles`, or in `_wide`
where a group has a few times as many channels as rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from convinsights import _tiles, _wide
from convinsights._arguments import Array, DType
from convinsights._moments import Moments, gain

__all__ = ["gradients", "normalized", "statistics"]

# Numbers up to which an array is small: laying out tiles would take longer than the rest.
SMALL = 24_000


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G).

    In two passes: E[x²] - E[x]² cancels where the mean is large. The second also measures by how
    much the mean was rounded, `off`, and corrects both for it.
    """
    if (way := _faster(x, groups)) is not None:
        return way.statistics(x, groups, dtype)
    values = _split(x.astype(np.float64), groups)
    mean = _mean(values)
    values -= _spread(mean)
    off = _mean(values)
    variance = np.maximum(_mean(values * values) - off * off, 0)
    return (mean + off).astype(dtype), variance.astype(dtype)


def normalized(
    x: Array, moments: Moments, gamma: Array | None, beta: Array | None, out: Array
) -> None:
    """Write y = r (x - mean) + beta."""
    groups = moments.mean.shape[1]
    if (way := _faster(x, groups)) is not None:
        way.normalized(x, moments, gamma, beta, out)
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

    The sums are over the rows of all parts. If the moments are constant, and not those of x,
    dx = r dy.
    """
    dtype, groups = out.dtype, moments.mean.shape[1]
    if (way := _faster(x, groups)) is not None:
        return way.gradients(dy, x, moments, gamma, out, constant=constant)
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
    return dgamma.sum(axis=0).ravel(), dbeta.sum(axis=0).ravel()


class _Way(NamedTuple):
    """The three laws above, done in another way."""

    statistics: Callable[[Array, int, DType], tuple[Array, Array]]
    normalized: Callable[[Array, Moments, Array | None, Array | None, Array], None]
    gradients: Callable[..., tuple[Array, Array]]


_BY_TILES = _Way(_tiles.statistics, _tiles.normalized, _tiles.gradients)
_BY_PRODUCTS = _Way(_wide.statistics, _wide.normalized, _wide.gradients)


def _faster(x: Array, groups: int) -> _Way | None:
    # A large array leaves the cache between two operations: tile by tile. In wide groups what is
    # broadcast meets few rows: by products. A small one is done as it stands above.
    if x.size <= SMALL:
        return None
    return _BY_PRODUCTS if _wide.is_wide(x, groups) else _BY_TILES


def _split(rows: Array, groups: int) -> Array:
    # (B, m, C) -> (B, m, G, K)
    parts, m, channels = rows.shape
    return rows.reshape(parts, m, groups, channels // groups)


def _sums(values: Array) -> Array:
    # Sums over the rows: (B, m, G, K) -> (B, G, K)
    parts, m, groups, width = values.shape
    sums: Array = np.ones(m) @ values.reshape(parts, m, groups * width)  # quicker than `sum`
    return sums.reshape(parts, groups, width)


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
