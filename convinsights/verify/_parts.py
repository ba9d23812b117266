"""What may be said of one coordinate of wrong elements: "#s from 16 on", "last #", "even #s".

Here # is the coordinate's noun.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._cases import Case
from convinsights.verify._coordinates import (
    COORDINATE_COSTS,
    FLAT_INDICES,
    MAP_COSTS,
    PIXEL,
    PIXEL_OF_BATCH,
    coordinates,
)
from convinsights.verify._trials import Marks
from convinsights.verify._words import is_power, written

__all__ = ["Finding", "Part", "View", "parts_of"]

# A case, the name of one of its results, and which elements of that are wrong.
Finding: TypeAlias = tuple[Case, str, Array | Marks]
# Which elements a part has, by the number of each and how many such numbers there are.
Test: TypeAlias = Callable[[Array, int], Array]

# In what share of the cases a part must be less than the whole.
PROPER_IN_SOME = 0.25
# … where it ends at the largest wrong index.
PROPER_IN_MOST = 0.5
# The smallest power of 2 that an index is taken to overflow at.
SMALLEST = 64
BLOCKS = (2, 3, 4, 8, 16, 32)


@dataclass(frozen=True)
class Part:
    """Those elements of which one coordinate says something, by its words and its cost.

    `proper` is in what share of the cases, at least, that must be less than all elements.
    """

    coordinate: str
    text: str
    cost: float
    test: Test
    proper: float

    def of(self, view: "View") -> Array:
        """Return which elements those are, broadcast over the result."""
        index, extent = view.coordinates[self.coordinate]
        return self.test(index, extent)


class View:
    """One finding, by its coordinates."""

    def __init__(self, finding: Finding) -> None:
        case, name, wrong = finding
        self.wrong = np.asarray(wrong)
        self.coordinates = dict(coordinates(case, name, self.wrong.shape))
        self.count = int(self.wrong.sum())

    def indices(self, name: str) -> Array:
        """Return the indices at which elements are wrong."""
        index = np.broadcast_to(self.coordinates[name].number, self.wrong.shape)
        return np.flatnonzero(np.bincount(index[self.wrong]))


def parts_of(name: str, views: Sequence[View]) -> Iterator[Part]:
    """Yield what may be said of a coordinate that all the findings have."""
    if name in MAP_COSTS:
        yield Part(name, name, MAP_COSTS[name], lambda index, n: index > 0, PROPER_IN_SOME)
        return
    extents = [view.coordinates[name].extent for view in views]
    indices = [view.indices(name) for view in views]
    least, most = int(min(map(min, indices))), int(max(map(max, indices)))
    behind = max(n - int(min(i)) for n, i in zip(extents, indices, strict=True))
    flat = name in FLAT_INDICES
    of_one = _from_power(least) if flat else _from_either_end(least, most, behind)
    if flat:
        several = _of_rests(extents) if name in (PIXEL, PIXEL_OF_BATCH) else iter(())
    else:
        several = _of_blocks(np.unique(np.concatenate(indices)), extents)
    own = COORDINATE_COSTS.get(name, 0.0)
    for text, cost, test in (*of_one, *several):
        yield Part(name, _worded(text, name), cost + own, test, PROPER_IN_SOME)
    alone = name == PIXEL and least == most
    if alone or not flat:
        for text, cost, test in _limited(least, most):
            yield Part(name, _worded(text, name), cost + own, test, PROPER_IN_MOST)


def _from_power(least: int) -> Iterator[tuple[str, float, Test]]:
    # A flat index that overflows does so at a power of 2; the next elements may be right by chance.
    power = 1 << max(least.bit_length() - 1, 0)
    if power >= SMALLEST and least - power <= power / 32:
        yield f"#s from {written(power)} on", 0.1, lambda index, n: index >= power


def _from_either_end(least: int, most: int, behind: int) -> Iterator[tuple[str, float, Test]]:
    # From the least wrong index on; the last ones; all but the ends; either half.
    if most == 0:
        yield "first #", 0.0, lambda index, n: index == 0
    if least == 1:
        yield "#s other than the first", 0.0, lambda index, n: index >= 1
    elif least:
        yield f"#s from {written(least)} on", 0.1 + _odd(least), lambda index, n: index >= least
    if behind == 1:
        yield "last #", 0.0, lambda index, n: index == n - 1
    elif behind <= 8:
        yield f"last {behind} #s", 0.2, lambda index, n: index >= n - behind
    yield "#s other than the last", 0.3, lambda index, n: index < n - 1
    yield "first and last #", 0.3, lambda index, n: (index == 0) | (index == n - 1)
    yield "#s other than the first and the last", 0.5, lambda i, n: (i > 0) & (i < n - 1)
    yield "second half of the #s", 0.6, lambda index, n: index >= n - n // 2
    yield "first half of the #s", 0.6, lambda index, n: index < n - n // 2


def _limited(least: int, most: int) -> Iterator[tuple[str, float, Test]]:
    # What ends at the largest wrong index, which may merely be the last that these cases have.
    if most and least == most:
        yield f"# {written(least)}", 0.5 + _odd(least), lambda index, n: index == least
    elif most and least:
        cost = 0.8 + _odd(least) + _odd(most + 1)
        yield f"#s {written(least)} … {written(most)}", cost, _between(least, most)
    elif most:
        yield f"#s before {written(most + 1)}", 0.3 + _odd(most + 1), lambda index, n: index <= most


def _odd(limit: int) -> float:
    # What a limit costs by its binary digits, unless it is a power of 2.
    return 0.0 if is_power(limit) else 0.25 * limit.bit_length()


def _between(least: int, most: int) -> Test:
    return lambda index, n: (index >= least) & (index <= most)


def _of_blocks(indices: Array, extents: Sequence[int]) -> Iterator[tuple[str, float, Test]]:
    # A part of every block of m, or what is left over where m does not divide the extent.
    for m in (m for m in BLOCKS if m < max(extents)):
        rests = np.unique(indices % m)
        first, last = int(rests[0]), int(rests[-1])
        if last - first + 1 == len(rests) < m <= indices[-1]:
            if m == 2:
                said = ("even #s", "odd #s")[first]
            elif first == last:
                said = f"# {first} of each {m}"
            else:
                said = f"#s {first} … {last} of each {m}"
            yield said, 0.5 + _odd(first) + _odd(last + 1), _of_each(m, first, last)
        elif len(rests) == m - 1 and m > 2:
            missing = next(r for r in range(m) if r not in rests)
            yield f"#s other than {missing} of each {m}", 0.7, _other_than(m, missing)
        if m > 2:
            yield f"#s that fill blocks of {m}", 0.3, _filling(m)
    yield from _of_rests(extents)


def _of_rests(extents: Sequence[int]) -> Iterator[tuple[str, float, Test]]:
    # Extents that leave the same rests of several m do not tell which it is: all are said.
    rests: dict[tuple[int, ...], list[int]] = {}
    for m in BLOCKS[1:]:
        rests.setdefault(tuple(n % m for n in extents), []).append(m)
    for several in rests.values():
        said = " or ".join(map(str, several))
        yield f"the last #s that do not fill {said}", 0.1, _not_filling(several[0])


def _of_each(m: int, first: int, last: int) -> Test:
    return lambda index, n: (index % m >= first) & (index % m <= last)


def _other_than(m: int, missing: int) -> Test:
    return lambda index, n: index % m != missing


def _not_filling(m: int) -> Test:
    return lambda index, n: index >= n - n % m


def _filling(m: int) -> Test:
    return lambda index, n: index < n - n % m


def _worded(text: str, name: str) -> str:
    noun, _, rest = name.partition(" | ")
    return f"{text.replace('#', noun)} {rest}".rstrip()
