"""Whether a result is what a slip would give, within what rounding allows."""

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._trials import Trial

__all__ = ["agree", "is_right"]


def agree(got: Array, expected: Array, allowed: Array, unit: float) -> bool:
    """Tell whether two results are equal but for rounding.

    The bound was derived for the truth; elsewhere take its largest, and some for large values.
    Elements that may be anything agree.
    """
    if got.shape != expected.shape:
        return False
    bounded = np.isfinite(allowed)
    most = allowed[bounded].max(initial=0)
    if allowed.shape == got.shape:
        got, expected = got[bounded], expected[bounded]
    tolerance = 2 * most + 4 * unit * np.abs(expected).max(initial=0)
    with np.errstate(invalid="ignore"):
        return bool((np.abs(got - expected) <= tolerance).all())


def is_right(trial: Trial, name: str, expected: Array) -> bool:
    """Tell whether a slip gives the truth: what it leaves right does not explain what is wrong."""
    truth = trial.case.truth[name]
    return expected.shape == truth.shape and bool(
        (np.abs(expected - truth) <= trial.allowed[name]).all()
    )
