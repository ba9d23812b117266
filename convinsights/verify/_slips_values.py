"""Slips of the values themselves: activations, limits, few bits."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from types import ModuleType

import numpy as np

from convinsights import (
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    unary,
)
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS, Outcome
from convinsights.verify._cases import Case
from convinsights.verify._formats import to_bits
from convinsights.verify._slips import Hypothesis, with_arrays

__all__ = ["clamped", "of_values"]


ACTIVATIONS: tuple[tuple[Callable[[Array], Array], Callable[[Array], Array] | None], ...] = (
    # ReLU
    (lambda y: np.maximum(y, 0), lambda y: (y > 0) * 1.0),
    # ReLU6
    (lambda y: np.clip(y, 0, 6), lambda y: ((y > 0) & (y < 6)) * 1.0),
    # sigmoid
    (lambda y: 1 / (1 + np.exp(-y)), None),
    # tanh
    (np.tanh, None),
    # SiLU
    (lambda y: y / (1 + np.exp(-y)), None),
    # hard swish
    (lambda y: y * np.clip(y / 6 + 0.5, 0, 1), None),
    # ELU
    (lambda y: np.where(y > 0, y, np.expm1(np.minimum(y, 0))), None),
    # GELU
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
    """Yield the slips that change the numbers themselves: activations, limits, few bits."""
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
    if module not in NORMALIZATIONS:
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
    for bits, which in product(SIGNIFICANT, ((0,), (1,), (2,), (0, 1), (0, 1, 2), None)):
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
        x, kernel.shape[:-2], padding=case.padding, **{n: case.settings[n] for n in names}
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


def _few_bits(case: Case, bits: int, which: tuple[int, ...] | None) -> Outcome:
    # Of these arrays (where they are several, of dy too), or of the results.
    if which is None:
        return {name: to_bits(value, bits) for name, value in case.truth.items()}
    arrays = list(case.arrays)
    for number in which:
        if number < len(arrays) and isinstance(arrays[number], np.ndarray):
            arrays[number] = to_bits(arrays[number], bits)
    dy = to_bits(case.dy, bits) if len(which) > 1 else case.dy
    return with_arrays(case, *arrays, dy=dy)
