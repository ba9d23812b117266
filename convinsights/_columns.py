"""The columns of images, block by block, and their products.

The columns would take prod(kernel_size) times the memory of the images. So they are not all there:
windows are gathered block by block into a workspace, where the product reads them out of the cache.
Groups come first, (groups, windows, K): np.matmul then multiplies group by group. Kernels come in
the dtype that is computed in.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convinsights import _costs
from convinsights._arguments import Array, DType
from convinsights._geometry import Geometry
from convinsights._passes import Box, add_bias, blocks
from convinsights._pieces import add_product, product
from convinsights.im2col import blank, copy_runs, crop, pad, scatter, windows

__all__ = [
    "gather_accumulate",
    "gather_both",
    "gather_multiply",
    "grouped",
    "multiply_scatter",
    "ungrouped",
]

# Places that blocks which two cores multiply are gathered into in turn. What another core has just
# read is slow to write to again where the cores share no cache: in one place, training steps of
# wide 3×3 layers take 1.2 times as long.
TURNS = 5


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
    x: Array, kernel: Array, bias: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return y = columns kernel + bias."""
    y = np.empty((len(x), *geometry.output_size, kernel.shape[-1]), dtype)
    columns = Columns(x, geometry, groups, y.shape[-1], dtype)
    matrix = columns.split(_by_group(kernel, groups))
    for box in columns.boxes:
        part = y[box]
        _multiply(columns.gather(box), matrix, out=_rows(part, groups))
        if bias is not None:
            add_bias(part, bias)
    return y


def multiply_scatter(
    dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return dx = col2im(dy kernelᵀ)."""
    dy, channels = np.ascontiguousarray(dy, dtype), kernel.shape[-2]
    matrix = _by_group(kernel, groups).swapaxes(1, 2)
    way = _costs.way_to_scatter(geometry, channels, len(dy))
    padded = blank((groups, len(dy)), geometry, channels, dtype, way.planar)
    view = windows(padded, geometry)
    if view.flags.c_contiguous:
        # The windows lie side by side, as those of a 1×1 kernel do: nothing to add up, and 0.7 to
        # 0.9 of the time.
        product(_rows(dy, groups), matrix, _as_matrix(view))
    else:
        entries = matrix.shape[-1]
        most = max(1, _costs.WORKSPACE // (entries * groups * dtype.itemsize))
        boxes = list(blocks(dy.shape[:-1], most))
        room = entries * groups * min(most, dy.size // dy.shape[-1])
        one_core = _costs.piece(matrix.shape[1], entries) > 0
        workspace = Workspace(room, len(boxes), one_core, dtype)
        for box in boxes:
            target = view[(slice(None), *box)]
            columns = workspace.columns(target.shape, way.planar)
            product(_rows(dy[box], groups), matrix, _as_matrix(columns))
            scatter(columns, target, geometry, way)
    return ungrouped(crop(padded, geometry))


def gather_accumulate(x: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    """Return dkernel = columnsᵀ dy."""
    dkernel = np.empty((*geometry.kernel_size, x.shape[-1] // groups, dy.shape[-1]), dtype)
    columns = Columns(x, geometry, groups, dy.shape[-1], dtype)
    dmatrix = columns.split(_by_group(dkernel, groups))
    for index, box in enumerate(columns.boxes):
        _accumulate(columns.gather(box), _rows(dy[box], groups), dmatrix, first=index == 0)
    return dkernel


def gather_both(
    x: Array, kernel: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return y = columns kernel and dkernel = columnsᵀ dy, gathering the windows of x once."""
    y, dkernel = np.empty(dy.shape, dtype), np.empty(kernel.shape, dtype)
    columns = Columns(x, geometry, groups, dy.shape[-1], dtype)
    matrix = columns.split(_by_group(kernel, groups))
    dmatrix = columns.split(_by_group(dkernel, groups))
    for index, box in enumerate(columns.boxes):
        parts = columns.gather(box)
        _multiply(parts, matrix, out=_rows(y[box], groups))
        _accumulate(parts, _rows(dy[box], groups), dmatrix, first=index == 0)
    return y, dkernel


class Columns:
    """The columns of images, gathered block by block in the way that `_costs` chooses.

    Plainly they are one part, and `gather` copies the windows of a box. Planar: the same, stored
    entry by entry. By rows: only the windows of the first row of taps are gathered, over every row
    of pixels of the box and the halo below it. For row u of taps they are the same matrix, from
    u · rate rows of windows on: a part of its own, and the products of all parts add up.
    """

    def __init__(
        self, x: Array, geometry: Geometry, groups: int, filters: int, dtype: DType
    ) -> None:
        images, pixels = grouped(x, groups), (len(x), *geometry.output_size)
        inputs, outputs = images.shape[-1], filters // groups
        layout = _layout(geometry, groups, len(x), inputs, outputs, dtype.itemsize)
        self.planar, self.halo, self.starts = layout.planar, layout.halo, layout.starts
        self.identity = geometry.is_identity and x.dtype == dtype  # the windows are the pixels
        if self.identity:
            self.view = images.reshape(*images.shape[:-1], *geometry.kernel_size, inputs)
        else:
            self.view = windows(pad(images, geometry, dtype, layout.planar), layout.shown)
        self.boxes = list(blocks(pixels, layout.most))
        self.workspace = Workspace(layout.numbers, len(self.boxes), layout.one_core, dtype)

    def split(self, matrix: Array) -> Array:
        """Show a matrix (groups, K, columns) as the parts (groups, parts, K / parts, columns)."""
        return matrix.reshape(len(matrix), len(self.starts), -1, matrix.shape[-1])

    def gather(self, box: Box) -> list[Array]:
        """Return the columns of the windows in this box, one for each part of the matrix."""
        images, first, *others = box
        if first.stop is not None:
            first = slice(first.start, first.stop + self.halo)
        view = self.view[(slice(None), images, first, *others)]
        if not (self.identity or view.flags.c_contiguous):
            columns = self.workspace.columns(view.shape, self.planar)
            copy_runs(columns, view)
            view = columns
        matrix = _as_matrix(view)
        count = matrix.shape[1] - self.starts[-1]
        return [matrix[:, start : start + count] for start in self.starts]


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
    places take TURNS * WORKSPACE bytes together: fewer, if one window alone is larger than that.
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
    product(first, matrix[:, 0], out)
    for u, part in enumerate(others, 1):
        # The product lies in memory as out does: with groups of 16 channels 0.9 of the time.
        out += product(part, matrix[:, u], np.empty_like(out))


def _accumulate(parts: list[Array], dy: Array, dmatrix: Array, first: bool) -> None:
    """Add columnsᵀ dy to dmatrix, part by part; the first block writes it, also if it is empty."""
    for u, part in enumerate(parts):
        add_product(part.swapaxes(1, 2), dy, dmatrix[:, u], write=first)


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


def ungrouped(pixels: Array) -> Array:
    """Put the groups of pixels together again, in C order: the inverse of `grouped`."""
    if pixels.strides[-1] > pixels.itemsize:  # planar; `copy` takes 2 to 6 times as long
        return np.stack([plane for group in pixels for plane in np.moveaxis(group, -1, 0)], axis=-1)
    turned = pixels.transpose(*range(1, pixels.ndim - 1), 0, -1)
    together = turned
    if not turned.flags.c_contiguous:
        together = np.empty(turned.shape, pixels.dtype)
        copy_runs(together, turned)
    return together.reshape(*together.shape[:-2], len(pixels) * pixels.shape[-1])
