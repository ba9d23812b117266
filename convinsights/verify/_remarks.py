"""What may be said of wrong results without knowing what would give them.

They come right in another order of memory, or where the other images are not there; or hold what
was in the buffer; or are sums that 16 bits may not hold; or are off by what rounding loses.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._explanations import Remark, equal
from convinsights.verify._losses import losses
from convinsights.verify._precision import Precision
from convinsights.verify._trials import Trial

__all__ = ["remarks"]

# The share of the results that is wrong at most where only a part of them was not written.
PART = 0.97


def remarks(
    trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
) -> Iterator[Remark]:
    """Yield the remarks, the most specific first."""
    module, known = trials[0].case.module, (trials, examine, precision)
    yield _ReadsOutside(*known)
    yield _LayoutIgnored(*known)
    yield from losses(*known)
    if module not in NORMALIZATIONS:
        yield _Saturated(*known)
    yield _Unwritten(*known)
    if module is not batchnorm:  # where it is the law
        yield _BatchMixed(*known)


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
        return changed is not None and not equal(changed[n : n + 1], got[n : n + 1])


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
    # Only sums are wrong that may leave 16 bits on the way, and none of what came for them does.
    name = "saturated (16 bits)"

    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        case, most = trial.case, 2.0**15
        off = trial.off(name, got)
        sums = case.each(np.abs).outcome()[name]
        whole = bool((got == np.round(got)).all())
        return whole and bool((sums[off] >= most).all() and (np.abs(got[off]) <= most).all())
