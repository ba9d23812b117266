"""The columns of images, block by block, and their products.

The columns would take prod(kernel_size) times the memory of the images. So they are not all there:
windows are gathered block by block into a workspace, where the product reads them out of the cache.
Groups come first, (groups, windows, K): np.matmul then multiplies group by group. Kernels come in
the dtype that is computed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from convinsights import _costs
from convinsights._arguments import Array, DType
from convinsights._geometry import Geometry
from convinsights._passes import Box, blocks
from convinsights._pieces import add_product, write_product
from convinsights.im2col import blank, copy_runs, crop, pad, scatter, windows

__all__ = ["gather_multiply", "grouped", "multiply_scatter"]

# In how many places, in turn, blocks are gathered where two cores multiply them. What another core
# has just read is slow to write to again where the cores share no cache: in one place, ordinary
# layers take 1.1 times as long on two cores, and 3-D 1.15 times.
TURNS = 5

# Bytes of a block that is freed at once: a little less than the 32 MiB that glibc looks at.
FREED = 31 * 2**20


def _keep_freed_memory() -> None:
    # glibc takes every large array from new pages, and filling those costs as much as the copy. Its
    # threshold is dynamic (mallopt(3), M_MMAP_THRESHOLD): freeing a mapped block raises it to that
    # block's size, at most 32 MiB, and the trim threshold to twice that. Then arrays of up to that
    # size use again what others left. This block is freed at once and never written to. Without it,
    # training steps of 5 to 50 ms take 1.0 to 1.3 times as long.
    np.empty(FREED, np.uint8)


_keep_freed_memory()


def gather_multiply(
    x: Array, kernel: Array | None, dy: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> list[Array]:
    """Return y = columns kernel, given a kernel, and dkernel = columnsᵀ dy, given dy."""
    filters, results = next(a.shape[-1] for a in (kernel, dy) if a is not None), []
    rank = len(geometry.folded.kernel_size)
    columns = Columns(_folded(x, rank), geometry.folded, groups, filters, dtype)
    if kernel is not None:
        y = np.empty((len(x), *geometry.output_size, filters), dtype)
        matrix = columns.split(_by_group(kernel, groups))
        results.append(y)
        y = _folded(y, rank)
    if dy is not None:
        dkernel = np.empty((*geometry.kernel_size, x.shape[-1] // groups, filters), dtype)
        dmatrix = columns.split(_by_group(dkernel, groups))
        results.append(dkernel)
        dy = _folded(dy, rank)
    for index, (box, parts) in enumerate(columns.gathered()):
        if kernel is not None:
            _multiply(parts, matrix, out=_rows(y[box], groups))
        if dy is not None:
            _accumulate(parts, _rows(dy[box], groups), dmatrix, first=index == 0)
    return results


def multiply_scatter(
    dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return dx = col2im(dy kernelᵀ)."""
    dy, channels = np.ascontiguousarray(dy, dtype), kernel.shape[-2]
    matrix = _by_group(kernel, groups).swapaxes(1, 2)
    way, entries = _costs.way_to_scatter(geometry, channels, len(dy)), matrix.shape[-1]
    elsewhere = groups > 1 or geometry.is_padded or way.planar  # pixels are added up there first
    make = np.empty if elsewhere or geometry.is_identity else np.zeros
    dx = make((len(dy), *geometry.input_size, groups * channels), dtype)
    if geometry.is_identity:
        write_product(_rows(dy, groups), matrix, _rows(dx, groups))
        return dx
    most = max(1, _costs.WORKSPACE // (entries * groups * dtype.itemsize))
    boxes = list(blocks(dy.shape[:-1], most))
    room = entries * groups * min(most, dy.size // dy.shape[-1])
    one_core = _costs.piece(matrix.shape[1], entries) > 0
    workspace = Workspace(room, len(boxes), one_core, dtype)
    for some, of_images in groupby(boxes, itemgetter(0)):
        padded = images = grouped(dx[some], groups)
        if elsewhere:
            padded = blank(images.shape[:2], geometry, channels, dtype, way.planar)
        view = windows(padded, geometry)
        for box in of_images:
            target = view[(slice(None), slice(None), *box[1:])]
            columns = workspace.columns(target.shape, way.planar)
            write_product(_rows(dy[box], groups), matrix, _as_matrix(columns))
            scatter(columns, target, geometry, way)
        if elsewhere:
            _put(images, crop(padded, geometry))
        del padded, view, target  # the next images use their memory again
    return dx


class Columns:
    """The columns of images, gathered block by block in the way that `_costs` chooses.

    Plainly they are one part: copies of the windows of a box. Planar: the same, stored entry by
    entry. By rows (see `_costs.way_to_gather`): the windows of the first row of taps, over the rows
    of the box and the halo below. Row u of the kernel is multiplied by these columns from row
    u · rate on: each such view is a part, and the products of the parts are added up.
    """

    def __init__(
        self, x: Array, geometry: Geometry, groups: int, filters: int, dtype: DType
    ) -> None:
        self.x, self.geometry, self.groups, self.dtype = x, geometry, groups, dtype
        sizes = groups, len(x), x.shape[-1] // groups, filters // groups
        self.layout = _layout(geometry, *sizes, dtype.itemsize)
        self.identity = geometry.is_identity and x.dtype == dtype  # the windows are the pixels

    def split(self, matrix: Array) -> Array:
        """Show a matrix (groups, K, columns) as the parts (groups, parts, K / parts, columns)."""
        return matrix.reshape(len(matrix), len(self.layout.starts), -1, matrix.shape[-1])

    def gathered(self) -> Iterator[tuple[Box, list[Array]]]:
        """Go through the windows box by box: their columns, one for each part of the matrix.

        Only the images of a box are padded, and the next ones in the memory that these leave, which
        is still in the cache.
        """
        layout, starts = self.layout, self.layout.starts
        boxes = list(blocks((len(self.x), *self.geometry.output_size), layout.most))
        workspace = Workspace(layout.numbers, len(boxes), layout.one_core, self.dtype)
        for some, of_images in groupby(boxes, itemgetter(0)):
            view = self._windows(some)
            for box in of_images:
                rows, *others = box[1:]
                if rows.stop is not None:
                    rows = slice(rows.start, rows.stop + layout.halo)
                columns = view[(slice(None), slice(None), rows, *others)]
                # Groups may lie apart, each contiguous in itself: the first one tells for all.
                in_place = self.identity or columns[:1].flags.c_contiguous
                if not in_place:
                    room = workspace.columns(columns.shape, layout.planar)
                    copy_runs(room, columns)
                    columns = room
                matrix = _as_matrix(columns)
                count = matrix.shape[1] - starts[-1]
                yield box, [matrix[:, start : start + count] for start in starts]
            del view, columns, matrix  # the next images are padded in the same memory

    def _windows(self, some: slice) -> Array:
        images = grouped(self.x[some], self.groups)
        if self.identity:
            return images.reshape(*images.shape[:-1], *self.geometry.kernel_size, images.shape[-1])
        padded = pad(images, self.geometry, self.dtype, self.layout.planar)
        return windows(padded, self.layout.shown)


class Layout(NamedTuple):
    """How columns are gathered: what follows from sizes alone."""

    shown: Geometry  # the windows, or those of one row of taps
    planar: bool
    halo: int  # rows of pixels that a block reads below its own
    starts: range  # the first window (row of the matrix) of each part
    most: int  # windows in a block
    numbers: int  # in the columns of a block, of all groups
    one_core: bool  # whether one core multiplies them alone


@lru_cache(1024)
def _layout(
    geometry: Geometry, groups: int, batch: int, inputs: int, outputs: int, itemsize: int
) -> Layout:
    entries = math.prod(geometry.kernel_size) * inputs
    numbers = _costs.WORKSPACE // (groups * itemsize)
    way = _costs.way_to_gather(geometry, groups, inputs, outputs, numbers)
    shown, halo, most = geometry, 0, max(1, numbers // entries)
    line = math.prod(geometry.output_size[1:])
    if way.high:
        shown, halo, most = geometry.by_row(), geometry.halo, way.high * line
        entries //= geometry.kernel_size[0]
    starts = range(0, halo * line + 1, geometry.dilation_rate[0] * line)
    count = min(most, batch * math.prod(geometry.output_size)) + halo * line
    one_core = _costs.piece(entries, outputs) > 0
    return Layout(shown, way.planar, halo, starts, most, groups * entries * count, one_core)


class Workspace:
    """Room for the columns of a few blocks, used in turn.

    size: numbers in a block. count: blocks to come. one_core: whether one core multiplies each. The
    places take at most TURNS * WORKSPACE bytes together, or one window if that alone takes more.
    """

    def __init__(self, size: int, count: int, one_core: bool, dtype: DType) -> None:
        turns = 1 if one_core else TURNS
        fitting = turns * _costs.WORKSPACE // max(1, size * dtype.itemsize)
        self.size, self.dtype = size, dtype
        self.turns = max(1, min(count, turns, fitting))
        self.places: list[Array] = []  # made when first used, the latest last

    def columns(self, shape: tuple[int, ...], planar: bool) -> Array:
        """Return room for windows (groups, *windows, *entries); planar: stored entry by entry."""
        if len(self.places) < self.turns:
            self.places.append(np.empty(self.size, self.dtype))
        else:
            self.places.append(self.places.pop(0))
        room = self.places[-1][: math.prod(shape)]
        if not planar:
            return room.reshape(shape)
        axes = len(shape) // 2
        turned = room.reshape(shape[0], *shape[axes + 1 :], *shape[1 : axes + 1])
        return turned.transpose(0, *range(axes + 1, len(shape)), *range(1, axes + 1))


def _multiply(parts: list[Array], matrix: Array, out: Array) -> None:
    """Write out = columns matrix, part by part."""
    first, *others = parts
    write_product(first, matrix[:, 0], out)
    for u, part in enumerate(others, 1):
        # The product lies in memory as out does: with groups of 16 channels 0.9 of the time.
        out += write_product(part, matrix[:, u], np.empty_like(out))


def _accumulate(parts: list[Array], dy: Array, dmatrix: Array, first: bool) -> None:
    """Add columnsᵀ dy to dmatrix, part by part; the first block writes it, also if it is empty."""
    for u, part in enumerate(parts):
        add_product(part.swapaxes(1, 2), dy, dmatrix[:, u], write=first)


def _folded(pixels: Array, rank: int) -> Array:
    """Show pixels with so many spatial axes: those before are more images (`Geometry.folded`)."""
    images = pixels.shape[: -rank - 1]
    return pixels.reshape(math.prod(images), *pixels.shape[len(images) :])


def grouped(pixels: Array, groups: int) -> Array:
    """Show pixels (…, C) group by group: (groups, …, C // groups)."""
    *outer, channels = pixels.shape
    apart = pixels.reshape(*outer, groups, channels // groups)
    return apart.transpose(-2, *range(len(outer)), -1)  # np.moveaxis takes 4 µs


def _rows(pixels: Array, groups: int) -> Array:
    """Show contiguous pixels (…, C) as the rows of a matrix: (groups, pixels, C // groups)."""
    return pixels.reshape(-1, groups, pixels.shape[-1] // groups).swapaxes(0, 1)


def _as_matrix(columns: Array) -> Array:
    """Show columns (groups, *windows, *entries) as (groups, windows, K)."""
    entries = columns.shape[columns.ndim // 2 + 1 :]
    return columns.reshape(len(columns), -1, math.prod(entries))


def _by_group(kernel: Array, groups: int) -> Array:
    # (*kernel_size, C_in // groups, C_out) -> (groups, K, C_out // groups)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).swapaxes(0, 1)


def _put(target: Array, pixels: Array) -> None:
    """Write pixels, group by group, to their place in an image that `grouped` shows."""
    if pixels.strides[-1] > pixels.itemsize:  # planar; `copy_runs` takes 2 to 6 times as long
        for of_target, group in zip(target, pixels, strict=True):
            np.stack(list(np.moveaxis(group, -1, 0)), axis=-1, out=of_target)
    else:
        copy_runs(target, pixels)
