"""Spread the taps of the kernel, and see further with as many weights.

A dilated convolution leaves dilation_rate - 1 pixels out between neighbouring taps:

    y[n, i, j, o] = sum over u, v, c of
                    x[n, i s + u d - before, j s + v d - before, c] kernel[u, v, c, o] + bias[o]

The kernel of k taps spans ke = (k - 1) d + 1 pixels. `inflate` writes the d - 1 zeros between its
taps out, and `conv` with that kernel gives the same. Here they are left out, in the gradients too:
the windows of im2col have holes. (A transposed convolution inflates the *input*.) With strides of 1
and "same" padding the image keeps its size while the receptive field grows.

References
----------
Holschneider, Kronland-Martinet, Morlet and Tchamitchian, "A Real-Time Algorithm for Signal Analysis
with the Help of the Wavelet Transform", 1989: `inflate` (the "à trous" algorithm).
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016: ke, section 5.1.
Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", 2015: section 2.
"""

from __future__ import annotations

import numpy as np

from convinsights import conv
from convinsights._arguments import (
    Array,
    FloatType,
    Ints,
    Pad,
    as_array,
    check_cache,
    check_size,
    is_sequence,
    per_axis,
    result_dtype,
    spatial_rank,
)
from convinsights._geometry import effective_size
from convinsights._plans import KERNEL
from convinsights._weights import spatial_size
from convinsights.conv import Cache, Gradients

__all__ = [
    "Cache",
    "Gradients",
    "backward",
    "effective_kernel_size",
    "forward",
    "inflate",
    "initialize",
    "multiply_adds",
    "output_shape",
    "parameter_count",
]


def __dir__() -> list[str]:
    return __all__


def forward(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    dilation_rate: Ints = 2,
    strides: Ints = 1,
    padding: Pad = "same",
    groups: int = 1,
) -> tuple[Array, Cache]:
    """Slide a window with holes over an image.

    Parameters
    ----------
    x : array (N, *spatial, C_in)
        Images with as many spatial axes as the kernel.
    kernel : array (*kernel_size, C_in // groups, C_out)
        The taps alone, without the holes.
    bias : array (C_out,), optional
        Added to every pixel.
    dilation_rate, strides : int or one per spatial axis
        Pixels between neighbouring taps, and between neighbouring windows (1: adjacent).
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
    The sum of the pixels two to the left and two to the right:

    >>> import numpy as np
    >>> from convinsights import dilated
    >>> x = np.array([1, 2, 4, 8, 16]).reshape(1, 5, 1)
    >>> y, cache = dilated.forward(x, np.array([1, 0, 1]).reshape(3, 1, 1))
    >>> y.ravel()
    array([ 4.,  8., 17.,  2.,  4.])
    """
    return conv.forward(
        x,
        kernel,
        bias,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
    )


def backward(dy: Array, cache: Cache) -> Gradients:
    """Send every output's gradient back to the pixels under the taps, past the holes.

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
    The gradient of one output shows what it depends on:

    >>> import numpy as np
    >>> from convinsights import dilated
    >>> y, cache = dilated.forward(np.zeros((1, 7, 1)), np.array([1, 2, 3]).reshape(3, 1, 1))
    >>> dy = np.array([0, 0, 0, 1, 0, 0, 0]).reshape(1, 7, 1)
    >>> dilated.backward(dy, cache).x.ravel()
    array([0., 1., 0., 2., 0., 3., 0.])
    """
    return conv.backward(dy, check_cache(cache, Cache, "dilated"))


def output_shape(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    dilation_rate: Ints = 2,
    strides: Ints = 1,
    padding: Pad = "same",
    groups: int = 1,
) -> tuple[int, ...]:
    """Tell what `forward` makes of an input_shape and a kernel_shape, as `conv.output_shape` does.

        (N, *output_size, C_out)

    Examples
    --------
    >>> from convinsights import dilated
    >>> dilated.output_shape((8, 28, 28, 64), (3, 3, 64, 64), padding="valid")
    (8, 24, 24, 64)
    """
    return conv.output_shape(
        input_shape,
        kernel_shape,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
    )


def parameter_count(
    kernel_size: Ints, in_channels: int, filters: int, *, groups: int = 1, use_bias: bool = False
) -> int:
    """Count the weights for in_channels C_in and filters C_out, and with use_bias the biases.

        prod(kernel_size) * C_in / groups * C_out (+ C_out)

    as without holes: a kernel_size counts taps.

    Examples
    --------
    >>> from convinsights import dilated
    >>> dilated.parameter_count((3, 3), 64, 64)
    36864
    """
    return conv.parameter_count(kernel_size, in_channels, filters, groups=groups, use_bias=use_bias)


def multiply_adds(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    dilation_rate: Ints = 2,
    strides: Ints = 1,
    padding: Pad = "same",
    groups: int = 1,
) -> int:
    """Count the multiply-adds for an input_shape and a kernel_shape; holes cost nothing.

        N * prod(output_size) * prod(kernel_size) * C_in / groups * C_out

    Examples
    --------
    >>> from convinsights import dilated
    >>> dilated.multiply_adds((1, 28, 28, 64), (3, 3, 64, 64), dilation_rate=4)
    28901376
    """
    return conv.multiply_adds(
        input_shape,
        kernel_shape,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
    )


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

    Its variance is that of `conv.initialize`: holes add nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import dilated
    >>> dilated.initialize(np.random.default_rng(0), (3, 3), 64, 64).shape
    (3, 3, 64, 64)
    """
    return conv.initialize(rng, kernel_size, in_channels, filters, groups=groups, dtype=dtype)


def effective_kernel_size(kernel_size: Ints, dilation_rate: Ints) -> int | tuple[int, ...]:
    """Tell how many pixels a dilated kernel spans: an int of an int, a tuple of a sequence.

        ke = (kernel_size - 1) * dilation_rate + 1

    Examples
    --------
    >>> from convinsights import dilated
    >>> dilated.effective_kernel_size(3, 4), dilated.effective_kernel_size((3, 5), (1, 2))
    (9, (3, 9))
    """
    size = spatial_size(kernel_size)
    effective = effective_size(size, per_axis("dilation_rate", dilation_rate, len(size)))
    return effective if is_sequence(kernel_size) else effective[0]


def inflate(kernel: Array, dilation_rate: Ints) -> Array:
    """Fill the holes with zeros: `conv` with this kernel is `dilated` with the one given.

        (*kernel_size, C_in // groups, C_out) -> (*ke, C_in // groups, C_out)

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import dilated
    >>> dilated.inflate(np.array([1, 2, 3]).reshape(3, 1, 1), 2).ravel()
    array([1., 0., 2., 0., 3.])
    """
    kernel = as_array("kernel", kernel)
    rank = spatial_rank("kernel", kernel.shape, KERNEL)
    return inflated("dilation_rate", kernel, 0, per_axis("dilation_rate", dilation_rate, rank))


def inflated(name: str, array: Array, first: int, steps: tuple[int, ...]) -> Array:
    """Set step - 1 zeros between neighbours, along the axes from `first` on, one step each."""
    last = first + len(steps)
    size = effective_size(array.shape[first:last], steps)
    shape = check_size(name, (*array.shape[:first], *size, *array.shape[last:]))
    result = np.zeros(shape, result_dtype(array))
    result[(slice(None),) * first + tuple(slice(None, None, step) for step in steps)] = array
    return result
