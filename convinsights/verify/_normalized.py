"""How far rounding can take a normalization: each step is off by the bounds of those before it.

    mean     = sum of x / m             of the m values of a group
    d        = x - mean
    variance = sum of d² / m            two passes: E[x²] - mean² is off by far more
    normal   = d / sqrt(variance + epsilon)
    y        = gamma normal + beta
    g        = gamma dy
    dx       = (g - mean of g - normal (mean of g normal)) / sqrt(variance + epsilon)
    dgamma   = sum of dy normal
    dbeta    = sum of dy

(with moving statistics: dx = g / sqrt(variance + epsilon)). y may also be computed as
a x + (beta - a mean), a = gamma / sqrt(variance + epsilon).

Two rules carry the bounds on. Signs are unknown, so everything stands for its magnitude; `off_z` is
by how much z may be off.

    a value off by e that is rounded, by a share k of itself in all, is off by   e + k (size + e)
    a product of a, off by e, and b, off by f, is off by                         a f + e (b + f)

A sum is such a value: e is what its terms are off by in all, and k is `growth` of its roundings.
What underflows is off by the smallest number besides, `tiny`. Only x, gamma and dy are rounded to
operands, as they are read: each is then off by u of itself, u being that of the operands, unless
they can hold all its values. What is made of them is kept as fine as the sums.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, sections 1.9 and 3.1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._grouped import Grouped
from convinsights.verify._precision import Precision

__all__ = ["normalized"]

# How many deviations a mean is from 0 before its values count as alike.
ALIKE = 4.0
# What the gradients of gamma and beta are summed over, of arrays by groups.
OF_CHANNEL = (0, 1)


def normalized(call: Call, precision: Precision) -> Outcome:
    """Return the bounds of y and, with dy, of the gradients, each before it is stored."""
    parts, u = Grouped(call), precision.unit
    done, tiny = _normal(parts, precision), precision.summed.smallest
    scale, shift = np.abs(parts.scale), np.abs(parts.shift)
    off_product = _product(scale, _off_operand(scale, precision), done.normal, done.off_normal)
    # A few roundings of the product with gamma and of the sum with beta, in whatever order.
    off_y = _rounded(4 * u, scale * done.normal + shift, off_product)
    # Underflows: of a product; or of a = gamma / root, which x and the mean are then multiplied by
    off_y += tiny * (2 + np.abs(parts.x) + np.abs(parts.mean))
    result = {"y": parts.whole(off_y)}
    if call.dy is not None:
        result |= _gradients(parts, parts.view(np.abs(call.dy)), done, precision)
    return result


class _Normal(NamedTuple):
    # The normalized values and by how much they may be off; 1 / root, and the share of itself by
    # which that may be off.
    normal: Array
    off_normal: Array
    inverse: Array
    share: Array


def _normal(parts: Grouped, precision: Precision) -> _Normal:
    x, mean, variance, m = np.abs(parts.x), np.abs(parts.mean), parts.variance, parts.count
    d, u, growth = np.abs(parts.x - parts.mean), precision.unit, precision.growth
    tiny, off_x = precision.summed.smallest, _off_operand(x, precision)
    off_mean: Any = 0.0
    if parts.own:
        # Values far from 0 are alike, and so may be the errors of their sum: not random.
        alike = mean > ALIKE * np.sqrt(variance)
        grown = np.where(alike, growth(m, sure=True), growth(m))
        off_mean = _rounded(grown, parts.average(x), parts.average(off_x)) + tiny
    # A few roundings of x and of the mean, as in a x - a mean
    off_d = _rounded(6 * u, x + mean, off_x + off_mean)
    off_variance: Any = tiny
    if parts.own:
        off_squares = parts.average(_product(d, off_d, d, off_d)) + tiny
        # m terms, each a square, and the division by m.
        off_variance = _rounded(growth(m + 2), variance, off_squares) + 2 * tiny
    raised = variance + parts.call.settings["epsilon"]
    with np.errstate(divide="ignore"):  # an infinite bound where the variance may be lost
        # (1 - z)^(-1/2) - 1 for a variance that is too small by a share z.
        too_small = np.expm1(-np.log1p(-np.minimum(off_variance / raised, 1)) / 2)
    # A few of the sum with epsilon, the root and the division.
    share = _rounded(6 * u, 1.0, too_small)
    inverse = 1 / np.sqrt(raised)
    off_normal = _product(d, off_d, inverse, inverse * share) + tiny
    return _Normal(d * inverse, off_normal, inverse, share)


def _gradients(parts: Grouped, dy: Array, done: _Normal, precision: Precision) -> Outcome:
    # `dy` by groups.
    module, (_, gamma, beta, *_) = parts.call.module, parts.call.arrays
    m, count = parts.count, math.prod(parts.call.x.shape[:-1])
    u, growth, normal = precision.unit, precision.growth, done.normal
    tiny = precision.summed.smallest
    # Of a group whose channels have each its gamma, the products with it are rounded too.
    more = int(module is not batchnorm)
    scale, off_dy = np.abs(parts.scale), _off_operand(dy, precision)
    g, off_g = scale * dy, _product(scale, _off_operand(scale, precision), dy, off_dy)
    bracket, off_bracket = g, off_g
    if parts.own:
        of_g, of_both = parts.average(g), parts.average(g * normal)
        off_of_g = _rounded(growth(m + more), of_g, parts.average(off_g)) + 2 * tiny
        # Each term a product of two, and the division by m.
        off_terms = parts.average(_product(g, off_g, normal, done.off_normal)) + 3 * tiny
        off_of_both = _rounded(growth(m + 2 + more), of_both, off_terms)
        bracket = g + of_g + normal * of_both
        off_bracket = off_g + off_of_g + _product(normal, done.off_normal, of_both, off_of_both)
    off_bracket = off_bracket + 2 * tiny
    # A few of the products with gamma and 1 / root.
    off_inverse = done.inverse * _rounded(6 * u, 1.0, done.share)
    off_dx = _product(bracket, off_bracket, done.inverse, off_inverse)
    # Underflows: of a product with 1 / root; or of the factor a = gamma / root, which dy multiplies
    off_dx += tiny * (2 + dy + (1 + normal) * dy.max(initial=0))
    result = {"dx": parts.whole(off_dx)}
    if gamma is not None:
        terms = (dy * normal).sum(axis=OF_CHANNEL)
        off_terms = _product(dy, off_dy, normal, done.off_normal) + tiny
        off_terms = off_terms.sum(axis=OF_CHANNEL)
        result["dgamma"] = _rounded(growth(count + 2), terms, off_terms).ravel()
    if beta is not None:
        sums = dy.sum(axis=OF_CHANNEL), off_dy.sum(axis=OF_CHANNEL)
        result["dbeta"] = _rounded(growth(count), *sums).ravel()
    return result


def _off_operand(sizes: Array, precision: Precision) -> Array:
    # By how much an array is off as it is read: nothing if all of it are such numbers.
    if not precision.operand_unit or precision.operands.holds(sizes):
        return np.zeros((1,) * sizes.ndim)
    return precision.operand_unit * sizes + precision.operands.smallest


def _rounded(share: Any, size: Any, off: Any = 0.0) -> Any:
    # A value of this size, off already, that is rounded by a share of itself.
    return off + share * (size + off)


def _product(a: Any, off_a: Any, b: Any, off_b: Any) -> Any:
    return a * off_b + off_a * (b + off_b)
