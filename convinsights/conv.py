"""Look at every place of an image through the same window.

The classic convolution sums over the pixels of the window and over the input channels at once:

    y[n, i, j, o] = sum over u, v, c of
                    x[n, i s + u d - before, j s + v d - before, c] kernel[u, v, c, o] + bias[o]

(cross-correlation: no flip, as in every deep-learning framework). With the windows as rows of a
matrix it is a single product. It is linear in x and in the kernel, so its gradients are products
with the transposed factors:

    y       = im2col(x) kernel + bias
    dx      = col2im(dy kernelᵀ)
    dkernel = im2col(x)ᵀ dy
    dbias   = sum of dy over all pixels

With `groups` the channels are split: group g sees only the g-th part of the input channels and
makes the g-th part of the output channels.

References
----------
LeCun et al., "Backpropagation Applied to Handwritten Zip Code Recognition", 1989.
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016: sizes, chapter 2;
the matrix, section 4.1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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
    check_cache,
    check_dy,
    compute_dtype,
    converted,
    result_dtype,
    shape_of,
    spatial_rank,
)
from convinsights._caches import cache_class
from convinsights._geometry import Geometry
from convinsights._passes import channel_sum
from convinsights._plans import KERNEL, SHAPES, plan, shapes_of
from convinsights._weights import conv_kernel_shape, count, he_normal
from convinsights.im2col import im2col

__all__ = [
    "Cache",
    "Gradients",
    "backward",
    "forward",
    "initialize",
    "matrix",
    "multiply_adds",
    "output_shape",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


class Gradients(NamedTuple):
    """Gradients with respect to the arguments of `forward`, each in its argument's shape."""

    x: Array
    kernel: Array
    bias: Array | None


@cache_class
class Cache:
    """What backward reads: the inputs themselves, and where the windows lay."""

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
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> tuple[Array, Cache]:
    """Slide a window over an image and take its inner product with every kernel.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with as many spatial axes as the kernel.
    kernel : array (*kernel_size, C_in // groups, C_out)
        One, two or three spatial axes.
    bias : array (C_out,), optional
        Added to every pixel.
    strides, dilation_rate : int or one per spatial axis
        Pixels between neighbouring windows, and between neighbouring taps (1: adjacent).
    padding : "valid", "same", "causal", int, or one int or (before, after) pair per spatial axis
        Zeros around the image.
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
        Also if groups do not divide the channels.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import conv
    >>> x = np.array([[10, 11, 12], [20, 21, 22]]).reshape(1, 2, 3, 1)
    >>> right_minus_left = np.array([-1, 1]).reshape(1, 2, 1, 1)
    >>> y, cache = conv.forward(x, right_minus_left)
    >>> y[0, :, :, 0]
    array([[1., 1.],
           [1., 1.]])
    """
    x, kernel = as_array("x", x), as_array("kernel", kernel)
    geometry, groups, *_ = plan(x.shape, kernel.shape, strides, padding, dilation_rate, groups)
    bias = as_vector("bias", bias, kernel.shape[-1])
    dtype = result_dtype(x, kernel, bias)
    # y = im2col(x) kernel + bias
    y = _products.correlate(x, kernel, bias, geometry, groups, compute_dtype(dtype))
    cache = Cache(x, kernel, bias is not None, geometry, groups, dtype)
    return y.astype(dtype, copy=False), cache


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send every output's gradient back to the pixels and the taps that made it.

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
    A pixel that two windows read gets both their gradients:

    >>> import numpy as np
    >>> from convinsights import conv
    >>> y, cache = conv.forward(np.array([[[5], [6], [7]]]), np.array([[[1]], [[2]]]))
    >>> gradients = conv.backward(np.array([[[10], [100]]]), cache)
    >>> gradients.x.ravel(), gradients.kernel.ravel()
    (array([ 10., 120., 200.]), array([650., 760.]))
    """
    cache = check_cache(cache, Cache, "conv")
    x, kernel, geometry, groups = cache.x, cache.kernel, cache.geometry, cache.groups
    dy = check_dy(dy, (len(x), *geometry.output_size, kernel.shape[-1]))
    compute = compute_dtype(cache.dtype)
    # dx      = col2im(dy kernelᵀ)
    # dkernel = im2col(x)ᵀ dy
    # In one call: with strides of 1 both can be computed from windows of dy, gathered once.
    dx, dkernel = _products.both_gradients(x, dy, kernel, geometry, groups, compute)
    # dbias   = sum of dy
    dbias = channel_sum(dy, compute) if cache.has_bias else None
    return Gradients(*converted(cache.dtype, dx, dkernel, dbias))


def output_shape(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and a kernel_shape: (N, *output_size, C_out).

        output_size = floor((before + size + after - ke) / stride) + 1

    with the effective kernel ke = (kernel_size - 1) * dilation_rate + 1.

    Examples
    --------
    >>> from convinsights import conv
    >>> conv.output_shape((8, 224, 224, 3), (7, 7, 3, 64), strides=2, padding="same")
    (8, 112, 112, 64)
    """
    shapes = shapes_of(input_shape, kernel_shape)
    return plan(*shapes, strides, padding, dilation_rate, groups, SHAPES).output_shape


