"""Which levels of some factors can meet, and at what cost: tables of rules, and a budget.

A row costs the sum of its levels' weights. Rules that share two or more factors may together forbid
what neither forbids alone, so there are two looks. The quick one takes each rule by itself
(`forbidden`, `fitting`). The thorough one first merges rules that share factors into one table of
what its levels cost, infinite where forbidden (`_prices`), and takes each of those (`affordable`,
`possible`).
"""

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import add
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from convinsights._arguments import Array

__all__ = ["Factor", "Picked", "Rule", "Rules", "as_bits"]

# {factor: level}, both as indices: a row or a part of one.
Picked: TypeAlias = Mapping[int, int]
# What is chosen of the factors of a table, None where nothing is.
Chosen: TypeAlias = tuple[int | None, ...]


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


class Rules:
    """The rules, each as a table of what it allows."""

    def __init__(self, factors: Sequence[Factor], rules: Sequence[Rule], budget: float) -> None:
        self.counts = [len(factor.levels) for factor in factors]
        self.budget = min(budget, sys.float_info.max)  # what is forbidden costs infinitely much
        weights = [factor.weights or (0.0,) * len(factor.levels) for factor in factors]
        # The cost of the cheapest row, and what every level costs more than the cheapest of its
        # factor
        self.least = sum(map(min, weights))
        self.extra = [[weight - min(some) for weight in some] for some in weights]
        self._factors, self._rules = factors, rules
        # The rules of each factor, by number; then what was once worked out of the tables
        self._of = [[n for n, rule in enumerate(rules) if f.name in rule.factors] for f in factors]
        self._left: dict[tuple[int, int, Chosen], int] = {}
        self._cheapest_of: dict[tuple[int, Chosen, int | None], list[float]] = {}
        self._within_budget: dict[tuple[int, tuple[int, ...]], Array] = {}

    @cached_property
    def tables(self) -> list[tuple[tuple[int, ...], Array, str]]:
        """The factors of each rule, which of their levels it allows together, and why no others."""
        place = {factor.name: i for i, factor in enumerate(self._factors)}
        tables = []
        for rule in self._rules:
            which = tuple(place[name] for name in rule.factors)
            every = itertools.product(*(self._factors[i].levels for i in which))
            allowed = np.array([bool(rule.allowed(*levels)) for levels in every])
            tables.append((which, allowed.reshape([self.counts[i] for i in which]), rule.why))
        return tables

    def cost(self, row: Picked) -> float:
        """Return the least that a row with these levels costs."""
        return self.least + sum(self.extra[i][level] for i, level in row.items())

    def forbidden(self, row: Picked) -> str | None:
        """Return why no row has these levels together: the rule, or "too large".

        None if neither a rule by itself nor the budget forbids them.
        """
        for factors, allowed, why in self.tables:
            if not allowed[tuple(row.get(i, slice(None)) for i in factors)].any():
                return why
        return "too large" if self.cost(row) > self.budget else None

    def fitting(self, factor: int, row: Picked, cost: float) -> int:
        """Return the levels of a factor, as bits, that a row of this cost can take.

        Those with which each rule by itself can still be met, and the budget too, if all other
        factors take their cheapest.
        """
        bits = sum(
            1 << level
            for level, extra in enumerate(self.extra[factor])
            if cost + extra <= self.budget
        )
        for number in self._of[factor]:
            factors, allowed, _ = self.tables[number]
            levels = tuple([row.get(i) for i in factors])
            key = number, factor, levels
            if key not in self._left:
                self._left[key] = as_bits(
                    _projected(np.logical_or, allowed, factors, levels, factor)
                )
            bits &= self._left[key]
        return bits

    def affordable(self, factor: int, row: Picked) -> int:
        """Return the levels of a factor, as bits, with which the budget can pay for a whole row.

        Each merged table counts with the cheapest entry that the row's levels leave in it.
        """
        cost = self.least + sum(self.extra[i][k] for i, k in row.items() if not self._of[i])
        prices = [0.0] * self.counts[factor] if self._of[factor] else self.extra[factor]
        for number, (scope, _) in enumerate(self._prices):
            chosen = tuple([row.get(i) for i in scope])
            if factor in scope:
                prices = [*map(add, prices, self._cheapest(number, chosen, factor))]
            else:
                cost += self._cheapest(number, chosen)[0]
        return sum(1 << level for level, price in enumerate(prices) if cost + price <= self.budget)

    def _cheapest(self, number: int, chosen: Chosen, factor: int | None = None) -> list[float]:
        # By the level of a factor
        key = number, chosen, factor
        if key not in self._cheapest_of:
            scope, price = self._prices[number]
            self._cheapest_of[key] = _projected(np.minimum, price, scope, chosen, factor).tolist()
        return self._cheapest_of[key]

    def possible(self, which: tuple[int, ...]) -> Array:
        """Tell of every choice of levels of these factors whether it can be in a row.

        As far as each merged table, and the budget, tell.
        """
        possible = np.ones([self.counts[i] for i in which], bool)
        for number, (scope, price) in enumerate(self._prices):
            shared = tuple(i for i in scope if i in which)
            key = number, shared
            if key not in self._within_budget:
                others = tuple(axis for axis, i in enumerate(scope) if i not in shared)
                self._within_budget[key] = price.min(axis=others) <= self.budget - self.least
            possible &= self._along(self._within_budget[key], shared, which)
        extra = sum(np.ix_(*(self.extra[i] for i in which)), start=np.asarray(self.least))
        return possible & (extra <= self.budget)

    @cached_property
    def _prices(self) -> list[tuple[tuple[int, ...], Array]]:
        # One table for rules that share several factors. Each factor's cost is counted in one
        # table only.
        scopes: list[tuple[int, ...]] = []
        for factors, _, _ in sorted(self.tables, key=lambda table: -len(table[0])):
            near = next((one for one in scopes if len({*one} & {*factors}) > 1), ())
            scopes = [one for one in scopes if one != near]
            scopes.append(tuple(dict.fromkeys((*near, *factors))))
        counted: set[int] = set()
        prices = []
        for scope in scopes:
            own = ([x * (i not in counted) for x in self.extra[i]] for i in scope)
            price: Array = sum(np.ix_(*own), start=np.zeros(()))
            for factors, allowed, _ in self.tables:
                if {*factors} <= {*scope}:
                    price = np.where(self._along(allowed, factors, scope), price, np.inf)
            prices.append((scope, price))
            counted |= {*scope}
        return prices

    def _along(self, table: Array, factors: tuple[int, ...], scope: tuple[int, ...]) -> Array:
        # A table over some of the factors of a scope, to be broadcast over all of them
        order = sorted(range(len(factors)), key=lambda axis: scope.index(factors[axis]))
        return table.transpose(order).reshape([self.counts[i] * (i in factors) or 1 for i in scope])


def _projected(
    reduce: np.ufunc, table: Array, factors: tuple[int, ...], chosen: Chosen, factor: int | None
) -> Array:
    # What is left of a table beside those levels that are chosen, along one of the other factors
    part = table[tuple(slice(None) if k is None else k for k in chosen)]
    left = [i for i, k in zip(factors, chosen, strict=True) if k is None]
    axes = tuple(axis for axis, i in enumerate(left) if i != factor)
    return np.atleast_1d(reduce.reduce(part, axis=axes))


def as_bits(marks: Array) -> int:
    """Return the number that has a bit 2^i for every mark i."""
    return int.from_bytes(np.packbits(marks, bitorder="little").tobytes(), "little")
