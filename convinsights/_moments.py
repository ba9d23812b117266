"""Mean, variance and root of the groups, and the centre that an array is taken about.

In one pass, E[x²] - E[x]² cancels where the mean is large: x is taken about a centre c,

    mean = c + E[x - c]        variance = E[(x - c)²] - E[x - c]²

with any c that is near the mean. So c is the mean itself, as a first pass about 0 finds it; where
that is near 0 already, the first pass was enough.

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

__all__ = ["Moments", "denominator", "gain", "settled", "taken_about"]

About = Callable[[Array | None], tuple[Array, Array]]

# Deviations from 0 up to which a mean is near it. About 0 a variance then has at most 1 + NEAR²
# times the relative error that it has about the mean.
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
    """Return r = gamma / root, what y grows by with x, in the root's dtype."""
    return 1 / root if gamma is None else gamma.astype(root.dtype, copy=False) / root


def settled(about: About, dtype: DType) -> tuple[Array, Array]:
    """Return the mean and the variance, given E[x - c] and E[(x - c)²] - E[x - c]² about any c."""
    mean, variance = (values.astype(dtype) for values in about(None))
    centre = _centre(mean, variance)
    if centre is not None:
        off, variance = about(centre)
        mean = centre + off
    return mean.astype(dtype, copy=False), variance.astype(dtype, copy=False)


def taken_about(moments: Moments) -> tuple[Array, Array, Array | None]:
    """Return mean - c, root and c."""
    mean, variance, root = moments
    centre = _centre(mean, variance)
    return mean if centre is None else mean - centre, root, centre


def _centre(mean: Array, variance: Array) -> Array | None:
    # What to take x about: the mean, or 0 where that is near; None if it is everywhere.
    near = (np.abs(mean) <= NEAR * np.sqrt(variance)) & (variance < np.inf)
    return None if near.all() else np.where(near, 0, mean)
