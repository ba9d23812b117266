"""Where results are wrong: the part of them that the wrong elements fill, the same in every case.

Elements have coordinates: the image, the row, the column, the channel, its group, the flat index, …
A region is what one coordinate says of them ("rows from 16 on"), or two at once. All wrong elements
lie inside, and much of what lies inside is wrong: on small integers a wrong sum may be right by
chance. Of regions that fit, the one is told under which the wrong elements are the most likely,
plain ones being preferred; none where none makes them far likelier than chance does.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._parts import Finding, Part, View, parts_of

__all__ = ["Finding", "region"]

# Share of a region that must be wrong over all,
DENSE = 0.4
# … and in a single case,
SOME = 0.15
# … for this share of the cases: in others a fault may not show, as where all sums are 0.
FILLED = 0.8
# How many bits a region must explain.
BITS = 6.0
# A region costs so many bits for each coordinate, times 1 + the cost of what is said of it.
PRICE = 4.0
# How much smaller two coordinates must make it than one.
NARROWER = 0.75
# How many elements are looked at.
ELEMENTS = 3_000_000


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


def _region(findings: Sequence[Finding]) -> str | None:
    views = [View(finding) for finding in _some(findings)]
    if not views:
        return None
    # Every part of one coordinate, and the best of every two.
    shared = [n for n in views[0].coordinates if all(n in view.coordinates for view in views)]
    best: list[_Scored] = []
    scored: list[_Scored] = []
    for name in shared:
        found = [_scored((part,), views) for part in parts_of(name, views)]
        scored += found
        best += [max(found, key=lambda one: one.score)] if found else []
    for one, other in combinations([one for one in best if one.size], 2):
        both = _scored((*one.parts, *other.parts), views)
        if both.size < NARROWER * min(one.size, other.size):
            scored.append(both)
    for one in sorted(scored, key=lambda one: -one.score):
        if one.fits and _shown(one.parts, views):
            return " and ".join(part.text for part in one.parts)
    return None


def _some(findings: Sequence[Finding]) -> list[Finding]:
    # The smallest and the largest, as many as can be looked at.
    ordered = sorted(findings, key=lambda finding: finding[2].size)
    alternating = [f for pair in zip(ordered, ordered[::-1], strict=True) for f in pair]
    chosen: list[Finding] = []
    total = 0
    for finding in alternating[: len(ordered)]:
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
    # A region: how likely it makes the wrong elements, how many it has, and whether it fits: every
    # wrong element lies inside, much of it is wrong, and it is not everything.
    parts: tuple[Part, ...]
    score: float = -math.inf
    size: int = 0
    fits: bool = False


def _scored(parts: tuple[Part, ...], views: Sequence[View]) -> _Scored:
    size, less, fills, wrong = 0, 0, 0, 0
    for view in views:
        inside = _inside(parts, view)
        if (view.wrong & ~inside).any():
            return _Scored(parts)
        count = int(np.count_nonzero(inside)) * (view.wrong.size // inside.size)
        if view.count >= SOME * count:  # wrong elements of other cases are not counted
            fills, wrong = fills + 1, wrong + view.count
        less += count < view.wrong.size
        size += count
    proper = max(part.proper for part in parts)
    fits = wrong >= DENSE * size and fills >= FILLED * len(views) and less >= proper * len(views)
    total = sum(view.count for view in views)
    return _Scored(parts, _bits(total, size) - _price(parts), size, fits)


def _inside(parts: tuple[Part, ...], view: View) -> Array:
    inside = parts[0].of(view)
    for part in parts[1:]:
        inside = inside & part.of(view)
    return inside


def _price(parts: tuple[Part, ...]) -> float:
    return PRICE * sum(part.cost + 1 for part in parts)


def _shown(parts: tuple[Part, ...], views: Sequence[View]) -> bool:
    # Whether the region is far likelier than chance. Elements that differ only along axes of which
    # it says nothing count as one.
    wrong = inside = everything = 0
    for view in views:
        part = _inside(parts, view)
        others = tuple(axis for axis, n in enumerate(part.shape) if n == 1)
        wrong += int(np.count_nonzero(view.wrong.any(axis=others)))
        inside, everything = inside + int(np.count_nonzero(part)), everything + part.size
    return _bits(wrong, inside) - _bits(wrong, everything) >= BITS + _price(parts)
