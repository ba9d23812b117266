"""Convolve over space first, then over the channels.

The Inception hypothesis: what a classic convolution does at once, over pixels and channels, can be
done in two steps, a depthwise convolution and a 1×1 convolution:

    z = depthwise(x, D)        y = unary(z, P) + bias

The two steps together are the classic convolution with the kernel (M: the depth multiplier)

    K[u, v, c, o] = sum over m of D[u, v, c, m] P[c M + m, o]

so for every input channel the matrix K[:, :, c, :], (k1 k2) × C_out, has rank M at most. That is
all that is lost: any kernel of such ranks is separable. What is saved is weights: there are k1 k2 M
+ M C_out per input channel in place of k1 k2 C_out, at M = 1 a fraction 1/C_out + 1/(k1 k2).

The gradient goes back through both steps in reverse: from dy to dz and dP, from dz to dx and dD.

References
----------
Sifre, "Rigid-Motion Scattering for Image Classification", 2014.
Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017: the hypothesis,
section 1.1.
Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017: the fraction, section 3.1.
Eckart and Young, "The approximation of one matrix by another of lower rank", 1936:
`from_conv_kernel`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from convinsights import depthwise, unary
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    Ints,
    Pad,
    as_array,
    as_vector,
    check_cache,
    check_size,
    compute_dtype,
    converted,
    described,
    result_dtype,
    shape_of,
    spatial_rank,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._plans import Plan
from convinsights._weights import count, he_normal

__all__ = [
    "Cache",
    "Gradients",
    "as_conv_kernel",
    "backward",
    "forward",
    "from_conv_kernel",
    "initialize",
    "multiply_adds",
    "output_shape",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`, each in its argument's shape."""

    x: Array
    depthwise_kernel: Array
    pointwise_kernel: Array
    bias: Array | None


@cache_class
class Cache:
    """The caches of the two steps."""

    depthwise: depthwise.Cache
    unary: unary.Cache
    dtype: DType


def forward(
    x: Array,
    depthwise_kernel: Array,
    pointwise_kernel: Array,
    bias: Array | None = None,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[Array, Cache]:
    """Slide a window over every channel by itself, then mix the channels of every pixel.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with as many spatial axes as the depthwise kernel.
    depthwise_kernel : array (*kernel_size, C_in, depth_multiplier)
        One, two or three spatial axes.
    pointwise_kernel : array (C_in * depth_multiplier, C_out), or that behind a 1 for each axis
        The matrix that mixes the channels.
    bias : array (C_out,), optional
        Added to every pixel.
    strides, dilation_rate : int or one per spatial axis
        Of the depthwise step, in pixels.
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Zeros around the image.

    Returns
    -------
    y : array (N, *output_size, C_out)
    cache : Cache
        For `backward`; holds the image between the two steps.

    Raises
    ------
    ValueError
        Also if the kernels do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise_separable
    >>> x = np.array([[[1, 10], [2, 20], [4, 40]]])
    >>> differences = np.array([[[-1], [-1]], [[1], [1]]])
    >>> y, cache = depthwise_separable.forward(x, differences, np.array([[1], [1]]))
    >>> y.ravel()
    array([11., 22.])
    """
    x = as_array("x", x)
    spatial = as_array("depthwise_kernel", depthwise_kernel)
    pointwise = as_array("pointwise_kernel", pointwise_kernel)
    # Refuses what does not go together, before either step computes.
    plan(x.shape, spatial.shape, pointwise.shape, strides, padding, dilation_rate)
    bias = as_vector("bias", bias, pointwise.shape[-1])
    dtype = result_dtype(x, spatial, pointwise, bias)
    # Both steps in the dtype to compute in, so that float16 is rounded once, at the end.
    x, spatial, pointwise, bias = converted(compute_dtype(dtype), x, spatial, pointwise, bias)
    z, first = depthwise.forward(
        x, spatial, strides=strides, padding=padding, dilation_rate=dilation_rate
    )
    y, second = unary.forward(z, pointwise, bias)
    return y.astype(dtype, copy=False), Cache(first, second, dtype)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send the gradient back through the mixing of channels, then through the windows.

    Parameters
    ----------
    dy : array (N, *output_size, C_out)
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, depthwise_kernel, pointwise_kernel, bias)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise_separable
    >>> x, matrix = np.array([[[1, 10], [2, 20]]]), np.array([[1], [2]])
    >>> y, cache = depthwise_separable.forward(x, np.array([[[3], [5]]]), matrix)
    >>> gradients = depthwise_separable.backward(np.array([[[1], [0]]]), cache)
    >>> gradients.x.tolist(), gradients.pointwise_kernel.ravel().tolist()
    ([[[3.0, 10.0], [0.0, 0.0]]], [3.0, 50.0])
    """
    cache = check_cache(cache, Cache, "depthwise_separable")
    dy, compute = as_array("dy", dy), compute_dtype(cache.dtype)
    # dz = dy Pᵀ, dP = zᵀ dy; then dx and dD from dz. A converted dy does not outlive the first.
    dz, dpointwise, dbias = unary.backward(dy.astype(compute, copy=False), cache.unary)
    dx, dspatial, _ = depthwise.backward(dz, cache.depthwise)
    return Gradients(*converted(cache.dtype, dx, dspatial, dpointwise, dbias))


def output_shape(
    input_shape: tuple[int, ...],
    depthwise_kernel_shape: tuple[int, ...],
    pointwise_kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and the two kernels' shapes.

        (N, *output_size, C_out)

    with the output_size of `conv.output_shape`.

    Parameters
    ----------
    depthwise_kernel_shape : (*kernel_size, C_in, depth_multiplier)
    pointwise_kernel_shape : (C_in * depth_multiplier, C_out), or that behind a 1 for each axis

    Examples
    --------
    >>> from convinsights import depthwise_separable
    >>> depthwise_separable.output_shape((8, 28, 28, 32), (3, 3, 32, 1), (32, 64), strides=2)
    (8, 13, 13, 64)
    """
    shapes = _shapes(input_shape, depthwise_kernel_shape, pointwise_kernel_shape)
    _, second = plan(*shapes, strides, padding, dilation_rate, SHAPES)
    return second.output_shape


