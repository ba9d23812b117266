"""The slopes of <dy, y> as one array moves, by differences in float64.

A gradient foretells the slope along any direction v, <dx, v>; a difference measures it. Where they
may differ although both are right, and what is done about it:

* a difference rounds. A short step loses more digits of it than a long one,
* a long step meets curvature, and kinks: where a ReLU turns on or off within the step, the
  difference mixes two slopes. Of a million ReLUs some eight turn within the first of STEPS, and one
  in 120 times any within the last. So the shorter steps are taken where the longer ones disagree,
* at a kink itself (of a ReLU at 0) the slopes to the left and to the right are two, and what lies
  between them is right. With one kink close by, one of the two is the slope.

What a wrong gradient adds is, along a random direction, lost among the many terms of a large array.
So one direction is that of the gradient itself, along which all terms have one sign.

A check does not catch what its cotangent dy cannot see: batch normalization sends a constant to 0,
whatever the code. Cotangents are therefore random, and one that is orthogonal to every change of y
is refused.

References
----------
Griewank and Walther, "Evaluating Derivatives", 2008, section 3.2.
Claerbout, "Earth Soundings Analysis: Processing versus Inversion", 1992 (the dot-product test).
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from convinsights._arguments import Array, as_array, check_fraction, to_integer
from convinsights.parameters import aligned, filled, walk, written

__all__ = ["adjoint_gap", "check_gradients", "generator"]

# Steps, relative to the root mean square of the array. By the first a central difference is off by
# about 1e-10, by curvature and by rounding alike.
STEPS = (1e-5, 3e-7, 1e-8)
# Rounding of an element of y, relative to it; a correct y is off by a few units of 2^-53.
ROUNDING = 32 * 2.0**-53
# Tolerances that rounding may take at the shorter steps; where it takes more they say nothing.
ALLOWANCE = 4


def adjoint_gap(
    forward: Callable[[Any], Array],
    backward: Callable[[Array], Any],
    x: Any,
    *,
    dy: Array | None = None,
    seed: int = 0,
) -> float:
    """Measure how far a linear function and its backward are from being adjoint.

    <dy, forward(v)> == <backward(dy), v> for every v and dy. It is no difference, so nothing is
    lost to a step: the gap is about 1e-16 for a right backward.

    Parameters
    ----------
    forward : callable
        forward(x) -> y, linear (without bias).
    backward : callable
        backward(dy) -> dx.
    x : array of float64, or a tree of them
        Tried along with four random ones of its shape.
    dy : array like y, optional
        The cotangent; random, unless given.
    seed : int
        Of what is random.

    Returns
    -------
    float
        The largest |<dy, forward(v)> - <dx, v>| relative to the magnitudes summed.

    Raises
    ------
    ValueError
        If forward is not linear, dy is constant or annihilated by forward (then <dy, forward(v)>
        is 0 for all v, and wrong gradients pass), or a shape is wrong.
    TypeError
        If x or a result is not float64.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import verify
    >>> x = np.array([3.0, 1.0, 2.0])
    >>> bool(verify.adjoint_gap(np.cumsum, lambda dy: np.cumsum(dy[::-1])[::-1], x) < 1e-15)
    True
    >>> bool(verify.adjoint_gap(np.cumsum, np.cumsum, x) > 0.1)
    True
    """
    point, rng = Point.of(["x"], [x]), generator(seed)
    if np.any(as_double("forward(0)", forward(*point.at([0 * a for a in point.arrays])))):
        raise ValueError("forward must be linear, but forward(0) is not 0: leave out the bias")
    probes = [point.arrays]
    probes += [[np.array(rng.normal(size=a.shape)) for a in point.arrays] for _ in range(4)]
    outputs = [as_double("forward(x)", forward(*point.at(v))) for v in probes]
    cotangent = as_cotangent(dy, outputs[0].shape, rng)
    refuse_annihilated(cotangent, outputs[1:], "every forward(x)")
    dx = point.gradients("backward(dy)", [backward(cotangent.copy())])
    for name, array, gradient in zip(point.names, point.arrays, dx, strict=True):
        if gradient.shape != array.shape:
            raise ValueError(
                f"backward must return dx of {name}'s shape {array.shape}, "
                f"got shape {gradient.shape}"
            )
    gaps = [0.0]
    for v, y in zip(probes, outputs, strict=True):
        terms = cotangent * y
        others = np.concatenate([(g * a).ravel() for g, a in zip(dx, v, strict=True)])
        size = np.abs(terms).sum() + np.abs(others).sum()
        if size:
            gaps.append(abs(terms.sum() - others.sum()) / size)
    return float(max(gaps))


def check_gradients(
    forward: Callable[..., Array],
    backward: Callable[..., Any],
    *arrays: Any,
    dy: Array | None = None,
    directions: int = 4,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> float:
    """Compare gradients with differences, one array at a time.

    Along random directions, and along the gradient itself, the slope that a gradient foretells must
    be that of the differences. Where y has a kink (a ReLU at 0), it must lie between the slopes to
    the left and to the right.

    Parameters
    ----------
    forward : callable
        forward(*arrays) -> y.
    backward : callable
        backward(dy, *arrays) -> gradients, a tuple of one for each of the arrays (for a single one
        also the gradient itself); None for arrays that are None.
    *arrays : arrays of float64, None, or trees of them
        Where to differentiate. Gradients of a tree, such as a network's parameters, have its
        structure (see `convinsights.parameters`).
    dy : array like y, optional
        The cotangent; random, unless given.
    directions : int
        Random ones for each array.
    tolerance : float
        Of slopes, relative to the sum of the magnitudes |dy * difference|; along the gradient
        itself relative to the slope.
    seed : int
        Of what is random.

    Returns
    -------
    float
        The largest error of a slope in those units.

    Raises
    ------
    AssertionError
        If a gradient is wrong. The message names the array, the direction and an element.
    ValueError
        If dy is constant, or orthogonal to every change of y by one of the arrays (batch
        normalization annihilates constants: wrong gradients would pass), forward is random, or a
        size is wrong.
    TypeError
        If an array or a result is not float64: differences in float32 keep three digits.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import verify
    >>> x, y = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    >>> def product(x, y):
    ...     return x * y
    >>> error = verify.check_gradients(product, lambda dz, x, y: (dz * y, dz * x), x, y)
    >>> bool(error < 1e-9)
    True
    >>> verify.check_gradients(product, lambda dz, x, y: (dz * y, dz * y), x, y)
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: the gradient of y is wrong: ...
    """
    rng = generator(seed)
    directions = to_integer("directions", directions)
    tolerance = check_fraction("tolerance", tolerance)
    point = Point.of(argument_names(forward, len(arrays)), arrays)
    if not point.arrays:
        raise ValueError("give one array at least: there is nothing to differentiate by")
    y = as_finite("forward(…)", forward(*point.at(point.arrays)))
    again = as_finite("forward(…)", forward(*point.at(point.arrays)))
    if again.shape != y.shape or np.abs(again - y).max(initial=0) > 1e-9 * np.abs(y).max(initial=0):
        raise ValueError("forward must give the same result again, got another for the same arrays")
    cotangent = as_cotangent(dy, y.shape, rng)
    gradients = backward(cotangent.copy(), *point.at(point.arrays))
    alone = len(arrays) == 1 and aligned(point.trees[0], gradients) is not None
    if alone or not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    while len(gradients) > len(arrays) and gradients[-1] is None:  # of an optional array
        gradients = gradients[:-1]
    if len(gradients) != len(arrays):
        raise ValueError(
            f"backward must return {len(arrays)} gradients, one for each array, "
            f"got {len(gradients)}"
        )
    largest = 0.0
    for i, gradient in enumerate(point.gradients("the gradient of {}", gradients)):
        line = Line(point.names[i], point.arrays[i], y, cotangent, point.moving(forward, i))
        largest = max(largest, line.check(gradient, directions, tolerance, rng))
    return largest


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
        refuse_annihilated(self.dy, changes, f"every change that {self.name} makes", 1e-15)
        kinked = False
        for number, (direction, longest) in enumerate(zip(drawn, first, strict=True)):
            error = self.error(gradient, chain([longest], self.steps(direction, 1)), tolerance)
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
        """Move along a direction by every step from the longest on."""
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

        It must be that of the difference of both sides, or by the shortest step that of one.
        """
        errors: list[float] = []
        for move, *changes in steps:
            foretold, (right, left) = (gradient * move).sum(), [self.dy * c for c in changes]
            found = [(right + left).sum() / 2]
            size = abs(found[0]) if itself else (np.abs(right) + np.abs(left)).sum() / 2
            if errors and self.rounding > ALLOWANCE * tolerance * size:
                break
            if len(errors) + 1 == len(STEPS):
                found += [right.sum(), left.sum()]
            errors.append(self.relative(min(abs(slope - foretold) for slope in found), size))
            if errors[-1] <= tolerance:
                break
        return min(errors)

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
