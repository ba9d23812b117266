"""The slopes of <dy, y> as one array moves, by differences in float64.

A gradient check does not catch what its cotangent dy cannot see: batch normalization sends a
constant to 0, whatever the code. Cotangents are therefore random, and one that is orthogonal to
every change of y is refused.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from convinsights._arguments import Array, as_array

__all__ = ["Slopes", "argument_names", "as_cotangent", "as_double", "refuse_annihilated"]

# A step relative to the array: differences are then off by about 1e-10, half of it rounding.
STEP = 1e-5
# Elements of a wrong gradient that are looked at one by one.
ELEMENTS = 256


class Sides(NamedTuple):
    """How y changes per step to the right and to the left along a direction."""

    direction: Array
    right: Array
    left: Array


@dataclass(frozen=True)
class Slopes:
    """<dy, y> as one array, by its name, moves from where it is: `output(change)` is y there."""

    name: str
    array: Array
    y: Array
    dy: Array
    output: Callable[[Array], Array]

    def check(
        self, gradient: object, directions: int, tolerance: float, rng: np.random.Generator
    ) -> float:
        """Return the largest error of the slopes that a gradient foretells, or say it is wrong."""
        given = as_double(f"the gradient of {self.name}", gradient)
        if given.shape != self.array.shape:
            raise AssertionError(
                f"the gradient of {self.name} must be of shape {self.array.shape}, "
                f"got {given.shape}"
            )
        shape = (directions, *self.array.shape)
        taken = [self.along(direction) for direction in rng.normal(size=shape)]
        changes = [sides.right + sides.left for sides in taken]
        refuse_annihilated(self.dy, changes, f"every change that {self.name} makes", self.noise)
        errors = [self.error(given, sides) for sides in taken]
        worst = int(np.argmax(errors))
        if errors[worst] > tolerance:
            raise AssertionError(self.message(given, worst, taken))
        return errors[worst]

    @property
    def step(self) -> float:
        """How far to move."""
        return STEP * (float(np.sqrt(np.mean(self.array**2))) if self.array.any() else 1.0)

    @property
    def noise(self) -> float:
        """What rounding makes of a y that does not change at all, relative to its elements."""
        return 1e-15 / self.step

    def along(self, direction: Array) -> Sides:
        """Move along a direction, forth and back."""
        right = (self.output(self.step * direction) - self.y) / self.step
        left = (self.y - self.output(-self.step * direction)) / self.step
        return Sides(direction, right, left)

    def between(self, sides: Sides) -> float:
        """Return the slope of <dy, y> by the central difference."""
        return float((self.dy * (sides.right + sides.left)).sum()) / 2

    def error(self, gradient: Array, sides: Sides) -> float:
        """Tell how far outside the two differences the gradient's slope is, in magnitudes."""
        slope = float((gradient * sides.direction).sum())
        low, high = sorted(float((self.dy * side).sum()) for side in (sides.right, sides.left))
        rounding = self.noise * float(np.abs(self.dy * self.y).sum())
        off = max(low - slope, slope - high, rounding) - rounding
        size = float(np.abs(self.dy * sides.right).sum() + np.abs(self.dy * sides.left).sum()) / 2
        return off / max(size, rounding, np.finfo(np.float64).tiny)

    def message(self, gradient: Array, worst: int, taken: Sequence[Sides]) -> str:
        """Say what is wrong, down to the element."""
        slope = float((gradient * taken[worst].direction).sum())
        elements = list(np.ndindex(*self.array.shape))[:ELEMENTS]
        entries = []
        for element in elements:
            unit = np.zeros_like(self.array)
            unit[element] = 1.0
            entries.append(self.between(self.along(unit)))
        off = [abs(entry - gradient[e]) for entry, e in zip(entries, elements, strict=True)]
        place = int(np.argmax(off))
        return (
            f"the gradient of {self.name} is wrong: along random direction {worst} of "
            f"{len(taken)} it foretells a slope of {slope:.9g}, the difference is "
            f"{self.between(taken[worst]):.9g}; worst element {self.name}{list(elements[place])}: "
            f"got {gradient[elements[place]]:.9g}, expected {entries[place]:.9g}"
        )


def refuse_annihilated(dy: Array, changes: Sequence[Array], what: str, noise: float = 0.0) -> None:
    """Refuse a cotangent that is orthogonal to all of these random changes of y.

    That does not happen by chance. Changes that are mere rounding say nothing.
    """
    moving = [change for change in changes if np.abs(change).max(initial=0) > 1e3 * noise]
    if moving and all(
        abs(float((dy * change).sum())) <= 1e-7 * float(np.abs(dy * change).sum())
        for change in moving
    ):
        raise ValueError(
            f"dy must not be annihilated, but it is orthogonal to {what}: any gradient that is "
            "orthogonal too would pass, right or wrong; take a random dy"
        )


def as_double(name: str, value: object) -> Array:
    """Return an array in float64; coarser ones are refused, integers will do."""
    array = as_array(name, value)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        raise TypeError(
            f"{name} must be float64, got {array.dtype}: differences in {array.dtype} keep too few "
            "digits to tell a right gradient from a wrong one"
        )
    return array.astype(np.float64)


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
