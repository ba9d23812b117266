"""Learn only what the identity leaves to do.

A residual block adds what a branch of convolutions F computes to what came in, by a short cut:

    y = x + F(x)        dx = dy + (the gradient through F)

so the identity is what the sum computes where F is 0, and the gradient of the sum reaches x
undiminished whatever F does. (What stands behind the sum, the gradient has to pass first; with
"preactivation" nothing does.) Where normalization and activation stand is the variant:

    variant            branch F                                   after x + F(x)
    "original"         conv, bn, relu, …, conv, bn                relu
    "preactivation"    bn, relu, conv, bn, relu, conv, …          nothing
    "normalized_sum"   conv, bn, relu, …, conv, bn, relu          bn, relu

Where strides or channels change the shape, the short cut is a projection: a 1×1 convolution of x
with the same strides, and a batch normalization if one is given. All convolutions are padded
"same"; the strides act in the branch on the first kernel larger than 1×1, or else on the first.

References
----------
He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015 ("original").
He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016 ("preactivation").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from convinsights import batchnorm, conv, relu, unary
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    Ints,
    as_array,
    check_cache,
    check_pixels,
    check_shape,
    compute_dtype,
    is_sequence,
    per_axis,
    result_dtype,
    shown,
    spatial_rank,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._products import rounded
from convinsights._weights import ParameterCount, spatial_size
from convinsights.batchnorm import Statistics

__all__ = [
    "Cache",
    "Gradients",
    "ParameterCount",
    "Parameters",
    "backward",
    "forward",
    "initial_statistics",
    "initialize",
    "parameter_count",
    "update",
]

Norm: TypeAlias = tuple[Array, Array]
AllStatistics: TypeAlias = tuple[Statistics, ...]
Step: TypeAlias = tuple[str, int]  # "conv", "norm", "relu" or "projection", and which of its kind

VARIANTS = ("original", "preactivation", "normalized_sum")
RELU: Step = ("relu", 0)


class Parameters(NamedTuple):
    """What a block learns; also the form of its gradients."""

    kernels: tuple[Array, ...]
    norms: tuple[Norm, ...]
    projection: Array | None = None
    projection_norm: Norm | None = None


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`."""

    x: Array
    parameters: Parameters


@cache_class
class Cache:
    """The caches of the steps, in the order in which they were taken."""

    branch: tuple[tuple[Step, Any], ...]
    shortcut: tuple[tuple[Step, Any], ...]
    after: tuple[tuple[Step, Any], ...]
    parameters: Parameters
    statistics: AllStatistics
    output_shape: tuple[int, ...]
    dtype: DType


