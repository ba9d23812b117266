"""Run a convolution backwards: from an image of its output's size to one of its input's.

As a matrix (`conv.matrix`) a convolution is z -> A z; with strides it makes the image smaller. The
transposed convolution is x -> Aᵀ x with the same kernel: every input pixel stamps the kernel, times
its value, onto a larger image, and where stamps overlap they add up:

    y[n, i s + u d - before, j s + v d - before, o] +=
                    sum over c of x[n, i, j, c] kernel[u, v, o, c]

That is the gradient of a convolution with respect to its image, so forward and backward change
places:

    y       = col2im(x kernelᵀ) + bias
    dx      = im2col(dy) kernel
    dkernel = im2col(dy)ᵀ x
    dbias   = sum of dy over all pixels

It is equally a convolution with strides of 1 of the inflated input (`inflate`) with the flipped
kernel: this is the stride "smaller than one". It gives back the shape that a convolution took away,
not the values: Aᵀ is no inverse of A.

References
----------
Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional Networks", 2010.
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016: Aᵀ, section
4.1; `inflate`, section 4.5; sizes, section 4.6.
"""

from __future__ import annotations

import math

import numpy as np

from convinsights import _products
from convinsights._arguments import (
    Array,
    DType,
    FloatType,
    Ints,
    Pad,
    as_array,
    as_vector,
    channels_first_hint,
    check_cache,
    check_dy,
    check_groups,
    check_pixels,
    check_size,
    compute_dtype,
    converted,
    described,
    per_axis,
    result_dtype,
    spatial_rank,
)
from convinsights._caches import cache_class
from convinsights._geometry import Geometry, effective_size
from convinsights._output_size import chosen_size
from convinsights._passes import add_bias, channel_sum
from convinsights._plans import SHAPES, Plan, shapes_of
from convinsights._remembered import remembered
from convinsights._weights import conv_kernel_shape, count, he_normal
from convinsights.conv import Gradients
from convinsights.dilated import inflated

