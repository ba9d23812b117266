"""Slips of the values themselves: activations, limits, few bits; and those of normalizations."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    normalization,
    unary,
)
from convinsights._arguments import Array
from convinsights.verify._cases import Case, Outcome, apply, resolved
from convinsights.verify._slips import Hypothesis, changed, with_arrays

__all__ = ["Parts", "clamped", "of_normalization", "of_values", "rounded"]


# -- activations and limits ----------------------------------------------------------------------

ACTIVATIONS: tuple[tuple[Callable[[Array], Array], Callable[[Array], Array] | None], ...] = (
    (lambda y: np.maximum(y, 0), lambda y: (y > 0) * 1.0),
    (lambda y: np.clip(y, 0, 6), lambda y: ((y > 0) & (y < 6)) * 1.0),
    (lambda y: 1 / (1 + np.exp(-y)), None),
    (np.tanh, None),
    (lambda y: y / (1 + np.exp(-y)), None),
    (lambda y: y * np.clip(y / 6 + 0.5, 0, 1), None),
    (lambda y: np.where(y > 0, y, np.expm1(np.minimum(y, 0))), None),
    (lambda y: y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))) / 2, None),
)
# What "activation_left_on" is tried with besides: y where it is positive, else so much of it.
LEAKS = (0.01, 0.1, 0.125, 0.2, 0.25, 0.3, 1 / 3, 0.5)
BITS = (8, 16, 24)
# How many products a sum in pairs is tried with.
PRODUCTS = 3_000_000
# Significant bits of bfloat16, of TF32 and float16, of float32, and of two kinds of float8.
SIGNIFICANT = (8, 11, 24, 4, 3)


def of_values(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a module's values, exact ones."""
    for function, slope in ACTIVATIONS:
        slip = partial(_through, function=function, slope=slope)
        yield Hypothesis("activation_left_on", slip)
    if module is depthwise_separable:
        for function, _ in ACTIVATIONS[:2]:
            yield Hypothesis("activation_left_on", partial(_between, function=function))
    for leak in LEAKS:
        below = partial(_leaky, slope=leak)
        slip = partial(_through, function=below, slope=partial(_leaky_slope, slope=leak))
        yield Hypothesis("activation_left_on", slip)
    if module not in (batchnorm, normalization):
        for bits, signed, bias_after in product(BITS, (True, False), (False, True)):
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            limit = partial(np.clip, a_min=low, a_max=high)
            slip = partial(_limited, limit=limit, bias_after=bias_after)
            yield Hypothesis(f"saturated ({bits} bits)", slip)
            limit = partial(_wrapped, low=low, bits=bits)
            slip = partial(_limited, limit=limit, bias_after=bias_after)
            yield Hypothesis(f"wrapped ({bits} bits)", slip)
        if module in (conv, dilated):
            yield Hypothesis("saturated (16 bits)", _pairs_saturated)
        for number in (0, 1):
            slip = partial(_operand_wrapped, number=number)
            yield Hypothesis("wrapped (8 bits)", slip)
    for bits, which in product(SIGNIFICANT, ((0,), (1,), (0, 1), (0, 1, 2), None)):
        slip = partial(_few_bits, bits=bits, which=which)
        yield Hypothesis(f"low_precision ({bits} bits)", slip)


def _between(case: Case, function: Callable[[Array], Array]) -> Outcome:
    # On the way from the depthwise step to the pointwise one.
    x, spatial, pointwise, bias = case.arrays
    between = depthwise.forward(x, spatial, **case.settings)[0]
    return {"y": unary.forward(function(between), pointwise, bias)[0]}


def _leaky(y: Array, slope: float) -> Array:
    return np.where(y > 0, y, slope * y)


def _leaky_slope(y: Array, slope: float) -> Array:
    return np.where(y > 0, 1.0, slope)


def _through(
    case: Case, function: Callable[[Array], Array], slope: Callable[[Array], Array] | None
) -> Outcome:
    truth = case.truth["y"]
    with np.errstate(over="ignore"):
        y = function(truth)
    if slope is None:
        return {"y": y}
    return with_arrays(case, *case.arrays, dy=case.dy * slope(truth)) | {"y": y}


def _wrapped(y: Array, low: int, bits: int) -> Array:
    wrapped: Array = np.mod(y - low, float(1 << bits)) + low
    return wrapped


def clamped(low: float, high: float) -> Hypothesis:
    """Return the slip of a result kept between two limits."""
    said = ", ".join(f"{limit:.6g}" for limit in (low, high))
    limit = partial(np.clip, a_min=low, a_max=high)
    slip = partial(_through, function=limit, slope=lambda y: ((y > low) & (y < high)) * 1.0)
    return Hypothesis(f"clamped ({said})", slip)


