"""Few cases in which every combination of two settings, or three, occurs: covering arrays.

A factor is a setting with its levels (strides: 1, 2, 3). An array of strength t is a list of rows,
one level for each factor, in which any t levels of any t factors stand together in some row.
Nearly all faults seen in the field need no more than two or three settings at once. Rules say which
levels cannot meet (a kernel larger than its image, without zeros around it), and a budget keeps
rows cheap: the sum over a row of the levels' weights is at most that.

Rows are made one at a time: the row begins with a combination that no row has yet, and takes factor
by factor the level that adds most of them.

References
----------
Cohen, Dalal, Fredman and Patton, "The AETG System: An Approach to Testing Based on Combinatorial
Design", 1997 (the greedy rows).
Kuhn, Wallace and Gallo, "Software Fault Interactions and Implications for Software Testing", 2004.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from convinsights._arguments import Array

__all__ = ["Covering", "Factor", "Levels", "Rule"]

# A row: one level of each factor.
Levels: TypeAlias = Mapping[str, Any]
Combination: TypeAlias = tuple[tuple[str, Any], ...]

# Orders of the factors that are tried for a row before rules are believed to leave no way.
ORDERS = 200


class Factor(NamedTuple):
    """A setting, its levels from the simplest on, and what each adds to the cost of a row."""

    name: str
    levels: tuple[Any, ...]
    weights: tuple[float, ...] = ()


class Rule(NamedTuple):
    """Levels of some factors that can meet, `allowed(*levels)`, and why the others cannot."""

    factors: tuple[str, ...]
    allowed: Callable[..., bool]
    why: str


class Covering:
    """The covering array of some factors under some rules."""

    def __init__(
        self, factors: Sequence[Factor], rules: Sequence[Rule] = (), budget: float = np.inf
    ) -> None:
        self.factors, self.budget = tuple(factors), budget
        self.counts = [len(factor.levels) for factor in factors]
        self.starts = [0, *itertools.accumulate(self.counts)]
        self.weights = [np.array(f.weights or (0.0,) * len(f.levels)) for f in factors]
        place = {factor.name: i for i, factor in enumerate(factors)}
        self.rules = []
        for rule in rules:
            which = tuple(place[name] for name in rule.factors)
            levels = [self.factors[i].levels for i in which]
            allowed = np.array([bool(rule.allowed(*some)) for some in itertools.product(*levels)])
            self.rules.append((which, allowed.reshape([len(some) for some in levels]), rule.why))
        self._known: dict[tuple[int, int, tuple[int | None, ...]], Array] = {}

    def impossible(self, strength: int) -> dict[Combination, str]:
        """Return the combinations that the rules forbid, with the reason of each."""
        found = {}
        for which in itertools.combinations(range(len(self.factors)), strength):
            for levels in np.ndindex(*(self.counts[i] for i in which)):
                why = self._forbidden(dict(zip(which, levels, strict=True)))
                if why is not None:
                    found[self._named(which, levels)] = why
        return found

    def rows(self, strength: int, rng: np.random.Generator) -> list[Levels]:
        """Return rows in which every possible combination of `strength` factors meets."""
        missing = self._all(strength)
        rows = []
        seeds: list[list[int]] = np.argwhere(missing).tolist()
        rng.shuffle(seeds)
        for seed in seeds:
            if not missing[tuple(seed)]:
                continue
            start = dict(map(self._split, seed))
            tries = (self._filled(start, missing, strength, rng) for _ in range(ORDERS))
            row = next((row for row in tries if row is not None), None)
            self._strike(start if row is None else row, missing, strength)
            if row is not None:
                rows.append(self._row(row))
        return rows

    # -- combinations, as indices of levels counted through all factors ------------------------

    def _split(self, index: int) -> tuple[int, int]:
        factor = int(np.searchsorted(self.starts, index, side="right")) - 1
        return factor, index - self.starts[factor]

    def _all(self, strength: int) -> Array:
        # missing[i, j, …], once for each order of its axes
        missing = np.zeros((self.starts[-1],) * strength, bool)
        for which in itertools.combinations(range(len(self.factors)), strength):
            possible = self._possible(which)
            for order in itertools.permutations(range(strength)):
                box = tuple(slice(self.starts[which[i]], self.starts[which[i] + 1]) for i in order)
                missing[box] = possible.transpose(order)
        return missing

    def _possible(self, which: tuple[int, ...]) -> Array:
        shape = [self.counts[i] for i in which]
        possible = np.ones(shape, bool)
        for factors, allowed, _ in self.rules:
            shared = [i for i in factors if i in which]
            others = tuple(axis for axis, i in enumerate(factors) if i not in which)
            part = np.asarray(allowed.any(axis=others))
            order = sorted(range(len(shared)), key=lambda axis: which.index(shared[axis]))
            sizes = [self.counts[i] if i in shared else 1 for i in which]
            possible &= part.transpose(order).reshape(sizes)
        costs = self.least - sum(self._least_of[i] for i in which)
        total = sum(np.ix_(*(self.weights[i] for i in which)), start=np.asarray(costs))
        return possible & (total <= self.budget)

    # -- one row, as {factor: level} -------------------------------------------------------------

    @cached_property
    def _least_of(self) -> list[float]:
        return [float(weights.min()) for weights in self.weights]

    @property
    def least(self) -> float:
        """The weight of the cheapest row."""
        return sum(self._least_of)

    def _filled(
        self, start: dict[int, int], missing: Array, strength: int, rng: np.random.Generator
    ) -> dict[int, int] | None:
        row = dict(start)
        cost = self.least + sum(self._extra[i][level] for i, level in row.items())
        for factor in rng.permutation(len(self.factors)).tolist():
            if factor in row:
                continue
            # The levels that leave every rule a way, and the budget enough for the rest
            fitting = cost + self._extra[factor] <= self.budget
            for number in self._rules_of[factor]:
                levels = tuple([row.get(i) for i in self.rules[number][0]])
                fitting &= self._left(number, factor, levels)
            if not fitting.any():
                return None
            gains = self._gains(factor, row, missing, strength)
            gains = np.where(fitting, gains + rng.random(len(gains)), -1)
            row[factor] = int(gains.argmax())
            cost += self._extra[factor][row[factor]]
        return row

    @cached_property
    def _extra(self) -> list[Array]:
        # What every level costs more than the cheapest of its factor
        return [weights - weights.min() for weights in self.weights]

    @cached_property
    def _rules_of(self) -> list[list[int]]:
        # The numbers of the rules that a factor stands in
        numbers = range(len(self.rules))
        return [[n for n in numbers if i in self.rules[n][0]] for i in range(len(self.factors))]

    def _left(self, number: int, factor: int, levels: tuple[int | None, ...]) -> Array:
        # The levels of a factor with which a rule has a way, beside those chosen of other factors
        known = self._known.get((number, factor, levels))
        if known is None:
            factors, allowed, _ = self.rules[number]
            part = allowed[tuple(slice(None) if k is None else k for k in levels)]
            left = [i for i, k in zip(factors, levels, strict=True) if k is None]
            axes = tuple(axis for axis, i in enumerate(left) if i != factor)
            known = self._known[number, factor, levels] = np.asarray(part.any(axis=axes))
        return known

    def _gains(self, factor: int, row: Mapping[int, int], missing: Array, strength: int) -> Array:
        # How many new combinations each level of a factor makes with those the row has.
        part = missing[self.starts[factor] : self.starts[factor + 1]]
        have = np.array([self.starts[i] + level for i, level in row.items()])
        where: list[Any] = [have[places] for places in _choices(len(have), strength - 1)]
        gains: Array = part[(slice(None), *where)].sum(axis=1) if where else np.zeros(len(part))
        return gains

    def _strike(self, row: Mapping[int, int], missing: Array, strength: int) -> None:
        have = [self.starts[i] + level for i, level in row.items()]
        where = np.array(list(itertools.combinations(have, strength))).T
        for order in itertools.permutations(where):
            missing[order] = False

    def _forbidden(self, levels: Mapping[int, int]) -> str | None:
        for factors, allowed, why in self.rules:
            if not allowed[tuple(levels.get(i, slice(None)) for i in factors)].any():
                return why
        extra = sum(self._extra[i][level] for i, level in levels.items())
        return "too large" if self.least + extra > self.budget else None

    def _named(self, which: Sequence[int], levels: Sequence[int]) -> Combination:
        factors = [self.factors[i] for i in which]
        return tuple((f.name, f.levels[level]) for f, level in zip(factors, levels, strict=True))

    def _row(self, row: Mapping[int, int]) -> Levels:
        return {f.name: f.levels[row[i]] for i, f in enumerate(self.factors)}


@lru_cache
def _choices(count: int, size: int) -> tuple[Array, ...]:
    # All ways to choose so many of a count: the first of each, the second of each, …
    chosen = list(itertools.combinations(range(count), size))
    return tuple(np.array(places) for places in zip(*chosen, strict=True))
