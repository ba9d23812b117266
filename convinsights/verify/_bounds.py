"""By how much a correct result may differ from the true one: what every verdict rests on.

    allowed[i] = bound[i] + u (|y[i]| + bound[i]) + smallest / 2

where the bound is that of the sums (`_sums`), or of a normalization (`_normalized`), with what a
fast transform loses (`_transforms`), and u and smallest are the unit roundoff and the smallest
number of what results are stored in, if that is coarser than what they were summed in.

No fixed tolerance will do: where 2,304 float32 terms cancel, a correct sum may be off by a
thousandth of its value, and a forgotten pixel may change it by no more. What is less than the bound
cannot be seen (`_power`).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array, as_array, check_flag
from convinsights._concepts import defaults
from convinsights.verify._calls import NORMALIZATIONS, Call, Outcome, check_module
from convinsights.verify._cases import Case
from convinsights.verify._formats import Kind, Numbers
from convinsights.verify._normalized import normalized
from convinsights.verify._precision import Precision
from convinsights.verify._sums import of_sums, peak
from convinsights.verify._transforms import lost

__all__ = ["allowances", "as_stored", "bounds", "error_bound", "with_those_left_out"]

# Numbers of float64 that error_bound looks at together
BLOCK = 2**18


def error_bound(
    module: ModuleType,
    *arrays: Any,
    dtype: Kind,
    operands: Kind | None = None,
    accumulate: Kind | None = None,
    algorithm: str = "direct",
    probabilistic: bool = False,
    **hyperparameters: Any,
) -> Array:
    """Tell how far a correct implementation may be from the true value, element by element.

    Each output is a sum of n terms. In precision u and in any order its error is at most gamma_n
    times the sum of their magnitudes, gamma_n = n u / (1 - n u), plus the rounding of the result if
    dtype is the coarser. Errors have either sign: with probability above 1 - 2 n exp(-32 (1 - u)²)
    they stay within exp(8 sqrt(n) u + n u² / (1 - u)) - 1, about 8 sqrt(n) u. `probabilistic` takes
    the smaller of that and gamma_n.

    For normalizations the same bounds of the two sums, mean and (two-pass) variance, are
    carried through 1 / sqrt(variance + epsilon) to the output.

    Parameters
    ----------
    module : module of convinsights
        One that `verify` takes.
    *arrays : arrays
        Those of `module.forward`, in its order; they are first rounded to dtype.
    dtype : float16, float32, float64, an integer of 8 or 16 bits, or Format
        Of the arrays and of the result; integers are summed to int32, exactly.
    operands : float16, float32, float64 or Format, optional
        What the arrays are rounded to before they are multiplied (of normalizations, x and gamma as
        they are read); dtype, unless given. With a transform: to what the transformed arrays are
        rounded; accumulate, unless given.
    accumulate : float16, float32, float64 or Format, optional
        In which the sums are formed; dtype, unless given, and float32 for a Format.
    algorithm : "direct", "winograd" or "fft"
        Any order of the sum of products; or one of the transforms, whose own bound, the same for
        all results of an image, is added.
    probabilistic : bool
        The bound with sqrt(n), which `verify` uses, in place of the rigorous one with n.
    **hyperparameters
        Those of `module.forward`.

    Returns
    -------
    array like y
        In float64; infinite where a sum or the result may overflow, and, of the rigorous bound,
        where n u reaches 1.

    Raises
    ------
    ValueError
        As `module.forward` does.
    TypeError
        As `module.forward` does, or if it is no module that can be verified.

    Examples
    --------
    Three terms that cancel, in units of 2^-24: three times 1 + 2 + 1.

    >>> import numpy as np
    >>> from convinsights import conv, verify
    >>> x, kernel = np.array([[[1], [2], [1]]]), np.array([1, -1, 1]).reshape(3, 1, 1)
    >>> bound = verify.error_bound(conv, x, kernel, dtype=np.float32)
    >>> (bound * 2**24).round(3)
    array([[[12.]]])
    """
    check_module(module)
    check_flag("probabilistic", probabilistic)
    precision = Precision.of(module, dtype, operands, accumulate, algorithm, probabilistic)
    names, settings = module.Gradients._fields, defaults(module) | hyperparameters
    given = with_those_left_out(module, arrays)
    x = as_array(names[0], given[0])
    if x.ndim < 2:
        raise ValueError(f"{names[0]} must be (N, …, C), got shape {x.shape}")
    others = [as_stored(n, a, precision.stored) for n, a in zip(names[1:], given[1:], strict=True)]
    if module in NORMALIZATIONS:
        module.forward(x, *others, **settings)  # refuses what does not go together

    # A bound takes several arrays of the size of x: so one part after the other, images or, where
    # they see each other, channels.
    by_channel = module is batchnorm and others[-1] is None

    def part(where: slice) -> Array:
        rest = [None if a is None else a[where] for a in others] if by_channel else others
        images = x[..., where] if by_channel else x[where]
        images = as_stored(names[0], images, precision.stored)
        return bounds(Call(module, (images, *rest), settings, None), precision)["y"]

    axis = x.ndim - 1 if by_channel else 0
    count = x.shape[axis]
    step = max(1, BLOCK * count // max(1, x.size))
    if step >= count:
        return part(slice(None))
    parts = [slice(start, start + step) for start in range(0, count, step)]
    first = part(parts[0])
    result = np.empty((*first.shape[:axis], count, *first.shape[axis + 1 :]))
    for where in parts:
        np.moveaxis(result, axis, 0)[where] = np.moveaxis(part(where), axis, 0)
    return result


def bounds(call: Call, precision: Precision) -> Outcome:
    """Return by how much a correct y, and with dy the gradients, may be off."""
    truth = call.outcome() if precision.rounding else {}
    result = _unrounded(call, precision)
    return {name: precision.final(bound, truth.get(name)) for name, bound in result.items()}


def allowances(case: Case, precision: Precision, gradients: bool) -> Outcome:
    """Return what a verdict allows each result to be off by.

    The truth is itself a sum in float64; its own error, at most 2^-53 / u of the bound, is added.
    Where the truth is not finite, or more than the format holds, the allowance is infinite.
    """
    call = case if gradients else Call(case.module, case.arrays, case.settings, None)
    truth, sums = case.truth, case.module not in NORMALIZATIONS
    integers = case.integers and sums and precision.algorithm == "direct"
    if integers or precision.stored.integers:
        most = peak(call, precision)
        names = truth if gradients else ["y"]
        zeros = {name: np.broadcast_to(np.zeros(()), truth[name].shape) for name in names}
        # Sums that are exact in any order: nothing may be off,
        if most <= precision.result.exact:
            return zeros
        # … but for the rounding to what results are stored in
        if most < np.inf or precision.stored.integers:
            return {name: precision.final(zero, truth[name]) for name, zero in zeros.items()}
    # The bound of the candidate's sums, and of the truth's
    both = 1 + 2.0**-53 / precision.unit
    own = _unrounded(call, precision, integers)
    return {name: precision.final(both * bound, truth[name]) for name, bound in own.items()}


def _unrounded(call: Call, precision: Precision, integers: bool = False) -> Outcome:
    # Before the result is stored
    with np.errstate(invalid="ignore", over="ignore"):
        if call.module in NORMALIZATIONS:
            return normalized(call, precision)
        result = of_sums(call, precision, integers)
        if precision.algorithm != "direct":
            more = lost(call, precision)
            for name, bound in result.items():
                bound += more.get(name, 0.0)
        return result


def with_those_left_out(module: ModuleType, arrays: Sequence[Any]) -> list[Any]:
    """Return the arrays of a forward, with None for each that was left out."""
    names = module.Gradients._fields
    if not 0 < len(arrays) <= len(names):
        raise TypeError(f"arrays must be {', '.join(names)}, got {len(arrays)} of them")
    return [*arrays, *[None] * (len(names) - len(arrays))]


def as_stored(name: str, value: Any, stored: Numbers) -> Any:
    """Return an array as it is once it is stored, in float64."""
    if value is None:
        return None
    if name == "statistics":
        return batchnorm.as_statistics(value, None)
    return stored.rounded(as_array(name, value)).astype(np.float64)
