"""Which windows read which pixels: what max and average pooling share.

Along an axis, tap u of window i reads pixel i s + u d - before where there is one. Where there is
none it reads nothing, so that no image is padded.

A window is a column of rows. Its maximum is that of its rows' maxima, and its sum that of their
sums: images are pooled along one axis after the other, in k1 + k2 steps rather than k1 k2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from convinsights._arguments import (
    Array,
    DType,
    Ints,
    Pad,
    check_pixels,
    per_axis,
    shape_of,
    shown,
)
from convinsights._costs import WORKSPACE
from convinsights._geometry import Geometry
from convinsights._passes import Box, blocks
from convinsights._remembered import remembered

__all__ = [
    "canonical_plan",
    "one_by_one",
    "output_shape",
    "patches",
    "plan",
    "pooled_shape",
    "reads",
    "starts",
    "taps_over_pixels",
]

# Along an axis, windows are read one by one where each has more than TAPS times as many taps as
# there are windows (see `one_by_one`). With 1, whole images of 7×7 pixels and 2048 channels take
# 1.9 to 4.6 times as long, with 128 those of 112×112 pixels 1.4 to 1.7 times, and with no limit
# 16,000 samples 80 to 190 times.
TAPS = 16


class Read(NamedTuple):
    """Some windows, the pixel (or pixels) that each reads, and with which first tap.

    Windows and pixels are indices of arrays (N, *spatial, C).
    """

    windows: Box
    tap: int
    pixels: Box


def plan(
    x_shape: tuple[int, ...],
    pool_size: Ints | None,
    strides: Ints | None,
    padding: Pad,
    dilation_rate: Ints = 1,
    name: str = "x",
) -> Geometry:
    """Lay the windows over an image, or say why they do not fit."""
    check_pixels(name, x_shape)
    sizes = x_shape[1:-1]
    if pool_size is None:
        none = isinstance(padding, str) and padding == "valid"
        for argument, value in (("strides", strides), ("padding", None if none else padding)):
            if value is not None:
                raise ValueError(
                    f"{argument} must be left out where pool_size is None, the whole image, "
                    f"got {shown(value)}"
                )
        pool_size = sizes
    size = per_axis("pool_size", pool_size, len(sizes))
    steps = size if strides is None else strides
    padded = x_shape[0], x_shape[-1]
    names = name, "pool_size"
    geometry = Geometry.of(sizes, size, steps, padding, dilation_rate, "pool", padded, names)
    if not geometry.touching:
        for axis, (first, last) in enumerate(taps_over_pixels(_canonical(geometry))):
            if (first > last).any():
                raise ValueError(
                    f"padding must leave every window a pixel, got {geometry.padding}, with which "
                    f"window {(first > last).argmax()} along spatial axis {axis} has none"
                )
    return geometry


@remembered
def canonical_plan(
    x_shape: tuple[int, ...],
    pool_size: Ints | None,
    strides: Ints | None,
    padding: Pad,
    dilation_rate: Ints = 1,
) -> Geometry:
    """Lay the windows, with strides of 1 where there is a single one, a rate of 1 for a single tap.

    Neither matters there, and what was given may be so large that it would overflow.
    """
    return _canonical(plan(x_shape, pool_size, strides, padding, dilation_rate))


def _canonical(geometry: Geometry) -> Geometry:
    axes = geometry.axes()
    return replace(
        geometry,
        strides=tuple(stride if windows > 1 else 1 for _, _, stride, _, _, windows in axes),
        dilation_rate=tuple(rate if taps > 1 else 1 for _, taps, _, rate, _, _ in axes),
    )


def output_shape(
    input_shape: tuple[int, ...],
    pool_size: Ints | None,
    strides: Ints | None,
    padding: Pad,
    dilation_rate: Ints = 1,
) -> tuple[int, ...]:
    """Return the output's shape, (N, *output_size, C)."""
    shape = shape_of("input_shape", input_shape, minimum=0)
    geometry = plan(shape, pool_size, strides, padding, dilation_rate, "input_shape")
    return shape[0], *geometry.output_size, shape[-1]


def patches(
    x_shape: tuple[int, ...], geometry: Geometry, dtype: DType
) -> Iterator[tuple[Box, Box, Geometry]]:
    """Cut an image into boxes of windows that stay in the cache with their pixels: WORKSPACE bytes.

    Of 1 MiB, 3×3 and 2×2 pooling of 64 channels with strides of 2 takes 1.15 to 1.2 times as long.

    Yields the windows, the pixels under them, and the windows laid over these alone.
    """
    pixels = math.prod(geometry.input_size) * x_shape[-1] * dtype.itemsize
    most = WORKSPACE * math.prod(geometry.output_size) // pixels
    for box in blocks((x_shape[0], *geometry.output_size), most):
        under, part = geometry.part(box[1:])
        yield box, (box[0], *under), part


def pooled_shape(image: Array, geometry: Geometry, axis: int) -> tuple[int, ...]:
    """Return the shape of an image (N, *spatial, C) that is pooled along one of its axes."""
    return *image.shape[:axis], geometry.output_size[axis - 1], *image.shape[axis + 1 :]


def reads(geometry: Geometry, axis: int) -> list[Read]:
    """Tell along an axis of (N, *spatial, C) which windows read which pixels.

    Tap by tap, one pixel for every window; or, where they are read `one_by_one`, window by window,
    all of its pixels.
    """
    outer, along = (slice(None),) * axis, axis - 1
    if not one_by_one(geometry, axis):
        return [
            Read((*outer, windows), tap, (*outer, pixels))
            for tap, windows, pixels in geometry.axes()[along].reads()
        ]
    (first, last), start = taps_over_pixels(geometry)[along], starts(geometry)[along]
    rate = geometry.dilation_rate[along]
    ends = zip(first, start + first * rate, start + last * rate, strict=True)
    return [
        Read((*outer, slice(i, i + 1)), tap, (*outer, slice(low, high + 1, rate)))
        for i, (tap, low, high) in enumerate(ends)
    ]


def one_by_one(geometry: Geometry, axis: int) -> bool:
    """Tell whether windows are read one by one along an axis: there are far fewer than taps.

    Global pooling of 16,000 samples is one step then, not as many.
    """
    along = axis - 1
    return geometry.output_size[along] * TAPS < geometry.kernel_size[along]


def taps_over_pixels(geometry: Geometry) -> list[tuple[Array, Array]]:
    """Return for each axis the first and the last tap that every window has over a pixel."""
    return [
        (np.maximum(0, -(start // rate)), np.minimum(taps - 1, (size - 1 - start) // rate))
        for (size, taps, _, rate, _, _), start in zip(
            geometry.axes(), starts(geometry), strict=True
        )
    ]


def starts(geometry: Geometry) -> list[Array]:
    """Return for each axis where the first tap of every window lies."""
    return [
        np.arange(windows) * stride - before
        for _, _, stride, _, (before, _), windows in geometry.axes()
    ]
