"""When a kernel fails: what the failing cases share and the others do not.

Every case has features: its channels, sizes, strides, how its arrays lie in memory, and what
follows from those. A clause says one thing of one feature ("in_channels >= 8"); a condition is a
clause, or two or three that hold together, or several of which one at least holds in each failing
case, with or without one more that holds in all of them. It must hold in every failing case and in
no other; of all that do, the simplest is told.

Among many clauses some fit few failures by chance. There are C(n, f) ways for f of n cases to fail.
Of K clauses that could be said, about K^c / c! conditions of c can be made: one is believed only if
there are far more ways to fail than conditions.

References
----------
Blumer, Ehrenfeucht, Haussler and Warmuth, "Occam's Razor", 1987.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from convinsights.verify._cases import Case
from convinsights.verify._clauses import Condition
from convinsights.verify._features import features, tells
from convinsights.verify._table import Table
from convinsights.verify._thresholds import Retry, further, sharpened
from convinsights.verify._words import EFFECTIVE

__all__ = ["condition"]

# By how many bits the ways to fail must outnumber the conditions.
MARGIN = 2.0
# How many conditions are tried again; how often cases that pass are tried with other numbers.
TRIED, ROUNDS = 12, 2


def condition(
    cases: Sequence[Case],
    failed: Sequence[bool],
    retry: Retry | None = None,
    again: Callable[[Case], bool] | None = None,
) -> str | None:
    """Say what the failing cases share and the others do not, or None where nothing holds.

    `again` tells of a case that did not fail whether it does with other numbers. That there are no
    images is told outright: so few cases have none that they would never be enough to believe it.
    """
    # A case counts if faults can show in it, or if it failed; a failing one without values only
    # where no other failing case tells.
    told = [tells(case) for case in cases]
    among = any(bad and ok for bad, ok in zip(failed, told, strict=True))
    shown = [i for i, ok in enumerate(told) if ok or (failed[i] and not (among and cases[i].empty))]
    wrong = np.array([bool(failed[i]) for i in shown])
    if not wrong.any() or wrong.all():
        return None
    if [len(case.x) == 0 for case in cases] == [bool(bad) for bad in failed]:
        return "batch == 0"
    if retry is not None:
        retry = _of_settings(retry)
    rows = [features(cases[i]) for i in shown]
    table = Table(rows, wrong)
    for _ in range(ROUNDS if again is not None else 0):
        hidden = [i for i in table.exceptions() if again(cases[shown[i]])]  # type: ignore[misc]
        if not hidden:
            break
        wrong[hidden] = True
        table = Table(rows, wrong)
    bits = _ways(len(wrong), int(wrong.sum()))
    found = list(table.conjunctions())
    if not found or len(found[0].whole) > 1:
        found = sorted([*found, *table.alternatives()], key=table.cost)
    believed = [c for c in found if bits >= table.bits(c) + MARGIN]
    for c in believed[:TRIED]:
        said = c if c.parts else _confirmed(c, table, retry)
        if said is not None:
            return str(said)
    return None if retry is None or believed else _after_trying(found[:TRIED], table, bits, retry)


def _of_settings(retry: Retry) -> Retry:
    # To change an effective setting, change the setting.
    return lambda feature, value: retry(feature.removeprefix(EFFECTIVE), value)


def _ways(n: int, f: int) -> float:
    # log2 of the number of ways for f of n to fail
    return (math.lgamma(n + 1) - math.lgamma(f + 1) - math.lgamma(n - f + 1)) / math.log(2)


def _confirmed(found: Condition, table: Table, retry: Retry | None) -> Condition | None:
    # Every clause with the threshold that further cases confirm; None if they refute one.
    said = []
    for clause in found.whole:
        others = [other for other in found.whole if other is not clause]
        exact = sharpened(table, clause, others, retry)
        if exact is None:
            return None
        said.append(exact)
    return Condition(tuple(said))


def _after_trying(
    found: Sequence[Condition], table: Table, bits: float, retry: Retry
) -> str | None:
    # Too few failed to believe it, unless further cases fail that it foretells: each new one that
    # fails is worth log2(n / f).
    worth = math.log2(len(table.wrong) / table.wrong.sum())
    for one in found:
        exact = None if one.parts else _confirmed(one, table, retry)
        if exact is None:
            continue
        answers = [retry(c.feature, value) for c in exact.whole for value in further(table, c)]
        gained = worth * sum(answer is True for answer in answers)
        if False not in answers and bits + gained >= table.bits(exact) + MARGIN:
            return str(exact)
    return None