def forward(
    x: Array,
    parameters: Parameters,
    statistics: AllStatistics | None = None,
    *,
    strides: Ints = 1,
    variant: str = "original",
    epsilon: float = 1e-3,
) -> tuple[Array, Cache]:
    """Add to the input what the branch makes of it.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with as many spatial axes as the kernels.
    parameters : Parameters
        kernels, each (*kernel_size, C_in, C_out) with the C_out of the one before as C_in; norms,
        each (gamma, beta), one per normalization outside the short cut, in order of use;
        projection, (C_in, C_out) or (1, …, 1, C_in, C_out), and the projection_norm behind it.
    statistics : sequence of Statistics, optional
        One per normalization, those of `norms` in order, then the projection's: infer with these.
        None: normalize by the batch's own (training).
    strides : int or one per spatial axis
        Of the block, in pixels.
    variant : "original", "preactivation" or "normalized_sum"
        Where normalization and activation stand.
    epsilon : float
        Added to every variance.

    Returns
    -------
    y : array (N, *ceil(spatial / strides), C_out)
        In the result type of the floating arrays (float64 if there are none).
    cache : Cache
        For `backward`; `cache.statistics` are those normalized by, in the order above.

    Raises
    ------
    ValueError
        If shapes do not fit together, the variant is unknown, the numbers of norms or statistics
        are wrong, or strides or channels change the shape without a projection.
    TypeError
        If an argument is of the wrong type.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2015, section 3.2.

    Examples
    --------
    With the last gamma at 0 the branch is silent, and the block is the identity (and a ReLU):

    >>> import numpy as np
    >>> from convinsights import residual
    >>> rng = np.random.default_rng(0)
    >>> parameters = residual.initialize(rng, [(3,), (3,)], 1, 1)
    >>> silent = (parameters.norms[0], (np.zeros(1), np.zeros(1)))
    >>> x = np.array([[[1], [-2], [3]]])
    >>> y, cache = residual.forward(x, parameters._replace(norms=silent))
    >>> y.ravel()
    array([1., 0., 3.])
    """
    x, parameters = as_array("x", x), _as_parameters(parameters)
    branch, shortcut, after = _paths(parameters, variant)
    steps = _fitted(x.shape, parameters, strides, variant)
    count = len(_norms(parameters))
    if statistics is not None:
        statistics = _as_statistics("statistics", statistics, _norms(parameters))
    dtype = result_dtype(x, *_arrays(parameters))
    # Everything in the dtype to compute in, so that float16 is rounded once, at the end.
    compute = compute_dtype(dtype)
    x, p = x.astype(compute, copy=False), _rounded(parameters, compute)
    used: list[Any] = list(statistics or [None] * count)

    def run(a: Array, path: tuple[Step, ...]) -> tuple[Array, tuple[tuple[Step, Any], ...]]:
        taken: list[tuple[Step, Any]] = []
        for kind, index in path:
            cache: Any
            if kind == "conv":
                a, cache = conv.forward(a, p.kernels[index], strides=steps[index], padding="same")
            elif kind == "norm":
                a, cache = batchnorm.forward(a, *_norms(p)[index], used[index], epsilon=epsilon)
                used[index] = cache.statistics
            elif kind == "projection":
                a, cache = unary.forward(a, as_array("projection", p.projection), strides=strides)
            else:
                a, cache = relu.forward(a)
            taken.append(((kind, index), cache))
        return a, tuple(taken)

    y, branch_taken = run(x, branch)
    identity, shortcut_taken = run(x, shortcut)
    y += identity
    y, after_taken = run(y, after)
    cache = Cache(branch_taken, shortcut_taken, after_taken, p, tuple(used), y.shape, dtype)
    return y.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back along both ways, and add up what arrives.

    Parameters
    ----------
    dy : array of the output's shape
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned; it may be used again.

    Returns
    -------
    Gradients(x, parameters)
        In the dtype of the output; parameters is a Parameters of gradients, None where there was no
        array.

    Raises
    ------
    ValueError
        If dy is not of the output's shape.
    TypeError
        If dy holds no real numbers or cache comes from elsewhere.

    References
    ----------
    He et al., "Identity Mappings in Deep Residual Networks", 2016, section 2.

    Examples
    --------
    Where the branch is silent, the gradient passes by the short cut alone:

    >>> import numpy as np
    >>> from convinsights import residual
    >>> rng = np.random.default_rng(0)
    >>> parameters = residual.initialize(rng, [(3,)], 1, 1, variant="preactivation")
    >>> silent = parameters._replace(kernels=(np.zeros((3, 1, 1)),))
    >>> x = np.array([[[1], [-2], [3]]])
    >>> y, cache = residual.forward(x, silent, variant="preactivation")
    >>> residual.backward(np.array([[[5], [7], [9]]]), cache).x.ravel()
    array([5., 7., 9.])
    """
    cache = check_cache(cache, Cache, "residual")
    dy = check_shape("dy", dy, cache.output_shape).astype(compute_dtype(cache.dtype), copy=False)
    kernels, norms = list(cache.parameters.kernels), list(_norms(cache.parameters))
    dprojection = None

    def run(da: Array, taken: tuple[tuple[Step, Any], ...]) -> Array:
        nonlocal dprojection
        for (kind, index), step in reversed(taken):
            if kind == "conv":
                da, kernels[index], _ = conv.backward(da, step)
            elif kind == "norm":
                da, dgamma, dbeta, _ = batchnorm.backward(da, step)
                norms[index] = (cast("Array", dgamma), cast("Array", dbeta))
            elif kind == "projection":
                da, dprojection, _ = unary.backward(da, step)
            else:
                (da,) = relu.backward(da, step)
        return da

    dsum = run(dy, cache.after)
    dx = run(dsum, cache.branch)
    dx += run(dsum, cache.shortcut)
    count = len(cache.parameters.norms)
    dprojection_norm = norms[count] if norms[count:] else None
    gradients = Parameters(tuple(kernels), tuple(norms[:count]), dprojection, dprojection_norm)
    return Gradients(dx.astype(cache.dtype, copy=False), _rounded(gradients, cache.dtype))


def update(moving: AllStatistics, batch: AllStatistics, *, momentum: float = 0.99) -> AllStatistics:
    """Move all moving statistics of a block a little towards those of a batch.

    Parameters
    ----------
    moving, batch : sequence of Statistics
        The averages so far, and the `cache.statistics` of a batch in training.
    momentum : float from 0 to 1
        Weight of the old.

    Returns
    -------
    tuple of Statistics
        momentum * moving + (1 - momentum) * batch, in the dtype of moving.

    Raises
    ------
    ValueError
        If the numbers or shapes of the statistics differ, or momentum is not from 0 to 1.
    TypeError
        If an argument is of the wrong type.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", 2015, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> from convinsights.batchnorm import Statistics
    >>> batch = (Statistics(np.array([10.0]), np.array([3.0])),)
    >>> residual.update((Statistics(np.zeros(1), np.ones(1)),), batch, momentum=0.5)
    (Statistics(mean=array([5.]), variance=array([2.])),)
    """
    averages = _as_statistics("moving", moving)
    news = _as_statistics("batch", batch, averages)
    return tuple(
        batchnorm.update(old, new, momentum=momentum)
        for old, new in zip(averages, news, strict=True)
    )


def initialize(
    rng: np.random.Generator,
    kernel_sizes: Sequence[Ints],
    in_channels: int,
    filters: Ints,
    *,
    strides: Ints = 1,
    variant: str = "original",
    dtype: FloatType = np.float64,
) -> Parameters:
    """Draw a block: He-normal kernels, unit gammas, zero betas, a projection where one is needed.

    Parameters
    ----------
    rng : numpy.random.Generator
    kernel_sizes : sequence of kernel sizes
        One per convolution, each one int per spatial axis (an int: one axis).
    in_channels : int
        C_in.
    filters : int or one per convolution
        Output channels of the convolutions; the last are those of the block.
    strides : int or one per spatial axis
        Of the block, in pixels.
    variant : "original", "preactivation" or "normalized_sum"
        With "preactivation" the projection has no normalization, so that nothing but a linear map
        lies on the short cut.
    dtype : float16, float32 or float64

    Returns
    -------
    block : Parameters

    Raises
    ------
    ValueError
        If a size is wrong or the variant unknown.
    TypeError
        If an argument is of the wrong type.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2015, sections 3.3 and 4.1.

    Examples
    --------
    A bottleneck: 256 channels, reduced to 64 for the 3×3 convolution, and restored.

    >>> import numpy as np
    >>> from convinsights import residual
    >>> rng = np.random.default_rng(0)
    >>> block = residual.initialize(rng, [(1, 1), (3, 3), (1, 1)], 256, (64, 64, 256))
    >>> [kernel.shape for kernel in block.kernels], block.projection
    ([(1, 1, 256, 64), (3, 3, 64, 64), (1, 1, 64, 256)], None)
    """
    if not is_sequence(kernel_sizes):
        raise TypeError(
            f"kernel_sizes must be a sequence of kernel sizes, got {shown(kernel_sizes)}"
        )
    if not len(kernel_sizes):
        raise ValueError("kernel_sizes must not be empty")
    sizes = [spatial_size(size, f"kernel_sizes[{i}]") for i, size in enumerate(kernel_sizes)]
    rank = len(sizes[0])
    if any(len(size) != rank for size in sizes):
        raise ValueError(f"kernel_sizes must all have as many axes, got {shown(kernel_sizes)}")
    outputs = per_axis("filters", filters, len(sizes), axis="convolution")
    channels = (to_integer("in_channels", in_channels), *outputs)
    kernels = tuple(
        conv.initialize(rng, size, before, after, dtype=dtype)
        for size, before, after in zip(sizes, channels[:-1], outputs, strict=True)
    )
    norms = tuple(
        batchnorm.initialize(count, dtype=dtype) for count in _norm_channels(channels, variant)
    )
    if per_axis("strides", strides, rank) == (1,) * rank and channels[0] == channels[-1]:
        return Parameters(kernels, norms)
    projection = conv.initialize(rng, (1,) * rank, channels[0], channels[-1], dtype=dtype)
    if variant == "preactivation":
        return Parameters(kernels, norms, projection)
    return Parameters(kernels, norms, projection, batchnorm.initialize(channels[-1], dtype=dtype))


def initial_statistics(parameters: Parameters) -> AllStatistics:
    """Start the moving statistics of every normalization at mean 0 and variance 1.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    tuple of Statistics
        One per normalization, those of `norms` in order, then the projection's.

    Raises
    ------
    ValueError, TypeError
        If parameters are not a block's.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> block = residual.initialize(np.random.default_rng(0), [(3, 3), (3, 3)], 4, 8)
    >>> [statistics.mean.shape for statistics in residual.initial_statistics(block)]
    [(8,), (8,), (8,)]
    """
    norms = _norms(_as_parameters(parameters))
    return tuple(batchnorm.initial_statistics(len(gamma)) for gamma, _ in norms)


def parameter_count(parameters: Parameters) -> ParameterCount:
    """Count what the block learns, and the moving statistics that it keeps.

    Parameters
    ----------
    parameters : Parameters

    Returns
    -------
    ParameterCount(trainable, non_trainable)
        With their sum as `total`.

    Raises
    ------
    ValueError, TypeError
        If parameters are not a block's.

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", 2015, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> block = residual.initialize(np.random.default_rng(0), [(3, 3), (3, 3)], 64, 64)
    >>> residual.parameter_count(block)
    ParameterCount(trainable=73984, non_trainable=256)
    """
    parameters = _as_parameters(parameters)
    trainable = sum(array.size for array in _arrays(parameters))
    return ParameterCount(trainable, sum(2 * len(gamma) for gamma, _ in _norms(parameters)))


def _paths(parameters: Parameters, variant: str) -> tuple[tuple[Step, ...], ...]:
    # The steps of the branch, of the short cut and after the sum. The projection's normalization
    # comes after all others.
    branch: list[Step] = []
    last = len(parameters.kernels)
    for index in range(last):
        if variant == "preactivation":
            branch += [("norm", index), RELU, ("conv", index)]
        else:
            branch += [("conv", index), ("norm", index), RELU]
    shortcut: list[Step] = []
    if parameters.projection is not None:
        shortcut.append(("projection", 0))
    if parameters.projection_norm is not None:
        shortcut.append(("norm", len(parameters.norms)))
    if variant == "original":
        return tuple(branch[:-1]), tuple(shortcut), (RELU,)
    if variant == "preactivation":
        return tuple(branch), tuple(shortcut), ()
    return tuple(branch), tuple(shortcut), (("norm", last), RELU)


def _norm_channels(channels: tuple[int, ...], variant: object) -> tuple[int, ...]:
    # The channels of the normalizations in `norms`, where the kernels lead from one entry of
    # `channels` to the next.
    if not isinstance(variant, str):
        raise TypeError(f"variant must be a string, one of {VARIANTS}, got {shown(variant)}")
    if variant == "original":
        return channels[1:]
    if variant == "preactivation":
        return channels[:-1]
    if variant == "normalized_sum":
        return *channels[1:], channels[-1]
    raise ValueError(f"variant must be one of {VARIANTS}, got {shown(variant)}")


def _as_parameters(parameters: object) -> Parameters:
    # Parameters of arrays, whatever lists and tuples they were given as; kernels that follow each
    # other, and a projection from the first one's input channels to the last one's output channels.
    if not isinstance(parameters, (tuple, list)):
        raise TypeError(f"parameters must be a Parameters, got {shown(parameters)}")
    if not 2 <= len(parameters) <= 4:
        raise ValueError(
            f"parameters must be a Parameters(kernels, norms, projection, projection_norm), "
            f"got {len(parameters)} entries"
        )
    kernels, norms, projection, projection_norm = Parameters(*parameters)
    for name, value in (("kernels", kernels), ("norms", norms)):
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"parameters.{name} must be a tuple, got {shown(value)}")
        if not value:
            raise ValueError(f"parameters.{name} must not be empty")
    checked = Parameters(
        tuple(as_array(f"parameters.kernels[{i}]", kernel) for i, kernel in enumerate(kernels)),
        tuple(_as_norm(f"parameters.norms[{i}]", norm) for i, norm in enumerate(norms)),
        None if projection is None else as_array("parameters.projection", projection),
        None
        if projection_norm is None
        else _as_norm("parameters.projection_norm", projection_norm),
    )
    first = checked.kernels[0].shape
    rank = spatial_rank("parameters.kernels[0]", first, "(*kernel_size, C_in, C_out)")
    channels = first[-2]
    for index, kernel in enumerate(checked.kernels):
        if kernel.ndim != rank + 2 or kernel.shape[-2] != channels or 0 in kernel.shape:
            raise ValueError(
                f"parameters.kernels[{index}] must be (*kernel_size, {channels}, C_out) with "
                f"{rank} spatial axes and no size of 0, got {kernel.shape}"
            )
        channels = kernel.shape[-1]
    _check_projection(checked, rank, (first[-2], channels))
    return checked


def _check_projection(parameters: Parameters, rank: int, ends: tuple[int, int]) -> None:
    projection, norm = parameters.projection, parameters.projection_norm
    if projection is None:
        if norm is not None:
            raise ValueError("parameters.projection_norm must be None where there is no projection")
        return
    if projection.shape not in (ends, (*(1,) * rank, *ends)):
        raise ValueError(
            f"parameters.projection must be {ends}, or that behind a 1 for each spatial axis, "
            f"got {projection.shape}"
        )
    if norm is not None:
        gamma, _ = norm
        if gamma.shape != ends[1:]:
            raise ValueError(
                f"parameters.projection_norm must be for {ends[1]} channels, got {gamma.shape}"
            )


def _as_norm(name: str, norm: object) -> Norm:
    if not is_sequence(norm):
        raise TypeError(f"{name} must be a pair (gamma, beta), got {shown(norm)}")
    if len(norm) != 2:
        raise ValueError(f"{name} must be a pair (gamma, beta), got {len(norm)} entries")
    gamma, beta = as_array(f"gamma of {name}", norm[0]), as_array(f"beta of {name}", norm[1])
    if gamma.ndim != 1 or gamma.shape != beta.shape or not gamma.size:
        raise ValueError(
            f"{name} must be a pair (gamma, beta), each (C,), "
            f"got shapes {gamma.shape} and {beta.shape}"
        )
    return gamma, beta


def _as_statistics(
    name: str, statistics: object, per_channel: Sequence[Sequence[Array]] | None = None
) -> AllStatistics:
    # Statistics as many and for as many channels as there are entries of per_channel.
    if not isinstance(statistics, (tuple, list)):
        raise TypeError(
            f"{name} must be a sequence of Statistics, one per normalization, "
            f"got {shown(statistics)}"
        )
    if per_channel is not None:
        _check_length(name, statistics, len(per_channel))
    return tuple(
        batchnorm.checked(
            entry, None if per_channel is None else len(per_channel[index][0]), f"{name}[{index}]"
        )
        for index, entry in enumerate(statistics)
    )


def _check_length(name: str, value: Sequence[object], count: int) -> None:
    if len(value) != count:
        raise ValueError(f"{name} must be {count}, one per normalization, got {len(value)}")


def _fitted(
    x_shape: tuple[int, ...], parameters: Parameters, strides: Ints, variant: str
) -> list[tuple[int, ...]]:
    # The strides of every kernel, if parameters fit the image and the variant.
    kernels = parameters.kernels
    rank = kernels[0].ndim - 2
    check_pixels("x", x_shape, rank)
    if kernels[0].shape[-2] != x_shape[-1]:
        raise ValueError(
            f"parameters.kernels[0] must be (*kernel_size, {x_shape[-1]}, C_out) for x of shape "
            f"{x_shape}, got {kernels[0].shape}"
        )
    channels = (x_shape[-1], *(kernel.shape[-1] for kernel in kernels))
    expected = _norm_channels(channels, variant)
    _check_length("parameters.norms", parameters.norms, len(expected))
    for index, ((gamma, _), count) in enumerate(zip(parameters.norms, expected, strict=True)):
        if gamma.shape != (count,):
            raise ValueError(
                f"parameters.norms[{index}] must be for {count} channels, got {gamma.shape}"
            )
    whole = per_axis("strides", strides, rank)
    if parameters.projection is None and (max(whole) > 1 or channels[0] != channels[-1]):
        raise ValueError(
            f"parameters.projection must be given where strides {whole} are not 1 or the channels "
            f"change ({channels[0]} to {channels[-1]})"
        )
    large = [index for index, kernel in enumerate(kernels) if math.prod(kernel.shape[:-2]) > 1]
    striding = large[0] if large else 0
    return [whole if index == striding else (1,) * rank for index in range(len(kernels))]


def _norms(parameters: Parameters) -> tuple[Norm, ...]:
    last = parameters.projection_norm
    return parameters.norms if last is None else (*parameters.norms, last)


def _arrays(parameters: Parameters) -> Iterator[Array]:
    yield from parameters.kernels
    if parameters.projection is not None:
        yield parameters.projection
    for norm in _norms(parameters):
        yield from norm


def _rounded(parameters: Parameters, dtype: DType) -> Parameters:
    def pair(norm: Norm) -> Norm:
        gamma, beta = rounded(dtype, *norm)
        return gamma, beta

    kernels, norms, projection, projection_norm = parameters
    return Parameters(
        tuple(rounded(dtype, *kernels)),
        tuple(map(pair, norms)),
        next(rounded(dtype, projection)),
        None if projection_norm is None else pair(projection_norm),
    )
