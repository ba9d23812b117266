"""What the sums of a convolution are made of: how many products, and how large they can get.

Every result is a sum over windows, taps and channels. Number i of the windows along an axis, with
stride s and rate d, reads at tap u the pixel p = i s + u d - before, if there is one. So the
products that meet in one result are, along each axis,

    of a window    the taps u that read a pixel        y of conv, dx of transposed
    of a pixel     the windows and taps that read it   dx of conv, y of transposed
    of a tap       the windows in which it reads one   dkernel

times the channels that are summed (for dkernel: times the images). These counts look at no value.
Two methods look at the kernel's values. `over` gives the largest sum of them that one result reads;
the largest sum of their magnitudes, times the largest magnitude of the other array, bounds every
sum of products. `tap_norms` are the roots of such sums of squares, tap by tap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from convinsights import depthwise, depthwise_separable, transposed, unary
from convinsights._arguments import Array
from convinsights._geometry import Geometry
from convinsights.verify._calls import Call, Outcome

__all__ = ["Products", "largest", "peaks", "roundings"]


T = TypeVar("T")


class Products(NamedTuple):
    """What a convolution's products are made by: the kernel, its groups, the windows."""

    module: ModuleType
    kernel: Array
    groups: int
    geometry: Geometry

    @classmethod
    def of(cls, call: Call) -> Products:
        """Lay the windows; of depthwise_separable, those of its first step."""
        module, settings, kernel = call.module, call.settings, call.arrays[1]
        if module is depthwise_separable:
            module = depthwise
        geometry = Geometry.of(
            call.image_size,
            (1,) * call.rank if module is unary else kernel.shape[:-2],
            call.axes("strides"),
            settings.get("padding", "valid"),
            settings.get("dilation_rate", 1),
        )
        groups = kernel.shape[-2] if module is depthwise else settings.get("groups", 1)
        return cls(module, kernel, groups, geometry)

    @property
    def channels(self) -> tuple[int, int]:
        """How many channels are summed in y, and in dx."""
        rows, columns = self._grouped(self.kernel).shape[-2:]
        # A sum over a column has as many terms as there are rows, and the other way round.
        return self._in_order(rows, columns)

    def over(self, values: Array) -> tuple[float, float]:
        """Return the largest sum of the kernel's values that one y reads, and that one dx reads."""
        parts = self._grouped(values)
        taps = tuple(range(parts.ndim - 3))
        of_columns, of_rows = (parts.sum(axis=(*taps, axis)) for axis in (-2, -1))
        return self._in_order(largest(of_columns), largest(of_rows))

    def tap_norms(self) -> tuple[Array, Array]:
        """Return, for y and dx, the largest norm of a tap over the channels, (taps, G)."""
        squares = self._grouped(np.square(self.kernel))
        of_columns, of_rows = (np.sqrt(squares.sum(axis).max(-1)) for axis in (-2, -1))
        return self._in_order(of_columns, of_rows)

    def _grouped(self, values: Array) -> Array:
        # (taps, G, rows, columns of a group)
        if self.module is depthwise:  # every channel is a group
            return values[..., np.newaxis, :]
        return np.moveaxis(values.reshape(*values.shape[:-1], self.groups, -1), -2, -3)

    def _in_order(self, of_columns: T, of_rows: T) -> tuple[T, T]:
        # What is summed over rows is a y, over columns a dx; transposed convolutions have it the
        # other way round.
        pair = of_columns, of_rows
        return pair[::-1] if self.module is transposed else pair

    def counts(self, images: int) -> Outcome:
        """Return how many products are summed in y, dx, dkernel and dbias, to be broadcast."""
        window, pixel, tap = map(_outer, zip(*map(_axis_counts, *self._axes()), strict=True))
        inputs, outputs = self.channels
        y, dx = self._in_order(window[..., np.newaxis], pixel[..., np.newaxis])
        return {
            "y": y * inputs,
            "dx": dx * outputs,
            "dkernel": images * tap.reshape(*self.kernel.shape[:-2], 1, 1),
            "dbias": np.asarray(images * y.size),
        }

    def _axes(self) -> tuple[Any, ...]:
        g = self.geometry
        before = [zeros for zeros, _ in g.padding]
        return g.input_size, g.kernel_size, g.strides, g.dilation_rate, before, g.output_size


