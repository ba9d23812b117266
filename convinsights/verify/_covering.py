"""Few cases in which every combination of two settings, or three, occurs: covering arrays.

A factor is a setting with its levels (strides: 1, 2, 3). An array of strength t is a list of rows,
one level for each factor, in which any t levels of any t factors stand together in some row.
Nearly all faults seen in the field need no more than two or three settings at once. Rules say which
levels cannot meet (a kernel larger than its image, without zeros around it), and a budget keeps
rows cheap: the sum over a row of the levels' weights is at most that. How many numbers the arrays
of a row hold is no such sum, and may still be large: then further rows are tried for the same
combination, and the smallest of them is taken.

Rows are made one at a time: the row begins with a combination that no row has yet, and takes factor
by factor the level that adds most of them.

References
----------
Cohen, Dalal, Fredman and Patton, "The AETG System: An Approach to Testing Based on Combinatorial
Design", 1997 (the greedy rows).
Kuhn, Wallace and Gallo, "Software Fault Interactions and Implications for Software Testing", 2004.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._rules import Factor, Picked, Rule, Rules, as_bits

__all__ = ["Covering", "Factor", "Levels", "Rule"]

# A row: one level of each factor.
Levels: TypeAlias = Mapping[str, Any]
Combination: TypeAlias = tuple[tuple[str, Any], ...]

# Rows that are tried for a combination before it is given up: HASTY ones, for pairs only, that take
# each rule by itself (`fitting`); then CAREFUL ones that look ahead (`affordable`).
HASTY, CAREFUL = 200, 6
# Combinations are gone through in so many parts. Those that have a row by then are dropped at the
# beginning of a part, all at once.
PARTS = 16


class Covering:
    """The covering array of some factors under some rules.

    `numbers` tells how many numbers the arrays of a row hold. A row of at most `few` is taken at
    once; else the smallest of the tries.
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        rules: Sequence[Rule] = (),
        budget: float = np.inf,
        numbers: Callable[[Levels], int] = lambda row: 0,
        few: int = 0,
    ) -> None:
        self.numbers, self.few = numbers, few
        self.factors, self.rules = tuple(factors), Rules(factors, rules, budget)
        self.counts = self.rules.counts
        self.starts = [0, *itertools.accumulate(self.counts)]

    def impossible(self, strength: int) -> dict[Combination, str]:
        """Return the combinations that the rules forbid, with the reason of each."""
        found = {}
        for which in itertools.combinations(range(len(self.factors)), strength):
            for levels in np.ndindex(*(self.counts[i] for i in which)):
                why = self.rules.forbidden(dict(zip(which, levels, strict=True)))
                if why is not None:
                    found[self._named(which, levels)] = why
        return found

    def rows(self, strength: int, rng: np.random.Generator) -> list[Levels]:
        """Return rows in which every combination of `strength` factors meets that the rules allow.

        One for which no row is found in so many tries is given up.
        """
        # Levels are numbered through all factors, from 0 to B - 1; several levels together are one
        # number, theirs being its digits in base B. Bit `others` of missing[level] is set while no
        # row has that level together with those strength - 1 others.
        possible, hasty = self._all(strength), HASTY if strength == 2 else 0
        seeds = np.flatnonzero(possible)
        rng.shuffle(seeds)
        missing = list(map(as_bits, possible))
        rows = []
        for level, others in _in_turn(seeds, missing, possible.shape[1]):
            start = dict(map(self._split, (level, *self._apart(others, strength - 1))))
            tries = (
                self._filled(start, missing, strength, number >= hasty, rng)
                for number in range(hasty + CAREFUL)
            )
            row = self._smallest(row for row in tries if row is not None)
            self._strike(start if row is None else row, missing, strength)
            if row is not None:
                rows.append(self._row(row))
        return rows

    def _split(self, index: int) -> tuple[int, int]:
        factor = int(np.searchsorted(self.starts, index, side="right")) - 1
        return factor, index - self.starts[factor]

    def _apart(self, index: int, count: int) -> list[int]:
        # The digits of a number
        return [index // self.starts[-1] ** place % self.starts[-1] for place in range(count)]

    def _all(self, strength: int) -> Array:
        # possible[i, others], once for each order of the levels
        every = np.zeros((self.starts[-1],) * strength, bool)
        for which in itertools.combinations(range(len(self.factors)), strength):
            possible = self.rules.possible(which)
            for order in itertools.permutations(range(strength)):
                box = tuple(slice(self.starts[which[i]], self.starts[which[i] + 1]) for i in order)
                every[box] = possible.transpose(order)
        return every.reshape(self.starts[-1], -1)

    def _smallest(self, rows: Iterable[Picked]) -> Picked | None:
        # The first that has few numbers, or the one with the fewest
        best, fewest = None, np.inf
        for row in rows:
            numbers = self.numbers(self._row(row))
            if numbers < fewest:
                best, fewest = row, numbers
            if fewest <= self.few:
                break
        return best

    def _filled(
        self,
        start: Picked,
        missing: Sequence[int],
        strength: int,
        careful: bool,
        rng: np.random.Generator,
    ) -> Picked | None:
        row, cost = dict(start), self.rules.cost(start)
        # Bit n of chosen[k] is set if n is the number of k levels that the row has: its digits in
        # base B are theirs, as in `rows`.
        chosen = [1] + [0] * (strength - 1)
        for i, level in row.items():
            self._join(chosen, self.starts[i] + level)
        for factor in rng.permutation(len(self.factors)).tolist():
            if factor in row:
                continue
            rules = self.rules
            bits = rules.affordable(factor, row) if careful else rules.fitting(factor, row, cost)
            if not bits:
                return None
            # How many new combinations each makes with those the row has; between equals, chance
            first, chances = self.starts[factor], rng.random(self.counts[factor]).tolist()
            _, row[factor] = max(
                ((missing[first + level] & chosen[-1]).bit_count() + chances[level], level)
                for level in range(self.counts[factor])
                if bits >> level & 1
            )
            cost += self.rules.extra[factor][row[factor]]
            self._join(chosen, first + row[factor])
        return row

    def _join(self, chosen: list[int], level: int) -> None:
        # The choices of k levels that the longer row has: those without the new one; and with it,
        # as the leading digit of the number, each choice of k - 1 others.
        for k in range(len(chosen) - 1, 0, -1):
            chosen[k] |= chosen[k - 1] << level * self.starts[-1] ** (k - 1)

    def _strike(self, row: Picked, missing: list[int], strength: int) -> None:
        have = [self.starts[i] + level for i, level in row.items()]
        others = 1  # in any order
        for place in range(strength - 1):
            shifts = [level * self.starts[-1] ** place for level in have]
            others = reduce(or_, [others << shift for shift in shifts])
        for level in have:
            missing[level] &= ~others

    def _named(self, which: Sequence[int], levels: Sequence[int]) -> Combination:
        factors = [self.factors[i] for i in which]
        return tuple((f.name, f.levels[level]) for f, level in zip(factors, levels, strict=True))

    def _row(self, row: Picked) -> Levels:
        return {f.name: f.levels[row[i]] for i, f in enumerate(self.factors)}


def _in_turn(seeds: Array, missing: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    # The combinations in their order, without those that an earlier row has
    for part in np.array_split(seeds, PARTS):
        marks = np.concatenate([_as_marks(bits, count) for bits in missing])
        for seed in part[marks[part]].tolist():
            level, others = divmod(seed, count)
            if missing[level] >> others & 1:
                yield level, others


def _as_marks(bits: int, count: int) -> Array:
    # Of so many bits
    octets = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").astype(bool)
