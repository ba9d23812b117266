"""Wrong results that are off by what rounding loses: few bits, or digits that cancel.

The size of an error tells how few bits there were: terms of b significant bits put their sum off by
about 2^-b times the root of the sum of their squares, since their errors are random. Where errors
grow with the number of terms, it is the sums that have so few. Of a normalization, y tells of the
mean and of the root that it was made with; and its gradients of gamma and beta are sums.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._explanations import Remark
from convinsights.verify._formats import to_bits
from convinsights.verify._grouped import Grouped
from convinsights.verify._moments import few_bits, one_pass
from convinsights.verify._precision import Precision
from convinsights.verify._terms import roundings
from convinsights.verify._trials import Trial

__all__ = ["losses"]

# Bits of formats, and how many the errors must look like at least.
KNOWN_BITS = ((24, 22.5), (11, 10.2), (8, 7.0))
# The errors may look like so many bits more than the format has (operands), or fewer (long sums).
MORE, LESS = 2.5, 6.0
# Errors of fewer elements together may be as small as chance will have it.
ENOUGH = 8
# How many results are looked at.
LOOKED = 60
# What a normalization sums over the images.
SUMMED = ("dgamma", "dbeta")
# How many results it takes to tell whether it is the operands or the sums that have few bits:
TOLD_BY = 6
# … it is the sums if the bits that `_bits` finds for the sums vary less from result to result than
# those that it finds for the operands: if the standard deviation of the former is less than this
# share of that of the latter.
CLEARLY = 0.7
# In squares, a sum of n products loses n / 6 roundings of the whole: on average the square of a
# partial sum is half that of the whole, and the square of a rounding a third of its largest.
ROUNDINGS = 6.0


def losses(
    trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
) -> Iterator[Remark]:
    """Yield the remarks on what rounding loses, the most specific first."""
    module, known = trials[0].case.module, (trials, examine, precision)
    if module in NORMALIZATIONS:
        yield _OnePass(*known)
        for bits in (8, 11):
            yield _MomentsRounded(*known, bits)
    for bits in (8, 11):
        yield _ResultsRounded(*known, bits)
    for bits in (8, 11, 24):
        yield (_GradientsRounded if module in NORMALIZATIONS else _OperandsRounded)(*known, bits)


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

    def tells(self, trial: Trial, name: str) -> bool:
        """Tell whether the errors of a result have something to say."""
        return True

    @cached_property
    def nearest(self) -> int | None:
        """The bits of a format by the smallest errors.

        Where errors grow with the number of terms, it is the sums that have few bits.
        """
        came = (
            (trial, name, got)
            for trial in self.trials
            for name in sorted(trial.wrong)
            if (got := trial.came(name)) is not None and self.tells(trial, name)
        )
        seen = []
        for trial, name, got in islice(came, LOOKED):
            both = _bits(trial, name, got)
            if both is None:
                return None
            seen.append((*both, got.size >= ENOUGH))
        large = max(enough for *_, enough in seen)  # none has enough: take what there is
        told = np.array([both for *both, enough in seen if enough == large])
        operands, sums = np.std(told, axis=0)
        of_sums = len(told) >= TOLD_BY and sums < CLEARLY * operands
        # Not the very smallest error, which may be so by chance: a tenth are smaller.
        best = sorted(told[:, int(of_sums)], reverse=True)[len(told) // 10]
        # Errors of more bits than results have would be hidden in their own rounding.
        known_bits = [(b, low) for b, low in KNOWN_BITS if 2.0**-b >= self.precision.result.unit]
        return next((bits for bits, low in known_bits if low <= best <= bits + MORE), None)


class _GradientsRounded(_OperandsRounded):
    # The same, of the gradients of gamma and beta alone, which are sums; those of integers need not
    # be exact.
    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if self.tells(trial, name):
            return super().holds(trial, name, got)
        return None if name in SUMMED else False

    def tells(self, trial: Trial, name: str) -> bool:
        return name in SUMMED and not trial.case.integers


def _bits(trial: Trial, name: str, got: Array) -> tuple[float, float] | None:
    # How many bits the operands have if the error is theirs (the root of the sum of squared terms
    # over the error, in bits), and how many the sums have if it is that of n roundings. None of
    # integers.
    case = trial.case
    if case.integers or not np.isfinite(got).all():
        return None
    if case.module in NORMALIZATIONS:
        size, terms = _of_normalization(case, name)
    else:
        size = float(case.each(np.square).outcome()[name].sum())
        terms = float(np.mean(roundings(case)[name]))
    error = float(((got - case.truth[name]) ** 2).sum())
    if not (size > 0 and error > 0):
        return None
    bits = math.log2(size / error) / 2
    return bits, bits + math.log2(max(1.0, terms / ROUNDINGS)) / 2


def _of_normalization(case: Case, name: str) -> tuple[float, float]:
    # The squares of what is summed for gamma or beta, and how many are.
    parts, terms = Grouped(case), case.dy
    if name == "dgamma":
        terms = terms * parts.whole((parts.x - parts.mean) / parts.root)
    return float((terms**2).sum()), float(math.prod(terms.shape[:-1]))


class _OfMoments(Remark):
    # What y tells of the mean and of the root that it was made with; `given`: of given ones too.
    guess = True
    given = False

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        if not (self.given or Grouped(trial.case).own):
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
    # The mean and 1 / root have no more bits.
    given = True

    def told(self, trial: Trial, got: Array) -> bool | None:
        return few_bits(trial, got, self.precision, self.bits)
