"""How far one output pixel sees, and where.

Per axis, a stack of convolutions is again a window that slides over the input. With effective
kernels ke = (k - 1) d + 1, the jump before a layer being the product of the strides before it:

    size   = 1 + sum over layers of (ke - 1) * jump before the layer
    stride = product of all strides
    start  = - sum over layers of zeros in front * jump before the layer

Output pixel i sees the input pixels start + i stride … start + i stride + size - 1 and none outside
(inside, equal dilation rates may leave gaps).

References
----------
Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
2019, doi:10.23915/distill.00021.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from convinsights._arguments import shown, to_integer

__all__ = ["Layer", "ReceptiveField", "receptive_field"]


class Layer(NamedTuple):
    """One axis of a convolution or a pooling, in pixels; padding is the zeros in front."""

    kernel_size: int
    strides: int = 1
    dilation_rate: int = 1
    padding: int = 0


class ReceptiveField(NamedTuple):
    """What one output pixel sees, in input pixels: how many, how far apart, from where on."""

    size: int
    stride: int
    start: int


def receptive_field(layers: Iterable[Layer]) -> ReceptiveField:
    """Follow one output pixel back through a stack of layers to the window it sees.

    Parameters
    ----------
    layers : iterable of Layer
        The input's side first. Padding is the number of zeros in front (what
        `im2col.resolve_padding` names first). Transposed layers are not covered.

    Returns
    -------
    ReceptiveField(size, stride, start)
        Size of the window, distance between the windows of neighbouring output pixels, and first
        pixel of the first window (negative: in the padding).

    Raises
    ------
    ValueError
        If a size is out of its range.
    TypeError
        If an entry is no Layer, or a size no integer.

    References
    ----------
    Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
    2019.

    Examples
    --------
    Three layers of three taps, each with twice the dilation rate of the one before:

    >>> from convinsights.receptive_field import Layer, receptive_field
    >>> receptive_field([Layer(3, dilation_rate=d, padding=d) for d in (1, 2, 4)])
    ReceptiveField(size=15, stride=1, start=-7)
    """
    try:
        stack = list(layers)
    except TypeError:
        raise TypeError(f"layers must be an iterable of Layer, got {shown(layers)}") from None
    size, jump, start = 1, 1, 0
    for index, layer in enumerate(stack):
        name = f"layers[{index}]"
        if not isinstance(layer, tuple) or not 1 <= len(layer) <= len(Layer._fields):
            raise TypeError(f"{name} must be a Layer, got {shown(layer)}")
        kernel_size, strides, dilation_rate, padding = (
            to_integer(f"{name}.{field}", value, minimum=0 if field == "padding" else 1)
            for field, value in zip(Layer._fields, Layer(*layer), strict=True)
        )
        size += (kernel_size - 1) * dilation_rate * jump
        start -= padding * jump
        jump *= strides
    return ReceptiveField(size, jump, start)
