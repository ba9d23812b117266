"""Learn only what the identity leaves to do.

A residual block adds what a branch of convolutions F computes to what came in, by a short cut:

    y = x + F(x)        dx = dy + (the gradient through F)

Where F is 0, the sum is x. Whatever F does, x receives the gradient of the sum undiminished, and
what comes through F besides. With "preactivation" that gradient is dy itself; with the others dy
first passes what stands behind the sum. The variant says where normalization and activation stand:

    variant            branch F                                   after x + F(x)
    "original"         conv, bn, relu, …, conv, bn                relu
    "preactivation"    bn, relu, conv, bn, relu, conv, …          nothing
    "normalized_sum"   conv, bn, relu, …, conv, bn, relu          bn, relu

Where strides or channels change the shape, the short cut is a projection: a 1×1 convolution of x
with the same strides, and a batch normalization if one is given. In the branch the strides act on
the first kernel larger than 1×1, or else on the first.

References
----------
He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015: "original", sections
3.2 (the short cut), 3.3 (the projection) and 4.1 (the bottleneck).
He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016: "preactivation",
section 2 (the gradient) and figure 4 ("normalized_sum" joins two of its variants).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from convinsights import batchnorm, conv, relu, unary
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    Ints,
    Pad,
    as_array,
    check_cache,
    compute_dtype,
    converted,
    per_axis,
    result_dtype,
)
from convinsights._block import (
    Norm,
    Parameters,
    as_all_statistics,
    as_parameters,
    checked_steps,
    norms_of,
    weight_shapes,
)
from convinsights._caches import cache_class
from convinsights._weights import ParameterCount, he_normal
from convinsights.batchnorm import Statistics
from convinsights.parameters import arrays

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


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`."""

    x: Array
    parameters: Parameters


@cache_class
class Cache:
    """The caches of the branch's steps and of the short cut.

    A step of the branch has the index of its turn in the loop of `forward`, which is that of the
    kernel used in that turn; a step behind the sum has the index after the last kernel's.
    """

    convs: dict[int, conv.Cache]
    norms: dict[int, batchnorm.Cache]
    relus: dict[int, relu.Cache]
    projection: unary.Cache | None
    projection_norm: batchnorm.Cache | None
    variant: str
    dtype: DType

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        """What was normalized by: those of `norms` in order, then the projection's."""
        norms = [self.norms[i] for i in range(len(self.norms))]
        if self.projection_norm is not None:
            norms.append(self.projection_norm)
        return tuple(norm.statistics for norm in norms)


def forward(
    x: Array,
    parameters: Parameters,
    statistics: Sequence[Statistics] | None = None,
    *,
    strides: Ints = 1,
    padding: Pad = "same",
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
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Zeros around what every kernel larger than 1×1 reads. PyTorch's blocks have 1, which is not
        "same" where strides of 2 meet an even size.
    variant : "original", "preactivation" or "normalized_sum"
        Where normalization and activation stand.
    epsilon : float
        Added to every variance.

    Returns
    -------
    y : array (N, *ceil(spatial / strides), C_out)
    cache : Cache
        For `backward`; `cache.statistics` are those normalized by, in the order above.

    Raises
    ------
    ValueError
        Also if the numbers of norms or statistics are wrong, strides or channels change the shape
        without a projection, or padding gives the branch another size than the short cut.

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
    x, p = as_array("x", x), as_parameters(parameters)
    steps = checked_steps(x.shape, p, strides, padding, variant)
    affine = norms_of(p)
    dtype = result_dtype(x, *p.kernels, *chain(*affine), p.projection)
    # All steps take the dtype to compute in from x, so that float16 is rounded once, at the end.
    x = x.astype(compute_dtype(dtype), copy=False)
    used: Sequence[Statistics | None] = [None] * len(affine)
    if statistics is not None:
        used = as_all_statistics("statistics", statistics, [len(gamma) for gamma, _ in affine])
    convs: dict[int, conv.Cache] = {}
    norms: dict[int, batchnorm.Cache] = {}
    relus: dict[int, relu.Cache] = {}

    def convolve(a: Array, i: int) -> Array:
        a, convs[i] = conv.forward(a, p.kernels[i], **steps[i])
        return a

    def normalize(a: Array, i: int) -> Array:
        a, norms[i] = batchnorm.forward(a, *affine[i], used[i], epsilon=epsilon)
        return a

    def rectify(a: Array, i: int) -> Array:
        a, relus[i] = relu.forward(a)
        return a

    identity, projection, projection_norm = x, None, None
    if p.projection is not None:
        identity, projection = unary.forward(x, p.projection, strides=strides)
    if p.projection_norm is not None:
        identity, projection_norm = batchnorm.forward(
            identity, *p.projection_norm, used[-1], epsilon=epsilon
        )

    # The rows of the table: F, the sum, what stands behind it. The sum is written into a, which no
    # cache refers to: each keeps what its step read, not what it returned.
    a, end = x, len(p.kernels)
    if variant == "original":
        for i in range(end):
            a = rectify(a, i) if i else a
            a = normalize(convolve(a, i), i)
        a += identity
        a = rectify(a, end)
    elif variant == "preactivation":
        for i in range(end):
            a = convolve(rectify(normalize(a, i), i), i)
        a += identity
    else:
        for i in range(end):
            a = rectify(normalize(convolve(a, i), i), i)
        a += identity
        a = rectify(normalize(a, end), end)
    cache = Cache(convs, norms, relus, projection, projection_norm, variant, dtype)
    return a.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back along both ways, and add up what arrives.

    The gradient of the sum is kept until then: beyond inputs and results, three copies of the
    largest image are taken, not two.

    Parameters
    ----------
    dy : array of the output's shape
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, parameters)
        parameters is a Parameters of gradients, None where there was no array.

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
    da = as_array("dy", dy).astype(compute_dtype(cache.dtype), copy=False)
    dkernels: dict[int, Array] = {}
    dnorms: dict[int, Norm] = {}

    def convolve(da: Array, i: int) -> Array:
        da, dkernel, _ = conv.backward(da, cache.convs[i])
        dkernels[i] = dkernel.astype(cache.dtype, copy=False)
        return da

    def normalize(da: Array, i: int) -> Array:
        da, dnorms[i] = _through(da, cache.norms[i], cache.dtype)
        return da

    def rectify(da: Array, i: int) -> Array:
        return relu.backward(da, cache.relus[i]).x

    # The same rows from right to left: the sum hands its gradient to both ways. One step a line, so
    # that no gradient outlives the step that read it.
    end = len(cache.convs)
    if cache.variant == "original":
        didentity = da = rectify(da, end)
        for i in reversed(range(end)):
            da = normalize(da, i)
            da = convolve(da, i)
            da = rectify(da, i) if i else da
    elif cache.variant == "preactivation":
        didentity = da
        for i in reversed(range(end)):
            da = convolve(da, i)
            da = rectify(da, i)
            da = normalize(da, i)
    else:
        da = rectify(da, end)
        didentity = da = normalize(da, end)
        for i in reversed(range(end)):
            da = rectify(da, i)
            da = normalize(da, i)
            da = convolve(da, i)

    dprojection, dprojection_norm = None, None
    if cache.projection_norm is not None:
        didentity, dprojection_norm = _through(didentity, cache.projection_norm, cache.dtype)
    if cache.projection is not None:
        didentity, dprojection, _ = unary.backward(didentity, cache.projection)
    da += didentity
    dx, dprojection = converted(cache.dtype, da, dprojection)
    gradients = Parameters(
        tuple(dkernels[i] for i in range(end)),
        tuple(dnorms[i] for i in range(len(dnorms))),
        dprojection,
        dprojection_norm,
    )
    return Gradients(dx, gradients)


