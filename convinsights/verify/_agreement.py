"""Whether a result is the right one, or what a slip would give, within what rounding allows."""

import numpy as np

from convinsights._arguments import Array

__all__ = ["agree", "beyond"]


def beyond(values: Array, truth: Array, allowed: Array) -> Array:
    """Tell which elements are further from the truth than allowed, or not finite though it is.

    Nothing is said of elements of infinite allowance: they may overflow.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(values - truth)
        wrong: Array = error > allowed
    if not np.isfinite(error).all():
        wrong |= ~np.isfinite(values) & np.isfinite(truth) & np.isfinite(allowed)
    return wrong


def agree(got: Array, expected: Array, allowed: Array, unit: float) -> bool:
    """Tell whether two results are equal but for rounding.

    The bound holds for the truth only, so any element may be off by twice the largest bound and
    four units of the largest value; those of infinite bound agree.
    """
    if got.shape != expected.shape:
        return False
    # `allowed` has the shape of the case's own truth, which a slip's result need not have.
    bounded = np.isfinite(allowed)
    most = allowed[bounded].max(initial=0)
    if allowed.shape == got.shape:
        got, expected = got[bounded], expected[bounded]
    tolerance = 2 * most + 4 * unit * np.abs(expected).max(initial=0)
    with np.errstate(invalid="ignore"):
        return bool((np.abs(got - expected) <= tolerance).all())
