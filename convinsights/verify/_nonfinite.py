"""A nan or an inf in one element of an array or of dy: what reads it is not finite, all else is.

The library tells what reads it: with that array 0 but for a 1 in that place, and all others ones,
those results that are then not 0 read it. A pixel of 0 is read like any other (0 times infinity is
nan), but zeros that are no pixels, around the image or between groups, may be skipped or
multiplied: so some results that do not read the element may be either, and are not judged:

    in            by an element of       not judged
    y             x, bias                nothing
    dx, dbias     dy                     nothing
    y, dx         a kernel               its channel: other pixels may meet zeros around the image;
                                         all where no tap of it meets a pixel
    dkernel       x, dy                  its channels: other taps may meet those zeros
    dx            a kernel, in groups    all (*)
    dkernel       x, dy, in groups       all (*)
    dkernel       x, dy, if transposed   all: what its padding cuts off may count as 0

(*) They may be cut out of the results of one large kernel, with zeros between the groups; so in
depthwise, where every channel is a group.

Of a normalization, what is not finite in the library's own results must not be, and all else must.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from convinsights import depthwise, transposed
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS, Call, Outcome
from convinsights.verify._cases import Case
from convinsights.verify._trials import FIRST_RESULT, Answer, Trial

__all__ = ["Spoilt", "find_swallowed", "judged_finite", "spoil"]


class Spoilt(NamedTuple):
    """A case with one element that is not finite, in a corner of one of its arrays or of dy."""

    case: Case
    name: str


def spoil(cases: Sequence[Case], values: Sequence[float], gradients: bool) -> Iterator[Spoilt]:
    """Yield each case with each value in each of its arrays; in dy too if there are gradients."""
    for case, value in product(cases, values):
        for name, array in case.given.items():
            if not isinstance(array, np.ndarray) or (name == "dy" and not gradients):
                continue
            given = case.given | {name: array.copy()}
            given[name][_corner(array, value)] = value
            # A kernel that skips pixels of 0 is found: 0 times infinity is nan.
            if "kernel" in name:
                given |= {pixels: _with_zeros(given[pixels]) for pixels in ("x", "dy")}
            *arrays, dy = given.values()
            changed = replace(
                case,
                arrays=tuple(arrays),
                dy=dy,
                kind=f"{case.rank}-D {value} in {name}",
                values=f"{case.values} with {value} in {name}",
                row=None,
            )
            yield Spoilt(changed, name)


def _with_zeros(pixels: Array) -> Array:
    # Of the first and the last pixel.
    pixels = pixels.copy()
    pixels.reshape(-1, pixels.shape[-1])[[0, -1]] = 0
    return pixels


def judged_finite(one: Spoilt, answer: Answer, local: bool) -> Trial:
    """Look at what is finite in the results.

    Without `local`, as in transforms of whole tiles, other results may be spoilt as well.
    """
    case = one.case
    trial = Trial(case, declined=answer.declined)
    for function, message in answer.error.items():
        trial.fail(FIRST_RESULT[function], message, values=False)
    must, may = _readers(case, one.name)
    for result, reads, got in _came(answer, must):
        finite = np.isfinite(got)
        trial.got[result] = got.astype(np.float64)
        _judge(trial, result, reads & finite, one.name, swallowed=True)
        if local:
            _judge(trial, result, ~may[result] & ~finite, one.name, swallowed=False)
    return trial


def find_swallowed(trial: Trial, answer: Answer) -> None:
    """Note what is finite though it reads an element of the case's arrays that is not."""
    for name, array in trial.case.given.items():
        if not isinstance(array, np.ndarray) or np.isfinite(array).all():
            continue
        must, _ = _readers(trial.case, name)
        for result, reads, got in _came(answer, must):
            _judge(trial, result, reads & np.isfinite(got), name, swallowed=True)


