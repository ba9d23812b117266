"""Centre and scale every channel, then let it learn to undo that.

    y = gamma x̂ + beta        x̂ = (x - mean) / sqrt(variance + epsilon)

per channel, with the mean and the variance over all other axes: those of the batch in training,
moving averages of them in inference. gamma scales and beta shifts; gamma = sqrt(variance + epsilon)
and beta = mean undo the normalization.

In training the batch's own mean and variance depend on x. Of a gradient they take away the part
along 1 and, as far as epsilon is small, the part along x̂: with m values per channel, and
r = gamma / sqrt(variance + epsilon),

    dx = r (dy - mean(dy) - x̂ mean(dy x̂)) = r (I - 1 1ᵀ/m - x̂ x̂ᵀ/m) dy

In inference they do not depend on x: dx = r dy, and their own gradients are

    dmean = -r sum(dy)        dvariance = -r sum(dy x̂) / (2 sqrt(variance + epsilon))

References
----------
Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", 2015: algorithms 1 and 2; the gradient, section 3; the moving statistics and what
`fold` does, section 3.1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from convinsights import _normalize
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    as_array,
    as_float,
    as_vector,
    as_vectors,
    check_cache,
    check_dy,
    check_not_negative,
    check_size,
    compute_dtype,
    converted,
    result_dtype,
    shown,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._moments import Moments, denominator, gain
from convinsights._passes import rows
from convinsights._weights import ParameterCount

__all__ = [
    "Cache",
    "Gradients",
    "ParameterCount",
    "Statistics",
    "backward",
    "fold",
    "forward",
    "initial_statistics",
    "initialize",
    "parameter_count",
    "update",
]


def __dir__() -> list[str]:
    return __all__


class Statistics(NamedTuple):
    """Mean and variance of every channel, each (C,); a batch's variance is the biased one."""

    mean: Array
    variance: Array


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`, each in its argument's shape."""

    x: Array
    gamma: Array | None
    beta: Array | None
    statistics: Statistics | None


@cache_class
class Cache:
    """What backward reads; `statistics` are those that x was normalized by."""

    x: Array
    gamma: Array | None
    has_beta: bool
    statistics: Statistics
    training: bool
    epsilon: float
    dtype: DType


def forward(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    statistics: Statistics | None = None,
    *,
    epsilon: float = 1e-3,
) -> tuple[Array, Cache]:
    """Centre and scale every channel: in training to mean beta and, nearly, deviation gamma.

    Parameters
    ----------
    x : array (N, …, C)
        Any number of axes between the batch and the channels.
    gamma, beta : array (C,), optional
        Scale and shift; 1 and 0 where they are not given.
    statistics : Statistics, optional
        What to normalize by (inference). None: the mean and variance of x itself (training).
    epsilon : float
        Added to the variance.

    Returns
    -------
    y : array of x's shape
    cache : Cache
        For `backward`; `cache.statistics` are those normalized by, in the dtype computed in.

    Raises
    ------
    ValueError
        Also if a variance or epsilon is negative, both are 0 for some channel, or the batch is
        empty in training.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import batchnorm
    >>> x = np.array([[1, 10], [3, 10]])
    >>> y, cache = batchnorm.forward(x, np.array([2, 2]), np.array([7, 7]), epsilon=1)
    >>> y.round(3)
    array([[5.586, 7.   ],
           [8.414, 7.   ]])
    >>> cache.statistics.mean.tolist(), cache.statistics.variance.tolist()
    ([2.0, 10.0], [1.0, 0.0])
    """
    x, training = as_array("x", x), statistics is None
    check_batch("x", x.shape, training)
    channels = x.shape[-1]
    gamma, beta = as_vector("gamma", gamma, channels), as_vector("beta", beta, channels)
    epsilon = check_not_negative("epsilon", epsilon)
    dtype = result_dtype(x, gamma, beta)
    compute = compute_dtype(dtype)
    pixels = rows(x, 1)
    if training:
        mean, variance = _normalize.statistics(pixels, channels, compute)
        used = Statistics(mean[0], variance[0])
    else:
        used = Statistics(*(a.astype(compute) for a in as_statistics(statistics, channels)))
    y = np.empty(x.shape, compute)
    # y = gamma x̂ + beta
    _normalize.normalized(pixels, _moments(used, epsilon), gamma, beta, out=rows(y, 1))
    cache = Cache(x, gamma, beta is not None, used, training, epsilon, dtype)
    return y.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back, through the statistics too where they were the batch's own.

    Parameters
    ----------
    dy : array of x's shape
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, gamma, beta, statistics)
        statistics are a Statistics of gradients where they were given, None where they were the
        batch's own.

    Examples
    --------
    Two values per channel leave nothing to learn when epsilon is 0: they are always -1 and 1.

    >>> import numpy as np
    >>> from convinsights import batchnorm
    >>> y, cache = batchnorm.forward(np.array([[1], [3]]), epsilon=0)
    >>> batchnorm.backward(np.array([[5], [8]]), cache).x.tolist()
    [[0.0], [0.0]]
    """
    cache = check_cache(cache, Cache, "batchnorm")
    compute = compute_dtype(cache.dtype)
    dy = check_dy(dy, cache.x.shape)
    dx, moments = np.empty(dy.shape, compute), _moments(cache.statistics, cache.epsilon)
    slopes, pixels, out = (rows(a, 1) for a in (dy, cache.x, dx))
    # dx = r (dy - mean(dy) - x̂ mean(dy x̂)), or r dy; dgamma = sum(dy x̂), dbeta = sum(dy)
    dgamma, dbeta = _normalize.gradients(
        slopes, pixels, moments, cache.gamma, out, constant=not cache.training
    )
    dstatistics = None
    if not cache.training:
        root = moments.root[0]
        r = gain(cache.gamma, root)
        dmean, dvariance = -r * dbeta, -r / root * dgamma / 2
        dstatistics = Statistics(*converted(cache.dtype, dmean, dvariance))
    asked = (dgamma if cache.gamma is not None else None), (dbeta if cache.has_beta else None)
    dx, dgamma, dbeta = converted(cache.dtype, dx, *asked)
    return Gradients(dx, dgamma, dbeta, dstatistics)


def update(
    moving: Statistics,
    batch: Statistics,
    *,
    momentum: float = 0.99,
    sample_size: int | None = None,
) -> Statistics:
    """Move the moving statistics a little towards those of a batch.

    Keras keeps 0.99 of the old and averages the biased variance; PyTorch's `momentum=0.1` is the
    weight of the new, so 0.9 here, and it averages the unbiased variance.

    Parameters
    ----------
    moving, batch : Statistics
        The averages so far, and the `cache.statistics` of a batch in training.
    momentum : float from 0 to 1
        Weight of the old.
    sample_size : int, optional
        Values per channel, n; with it the batch's variance is first multiplied by n / (n - 1).

    Returns
    -------
    Statistics
        momentum * moving + (1 - momentum) * batch, in the dtype of moving.

    Raises
    ------
    ValueError
        Also if a variance is negative, momentum is not from 0 to 1 or sample_size < 2.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights.batchnorm import Statistics, initial_statistics, update
    >>> batch = Statistics(np.array([10.0]), np.array([3.0]))
    >>> update(initial_statistics(1), batch, momentum=0.5)
    Statistics(mean=array([5.]), variance=array([2.]))
    >>> update(initial_statistics(1), batch, momentum=0.5, sample_size=2)
    Statistics(mean=array([5.]), variance=array([3.5]))
    """
    old = as_statistics(moving, None, "moving")
    new = as_statistics(batch, len(old.mean), "batch")
    keep = check_not_negative("momentum", momentum, most=1)
    correction = 1.0
    if sample_size is not None:
        n = to_integer("sample_size", sample_size, minimum=2)
        correction = n / (n - 1)

    def moved(a: Array, b: Array) -> Array:
        average = keep * a.astype(np.float64) + (1 - keep) * b.astype(np.float64)
        return average.astype(result_dtype(a))

    variance = correction * new.variance.astype(np.float64)
    return Statistics(moved(old.mean, new.mean), moved(old.variance, variance))


def initial_statistics(channels: int) -> Statistics:
    """Start the moving statistics at mean 0 and variance 1, each (channels,), in float64.

    Examples
    --------
    >>> from convinsights import batchnorm
    >>> batchnorm.initial_statistics(2)
    Statistics(mean=array([0., 0.]), variance=array([1., 1.]))
    """
    shape = check_size("channels", (to_integer("channels", channels),))
    return Statistics(np.zeros(shape), np.ones(shape))


def parameter_count(channels: int) -> ParameterCount:
    """Count four numbers for each of the channels: two that learn, two that are averaged.

    Examples
    --------
    >>> from convinsights import batchnorm
    >>> batchnorm.parameter_count(64), batchnorm.parameter_count(64).total
    (ParameterCount(trainable=128, non_trainable=128), 256)
    """
    channels = to_integer("channels", channels)
    return ParameterCount(2 * channels, 2 * channels)


def initialize(channels: int, *, dtype: FloatType = np.float64) -> tuple[Array, Array]:
    """Start as the plain normalization: gamma 1 and beta 0, each (channels,) of the dtype.

    Examples
    --------
    >>> from convinsights import batchnorm
    >>> batchnorm.initialize(2)
    (array([1., 1.]), array([0., 0.]))
    """
    shape, result = check_size("channels", (to_integer("channels", channels),)), as_float(dtype)
    return np.ones(shape, result), np.zeros(shape, result)


def fold(
    kernel: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    statistics: Statistics,
    *,
    epsilon: float = 1e-3,
) -> tuple[Array, Array]:
    """Fold the normalization that follows a convolution into its kernel and bias.

    In inference both are affine: with r = gamma / sqrt(variance + epsilon), the kernel of every
    output channel is multiplied by its r, and the bias becomes (bias - mean) r + beta. That is
    exact whatever the padding; a normalization *before* a zero-padded convolution cannot be folded.

    Parameters
    ----------
    kernel : array (…, C_out) or (*kernel_size, C, depth_multiplier)
        Kernel of a convolution, or of a depthwise one with C_out = C * depth_multiplier. (The
        output channels of a transposed kernel are its second last axis: for groups = 1 fold
        `kernel.swapaxes(-1, -2)` and swap back.)
    bias, gamma, beta : array (C_out,) or None
        0, 1 and 0 where they are None.
    statistics : Statistics
        The moving statistics.
    epsilon : float
        Added to the variance.

    Returns
    -------
    kernel : array of the kernel's shape
    bias : array (C_out,)

    Raises
    ------
    ValueError
        Also if a variance or epsilon is negative, or both are 0 for some channel.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import batchnorm
    >>> statistics = batchnorm.Statistics(np.array([5.0]), np.array([4.0]))
    >>> batchnorm.fold(np.array([[3.0]]), None, None, None, statistics, epsilon=0)
    (array([[1.5]]), array([-2.5]))
    """
    kernel, used = as_array("kernel", kernel), as_statistics(statistics, None)
    channels = len(used.mean)
    outputs = kernel.shape[-1:] if kernel.shape[-1:] == (channels,) else kernel.shape[-2:]
    if kernel.ndim <= len(outputs) or 0 in kernel.shape or math.prod(outputs) != channels:
        raise ValueError(
            f"kernel must be (…, {channels}), or depthwise with C * depth_multiplier = {channels}, "
            f"for statistics of {channels} channels, got {kernel.shape}"
        )
    bias = as_vector("bias", bias, channels)
    gamma, beta = as_vector("gamma", gamma, channels), as_vector("beta", beta, channels)
    dtype = result_dtype(kernel, bias, gamma, beta)
    compute = compute_dtype(dtype)
    variance = used.variance.astype(compute)
    r = gain(gamma, denominator(variance, check_not_negative("epsilon", epsilon)))
    mean = used.mean.astype(compute)
    shift = ((0 if bias is None else bias) - mean) * r + (0 if beta is None else beta)
    folded = kernel.astype(compute, copy=False) * r.reshape(outputs)
    return folded.astype(dtype, copy=False), shift.astype(dtype, copy=False)


def check_batch(name: str, shape: tuple[int, ...], training: bool) -> None:
    """Refuse what is not (N, …, C), and in training a batch that has no mean."""
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f"{name} must be (N, …, C) with no size of 0 behind N, got shape {shape}")
    if training and not shape[0]:
        raise ValueError(f"{name} must not be an empty batch in training, got shape {shape}")


def as_statistics(statistics: object, channels: int | None, name: str = "statistics") -> Statistics:
    """Return a pair of arrays as Statistics, for so many channels if that is given."""
    form = "a Statistics(mean, variance)"
    if not isinstance(statistics, (tuple, list)):
        raise TypeError(f"{name} must be {form}, got {shown(statistics)}")
    if len(statistics) != 2:
        raise ValueError(f"{name} must be {form}, got {len(statistics)} entries")
    names = f"{name}.mean", f"{name}.variance"
    pair = Statistics(*as_vectors(names, statistics, channels))
    if (pair.variance < 0).any():
        raise ValueError(f"{name}.variance must not be negative, got {pair.variance.min()}")
    return pair


def _moments(statistics: Statistics, epsilon: float) -> Moments:
    mean, variance = statistics
    root = denominator(variance, epsilon)
    return Moments(mean[np.newaxis], variance[np.newaxis], root[np.newaxis])
