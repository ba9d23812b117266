"""What may be said to explain results, and whether it holds of many.

A theory is a hypothesis tried on a candidate: of each result it says whether it is what the slip
would give, or that it has nothing to say of it. A remark says the same of a wrong result without
knowing what would give it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._agreement import agree, beyond
from convinsights.verify._calls import Outcome
from convinsights.verify._cases import Case
from convinsights.verify._precision import Precision
from convinsights.verify._slips import Hypothesis
from convinsights.verify._trials import Trial

__all__ = [
    "SEVERAL",
    "Explanation",
    "Remark",
    "Result",
    "Theory",
    "contradicted",
    "equal",
    "foretold",
    "holds",
    "share_explained",
    "within",
]

# One result of one trial: the number of the trial, and y, dx, …
Result: TypeAlias = tuple[int, str]

# How many trials are more than chance.
SEVERAL = 3
# What came must be so many times nearer (in squares) to what the slip gives than to the truth, or
# so many times fewer of its elements be wrong.
MENDED = 4


class Explanation(Protocol):
    """Says of a result whether it is explained, or None where it has nothing to say."""

    name: str

    def __call__(self, result: Result) -> bool | None:
        """Tell whether the result is what the slip would give."""


class Theory:
    """A hypothesis, and what it makes of every trial that was asked for."""

    def __init__(self, hypothesis: Hypothesis, trials: Sequence[Trial], unit: float) -> None:
        self.name, self.outcome = hypothesis
        self.trials, self.unit = trials, unit
        self.outcomes: dict[int, Outcome | None] = {}

    def of(self, index: int) -> Outcome | None:
        """Return what the slip makes of a trial's case, None if that is no call at all."""
        if index not in self.outcomes:
            try:
                self.outcomes[index] = self.outcome(self.trials[index].case)
            except ValueError:
                self.outcomes[index] = None
        return self.outcomes[index]

    def __call__(self, result: Result) -> bool | None:
        """Tell whether the result is what the slip would give."""
        index, name = result
        trial, outcome = self.trials[index], self.of(index) or {}
        expected, got, allowed = outcome.get(name), trial.got[name], trial.allowed
        if expected is None:
            return None
        if expected is trial.case.truth.get(name):  # what most slips leave of most results
            return name not in trial.wrong
        if got is None or not agree(got, expected, allowed[name], self.unit):
            return False
        if name not in trial.wrong:
            return True
        if not self._mends(trial, name, got, expected):
            return False
        # What would be right explains nothing wrong.
        return None if trial.allows(name, expected) else True

    def _mends(self, trial: Trial, name: str, got: Array, expected: Array) -> bool:
        # In formats of few bits much agrees with anything: so what came must be far nearer to what
        # the slip would give than to the truth, or hardly an element be wrong beside that.
        truth = trial.case.truth[name]
        if truth.shape != expected.shape:
            return True
        with np.errstate(invalid="ignore", over="ignore"):
            from_slip, from_truth = np.square(got - expected), np.square(got - truth)
            off = beyond(got, expected, trial.allowed[name] + self.unit * np.abs(expected))
        there = np.isfinite(from_slip) & np.isfinite(from_truth)
        nearer = MENDED * from_slip[there].sum() <= from_truth[there].sum()
        return bool(nearer or MENDED * off.sum() <= trial.off(name, got).sum())


class Remark(ABC):
    """Says whether a wrong result is as the remark's name tells, or None: nothing.

    A weak one says less than a slip that gives the very values; a guess must hold of most results.
    """

    name: str
    weak = guess = False

    def __init__(
        self, trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
    ) -> None:
        self.trials, self.examine, self.precision = trials, examine, precision

    def __call__(self, result: Result) -> bool | None:
        """Tell whether a result is as the remark says; one of another shape is not."""
        index, name = result
        trial = self.trials[index]
        got = trial.came(name)
        return False if got is None else self.holds(trial, name, got)

    @abstractmethod
    def holds(self, trial: Trial, name: str, got: Array) -> bool | None:
        """Tell it of a result that came in its shape."""

    def again(self, case: Case, name: str) -> Array | None:
        """Return what the candidate gives once more."""
        return self.examine(case).got.get(name)

    def same_again(self, trial: Trial, name: str) -> bool:
        """Tell whether a result does not change from call to call."""
        return all(equal(self.again(trial.case, name), trial.got[name]) for _ in range(2))


def equal(one: Array | None, other: Array | None) -> bool:
    """Tell whether both came and are the same, nan for nan."""
    return one is not None and other is not None and np.array_equal(one, other, equal_nan=True)


def within(results: Sequence[Result], trials: Sequence[Trial], most: int) -> list[Result]:
    """Return the first results, up to `most` numbers, and the first of each name.

    Each result counts with all numbers of its case.
    """
    chosen: list[Result] = []
    seen: set[str] = set()
    total = 0
    for index, name in results:
        total += trials[index].case.size
        if total <= most or name not in seen:
            chosen.append((index, name))
            seen.add(name)
    return chosen


def holds(explanation: Explanation, wrong: Iterable[Result]) -> bool:
    """Tell whether it denies no wrong result, and explains one at least.

    Of others it may say nothing.
    """
    said = False
    for result in wrong:
        verdict = explanation(result)
        if verdict is False:
            return False
        said = said or verdict is True
    return said


def share_explained(
    explanation: Explanation, wrong: Iterable[Result], trials: Sequence[Trial]
) -> float:
    """Return in what share of the trials with wrong values one of those is explained."""
    said: dict[int, bool] = {}
    for index, name in wrong:
        if trials[index].got[name] is not None:
            said[index] = said.get(index, False) or explanation((index, name)) is True
    return sum(said.values()) / max(len(said), 1)


def foretold(theory: Theory, trials: Sequence[Trial]) -> bool:
    """Tell whether the failing calls are exactly those that the library refuses with the slip.

    And three at least: fewer may be chance.
    """
    failing = [index for index, trial in enumerate(trials) if trial.wrong]
    others = (index for index, trial in enumerate(trials) if not trial.wrong)
    return (
        len(failing) >= SEVERAL
        and all(theory.of(index) is None for index in failing)
        and all(theory.of(index) is not None for index in others)
    )


def contradicted(explanation: Explanation, right: Iterable[Result]) -> bool:
    """Tell whether a right result is not what the explanation would give."""
    return any(explanation(result) is False for result in right)
