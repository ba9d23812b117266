"""One call of a concept: forward and, where there is a cotangent, backward, as the library does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    normalization,
    transposed,
    unary,
)
from convinsights._arguments import Array, per_axis, shown
from convinsights._concepts import name_of

__all__ = [
    "MODULES",
    "NAMED",
    "NORMALIZATIONS",
    "Call",
    "Outcome",
    "check_module",
    "plain",
    "resized",
]

NORMALIZATIONS = (batchnorm, normalization)
LINEAR = (conv, depthwise, depthwise_separable, dilated, transposed, unary)
MODULES = (*NORMALIZATIONS, *LINEAR)
NAMED = {name_of(module): module for module in MODULES}

# Results by name: y, and dx, dkernel, … as far as there are any.
Outcome: TypeAlias = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Call:
    """`module.forward(*arrays, **settings)`, and `module.backward` of dy unless that is None."""

    module: ModuleType
    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    dy: Array | None

    def outcome(self, *, fit: bool = False) -> Outcome:
        """Run forward, and backward where dy is of the output's shape.

        With `fit`, an output of another shape is brought to the shape of dy by cutting off or
        adding zeros at the end of every axis, and dy to the output's.
        """
        y, cache = self.module.forward(*self.arrays, **self.settings)
        outcome, dy = {"y": y}, self.dy
        if fit and dy is not None:
            outcome["y"], dy = resized(y, dy.shape), resized(dy, y.shape)
        if dy is not None and dy.shape == y.shape:
            gradients = self.module.backward(dy, cache)._asdict()
            gradients.pop("statistics", None)
            outcome |= {f"d{name}": g for name, g in gradients.items() if g is not None}
        return outcome

    def each(self, function: Callable[[Array], Array]) -> Call:
        """Return the same call with `function` applied to every array and to dy."""
        *arrays, dy = (None if a is None else function(a) for a in (*self.arrays, self.dy))
        return Call(self.module, tuple(arrays), self.settings, dy)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(self.module.Gradients._fields)

    @property
    def x(self) -> Array:
        """The images."""
        x: Array = self.arrays[0]
        return x

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return self.x.ndim - 2

    def axes(self, name: str) -> tuple[int, ...]:
        """Return a hyperparameter with one entry per spatial axis."""
        return per_axis(name, self.settings[name], self.rank, minimum=None)

    @property
    def image_size(self) -> tuple[int, ...]:
        """The size of the image that the windows lie over: of y, where they are scattered."""
        size: tuple[int, ...] = self.x.shape
        if self.module is transposed:
            size = transposed.output_shape(size, self.arrays[1].shape, **self.settings)
        return size[1:-1]

    @cached_property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """The padding in zeros, (before, after), around the image of `image_size`."""
        taps = self.arrays[1].shape[:-2]
        laid = {name: self.settings[name] for name in ("strides", "padding", "dilation_rate")}
        return im2col.resolve_padding(self.image_size, taps, **laid)


def check_module(module: object) -> None:
    """Refuse what cannot be verified."""
    if not isinstance(module, ModuleType) or module not in MODULES:
        raise TypeError(f"module must be one of {', '.join(sorted(NAMED))}, got {shown(module)}")


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters as they compare and are written down: without NumPy's own types."""
    numpys = (np.ndarray, np.generic)
    return {n: s.tolist() if isinstance(s, numpys) else s for n, s in settings.items()}


def resized(array: Array, shape: tuple[int, ...]) -> Array:
    """Cut off the end of every axis, or add zeros there."""
    result = np.zeros(shape, array.dtype)
    common = tuple(slice(min(sizes)) for sizes in zip(array.shape, shape, strict=True))
    result[common] = array[common]
    return result
