"""Where results are wrong: the part of them that the wrong elements fill, the same in every case.

Elements have coordinates: the image, the row, the column, the channel, its group, the flat index, …
A region is what one coordinate says of them ("rows from 16 on"), or two at once. All wrong elements
lie inside, and most of what lies inside is wrong: on small integers a wrong sum may be right by
chance. Of regions that fit, the one is told under which the wrong elements are the most likely,
plain ones being preferred; none where most of everything is wrong.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple, TypeAlias

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._cases import Case
from convinsights.verify._coordinates import COSTS, MAPS, coordinates

__all__ = ["Finding", "region"]

# A case, the name of one of its results, and which elements of that are wrong.
Finding: TypeAlias = tuple[Case, str, Array]

# How much of a region must be wrong, over all and in each case; how many bits it must explain; and
# what a far-fetched region costs in bits; how much smaller two coordinates must make it than one.
MOST, SOME, BITS, PRICE, NARROWER = 0.4, 0.15, 12.0, 4.0, 0.9
# How many elements are looked at.
ELEMENTS = 3_000_000
BLOCKS = (2, 3, 4, 8, 16, 32)


def region(findings: Sequence[Finding]) -> str | None:
    """Say which part of the results is wrong, or None where no part fits in every case."""
    names = list(dict.fromkeys(name for _, name, _ in findings))
    said = {name: _region([f for f in findings if f[1] == name and f[2].any()]) for name in names}
    words = [
        text if name == "y" else f"{text} of {name}"
        for name, text in said.items()
        if text is not None
    ]
    return "; ".join(words) if words else None


Test: TypeAlias = Callable[[Array, int], Array]


@dataclass(frozen=True)
class Part:
    """Those elements of which one coordinate says something, by its words and its cost."""

    coordinate: str
    text: str
    cost: float
    test: Test

    def of(self, view: "_View") -> Array:
        """Return which elements those are, broadcast over the result."""
        index, extent = view.coordinates[self.coordinate]
        return self.test(index, extent)


class _View:
    # One finding, by its coordinates.
    def __init__(self, finding: Finding) -> None:
        case, name, self.wrong = finding
        self.coordinates = dict(coordinates(case, name, self.wrong.shape))
        self.count = int(self.wrong.sum())

    def indices(self, name: str) -> Array:
        """Return the indices at which elements are wrong."""
        index = np.broadcast_to(self.coordinates[name].number, self.wrong.shape)
        return np.unique(index[self.wrong])


def _region(findings: Sequence[Finding]) -> str | None:
    views = [_View(finding) for finding in _some(findings)]
    if not views:
        return None
    everything = sum(view.wrong.size for view in views)
    wrong = sum(view.count for view in views)
    least = _bits(wrong, everything) + BITS
    shared = [n for n in views[0].coordinates if all(n in view.coordinates for view in views)]
    best: list[_Scored] = []
    scored: list[_Scored] = []
    for name in shared:
        found = [_scored((part,), views) for part in _parts(name, views)]
        scored += found
        best += [max(found, key=lambda one: one.score)] if found else []
    for one, other in combinations([one for one in best if one.holds], 2):
        both = _scored((*one.parts, *other.parts), views)
        if both.size < NARROWER * min(one.size, other.size):
            scored.append(both)
    fitting = [one for one in scored if one.holds and one.fills]
    if not fitting:
        return None
    chosen = max(fitting, key=lambda one: one.score)
    told = " and ".join(part.text for part in chosen.parts)
    return told if chosen.score > least else None


def _some(findings: Sequence[Finding]) -> list[Finding]:
    # The smallest and the largest, as many as can be looked at.
    ordered = sorted(findings, key=lambda finding: finding[2].size)
    alternating = [f for pair in zip(ordered, ordered[::-1], strict=True) for f in pair]
    chosen: list[Finding] = []
    total = 0
    for finding in islice(alternating, 0, len(ordered)):
        total += finding[2].size
        if chosen and total > ELEMENTS:
            break
        chosen.append(finding)
    return chosen


def _bits(wrong: int, size: int) -> float:
    # log2 of the likelihood of so many wrong among so many, at best.
    share = wrong / size
    if share == 1:
        return 0.0
    return wrong * math.log2(share) + (size - wrong) * math.log2(1 - share)


class _Scored(NamedTuple):
    # A region: whether every wrong element lies inside and most of it is wrong, and how likely
    # that makes the wrong elements.
    parts: tuple[Part, ...]
    holds: bool = False
    fills: bool = False
    score: float = -math.inf
    size: int = 0


def _scored(parts: tuple[Part, ...], views: Sequence[_View]) -> _Scored:
    size, fills = 0, True
    for view in views:
        inside = parts[0].of(view)
        for part in parts[1:]:
            inside = inside & part.of(view)
        if (view.wrong & ~inside).any():
            return _Scored(parts)
        count = int(np.count_nonzero(inside)) * (view.wrong.size // inside.size)
        fills = fills and view.count >= SOME * count
        size += count
    wrong = sum(view.count for view in views)
    cost = sum(part.cost + 1 for part in parts)
    score = _bits(wrong, size) - PRICE * cost
    return _Scored(parts, True, fills and wrong >= MOST * size, score, size)


# -- what may be said of one coordinate ----------------------------------------------------------


def _parts(name: str, views: Sequence[_View]) -> Iterator[Part]:
    if name in MAPS:
        yield Part(name, name, MAPS[name], lambda index, n: index > 0)
        return
    extents = [view.coordinates[name].extent for view in views]
    indices = [view.indices(name) for view in views]
    least, most = min(map(min, indices)), max(map(max, indices))
    behind = max(n - int(min(i)) for n, i in zip(extents, indices, strict=True))
    for text, cost, test in (
        *_from_either_end(int(least), int(most), behind),
        *_of_blocks(np.unique(np.concatenate(indices)), max(extents)),
    ):
        yield Part(name, _worded(text, name), cost + COSTS.get(name, 0.0), test)


def _from_either_end(least: int, most: int, behind: int) -> Iterator[tuple[str, float, Test]]:
    # From the least wrong index to the largest, or as many as are wrong before the end.
    if least == most == 0:
        yield "first #", 0.0, lambda index, n: index == 0
    elif least == most:
        yield f"# {_number(least)}", 0.5 + _odd(least), lambda index, n: index == least
    elif least:
        cost = 0.8 + _odd(least) + _odd(most + 1)
        yield f"#s {_number(least)} … {_number(most)}", cost, _between(least, most)
    elif most:
        yield f"#s before {_number(most + 1)}", 0.3 + _odd(most + 1), lambda index, n: index <= most
    if least == 1:
        yield "#s other than the first", 0.0, lambda index, n: index >= 1
    elif least:
        yield f"#s from {_number(least)} on", 0.1 + _odd(least), lambda index, n: index >= least
    if behind == 1:
        yield "last #", 0.0, lambda index, n: index == n - 1
    elif behind <= 8:
        yield f"last {behind} #s", 0.2, lambda index, n: index >= n - behind
    yield "#s other than the last", 0.3, lambda index, n: index < n - 1
    yield "first and last #", 0.3, lambda index, n: (index == 0) | (index == n - 1)
    yield "#s other than the first and the last", 0.5, lambda i, n: (i > 0) & (i < n - 1)
    yield "second half of the #s", 0.6, lambda index, n: index >= n - n // 2
    yield "first half of the #s", 0.6, lambda index, n: index < n - n // 2


def _odd(limit: int) -> float:
    # What a limit costs by its binary digits, unless it is a power of 2.
    return 0.25 * limit.bit_length() if limit & (limit - 1) else 0.0


def _between(least: int, most: int) -> Test:
    return lambda index, n: (index >= least) & (index <= most)


def _of_blocks(indices: Array, extent: int) -> Iterator[tuple[str, float, Test]]:
    # A part of every block of m, or what is left over where m does not divide the extent.
    for m in (m for m in BLOCKS if m < extent):
        rests = np.unique(indices % m)
        first, last = int(rests[0]), int(rests[-1])
        if last - first + 1 == len(rests) < m:
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
            yield f"the last #s that do not fill {m}", 0.1, _not_filling(m)
            yield f"#s that fill blocks of {m}", 0.3, _filling(m)


def _of_each(m: int, first: int, last: int) -> Test:
    return lambda index, n: (index % m >= first) & (index % m <= last)


def _other_than(m: int, missing: int) -> Test:
    return lambda index, n: index % m != missing


def _not_filling(m: int) -> Test:
    return lambda index, n: index >= n - n % m


def _filling(m: int) -> Test:
    return lambda index, n: index < n - n % m


def _number(value: int) -> str:
    power = value >= 4096 and not value & (value - 1)
    return f"2^{value.bit_length() - 1}" if power else str(value)


def _worded(text: str, name: str) -> str:
    noun, _, rest = name.partition(" | ")
    return f"{text.replace('#', noun)} {rest}".rstrip()
