"""Give every channel windows and kernels of its own.

Where the classic convolution sums over space and channels at once, this one sums over space alone:

    y[n, i, j, c M + m] = sum over u, v of
                          x[n, i s + u d - before, j s + v d - before, c] kernel[u, v, c, m]
                          + bias[c M + m]

The windows are those of im2col; only the sum over c is missing. The depth multiplier M is how many
kernels every channel has. So this is the classic convolution with as many groups as channels, each
of one channel in and M out. Its kernel is (*kernel_size, 1, C M), the same numbers in the same
order, and its gradients are those of `conv`.

References
----------
Sifre, "Rigid-Motion Scattering for Image Classification", 2014.
Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017: the law, section 3.1.
"""

from __future__ import annotations

import math

import numpy as np

from convinsights import _plans, conv
from convinsights._arguments import (
    Array,
    FloatType,
    Ints,
    Pad,
    as_array,
    channels_first_hint,
    check_cache,
    check_pixels,
    described,
    spatial_rank,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._plans import SHAPES, Plan, shapes_of
from convinsights._remembered import remembered
from convinsights._weights import count, he_normal, spatial_size
from convinsights.conv import Gradients

__all__ = [
    "Cache",
    "Gradients",
    "backward",
    "forward",
    "initialize",
    "multiply_adds",
    "output_shape",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


@cache_class
class Cache:
    """The cache of the convolution that it is, and the shape in which the kernel was given."""

    conv: conv.Cache
    kernel_shape: tuple[int, ...]


def forward(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[Array, Cache]:
    """Slide a window over every channel by itself.

    Parameters
    ----------
    x : array (N, *spatial, C)
        Images with as many spatial axes as the kernel.
    kernel : array (*kernel_size, C, depth_multiplier)
        One, two or three spatial axes.
    bias : array (C * depth_multiplier,), optional
        Added to every pixel.
    strides, dilation_rate : int or one per spatial axis
        Pixels between neighbouring windows, and between neighbouring taps (1: adjacent).
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Zeros around the image.

    Returns
    -------
    y : array (N, *output_size, C * depth_multiplier)
        Output channel c * depth_multiplier + m is that of kernel[..., c, m].
    cache : Cache
        For `backward`.

    Examples
    --------
    The first channel's differences, the second channel's sums:

    >>> import numpy as np
    >>> from convinsights import depthwise
    >>> x = np.array([[[1, 10], [2, 20], [4, 40]]])
    >>> y, cache = depthwise.forward(x, np.array([[[-1], [1]], [[1], [1]]]))
    >>> y
    array([[[ 1., 30.],
            [ 2., 60.]]])
    """
    x, kernel = as_array("x", x), as_array("kernel", kernel)
    _, groups, shape, _ = plan(x.shape, kernel.shape, strides, padding, dilation_rate)
    # As many groups as channels: group c reads channel c alone, and makes outputs c M … c M + M - 1
    y, cache = conv.forward(
        x,
        kernel.reshape(shape),
        bias,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
    )
    return y, Cache(cache, kernel.shape)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send every output's gradient back to the pixels and the taps of its own channel.

    Parameters
    ----------
    dy : array (N, *output_size, C * depth_multiplier)
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, kernel, bias)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise
    >>> x, kernel = np.array([[[1, 10], [2, 20]]]), np.array([[[3], [5]]])
    >>> y, cache = depthwise.forward(x, kernel)
    >>> depthwise.backward(np.array([[[1, 0], [0, 1]]]), cache).kernel
    array([[[ 1.],
            [20.]]])
    """
    cache = check_cache(cache, Cache, "depthwise")
    # dx, dkernel and dbias of that convolution; dkernel back in the shape of the kernel
    gradients = conv.backward(dy, cache.conv)
    return gradients._replace(kernel=gradients.kernel.reshape(cache.kernel_shape))


def output_shape(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and a kernel_shape.

        (N, *output_size, C * depth_multiplier)

    with the output_size of `conv.output_shape`.

    Examples
    --------
    >>> from convinsights import depthwise
    >>> depthwise.output_shape((8, 28, 28, 32), (3, 3, 32, 2), strides=2, padding="same")
    (8, 14, 14, 64)
    """
    shapes = shapes_of(input_shape, kernel_shape)
    return plan(*shapes, strides, padding, dilation_rate, SHAPES).output_shape


def parameter_count(
    kernel_size: Ints, in_channels: int, *, depth_multiplier: int = 1, use_bias: bool = False
) -> int:
    """Count the weights for in_channels C and a depth_multiplier, and with use_bias the biases.

        prod(kernel_size) * C * depth_multiplier (+ C * depth_multiplier)

    Examples
    --------
    >>> from convinsights import depthwise
    >>> depthwise.parameter_count((3, 3), 64)
    576
    """
    shape = weight_shape(kernel_size, in_channels, depth_multiplier)
    return count(shape, math.prod(shape[-2:]), use_bias)


def multiply_adds(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
) -> int:
    """Count the multiply-adds of `forward` for an input_shape and a kernel_shape.

        N * prod(output_size) * prod(kernel_size) * C * depth_multiplier

    Examples
    --------
    >>> from convinsights import depthwise
    >>> depthwise.multiply_adds((1, 56, 56, 64), (3, 3, 64, 1), padding="same")
    1806336
    """
    shapes = shapes_of(input_shape, kernel_shape)
    return plan(*shapes, strides, padding, dilation_rate, SHAPES).multiply_adds


def initialize(
    rng: np.random.Generator,
    kernel_size: Ints,
    in_channels: int,
    *,
    depth_multiplier: int = 1,
    dtype: FloatType = np.float64,
) -> Array:
    """Draw a kernel (*kernel_size, in_channels, depth_multiplier) from rng, in the dtype.

    Its variance is 2 / prod(kernel_size): an output sums over one channel only.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import depthwise
    >>> depthwise.initialize(np.random.default_rng(0), (3, 3), 64).shape
    (3, 3, 64, 1)
    """
    shape = weight_shape(kernel_size, in_channels, depth_multiplier)
    return he_normal(rng, shape, math.prod(shape[:-2]), dtype, WEIGHTS)


KERNEL = "(*kernel_size, C, depth_multiplier)"


@remembered
def plan(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    strides: Ints,
    padding: Pad,
    dilation_rate: Ints,
    names: tuple[str, str] = ("x", "kernel"),
) -> Plan:
    """Check that an image and its kernels go together, and find the convolution that it is."""
    rank = spatial_rank(names[1], kernel_shape, KERNEL)
    check_pixels(names[0], x_shape, rank)
    if kernel_shape[-2] != x_shape[-1]:
        raise ValueError(
            f"{names[1]} must be (*kernel_size, {x_shape[-1]}, depth_multiplier) for "
            f"{described(names[0], x_shape)}, got {kernel_shape}"
            f"{channels_first_hint(x_shape, kernel_shape[-2])}"
        )
    # (*kernel_size, C, M) -> (*kernel_size, 1, C M), the same numbers in the same order
    shape = *kernel_shape[:-2], 1, math.prod(kernel_shape[-2:])
    return _plans.plan(x_shape, shape, strides, padding, dilation_rate, x_shape[-1], names)


WEIGHTS = "kernel_size, in_channels and depth_multiplier"


def weight_shape(kernel_size: Ints, in_channels: int, depth_multiplier: int) -> tuple[int, ...]:
    """Return (*kernel_size, C, depth_multiplier)."""
    channels = to_integer("in_channels", in_channels)
    return *spatial_size(kernel_size), channels, to_integer("depth_multiplier", depth_multiplier)
