"""What a picture of windows shows: the geometry of a module, which checks it."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convinsights import (
    average_pooling,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    max_pooling,
    transposed,
    unary,
)
from convinsights._arguments import Array, Ints, is_sequence, per_axis, shown, to_integer
from convinsights._concepts import defaults, name_of
from convinsights._geometry import Geometry, effective_size
from convinsights.im2col import im2col

__all__ = ["MODULES", "Scene", "axes", "scene"]

POOLING = (average_pooling, max_pooling)
APART = (depthwise, depthwise_separable)  # channel by channel
MODULES = {
    name_of(module): module
    for module in (average_pooling, conv, *APART, dilated, max_pooling, transposed, unary)
}
MOST_CELLS = 40


class Scene(NamedTuple):
    """One call of a module, laid out; `reads` is the pixel under every tap of every window.

    A transposed convolution is that of its convolution: its stamps are the windows, its output is
    what they lie on. Pixels are numbered from 1; 0 is padding.
    """

    name: str
    geometry: Geometry
    options: dict[str, Any]
    reads: Array

    @property
    def back(self) -> bool:
        """Whether it goes from windows to pixels."""
        return self.name == "transposed"

    @property
    def pools(self) -> bool:
        """Whether it has no weights, but takes the maximum or the mean of its windows."""
        return MODULES[self.name] in POOLING

    @property
    def result(self) -> str:
        """What its windows fill."""
        return "between" if MODULES[self.name] is depthwise_separable else "output"

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the two planes is called where channels stay apart, else one plane."""
        if MODULES[self.name] in APART:
            return "channel 0", "channel 1"
        return ("group 0", "group 1") if self.options.get("groups", 1) > 1 else ("",)

    @property
    def input_size(self) -> tuple[int, ...]:
        """The size of the module's input."""
        return self.geometry.output_size if self.back else self.geometry.input_size

    @property
    def output_size(self) -> tuple[int, ...]:
        """The size of the module's output."""
        return self.geometry.input_size if self.back else self.geometry.output_size

    @property
    def counts(self) -> Array:
        """How many windows read each pixel, from that of number 1 on."""
        pixels = math.prod(self.geometry.input_size)
        return np.bincount(self.reads.ravel(), minlength=pixels + 1)[1:]

    @property
    def span(self) -> tuple[int, ...]:
        """The pixels that a window spans."""
        return effective_size(self.geometry.kernel_size, self.geometry.dilation_rate)

    def origin(self, window: tuple[int, ...]) -> tuple[int, ...]:
        """Return the pixel under the first tap of a window; negative in the padding."""
        return tuple(
            i * s - before
            for i, s, (before, _) in zip(
                window, self.geometry.strides, self.geometry.padding, strict=True
            )
        )


def axes(name: str, size: object) -> tuple[int, ...]:
    """Return a size as one int per axis, of which there are one or two."""
    sizes = per_axis(name, size, len(size) if is_sequence(size) else 1)
    if not 1 <= len(sizes) <= 2:
        raise ValueError(f"{name} must be an int or one for each of up to 2 axes, got {size}")
    return sizes


def scene(
    module: ModuleType, input_size: Ints, kernel_size: Ints | None, options: dict[str, Any]
) -> Scene:
    """Let the module check its arguments, and lay out its windows."""
    name = _name(module)
    legal = defaults(module)
    for key in options:
        if key not in legal:
            raise TypeError(f"hyperparameters of {name} must be {', '.join(legal)}, got {key}")
    settled = legal | options
    size = axes("input_size", input_size)
    if kernel_size is None and module not in (unary, *POOLING):
        raise TypeError(f"kernel_size must be given for {name}, got None")
    whole = size if module in POOLING else 1
    kernel = per_axis("kernel_size", whole if kernel_size is None else kernel_size, len(size))
    if module is unary and math.prod(kernel) > 1:
        raise ValueError(f"kernel_size must be 1 for unary, got {shown(kernel_size)}")
    groups = to_integer("groups", settled.get("groups", 1))
    taps = None if kernel_size is None else kernel
    shapes: list[Any] = [taps if module in POOLING else (*kernel, 1, groups)]
    if module is depthwise_separable:
        shapes.append((1, 1))
    try:
        output = module.output_shape((1, *size, groups), *shapes, **settled)[1:-1]
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("pool_size", "kernel_size")) from None
    geometry = Geometry.of(
        output if module is transposed else size,
        kernel,
        kernel if settled["strides"] is None else settled["strides"],
        settled.get("padding", "valid"),
        settled.get("dilation_rate", 1),
    )
    return Scene(name, geometry, settled, _reads(geometry))


def _reads(geometry: Geometry) -> Array:
    # As conv.matrix does: the windows of an image of pixel numbers, one window per row
    if max(geometry.padded_size) > MOST_CELLS:
        raise ValueError(
            f"input_size must be small enough to be seen, at most {MOST_CELLS} pixels and zeros "
            f"along an axis, got {geometry.padded_size}"
        )
    numbers = np.arange(1.0, math.prod(geometry.input_size) + 1)
    columns = im2col(
        numbers.reshape(1, *geometry.input_size, 1),
        geometry.kernel_size,
        strides=geometry.strides,
        padding=geometry.padding,
        dilation_rate=geometry.dilation_rate,
    )
    return columns.astype(np.intp)


def _name(module: object) -> str:
    if not isinstance(module, ModuleType):
        raise TypeError(f"module must be a module of convinsights, got {shown(module)}")
    if module not in MODULES.values():
        raise ValueError(f"module must be one of {', '.join(MODULES)}, got {module.__name__}")
    return name_of(module)
