"""Centre and scale, and project the gradient: what all normalizations share.

An array is taken as rows, (B, m, C): B parts that are normalized each by itself, with m rows of C
channels. In each part the channels form G equal groups, and the m C / G values of a group have one
mean and one variance:

    normalization                B    m              G
    batch                        1    N * pixels     C
    layer, instance, group       N    pixels         1, C, groups

Everything that is one number per channel of a part is (B, 1, C), equal within a group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from convinsights._arguments import Array, DType
from convinsights._products import blocks, widened

__all__ = [
    "BLOCK",
    "denominator",
    "gradient",
    "normalized",
    "rows",
    "scale_of",
    "spread",
    "statistics",
    "sums",
]

# Bytes of a block: a few of them fit in the cache of one core. Several passes over a block that
# stays there cost little more than one over all of x.
BLOCK = 2**18


def rows(x: Array, parts: int) -> Array:
    """Return x (N, …, C) as (B, m, C), contiguous: a view if x is, as it must be to write to it."""
    return np.ascontiguousarray(x).reshape(parts, math.prod(x.shape[:-1]) // parts, x.shape[-1])


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G).

    Mean first and variance second: E[x²] - E[x]² cancels where the mean is large. The rounding of
    the mean itself is measured in the second pass and taken out of both.
    """
    m, channels = x.shape[1:]
    t, (x,) = widened(1, x)
    total = np.zeros((len(x), t * channels))
    for block in _blocks(x, dtype):
        total += _column_sums(x[:, block].astype(dtype, copy=False))
    mean = _by_group(_folded(total, t), groups).mean(axis=-1) / m
    centre = spread(mean, channels).astype(dtype)
    wide = np.tile(centre, t)
    centred_sum, square_sum = np.zeros((2, len(x), t * channels))
    for block in _blocks(x, dtype):
        centred = np.subtract(x[:, block], wide, dtype=dtype)
        centred_sum += _column_sums(centred)
        square_sum += np.einsum("bmc,bmc->bc", centred, centred)
    off = _by_group(_folded(centred_sum, t), groups).mean(axis=-1) / m
    square = _by_group(_folded(square_sum, t), groups).mean(axis=-1) / m
    mean = centre[:, 0, :: channels // groups] + off
    return mean.astype(dtype), np.maximum(square - off**2, 0).astype(dtype)


def denominator(variance: Array, epsilon: float, axes: Sequence[str] = ("channel",)) -> Array:
    """Return sqrt(variance + epsilon); `axes` name the entries of a variance in the refusal."""
    raised = variance + epsilon
    if (raised <= 0).any():
        index = np.unravel_index(int(raised.argmin()), raised.shape)
        where = ", ".join(f"{axis} {entry}" for axis, entry in zip(axes, index, strict=True))
        raise ValueError(
            f"variance + epsilon must be positive, got 0 for {where} and epsilon = {epsilon}"
        )
    return np.sqrt(raised)


def scale_of(gamma: Array | None, root: Array) -> Array:
    """Return gamma over the root, in the root's dtype."""
    return 1 / root if gamma is None else gamma.astype(root.dtype, copy=False) / root


def spread(values: Array, channels: int) -> Array:
    """Give every channel the number of its group: (B, G) -> (B, 1, C)."""
    return np.repeat(values, channels // values.shape[1], axis=1)[:, np.newaxis]


def normalized(x: Array, mean: Array, scale: Array, beta: Array | None, out: Array) -> None:
    """Write (x - mean) scale + beta."""
    t, (x, out) = widened(1, x, out)
    mean, scale = np.tile(mean, t), np.tile(scale, t)
    shift = None if beta is None else np.tile(beta.astype(out.dtype, copy=False), t)
    for block in _blocks(x, out.dtype):
        np.subtract(x[:, block], mean, out=out[:, block])
        out[:, block] *= scale
        if shift is not None:
            out[:, block] += shift


def sums(dy: Array, x: Array, mean: Array, root: Array, dtype: DType) -> tuple[Array, Array]:
    """Return the sums over the rows of dy x̂ and of dy, each (B, 1, C) in float64."""
    t, (dy, x) = widened(1, dy, x)
    mean = np.tile(mean, t)
    along, level = np.zeros((2, len(x), x.shape[-1]))
    for block in _blocks(x, dtype):
        part = dy[:, block].astype(dtype, copy=False)
        along += np.einsum("bmc,bmc->bc", part, x[:, block] - mean)
        level += _column_sums(part)
    return _folded(along, t)[:, np.newaxis] / root, _folded(level, t)[:, np.newaxis]


def gradient(
    dy: Array,
    x: Array,
    mean: Array,
    root: Array,
    scale: Array,
    dgamma: Array,
    dbeta: Array,
    groups: int,
    out: Array,
) -> None:
    """Write dx = r dy - mean(r dy) - x̂ mean(r dy x̂), with r = scale, the means per group.

    dgamma and dbeta are the `sums`: a group's mean of r dy is that of its channels' r dbeta / m.
    """
    m, channels = x.shape[1:]
    level, along = (
        spread(_by_group((scale * total)[:, 0], groups).mean(axis=-1) / m, channels)
        for total in (dbeta, dgamma)
    )
    t, (dy, x, out) = widened(1, dy, x, out)
    mean, scale = np.tile(mean, t), np.tile(scale, t)
    level = np.tile(level.astype(out.dtype), t)
    along = np.tile((along / root).astype(out.dtype), t)
    for block in _blocks(x, out.dtype):
        np.multiply(dy[:, block], scale, out=out[:, block], dtype=out.dtype)
        part = np.subtract(x[:, block], mean, dtype=out.dtype)
        part *= along
        out[:, block] -= part
        out[:, block] -= level


def _blocks(x: Array, dtype: DType) -> list[slice]:
    # The rows of an array, a block at a time
    parts, m, channels = x.shape
    most = max(1, BLOCK // (parts * channels * dtype.itemsize))
    return [block for (block,) in blocks((m,), most)]


def _column_sums(part: Array) -> Array:
    # (B, m, C) -> (B, C); see `_products.channel_sum`
    sums: Array = np.ones(part.shape[1], part.dtype) @ part
    return sums


def _folded(values: Array, t: int) -> Array:
    # Add up the t neighbours that `widened` put side by side: (B, t C) -> (B, C)
    folded: Array = values.reshape(len(values), t, -1).sum(axis=1)
    return folded


def _by_group(values: Array, groups: int) -> Array:
    # (B, C) -> (B, G, C // G)
    return values.reshape(len(values), groups, -1)