def _limited(case: Case, limit: Callable[[Array], Array], bias_after: bool) -> Outcome:
    # The result, or its sum before the bias is added.
    bias = case.arrays[-1] if bias_after and case.arrays[-1] is not None else 0.0
    return {"y": limit(case.truth["y"] - bias) + bias}


def _pairs_saturated(case: Case) -> Outcome:
    # The products of two channels side by side are added in 16 bits, and their sums in more.
    x, kernel, bias = case.arrays
    if 2 * np.abs(x).max(initial=0) * np.abs(kernel).max(initial=0) < 2**15:
        return case.truth
    groups, (inputs, filters) = case.settings["groups"], kernel.shape[-2:]
    names = ("strides", "dilation_rate")
    columns = im2col.im2col(
        x, kernel.shape[:-2], padding=resolved(case), **{n: case.settings[n] for n in names}
    )
    if columns.size * filters > PRODUCTS:
        return {}
    columns = columns.reshape(math.prod(case.dy.shape[:-1]), -1, groups, inputs)
    taps = kernel.reshape(-1, inputs, groups, filters // groups)
    sums: Array = np.zeros((len(columns), groups, filters // groups))
    for c in range(0, inputs, 2):
        pair = np.einsum("rtgc,tcgo->rtgo", columns[..., c : c + 2], taps[:, c : c + 2])
        sums = sums + pair.clip(-(2**15), 2**15 - 1).sum(axis=1)
    return {"y": sums.reshape(case.dy.shape) + (0 if bias is None else bias)}


def _operand_wrapped(case: Case, number: int) -> Outcome:
    # Bytes taken for signed ones.
    arrays = list(case.arrays)
    arrays[number] = _wrapped(arrays[number], -128, 8)
    if np.array_equal(arrays[number], case.arrays[number]):
        return case.truth
    return with_arrays(case, *arrays)


def rounded(array: Array, bits: int) -> Array:
    """Round to so many significant bits."""
    mantissa, exponent = np.frexp(array)
    nearest: Array = np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
    return nearest


def _few_bits(case: Case, bits: int, which: tuple[int, ...] | None) -> Outcome:
    # Of these arrays (dy with the second of them), or of the results.
    if which is None:
        return {name: rounded(value, bits) for name, value in case.truth.items()}
    arrays = list(case.arrays)
    for number in which:
        if number < len(arrays) and isinstance(arrays[number], np.ndarray):
            arrays[number] = rounded(arrays[number], bits)
    dy = rounded(case.dy, bits) if len(which) > 1 else case.dy
    return with_arrays(case, *arrays, dy=dy)


# -- normalization -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """A normalization's arrays as (images, values, groups, channels of a group).

    Of batch normalization all images are one, and every channel is a group of its own.
    """

    case: Case
    x: Array
    dy: Array
    scale: Array
    mean: Array
    variance: Array
    axes = (1, 3)

    @classmethod
    def of(cls, case: Case) -> "Parts":
        """Return the parts of a case, with the statistics that it is normalized by."""
        x, gamma, _, *given = case.arrays
        channels = x.shape[-1]
        if case.module is batchnorm:
            shape: tuple[int, ...] = (1, -1, channels, 1)
        else:
            groups = case.settings["groups"]
            shape = (len(x), math.prod(x.shape[1:-1]), groups, channels // groups)
        view = x.reshape(shape)
        scale = np.ones(channels) if gamma is None else gamma
        statistics = given[0] if given else None
        if statistics is None:
            mean, variance = view.mean(cls.axes, keepdims=True), view.var(cls.axes, keepdims=True)
        else:
            mean, variance = (s.reshape(1, 1, channels, 1) for s in statistics)
        dy = case.dy.reshape(shape)
        return cls(case, view, dy, scale.reshape(1, 1, *shape[2:]), mean, variance)

    @property
    def count(self) -> int:
        """How many values a group has."""
        return int(self.x.shape[1] * self.x.shape[3])

    @property
    def root(self) -> Array:
        """What a group is divided by."""
        root: Array = np.sqrt(self.variance + self.case.settings["epsilon"])
        return root

    def whole(self, array: Array) -> Array:
        """Return an array in the shape of x."""
        return np.broadcast_to(array, self.x.shape).reshape(self.case.x.shape)

    def training_gradient(self, root: Array | None = None, slope: Array | float = 1.0) -> Array:
        """Return dx through mean and variance, whose root's derivative is `slope` of the right."""
        divisor = self.root if root is None else root
        normal, r = (self.x - self.mean) / divisor, self.scale * self.dy / divisor
        along = (r * normal).mean(self.axes, keepdims=True) * slope
        return self.whole(r - r.mean(self.axes, keepdims=True) - normal * along)


class Scaling(NamedTuple):
    """What a slip divides by, from the variance v, epsilon e and the values per channel m.

    `slope` is the derivative of that root with respect to v, times twice the root: 1 in the right
    one, so that a backward that does not know of the slip takes it for 1.
    """

    root: Callable[[Array, float, int], Array]
    slope: Callable[[Array, float, int], Array]


def of_normalization(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a normalization's statistics."""
    unbiased = Scaling(
        lambda v, e, m: np.sqrt(v * (m / (m - 1)) + e), lambda v, e, m: np.full_like(v, m / (m - 1))
    )
    outside = Scaling(lambda v, e, m: np.sqrt(v) + e, lambda v, e, m: 1 + e / np.sqrt(v))
    for known in (True, False):
        slip = partial(_scaled, scaling=unbiased, known=known, inference=False)
        yield Hypothesis("unbiased_variance", slip)
        slip = partial(_scaled, scaling=outside, known=known)
        yield Hypothesis("epsilon_outside_root", slip)
    for constant in (0.0, 1e-3, 1e-5):
        yield Hypothesis("epsilon_ignored", partial(changed, epsilon=constant))
    if module is normalization:
        yield Hypothesis("groups_ignored", partial(changed, groups=1))
        yield Hypothesis("gamma_per_group", _gamma_per_group)
        for read, written in ((True, True), (True, False), (False, True)):
            slip = partial(_groups_interleaved, read=read, written=written)
            yield Hypothesis("groups_interleaved", slip)
    else:
        yield Hypothesis("moving_statistics_in_training", _moving_statistics_in_training)
        yield Hypothesis("batch_statistics_in_inference", _batch_statistics_in_inference)


def _scaled(case: Case, scaling: Scaling, known: bool, inference: bool = True) -> Outcome:
    training = case.module is normalization or case.arrays[3] is None
    if (not training and not inference) or not case.x.size:
        return case.truth
    parts, epsilon = Parts.of(case), case.settings["epsilon"]
    if training and ((parts.variance == 0).any() or parts.count == 1):
        raise ValueError("a slip that divides by 0 says nothing")
    root = scaling.root(parts.variance, epsilon, parts.count)
    beta, normal = case.arrays[2], (parts.x - parts.mean) / root
    y = parts.whole(parts.scale * normal) + (0 if beta is None else beta)
    outcome = {"y": y, "dx": parts.whole(parts.scale * parts.dy / root)}
    if training:
        slope = scaling.slope(parts.variance, epsilon, parts.count) if known else 1.0
        outcome["dx"] = parts.training_gradient(root, slope)
    axes = tuple(range(case.x.ndim - 1))
    sums = {
        "dgamma": (case.dy * parts.whole(normal)).sum(axes),
        "dbeta": case.dy.sum(axes),
    }
    return outcome | {name: value for name, value in sums.items() if name in case.truth}


def _gamma_per_group(case: Case) -> Outcome:
    # The first numbers of gamma and beta, one for each group.
    groups = case.settings["groups"]
    x, *vectors = case.arrays
    if groups == x.shape[-1]:
        return case.truth
    each = (None if v is None else np.repeat(v[:groups], v.size // groups) for v in vectors)
    return {"y": with_arrays(case, x, *each)["y"]}


def _groups_interleaved(case: Case, read: bool, written: bool) -> Outcome:
    # Channel c is normalized with those of group c mod G, and left where it is or not.
    groups = case.settings["groups"]
    x, *vectors = case.arrays
    order = np.arange(x.shape[-1]).reshape(-1, groups).T.ravel()
    if groups == 1 or groups == x.shape[-1]:
        return case.truth
    same = np.arange(x.shape[-1])
    of_x, of_y = order if read else same, order if written else same
    moved = (None if v is None else v[of_y] for v in vectors)
    outcome = apply(case.module, (x[..., of_x], *moved), case.settings, case.dy[..., of_y])
    return {
        name: value[..., np.argsort(of_x if name == "dx" else of_y)]
        for name, value in outcome.items()
    }


def _moving_statistics_in_training(case: Case) -> Outcome:
    *others, statistics = case.arrays
    moving = batchnorm.initial_statistics(case.x.shape[-1])
    return case.truth if statistics is not None else with_arrays(case, *others, moving)


def _batch_statistics_in_inference(case: Case) -> Outcome:
    return with_arrays(case, *case.arrays[:-1], None)
