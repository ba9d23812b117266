"""The slopes of <dy, y> as one array moves, by differences in float64.

A gradient check does not catch what its cotangent dy cannot see: batch normalization sends a
constant to 0, whatever the code. Cotangents are therefore random, and one that is orthogonal to
every change of y is refused.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from convinsights._arguments import Array, as_array, check_fraction, to_integer

__all__ = ["adjoint_gap", "check_gradients", "generator"]

# A step relative to the array: differences are then off by about 1e-10, half of it rounding.
STEP = 1e-5
# Elements of a wrong gradient that are looked at one by one.
ELEMENTS = 256


def adjoint_gap(
    forward: Callable[[Array], Array],
    backward: Callable[[Array], Array],
    x: Array,
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
    x : array of float64
        Tried along with four random arrays of its shape.
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

    References
    ----------
    Claerbout, "Earth Soundings Analysis: Processing versus Inversion", 1992 (the dot-product test).

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
    x, rng = as_double("x", x), generator(seed)
    if np.any(as_double("forward(0)", forward(np.zeros_like(x)))):
        raise ValueError("forward must be linear, but forward(0) is not 0: leave out the bias")
    probes = [x, *rng.normal(size=(4, *x.shape))]
    outputs = [as_double("forward(x)", forward(v.copy())) for v in probes]
    cotangent = as_cotangent(dy, outputs[0].shape, rng)
    refuse_annihilated(cotangent, outputs[1:], "every forward(x)")
    dx = as_double("backward(dy)", backward(cotangent.copy()))
    if dx.shape != x.shape:
        raise ValueError(f"backward must return dx of x's shape {x.shape}, got shape {dx.shape}")
    gaps = [0.0]
    for v, y in zip(probes, outputs, strict=True):
        terms, others = cotangent * y, dx * v
        size = np.abs(terms).sum() + np.abs(others).sum()
        if size:
            gaps.append(abs(terms.sum() - others.sum()) / size)
    return float(max(gaps))


def check_gradients(
    forward: Callable[..., Array],
    backward: Callable[..., Any],
    *arrays: Array | None,
    dy: Array | None = None,
    directions: int = 4,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> float:
    """Compare gradients with differences along random directions, one argument at a time.

    The slope that a gradient foretells must lie between the differences to the left and to the
    right (which encloses it where a ReLU turns on or off in one of the steps).

    Parameters
    ----------
    forward : callable
        forward(*arrays) -> y.
    backward : callable
        backward(dy, *arrays) -> gradients, a tuple of one for each of the arrays (for a single one
        also the gradient itself); None for arrays that are None.
    *arrays : arrays of float64, or None
        Where to differentiate.
    dy : array like y, optional
        The cotangent; random, unless given.
    directions : int
        For each array.
    tolerance : float
        Of slopes, relative to the sum of the magnitudes |dy * difference|.
    seed : int
        Of what is random.

    Returns
    -------
    float
        The largest error of a slope in those units.

    Raises
    ------
    AssertionError
        If a gradient is wrong. The message names the argument, the worst direction and the worst
        of its elements.
    ValueError
        If dy is constant, or orthogonal to every change of y by one of the arrays (batch
        normalization annihilates constants: wrong gradients would pass), or a size is wrong.
    TypeError
        If an array or a result is not float64: differences in float32 keep three digits.

    References
    ----------
    Griewank and Walther, "Evaluating Derivatives", 2008, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import verify
    >>> x, y = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    >>> error = verify.check_gradients(np.multiply, lambda dz, x, y: (dz * y, dz * x), x, y)
    >>> bool(error < 1e-9)
    True
    >>> verify.check_gradients(np.multiply, lambda dz, x, y: (dz * y, dz * y), x, y)
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: the gradient of x2 is wrong: ...
    """
    rng = generator(seed)
    directions = to_integer("directions", directions)
    tolerance = check_fraction("tolerance", tolerance)
    if all(a is None for a in arrays):
        raise ValueError("give one array at least: there is nothing to differentiate by")
    names = argument_names(forward, len(arrays))
    given = [None if a is None else as_double(n, a) for n, a in zip(names, arrays, strict=True)]

    def copies() -> list[Any]:
        return [None if a is None else a.copy() for a in given]

    def output(index: int, change: Array) -> Array:
        moved = copies()
        moved[index] += change
        return as_double("forward(…)", forward(*moved))

    y = as_double("forward(…)", forward(*copies()))
    cotangent = as_cotangent(dy, y.shape, rng)
    gradients = backward(cotangent.copy(), *copies())
    if not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    if len(gradients) != len(given):
        raise ValueError(
            f"backward must return {len(given)} gradients, one for each array, got {len(gradients)}"
        )
    largest = 0.0
    for index, (name, array) in enumerate(zip(names, given, strict=True)):
        if array is not None:
            slopes = Slopes(name, array, y, cotangent, partial(output, index))
            largest = max(largest, slopes.check(gradients[index], directions, tolerance, rng))
    return largest


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


def generator(seed: int) -> np.random.Generator:
    """Return a stream of its own.

    Not that of default_rng(seed), which the caller's own arrays may come from: batch normalization,
    for one, annihilates a cotangent that is its x.
    """
    return np.random.default_rng([1992, to_integer("seed", seed, minimum=0)])
