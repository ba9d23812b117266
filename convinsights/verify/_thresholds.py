"""Where exactly a threshold lies: further cases confirm it, or refute it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from convinsights.verify._clauses import OPERATORS, Clause
from convinsights.verify._table import Table
from convinsights.verify._words import Feature

__all__ = ["Retry", "further", "sharpened"]

# retry(feature, value): whether a failing case still fails with that feature set so; None where no
# case can have it.
Retry: TypeAlias = Callable[[str, Feature], "bool | None"]

# With how many values of passing cases a clause is tried again that has no threshold.
REFUTING = 4
# No powers of 2: multiples of 2, of 4 and of 8, and odd numbers. Few cases have them.
NO_POWERS = (6, 12, 24, 35, 56, 77)


def sharpened(
    table: Table, clause: Clause, others: Sequence[Clause], retry: Retry | None
) -> Clause | None:
    """Return the clause with its exact or else its roundest threshold; None if it is refuted.

    A threshold lies between the values of the failing cases and of the passing ones in which
    the other clauses hold.
    """
    near = np.all([~table.wrong, ~clause.holds, *(o.holds for o in others)], axis=0)
    column = [v for v, there in zip(table.columns[clause.feature], near, strict=True) if there]
    values: list[Any] = [v for v in column if v is not None]
    # "no power" and "no multiple" have no threshold. Numbers that no case had are tried instead:
    # they must fail where all that is said of this feature holds, and pass elsewhere. Only where a
    # limit (>=, <=) is missed nothing is foretold, for the limit is not exact yet.
    if retry is not None and clause.operator in ("no power", "no multiple"):
        same = [clause, *(other for other in others if other.feature == clause.feature)]
        for v in set(NO_POWERS).difference(table.columns[clause.feature]):
            missed = [c.operator for c in same if not OPERATORS[c.operator](v, c.value)]
            known = not {">=", "<="}.intersection(missed)
            if known and retry(clause.feature, v) is bool(missed):
                return None
    if not values:
        return clause
    if clause.operator not in ("<=", ">="):
        some = list(dict.fromkeys(values))[:REFUTING]
        refuted = retry is not None and any(retry(clause.feature, v) for v in some)
        return None if refuted else clause
    passes = max(values) if clause.operator == ">=" else min(values)
    exact = _threshold(clause, int(passes), retry)
    return None if exact is None else table.clause(clause.feature, clause.operator, exact)


def _threshold(clause: Clause, passes: int, retry: Retry | None) -> int | None:
    # Halve the way from the value that passes to the one that fails, as long as there is a case to
    # try: then the roundest on what is left of it. None if a failing case still fails with the
    # value that passes.
    fails = int(clause.value)  # type: ignore[arg-type]
    answer = None if retry is None else retry(clause.feature, passes)
    if answer:
        return None
    while retry is not None and answer is not None and abs(fails - passes) > 1:
        middle = (fails + passes) // 2
        answer = retry(clause.feature, middle)
        if answer:
            fails = middle
        elif answer is not None:
            passes = middle
    if answer is None and clause.operator == ">=":
        return _roundest(clause.feature, passes, fails)
    return fails


def further(table: Table, clause: Clause) -> list[Feature]:
    """Return values for which the clause holds too, that no failing case has had."""
    if clause.operator not in (">=", "<="):
        return []
    value = int(clause.value)  # type: ignore[arg-type]
    sign = 1 if clause.operator == ">=" else -1
    seen = {v for v, bad in zip(table.columns[clause.feature], table.wrong, strict=True) if bad}
    beyond: list[Feature] = [value + sign, value + 2 * sign, value + 5 * sign]
    return [v for v in beyond if v not in seen][:2]


def _roundest(feature: str, passes: int, fails: int) -> int:
    # The threshold t, passes < t <= fails: a power of 2, or else just above one, or what failed.
    power = 1 << (fails.bit_length() - 1)
    # A buffer of 2^k elements holds so many: what fails is more.
    if feature.endswith("size") and passes <= power < fails:
        return power + 1
    if passes < power:
        return power
    return power + 1 if passes == power and power > 1 else fails
