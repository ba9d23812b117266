"""Centre and scale every image by itself, its channels together in groups.

    y = gamma x̂ + beta        x̂ = (x - mean) / sqrt(variance + epsilon)

As in `batchnorm`, but the mean and the variance are taken within one image: over all its pixels and
over the channels of one of G equal groups. (gamma and beta stay one number per channel.)

    groups = 1          layer normalization: one mean per image
    groups = G          group normalization: one per image and group
    groups = C          instance normalization: one per image and channel

The gradient has the same form: with r = gamma / sqrt(variance + epsilon),

    dx = r dy - mean(r dy) - x̂ mean(r dy x̂)

with means over the group. In batch normalization r stands in front of it all; here it stays inside
the means, for the channels of a group may differ in it. Images do not see each other: training and
inference are the same, and nothing is averaged from batch to batch.

References
----------
Ba, Kiros and Hinton, "Layer Normalization", 2016.
Ulyanov, Vedaldi and Lempitsky, "Instance Normalization: The Missing Ingredient for Fast
Stylization", 2016.
Wu and He, "Group Normalization", 2018: section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convinsights import _normalize, batchnorm
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    as_array,
    as_vector,
    check_cache,
    check_dy,
    check_groups,
    check_not_negative,
    check_pixels,
    compute_dtype,
    converted,
    result_dtype,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._moments import Moments, denominator
from convinsights._passes import rows
from convinsights._weights import ParameterCount

__all__ = [
    "Cache",
    "Gradients",
    "ParameterCount",
    "backward",
    "forward",
    "initialize",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`, each in its argument's shape."""

    x: Array
    gamma: Array | None
    beta: Array | None


@cache_class
class Cache:
    """What backward reads: the inputs themselves, and mean and variance of every group, (N, G)."""

    x: Array
    gamma: Array | None
    has_beta: bool
    mean: Array
    variance: Array
    epsilon: float
    dtype: DType


def forward(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    groups: int,
    epsilon: float = 1e-3,
) -> tuple[Array, Cache]:
    """Bring every group of every image to mean 0 and deviation 1, then apply gamma and beta.

    Parameters
    ----------
    x : array (N, *spatial, C)
        Images with one, two or three spatial axes. (Layer normalization over the channels alone,
        as in transformers, takes every pixel for an image: `x.reshape(-1, 1, C)` with groups=1.)
    gamma, beta : array (C,), optional
        Scale and shift; 1 and 0 where they are not given.
    groups : int
        Parts that the channels are split into; divides C. 1: layer, C: instance normalization.
    epsilon : float
        Added to the variance (0.001 as in Keras; PyTorch's default is 0.00001).

    Returns
    -------
    y : array of x's shape
    cache : Cache
        For `backward`.

    Raises
    ------
    ValueError
        Also if groups do not divide the channels, epsilon is negative, or it and the variance of
        some group are 0.

    Examples
    --------
    One image of one pixel and four channels; its groups of two have the means 2 and 20:

    >>> import numpy as np
    >>> from convinsights import normalization
    >>> x = np.array([[[1, 3, 10, 30]]])
    >>> y, cache = normalization.forward(x, groups=2, epsilon=0)
    >>> y.ravel()
    array([-1.,  1., -1.,  1.])
    """
    x = as_array("x", x)
    check_pixels("x", x.shape)
    channels = x.shape[-1]
    gamma, beta = as_vector("gamma", gamma, channels), as_vector("beta", beta, channels)
    groups, epsilon = check_groups(groups, C=channels), check_not_negative("epsilon", epsilon)
    dtype = result_dtype(x, gamma, beta)
    compute = compute_dtype(dtype)
    images = rows(x, len(x))
    mean, variance = _normalize.statistics(images, groups, compute)
    cache = Cache(x, gamma, beta is not None, mean, variance, epsilon, dtype)
    y = np.empty(x.shape, compute)
    # y = gamma x̂ + beta
    _normalize.normalized(images, _moments(cache), gamma, beta, out=rows(y, len(y)))
    return y.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back, through every group's own mean and variance too.

    Parameters
    ----------
    dy : array of x's shape
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, gamma, beta)
        gamma and beta are None where they were not given.

    Examples
    --------
    The two values of a group are always -1 and 1 when epsilon is 0, whatever x:

    >>> import numpy as np
    >>> from convinsights import normalization
    >>> x, gamma = np.array([[[1, 3, 10, 30]]]), np.array([1, 1, 1, 1])
    >>> y, cache = normalization.forward(x, gamma, groups=2, epsilon=0)
    >>> gradients = normalization.backward(np.array([[[5, 6, 7, 8]]]), cache)
    >>> gradients.x.ravel(), gradients.gamma
    (array([0., 0., 0., 0.]), array([-5.,  6., -7.,  8.]))
    """
    cache = check_cache(cache, Cache, "normalization")
    x, compute = cache.x, compute_dtype(cache.dtype)
    dy = check_dy(dy, x.shape)
    dx = np.empty(x.shape, compute)
    slopes, images, out = (rows(a, len(x)) for a in (dy, x, dx))
    # dx = r dy - mean(r dy) - x̂ mean(r dy x̂); dgamma = sum(dy x̂), dbeta = sum(dy)
    dgamma, dbeta = _normalize.gradients(slopes, images, _moments(cache), cache.gamma, out)
    asked = (dgamma if cache.gamma is not None else None), (dbeta if cache.has_beta else None)
    return Gradients(*converted(cache.dtype, dx, *asked))


def parameter_count(channels: int) -> ParameterCount:
    """Count two numbers for each of the channels, gamma and beta; nothing is averaged.

    Examples
    --------
    >>> from convinsights import normalization
    >>> normalization.parameter_count(64)
    ParameterCount(trainable=128, non_trainable=0)
    """
    return ParameterCount(2 * to_integer("channels", channels), 0)


def initialize(channels: int, *, dtype: FloatType = np.float64) -> tuple[Array, Array]:
    """Start as the plain normalization: gamma 1 and beta 0, each (channels,) of the dtype.

    Examples
    --------
    >>> from convinsights import normalization
    >>> normalization.initialize(2)
    (array([1., 1.]), array([0., 0.]))
    """
    return batchnorm.initialize(channels, dtype=dtype)


def _moments(cache: Cache) -> Moments:
    root = denominator(cache.variance, cache.epsilon, ("image", "group"))
    return Moments(cache.mean, cache.variance, root)
