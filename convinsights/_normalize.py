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

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convinsights import _tiles, _wide
from convinsights._arguments import Array, DType

__all__ = ["Moments", "denominator", "gradients", "normalized", "statistics"]

# Numbers up to which an array is small: laying out tiles would take longer than the rest.
SMALL = 2**15


class Moments(NamedTuple):
    """Mean, variance and sqrt(variance + epsilon) of every group, each (B, G)."""

    mean: Array
    variance: Array
    root: Array


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G).

    Mean first and variance second: E[x²] - E[x]² cancels where the mean is large. How far the mean
    is rounded off is measured in the second pass, and taken out of both.
    """
    if x.size > SMALL:
        if _wide.is_wide(x, groups):
            return _wide.statistics(x, groups, dtype)
        return _tiles.statistics(x, groups, dtype)
    values = _split(x.astype(np.float64), groups)
    mean = _mean(values)
    values -= _spread(mean)
    off = _mean(values)
    variance = np.maximum(_mean(values * values) - off * off, 0)
    return (mean + off).astype(dtype), variance.astype(dtype)


def denominator(variance: Array, epsilon: float, axes: Sequence[str] = ("channel",)) -> Array:
    """Return sqrt(variance + epsilon); `axes` name the entries of a variance in the refusal."""
    raised = variance + epsilon
    if (raised <= 0).any():
        index = np.argwhere(raised <= 0)[0]
        where = ", ".join(f"{axis} {entry}" for axis, entry in zip(axes, index, strict=True))
        raise ValueError(
            f"variance + epsilon must be positive, got 0 for {where} and epsilon = {epsilon}"
        )
    return np.sqrt(raised, out=raised)


def normalized(
    x: Array, moments: Moments, gamma: Array | None, beta: Array | None, out: Array
) -> None:
    """Write y = r (x - mean) + beta."""
    if x.size > SMALL:
        if _wide.is_wide(x, moments.mean.shape[1]):
            return _wide.normalized(x, moments, gamma, beta, out)
        return _tiles.normalized(x, moments, gamma, beta, out)
    groups = moments.mean.shape[1]
    y = _split(out, groups)
    np.subtract(_split(x, groups), _spread(moments.mean), out=y, dtype=out.dtype)
    y *= _scale(gamma, moments.root)
    if beta is not None:
        y += beta.reshape(groups, -1)
    return None


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
    if x.size > SMALL:
        if _wide.is_wide(x, moments.mean.shape[1]):
            return _wide.gradients(dy, x, moments, gamma, out)
        return _tiles.gradients(dy, x, moments, gamma, out, constant=constant)
    dtype, groups = out.dtype, moments.mean.shape[1]
    slopes, values, dx = (_split(a, groups) for a in (dy, x, out))
    normal = np.subtract(values, _spread(moments.mean), dtype=dtype)
    normal /= _spread(moments.root)
    dgamma, dbeta = _sums(slopes * normal), _sums(slopes)
    np.multiply(slopes, _scale(gamma, moments.root), out=dx, dtype=dtype)
    if not constant:
        along, level = _mean(dx * normal), _mean(dx)
        normal *= _spread(along.astype(dtype))
        dx -= normal
        dx -= _spread(level.astype(dtype))
    return dgamma.sum(axis=0).ravel(), dbeta.sum(axis=0).ravel()


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


def _scale(gamma: Array | None, root: Array) -> Array:
    # r = gamma / root, (B, 1, G, K) or (B, 1, G, 1), in the root's dtype
    if gamma is None:
        return 1 / _spread(root)
    return gamma.astype(root.dtype, copy=False).reshape(root.shape[1], -1) / _spread(root)
