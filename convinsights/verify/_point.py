"""What gradients are checked at: arrays in float64, out of trees of arguments, and a cotangent."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convinsights._arguments import Array, as_array, to_integer
from convinsights.parameters import filled, walk, written

__all__ = [
    "Point",
    "argument_names",
    "as_cotangent",
    "as_double",
    "as_finite",
    "generator",
]


@dataclass(frozen=True)
class Point:
    """Arrays to differentiate by, out of trees of arguments, and their names."""

    arguments: tuple[str, ...]
    trees: tuple[Any, ...]
    names: list[str]
    arrays: list[Array]

    @classmethod
    def of(cls, names: Sequence[str], arguments: Sequence[Any]) -> "Point":
        """Take the arrays out of the arguments; a list of numbers is an array."""
        trees = tuple(_tree(*pair) for pair in zip(names, arguments, strict=True))
        found = [
            (name + written(way), array)
            for name, tree in zip(names, trees, strict=True)
            for way, (array,) in walk(name, tree)
        ]
        places, arrays = [name for name, _ in found], [as_double(*pair) for pair in found]
        return cls(tuple(names), trees, places, arrays)

    def at(self, arrays: Sequence[Array]) -> tuple[Any, ...]:
        """Return the arguments with copies of other arrays."""
        trees: tuple[Any, ...] = filled(self.trees, (np.array(a) for a in arrays))
        return trees

    def gradients(self, what: str, gradients: Sequence[Any]) -> list[Array]:
        """Return the gradient of every array, in their order."""
        found = []
        for argument, tree, gradient in zip(self.arguments, self.trees, gradients, strict=True):
            name = what.format(argument)
            for way, (_, array) in walk(name, tree, gradient):
                found.append(as_double(name + written(way), array))
        return found

    def moving(self, forward: Callable[..., Any], i: int) -> Callable[[Array], Array]:
        """Return y as a function of the i-th array alone."""

        def output(array: Array) -> Array:
            arrays = [*self.arrays[:i], array, *self.arrays[i + 1 :]]
            return as_finite("forward(…)", forward(*self.at(arrays)))

        return output


def as_double(name: str, value: object) -> Array:
    """Return an array in float64; coarser ones are refused, integers will do."""
    array = as_array(name, value)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        raise TypeError(
            f"{name} must be float64, got {array.dtype}: differences in {array.dtype} keep too few "
            "digits to tell a right gradient from a wrong one"
        )
    return array.astype(np.float64)


def as_finite(name: str, value: object) -> Array:
    """Return an array in float64 without nan and infinity, of which there are no differences."""
    array = as_double(name, value)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def _tree(name: str, value: object) -> object:
    # A list of numbers is an array.
    numbers = isinstance(value, list) and all(a.ndim == 0 for _, (a,) in walk(name, value))
    return as_array(name, value) if numbers else value


def as_cotangent(dy: object, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return the dy that was given, or a random one."""
    if dy is None:
        return rng.normal(size=shape)
    array = as_double("dy", dy)
    if array.shape != shape:
        raise ValueError(f"dy must be of the output's shape {shape}, got shape {array.shape}")
    if array.size > 1 and (array == array.flat[0]).all():
        raise ValueError(
            "dy must not be constant: there are operations, such as batch normalization, that "
            "annihilate constants, and any gradient would pass; take a random dy"
        )
    return array


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's positional arguments, numbers where it does not tell."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*names, *(f"argument {i}" for i in range(len(names), count))][:count]


def generator(seed: int) -> np.random.Generator:
    """Return a stream of its own.

    Not that of default_rng(seed), which the caller's own arrays may come from: batch normalization,
    for one, annihilates a cotangent that is its x.
    """
    return np.random.default_rng([1992, to_integer("seed", seed, minimum=0)])
