"""One call of a concept, with the right answers: the truth is what the library gives in float64."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from convinsights import im2col, transposed
from convinsights._arguments import Array, per_axis
from convinsights._concepts import defaults

__all__ = ["Case", "Outcome", "apply", "resized", "resolved"]

# Results by name: y, and dx, dkernel, … as far as there are any.
Outcome: TypeAlias = dict[str, Array]
Row: TypeAlias = Mapping[str, Any]


def apply(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    dy: Array | None = None,
    *,
    fit: bool = False,
) -> Outcome:
    """Run forward, and backward where dy is of the output's shape.

    With `fit`, an output of another shape is brought to the shape of dy by cutting off or adding
    zeros at the end of every axis, and dy to the output's.
    """
    y, cache = module.forward(*arrays, **settings)
    outcome = {"y": y}
    if fit and dy is not None:
        outcome["y"], dy = resized(y, dy.shape), resized(dy, y.shape)
    if dy is not None and dy.shape == y.shape:
        gradients = module.backward(dy, cache)._asdict()
        gradients.pop("statistics", None)
        outcome |= {f"d{name}": g for name, g in gradients.items() if g is not None}
    return outcome


def resized(array: Array, shape: tuple[int, ...]) -> Array:
    """Cut off the end of every axis, or add zeros there."""
    result = np.zeros(shape, array.dtype)
    common = tuple(slice(min(sizes)) for sizes in zip(array.shape, shape, strict=True))
    result[common] = array[common]
    return result


@dataclass(frozen=True)
class Case:
    """One call. The arrays are in float64, and every value can be held in the dtype to verify.

    `row` is what it was made from: the level of each factor.
    """

    module: ModuleType
    kind: str
    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    dy: Array
    integers: bool
    layout: str = "C"
    values: str = "normal"
    row: Row | None = None

    @cached_property
    def truth(self) -> Outcome:
        """The right answers."""
        return apply(self.module, self.arrays, self.settings, self.dy)

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

    @property
    def size(self) -> int:
        """How many numbers the case takes to write down; one without outputs shows least."""
        size = self.dy.size + sum(np.size(a) for a in self.arrays if a is not None)
        return size if self.dy.size else sys.maxsize

    def axes(self, name: str) -> tuple[int, ...]:
        """Return a hyperparameter with one entry per spatial axis."""
        return per_axis(name, self.settings[name], self.rank)

    def image(self, n: int) -> "Case":
        """Return the case of the n-th image alone."""
        arrays = (self.x[n : n + 1], *self.arrays[1:])
        return Case(
            self.module, self.kind, arrays, self.settings, self.dy[n : n + 1], self.integers
        )

    def __str__(self) -> str:
        """Write the call down, the arrays by their shapes."""
        usual = defaults(self.module)
        words = []
        for name, array in zip(self.names, self.arrays, strict=False):
            if array is None or isinstance(array, tuple):
                words.append(f"{name}={None if array is None else 'Statistics(…)'}")
            else:
                words.append(f"{name}={self.values} {array.shape}")
        words += [f"{k}={v!r}" for k, v in self.settings.items() if v != usual[k]]
        memory = "" if self.layout == "C" else f" [memory: {self.layout}]"
        return f"forward({', '.join(words)}){memory}"


def resolved(case: Case) -> tuple[tuple[int, int], ...]:
    """Return the case's padding in zeros, around the image that the windows lie over."""
    if "resolved" not in case.__dict__:  # kept with the case, as its truth is
        image = case.truth["y"] if case.module is transposed else case.x
        names = ("strides", "padding", "dilation_rate")
        case.__dict__["resolved"] = im2col.resolve_padding(
            image.shape[1:-1],
            case.arrays[1].shape[:-2],
            **{name: case.settings[name] for name in names},
        )
    pairs: tuple[tuple[int, int], ...] = case.__dict__["resolved"]
    return pairs
