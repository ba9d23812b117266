"""A kernel of its own for every channel: sums over the pixels of a window alone.

With strides of 1, tap (u, v) reads at the same distance from every window: u d rows and v d pixels
on. A row of windows is a run of numbers, channels included, and what a tap reads is that run,
shifted: nothing is gathered. Several short rows are taken as one run: the windows that wrap round
the end of a row are computed too, and dropped. einsum goes through a run in stretches of t windows;
the t C numbers of a stretch are a single axis.

A convolution with strides is a sum of such, one for each phase of the strides: the pixels and taps
whose places leave the same remainder.

Here kernels are (*kernel_size, C), one for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from convinsights import _costs
from convinsights._arguments import Array, DType
from convinsights._geometry import Geometry
from convinsights._passes import RUN, Box, blocks, column_sums
from convinsights.im2col import blank, copy_runs, crop, pad, view_of, windows

__all__ = ["correlate", "image_gradient", "kernel_gradient", "multiply_scatter"]

# Numbers of a stretch, which einsum goes through at once; to start one takes about as long again.
# With half of it, depthwise layers take 1.13 times as long.
STRETCH = 2 * RUN


def correlate(x: Array, kernel: Array, geometry: Geometry, y: Array) -> None:
    """Write the sums over the taps of a window.

    y[n, i, j, c] = sum over u, v of x[n, i s + u d - before, j s + v d - before, c] kernel[u, v, c]
    """
    for index, (pixels, taps, part) in enumerate(geometry.phases_to_windows):
        beside = _side_by_side(kernel[taps], part)
        for box, runs in _runs(x[(slice(None), *pixels)], part, kernel.dtype):
            _put(y[box], runs.correlate(beside), add=index > 0)


def image_gradient(dy: Array, kernel: Array, geometry: Geometry, dx: Array, add: bool) -> None:
    """Write the gradient to dx, or add it: every pixel collects from the windows that read it.

    With strides of 1 it is a convolution of dy with the flipped kernel, else one for each phase.
    Pixels of phases without taps are left as they are; others that no window reads get 0.
    """
    for phase in geometry.phases_to_pixels:
        flipped = kernel[phase.taps][(slice(None, None, -1),) * len(geometry.kernel_size)]
        beside = _side_by_side(flipped, phase.geometry)
        target = dx[(slice(None), *phase.pixels)]
        for box, runs in _runs(dy, phase.geometry, kernel.dtype):
            _put(target[box], runs.correlate(beside), add)


def _side_by_side(kernel: Array, geometry: Geometry) -> Array:
    # The kernel for each window of a stretch: (*kernel_size, t C)
    channels = kernel.shape[-1]
    return np.tile(kernel, max(1, min(STRETCH // channels, math.prod(geometry.output_size))))


def _put(target: Array, sums: Array, add: bool) -> None:
    if add:
        target += sums
    else:
        copy_runs(target, sums)


def kernel_gradient(x: Array, dy: Array, geometry: Geometry, dtype: DType) -> Array:
    """Return the kernel's gradient: what `correlate` weighs, summed with the weights dy."""
    dkernel = np.zeros((*geometry.kernel_size, dy.shape[-1]), dtype)
    for pixels, taps, part in geometry.phases_to_windows:
        for box, runs in _runs(x[(slice(None), *pixels)], part, dtype):
            dkernel[taps] += runs.kernel_gradient(dy[box])
    return dkernel


def multiply_scatter(dy: Array, kernel: Array, geometry: Geometry) -> Array:
    """Return the image gradient in the plain way: every window adds to its pixels."""
    padded = blank(dy.shape[:1], geometry, dy.shape[-1], kernel.dtype)
    view, pixels = windows(padded, geometry), (slice(None),) * (dy.ndim - 1)
    for tap in np.ndindex(*geometry.kernel_size):
        view[(*pixels, *tap)] += dy * kernel[tap]
    return crop(padded, geometry)


