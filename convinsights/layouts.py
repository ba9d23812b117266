"""Carry images and kernels over to the channels-first layouts of PyTorch, and back.

Axes change places, and every pair of functions is a round trip of the values.

    here, and in Keras                                  PyTorch
    x           (N, *spatial, C)                        (N, C, *spatial)
    conv        (*kernel_size, C_in // groups, C_out)   (C_out, C_in // groups, *kernel_size)
    unary       (C_in, C_out)                           (C_out, C_in), as in Linear
    depthwise   (*kernel_size, C, depth_multiplier)     (C * depth_multiplier, 1, *kernel_size)
    transposed  (*kernel_size, C_out // groups, C_in)   (C_in, C_out // groups, *kernel_size)

The kernels are not flipped: both sides compute cross-correlations.

References
----------
PyTorch documentation, `torch.nn.Conv2d` (also of depthwise convolutions), `torch.nn.Linear` and
`torch.nn.ConvTranspose2d`.
Keras documentation, `Conv2D`, `DepthwiseConv2D` and `Conv2DTranspose`.
"""

from __future__ import annotations

import numpy as np

from convinsights import _plans, depthwise, transposed
from convinsights._arguments import (
    Array,
    as_array,
    check_pixels,
    result_dtype,
    shown,
    spatial_rank,
    to_integer,
)

__all__ = [
    "depthwise_kernel_from_torch",
    "depthwise_kernel_to_torch",
    "kernel_from_torch",
    "kernel_to_torch",
    "to_channels_first",
    "to_channels_last",
    "transposed_kernel_from_torch",
    "transposed_kernel_to_torch",
]


def __dir__() -> list[str]:
    return __all__


def to_channels_first(x: Array) -> Array:
    """Move the channels of x, (N, *spatial, C), in front of the spatial axes.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.to_channels_first(np.zeros((8, 28, 30, 3))).shape
    (8, 3, 28, 30)
    """
    x = as_array("x", x)
    check_pixels("x", x.shape)
    return _moved(x, -1, 1)


def to_channels_last(x: Array) -> Array:
    """Move the channels of x, (N, C, *spatial), behind the spatial axes.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.to_channels_last(np.zeros((8, 3, 28, 30))).shape
    (8, 28, 30, 3)
    """
    x = as_array("x", x)
    if not 3 <= x.ndim <= 5 or 0 in x.shape[1:]:
        raise ValueError(
            f"x must be (N, C, *spatial) with one, two or three spatial axes and no size of 0 "
            f"behind N, got shape {x.shape}"
        )
    return _moved(x, 1, -1)


def kernel_to_torch(kernel: Array) -> Array:
    """Turn a kernel of conv, unary or dilated into PyTorch's weight, for any groups.

    The plain matrix of `unary` becomes that of `torch.nn.Linear`.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.kernel_to_torch(np.zeros((3, 5, 16, 32))).shape
    (32, 16, 3, 5)
    """
    return _to_torch(kernel, _plans.KERNEL, or_matrix=True)


def kernel_from_torch(weight: Array) -> Array:
    """Turn PyTorch's weight into a kernel of conv, unary or dilated, for any groups.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.kernel_from_torch(np.zeros((32, 16, 3, 5))).shape
    (3, 5, 16, 32)
    """
    return _from_torch(weight, "(C_out, C_in // groups, *kernel_size)", or_matrix=True)


def depthwise_kernel_to_torch(kernel: Array) -> Array:
    """Turn a depthwise kernel into the weight of a convolution with C groups.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.depthwise_kernel_to_torch(np.zeros((3, 5, 16, 2))).shape
    (32, 1, 3, 5)
    """
    kernel = _kernel("kernel", kernel, depthwise.KERNEL)
    *size, channels, multiplier = kernel.shape
    return _moved(kernel.reshape(*size, 1, channels * multiplier), (-1, -2), (0, 1))


def depthwise_kernel_from_torch(weight: Array, *, depth_multiplier: int = 1) -> Array:
    """Turn the weight of a convolution with C groups into a depthwise kernel.

    depth_multiplier, the kernels per channel, divides the weight's channels; the weight itself does
    not tell it.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> weight = np.zeros((32, 1, 3, 5))
    >>> layouts.depthwise_kernel_from_torch(weight, depth_multiplier=2).shape
    (3, 5, 16, 2)
    """
    form = "(C * depth_multiplier, 1, *kernel_size)"
    weight = _kernel("weight", weight, form)
    multiplier = to_integer("depth_multiplier", depth_multiplier)
    if weight.shape[1] != 1:
        raise ValueError(f"weight must be {form}, got shape {weight.shape}")
    if weight.shape[0] % multiplier:
        raise ValueError(
            f"depth_multiplier must divide the {weight.shape[0]} channels of weight, "
            f"got {shown(depth_multiplier)}"
        )
    by_channel = weight.reshape(-1, multiplier, *weight.shape[2:])
    return _moved(by_channel, (0, 1), (-2, -1))


def transposed_kernel_to_torch(kernel: Array) -> Array:
    """Turn a transposed kernel into PyTorch's weight, for any groups.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.transposed_kernel_to_torch(np.zeros((3, 5, 32, 16))).shape
    (16, 32, 3, 5)
    """
    return _to_torch(kernel, transposed.KERNEL)


def transposed_kernel_from_torch(weight: Array) -> Array:
    """Turn PyTorch's transposed weight into a transposed kernel, for any groups.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import layouts
    >>> layouts.transposed_kernel_from_torch(np.zeros((16, 32, 3, 5))).shape
    (3, 5, 32, 16)
    """
    return _from_torch(weight, "(C_in, C_out // groups, *kernel_size)")


def _to_torch(kernel: object, form: str, *, or_matrix: bool = False) -> Array:
    return _moved(_kernel("kernel", kernel, form, or_matrix), (-1, -2), (0, 1))


def _from_torch(weight: object, form: str, *, or_matrix: bool = False) -> Array:
    return _moved(_kernel("weight", weight, form, or_matrix), (0, 1), (-1, -2))


def _kernel(name: str, value: object, form: str, or_matrix: bool = False) -> Array:
    array = as_array(name, value)
    if not (or_matrix and array.ndim == 2 and array.size):
        spatial_rank(name, array.shape, form)
    return array


def _moved(
    array: Array, source: int | tuple[int, ...], destination: int | tuple[int, ...]
) -> Array:
    return np.array(np.moveaxis(array, source, destination), result_dtype(array), order="C")
