"""How far rounding can take a correct implementation: bounds by derivation, element by element.

A sum of n products is, in any order, off by at most gamma_n times the sum of the products'
magnitudes (see `Precision`). Convolutions and their gradients are such sums: the same operation on
absolute values gives the magnitudes, and on ones it counts the products.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019, theorem 2.4.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable
from convinsights._arguments import Array
from convinsights.verify._cases import Case, Outcome, apply
from convinsights.verify._precision import Precision

__all__ = ["Precision", "allowances", "bounds"]


class Sums(NamedTuple):
    """What a bound is made of: the results, the sums of magnitudes, and how often each rounds."""

    truth: Outcome
    magnitudes: Outcome
    roundings: Outcome


def bounds(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    precision: Precision,
    dy: Array | None = None,
) -> Outcome:
    """Return by how much a correct y, and with dy the gradients, may be off."""
    if module is batchnorm:
        with np.errstate(invalid="ignore"):
            return _normalized(arrays, settings, precision, dy)
    truth = apply(module, arrays, settings, dy)
    return _of_sums(module, _sums(module, arrays, settings, dy, truth), precision)


def allowances(case: Case, precision: Precision, gradients: bool) -> Outcome:
    """Return what a verdict allows each result to be off by.

    To the bound it adds that of the truth, itself a sum in float64: the bound shrinks at least as
    much as the unit roundoff does. Sums of integers that can be held exactly are exact in any
    order: there it allows only what a transform in float64, such as an FFT, leaves of them (2^-40
    of the magnitudes), a millionth of what a float32 rounds.
    """
    module, arrays, settings = case.module, case.arrays, case.settings
    dy, both = case.dy if gradients else None, 1 + 2.0**-53 / precision.unit
    if module is batchnorm:
        own = bounds(module, arrays, settings, precision, dy)
        return {name: both * bound for name, bound in own.items()}
    sums = _sums(module, arrays, settings, dy, case.truth)
    result = {name: both * bound for name, bound in _of_sums(module, sums, precision).items()}
    if case.integers:
        for name, magnitude in sums.magnitudes.items():
            exact = magnitude <= precision.exact_integers
            result[name] = np.where(exact, 2.0**-40 * magnitude, result[name])
    return result


def _sums(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    dy: Array | None,
    truth: Outcome,
) -> Sums:
    absolute = [None if a is None else np.abs(a) for a in (*arrays, dy)]
    magnitudes = apply(module, absolute[:-1], settings, absolute[-1])
    return Sums(truth, magnitudes, _roundings(module, arrays, settings, dy))


def _of_sums(module: ModuleType, sums: Sums, precision: Precision) -> Outcome:
    # Inputs that are finer than the sums lose digits when they are read.
    finer = precision.stored.unit < precision.unit
    # What a composed concept hands from step to step may be stored in between.
    stored = precision.rounding if module is depthwise_separable else 0.0
    result = {}
    for name, magnitude in sums.magnitudes.items():
        n = sums.roundings[name] + 2 * finer
        growth = precision.growth(n)
        with np.errstate(invalid="ignore"):  # an infinite bound on no products at all
            bound = np.where(magnitude > 0, (growth + stored + growth * stored) * magnitude, 0)
        bound = bound + precision.summed.smallest * n
        result[name] = precision.final(bound, np.abs(sums.truth[name]))
    return result


def _roundings(
    module: ModuleType, arrays: Sequence[Any], settings: dict[str, Any], dy: Array | None
) -> Outcome:
    # As many as there are products in a sum, for each is rounded, and all additions but one.
    ones = [None if a is None else np.ones(a.shape) for a in (*arrays, dy)]
    if module is not depthwise_separable:
        return apply(module, ones[:-1], settings, ones[-1])
    # Of the two steps every product takes the roundings of both.
    x, spatial, pointwise, bias, cotangent = cast("list[Any]", ones)
    first = depthwise.forward(x, spatial, **settings)[0]
    channels, filters = pointwise.shape[-2:]
    counts = {"y": first[..., :1] + channels + (bias is not None)}
    if cotangent is not None:
        between = apply(depthwise, (x, spatial, None), settings, np.ones(first.shape))
        pixels = cotangent.size / filters
        counts |= {
            "dx": between["dx"] + filters,
            "ddepthwise_kernel": between["dkernel"] + filters,
            "dpointwise_kernel": np.asarray(first.max(initial=0) + pixels),
            "dbias": np.asarray(pixels),
        }
    return counts


def _normalized(
    arrays: Sequence[Any], settings: dict[str, Any], precision: Precision, dy: Array | None
) -> Outcome:
    # A two-pass batch normalization, each step perturbed by the bounds of those before it. The mean
    # is a sum of m terms; d = x - mean is off by as much and a few roundings of x and of the mean
    # (so that it may as well be computed as scale x - scale mean); the variance is a sum of m terms
    # d², each off by that; and so on to the root, y, and the sums that the gradients are made of.
    x, gamma, beta, statistics = arrays
    y, cache = batchnorm.forward(x, gamma, beta, statistics, **settings)
    mean, variance = cache.statistics
    training, u, growth = statistics is None, precision.unit, precision.growth
    axes, m = tuple(range(x.ndim - 1)), max(1, math.prod(x.shape[:-1]))
    scale = np.ones_like(mean) if gamma is None else np.abs(gamma)

    d = np.abs(x - mean)
    off_mean = growth(m) * np.abs(x).sum(axes) / m if training else 0 * mean
    off_d = off_mean + 6 * u * (np.abs(x) + np.abs(mean) + off_mean)
    off_variance = 0 * variance
    if training:
        squares, off_squares = (d**2).sum(axes) / m, ((2 * d + off_d) * off_d).sum(axes) / m
        off_variance = growth(m + 2) * (squares + off_squares) + off_squares
    raised = variance + settings["epsilon"]
    inverse = 1 / np.sqrt(raised)
    with np.errstate(divide="ignore"):  # an infinite bound where the variance may be lost
        off_root = np.expm1(-np.log1p(-np.minimum(off_variance / raised, 1)) / 2)
    off_root = off_root + 6 * u * (1 + off_root)
    normal = d * inverse
    off_normal = inverse * (off_d + (d + off_d) * off_root)

    shift = 0 if beta is None else np.abs(beta)
    off_y = (1 + 4 * u) * scale * off_normal + 4 * u * (scale * normal + shift)
    result = {"y": precision.final(off_y, np.abs(y))}
    if dy is None:
        return result

    truth = apply(batchnorm, arrays, settings, dy)
    along_1, along_normal = np.abs(dy).sum(axes), (np.abs(dy) * normal).sum(axes)
    off_1, off_terms = growth(m) * along_1, (np.abs(dy) * off_normal).sum(axes)
    off_along = growth(m + 2) * (along_normal + off_terms) + off_terms
    part, off_part = np.abs(dy), 0 * normal
    if training:
        part = part + along_1 / m + normal * along_normal / m
        off_part = (off_1 + off_normal * (along_normal + off_along) + normal * off_along) / m
    off_scale = off_root + 6 * u * (1 + off_root)
    off_dx = scale * inverse * ((1 + off_scale) * off_part + off_scale * part)
    for name, off in {"dx": off_dx, "dgamma": off_along, "dbeta": off_1}.items():
        if name in truth:
            result[name] = precision.final(off, np.abs(truth[name]))
    return result