def roundings(call: Call) -> Outcome:
    """Return how often a product is rounded on its way into each result.

    n times in a sum of n products: the product itself, and n - 1 additions. In two steps, the
    roundings of both.
    """
    *_, bias = call.arrays
    counts = Products.of(call).counts(len(call.x))
    if call.module is depthwise_separable:
        channels, filters = call.arrays[2].shape[-2:]
        first = counts["y"]
        counts = {
            "y": first + channels,
            "dx": counts["dx"] + filters,
            "ddepthwise_kernel": counts["dkernel"] + filters,
            "dpointwise_kernel": first.max() + counts["dbias"],
            "dbias": counts["dbias"],
        }
    return counts | {"y": counts["y"] + (bias is not None)}


def _axis_counts(
    size: int, taps: int, stride: int, rate: int, before: int, windows: int
) -> tuple[Array, Array, Array]:
    # Along one axis: the taps of each window, the reads of each pixel, the windows of each tap.
    i, u = np.arange(windows) * stride - before, np.arange(taps) * rate - before
    of_window = _between(-i, size - i, rate, taps)
    of_tap = _between(-u, size - u, stride, windows)
    of_pixel = np.zeros(size)
    # Tap by tap, or window by window where those are fewer: slices of the pixels that are read.
    starts, step, count = (u, stride, windows) if taps < windows else (i, rate, taps)
    for start in starts:
        first = start if start >= 0 else start % step
        of_pixel[first : max(0, start + count * step) : step] += 1
    return of_window, of_pixel, of_tap


def _between(low: Array, high: Array, step: int, count: int) -> Array:
    # How many of 0, step, …, (count - 1) step lie in [low, high)
    first, last = np.clip(-(-low // step), 0, count), np.clip(-(-high // step), 0, count)
    counts: Array = (last - first).astype(np.float64)
    return counts


def _outer(axes: Sequence[Array]) -> Array:
    return reduce(np.multiply.outer, axes)


def largest(array: Array) -> float:
    """Return the largest magnitude, without an array of them all; infinite beside a nan."""
    most = max(float(array.max(initial=0)), -float(array.min(initial=0)))
    return most if most < math.inf else math.inf


def peaks(call: Call, enough: float = 0.0) -> dict[str, float]:
    """Return what no sum of magnitudes exceeds, result by result, without forming any.

    A cruder bound is returned where that is at most `enough`.
    """
    (x, kernel, *others, bias), dy = call.arrays, call.dy
    of_y, of_dx = Products.of(call).over(np.abs(kernel))
    result, between = {"y": of_y * largest(x)}, 1.0
    if others:
        pointwise = np.abs(others[0]).reshape(others[0].shape[-2:])
        first, between = result["y"], largest(pointwise.sum(axis=1))
        result["y"] = first * largest(pointwise.sum(axis=0))
    if bias is not None:
        result["y"] += largest(bias)
    if dy is None:
        return result
    most = largest(dy) * between

    def total(images: Array, factor: float) -> float:
        # Of the values of any one channel, times a factor
        crude: float = math.prod(images.shape[:-1]) * largest(images) * factor
        if crude <= enough:
            return crude
        return largest(np.abs(images).reshape(-1, images.shape[-1]).sum(axis=0)) * factor

    result |= {"dx": of_dx * most, "dbias": total(dy, 1.0)}
    if not others:
        return result | {"dkernel": min(total(x, most), total(dy, largest(x)))}
    return result | {"ddepthwise_kernel": total(x, most), "dpointwise_kernel": total(dy, first)}