def parameter_count(
    kernel_size: Ints, in_channels: int, filters: int, *, groups: int = 1, use_bias: bool = False
) -> int:
    """Count the weights for in_channels C_in and filters C_out, and with use_bias the biases.

        prod(kernel_size) * C_in / groups * C_out (+ C_out)

    Examples
    --------
    >>> from convinsights import conv
    >>> conv.parameter_count((3, 3), 64, 128, use_bias=True)
    73856
    """
    return count(conv_kernel_shape(kernel_size, in_channels, filters, groups), filters, use_bias)


def multiply_adds(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> int:
    """Count the multiply-adds of `forward` for an input_shape and a kernel_shape.

        N * prod(output_size) * prod(kernel_size) * C_in / groups * C_out

    Examples
    --------
    >>> from convinsights import conv
    >>> conv.multiply_adds((1, 56, 56, 64), (3, 3, 64, 64), padding="same")
    115605504
    """
    shapes = shapes_of(input_shape, kernel_shape)
    return plan(*shapes, strides, padding, dilation_rate, groups, SHAPES).multiply_adds


def initialize(
    rng: np.random.Generator,
    kernel_size: Ints,
    in_channels: int,
    filters: int,
    *,
    groups: int = 1,
    dtype: FloatType = np.float64,
) -> Array:
    """Draw a kernel (*kernel_size, in_channels // groups, filters) from rng, in the dtype.

    Its variance is 2 / (prod(kernel_size) * in_channels / groups).

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import conv
    >>> conv.initialize(np.random.default_rng(0), (3, 3), 64, 128).shape
    (3, 3, 64, 128)
    """
    shape = conv_kernel_shape(kernel_size, in_channels, filters, groups)
    return he_normal(rng, shape, math.prod(shape[:-1]), dtype)


def matrix(
    kernel: Array,
    input_shape: tuple[int, ...],
    *,
    strides: Ints = 1,
    padding: Pad = "valid",
    dilation_rate: Ints = 1,
    groups: int = 1,
) -> Array:
    """Write the convolution of one image as the matrix A of a dense layer.

    Every row of A holds the kernel at the pixels of one window and zeros elsewhere, so that
    `A @ x.ravel() == forward(x[None], kernel, …)[0].ravel()`. It is for looking at: it is as large
    as all inputs times all outputs, (prod(output_size) * C_out, prod(spatial) * C_in).

    Parameters
    ----------
    input_shape : (*spatial, C_in)
        Shape of one image, without the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import conv
    >>> conv.matrix(np.array([1, 2]).reshape(2, 1, 1), (4, 1))
    array([[1., 2., 0., 0.],
           [0., 1., 2., 0.],
           [0., 0., 1., 2.]])
    """
    kernel = as_array("kernel", kernel)
    rank = spatial_rank("kernel", kernel.shape, KERNEL)
    shape = (1, *shape_of("input_shape", input_shape))
    if len(shape) != rank + 2:
        raise ValueError(
            f"input_shape must be (*spatial, C_in), of one image with the kernel's {rank} spatial "
            f"axes, got {shape[1:]}"
        )
    names = "(1, *input_shape)", "kernel"
    geometry, groups, *_ = plan(shape, kernel.shape, strides, padding, dilation_rate, groups, names)
    filters, pixels = kernel.shape[-1], math.prod(geometry.output_size)
    # The columns of an image of pixel numbers say which pixels every window reads. Number 0 is the
    # padding: an input of its own, dropped at the end.
    inputs = math.prod(shape)
    columns = im2col(
        np.arange(1, inputs + 1).reshape(shape),
        geometry.kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
    )
    # (pixels, taps, groups, C_in / groups) -> (pixels, C_out, taps * C_in / groups)
    by_group = columns.astype(np.intp).reshape(pixels, -1, groups, kernel.shape[-2]).swapaxes(1, 2)
    read = by_group.reshape(pixels, groups, -1).repeat(filters // groups, axis=1)
    rows = np.zeros((pixels, filters, inputs + 1), result_dtype(kernel))
    np.put_along_axis(rows, read, kernel.reshape(-1, filters).T[np.newaxis], axis=-1)
    return rows[..., 1:].reshape(-1, inputs)
