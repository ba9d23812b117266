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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from convinsights._arguments import Array

__all__ = ["Covering", "Factor", "Levels", "Rule"]

# A row: one level of each factor.
Levels: TypeAlias = Mapping[str, Any]
Combination: TypeAlias = tuple[tuple[str, Any], ...]

# Orders of the factors that are tried for a row: so many by chance; then those come first that
# stand in the most rules; then rules are believed to leave no way.
BY_CHANCE, ORDERS = 10, 30
# In how many parts the combinations are gone through.
PARTS = 16


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
        self._known: dict[tuple[int, int, tuple[int | None, ...]], int] = {}
        self._seen: dict[tuple[tuple[int, ...], tuple[int, ...]], Array] = {}

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
        possible = self._all(strength)
        seeds = np.argwhere(possible)
        rng.shuffle(seeds)
        missing = list(map(_as_bits, possible))
        rows = []
        for level, others in seeds.tolist():
            if not missing[level] >> others & 1:
                continue
            start = dict(map(self._split, (level, *self._apart(others, strength - 1))))
            tries = (
                self._filled(start, missing, strength, self._order(number < BY_CHANCE, rng), rng)
                for number in range(ORDERS)
            )
            row = next((row for row in tries if row is not None), None)
            self._strike(start if row is None else row, missing, strength)
            if row is not None:
                rows.append(self._row(row))
        return rows

    # -- combinations, as indices of levels counted through all factors ------------------------

    def _split(self, index: int) -> tuple[int, int]:
        factor = int(np.searchsorted(self.starts, index, side="right")) - 1
        return factor, index - self.starts[factor]

    def _apart(self, index: int, count: int) -> list[int]:
        # The levels that stand together in one index: its digits in the base of all levels
        return [index // self.starts[-1] ** place % self.starts[-1] for place in range(count)]

    def _all(self, strength: int) -> Array:
        # possible[i, others], once for each order of the levels
        every = np.zeros((self.starts[-1],) * strength, bool)
        for which in itertools.combinations(range(len(self.factors)), strength):
            possible = self._possible(which)
            for order in itertools.permutations(range(strength)):
                box = tuple(slice(self.starts[which[i]], self.starts[which[i] + 1]) for i in order)
                every[box] = possible.transpose(order)
        return every.reshape(self.starts[-1], -1)

    def _possible(self, which: tuple[int, ...]) -> Array:
        possible = np.ones([self.counts[i] for i in which], bool)
        for factors, allowed in self._joined:
            shared = tuple(i for i in factors if i in which)
            possible &= self._along(self._projected(factors, allowed, shared), shared, which)
        costs = self.least - sum(self._least_of[i] for i in which)
        total = sum(np.ix_(*(self.weights[i] for i in which)), start=np.asarray(costs))
        return possible & (total <= self.budget)

    @cached_property
    def _joined(self) -> list[tuple[tuple[int, ...], Array]]:
        # Rules that share several factors, and the budget, forbid together what none does alone.
        scopes: list[tuple[int, ...]] = []
        for factors, _, _ in sorted(self.rules, key=lambda rule: -len(rule[0])):
            near = next((one for one in scopes if len({*one} & {*factors}) > 1), ())
            scopes = [one for one in scopes if one != near]
            scopes.append(tuple(dict.fromkeys((*near, *factors))))
        return [(scope, self._allowed(scope)) for scope in scopes]

    def _allowed(self, scope: tuple[int, ...]) -> Array:
        extra = sum(np.ix_(*(self._extra[i] for i in scope)), start=np.asarray(self.least))
        allowed: Array = extra <= self.budget
        for factors, alone, _ in self.rules:
            if {*factors} <= {*scope}:
                allowed &= self._along(alone, factors, scope)
        return allowed

    def _projected(self, factors: tuple[int, ...], allowed: Array, left: tuple[int, ...]) -> Array:
        key = factors, left
        if key not in self._seen:
            axes = tuple(axis for axis, i in enumerate(factors) if i not in left)
            self._seen[key] = np.asarray(allowed.any(axis=axes))
        return self._seen[key]

    def _along(self, table: Array, factors: tuple[int, ...], scope: tuple[int, ...]) -> Array:
        # A table over some of the factors of a scope, to be broadcast over all of them
        order = sorted(range(len(factors)), key=lambda axis: scope.index(factors[axis]))
        return table.transpose(order).reshape([self.counts[i] * (i in factors) or 1 for i in scope])

    # -- one row, as {factor: level} -------------------------------------------------------------

    @cached_property
    def _least_of(self) -> list[float]:
        return [float(weights.min()) for weights in self.weights]

    @property
    def least(self) -> float:
        """The weight of the cheapest row."""
        return sum(self._least_of)

    def _order(self, by_chance: bool, rng: np.random.Generator) -> list[int]:
        order: list[int] = rng.permutation(len(self.factors)).tolist()
        return order if by_chance else sorted(order, key=lambda i: -len(self._rules_of[i]))

    def _filled(
        self,
        start: dict[int, int],
        missing: Sequence[int],
        strength: int,
        order: Sequence[int],
        rng: np.random.Generator,
    ) -> dict[int, int] | None:
        row = dict(start)
        cost = self.least + sum(self._extra[i][level] for i, level in row.items())
        # chosen[k]: every choice of k levels that the row has
        chosen = [1] + [0] * (strength - 1)
        for i, level in row.items():
            self._join(chosen, self.starts[i] + level)
        for factor in order:
            if factor in row:
                continue
            # The levels that leave every rule a way, and the budget enough for the rest
            fitting = sum(
                1 << level
                for level, extra in enumerate(self._extra[factor])
                if cost + extra <= self.budget
            )
            for number in self._rules_of[factor]:
                levels = tuple([row.get(i) for i in self.rules[number][0]])
                fitting &= self._left(number, factor, levels)
            if not fitting:
                return None
            # How many new combinations each makes with those the row has; between equals, chance
            first, chances = self.starts[factor], rng.random(self.counts[factor]).tolist()
            _, row[factor] = max(
                ((missing[first + level] & chosen[-1]).bit_count() + chance, level)
                for level, chance in enumerate(chances)
                if fitting >> level & 1
            )
            cost += self._extra[factor][row[factor]]
            self._join(chosen, first + row[factor])
        return row

    @cached_property
    def _extra(self) -> list[list[float]]:
        # What every level costs more than the cheapest of its factor
        return [(weights - weights.min()).tolist() for weights in self.weights]

    @cached_property
    def _rules_of(self) -> list[list[int]]:
        # The numbers of the rules that a factor stands in
        numbers = range(len(self.rules))
        return [[n for n in numbers if i in self.rules[n][0]] for i in range(len(self.factors))]

    def _left(self, number: int, factor: int, levels: tuple[int | None, ...]) -> int:
        # The levels of a factor with which a rule has a way, beside those chosen of other factors;
        # as bits
        known = self._known.get((number, factor, levels))
        if known is None:
            factors, allowed, _ = self.rules[number]
            part = allowed[tuple(slice(None) if k is None else k for k in levels)]
            left = [i for i, k in zip(factors, levels, strict=True) if k is None]
            axes = tuple(axis for axis, i in enumerate(left) if i != factor)
            known = self._known[number, factor, levels] = _as_bits(np.asarray(part.any(axis=axes)))
        return known

    def _join(self, chosen: list[int], level: int) -> None:
        # A choice of k levels has the new one, beside k - 1 others, or has it not.
        for k in range(len(chosen) - 1, 0, -1):
            chosen[k] |= chosen[k - 1] << level * self.starts[-1] ** (k - 1)

    def _strike(self, row: Mapping[int, int], missing: list[int], strength: int) -> None:
        have = [self.starts[i] + level for i, level in row.items()]
        others = 1  # in any order
        for place in range(strength - 1):
            shifts = [level * self.starts[-1] ** place for level in have]
            others = reduce(or_, [others << shift for shift in shifts])
        for level in have:
            missing[level] &= ~others

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


def _in_turn(seeds: Array, missing: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    # The combinations that are missing when their turn comes: of the later ones, hardly any
    for part in np.array_split(seeds, PARTS):
        marks = np.stack([_as_marks(bits, count) for bits in missing])
        for level, others in part[marks[tuple(part.T)]].tolist():
            if missing[level] >> others & 1:
                yield level, others


def _as_bits(marks: Array) -> int:
    # The number that has a bit 2^i for every mark i
    return int.from_bytes(np.packbits(marks, bitorder="little").tobytes(), "little")


def _as_marks(bits: int, count: int) -> Array:
    # And those of a number
    octets = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").astype(bool)
