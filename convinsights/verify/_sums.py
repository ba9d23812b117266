"""How far rounding can take sums of products: bounds by derivation, element by element.

A sum of n products is, in any order, off by at most gamma_n (`_precision`) times the sum of the
products' magnitudes; operands that are rounded before they are multiplied add 2 u + u² of it, u
being theirs. Convolutions and their gradients are such sums, and the same operation on absolute
values gives the magnitudes:

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

from dataclasses import replace

import numpy as np

from convinsights import depthwise_separable
from convinsights._arguments import Array
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._precision import FACTOR, Precision
from convinsights.verify._terms import largest, peaks, roundings

__all__ = ["of_sums", "peak"]


def of_sums(call: Call, precision: Precision, integers: bool = False) -> Outcome:
    """Return the bounds of y and, with dy, of the gradients, each before it is stored."""
    magnitudes = call.each(np.abs).outcome()
    # Inputs that are finer than the sums lose digits when they are read.
    finer = precision.stored.unit < precision.unit
    found = roundings(call)
    counts = {name: found[name] + 2 * finer for name in magnitudes}
    off_read = _of_operands(call, precision, magnitudes, counts)
    limit = _exact_limit(call, precision) if integers else 0.0
    result = {}
    for name, magnitude in magnitudes.items():
        bound = magnitude + off_read[name]
        bound *= precision.growth(counts[name])
        bound += off_read[name] + precision.summed.smallest * counts[name]
        bound[magnitude > precision.summed.largest] = np.inf
        bound[magnitude <= limit] = 0
        result[name] = bound
    return result


def _of_operands(call: Call, precision: Precision, magnitudes: Outcome, counts: Outcome) -> Outcome:
    # By how much rounding the operands puts each result off. In two steps the first result is an
    # operand of the second: it is rounded as it is stored (`between`), and then to operands, even
    # where the arrays need no rounding.
    two = call.module is depthwise_separable
    steps, between = (2, precision.rounding) if two else (1, 0.0)
    times = steps - 1 if _held(call, precision) else 2 * steps
    off = (1 + precision.operand_unit) ** times * (1 + between) - 1
    if not off:
        return dict.fromkeys(magnitudes, np.zeros(()))
    result = {name: off * magnitude for name, magnitude in magnitudes.items()}
    if not precision.operand_unit:
        return result
    factors, n = _multiplied(call), max(float(n.max()) for n in counts.values())
    # Errors of a value that comes again and again add up like one.
    if precision.probabilistic and not two and n > FACTOR**2 and all(map(_varied, factors)):
        bare = replace(call, arrays=(*call.arrays[:-1], None)).each(np.square)
        for name, square in bare.outcome().items():
            result[name] = np.minimum(result[name], FACTOR * off * np.sqrt(square))
    most = max(1.0, *map(largest, factors))
    for name, terms in counts.items():  # operands that underflow
        result[name] += 2 * steps * precision.operands.smallest * (terms * most) ** steps
    return result


def peak(call: Call, precision: Precision) -> float:
    """Return a bound of all sums of magnitudes; infinite where those of integers may be inexact."""
    limit = _exact_limit(call, precision)
    most = peaks(call, min(limit, precision.result.exact)).values()
    # The sum is nan beside 0 times infinity, where max may not be.
    return max(most) if sum(most) < np.inf and max(most) <= limit else np.inf


def _exact_limit(call: Call, precision: Precision) -> float:
    # The magnitude up to which sums of integers are exact: nothing on their way is rounded.
    if call.module is depthwise_separable:
        numbers = precision.summed, precision.stored, precision.operands
        return min(each.exact for each in numbers)
    return precision.summed.exact if _held(call, precision) else 0.0


def _multiplied(call: Call) -> list[Array]:
    # What is multiplied: all but the bias.
    return [a for a in (*call.arrays[:-1], call.dy) if a is not None]


def _held(call: Call, precision: Precision) -> bool:
    # Whether rounding to operands leaves the arrays as they are.
    return not precision.operand_unit or all(map(precision.operands.holds, _multiplied(call)))


def _varied(array: Array) -> bool:
    # Whether each value comes at most 16 times on average: else errors hardly count as random.
    return np.unique(array).size * 16 >= array.size