def _came(answer: Answer, must: Outcome) -> Iterator[tuple[str, Array, Array]]:
    # The results that came in their shape, each with what of it must not be finite before it
    for result, reads in must.items():
        got = answer.copies.get(result)
        if isinstance(got, np.ndarray) and got.shape == reads.shape:
            yield result, reads, got


def _corner(array: Array, value: float) -> tuple[int, ...]:
    # A nan is the last element, an infinite one the first: borders are where kernels differ.
    return tuple(n - 1 if np.isnan(value) else 0 for n in array.shape)


def _judge(trial: Trial, result: str, wrong: Array, name: str, swallowed: bool) -> None:
    if not wrong.any():
        return
    array = trial.case.given[name]
    index, element = (
        tuple(int(i) for i in np.argwhere(some)[0]) for some in (wrong, ~np.isfinite(array))
    )
    state, reads = ("finite", "reads") if swallowed else ("not finite", "does not read")
    trial.fail(
        result,
        f"{result}{list(index)} is {state}, though it {reads} {name}{list(element)}, which is "
        f"{array[element]} ({int(wrong.sum())} of {wrong.size} elements of {result})",
        values=False,
        index=index,
        diagnosis="non_finite_swallowed" if swallowed else "non_finite_spread",
    )


@np.errstate(all="ignore")
def _readers(case: Case, name: str) -> tuple[Outcome, Outcome]:
    # Which elements of each result must not be finite, and which need not be.
    if case.module in NORMALIZATIONS:
        reached = {result: ~np.isfinite(value) for result, value in case.truth.items()}
        return reached, reached
    ones: dict[str, Any] = {
        n: None if a is None else np.ones_like(a) for n, a in case.given.items()
    }
    alone = ones[name] = np.where(np.isfinite(case.given[name]), 0.0, 1.0)
    added = ones["x" if name == "bias" else "bias"]
    if added is not None:  # or else it would count everywhere
        added[...] = 0
    must = _reading(case, ones, name)
    # A result that reads a neighbour of this element (another tap or pixel of its channels) may
    # multiply this one by a zero although it does not read it: `beside` is what reads any of them.
    lines = tuple(range(alone.ndim - 2)) if "kernel" in name else tuple(range(1, alone.ndim - 1))
    ones[name] = np.broadcast_to(alone.max(axis=lines, keepdims=True), alone.shape)
    beside = _reading(case, ones, name)
    return must, {
        result: _unjudged(case, result, name, reads, beside[result])
        for result, reads in must.items()
    }


def _reading(case: Case, counts: dict[str, Any], name: str) -> Outcome:
    # Which elements of each result are made of one of these that is not 0.
    *arrays, dy = counts.values()
    counted = Call(case.module, tuple(arrays), case.settings, dy).outcome()
    return {result: (count != 0) & _depends(result, name) for result, count in counted.items()}


def _unjudged(case: Case, result: str, name: str, reads: Array, beside: Array) -> Array:
    # The table above, and what reads the element, or those beside it.
    exact = ("y", "x"), ("y", "bias"), ("dx", "dy"), ("dbias", "dy")
    if not _depends(result, name) or (result, name) in exact:
        return reads
    cropped = case.module is transposed and result == "dkernel"
    split = case.settings.get("groups", 1) > 1 or case.module is depthwise
    if cropped or (result != "y" and split):
        return np.ones(reads.shape, bool)
    lines = tuple(range(reads.ndim - (2 if "kernel" in result else 1)))
    there = beside | ~np.isfinite(case.truth[result])
    if not there.any():  # no pixel meets this tap or its neighbours, but zeros may
        return np.ones(reads.shape, bool)
    return np.broadcast_to(there.any(axis=lines, keepdims=True), reads.shape)


def _depends(result: str, name: str) -> bool:
    # Whether a result of a convolution reads an argument at all.
    if result == "y":
        return name != "dy"
    if result == "dbias":
        return name == "dy"
    return name != result[1:] and name != "bias"
