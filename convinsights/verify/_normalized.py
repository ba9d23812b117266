"""How far rounding can take a normalization: the bounds of its sums, carried on to every result.

Each step is perturbed by the bounds of those before it. The mean is a sum of m terms; d = x - mean
is off by as much and a few roundings of x and of the mean (so that it may as well be computed as
scale x - scale mean); the variance is a sum of m terms d², each off by that (two passes: the mean
of x² less that of x is off by far more); and so on to the root, y, and the sums that the gradients
are made of. With x as (images, pixels, groups, channels of a group) batch normalization is one
image and each channel a group.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, sections 1.9 and 3.1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array
from convinsights.verify._calls import Call, Outcome
from convinsights.verify._precision import Precision

__all__ = ["normalized"]

# How many deviations a mean is from 0 before its values count as alike.
ALIKE = 4.0
# Of what a mean is taken, and of what the gradients of gamma and beta are summed over
OF_GROUP, OF_CHANNEL = (1, 3), (0, 1)


def normalized(call: Call, precision: Precision) -> Outcome:
    """Return the bounds of y and, with dy, of the gradients, each before it is stored."""
    module, settings, dy = call.module, call.settings, call.dy
    x, gamma, beta, *given = call.arrays
    statistics: Any = given[0] if given else None
    count, channels = math.prod(x.shape[:-1]), x.shape[-1]
    groups, images = settings.get("groups", channels), 1 if module is batchnorm else len(x)
    shape = images, count // max(1, images), groups, channels // groups
    x = x.reshape(shape)
    own, u, growth = statistics is None, precision.unit, precision.growth
    tiny = precision.summed.smallest  # what a product or a quotient loses that underflows
    m = max(1, x.shape[1] * x.shape[3])
    scale = 1.0 if gamma is None else np.abs(gamma).reshape(shape[2:])
    shift = 0.0 if beta is None else np.abs(beta).reshape(shape[2:])

    def mean(values: Array) -> Array:
        means: Array = values.sum(axis=OF_GROUP, keepdims=True) / m
        return means

    centre: Any = mean(x)
    variance: Any = 0.0
    if not own:
        centre, variance = (np.reshape(a, (1, 1, groups, 1)) for a in statistics)
    d = np.abs(x - centre)
    # Values far from 0 are alike, and so may be the errors of their sum: of one sign, not random.
    alike = np.abs(centre) > ALIKE * np.sqrt(mean(d**2))
    off_mean: Any = 0.0
    if own:
        off_mean = np.where(alike, growth(m, sure=True), growth(m)) * mean(np.abs(x)) + tiny
    off_d = off_mean + 6 * u * (np.abs(x) + np.abs(centre) + off_mean)
    off_variance: Any = tiny
    if own:
        variance, off_squares = mean(d**2), mean((2 * d + off_d) * off_d) + tiny
        off_variance = growth(m + 2) * (variance + off_squares) + off_squares + 2 * tiny
    raised = variance + settings["epsilon"]
    inverse = 1 / np.sqrt(raised)
    with np.errstate(divide="ignore"):  # an infinite bound where the variance may be lost
        off_root = np.expm1(-np.log1p(-np.minimum(off_variance / raised, 1)) / 2)
    off_root = off_root + 6 * u * (1 + off_root)
    normal = d * inverse
    off_normal = inverse * (off_d + (d + off_d) * off_root) + tiny
    off_y = (1 + 4 * u) * scale * off_normal + 4 * u * (scale * normal + shift)
    off_y += tiny * (2 + np.abs(x) + np.abs(centre))  # scale inverse may be formed first
    if dy is None:
        return {"y": off_y.reshape(call.x.shape)}

    # Of a group whose channels have each its gamma, the products with it are rounded too.
    dy, more = np.abs(dy).reshape(shape), int(module is not batchnorm)
    weighted = scale * dy
    along_1, along_normal = mean(weighted), mean(weighted * normal)
    off_1, off_terms = growth(m + more) * along_1 + 2 * tiny, mean(weighted * off_normal)
    off_terms = off_terms + 3 * tiny
    off_along = growth(m + 2 + more) * (along_normal + off_terms) + off_terms
    part, off_part = weighted, 2 * tiny + 0.0 * normal
    if own:
        part = part + along_1 + normal * along_normal
        off_part = off_part + off_1 + off_normal * (along_normal + off_along) + normal * off_along
    off_scale = off_root + 6 * u * (1 + off_root)
    off_dx = inverse * ((1 + off_scale) * off_part + off_scale * part)
    off_dx += tiny * (2 + dy + (1 + normal) * dy.max(initial=0))  # here too

    off_terms = (dy * off_normal + tiny).sum(axis=OF_CHANNEL)
    off_gamma = growth(count + 2) * ((dy * normal).sum(axis=OF_CHANNEL) + off_terms) + off_terms
    off_beta = growth(count) * dy.sum(axis=OF_CHANNEL)
    bounds = {"y": off_y, "dx": off_dx}
    result = {name: bound.reshape(call.x.shape) for name, bound in bounds.items()}
    if gamma is not None:
        result["dgamma"] = off_gamma.ravel()
    if beta is not None:
        result["dbeta"] = off_beta.ravel()
    return result
