"""Gaps in what output pixels see through transposed layers and sums: the pixels one by one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias

from convinsights._stacks import Fork, Stack

__all__ = ["has_gaps_somewhere"]

# Pixels that are followed at most, for all places together: a few seconds.
PATHS = 2**22

Seen: TypeAlias = tuple[int, Fraction, Fraction]  # how many pixels, from where to where


def has_gaps_somewhere(stack: Stack) -> bool:
    """Tell whether any output pixel of a period overlooks one, or refuse what would take long."""
    places, (count, *_) = _period(stack), _most_seen(stack, (1, Fraction(0), Fraction(0)))
    if places * count > PATHS:
        raise ValueError(
            f"layers must have at most {PATHS} pixels to follow through transposed layers and "
            f"sums, got some {count} at each of {places} places"
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
    # How many pixels some pixels depend on, at most. What they lie between may be no whole numbers:
    # then it holds, moved, for all places of the output pixel.
    count, first, last = seen
    for part in reversed(stack):
        if isinstance(part, Fork):
            sides = [_most_seen(way, (count, first, last)) for way in (part.branch, part.shortcut)]
            counts, firsts, lasts = zip(*sides, strict=True)
            count, first, last = sum(counts), min(firsts), max(lasts)
        else:
            behind = part.span - 1 - part.before
            if part.transposed:
                first, last = (first - behind) / part.strides, (last + part.before) / part.strides
            else:
                first, last = first * part.strides - part.before, last * part.strides + behind
            count *= part.kernel_size
        count = min(count, math.floor(last - first) + 1)
    return count, first, last


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
