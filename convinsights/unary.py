"""Mix the channels of every pixel, and leave the pixels apart.

The 1×1 convolution is the convolution whose window is a single pixel. Nothing is summed over
space, only over channels, by the same matrix everywhere:

    y[n, i, j, o] = sum over c of x[n, i s, j s, c] kernel[c, o] + bias[o]

im2col is here a mere reshape: with a row for each pixel that is read, and the kernel as a matrix,

    y = x kernel + bias        dx = dy kernelᵀ        dkernel = xᵀ dy        dbias = sum of dy

So it changes the number of channels, C_in to C_out. With strides of 1 it keeps the spatial sizes
and commutes with every shuffle of the pixels; with larger strides the pixels between are never
read, and their gradient is 0. Two of them in a row, without activation between, are one, by the
product of their matrices.

References
----------
Lin, Chen and Yan, "Network In Network", 2013: section 3.1.
"""

from __future__ import annotations

import numpy as np

from convinsights import _plans, conv
from convinsights._arguments import (
    Array,
    FloatType,
    Ints,
    as_array,
    channels_first_hint,
    check_cache,
    check_pixels,
    described,
    to_integer,
)
from convinsights._caches import cache_class
from convinsights._plans import SHAPES, Plan, shapes_of
from convinsights._weights import count, he_normal
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
    x: Array, kernel: Array, bias: Array | None = None, *, strides: Ints = 1
) -> tuple[Array, Cache]:
    """Multiply the channels of every pixel by one matrix.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with one, two or three spatial axes.
    kernel : array (C_in, C_out) or (1, …, 1, C_in, C_out)
        The matrix, plain or with a 1 for each spatial axis.
    bias : array (C_out,), optional
        Added to every pixel.
    strides : int or one per spatial axis
        Pixels from one that is read to the next (1: all are).

    Returns
    -------
    y : array (N, *ceil(spatial / strides), C_out)
    cache : Cache
        For `backward`.

    Examples
    --------
    From red, green and blue to brightness and redness:

    >>> import numpy as np
    >>> from convinsights import unary
    >>> x = np.array([[[3, 6, 9], [9, 0, 0]]])
    >>> y, cache = unary.forward(x, np.array([[1, 2], [1, -1], [1, -1]]))
    >>> y
    array([[[18., -9.],
            [ 9., 18.]]])
    """
    x, kernel = as_array("x", x), as_array("kernel", kernel)
    shape = _conv_shape(x.shape, kernel.shape)
    # y = x kernel + bias, as the convolution whose columns are the pixels themselves
    y, cache = conv.forward(x, kernel.reshape(shape), bias, strides=strides)
    return y, Cache(cache, kernel.shape)


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send every output channel's gradient back through the transposed matrix.

    Parameters
    ----------
    dy : array (N, *ceil(spatial / strides), C_out)
        Gradient with respect to the output of `forward`.
    cache : Cache
        What that `forward` returned.

    Returns
    -------
    Gradients(x, kernel, bias)
        That of the kernel in the shape in which it was given.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import unary
    >>> y, cache = unary.forward(np.array([[[1, 2], [3, 4]]]), np.array([[1, 10], [5, 50]]))
    >>> unary.backward(np.array([[[1, 0], [0, 1]]]), cache).x
    array([[[ 1.,  5.],
            [10., 50.]]])
    """
    cache = check_cache(cache, Cache, "unary")
    # dx = dy kernelᵀ, dkernel = xᵀ dy, dbias = sum of dy
    gradients = conv.backward(dy, cache.conv)
    return gradients._replace(kernel=gradients.kernel.reshape(cache.kernel_shape))


def output_shape(
    input_shape: tuple[int, ...], kernel_shape: tuple[int, ...], *, strides: Ints = 1
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and a kernel_shape.

        (N, *ceil(spatial / strides), C_out)

    Examples
    --------
    >>> from convinsights import unary
    >>> unary.output_shape((8, 28, 28, 256), (256, 64))
    (8, 28, 28, 64)
    """
    return plan(*shapes_of(input_shape, kernel_shape), strides, SHAPES).output_shape


def parameter_count(in_channels: int, filters: int, *, use_bias: bool = False) -> int:
    """Count the weights for in_channels C_in and filters C_out, and with use_bias the biases.

        C_in * C_out (+ C_out)

    Examples
    --------
    >>> from convinsights import unary
    >>> unary.parameter_count(256, 64)
    16384
    """
    shape = to_integer("in_channels", in_channels), to_integer("filters", filters)
    return count(shape, shape[-1], use_bias)


def multiply_adds(
    input_shape: tuple[int, ...], kernel_shape: tuple[int, ...], *, strides: Ints = 1
) -> int:
    """Count the multiply-adds of `forward` for an input_shape and a kernel_shape.

        N * prod(ceil(spatial / strides)) * C_in * C_out

    Examples
    --------
    >>> from convinsights import unary
    >>> unary.multiply_adds((1, 28, 28, 256), (256, 64))
    12845056
    """
    return plan(*shapes_of(input_shape, kernel_shape), strides, SHAPES).multiply_adds


def initialize(
    rng: np.random.Generator,
    in_channels: int,
    filters: int,
    *,
    dtype: FloatType = np.float64,
) -> Array:
    """Draw a plain matrix (in_channels, filters) from rng, in the dtype.

    Its variance is 2 / in_channels.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import unary
    >>> unary.initialize(np.random.default_rng(0), 256, 64).shape
    (256, 64)
    """
    shape = to_integer("in_channels", in_channels), to_integer("filters", filters)
    return he_normal(rng, shape, shape[0], dtype, "in_channels and filters")


def plan(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    strides: Ints,
    names: tuple[str, str] = ("x", "kernel"),
) -> Plan:
    """Check that an image and a matrix go together, and find the convolution that it is."""
    shape = _conv_shape(x_shape, kernel_shape, names)
    return _plans.plan(x_shape, shape, strides, "valid", 1, 1, names)


def behind_ones(
    name: str,
    shape: tuple[int, ...],
    matrix: tuple[int, int | str],
    rank: int,
    purpose: str,
    hint: str = "",
) -> tuple[int, ...]:
    """Return (1, …, 1, C_in, C_out), conv's shape, of a kernel given so or as a plain matrix.

    matrix: the (C_in, C_out) asked for, where "C_out" stands for any number. purpose, hint: what
    the message says the kernel is for, and what it ends with.
    """
    (inputs, outputs), ones = matrix, (1,) * rank
    fits = shape[-2:-1] == (inputs,) and shape[:-2] in ((), ones) and shape[-1] > 0
    if not fits or outputs not in ("C_out", shape[-1]):
        raise ValueError(
            f"{name} must be ({inputs}, {outputs}), or that behind a 1 for each spatial axis, for "
            f"{purpose}, got {shape}{hint}"
        )
    return *ones, *shape[-2:]


def _conv_shape(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    names: tuple[str, str] = ("x", "kernel"),
) -> tuple[int, ...]:
    check_pixels(names[0], x_shape)
    matrix, purpose = (x_shape[-1], "C_out"), described(names[0], x_shape)
    hint = channels_first_hint(x_shape, kernel_shape[-2] if len(kernel_shape) > 1 else 0)
    return behind_ones(names[1], kernel_shape, matrix, len(x_shape) - 2, purpose, hint)
