"""What a verdict can see: whether its bounds are smaller than what could be wrong.

The least that a kernel forgets is one product of one sum: an average one is the average of the one
array times that of the other (zeros counted too), |x| |kernel| in y, |dy| |kernel| in dx, |x| |dy|
in dkernel, and |dy| in dbias. In a normalization it is one value out of the m of a mean (with
moving statistics: the value itself). Where that is more than what the result may be off by,
forgetting it is seen.
"""

from __future__ import annotations

import numpy as np

from convinsights import depthwise_separable
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._grouped import Grouped

__all__ = ["average_products", "says_something", "seen"]


def average_products(case: Case) -> dict[str, float]:
    """Return how large one average product is in every result."""
    kept: dict[str, float] = case.notes.setdefault("products", {})
    if not kept:
        kept |= _products(case)
    return kept


def _products(case: Case) -> dict[str, float]:
    if case.module in NORMALIZATIONS:
        return _of_normalization(case)
    x, kernel, *others, _ = (_average(a) for a in case.arrays)
    dy = _average(case.dy)
    if case.module is depthwise_separable:
        (pointwise,) = others
        return {
            "y": x * kernel * pointwise,
            "dx": dy * pointwise * kernel,
            "ddepthwise_kernel": x * dy * pointwise,
            "dpointwise_kernel": x * kernel * dy,
            "dbias": dy,
        }
    return {"y": x * kernel, "dx": dy * kernel, "dkernel": x * dy, "dbias": dy}


def seen(case: Case, name: str, allowed: Array) -> int:
    """Return in how many outputs one forgotten average product would be seen."""
    return int(np.count_nonzero(allowed < average_products(case)[name]))


def says_something(case: Case, name: str, allowed: Array) -> bool:
    """Tell whether most of a result is held to less than its values.

    At least half of the elements may be off by less than their value or one average product, or
    must be exact.
    """
    larger = np.maximum(np.abs(case.truth[name]), average_products(case)[name])
    return allowed.size == 0 or float(np.mean((allowed < larger) | (allowed == 0))) >= 0.5


def _of_normalization(case: Case) -> dict[str, float]:
    _, gamma, beta, *_ = case.arrays
    y, dx, parts = case.truth["y"], case.truth["dx"], Grouped(case)
    count = parts.count if parts.own else 1
    scaled, dy = _average(y if beta is None else y - beta), _average(case.dy)
    scale = 1.0 if gamma is None else _average(gamma)
    normal = scaled / scale if scale else 0.0
    return {"y": scaled / count, "dx": _average(dx) / count, "dgamma": dy * normal, "dbeta": dy}


def _average(array: Array | None) -> float:
    # Of the magnitudes, as far as they are finite
    if array is None or not array.size:
        return 0.0
    sizes = np.abs(array)
    mean = float(sizes.mean())
    if mean < np.inf:
        return mean
    finite = sizes[np.isfinite(sizes)]
    return float(finite.mean()) if finite.size else 0.0
