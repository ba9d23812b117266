"""Let the positive through and stop the rest.

    y = max(x, 0)        dx = dy where x > 0, and 0 elsewhere

At 0 itself there is no derivative; 0 is chosen, as everywhere.

References
----------
Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", 2010.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convinsights._arguments import (
    Array,
    DType,
    as_array,
    check_cache,
    check_dy,
    result_dtype,
)
from convinsights._caches import cache_class

__all__ = ["Cache", "Gradients", "backward", "forward"]


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradient with respect to the argument of `forward`."""

    x: Array


@cache_class
class Cache:
    """What backward reads: the input itself."""

    x: Array
    dtype: DType


def forward(x: Array) -> tuple[Array, Cache]:
    """Replace every negative number by 0.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    y : array of x's shape
    cache : Cache
        For `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import relu
    >>> y, cache = relu.forward(np.array([-2, 0, 3]))
    >>> y
    array([0., 0., 3.])
    """
    x = as_array("x", x)
    dtype = result_dtype(x)
    y = np.zeros(x.shape, dtype)
    # So that max(-0.0, 0) is 0.0 in every type: NumPy's maximum of the two is the first in float16,
    # and the second or 0.0 in the others.
    first, second = (y, x) if dtype == np.float16 else (x, y)
    np.maximum(first, second, out=y)
    return y, Cache(x, dtype)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back to the positive numbers alone.

    Parameters
    ----------
    dy : array of x's shape
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import relu
    >>> y, cache = relu.forward(np.array([-2, 0, 3]))
    >>> relu.backward(np.array([5, 7, 11]), cache).x
    array([ 0.,  0., 11.])
    """
    cache = check_cache(cache, Cache, "relu")
    dy = check_dy(dy, cache.x.shape)
    dx = np.empty(dy.shape, cache.dtype)
    # The bits of dy times 0 or 1: exactly 0 even for inf and nan, and several times as fast as
    # copying where x is positive.
    bits = np.dtype(f"i{cache.dtype.itemsize}")
    positive = np.greater(cache.x, 0, out=dx.view(bits))
    np.multiply(dy.astype(cache.dtype, copy=False).view(bits), positive, out=positive)
    return Gradients(dx)
