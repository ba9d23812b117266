"""One spatial axis of a convolution: which windows read which pixels with which taps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Axis", "AxisPhase", "AxisRange"]


class AxisRange(NamedTuple):
    """A range of windows that read pixels with the same taps."""

    windows: slice
    taps: slice
    pixels: slice


class AxisPhase(NamedTuple):
    """A phase: the pixels, the taps, and what makes the geometry between them."""

    pixels: slice
    taps: slice
    pixel_count: int
    tap_count: int
    dilation_rate: int
    padding: tuple[int, int]


class Axis(NamedTuple):
    """The sizes along one axis, in pixels, taps and windows, as in `Geometry`.

    Window i reads with tap u the pixel i s + u d - before. Write u d = skipped s + phase, with
    0 <= phase < s. That pixel is q s + phase - before, with q = i + skipped: number q of the pixels
    of this phase, which lie s apart. Taps of one phase are s / gcd(s, d) apart, and from one to the
    next `skipped` grows by d / gcd(s, d). So each phase is a convolution with strides of 1 and that
    rate: forward, window i reads q = i + skipped; backward, pixel q collects from i = q - skipped,
    which flips the taps.
    """

    size: int
    taps: int
    stride: int
    rate: int
    padding: tuple[int, int]
    windows: int

    def part(self, where: slice) -> tuple[slice, int, tuple[int, int], int]:
        """Return what lies under some windows, `slice(None)` for all of them.

        The pixels, how many they are, the zeros around them (one of the two is negative where all
        windows lie among the zeros of one side, or 0 if they lie right beside the pixels), and how
        many windows there are.
        """
        if where == slice(None):
            return where, self.size, self.padding, self.windows
        count = len(range(self.windows)[where])
        first = where.start * self.stride - self.padding[0]
        end = first + (count - 1) * self.stride + (self.taps - 1) * self.rate + 1
        low = min(max(first, 0), self.size)
        high = max(min(end, self.size), low)
        return slice(low, high), high - low, (low - first, end - high), count

    def to_windows(self) -> list[AxisPhase]:
        """Return the phases that lead from pixels to windows."""
        before, phases = self.padding[0], []
        for phase, skipped, taps, count, rate in self._taps_by_phase():
            # The first pixel of the phase has q = (start + before - phase) / stride; window 0 reads
            # q = skipped.
            start = (phase - before) % self.stride
            pixels = slice(start, None, self.stride)
            length = len(range(self.size)[pixels])
            zeros = (start + before - phase) // self.stride - skipped
            after = self.windows + (count - 1) * rate - zeros - length
            phases.append(AxisPhase(pixels, taps, length, count, rate, (zeros, after)))
        return phases

    def to_pixels(self) -> list[AxisPhase]:
        """Return the phases that lead back from windows to pixels."""
        before, phases = self.padding[0], []
        for phase, skipped, taps, count, rate in self._taps_by_phase():
            # q from low to high gives the pixels that are not padding.
            low = -((phase - before) // self.stride)
            high = (self.size - 1 + before - phase) // self.stride
            if low > high:
                continue
            # Pixel q is read by the windows q - skipped - w * rate, w = 0 … count - 1. So the
            # pixels q = low … high are read by windows from low - skipped - span to high - skipped.
            # Those before window 0 or behind the last are zeros.
            span = (count - 1) * rate
            around = span + skipped - low, high - skipped - (self.windows - 1)
            pixels = slice(low * self.stride + phase - before, None, self.stride)
            phases.append(AxisPhase(pixels, taps, high - low + 1, count, rate, around))
        return phases

    def _taps_by_phase(self) -> Iterator[tuple[int, int, slice, int, int]]:
        # The phase, what its first tap skips, its taps, how many they are, and their rate
        common = math.gcd(self.stride, self.rate)
        step = self.stride // common
        for first in range(min(self.taps, step)):
            skipped, phase = divmod(first * self.rate, self.stride)
            count = len(range(first, self.taps, step))
            yield phase, skipped, slice(first, None, step), count, self.rate // common

    def reads(self) -> Iterator[tuple[int, slice, slice]]:
        """Tell which windows read a pixel with which tap, and those pixels."""
        stride = self.stride
        for tap in range(self.taps):
            offset = tap * self.rate - self.padding[0]
            first = max(0, -(offset // stride))
            last = min(self.windows - 1, (self.size - 1 - offset) // stride)
            if first <= last:
                pixels = slice(first * stride + offset, last * stride + offset + 1, stride)
                yield tap, slice(first, last + 1), pixels

    def ranges(self) -> list[AxisRange]:
        """Return the ranges of windows that read pixels, not zeros, with the same taps."""
        ends = sorted({end for _, at, _ in self.reads() for end in (at.start, at.stop)})
        ranges = []
        for start, stop in pairwise(ends):
            place = start * self.stride - self.padding[0]
            first = max(0, -(place // self.rate))
            last = min(self.taps - 1, (self.size - 1 - place) // self.rate)
            if first <= last:
                end = place + (stop - 1 - start) * self.stride + last * self.rate + 1
                pixels = slice(place + first * self.rate, end)
                ranges.append(AxisRange(slice(start, stop), slice(first, last + 1), pixels))
        return ranges
