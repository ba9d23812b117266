"""What may be said of wrong results without knowing what would give them.

They come right in another order of memory, or where the other images are not there; or hold what
was in the buffer; or are off by what few bits lose.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array
from convinsights.verify._cases import Case
from convinsights.verify._grouped import Grouped
from convinsights.verify._moments import few_bits, one_pass
from convinsights.verify._precision import NORMALIZATIONS, Precision
from convinsights.verify._slips_values import to_bits
from convinsights.verify._terms import roundings
from convinsights.verify._trials import Trial

__all__ = ["Remark", "remarks"]

# The share of the results that is wrong at most where only a part of them was not written.
PART = 0.97


def remarks(
    trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
) -> Iterator["Remark"]:
    """Yield the remarks, the most specific first."""
    module, known = trials[0].case.module, (trials, examine, precision)
    yield _ReadsOutside(*known)
    yield _LayoutIgnored(*known)
    if module in NORMALIZATIONS:
        yield _OnePass(*known)
        for bits in (8, 11):
            yield _MomentsRounded(*known, bits)
    for bits in (8, 11):
        yield _ResultsRounded(*known, bits)
    if module not in NORMALIZATIONS:
        for bits in (8, 11, 24):
            yield _OperandsRounded(*known, bits)
        yield _Saturated(*known)
    yield _Unwritten(*known)
    if module is not batchnorm:  # where it is the law
        yield _BatchMixed(*known)


class Remark(ABC):
    """Says of a wrong result that it is as a name tells, or not, or None: nothing.

    A weak one says less than a slip that gives the very values; a guess must hold of most results.
    """

    name: str
    weak = guess = False

    def __init__(
        self, trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
    ) -> None:
        self.trials, self.examine, self.precision = trials, examine, precision

    def __call__(self, result: tuple[int, str]) -> bool | None:
        """Tell whether a result that came in its shape is as the remark says."""
        index, name = result
        trial = self.trials[index]
        got = trial.came(name)
        return False if got is None else self.holds(trial, name, got)

    @abstractmethod
    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        """Tell the same of a result that came in its shape."""

    def again(self, case: Case, name: str) -> Array | None:
        """Return what the candidate gives once more."""
        return self.examine(case).got.get(name)

    def same_again(self, trial: Trial, name: str) -> bool:
        """Tell whether a result does not change from call to call."""
        return all(_equal(self.again(trial.case, name), trial.got[name]) for _ in range(2))


def _equal(one: Array | None, other: Array | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other, equal_nan=True)


class _LayoutIgnored(Remark):
    # The same values in C order come out right.
    name = "layout_ignored"

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if trial.case.layout == "C" or not self.same_again(trial, name):
            return False
        return self.examine(replace(trial.case, layout="C")).right(name)


class _ReadsOutside(_LayoutIgnored):
    # What lies around a slice, nan, gets into some of the results of slices.
    name = "reads_outside"

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if not trial.case.layout.startswith("slice") or not super().holds(trial, name, got):
            return False
        return None if np.isfinite(got).all() else True


class _BatchMixed(Remark):
    # An image's result depends on its neighbours: alone, each comes out right, and it changes as
    # they do.
    name = "batch_mixed"

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if name not in ("y", "dx"):
            return None
        case = trial.case
        if len(case.x) < 2 or not self.same_again(trial, name):
            return False
        if not all(self.examine(case.image(n)).right(name) for n in range(len(case.x))):
            return False
        off = trial.off(name, got).reshape(len(got), -1)
        n = int(off.any(axis=1).argmax())
        sign = np.where(np.arange(len(got)) == n, 1.0, -1.0).reshape(-1, *[1] * (got.ndim - 1))
        others = replace(case, arrays=(sign * case.x, *case.arrays[1:]), dy=sign * case.dy)
        changed = self.again(others, name)
        return changed is not None and not _equal(changed[n : n + 1], got[n : n + 1])


class _Unwritten(Remark):
    # Of a part of the results every element is 0, or no number, or one of another magnitude.
    name = "unwritten"
    weak = True

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        off = trial.off(name, got)
        left, largest = got[off], np.abs(trial.case.truth[name]).max(initial=1)
        with np.errstate(invalid="ignore"):
            garbage = ~(np.abs(left) <= 1e6 * largest)
        return self.in_part and bool((left == 0).all() or garbage.all())

    @cached_property
    def in_part(self) -> bool:
        """Whether some of what was to be written is right."""
        marks = [
            trial.off(name, got)
            for trial in self.trials
            for name in trial.wrong
            if (got := trial.came(name)) is not None
        ]
        return sum(int(off.sum()) for off in marks) < PART * sum(off.size for off in marks)


class _Saturated(Remark):
    # Only sums are wrong that may leave 16 bits on the way, and none has left them.
    name = "saturated (16 bits)"

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        case, most = trial.case, 2.0**15
        off = trial.off(name, got)
        sums = case.each(np.abs).outcome()[name]
        whole = bool((got == np.round(got)).all())
        return whole and bool((sums[off] >= most).all() and (np.abs(got[off]) <= most).all())


# Bits of formats, and how many the errors must look like at least.
KNOWN_BITS = ((24, 22.5), (11, 10.2), (8, 7.0))
# By how much the bits that errors look like may exceed them (operands), or fall short (long sums).
MORE, LESS = 2.5, 6.0
# Errors of fewer elements together may be as small as chance will have it.
ENOUGH = 8
# How many results are looked at.
LOOKED = 60
# How many results tell sums from operands, and how much less those must scatter; a sum of n
# products loses as much as n / 6 roundings of the whole sum: the partial sums grow from 0, and
# roundings are less than half a unit.
SEVERAL, CLEARLY, ROUNDINGS = 6, 0.7, 6.0


class _LowPrecision(Remark):
    # So many significant bits are left.
    def __init__(
        self,
        trials: Sequence[Trial],
        examine: Callable[[Case], Trial],
        precision: Precision,
        bits: int,
    ) -> None:
        super().__init__(trials, examine, precision)
        self.name, self.bits = f"low_precision ({bits} bits)", bits


class _ResultsRounded(_LowPrecision):
    # Every result has no more bits, and is otherwise right.
    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        truth, last = trial.case.truth[name], 2.0**-self.bits
        near = np.abs(got - truth) <= 1.01 * last * np.abs(truth) + 2 * trial.allowed[name]
        return bool(near.all() and (got == to_bits(got, self.bits)).all())


class _OperandsRounded(_LowPrecision):
    # Results are off by about what so few bits of operands or sums lose; integers are exact.
    guess = True

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        bits = _bits(trial, name, got)
        if bits is None or self.nearest is None:
            return False
        return self.nearest == self.bits and bits[0] >= self.bits - LESS

    @cached_property
    def nearest(self) -> int | None:
        """The bits of a format by the smallest errors.

        Where errors grow with the number of terms, it is the sums that have few bits.
        """
        came = (
            (trial, name, got)
            for trial in self.trials
            for name in sorted(trial.wrong)
            if (got := trial.came(name)) is not None
        )
        seen = []
        for trial, name, got in islice(came, LOOKED):
            both = _bits(trial, name, got)
            if both is None:
                return None
            seen.append((*both, got.size >= ENOUGH))
        most = max(enough for *_, enough in seen)  # none has enough: take what there is
        known = np.array([both for *both, enough in seen if enough == most])
        operands, sums = np.std(known, axis=0)
        of_sums = len(known) >= SEVERAL and sums < CLEARLY * operands
        best = sorted(known[:, int(of_sums)], reverse=True)[len(known) // 10]
        return next((bits for bits, low in KNOWN_BITS if low <= best <= bits + MORE), None)


def _bits(trial: Trial, name: str, got: Array) -> tuple[float, float] | None:
    # log2 of the sum's magnitude, as of random terms, over the error: how many bits the operands
    # have, or the sums, whose n roundings are each of part of it; None of integers.
    case = trial.case
    if case.integers or not np.isfinite(got).all():
        return None
    size = case.each(np.square).outcome()[name].sum()
    error = ((got - case.truth[name]) ** 2).sum()
    terms = np.mean(roundings(case)[name])
    grown = math.log2(max(1.0, float(terms) / ROUNDINGS)) / 2
    both = size > 0 and error > 0
    return (bits := float(np.log2(size / error) / 2), bits + grown) if both else None


class _OfMoments(Remark):
    # What y tells of the mean and of the root that it was made with.
    guess = True

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if not Grouped(trial.case).own:
            return False
        if name != "y":
            return None if name in ("dx", "dgamma") else False
        return self.told(trial, got)

    @abstractmethod
    def told(self, trial: Trial, got: Array) -> bool | None:
        """Tell whether y was made so."""


class _OnePass(_OfMoments):
    # The variance is the mean of the squares less the square of the mean.
    name = "one_pass_variance"

    def told(self, trial: Trial, got: Array) -> bool | None:
        return one_pass(trial, got, self.precision)


class _MomentsRounded(_LowPrecision, _OfMoments):
    # The mean and the root have no more bits.
    def told(self, trial: Trial, got: Array) -> bool | None:
        return few_bits(trial, got, self.precision, self.bits)
