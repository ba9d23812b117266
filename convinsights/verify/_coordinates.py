"""What the elements of a result are called by: image, row, channel, group, tap and others."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from convinsights import depthwise, depthwise_separable, im2col, transposed
from convinsights._arguments import Array
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._features import axis_names

__all__ = [
    "COORDINATE_COSTS",
    "FLAT_INDICES",
    "MAP_COSTS",
    "PIXEL",
    "PIXEL_OF_BATCH",
    "Coordinate",
    "coordinates",
]


class Coordinate(NamedTuple):
    """The number of every element, and how many such numbers there are.

    The numbers are in a shape that broadcasts to the result's.
    """

    number: Array
    extent: int


# What follows the bar is said at the end: "last channels of each group".
FLAT, PIXEL = "element | (flat index)", "pixel | (flat index in the image)"
PIXEL_OF_BATCH = "pixel | (flat index through the images)"
FLAT_INDICES = (FLAT, PIXEL, PIXEL_OF_BATCH)
IN_GROUP, IN_CHANNEL = "channel | of each group", "channel | of each input channel"
PADDED = "pixels whose window touches the padding"
INSIDE = "pixels whose window does not touch the padding"
READ = "pixels that windows on the padding read"
CORNERS, BORDER = "corners", "pixels at the border"
BETWEEN = "pixels between the strides"
ADDED, UNREACHED = "pixels of the output padding", "pixels that no tap reaches"
# Coordinates that are 1 in some pixels and 0 in the others, and what each costs.
MAP_COSTS = {
    PADDED: 0.0,
    INSIDE: 0.3,
    READ: 0.5,
    CORNERS: 0.2,
    BORDER: 0.2,
    BETWEEN: 0.3,
    ADDED: 0.0,
    UNREACHED: 0.2,
}
# What the others cost, so that plain ones are preferred: nothing, but for these.
COORDINATE_COSTS = {
    FLAT: 0.6,
    PIXEL: 0.8,
    PIXEL_OF_BATCH: 0.7,
    IN_GROUP: 0.4,
    IN_CHANNEL: 0.5,
    "group": 0.2,
    "input channel": 0.3,
}
NOUNS = {"length": "pixel", "depth": "plane", "height": "row", "width": "column"}


def coordinates(case: Case, name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Coordinate]]:
    """Yield the coordinates of a result of this name and shape, each by what it is called."""
    if name in ("y", "dx"):
        yield from _of_images(case, name, shape)
    elif name.endswith("kernel"):
        nouns = [f"kernel {NOUNS[axis]}" for axis in axis_names(max(len(shape) - 2, 1))]
        last = KERNEL_CHANNELS.get((case.module, name), ("input channel", "output channel"))
        yield from _along_axes([*nouns[: len(shape) - 2], *last], shape)
        if len(shape) > 3:
            yield "tap", _flat(shape, 0, len(shape) - 2)
    else:
        yield from _along_axes(["channel"], shape)
        yield from _of_groups(case, shape)
    if len(shape) > 1:
        yield FLAT, _flat(shape, 0, len(shape))


KERNEL_CHANNELS = {
    (depthwise, "dkernel"): ("input channel", "multiple"),
    (depthwise_separable, "ddepthwise_kernel"): ("input channel", "multiple"),
}


def _along_axes(nouns: Sequence[str], shape: tuple[int, ...]) -> Iterator[tuple[str, Coordinate]]:
    for axis, noun in enumerate(nouns):
        yield noun, _flat(shape, axis, axis + 1)


def _flat(shape: tuple[int, ...], start: int, stop: int) -> Coordinate:
    # The flat index over the axes from start to stop.
    count = math.prod(shape[start:stop])
    ones = (1,) * start, (1,) * (len(shape) - stop)
    return Coordinate(np.arange(count).reshape(*ones[0], *shape[start:stop], *ones[1]), count)


def _of_images(case: Case, name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Coordinate]]:
    spatial = [NOUNS[axis] for axis in axis_names(case.rank)]
    yield from _along_axes(["image", *spatial, "channel"], shape)
    yield from _of_groups(case, shape)
    yield PIXEL_OF_BATCH, _flat(shape, 0, len(shape) - 1)
    if case.rank > 1:
        yield PIXEL, _flat(shape, 1, len(shape) - 1)
        ends = [(c.number == 0) | (c.number == c.extent - 1) for c in _spatial(shape)]
        yield BORDER, _map(shape, np.any, ends)
        yield CORNERS, _map(shape, np.all, ends)
    if case.module not in NORMALIZATIONS:
        yield from _of_windows(case, name, shape)


def _of_groups(case: Case, shape: tuple[int, ...]) -> Iterator[tuple[str, Coordinate]]:
    channel = _flat(shape, len(shape) - 1, len(shape))
    if case.module is depthwise:
        groups, nouns = case.x.shape[-1], ("input channel", IN_CHANNEL)
    else:
        groups, nouns = case.settings.get("groups", 1), ("group", IN_GROUP)
    size = shape[-1] // groups
    if groups > 1 and shape[-1] == groups * size:
        yield nouns[0], Coordinate(channel.number // size, groups)
    yield nouns[1], Coordinate(channel.number % size, size)


def _spatial(shape: tuple[int, ...]) -> list[Coordinate]:
    return [_flat(shape, axis, axis + 1) for axis in range(1, len(shape) - 1)]


def _map(shape: tuple[int, ...], combine: Callable[..., Any], marks: Sequence[Array]) -> Coordinate:
    # Of the pixels of one image, out of one mark for each axis.
    combined = combine(np.broadcast_arrays(*marks), 0)
    return Coordinate(np.broadcast_to(combined, (1, *shape[1:-1], 1)), 2)


def _of_windows(case: Case, name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Coordinate]]:
    strides = case.axes("strides")
    on_image = (name == "y") == (case.module is transposed)
    if on_image and max(strides) > 1:
        phases = [c.number % s > 0 for c, s in zip(_spatial(shape), strides, strict=True)]
        yield BETWEEN, _map(shape, np.any, phases)
    if "padding" not in case.settings:
        return
    taps = case.arrays[1].shape[:-2]
    image = shape if on_image else (case.x if name == "y" else case.dy).shape
    size = (1, *image[1:-1], 1)
    geometry: dict[str, Any] = {
        "strides": strides,
        "padding": case.padding,
        "dilation_rate": case.axes("dilation_rate"),
    }
    if case.module is transposed and name == "y":
        columns = np.ones((math.prod(case.x.shape[1:-1]), math.prod(taps)))
        reached = im2col.col2im(columns, size, taps, **geometry) > 0
        yield UNREACHED, Coordinate(~reached, 2)
        if case.settings["output_padding"] is not None:
            added = zip(_spatial(shape), case.axes("output_padding"), strict=True)
            behind = _map(shape, np.any, [c.number >= c.extent - n for c, n in added])
            if behind.number.any():
                yield ADDED, Coordinate(behind.number & reached, 2)
    if not any(map(sum, case.padding)):
        return
    # Which windows touch the padding, and which pixels those read.
    outside = 1 - im2col.im2col(np.ones(size), taps, **geometry)
    touching = outside.any(axis=1, keepdims=True)
    if on_image:
        columns = np.broadcast_to(touching.astype(float), outside.shape)
        read = im2col.col2im(np.ascontiguousarray(columns), size, taps, **geometry)
        yield READ, Coordinate(read > 0, 2)
    else:
        whole = touching.reshape(1, *shape[1:-1], 1)
        yield PADDED, Coordinate(whole, 2)
        yield INSIDE, Coordinate(~whole, 2)
