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

from collections.abc import Sequence

import numpy as np

from convinsights._arguments import Array, DType
from convinsights._passes import Sums, column_sums, in_blocks

__all__ = [
    "denominator",
    "gradient",
    "normalized",
    "per_channel",
    "scale_of",
    "statistics",
    "sums",
]


def statistics(x: Array, groups: int, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the (biased) variance of every group, each (B, G).

    Mean first and variance second: E[x²] - E[x]² cancels where the mean is large. How far the mean
    is rounded off is measured in the second pass and taken out of both; the mean is rounded again.
    """
    m, channels = x.shape[1:]
    total, centred_sum, square_sum = Sums(x), Sums(x), Sums(x)
    for (part,) in in_blocks(dtype, [x]):
        total.add(column_sums(part.astype(dtype, copy=False)))
    mean = _by_group(total.total(), groups).mean(axis=-1) / m
    centre = per_channel(mean, channels).astype(dtype)
    for part, middle, centred in in_blocks(dtype, [x], centre, None):
        np.subtract(part, middle, out=centred, dtype=dtype)
        centred_sum.add(column_sums(centred))
        square_sum.add(np.einsum("bmc,bmc->bc", centred, centred))
    off = _by_group(centred_sum.total(), groups).mean(axis=-1) / m
    square = _by_group(square_sum.total(), groups).mean(axis=-1) / m
    mean = centre[:, 0, :: channels // groups] + off
    return mean.astype(dtype), np.maximum(square - off**2, 0).astype(dtype)


def denominator(variance: Array, epsilon: float, axes: Sequence[str] = ("channel",)) -> Array:
    """Return sqrt(variance + epsilon); `axes` name the entries of a variance in the refusal."""
    raised = variance + epsilon
    if (raised <= 0).any():
        index = np.argwhere(raised <= 0)[0]
        where = ", ".join(f"{axis} {entry}" for axis, entry in zip(axes, index, strict=True))
        raise ValueError(
            f"variance + epsilon must be positive, got 0 for {where} and epsilon = {epsilon}"
        )
    return np.sqrt(raised)


def scale_of(gamma: Array | None, root: Array) -> Array:
    """Return gamma over the root, in the root's dtype."""
    return 1 / root if gamma is None else gamma.astype(root.dtype, copy=False) / root


def per_channel(values: Array, channels: int) -> Array:
    """Give every channel the number of its group: (B, G) -> (B, 1, C)."""
    return np.repeat(values, channels // values.shape[1], axis=1)[:, np.newaxis]


def normalized(x: Array, mean: Array, scale: Array, beta: Array | None, out: Array) -> None:
    """Write (x - mean) scale + beta."""
    values = [mean, scale] if beta is None else [mean, scale, beta]
    for part, target, y, centre, factor, *shift in in_blocks(out.dtype, [x, out], None, *values):
        np.subtract(part, centre, out=y)
        y *= factor
        if shift:
            y += shift[0]
        target[...] = y


def sums(dy: Array, x: Array, mean: Array, root: Array, dtype: DType) -> tuple[Array, Array]:
    """Return the sums over the rows of dy x̂ and of dy, each (B, 1, C) in float64."""
    along, level = Sums(x), Sums(x)
    for part, values, centre, centred in in_blocks(dtype, [dy, x], mean, None):
        slope = part.astype(dtype, copy=False)
        np.subtract(values, centre, out=centred, dtype=dtype)
        along.add(np.einsum("bmc,bmc->bc", slope, centred))
        level.add(column_sums(slope))
    return along.total()[:, np.newaxis] / root, level.total()[:, np.newaxis]


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
    mean_along, mean_level = (
        per_channel(_by_group((scale * total)[:, 0], groups).mean(axis=-1) / m, channels)
        for total in (dgamma, dbeta)
    )
    values = mean, scale, mean_along / root, mean_level, None, None
    for block in in_blocks(out.dtype, [dy, x, out], *values):
        slope, part, target, centre, factor, along, level, centred, dx = block
        np.multiply(slope, factor, out=dx, dtype=out.dtype)
        np.subtract(part, centre, out=centred, dtype=out.dtype)
        centred *= along
        dx -= centred
        dx -= level
        target[...] = dx


def _by_group(values: Array, groups: int) -> Array:
    # (B, C) -> (B, G, C // G)
    return values.reshape(len(values), groups, -1)
