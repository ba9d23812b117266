"""A nan or an infinite number among the pixels, the taps and dy: what reads it is not finite.

And nothing else is. Which results read an element is told by the library, from an array of zeros
with a 1 in that place and ones everywhere else. Only these are not judged: where a tap meets zeros
beyond the image (0 times infinity is nan, but a kernel may as well skip what is 0), and taps of the
same channels that a gradient does not sum over this pixel, for the same reason, gradients of other
groups, which may be cut out of those of one large kernel, and the kernel's gradient of a transposed
convolution, for what its padding cuts off may count as 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from convinsights import transposed
from convinsights._arguments import Array
from convinsights.verify._calls import Call
from convinsights.verify._cases import Case
from convinsights.verify._precision import NORMALIZATIONS
from convinsights.verify._trials import Answer, Trial

__all__ = ["Spoilt", "judged", "spoilt"]


class Spoilt(NamedTuple):
    """A case with one element that is not finite, in a corner of one of its arrays or of dy."""

    case: Case
    name: str


def spoilt(cases: Sequence[Case], values: Sequence[float], gradients: bool) -> Iterator[Spoilt]:
    """Yield each case with each value in each of its arrays; in dy too if there are gradients."""
    for case, value in product(cases, values):
        for place, name in enumerate((*case.names, "dy")):
            arrays = [*case.arrays, case.dy]
            if not isinstance(arrays[place], np.ndarray) or (name == "dy" and not gradients):
                continue
            arrays[place] = arrays[place].copy()
            arrays[place][_corner(arrays[place], value)] = value
            if "kernel" in name:  # 0 times infinity is nan
                arrays[0], arrays[-1] = (_with_zeros(a) for a in (arrays[0], arrays[-1]))
            kind, numbers = f"{value} in {name}", f"{case.values} with {value} in {name}"
            changed = replace(
                case,
                kind=f"{case.rank}-D {kind}",
                arrays=tuple(arrays[:-1]),
                dy=arrays[-1],
                values=numbers,
                row=None,
            )
            yield Spoilt(changed, name)


def _with_zeros(pixels: Array) -> Array:
    # Of the first and the last pixel.
    pixels = pixels.copy()
    pixels.reshape(-1, pixels.shape[-1])[[0, -1]] = 0
    return pixels


def judged(one: Spoilt, answer: Answer, local: bool) -> Trial:
    """Look at what is finite in the results.

    Without `local`, as in transforms of whole tiles, other results may be spoilt as well.
    """
    case = one.case
    trial = Trial(case, declined=answer.declined)
    for function, message in answer.error.items():
        trial.fail("y" if function == "forward" else "dx", message, values=False)
    with np.errstate(all="ignore"):
        must, may = _readers(case, [*case.names, "dy"].index(one.name))
    for result, reads in must.items():
        got = answer.copies.get(result)
        if not isinstance(got, np.ndarray) or got.shape != reads.shape:
            continue
        finite = np.isfinite(got)
        trial.got[result] = got.astype(np.float64)
        _judge(trial, result, reads & finite, "finite", "non_finite_swallowed")
        if local:
            _judge(trial, result, ~may[result] & ~finite, "not finite", "non_finite_spread")
    return trial


def _corner(array: Array, value: float) -> tuple[int, ...]:
    # A nan is the last element, an infinite one the first: borders are where kernels differ.
    return tuple(n - 1 if np.isnan(value) else 0 for n in array.shape)


def _judge(trial: Trial, result: str, wrong: Array, state: str, name: str) -> None:
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    reads = "reads" if state == "finite" else "does not read"
    trial.fail(
        result,
        f"{result}{list(index)} is {state}, though it {reads} the element that is not "
        f"({int(wrong.sum())} of {wrong.size} elements of {result})",
        values=False,
        index=index,
        diagnosis=name,
    )


def _readers(case: Case, place: int) -> tuple[dict[str, Array], dict[str, Array]]:
    # Which elements of each result must not be finite, and which need not be.
    truth = case.truth
    if case.module in NORMALIZATIONS:
        reached = {name: ~np.isfinite(result) for name, result in truth.items()}
        return reached, reached
    names = [*case.names, "dy"]
    arrays: list[Any] = [None if a is None else np.ones_like(a) for a in (*case.arrays, case.dy)]
    other = 0 if names[place] == "bias" else names.index("bias")
    if arrays[other] is not None:
        arrays[other] = np.zeros_like(arrays[other])
    alone = np.zeros_like(arrays[place])
    alone[~np.isfinite([*case.arrays, case.dy][place])] = 1
    arrays[place] = alone
    counted = Call(case.module, tuple(arrays[:-1]), case.settings, arrays[-1]).outcome()
    must, may = {}, {}
    for result, count in counted.items():
        if not _depends(result, names[place]):
            must[result] = may[result] = np.zeros(count.shape, bool)
            continue
        must[result] = may[result] = count != 0
        exact = (result == "y" and names[place] == "x") or (result, names[place]) == ("dx", "dy")
        if not exact:
            lines = tuple(range(count.ndim - (2 if "kernel" in result else 1)))
            there = must[result] | ~np.isfinite(truth[result])
            may[result] = np.broadcast_to(there.any(axis=lines, keepdims=True), count.shape)
            cropped = case.module is transposed and result == "dkernel"
            if cropped or (result != "y" and case.settings.get("groups", 1) > 1):
                may[result] = np.ones(count.shape, bool)
    return must, may


def _depends(result: str, name: str) -> bool:
    # Whether a result of a convolution reads an argument at all.
    if result == "y":
        return name != "dy"
    if result == "dbias":
        return name == "dy"
    return name != result[1:] and name != "bias"
