"""What a normalization's result tells of the mean and of the root that it was made with.

In each group, y without gamma and beta is a straight line over x: its slope is one over the root,
and it is 0 at the mean. So both can be read off a result, however they were computed.
"""

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._formats import to_bits
from convinsights.verify._grouped import Grouped
from convinsights.verify._precision import FACTOR, Precision
from convinsights.verify._trials import Trial

__all__ = ["few_bits", "one_pass"]

# How far off, relative to it, a sum in float32 may be.
FINE = 2.0**-18
# In what share of the groups few bits must explain what came: in others chance may hide them.
MOST = 0.75


def one_pass(trial: Trial, got: Array, precision: Precision) -> bool:
    """Tell whether the variance is the mean of the squares less the square of the mean.

    Where the mean is large, few of its digits are left.
    """
    parts, view, deviation = _parts(trial, got)
    axes, epsilon = parts.axes, trial.case.settings["epsilon"]
    far = parts.mean**2 + parts.variance
    # Eight times what the probabilistic bound allows a sum of so many squares.
    lost = 8 * FACTOR * precision.unit * np.sqrt(parts.count) * far
    rounding = 4 * precision.rounding * (parts.variance + epsilon)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = _slope(view, deviation, axes)
        off = np.abs(view - slope * deviation).max(axes, keepdims=True)
        # But for the rounding of y, in formats of few bits.
        straight = off <= 0.02 * np.abs(view).max(axes, keepdims=True) + 1e-6
        difference = np.abs(slope**-2.0 - epsilon - parts.variance)
        near = difference <= lost + rounding
    # Where digits cancel the variance may come out so negative that the root, and all of y, is nan.
    numbers = np.isfinite(view)
    void = ~numbers.any(axes, keepdims=True) & (parts.variance + epsilon <= lost)
    flat = (parts.variance == 0) & numbers.all(axes, keepdims=True)  # no line to read
    # One pass shows only where the squares are far larger than the variance, and it came out wrong.
    told = ~(difference <= 2 * rounding) & (far > 100 * parts.variance) & ~flat
    return bool(((straight & near) | void | flat).all() and told.any())


def few_bits(trial: Trial, got: Array, precision: Precision, bits: int) -> bool | None:
    """Tell whether the mean and 1 / root have no more than `bits` significant bits.

    None if that cannot be seen. Both are read off each group's line; `sight` is how far either may
    be misread. If one of the two is further than that from its right value, it must have no more
    than `bits` bits, and be off by at most a few units of the last of these.
    """
    if trial.case.integers:  # of few values, whose errors are the same
        return None
    parts, view, deviation = _parts(trial, got)
    axes, unit = parts.axes, 4 * precision.rounding
    width = np.sqrt(parts.average(deviation**2))
    flat = (width == 0) | (parts.scale == 0).any(axes, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope, middle = _slope(view, deviation, axes), view.mean(axes, keepdims=True)
        # y was rounded when it was stored: so far off may a group's mean of y be, and its slope.
        # Equal x are rounded alike, and count as one.
        stored = unit * np.abs(got.reshape(view.shape) / parts.scale)
        spacing = 2 * precision.stored.unit * np.abs(parts.x).max(axes, keepdims=True)
        values = np.minimum(parts.count, 1 + np.ptp(parts.x, axes, keepdims=True) / spacing)
        off_middle = np.sqrt((stored**2).mean(axes, keepdims=True) / values)
        off_middle += FINE * np.abs(middle)
        off_slope = off_middle / width + FINE * slope
        off_line = stored + off_middle + off_slope * np.abs(deviation)
        off_line += 2 * trial.allowed["y"].reshape(view.shape) / np.abs(parts.scale)
        near = (np.abs(view - middle - slope * deviation) <= off_line).all(axes, keepdims=True)
        mean = parts.average(parts.x) - middle / slope
        off_mean = off_middle / slope + FINE * np.abs(parts.mean)
        # The groups in which few bits are seen: only where sight is finer than the last of them
        less = np.zeros(flat.shape, bool)
        for value, right, sight in (
            (slope, 1 / parts.root, off_slope),
            (mean, parts.mean, off_mean),
        ):
            off, last = np.abs(value - right), 2.0**-bits * np.abs(right)
            few = np.abs(value - to_bits(value, bits)) <= sight
            near &= (off <= 4 * last + sight) & (few | (off <= sight))
            less |= few & (off > sight) & (4 * sight < last)
    if np.mean(near | flat) < MOST:
        return False
    return True if (less & near & ~flat).any() else None


def _parts(trial: Trial, got: Array) -> tuple[Grouped, Array, Array]:
    # y without beta and gamma, and how far x is from its own mean
    parts = Grouped(trial.case)
    view = (parts.view(got) - parts.shift) / np.where(parts.scale == 0, 1, parts.scale)
    return parts, view, parts.x - parts.average(parts.x)


def _slope(view: Array, deviation: Array, axes: tuple[int, ...]) -> Array:
    # Of the line that fits best
    along: Array = (view * deviation).sum(axes, keepdims=True)
    slope: Array = along / (deviation**2).sum(axes, keepdims=True)
    return slope