def parameter_count(
    kernel_size: Ints,
    in_channels: int,
    filters: int,
    *,
    depth_multiplier: int = 1,
    use_bias: bool = False,
) -> int:
    """Count the weights for in_channels C_in and filters C_out, and with use_bias the biases.

        C_in * depth_multiplier * (prod(kernel_size) + C_out) (+ C_out)

    Examples
    --------
    >>> from convinsights import conv, depthwise_separable
    >>> depthwise_separable.parameter_count((3, 3), 64, 128), conv.parameter_count((3, 3), 64, 128)
    (8768, 73728)
    """
    spatial = depthwise.weight_shape(kernel_size, in_channels, depth_multiplier)
    pointwise = math.prod(spatial[-2:]), to_integer("filters", filters)
    return math.prod(spatial) + count(pointwise, pointwise[-1], use_bias)


def multiply_adds(
    input_shape: tuple[int, ...],
    depthwise_kernel_shape: tuple[int, ...],
    pointwise_kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> int:
    """Count the multiply-adds for input_shape, depthwise_kernel_shape, pointwise_kernel_shape.

        N * prod(output_size) * C_in * depth_multiplier * (prod(kernel_size) + C_out)

    Examples
    --------
    >>> from convinsights import depthwise_separable
    >>> depthwise_separable.multiply_adds((1, 56, 56, 64), (3, 3, 64, 1), (64, 64), padding="same")
    14651392
    """
    shapes = _shapes(input_shape, depthwise_kernel_shape, pointwise_kernel_shape)
    first, second = plan(*shapes, strides, padding, dilation_rate, SHAPES)
    return first.multiply_adds + second.multiply_adds


def initialize(
    rng: np.random.Generator,
    kernel_size: Ints,
    in_channels: int,
    filters: int,
    *,
    depth_multiplier: int = 1,
    dtype: FloatType = np.float64,
) -> tuple[Array, Array]:
    """Draw both kernels from rng, in the dtype, each for its own number of summed inputs.

        (*kernel_size, in_channels, depth_multiplier)
            of variance 2 / prod(kernel_size)
        (1, …, 1, in_channels * depth_multiplier, filters)
            of variance 2 / (in_channels * depth_multiplier)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise_separable
    >>> rng = np.random.default_rng(0)
    >>> [kernel.shape for kernel in depthwise_separable.initialize(rng, (3, 3), 64, 128)]
    [(3, 3, 64, 1), (1, 1, 64, 128)]
    """
    spatial = depthwise.weight_shape(kernel_size, in_channels, depth_multiplier)
    between, ones = math.prod(spatial[-2:]), (1,) * (len(spatial) - 2)
    pointwise = *ones, between, to_integer("filters", filters)
    # Before the first is drawn: what is refused draws nothing
    check_size("in_channels, depth_multiplier and filters", pointwise)
    return (
        he_normal(rng, spatial, math.prod(spatial[:-2]), dtype, depthwise.WEIGHTS),
        he_normal(rng, pointwise, between, dtype),
    )


def as_conv_kernel(depthwise_kernel: Array, pointwise_kernel: Array) -> Array:
    """Write the two as the one kernel (*kernel_size, C_in, C_out) with which `conv` does the same.

        K[…, c, o] = sum over m of D[…, c, m] P[c M + m, o]

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise_separable
    >>> D, P = np.array([[[1]], [[10]]]), np.array([[2, 3]])
    >>> depthwise_separable.as_conv_kernel(D, P)
    array([[[ 2.,  3.]],
    <BLANKLINE>
           [[20., 30.]]])
    """
    spatial = as_array("depthwise_kernel", depthwise_kernel)
    pointwise = as_array("pointwise_kernel", pointwise_kernel)
    spatial_rank("depthwise_kernel", spatial.shape, "(*kernel_size, C_in, depth_multiplier)")
    _check_pointwise(spatial.shape, pointwise.shape, ("depthwise_kernel", "pointwise_kernel"))
    dtype = result_dtype(spatial, pointwise)
    spatial, pointwise = converted(compute_dtype(dtype), spatial, pointwise)
    mixing = pointwise.reshape(*spatial.shape[-2:], -1)
    joined: Array = np.einsum("...cm,cmo->...co", spatial, mixing)
    return joined.astype(dtype, copy=False)


def from_conv_kernel(kernel: Array, *, depth_multiplier: int = 1) -> tuple[Array, Array]:
    """Find the pair of kernels nearest to one of `conv`, by one SVD per input channel.

    For every input channel c the matrix K[…, c, :], prod(kernel_size) × C_out, is cut off after its
    depth_multiplier largest singular values: no matrix of that rank is nearer. The squared distance
    left is the sum of the squares of the discarded ones. Up to rounding the pair is exact where no
    matrix has a larger rank, so always where depth_multiplier >= min(prod(kernel_size), C_out).

    Parameters
    ----------
    kernel : array (*kernel_size, C_in, C_out)
        Of finite numbers.

    Returns
    -------
    depthwise_kernel : array (*kernel_size, C_in, depth_multiplier)
    pointwise_kernel : array (1, …, 1, C_in * depth_multiplier, C_out)

    Examples
    --------
    A kernel of two different windows has rank 2, and needs a depth multiplier of 2:

    >>> import numpy as np
    >>> from convinsights import depthwise_separable
    >>> kernel = np.array([[3, 0], [0, 4]]).reshape(2, 1, 2)
    >>> for m in (1, 2):
    ...     pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=m)
    ...     near = depthwise_separable.as_conv_kernel(*pair)
    ...     print(near.reshape(2, 2).round(12).tolist())
    [[0.0, 0.0], [0.0, 4.0]]
    [[3.0, 0.0], [0.0, 4.0]]
    """
    kernel = as_array("kernel", kernel)
    axes = spatial_rank("kernel", kernel.shape, "(*kernel_size, C_in, C_out)")
    multiplier = to_integer("depth_multiplier", depth_multiplier)
    if not np.isfinite(kernel).all():
        raise ValueError("kernel must be finite, got NaN or infinity in it")
    dtype = result_dtype(kernel)
    *kernel_size, channels, filters = kernel.shape
    matrices = kernel.reshape(-1, channels, filters).swapaxes(0, 1)
    check_size("depth_multiplier", (channels, multiplier, filters))
    check_size("depth_multiplier", (*kernel_size, channels, multiplier))
    matrices = matrices.astype(compute_dtype(dtype), copy=False)
    with np.errstate(over="ignore"):
        left, sizes, right = np.linalg.svd(matrices, full_matrices=False)
    kept = min(multiplier, sizes.shape[-1])
    # Each factor takes the root of the singular value; what goes beyond those kept stays 0.
    root = np.sqrt(sizes[:, :kept])
    # Where a singular value is beyond the type, its root is not.
    beyond = np.isinf(sizes[:, 0])
    if beyond.any():
        sizes = np.linalg.svd(matrices[beyond] * 2.0**-64, compute_uv=False)
        root[beyond] = np.sqrt(sizes[:, :kept]) * 2.0**32
    spatial = np.zeros((math.prod(kernel_size), channels, multiplier), dtype)
    spatial[..., :kept] = (left[..., :kept] * root[:, np.newaxis]).swapaxes(0, 1)
    pointwise = np.zeros((channels, multiplier, filters), dtype)
    pointwise[:, :kept] = right[:, :kept] * root[..., np.newaxis]
    return (
        spatial.reshape(*kernel_size, channels, multiplier),
        pointwise.reshape(*(1,) * axes, channels * multiplier, filters),
    )


SHAPES = ("input_shape", "depthwise_kernel_shape", "pointwise_kernel_shape")


def plan(
    x_shape: tuple[int, ...],
    depthwise_shape: tuple[int, ...],
    pointwise_shape: tuple[int, ...],
    strides: Ints,
    padding: Pad,
    dilation_rate: Ints,
    names: tuple[str, str, str] = ("x", "depthwise_kernel", "pointwise_kernel"),
) -> tuple[Plan, Plan]:
    """Check that an image and both kernels go together, and lay the windows of the two steps."""
    first = depthwise.plan(x_shape, depthwise_shape, strides, padding, dilation_rate, names[:2])
    _check_pointwise(depthwise_shape, pointwise_shape, names[1:])
    return first, unary.plan(first.output_shape, pointwise_shape, 1)


def _shapes(
    image: tuple[int, ...], spatial: tuple[int, ...], pointwise: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    first, second, third = SHAPES
    return shape_of(first, image, minimum=0), shape_of(second, spatial), shape_of(third, pointwise)


def _check_pointwise(
    depthwise_shape: tuple[int, ...], pointwise_shape: tuple[int, ...], names: tuple[str, str]
) -> None:
    *kernel_size, channels, multiplier = depthwise_shape
    matrix, purpose = (channels * multiplier, "C_out"), described(names[0], depthwise_shape)
    unary.behind_ones(names[1], pointwise_shape, matrix, len(kernel_size), purpose)
