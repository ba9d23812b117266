"""From wrong results to the slip behind them.

A theory is a hypothesis tried on a candidate: of each result it says whether it is what the slip
would give, or that it has nothing to say of it. A remark claims less, and of wrong results only:
that they are the right ones displaced, or right for one image alone, or for another order of
memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, Protocol

import numpy as np

from convinsights.verify._agreement import agree
from convinsights.verify._calls import Outcome
from convinsights.verify._cases import Case
from convinsights.verify._hypotheses import Hypothesis, hypotheses
from convinsights.verify._precision import Precision
from convinsights.verify._remarks import remarks
from convinsights.verify._shifts import shifts
from convinsights.verify._slips_values import clamped
from convinsights.verify._trials import Trial

__all__ = ["Diagnosis", "Result", "diagnose"]

# One result of one trial: the number of the trial, and y, dx, …
Result = tuple[int, str]

# How many numbers of the cases are gone through for each theory: of wrong results, of right ones,
# of each result that is looked at alone; how many wrong results a remark is tried on, and for how
# many a slip of their own is looked for in vain.
WRONG, RIGHT, ALONE, REMARKED, SINGLE = 2_000_000, 1_000_000, 100_000, 24, 4
# Of how many of the wrong trials a theory must explain a result, and how many at least where it
# contradicts right ones.
EXPLAINED, SEVERAL = 0.5, 3


class Diagnosis(NamedTuple):
    """The slip that explains every wrong result; failing that, one for each where there is one."""

    name: str | None
    single: dict[Result, str]


class Explanation(Protocol):
    """Says of a result whether it is explained, or None where it has nothing to say."""

    name: str

    def __call__(self, result: Result) -> bool | None:
        """Tell whether the result is what the slip would give."""


def diagnose(
    trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
) -> Diagnosis:
    """Name the slip that explains all wrong results and contradicts no right one.

    Hypotheses come first that give every result of the candidate; failing that, those that give all
    of the kinds (y, dx, …) that were wrong somewhere, for a backward may be right though the
    forward is wrong; of several, the one that explains the most. Then come the remarks, the first
    that holds of all wrong results; last what explains every wrong result, though others are right:
    the slip of one path among several. Small cases are looked at first, and of large ones not all.
    """
    unit = 1 / precision.exact_integers
    results = [(index, name) for index, trial in enumerate(trials) for name in trial.got]
    results.sort(key=lambda result: trials[result[0]].case.size)
    wrong = [(index, name) for index, name in results if name in trials[index].wrong]
    right = [(index, name) for index, name in results if name not in trials[index].wrong]
    valued = [(index, name) for index, name in wrong if trials[index].got[name] is not None]
    if 2 * len(valued) > len(wrong):  # what raises now and then besides is another matter
        wrong = valued
    kinds = {name for _, name in wrong}
    of_kinds = [result for result in right if result[1] in kinds]

    some = _within(wrong, trials, WRONG)
    limits = _limits(trials, some)
    slips = [*hypotheses(trials[0].case.module), *limits]
    theories = [_Theory(hypothesis, trials, unit) for hypothesis in slips]
    if valued:
        fitting = [theory for theory in theories if _holds(theory, some)]
        fitting = [theory for theory in fitting if _explained(theory, some, trials) >= EXPLAINED]
    else:
        fitting = [theory for theory in theories if _foretold(theory, trials)]
    for others in (right, of_kinds):
        known = _within(others, trials, RIGHT)
        agreeing = [theory for theory in fitting if not _contradicted(theory, known)]
        if agreeing:
            best = max(agreeing, key=lambda theory: sum(map(bool, map(theory, some))))
            return Diagnosis(best.name, {})
    noted: list[Explanation] = list(remarks(trials, examine, precision))
    for remark in noted:
        if _holds(remark, wrong[:REMARKED]):
            return Diagnosis(remark.name, {})
    known = _within(of_kinds, trials, ALONE)
    moved = [shift for shift in shifts(trials, unit) if _holds(shift, wrong[:REMARKED])]
    said: list[Explanation] = [shift for shift in moved if not _contradicted(shift, known)]
    failing = {index for index, _ in wrong}
    if len(failing) >= SEVERAL:
        beside = _within([result for result in right if result[0] in failing], trials, RIGHT)
        elsewhere: list[Explanation] = [*fitting, *moved]
        said += [one for one in elsewhere if not _contradicted(one, beside)]
    if said:
        return Diagnosis(said[0].name, {})
    return Diagnosis(None, _one_by_one(wrong, of_kinds, theories, noted, trials))


def _within(results: Sequence[Result], trials: Sequence[Trial], most: int) -> list[Result]:
    # The smallest, until they have so many numbers together; one of each kind at least.
    chosen: list[Result] = []
    seen: set[str] = set()
    total = 0
    for index, name in results:
        total += trials[index].case.size
        if total <= most or name not in seen:
            chosen.append((index, name))
            seen.add(name)
    return chosen


def _holds(explanation: Explanation, wrong: Iterable[Result]) -> bool:
    # No wrong result is left unexplained, and one at least is explained.
    said = False
    for result in wrong:
        verdict = explanation(result)
        if verdict is False:
            return False
        said = said or verdict is True
    return said


def _explained(explanation: Explanation, wrong: Iterable[Result], trials: Sequence[Trial]) -> float:
    # In what share of the trials with wrong values one of those is explained.
    said: dict[int, bool] = {}
    for index, name in wrong:
        if trials[index].got[name] is not None:
            said[index] = said.get(index, False) or explanation((index, name)) is True
    return sum(said.values()) / max(len(said), 1)


def _foretold(theory: "_Theory", trials: Sequence[Trial]) -> bool:
    # Whether the calls that give no values, several of them, are those that the slip makes
    # impossible.
    failing = [index for index, trial in enumerate(trials) if trial.wrong]
    others = (index for index, trial in enumerate(trials) if not trial.wrong)
    return (
        len(failing) >= SEVERAL
        and all(theory.of(index) is None for index in failing)
        and all(theory.of(index) is not None for index in others)
    )


def _contradicted(explanation: Explanation, right: Iterable[Result]) -> bool:
    return any(explanation(result) is False for result in right)


def _one_by_one(
    wrong: Sequence[Result],
    of_kinds: Sequence[Result],
    theories: Sequence[Explanation],
    said: Sequence[Explanation],
    trials: Sequence[Trial],
) -> dict[Result, str]:
    # For each wrong result a theory that explains it and contradicts no right one of its kind, or
    # else a remark; those that were found are tried on all others.
    known = {name: [r for r in of_kinds if r[1] == name] for _, name in wrong}
    found: list[Explanation] = []
    looked = 0
    single: dict[Result, str] = {}
    numbers = [(index, name) for index, name in wrong if trials[index].got[name] is not None]
    for result in _within(numbers, trials, WRONG):
        few = _within(known[result[1]], trials, ALONE)
        explained = [e for e in found if e(result)]
        if not explained and looked < REMARKED:
            new = chain(
                (
                    theory
                    for theory in theories[: len(theories) * (looked < SINGLE)]
                    if theory(result) and not _contradicted(theory, few)
                ),
                (remark for remark in said if remark(result)),
            )
            explained = list(islice(new, 1))
            looked += not explained
            found += explained
        if explained:
            single[result] = explained[0].name
    return single


class _Theory:
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
        index, name = result
        trial, outcome = self.trials[index], self.of(index) or {}
        expected, got, allowed = outcome.get(name), trial.got[name], trial.allowed
        if expected is None:
            return None
        if expected is trial.case.truth.get(name):  # what most slips leave of most results
            return name not in trial.wrong
        if got is None or not agree(got, expected, allowed[name], self.unit):
            return False
        return not (name in trial.wrong and trial.allows(name, expected))


def _limits(trials: Sequence[Trial], wrong: Sequence[Result]) -> Iterator[Hypothesis]:
    # What is too small or too large all has the same value, if results were clamped.
    ends: dict[bool, set[float]] = {False: set(), True: set()}
    for index, name in wrong:
        trial = trials[index]
        got = trial.came(name)
        if name != "y" or got is None:
            continue
        off, below = trial.off(name, got), got < trial.case.truth[name]
        for above in (False, True):
            ends[above] |= set(got[off & (below == above)].tolist()[:64])
    if max(map(len, ends.values())) == 1:
        low, high = (next(iter(ends[above]), infinite) for above, infinite in ENDS)
        if low < high:
            yield clamped(low, high)


ENDS = ((False, -np.inf), (True, np.inf))