def update(
    moving: Sequence[Statistics],
    batch: Sequence[Statistics],
    *,
    momentum: float = 0.99,
    sample_sizes: Ints | None = None,
) -> tuple[Statistics, ...]:
    """Move all moving statistics of a block towards those of a batch, as `batchnorm.update` does.

    moving and batch have one Statistics per normalization, as `cache.statistics` has; momentum is
    the weight of the old. sample_sizes, one int per normalization or one for all: N times the
    pixels that the normalization sees.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> from convinsights.batchnorm import Statistics
    >>> batch = (Statistics(np.array([10.0]), np.array([3.0])),)
    >>> residual.update((Statistics(np.zeros(1), np.ones(1)),), batch, momentum=0.5)
    (Statistics(mean=array([5.]), variance=array([2.])),)
    """
    old = as_all_statistics("moving", moving)
    new = as_all_statistics("batch", batch, [len(mean) for mean, _ in old])
    sizes: Sequence[int | None] = [None] * len(old)
    if sample_sizes is not None:
        sizes = per_axis("sample_sizes", sample_sizes, len(old), minimum=2, axis="normalization")
    return tuple(
        batchnorm.update(*pair, momentum=momentum, sample_size=size)
        for *pair, size in zip(old, new, sizes, strict=True)
    )


def initial_statistics(parameters: Parameters) -> tuple[Statistics, ...]:
    """Start the moving statistics of every normalization at mean 0 and variance 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> block = residual.initialize(np.random.default_rng(0), [(3, 3), (3, 3)], 4, 8)
    >>> [statistics.mean.shape for statistics in residual.initial_statistics(block)]
    [(8,), (8,), (8,)]
    """
    norms = norms_of(as_parameters(parameters))
    return tuple(batchnorm.initial_statistics(gamma.size) for gamma, _ in norms)


def parameter_count(parameters: Parameters) -> ParameterCount:
    """Count what the block learns, and the moving mean and variance of every normalization.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import residual
    >>> block = residual.initialize(np.random.default_rng(0), [(3, 3), (3, 3)], 64, 64)
    >>> residual.parameter_count(block)
    ParameterCount(trainable=73984, non_trainable=256)
    """
    p = as_parameters(parameters)
    trainable = sum(array.size for array in arrays(p))
    return ParameterCount(trainable, sum(2 * gamma.size for gamma, _ in norms_of(p)))


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
    """Draw kernels from rng, a projection's too where needed, in the dtype; gammas 1, betas 0.

    kernel_sizes has one kernel_size per convolution. filters are the output channels of every
    convolution, or one for all; in_channels those of x. With "preactivation" the projection has no
    normalization.

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
    shapes, channels, projection_shape = weight_shapes(
        kernel_sizes, in_channels, filters, strides, variant
    )
    # The shapes are checked, and he_normal checks dtype and rng before it draws: what is refused
    # leaves rng as it was.
    kernels = [he_normal(rng, shape, math.prod(shape[:-1]), dtype) for shape in shapes]
    norms = [batchnorm.initialize(count, dtype=dtype) for count in channels]
    projection, projection_norm = None, None
    if projection_shape is not None:
        projection = he_normal(rng, projection_shape, projection_shape[-2], dtype)
        if variant != "preactivation":
            projection_norm = batchnorm.initialize(projection_shape[-1], dtype=dtype)
    return Parameters(tuple(kernels), tuple(norms), projection, projection_norm)


def _through(da: Array, cache: batchnorm.Cache, dtype: DType) -> tuple[Array, Norm]:
    # The gradient of what came in, and those of gamma and beta in the dtype
    da, dgamma, dbeta, _ = batchnorm.backward(da, cache)
    return da, tuple(converted(dtype, dgamma, dbeta))
