"""The slopes of <dy, y> as one array moves along a line, by differences in float64.

A gradient foretells the slope along any direction v, <dx, v>; a difference measures it. Where they
may differ although both are right, and what is done about it:

* a difference rounds. A short step loses more digits of it than a long one,
* a long step meets curvature, and kinks: where a ReLU turns on or off within the step, the
  difference mixes two slopes. Of a million ReLUs some six turn within the first of STEPS; within
  the last, one turns only once in 160 times. So the shorter steps are taken where the longer ones
  disagree,
* at a kink itself (of a ReLU at 0) the slopes to the left and to the right are two, and what lies
  between them is right. With one kink close by, one of the two is the slope,
* where rounding forbids the short steps and kinks the long ones, another direction may have fewer.

What a wrong gradient adds is, along a random direction, lost among the many terms of a large array.
So one direction is that of the gradient itself, along which all terms have one sign.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array

__all__ = ["Line", "orthogonal", "refuse_orthogonal"]

# Steps, relative to the root mean square of the array. By the first a central difference is off by
# about 1e-10, by curvature and by rounding alike.
STEPS = (1e-5, 3e-7, 5e-8, 1e-8)
# Random directions that are tried before one counts as wrong.
TRIES = 8
# Rounding of an element of y, relative to it; a correct y is off by a few units of 2^-53.
ROUNDING = 32 * 2.0**-53
# At the shorter steps rounding may come to so many times the tolerance; where it is more, they say
# nothing.
ALLOWANCE = 50


class Sides(NamedTuple):
    """How far the array moved, on average of both sides, and how y changed on each."""

    move: Array
    right: Array
    left: Array


@dataclass(frozen=True)
class Line:
    """<dy, y> as one array, by its name, moves from where it is: `output(array)` is y there."""

    name: str
    array: Array
    y: Array
    dy: Array
    output: Callable[[Array], Array]

    def check(
        self, gradient: Array, directions: int, tolerance: float, rng: np.random.Generator
    ) -> float:
        """Return the largest error of the slopes that a gradient foretells, or say it is wrong."""
        shape, largest = self.array.shape, 0.0
        if gradient.shape != shape:
            raise AssertionError(
                f"the gradient of {self.name} must be of shape {shape}, got {gradient.shape}"
            )
        if not np.isfinite(gradient).all():
            raise AssertionError(f"the gradient of {self.name} is wrong: it is not finite")
        drawn = rng.normal(size=(directions, *shape))
        first = [self.along(direction, STEPS[0]) for direction in drawn]
        changes = [right + left for _, right, left in first]
        noise = ROUNDING * float(np.abs(self.y).max(initial=0))
        refuse_annihilated(self.dy, changes, f"every change that {self.name} makes", noise)
        kinked = False
        for number, (direction, longest) in enumerate(zip(drawn, first, strict=True)):
            error = self.error(gradient, chain([longest], self.steps(direction, 1)), tolerance)
            for _ in range(TRIES - 1):
                if error > tolerance:
                    again = np.array(rng.normal(size=shape))
                    error = self.error(gradient, self.steps(again), tolerance)
            if error > tolerance:
                error, kinked = self.error_at_kinks(gradient, direction, tolerance), True
            if error > tolerance:
                where = f"along random direction {number} of {directions}"
                raise AssertionError(self.message(gradient, direction, where))
            largest = max(largest, error)
        if gradient.any():
            direction = gradient / root_mean_square(gradient)
            error = self.error(gradient, self.steps(direction), tolerance, itself=True)
            if error > tolerance and kinked:
                error = self.error_at_kinks(gradient, direction, tolerance)
            if error > tolerance:
                raise AssertionError(self.message(gradient, direction, "along the gradient itself"))
            largest = max(largest, error)
        return largest

    def steps(self, direction: Array, start: int = 0) -> Iterator[Sides]:
        """Move along a direction by every step from number `start` on, the longest first."""
        return (self.along(direction, step) for step in STEPS[start:])

    @property
    def size(self) -> float:
        """The unit of the steps."""
        return root_mean_square(self.array) if self.array.any() else 1.0

    def along(self, direction: Array, step: float) -> Sides:
        """Move along a direction, forth and back, by a step relative to the array."""
        step *= self.size
        right, left = self.array + step * direction, self.array - step * direction
        return Sides((right - left) / 2, self.output(right) - self.y, self.y - self.output(left))

    def error(
        self, gradient: Array, steps: Iterable[Sides], tolerance: float, itself: bool = False
    ) -> float:
        """Tell how far off the foretold slope is, by the first of the steps at which it is right.

        It must be that of the difference of both sides, or by the shortest step that of one. Along
        the gradient `itself` one step that agrees is not enough while a shorter one can be taken
        (kinks within it may hide by chance what is wrong, and a shorter step has fewer of them):
        either two in a row agree, or the last one that rounding allows does.
        """
        errors: list[float] = []
        agreed = False
        for move, *changes in steps:
            foretold, (right, left) = (gradient * move).sum(), [self.dy * c for c in changes]
            found = [(right + left).sum() / 2]
            size = abs(found[0]) if itself else (np.abs(right) + np.abs(left)).sum() / 2
            if errors and self.rounding > ALLOWANCE * tolerance * size:
                break
            if len(errors) + 1 == len(STEPS):
                found += [right.sum(), left.sum()]
            errors.append(self.relative(min(abs(slope - foretold) for slope in found), size))
            if errors[-1] <= tolerance and (agreed or not itself):
                break
            agreed = errors[-1] <= tolerance
        return errors[-1] if itself else min(errors)

    def error_at_kinks(self, gradient: Array, direction: Array, tolerance: float) -> float:
        """Tell how far off it is if every element of y may have its slope to the left or right."""
        move, *changes = self.along(direction, STEPS[-1])
        foretold, (right, left) = (gradient * move).sum(), [self.dy * c for c in changes]
        low, high = np.minimum(right, left).sum(), np.maximum(right, left).sum()
        size = (np.abs(right) + np.abs(left)).sum() / 2
        if self.rounding > ALLOWANCE * tolerance * size:
            return np.inf
        return self.relative(max(low - foretold, foretold - high, 0.0), size)

    @property
    def rounding(self) -> float:
        """What rounding y may do to <dy, y>."""
        return ROUNDING * float(np.linalg.norm((self.dy * self.y).ravel()))

    def relative(self, off: float, size: float) -> float:
        """Return an error beyond rounding, relative to a size."""
        off = max(off - self.rounding, 0.0)
        return float(off / max(size, self.rounding, np.finfo(np.float64).tiny))

    def message(self, gradient: Array, direction: Array, where: str) -> str:
        """Say what is wrong, down to an element: of two halves look into the one more wrong."""
        foretold, found = self.slopes(gradient, direction)
        elements = np.arange(gradient.size)
        while len(elements) > 1:
            elements = max(
                np.array_split(elements, 2),
                key=lambda half: abs(np.subtract(*self.slopes(gradient, direction, half))),
            )
        got, expected = self.slopes(gradient, np.ones_like(direction), elements)
        place = [int(i) for i in np.unravel_index(elements[0], gradient.shape)]
        return (
            f"the gradient of {self.name} is wrong: {where} it foretells a slope of "
            f"{foretold:.9g}, the difference is {found:.9g}; element {self.name}{place or ''}: "
            f"got {got:.9g}, expected {expected:.9g}"
        )

    def slopes(
        self, gradient: Array, direction: Array, elements: Array | slice = slice(None)
    ) -> tuple[float, float]:
        """Return the slope foretold and found where these elements alone move."""
        part = np.zeros(direction.size)
        part[elements] = direction.ravel()[elements]
        part = part.reshape(direction.shape)
        _, right, left = self.along(part, STEPS[1])
        found = (self.dy * (right + left)).sum() / (2 * STEPS[1] * self.size)
        return float((gradient * part).sum()), float(found)


def root_mean_square(array: Array) -> float:
    """Return the size of an array's elements, of which not all are 0."""
    largest = np.abs(array).max()
    return float(largest * np.sqrt(np.mean((array / largest) ** 2)))


def refuse_annihilated(dy: Array, changes: Iterable[Array], what: str, noise: float = 0.0) -> None:
    """Refuse a cotangent that is orthogonal to all of these random changes of y.

    That does not happen by chance. Changes that are mere rounding say nothing.
    """
    seen = [orthogonal(dy * c) for c in changes if np.abs(c).max(initial=0) > 100 * noise]
    refuse_orthogonal(seen, what)


def orthogonal(terms: Array) -> bool:
    """Tell whether these terms of an inner product add up to nothing."""
    return abs(float(terms.sum())) <= 1e-7 * float(np.abs(terms).sum())


def refuse_orthogonal(seen: Sequence[bool], what: str) -> None:
    """Refuse a cotangent that was orthogonal to everything."""
    if seen and all(seen):
        raise ValueError(
            f"dy must not be annihilated, but it is orthogonal to {what}: any gradient that is "
            "orthogonal too would pass, right or wrong; take a random dy"
        )
