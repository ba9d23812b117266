"""Where the windows of a convolution lie: one immutable value, computed and checked once.

Per spatial axis, with kernel size k, stride s and dilation rate d, all in pixels:

    effective kernel   ke = (k - 1) d + 1, of k taps, d pixels apart
    output size        floor((before + size + after - ke) / s) + 1
    tap u of window i  reads pixel i s + u d - before, or a zero where there is no such pixel

The forward pass and both gradients of every convolution share the one `Geometry`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from convinsights._arguments import Ints, Pad, check_size, per_axis
from convinsights._axes import Axis, AxisPhase, AxisRange
from convinsights._padding import Pairs, resolve

__all__ = ["Geometry", "effective_size"]


@dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution, one entry per spatial axis, in pixels.

    Properties are kept once they were asked for: small calls ask for them again and again. Only
    `ranges` and `boxes` are not: there may be thousands.
    """

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    padding: Pairs
    output_size: tuple[int, ...]

    @classmethod
    def of(
        cls,
        input_size: tuple[int, ...],
        kernel_size: tuple[int, ...],
        strides: Ints,
        padding: Pad,
        dilation_rate: Ints,
        name: str = "kernel",
        padded: tuple[int, int] = (1, 1),
        names: tuple[str, str] = ("x", "kernel"),
    ) -> Geometry:
        """Lay the windows over an input, or say why they do not fit.

        name: what the windows belong to, for the message ("kernel", "pool"). padded: how many
        images, and how many numbers at most any array holds for each of their padded pixels
        (channels, or entries of a window); what no memory could hold is refused. names: the
        arguments that the sizes of the input and of the kernel came from, for that message.
        """
        rank = len(kernel_size)
        steps = per_axis("strides", strides, rank)
        rates = per_axis("dilation_rate", dilation_rate, rank)
        effective = effective_size(kernel_size, rates)
        pairs = resolve(padding, input_size, effective, steps)
        whole = _padded(input_size, pairs)
        if any(map(operator.lt, whole, effective)):
            raise ValueError(
                f"{name} does not fit its padded input: effective {name} size {effective}, "
                f"padded input size {whole} (input {input_size}, padding {pairs})"
            )
        if whole != input_size:
            check_size(_causes(padding, rates, *names), (padded[0], *whole, padded[1]))
        room = zip(whole, effective, steps, strict=True)
        output = tuple([(size - ke) // step + 1 for size, ke, step in room])
        return cls(input_size, kernel_size, steps, rates, pairs, output)

    def __hash__(self) -> int:
        """Return the hash of the sizes, kept: every lru_cache of the core asks for it."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        sizes = self.input_size, self.kernel_size, self.strides, self.dilation_rate, self.padding
        return hash(sizes)

    @cached_property
    def padded_size(self) -> tuple[int, ...]:
        """The input size with the zeros on both sides."""
        return _padded(self.input_size, self.padding)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Pixels from one window to the next along every axis, then from one tap to the next.

        Along an axis of one window or one tap there is no step. The stride or rate given for it may
        be so large that products with it overflow: 1 stands in its place.
        """
        sizes = *self.output_size, *self.kernel_size
        steps = zip(sizes, (*self.strides, *self.dilation_rate), strict=True)
        return tuple([step if size > 1 else 1 for size, step in steps])

    @cached_property
    def interior(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Two indices (…, *spatial, C): where the padded input has pixels, and which of the input.

        All of them, unless a padding is negative. No caller's is, but a phase's may be: it cuts
        off pixels. A `part` that lies among zeros alone has no pixels: there the negative number
        makes the zeros on the other side fewer (see `Axis.part`).
        """
        target, kept = [], []
        for size, (before, after) in zip(self.input_size, self.padding, strict=True):
            first = max(0, -before)
            last = max(first, size + min(0, after))
            target.append(slice(first + before, last + before))
            kept.append(slice(first, last))
        return (..., *target, slice(None)), (..., *kept, slice(None))

    @cached_property
    def is_padded(self) -> bool:
        """Whether there are zeros around the input (or pixels that are cut off)."""
        return any(map(any, self.padding))

    @cached_property
    def same_axes(self) -> tuple[bool, ...]:
        """Per axis, whether the windows along it are the pixels along it."""
        axes = zip(self.kernel_size, self.strides, self.padding, strict=True)
        return tuple([axis == (1, 1, (0, 0)) for axis in axes])

    @cached_property
    def is_identity(self) -> bool:
        """Whether the windows are the pixels."""
        return all(self.same_axes)

    @cached_property
    def folded(self) -> Geometry:
        """The same windows without the first axes along which they are the pixels.

        What lies along these may be taken for more images. The last axis stays.
        """
        first = (*self.same_axes[:-1], False).index(False)
        if not first:
            return self
        return Geometry(*(getattr(self, field.name)[first:] for field in fields(self)))

    @cached_property
    def disjoint(self) -> bool:
        """Whether the windows lie apart: no two of them span the same pixel."""
        axes = zip(
            self.output_size, self.kernel_size, self.strides, self.dilation_rate, strict=True
        )
        return all(n == 1 or s > (k - 1) * d for n, k, s, d in axes)

    @cached_property
    def touching(self) -> bool:
        """Whether every window is sure to read some pixel, not zeros alone.

        On every side there are fewer zeros than a window spans pixels, and neighbouring taps lie no
        further apart than the image is long.
        """
        axes = zip(self.input_size, self.kernel_size, self.dilation_rate, self.padding, strict=True)
        return all(max(pair) <= (k - 1) * d and (k == 1 or d <= size) for size, k, d, pair in axes)

    @cached_property
    def halo(self) -> int:
        """The rows of pixels that a window spans below its first, along the first axis."""
        return (self.kernel_size[0] - 1) * self.dilation_rate[0]

    def by_row(self) -> Geometry:
        """Return windows of the first row of taps, over every row of pixels that windows span.

        The stride along the first axis must be 1.
        """
        return replace(
            self,
            kernel_size=(1, *self.kernel_size[1:]),
            output_size=(self.output_size[0] + self.halo, *self.output_size[1:]),
        )

    def part(self, box: tuple[slice, ...]) -> tuple[tuple[slice, ...], Geometry]:
        """Return the pixels under a box of windows, and the windows laid over these alone.

        box: per axis `slice(None)`, for all windows and all pixels, or the windows' `slice(start,
        stop)`. Windows among zeros alone have no pixels under them.
        """
        if all(where == slice(None) for where in box):
            return box, self  # without this, small calls take 1.1 to 1.5 times as long
        axes = [axis.part(where) for axis, where in zip(self.axes(), box, strict=True)]
        pixels, sizes, padding, counts = zip(*axes, strict=True)
        part = replace(self, input_size=sizes, padding=padding, output_size=counts)
        return pixels, part

    @cached_property
    def phase_count(self) -> int:
        """How many phases of the strides have taps; some of them may have no pixels."""
        axes = zip(self.kernel_size, self.strides, self.dilation_rate, strict=True)
        return math.prod([min(k, s // math.gcd(s, d)) for k, s, d in axes])

    @cached_property
    def phases_to_windows(self) -> tuple[Phase, ...]:
        """The way from pixels to windows as convolutions with strides of 1, to be added up.

        All pixels that leave one remainder by the stride are one image, and the taps that read them
        its kernel (see `Axis`).
        """
        return self._phases([axis.to_windows() for axis in self.axes()], back=False)

    @cached_property
    def phases_to_pixels(self) -> tuple[Phase, ...]:
        """The way back, from windows to pixels, as convolutions with strides of 1.

        One convolution of the windows, with the flipped part of the kernel, gives all pixels of a
        phase (see `Axis`); pixels of a phase without taps get nothing.
        """
        return self._phases([axis.to_pixels() for axis in self.axes()], back=True)

    def _phases(self, axes: list[list[AxisPhase]], *, back: bool) -> tuple[Phase, ...]:
        ones, phases = (1,) * len(axes), []
        for chosen in product(*axes):
            pixels, taps, pixel_counts, tap_counts, rates, padding = zip(*chosen, strict=True)
            ends = (self.output_size, pixel_counts) if back else (pixel_counts, self.output_size)
            geometry = Geometry(ends[0], tap_counts, ones, rates, padding, ends[1])
            phases.append(Phase(pixels, taps, geometry))
        return tuple(phases)

    @property
    def ranges(self) -> tuple[list[AxisRange], ...]:
        """Per axis, ranges of windows that read pixels, not zeros, with the same taps."""
        return tuple(axis.ranges() for axis in self.axes())

    @property
    def boxes(self) -> Iterator[BoxOfWindows]:
        """The windows box by box, each with those taps alone that read pixels: without padding."""
        for chosen in product(*self.ranges):
            windows, taps, pixels = zip(*chosen, strict=True)
            sizes, counts, outputs = (
                tuple(part.stop - part.start for part in parts) for parts in (pixels, taps, windows)
            )
            none = ((0, 0),) * len(sizes)
            rest = self.strides, self.dilation_rate, none, outputs
            yield BoxOfWindows(windows, taps, pixels, Geometry(sizes, counts, *rest))

    def axes(self) -> list[Axis]:
        """Return the sizes axis by axis."""
        sizes = self.input_size, self.kernel_size, self.strides, self.dilation_rate
        return list(map(Axis, *sizes, self.padding, self.output_size))


class Phase(NamedTuple):
    """Some pixels, the taps that read them, and a convolution with strides of 1.

    From these pixels to all windows in `phases_to_windows`, from all windows to these pixels in
    `phases_to_pixels`.
    """

    pixels: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


class BoxOfWindows(NamedTuple):
    """Windows, the taps with which they all read pixels, those pixels, and how they lie."""

    windows: tuple[slice, ...]
    taps: tuple[slice, ...]
    pixels: tuple[slice, ...]
    geometry: Geometry


def effective_size(kernel_size: tuple[int, ...], rates: tuple[int, ...]) -> tuple[int, ...]:
    """Return the pixels that a dilated kernel spans: (k - 1) d + 1."""
    return tuple([(k - 1) * d + 1 for k, d in zip(kernel_size, rates, strict=True)])


def _causes(padding: Pad, rates: tuple[int, ...], image: str, kernel: str) -> str:
    # What makes the padded size: a padding in words takes its zeros from the effective kernel
    if not isinstance(padding, str):
        return f"{image} and padding"
    return f"{image} and {kernel}" if max(rates) == 1 else f"{image}, {kernel} and dilation_rate"


def _padded(size: tuple[int, ...], padding: Pairs) -> tuple[int, ...]:
    pairs = zip(size, padding, strict=True)
    return tuple([before + count + after for count, (before, after) in pairs])
