"""From wrong results to the slip behind them.

Theories are tried first, which say of every result what a slip would give; then remarks, which
speak of wrong results only; then displacements (`_shifts`).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from convinsights.verify._cases import Case
from convinsights.verify._explanations import (
    SEVERAL,
    Explanation,
    Remark,
    Result,
    Theory,
    contradicted,
    foretold,
    holds,
    share_explained,
    within,
)
from convinsights.verify._hypotheses import hypotheses
from convinsights.verify._precision import Precision
from convinsights.verify._remarks import remarks
from convinsights.verify._shifts import shifts
from convinsights.verify._slips import Hypothesis
from convinsights.verify._slips_values import clamped
from convinsights.verify._trials import Trial

__all__ = ["Diagnosis", "diagnose"]

# How many numbers of the cases of wrong results are gone through for each theory,
WRONG = 2_000_000
# … of right ones,
RIGHT = 1_000_000
# … and of right ones beside a result that is looked at alone, or for displacements.
ALONE = 100_000
# How many wrong results a remark or a displacement is tried on.
REMARKED = 24
# Where no slip explains everything, each wrong result is searched for one of its own: after so many
# searches in vain no theory is tried any more,
SINGLE = 4
# … and after so many no remark.
VAIN = 48
# In what share of the wrong trials a theory must explain a result; of what share of those looked at
# a guess must hold.
EXPLAINED = 0.5


class Diagnosis(NamedTuple):
    """The slip that explains every wrong result; failing that, one for each where there is one."""

    name: str | None
    single: dict[Result, str]


def diagnose(
    trials: Sequence[Trial], examine: Callable[[Case], Trial], precision: Precision
) -> Diagnosis:
    """Name the slip that explains all wrong results and contradicts no right one.

    What is looked for, in this order:

    1. a slip that gives every result of the candidate; or else all results of the kinds (y, dx, …)
       that were wrong somewhere, for a backward may be right though the forward is wrong. Of
       several, the one that explains the most;
    2. a remark that holds of all wrong results;
    3. the right results displaced;
    4. a slip, or a displacement, that explains every wrong result, though others are right: that of
       one path among several. Such a slip is preferred to a remark that is weak.

    Small cases are looked at first, and of large ones not all.
    """
    unit = max(precision.unit, precision.result.unit) or 1 / precision.exact_integers
    results = [(index, name) for index, trial in enumerate(trials) for name in trial.got]
    results.sort(key=lambda result: trials[result[0]].case.order)
    wrong = [(index, name) for index, name in results if name in trials[index].wrong]
    right = [(index, name) for index, name in results if name not in trials[index].wrong]
    valued = [(index, name) for index, name in wrong if trials[index].got[name] is not None]
    if 2 * len(valued) > len(wrong):  # what raises now and then besides is another matter
        wrong = valued
    kinds = {name for _, name in wrong}
    of_kinds = [result for result in right if result[1] in kinds]

    some = within(wrong, trials, WRONG)
    slips = [*hypotheses(trials[0].case.module), *_limits(trials, some)]
    theories = [Theory(hypothesis, trials, unit) for hypothesis in slips]
    if valued:
        whole = [theory for theory in theories if holds(theory, some)]
        fitting = [one for one in whole if share_explained(one, some, trials) >= EXPLAINED]
    else:
        # No failing call gave an array: it raised, perhaps where the library refuses the slip too.
        fitting = [theory for theory in theories if foretold(theory, trials)]
    for others in (right, of_kinds):
        known = within(others, trials, RIGHT)
        agreeing = [theory for theory in fitting if not contradicted(theory, known)]
        if agreeing:
            best = max(agreeing, key=lambda theory: sum(theory(r) is True for r in some))
            return Diagnosis(best.name, {})
    # No slip gives all results, right and wrong.
    failing = {index for index, _ in wrong}
    beside = within([result for result in right if result[0] in failing], trials, RIGHT)

    def elsewhere(explanations: Sequence[Explanation]) -> list[Explanation]:
        # Made in some cases, and not in others: what is right there does not count.
        tried = explanations if len(failing) >= SEVERAL else ()
        return [one for one in tried if not contradicted(one, beside)]

    of_paths = elsewhere(fitting)
    noted = list(remarks(trials, examine, precision))
    for remark in noted:
        if holds(remark, wrong[:REMARKED]):
            return Diagnosis(of_paths[0].name if remark.weak and of_paths else remark.name, {})
    # Displaced results; and slips that are made in some cases, or displace some, and not in others.
    known = within(of_kinds, trials, ALONE)
    moved = [shift for shift in shifts(trials, unit) if holds(shift, wrong[:REMARKED])]
    said: list[Explanation] = [shift for shift in moved if not contradicted(shift, known)]
    said += [*of_paths, *elsewhere(moved)]
    if said:
        return Diagnosis(said[0].name, {})
    return Diagnosis(None, _one_by_one(valued, of_kinds, theories, noted, trials))


def _one_by_one(
    wrong: Sequence[Result],
    of_kinds: Sequence[Result],
    theories: Sequence[Explanation],
    said: Sequence[Remark],
    trials: Sequence[Trial],
) -> dict[Result, str]:
    # For each wrong result that has values: a theory that explains it and contradicts no right one
    # of its kind, or else a remark. Those that were found are tried first on what follows.
    known = {name: [r for r in of_kinds if r[1] == name] for _, name in wrong}
    found: list[Explanation] = []
    looked = 0
    sample = wrong[:REMARKED]
    said = [
        one
        for one in said
        if not one.guess or sum(one(r) is True for r in sample) >= EXPLAINED * len(sample)
    ]
    single: dict[Result, str] = {}
    for result in within(wrong, trials, WRONG):
        beside = within(known[result[1]], trials, ALONE)
        explained = [e for e in found if e(result)]
        if not explained and looked < VAIN:
            new = chain(
                (
                    theory
                    for theory in (theories if looked < SINGLE else ())
                    if theory(result)
                    and not contradicted(theory, beside)
                    and not contradicted(theory, _gradients_beside(result, trials))
                ),
                (remark for remark in said if remark(result)),
            )
            explained = list(islice(new, 1))
            looked += not explained
            found += explained
        if explained:
            single[result] = explained[0].name
    return single


def _gradients_beside(result: Result, trials: Sequence[Trial]) -> list[Result]:
    # Of a bias' gradient, which hardly any slip of windows changes: the other ones of its trial.
    index, name = result
    if name != "dbias":
        return []
    return [(index, n) for n in trials[index].got if n not in ("y", name)]


def _limits(trials: Sequence[Trial], wrong: Sequence[Result]) -> Iterator[Hypothesis]:
    # What is too small or too large all has the same value, if results were clamped.
    low: set[float] = set()
    high: set[float] = set()
    for index, name in wrong:
        trial = trials[index]
        got = trial.came(name)
        if name == "y" and got is not None:
            off, truth = trial.off(name, got), trial.case.truth[name]
            low |= set(got[off & (got > truth)].tolist()[:64])
            high |= set(got[off & (got < truth)].tolist()[:64])
    if max(len(low), len(high)) == 1:
        least, most = min(low, default=-np.inf), max(high, default=np.inf)
        if least < most:
            yield clamped(least, most)
