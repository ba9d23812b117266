"""Checks of gradients, by slopes and by the definition of the adjoint, in float64.

A check does not catch what its cotangent dy cannot see: batch normalization sends a constant to 0,
whatever the code. Cotangents are therefore random, and one that is orthogonal to every change of y
is refused.

References
----------
Griewank and Walther, "Evaluating Derivatives", 2008, section 3.2.
Claerbout, "Earth Soundings Analysis: Processing versus Inversion", 1992 (the dot-product test).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from convinsights._arguments import (
    Array,
    check_callable,
    check_not_negative,
    check_size,
    to_integer,
)
from convinsights.parameters import aligned
from convinsights.verify._lines import Line, orthogonal, refuse_orthogonal
from convinsights.verify._point import (
    Point,
    argument_names,
    as_cotangent,
    as_double,
    as_finite,
    generator,
)

__all__ = ["adjoint_gap", "check_gradients"]


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
        If forward(0) is not 0, as a linear function's is; if dy is constant or orthogonal to every
        forward(v) (then <dy, forward(v)> is 0 for all v, and wrong gradients pass); or if a shape
        is wrong.
    TypeError
        If x or a result is float16, float32 or no array of real numbers.

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
    for name, function in (("forward", forward), ("backward", backward)):
        check_callable(name, function)
    point, rng = Point.of(["x"], [x]), generator(seed)
    if np.any(as_double("forward(0)", forward(*point.at([0 * a for a in point.arrays])))):
        raise ValueError("forward must be linear, but forward(0) is not 0: leave out the bias")
    y = as_double("forward(x)", forward(*point.at(point.arrays)))
    cotangent = as_cotangent(dy, y.shape, rng)
    dx = point.gradients("backward(dy)", [backward(cotangent.copy())])
    for name, array, gradient in zip(point.names, point.arrays, dx, strict=True):
        if gradient.shape != array.shape:
            raise ValueError(
                f"backward must return dx of {name}'s shape {array.shape}, "
                f"got shape {gradient.shape}"
            )
    gaps, seen = [_gap(cotangent * y, dx, point.arrays)], []
    for _ in range(4):
        v = [np.array(rng.normal(size=a.shape)) for a in point.arrays]
        y = as_double("forward(x)", forward(*point.at(v)))
        terms = cotangent * y
        seen += [orthogonal(terms)] if y.any() else []
        gaps.append(_gap(terms, dx, v))
    refuse_orthogonal(seen, "every forward(x)")
    return float(np.max(gaps))  # nan, if one is


def _gap(terms: Array, dx: list[Array], v: list[Array]) -> float:
    # |<dy, forward(v)> - <dx, v>| relative to the magnitudes summed, given the terms of the first
    others = [gradient * array for gradient, array in zip(dx, v, strict=True)]
    size = sum(float(np.abs(a).sum()) for a in (terms, *others))
    return abs(float(terms.sum()) - sum(float(a.sum()) for a in others)) / size if size else 0.0


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
        If an array or a result is float16, float32 or no array of real numbers: differences in
        float32 keep three digits.

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
    for name, function in (("forward", forward), ("backward", backward)):
        check_callable(name, function)
    directions = to_integer("directions", directions)
    tolerance = check_not_negative("tolerance", tolerance)
    point = Point.of(argument_names(forward, len(arrays)), arrays)
    if not point.arrays:
        raise ValueError("give one array at least: there is nothing to differentiate by")
    check_size("directions", (directions, max(array.size for array in point.arrays)))
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
