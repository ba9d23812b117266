"""Conditions that hold in all failing cases and in no other, out of a table of features."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import combinations
from operator import or_
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._clauses import OPERATORS, Clause, Condition
from convinsights.verify._words import ODD, Feature, cost_of, is_derived, is_setting

__all__ = ["Table"]

# How many clauses are combined by three; four times as many by two, a quarter in alternatives.
CANDIDATES = 64
# In how many passing cases, at most, a condition of the failing ones may hold too: these are tried
# with other numbers, for there the fault may not have shown by chance.
EXCEPTIONS = 8
# How many such conditions are looked at.
NEAR = 4
# What counts are tried to be multiples of.
MODULI = (2, 4, 8, 16, 32)
# And what sums are cut into, besides.
CHUNKS = (64, 256, 1024)


class Table:
    """The features of all cases, and which of them failed."""

    def __init__(self, rows: Sequence[dict[str, Feature]], wrong: Array) -> None:
        self.wrong = wrong
        self.names = list(dict.fromkeys(name for row in rows for name in row))
        self.columns = {name: [row.get(name) for row in rows] for name in self.names}
        self.numbers = {name: _numbers(column) for name, column in self.columns.items()}
        self.places = {name: _places(column) for name, column in self.columns.items()}
        self.clauses: dict[tuple[str, str, Feature], Clause] = {}
        different = sum(len(values) - 1 for values, _ in self.places.values())
        # How many clauses could be said (the K of `_when`, which bounds what is believed): a limit
        # between any two values, from either side.
        self.count = 2 * max(different, 1)
        needed = (clause for clause in self._needed() if clause.holds[wrong].all())
        self.needed = sorted(needed, key=lambda clause: clause.cost)[: 4 * CANDIDATES]

    def bits(self, condition: Condition) -> float:
        """Return log2 of how many conditions of so many clauses there are."""
        clauses = len(condition.whole) + len(condition.parts)
        return clauses * math.log2(self.count) - math.lgamma(clauses + 1) / math.log(2)

    def cost(self, condition: Condition) -> float:
        """Return how far-fetched a condition is: its length, its clauses' own, odd alternatives."""
        far = sum(2 for clause in condition.parts if not is_setting(clause.feature))
        return far + sum(clause.cost + 1 for clause in (*condition.whole, *condition.parts))

    def conjunctions(self) -> Iterator[Condition]:
        """Yield those of fewest clauses, three at most, that hold in the failing cases alone."""
        kept = [clause for clause in self.needed if not clause.holds.all()]
        # also[i, p]: 1 where clause i holds in passing case p. So inner products count the passing
        # cases in which two clauses hold, or three.
        passing = np.flatnonzero(~self.wrong)
        also = np.array([c.holds[passing] for c in kept], np.float32)
        also = also.reshape(len(kept), len(passing))
        found: list[tuple[int, ...]] = [(int(i),) for i in np.flatnonzero(~also.any(axis=1))]
        # A far-fetched single one does not keep pairs out: where 3, 5 and 7 fail, "no power of 2"
        # holds, but it may be "odd and > 1"; where only 37 fails, it may be "> 32" and another.
        if all(kept[i].operator == "no power" or kept[i].cost > ODD for (i,) in found):
            pairs = np.argwhere(np.triu(also @ also.T == 0, 1))
            found += [(int(i), int(j)) for i, j in pairs]
        if not found:
            also = also[:CANDIDATES]
            for i, j in combinations(range(len(also)), 2):
                alone = (also[j + 1 :] @ (also[i] * also[j])) == 0
                found += [(i, j, int(k)) for k in np.flatnonzero(alone) + j + 1]
        conditions = [Condition(tuple(sorted((kept[i] for i in f), key=self.place))) for f in found]
        yield from sorted(conditions, key=self.cost)

    def exceptions(self) -> list[int]:
        """Return the passing cases in which a plain condition of the failing ones holds too."""
        kept = [clause for clause in self.needed if not clause.holds.all()][:CANDIDATES]
        found = []
        for some in (*((c,) for c in kept), *combinations(kept, 2)):
            holds = np.logical_and.reduce([clause.holds for clause in some])
            others = np.flatnonzero(holds & ~self.wrong)
            if 0 < len(others) <= min(EXCEPTIONS, self.wrong.sum() / 3):
                found.append((self.cost(Condition(some)) + len(others) / 4, others.tolist()))
        nearest = sorted(found, key=lambda one: one[0])[:NEAR]
        return list(dict.fromkeys(i for _, others in nearest for i in others))

    def place(self, clause: Clause) -> int:
        """Return where a clause stands in a sentence."""
        return self.names.index(clause.feature)

    def alternatives(self) -> Iterator[Condition]:
        """Yield A and (B or C or D), each part with failing cases of its own.

        A holds in every failing case; B, C and D hold in no passing one where A does.
        """
        for whole in ((), *((clause,) for clause in self.needed[: CANDIDATES // 4])):
            inside = whole[0].holds if whole else np.ones(len(self.wrong), bool)
            for parts in self._parts(inside):
                yield Condition(whole, tuple(sorted(parts, key=self.place)))

    def _parts(self, inside: Array) -> Iterator[tuple[Clause, ...]]:
        # The fewest clauses of which one at least holds in each failing case, and none in another.
        passing = inside & ~self.wrong
        # One that holds in every failing case needs no other: it is no alternative.
        clauses = [
            c
            for c in self._enough(passing)
            if not (c.holds & passing).any() and not c.holds[self.wrong].all()
        ]
        clauses = sorted(clauses, key=lambda c: self.cost(Condition((), (c,))))[: CANDIDATES // 4]
        # The failing cases in which each holds, as the bits of a number.
        covers = [sum(1 << int(i) for i in np.flatnonzero(c.holds[self.wrong])) for c in clauses]
        every = (1 << int(self.wrong.sum())) - 1
        if reduce(or_, covers, 0) != every:  # not all of them together
            return
        for count in (2, 3, 4):
            several = [
                indices
                for indices in combinations(range(len(clauses)), count)
                if reduce(or_, (covers[i] for i in indices)) == every
            ]
            if count > 2:  # of more, many fit by chance
                several = [s for s in several if all(is_setting(clauses[i].feature) for i in s)]
            if several:
                yield from (tuple(clauses[i] for i in indices) for indices in several)
                return

    def _different(self, name: str) -> list[Feature]:
        return sorted({value for value in self.columns[name] if value is not None}, key=repr)

    def clause(self, name: str, operator: str, value: Feature) -> Clause:
        """Return a clause, made once: it is looked at beside many others."""
        key = name, operator, value
        if key not in self.clauses:
            different, places = self.places[name]
            holds = np.array([v is not None and OPERATORS[operator](v, value) for v in different])
            cost = cost_of(name, operator, value)
            self.clauses[key] = Clause(name, operator, value, holds[places], cost)
        return self.clauses[key]

    def _needed(self) -> Iterator[Clause]:
        # What may hold in every failing case.
        for name in self.names:
            values = [v for v, bad in zip(self.columns[name], self.wrong, strict=True) if bad]
            failing: list[Any] = [value for value in values if value is not None]
            if len(failing) < len(values):
                continue
            if self.numbers[name] is not None:
                yield self.clause(name, ">=", min(failing))
                yield self.clause(name, "<=", max(failing))
                for m in MODULI:
                    yield self.clause(name, "multiple", m)
                    yield self.clause(name, "no multiple", m)
                for m in CHUNKS if is_derived(name) else ():
                    yield self.clause(name, "no multiple", m)
                yield self.clause(name, "power", 2)
                yield self.clause(name, "no power", 2)
            if len(set(failing)) == 1 and not is_derived(name):
                yield self.clause(name, "==", failing[0])
            for value in self._different(name):
                if isinstance(value, str) and name != "values":
                    yield self.clause(name, "!=", value)

    def _enough(self, passing: Array) -> Iterator[Clause]:
        # What may hold in failing cases and in none of those that are passing.
        for name in self.names:
            numbers = self.numbers[name]
            if numbers is None:
                for value in self._different(name):
                    yield self.clause(name, "==", value)
                continue
            known = numbers[passing & ~np.isnan(numbers)]
            failing = numbers[self.wrong]
            above = failing[failing > known.max(initial=-np.inf)]
            below = failing[failing < known.min(initial=np.inf)]
            if len(above):
                yield self.clause(name, ">=", int(above.min()))
            if len(below):
                yield self.clause(name, "<=", int(below.max()))
            for m in MODULI:
                yield self.clause(name, "no multiple", m)


def _places(column: Sequence[Feature | None]) -> tuple[list[Feature | None], Array]:
    # The values that differ, and which of them each case has.
    different = {value: place for place, value in enumerate(dict.fromkeys(column))}
    return [*different], np.array([different[value] for value in column])


def _numbers(column: Sequence[Feature | None]) -> Array | None:
    # NaN where a case has no such feature; None for words.
    if any(isinstance(value, (str, tuple)) for value in column):
        return None
    return np.array([np.nan if value is None else value for value in column], float)
