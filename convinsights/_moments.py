"""Mean, variance and root of the groups, and the centre that an array is taken about.

E[x²] - E[x]² cancels where the mean is large. So x is taken about a centre c, any number near the
mean:

    mean = c + E[x - c]        variance = E[(x - c)²] - E[x - c]²

A first pass takes c = 0. Where the mean that it finds is near 0, that was enough; elsewhere it is
the c of a second pass.

References
----------
Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance: Analysis and
Recommendations", 1983 (shifted data).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array, DType

__all__ = ["Moments", "denominator", "from_centre", "gain", "mean_and_variance", "variance_from"]

# A pass over x: E[x - c] and E[(x - c)²] of every group, in float64, given c (None: 0).
About = Callable[[Array | None], tuple[Array, Array]]

# A mean is near 0 if it is at most so many deviations away: a variance about 0 then has at most
# 1 + NEAR² times the relative error that it has about the mean.
NEAR = 4


class Moments(NamedTuple):
    """Mean, variance and sqrt(variance + epsilon) of every group, each (B, G)."""

    mean: Array
    variance: Array
    root: Array


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


def gain(gamma: Array | None, root: Array) -> Array:
    """Return r = gamma / root, how fast y grows with x, in the root's dtype."""
    return 1 / root if gamma is None else gamma.astype(root.dtype, copy=False) / root


def mean_and_variance(about: About, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the variance, by one pass or two."""
    level, square = about(None)
    with np.errstate(over="ignore"):  # what overflows is not near 0: a second pass follows
        mean, variance = level.astype(dtype), variance_from(level, square).astype(dtype)
    centre = _centre(mean, variance)
    if centre is not None:
        off, square = about(centre)
        mean, variance = centre + off, variance_from(off, square)
    return mean.astype(dtype, copy=False), variance.astype(dtype, copy=False)


def variance_from(level: Array, square: Array) -> Array:
    """Return E[(x - c)²] - E[x - c]²; infinite if the first overflows and E[x - c] is finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        variance = np.maximum(square - level**2, 0)
    return np.where((square == np.inf) & np.isfinite(level), square, variance)


def from_centre(moments: Moments) -> tuple[Array, Array, Array | None]:
    """Return mean - c, root and c (None: 0), with the c that x is to be taken about."""
    mean, variance, root = moments
    centre = _centre(mean, variance)
    return mean if centre is None else mean - centre, root, centre


def _centre(mean: Array, variance: Array) -> Array | None:
    # What to take x about: the mean, or 0 where that is near; None if it is everywhere.
    near = (np.abs(mean) <= NEAR * np.sqrt(variance)) & (variance < np.inf)
    return None if near.all() else np.where(near, 0, mean)