def _runs(x: Array, geometry: Geometry, dtype: DType) -> Iterator[tuple[Box, Runs]]:
    # The windows box by box, with the pixels under them. The sums of a box take at most half of
    # WORKSPACE, its pixels about as much.
    most = max(1, _costs.WORKSPACE // 2 // (x.shape[-1] * dtype.itemsize))
    # Without images `blocks` still gives one box, and the stretch of windows left over would start
    # behind the end of an empty array: `view_of` refuses that.
    for box in blocks((len(x), *geometry.output_size), most) if len(x) else ():
        pixels, part = geometry.part(box[1:])
        yield box, Runs.of(pad(x[(box[0], *pixels)], part, dtype), part)


class Runs(NamedTuple):
    """Windows with strides of 1 over padded images, and how many axes are one run."""

    padded: Array
    geometry: Geometry
    axes: int

    @classmethod
    def of(cls, padded: Array, geometry: Geometry) -> Runs:
        """Choose the axes of a run: the fewest wasted windows and started stretches."""
        channels, output, costs = padded.shape[-1], geometry.output_size, []
        for axes in range(1, len(output) + 1):
            wanted = math.prod(output[-axes:])
            computed = math.prod(padded.shape[-axes - 1 : -1]) if axes > 1 else wanted
            started = STRETCH / min(STRETCH, channels * wanted)
            costs.append((computed / wanted * (1 + started), axes))
        return cls(padded, geometry, min(costs)[1])

    def correlate(self, kernel: Array) -> Array:
        """Return the sums over the windows, weighted by a kernel that lies side by side."""
        outer, inner, length = self._shapes()
        channels = self.padded.shape[-1]
        # What lies behind the last window of a run stays unwritten, and is dropped too.
        sums = np.empty((*outer, length, channels), kernel.dtype)
        for shown, part in self._stretches(sums, kernel.shape[-1] // channels):
            weights = kernel[..., : shown.shape[-1]]
            i, u = "nabcd"[: part.ndim - 1], "uvw"[: len(self.geometry.kernel_size)]
            np.einsum(f"{i}{u}z,{u}z->{i}z", shown, weights, out=part)
        return self._dropped(sums.reshape(*outer, *inner, channels))

    def kernel_gradient(self, dy: Array) -> Array:
        """Return the sums of the windows, weighted by dy."""
        outer, inner, length = self._shapes()
        channels, size = dy.shape[-1], self.geometry.kernel_size
        slopes = np.zeros((*outer, *inner, channels), self.padded.dtype)
        self._dropped(slopes)[...] = dy
        total = np.zeros((*size, channels), self.padded.dtype)
        slopes = slopes.reshape(*outer, length, channels)
        for shown, part in self._stretches(slopes, max(1, STRETCH // channels)):
            i, u = "nabcd"[: part.ndim - 1], "uvw"[: len(size)]
            sums = np.einsum(f"{i}{u}z,{i}z->{u}z", shown, part)
            total += column_sums(sums.reshape(*size, -1, channels))
        if self.axes > 1 and not np.isfinite(total).all():
            return self._replace(axes=1).kernel_gradient(dy)  # 0 · inf where a window wraps
        return total

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        # The outer axes, those of a run with the windows that wrap, and its length in windows
        output, axes = self.geometry.output_size, self.axes
        outer = len(self.padded), *output[: len(output) - axes]
        inner = self.padded.shape[-axes - 1 : -1] if axes > 1 else output[-1:]
        return outer, inner, math.prod(inner)

    def _dropped(self, sums: Array) -> Array:
        # Without the windows that wrap
        inside: tuple[Any, ...] = tuple(slice(n) for n in self.geometry.output_size[-self.axes :])
        return sums[(..., *inside, slice(None))]

    def _stretches(self, sums: Array, most: int) -> Iterator[tuple[Array, Array]]:
        # Each run cut into stretches of t windows: first all full ones, of t = `most` (or of the
        # whole run, if that is shorter), then one stretch of the windows left over. Each time two
        # views: the pixels that the stretches read, (*outer, stretches, *kernel_size, t C), and
        # their part of `sums`, (*outer, stretches, t C). What `sums` has behind the last window of
        # a run is in neither.
        geometry, channels, sizes = self.geometry, sums.shape[-1], self.padded.shape[:-1]
        # Pixels from one to the next along each axis, in C order. NumPy's strides say the same in
        # bytes, except along an axis of one pixel, where they may be any number.
        steps = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
        taps = zip(geometry.kernel_size, steps[1:], geometry.dilation_rate, strict=True)
        to_taps = [step * rate if k > 1 else 0 for k, step, rate in taps]
        # From the first window of a run to its last, with those that wrap between them
        ends = zip(geometry.output_size[-self.axes :], steps[-self.axes :], strict=True)
        length = 1 + sum((n - 1) * step for n, step in ends)
        longest = min(length, most)
        whole = length - length % longest
        for start, stop, t in ((0, whole, longest), (whole, length, length - whole)):
            if start == stop:
                continue
            part = sums[..., start:stop, :]
            part = part.reshape(*part.shape[:-2], (stop - start) // t, t * channels)
            shape = *part.shape[:-1], *geometry.kernel_size, t * channels
            itemsize = self.padded.itemsize
            pixel = channels * itemsize  # in bytes, as NumPy counts
            to_next = *(s * pixel for s in (*steps[: part.ndim - 2], t, *to_taps)), itemsize
            yield view_of(self.padded, shape, start * pixel, to_next), part