__all__ = [
    "Cache",
    "Gradients",
    "backward",
    "forward",
    "inflate",
    "initialize",
    "multiply_adds",
    "output_shape",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


@cache_class
class Cache:
    """What backward reads: the inputs themselves, and the convolution that was transposed."""

    x: Array
    kernel: Array
    has_bias: bool
    geometry: Geometry
    groups: int
    dtype: DType


def forward(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> tuple[Array, Cache]:
    """Stamp the kernel onto a larger image, once for every input pixel.

    A convolution with strides makes outputs of one size from images of several sizes. So here the
    output may have any size from least to least + stride - 1, where

        least = (size - 1) * stride + ke - (before + after)
        least = (size - 1) * stride + 1                          for "same"

    with the effective kernel ke = (kernel_size - 1) * dilation_rate + 1. `output_padding` is added
    to the least size: it appends no zeros, it picks one of these sizes. `output_size` gives the sum
    instead.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with as many spatial axes as the kernel.
    kernel : array (*kernel_size, C_out // groups, C_in)
        The very array with which `conv` would map C_out channels to C_in.
    bias : array (C_out,), optional
        Added to every pixel.
    strides, dilation_rate : int or one per spatial axis
        Pixels between neighbouring stamps, and between neighbouring taps (1: adjacent).
    padding : "valid", "same", int, or one int or (before, after) pair per spatial axis
        The zeros that the convolution puts around its image; here so many pixels are cut off.
    output_padding : int or one per spatial axis, optional
        0 … stride - 1; 0 by default, and stride - 1 for "same", so that the size is size * stride.
    output_size : int or one per spatial axis, optional
        The output's spatial sizes, in place of output_padding.
    groups : int
        Parts that the channels are split into; divides C_in and C_out.

    Returns
    -------
    y : array (N, *output_size, C_out)
    cache : Cache
        For `backward`.

    Raises
    ------
    ValueError
        Also if the output's size is out of its range, or groups do not divide the channels.

    Examples
    --------
    Two stamps of the kernel (1, 2, 3), two pixels apart:

    >>> import numpy as np
    >>> from convinsights import transposed
    >>> x, kernel = np.array([[[1], [10]]]), np.array([[[1]], [[2]], [[3]]])
    >>> y, cache = transposed.forward(x, kernel, strides=2)
    >>> y.ravel()
    array([ 1.,  2., 13., 20., 30.])
    """
    x, kernel = as_array("x", x), as_array("kernel", kernel)
    geometry, groups, *_ = plan(
        x.shape, kernel.shape, strides, padding, output_padding, output_size, dilation_rate, groups
    )
    bias = as_vector("bias", bias, kernel.shape[-2] * groups)
    dtype = result_dtype(x, kernel, bias)
    # y = col2im(x kernelᵀ) + bias
    y = _products.image_gradient(x, kernel, geometry, groups, compute_dtype(dtype))
    if bias is not None:
        add_bias(y, bias)
    cache = Cache(x, kernel, bias is not None, geometry, groups, dtype)
    return y.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Convolve the gradient: every input pixel collects it from under its stamp.

    Parameters
    ----------
    dy : array (N, *output_size, C_out)
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, kernel, bias)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import transposed
    >>> x, kernel = np.array([[[1], [10]]]), np.array([[[1]], [[2]], [[3]]])
    >>> y, cache = transposed.forward(x, kernel, strides=2)
    >>> transposed.backward(np.array([[[1], [0], [0], [0], [2]]]), cache).x.ravel()
    array([1., 6.])
    """
    cache = check_cache(cache, Cache, "transposed")
    x, kernel, geometry, groups = cache.x, cache.kernel, cache.geometry, cache.groups
    dy = check_dy(dy, (len(x), *geometry.input_size, kernel.shape[-2] * groups))
    compute = compute_dtype(cache.dtype)
    # dx = im2col(dy) kernel, dkernel = im2col(dy)ᵀ x. In place of the pixels that were cut off the
    # columns of dy hold zeros, which should count nothing; but 0 · inf is nan. If a result is not
    # finite, both are computed anew, from those pixels alone that were kept.
    with np.errstate(invalid="ignore"):
        dx, dkernel = _products.both_from_columns(dy, kernel, x, geometry, groups, compute)
    if not (np.isfinite(dx).all() and np.isfinite(dkernel).all()):
        dx, dkernel = _products.both_from_pixels(dy, kernel, x, geometry, groups, compute)
    dbias = channel_sum(dy, compute) if cache.has_bias else None
    return Gradients(*converted(cache.dtype, dx, dkernel, dbias))


def output_shape(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and a kernel_shape: (N, *output_size, C_out).

        output_size = least + output_padding

    with the least size of `forward`.

    Examples
    --------
    >>> from convinsights import transposed
    >>> transposed.output_shape((8, 7, 7, 64), (4, 4, 32, 64), strides=2, padding=1)
    (8, 14, 14, 32)
    """
    image, kernel = shapes_of(input_shape, kernel_shape)
    options = strides, padding, output_padding, output_size, dilation_rate, groups
    return plan(image, kernel, *options, SHAPES).output_shape


def parameter_count(
    kernel_size: Ints, in_channels: int, filters: int, *, groups: int = 1, use_bias: bool = False
) -> int:
    """Count the weights for in_channels C_in and filters C_out, and with use_bias the biases.

        prod(kernel_size) * C_in * C_out / groups (+ C_out)

    Examples
    --------
    >>> from convinsights import transposed
    >>> transposed.parameter_count((4, 4), 64, 32, use_bias=True)
    32800
    """
    return count(_kernel_shape(kernel_size, in_channels, filters, groups), filters, use_bias)


def multiply_adds(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> int:
    """Count the multiply-adds for an input_shape and a kernel_shape, one per tap of every stamp.

        N * prod(spatial) * prod(kernel_size) * C_in * C_out / groups

    That is as many as the convolution that is transposed takes, what is cut off counted too.

    Examples
    --------
    >>> from convinsights import transposed
    >>> transposed.multiply_adds((1, 7, 7, 64), (4, 4, 32, 64), strides=2, padding=1)
    1605632
    """
    image, kernel = shapes_of(input_shape, kernel_shape)
    options = strides, padding, output_padding, output_size, dilation_rate, groups
    return plan(image, kernel, *options, SHAPES).multiply_adds


def initialize(
    rng: np.random.Generator,
    kernel_size: Ints,
    in_channels: int,
    filters: int,
    *,
    groups: int = 1,
    dtype: FloatType = np.float64,
) -> Array:
    """Draw a kernel (*kernel_size, filters // groups, in_channels) from rng, in the dtype.

    Its variance is 2 / (prod(kernel_size) * in_channels / groups), for what an output sums with
    strides of 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import transposed
    >>> transposed.initialize(np.random.default_rng(0), (4, 4), 64, 32).shape
    (4, 4, 32, 64)
    """
    shape = _kernel_shape(kernel_size, in_channels, filters, groups)
    return he_normal(rng, shape, math.prod(shape[:-2]) * shape[-1] // int(groups), dtype)


def inflate(x: Array, strides: Ints) -> Array:
    """Set strides - 1 zeros between neighbouring pixels.

        (N, *spatial, C) -> (N, *((spatial - 1) * strides + 1), C)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import transposed
    >>> transposed.inflate(np.array([[[1], [2], [3]]]), 2).ravel()
    array([1., 0., 2., 0., 3.])
    """
    x = as_array("x", x)
    check_pixels("x", x.shape)
    return inflated("strides", x, 1, per_axis("strides", strides, x.ndim - 2))


KERNEL = "(*kernel_size, C_out // groups, C_in)"


@remembered
def plan(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    strides: Ints,
    padding: Pad,
    output_padding: Ints | None,
    output_size: Ints | None,
    dilation_rate: Ints,
    groups: int,
    names: tuple[str, str] = ("x", "kernel"),
) -> Plan:
    """Check that an image and a kernel go together, and find the convolution to transpose.

    Its output is this input, and its input this output.
    """
    rank = spatial_rank(names[1], kernel_shape, KERNEL)
    check_pixels(names[0], x_shape, rank)
    if kernel_shape[-1] != x_shape[-1]:
        raise ValueError(
            f"{names[1]} must be (*kernel_size, C_out // groups, {x_shape[-1]}) for "
            f"{described(names[0], x_shape)}, got {kernel_shape}"
            f"{channels_first_hint(x_shape, kernel_shape[-1])}"
        )
    groups = check_groups(groups, C_in=x_shape[-1])
    steps = per_axis("strides", strides, rank)
    rates = per_axis("dilation_rate", dilation_rate, rank)
    effective = effective_size(kernel_shape[:-2], rates)
    size = chosen_size(x_shape[1:-1], effective, steps, padding, output_padding, output_size)
    filters = kernel_shape[-2] * groups
    causes = f"{names[0]}, {names[1]}, dilation_rate and strides"
    check_size(causes if output_size is None else "output_size", (x_shape[0], *size, filters))
    padded = x_shape[0], max(x_shape[-1], filters)
    geometry = Geometry.of(
        size, kernel_shape[:-2], steps, padding, rates, padded=padded, names=names
    )
    return Plan(geometry, groups, kernel_shape, (x_shape[0], *size, filters))


def _kernel_shape(
    kernel_size: Ints, in_channels: int, filters: int, groups: int
) -> tuple[int, ...]:
    # Checked as conv's, so that messages name the right argument; then its channels change places
    *size, inputs, outputs = conv_kernel_shape(kernel_size, in_channels, filters, groups)
    return *size, outputs // int(groups), inputs * int(groups)
