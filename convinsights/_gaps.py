"""Gaps in what output pixels see through transposed layers and sums: the pixels one by one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from convinsights._stacks import Fork, Stack

__all__ = ["has_gaps_somewhere"]

# Pixels that are followed at most, layer by layer and for all places together: a few seconds.
MOST_FOLLOWED = 2**22


class Seen(NamedTuple):
    """Bounds on what an output pixel depends on, and on the work of finding it."""

    followed: int  # pixels looked at, tap by tap
    pixels: int  # how many it depends on
    first: Fraction  # the first and the last of these, seen from output pixel 0
    last: Fraction


def has_gaps_somewhere(stack: Stack) -> bool:
    """Tell whether any output pixel of one period overlooks an input pixel.

    Refuse what would take more than MOST_FOLLOWED steps.
    """
    places, (followed, *_) = _period(stack), _most_seen(stack, Seen(0, 1, Fraction(0), Fraction(0)))
    if places * followed > MOST_FOLLOWED:
        raise ValueError(
            f"layers must have at most {MOST_FOLLOWED} pixels to follow through transposed layers "
            f"and sums, got some {followed} at each of {places} places"
        )
    fields = (_seen(stack, {place}) for place in range(places))
    return any(len(field) <= max(field) - min(field) for field in fields if field)


def _seen(stack: Stack, pixels: set[int]) -> set[int]:
    # The input pixels, without borders, that any of these output pixels depends on
    for part in reversed(stack):
        if isinstance(part, Fork):
            pixels = _seen(part.branch, pixels) | _seen(part.shortcut, pixels)
            continue
        offsets = [tap * part.dilation_rate - part.before for tap in range(part.kernel_size)]
        if part.transposed:
            stamps = (
                divmod(pixel - offset, part.strides) for pixel in pixels for offset in offsets
            )
            pixels = {stamp for stamp, rest in stamps if rest == 0}
        else:
            pixels = {pixel * part.strides + offset for pixel in pixels for offset in offsets}
    return pixels


def _most_seen(stack: Stack, seen: Seen) -> Seen:
    # The ends are fractions where a stride does not divide them. For another output pixel both move
    # by as much: their distance, which bounds the count, is the same for all.
    followed, count, first, last = seen
    for part in reversed(stack):
        if isinstance(part, Fork):
            here = Seen(0, count, first, last)
            sides = [_most_seen(way, here) for way in (part.branch, part.shortcut)]
            more, counts, firsts, lasts = zip(*sides, strict=True)
            followed += sum(more)
            count, first, last = sum(counts), min(firsts), max(lasts)
        else:
            followed += count * part.kernel_size
            behind = part.span - 1 - part.before
            if part.transposed:
                first, last = (first - behind) / part.strides, (last + part.before) / part.strides
            else:
                first, last = first * part.strides - part.before, last * part.strides + behind
            count *= part.kernel_size
        count = min(count, math.floor(last - first) + 1)
    return Seen(followed, count, first, last)


def _period(stack: Stack) -> int:
    # After so many output pixels what is seen repeats, moved: 2 behind a transposed layer of stride
    # 2. The true period may be shorter, where convolutions have strides.
    return math.prod(
        math.lcm(_period(part.branch), _period(part.shortcut))
        if isinstance(part, Fork)
        else part.strides
        for part in stack
        if isinstance(part, Fork) or part.transposed
    )
