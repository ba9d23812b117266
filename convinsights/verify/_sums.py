"""How far rounding can take sums of products: bounds by derivation, element by element.

A sum of n products is, in any order, off by at most gamma_n times the sum of the products'
magnitudes; operands that are rounded before they are multiplied add 2 u + u² of it, u being theirs.
Convolutions and their gradients are such sums, and the same operation on absolute values gives the
magnitudes:

    bound[i] = ((1 + u)² (1 + gamma_n) - 1) (|x| * |kernel|)[i]

If errors count as random, those of the operands add up to at most 8 (2 u + u²) times the root of
the sum of the squares of the products (Hoeffding's inequality; it fails as rarely as the bound of
the sums). Sums of integers that can be held exactly are exact in any order.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019, theorem 2.4.
Hoeffding, "Probability Inequalities for Sums of Bounded Random Variables", 1963, theorem 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import depthwise_separable
from convinsights._arguments import Array
from convinsights.verify._cases import Outcome, apply
from convinsights.verify._precision import FACTOR, Precision
from convinsights.verify._terms import largest, peaks, roundings

__all__ = ["of_sums", "peak"]


def of_sums(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    precision: Precision,
    dy: Array | None,
    integers: bool = False,
) -> Outcome:
    """Return the bounds of y and, with dy, of the gradients, each before it is stored."""
    absolute = [None if a is None else np.abs(a) for a in (*arrays, dy)]
    magnitudes = apply(module, absolute[:-1], settings, absolute[-1])
    counts = roundings(module, arrays, settings)
    # Inputs that are finer than the sums lose digits when they are read.
    finer = precision.stored.unit < precision.unit
    counts = {name: counts[name] + 2 * finer for name in magnitudes}
    read = _of_operands(module, arrays, settings, precision, dy, magnitudes, counts)
    limit = _exact_limit(module, arrays, precision, dy) if integers else 0.0
    result = {}
    for name, magnitude in magnitudes.items():
        bound = magnitude + read[name]
        bound *= precision.growth(counts[name])
        bound += read[name] + precision.summed.smallest * counts[name]
        bound[magnitude > precision.summed.largest] = np.inf
        bound[magnitude <= limit] = 0
        result[name] = bound
    return result


def _of_operands(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    precision: Precision,
    dy: Array | None,
    magnitudes: Outcome,
    counts: Outcome,
) -> Outcome:
    # What comes of rounding the operands, and of two steps what is stored in between: that is the
    # only operand to be rounded where the arrays can be held as they are.
    steps, between = (2, precision.rounding) if module is depthwise_separable else (1, 0.0)
    factors = [a for a in (*arrays[:-1], dy) if a is not None]
    held = not precision.coarser or all(map(precision.operands.holds, factors))
    times = steps - 1 if held else 2 * steps
    off = (1 + precision.coarser) ** times * (1 + between) - 1
    if not off:
        return dict.fromkeys(magnitudes, np.zeros(()))
    result = {name: off * magnitude for name, magnitude in magnitudes.items()}
    if not precision.coarser:
        return result
    most, terms = max(map(largest, factors)), max(float(n.max()) for n in counts.values())
    squares: Outcome = {}
    # Errors of a value that comes again and again add up like one.
    if precision.probabilistic and steps == 1 and terms > FACTOR**2 and all(map(_varied, factors)):
        bare = [np.square(a) for a in factors]
        squares = apply(module, [*bare[:2], None], settings, None if dy is None else bare[2])
    for name, square in squares.items():
        result[name] = np.minimum(result[name], FACTOR * off * np.sqrt(square))
    for name, n in counts.items():  # operands that underflow
        result[name] += 2 * steps * precision.operands.smallest * (n * max(1.0, most)) ** steps
    return result


def peak(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    precision: Precision,
    dy: Array | None,
) -> float:
    """Return the largest sum of magnitudes, infinite where sums of integers need not be exact."""
    limit = _exact_limit(module, arrays, precision, dy)
    most = peaks(module, arrays, settings, dy, min(limit, precision.result.exact)).values()
    return max(most) if sum(most) < np.inf and max(most) <= limit else np.inf


def _exact_limit(
    module: ModuleType, arrays: Sequence[Any], precision: Precision, dy: Array | None
) -> float:
    # The magnitude up to which sums of integers are exact: nothing on their way is rounded.
    if module is depthwise_separable:
        numbers = precision.summed, precision.stored, precision.operands
        return min(each.exact for each in numbers)
    factors = (a for a in (*arrays[:-1], dy) if a is not None)
    held = not precision.coarser or all(map(precision.operands.holds, factors))
    return precision.summed.exact if held else 0.0


def _varied(array: Array) -> bool:
    return np.unique(array).size * 16 >= array.size
