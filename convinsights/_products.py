"""The three matrix products that every convolution and its gradients are made of.

With the windows of the image as rows (see `convinsights.im2col`) and the kernel as a matrix, per
group and with R = N * prod(output_size) windows of K = prod(kernel_size) * C_in / groups entries:

    product           computes                         (rows × inner) (inner × columns)
    correlate         y       = columns kernel         (R × K) (K × C_out/groups)
    image_gradient    dx      = col2im(dy kernelᵀ)     (R × C_out/groups) (C_out/groups × K)
    kernel_gradient   dkernel = columnsᵀ dy            (K × R) (R × C_out/groups)

A convolution is the first of them, and its backward the other two; a transposed convolution is the
second, and its backward the first and the third. Two products of the same columns are computed
together: `both_from_columns`, `both_gradients`.

The columns would take prod(kernel_size) times the memory of the image. So they are not all there:
windows are gathered block by block into a workspace, where the product reads them out of the cache.
Where it pays, they are windows of one row of taps (see `_Columns`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np

from convinsights._arguments import Array, DType
from convinsights._geometry import Geometry
from convinsights._passes import Box, add_bias, blocks
from convinsights.im2col import NARROW, blank, crop, few, pad, scatter, windows

__all__ = [
    "both_from_columns",
    "both_gradients",
    "correlate",
    "image_gradient",
    "kernel_gradient",
    "rounded",
]

# Bytes of columns gathered at a time, unless the kernel is larger than an eighth of it (see
# `_block_size`). With 2 to 4 MiB, 3×3 layers of 64 channels take about as long as the bare matrix
# product; with 256 KiB up to 2.5 times (it is split too finely), and with all columns at once up to
# 2 times (they leave the cache).
WORKSPACE = 4 * 2**20

# Blocks are gathered into at most so many places in turn, of TURNS * WORKSPACE bytes together. What
# another core has just read is slow to write to again where the cores share no cache: in one place,
# training steps of 3×3 and 5×5 layers take 1.0 to 1.6 times as long. Where the cores share one,
# more places fill it: with 8 of 2.5 MiB steps take 1.08 times as long as with 5.
TURNS = 5

# Fewest windows in a block of an image for which gathering by rows pays (see `_Columns`).
PIXELS = 512

# Pixels to a window above which an image gradient is scattered (see `Geometry.spread`).
SPREAD = 1.5

# The C library of Linux takes every large array from new pages, and filling those costs as much as
# the copy. Once it has seen a large block freed it keeps blocks of up to that size, at most 32 MiB,
# to use again, of all freed memory twice as much. This one is freed at once and never written to.
# Without it, training steps of 5 to 50 ms take 1.0 to 1.3 times as long.
np.empty(31 * 2**20, np.uint8)


def correlate(
    x: Array, kernel: Array, bias: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return y = columns kernel + bias, (N, *output_size, C_out)."""
    kernel = kernel.astype(dtype, copy=False)
    y = np.empty((len(x), *geometry.output_size, kernel.shape[-1]), dtype)
    columns = _Columns(x, geometry, groups, y.shape[-1], _block_size(kernel), dtype)
    matrix = columns.split(_by_group(kernel, groups))
    for box in columns.boxes:
        _multiply(columns.gather(box), matrix, out=_rows(y[box], groups))
        if bias is not None:
            add_bias(y[box], bias)
    return y


def image_gradient(
    dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return dx = col2im(dy kernelᵀ), (N, *input_size, C_in)."""
    kernel = kernel.astype(dtype, copy=False)
    if _collects(dy, kernel, geometry, groups):
        return _gathered(dy, kernel, geometry, groups, dtype)
    return _scattered(dy, kernel, geometry, groups, dtype)


def _collects(dy: Array, kernel: Array, geometry: Geometry, groups: int) -> bool:
    # Whether the pixels of an image gradient are gathered from windows of dy, or scattered to.
    channels, windows_count = kernel.shape[-2] * groups, dy.size // kernel.shape[-1]
    # Gathering windows of dy, C_out numbers per tap, takes 0.4 to 0.9 of the time of scattering
    # C_in numbers per tap, each of which is read, added to and written back. But C_out must not be
    # much the larger: at twice C_in it takes 1.1 to 1.5 times as long if strides that do not divide
    # the kernel cut it into phases of few taps.
    uneven = any(k % s for k, s in zip(geometry.kernel_size, geometry.strides, strict=True))
    not_many_filters = kernel.shape[-1] <= (1.5 if uneven else 2) * channels
    # Gathering needs a rearranged copy of the kernel, C_in C_out / groups numbers per tap: at most
    # as large as dy or 16 MiB, and paid for by three windows per input channel.
    small_kernel = kernel.nbytes <= max(dy.nbytes, 4 * WORKSPACE) and windows_count > 3 * channels
    # Gathering visits every pixel, scattering every window: with four windows of 7×7 on 8×8 pixels
    # it takes 4 to 8 times as long.
    dense = geometry.spread <= SPREAD
    # Windows that lie apart are scattered without adding, in 0.4 to 0.9 of the time.
    overlapping = not geometry.disjoint
    possible = not_many_filters and small_kernel and dense and overlapping
    # Gathering meets the zeros around dy: 0 · inf would be nan.
    return possible and bool(np.isfinite(kernel).all())


def _gathered(dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    # col2im without adding: every pixel collects, phase by phase of the strides, from the windows
    # that read it. With strides of 1 there is one phase, and dx is the convolution of dy with the
    # flipped kernel.
    phases = geometry.phases()
    if max(geometry.strides) == 1:
        return correlate(dy, _backwards(kernel, groups), None, phases[0].geometry, groups, dtype)
    dx = np.zeros((len(dy), *geometry.input_size, kernel.shape[-2] * groups), dtype)
    for phase in phases:
        part = _backwards(kernel[phase.taps], groups)
        dx[(slice(None), *phase.pixels)] = correlate(dy, part, None, phase.geometry, groups, dtype)
    return dx


def _scattered(dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    dy = np.ascontiguousarray(dy, dtype)
    matrix = _by_group(kernel, groups).swapaxes(1, 2)
    channels = kernel.shape[-2] * groups
    overlapping = not geometry.disjoint
    planar = overlapping and _planar(geometry, len(dy), channels)
    padded = blank(len(dy), geometry, channels, dtype, planar)
    view = windows(padded, geometry)
    if groups == 1 and view.flags.c_contiguous:
        # The windows lie side by side, as those of a 1×1 kernel do: nothing to add up, and 0.7 to
        # 0.9 of the time.
        np.matmul(dy.reshape(-1, dy.shape[-1]), matrix[0], out=view.reshape(-1, matrix.shape[-1]))
        return crop(padded, geometry)
    width = matrix.shape[-1] * groups
    workspace = _Workspace(
        dy.shape[:-1], width, _block_size(kernel) // (width * dtype.itemsize), groups, dtype
    )
    for box in workspace.boxes:
        target = view[box]
        count = target.size // width
        # Stored in the order in which `scatter` goes through them; else 1.2 to 1.4 times the time.
        across = overlapping and few(channels, count)
        columns = workspace.columns(count, across)
        np.matmul(_rows(dy[box], groups), matrix, out=columns)
        shaped = _as_windows(columns, target.shape, groups)
        scatter(shaped, _split(target, groups), geometry, across)
    return crop(padded, geometry)


def kernel_gradient(x: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    """Return dkernel = columnsᵀ dy, (*kernel_size, C_in // groups, C_out)."""
    dy = np.ascontiguousarray(dy, dtype)
    dkernel = np.empty((*geometry.kernel_size, x.shape[-1] // groups, dy.shape[-1]), dtype)
    columns = _Columns(x, geometry, groups, dy.shape[-1], _block_size(dkernel), dtype)
    dmatrix = columns.split(_by_group(dkernel, groups))
    for index, box in enumerate(columns.boxes):
        _accumulate(columns.gather(box), _rows(dy[box], groups), dmatrix, first=index == 0)
    return dkernel


def both_from_columns(
    x: Array, kernel: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return y = columns kernel and dkernel = columnsᵀ dy, gathering the windows of x once."""
    dy = np.ascontiguousarray(dy, dtype)
    y, dkernel = np.empty(dy.shape, dtype), np.empty(kernel.shape, dtype)
    columns = _Columns(x, geometry, groups, dy.shape[-1], _block_size(dkernel), dtype)
    matrix = columns.split(_by_group(kernel.astype(dtype, copy=False), groups))
    dmatrix = columns.split(_by_group(dkernel, groups))
    for index, box in enumerate(columns.boxes):
        parts = columns.gather(box)
        _multiply(parts, matrix, out=_rows(y[box], groups))
        _accumulate(parts, _rows(dy[box], groups), dmatrix, first=index == 0)
    return y, dkernel


def both_gradients(
    x: Array, dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return the image_gradient and the kernel_gradient.

    dkernel is columnsᵀ dy or, just as well, backwards: (windows of dy)ᵀ x. Where dx is gathered
    with strides of 1, the windows of dy are there anyway, and serve both: training steps take 0.75
    to 0.97 of the time.
    """
    kernel = kernel.astype(dtype, copy=False)
    # At the end its gradient is there in both orders, beside a block of columns.
    small_kernel = kernel.nbytes <= max(dy.nbytes, 2 * WORKSPACE)
    plain = max(geometry.strides) == 1 and geometry.touching
    if not (small_kernel and plain and _collects(dy, kernel, geometry, groups)):
        dkernel = kernel_gradient(x, dy, geometry, groups, dtype)
        return image_gradient(dy, kernel, geometry, groups, dtype), dkernel
    (phase,) = geometry.phases()
    with np.errstate(invalid="ignore"):  # see below
        dx, backwards = both_from_columns(
            dy, _backwards(kernel, groups), x, phase.geometry, groups, dtype
        )
    # Here pixels meet the zeros around dy, in kernel_gradient dy those around the pixels. That only
    # differs where such a zero meets inf or nan; and as every window of x reads some pixel
    # (`touching`), some tap's gradient here is not finite then.
    if np.isfinite(backwards).all():
        return dx, np.ascontiguousarray(_backwards(backwards, groups))
    del backwards
    return dx, kernel_gradient(x, dy, geometry, groups, dtype)


def rounded(dtype: DType, *arrays: Array | None) -> Iterator[Any]:
    """Round results to the dtype they are to have; None stays None."""
    return (None if a is None else a.astype(dtype, copy=False) for a in arrays)


def _multiply(parts: list[Array], matrix: Array, out: Array) -> None:
    # out = columns kernel, part by part
    first, *others = parts
    np.matmul(first, matrix[:, 0], out=out)
    for u, part in enumerate(others, 1):
        # The product lies in memory as out does: with groups of 16 channels 0.9 of the time.
        out += np.matmul(part, matrix[:, u], out=np.empty_like(out))


def _accumulate(parts: list[Array], rows: Array, dmatrix: Array, first: bool) -> None:
    # dkernel += columnsᵀ dy, part by part. The first block writes dkernel, with zeros if it has no
    # windows. The others add to it, WORKSPACE bytes of the product at a time: whole, it would be a
    # second dkernel.
    step = max(1, WORKSPACE // (len(rows) * rows.shape[-1] * rows.itemsize))
    for u, part in enumerate(parts):
        turned, target = part.swapaxes(1, 2), dmatrix[:, u]
        if first:
            np.matmul(turned, rows, out=target)
            continue
        for start in range(0, target.shape[1], step):
            some = slice(start, start + step)
            target[:, some] += turned[:, some] @ rows


def _block_size(kernel: Array) -> int:
    # Every block reads the whole kernel, or adds to its whole gradient, so blocks are eight times
    # as large as the kernel, between 4 and 12 MiB. With blocks of twice its size, 3×3×256×256 takes
    # 1.1 times as long; with 4 MiB, 3×3×512×512 takes 1.1 to 1.4 times. Those beyond 10 MiB have
    # one place (see TURNS).
    return min(max(WORKSPACE, 8 * kernel.nbytes), 3 * WORKSPACE)


class _Columns:
    """The columns of an image, gathered block by block into a workspace.

    Windows that lie one below the other read mostly the same rows of pixels. Where it pays, windows
    of one row of taps are gathered, over every row of pixels. Row u of the kernel is multiplied by
    those from row u d on, and the products are added up: about 1 / kernel_size[0] of the copying,
    for some more adding. Layers of 3×3 take 0.8 to 0.95 of the time, of 5×5 and 7×7 0.7.
    """

    def __init__(
        self, x: Array, geometry: Geometry, groups: int, filters: int, size: int, dtype: DType
    ) -> None:
        pixels, channels = (len(x), *geometry.output_size), x.shape[-1]
        taps, rate = geometry.kernel_size[0], geometry.dilation_rate[0]
        line, halo = math.prod(pixels[2:]), geometry.halo
        width = math.prod(geometry.kernel_size[1:]) * channels
        # Rows of windows in a block: those of one image, or as many as fit with their halo.
        high = min(pixels[1], size // (line * width * dtype.itemsize) - halo)
        most = high * line
        if (
            most >= PIXELS  # the products stay large
            and geometry.strides[0] == 1  # one row of pixels per row of windows
            and 2 * width >= 3 * filters  # more copying is saved than is added
            and 2 * (high + halo) <= taps * high  # with the halo, at most half the copying
            and (groups == 1 or filters >= NARROW * groups)  # a group's sums are long runs
        ):
            shown, self.planar = geometry.by_row(), False
        else:
            # Stored channel by channel, one copy runs along a row of pixels; else along what lies
            # together in a window: a row of taps with all channels or, where there are groups or
            # dilated taps, the channels of one tap. The longer run wins: copying windows takes 0.6
            # to 0.7 of the time with 5×5 taps of 6 channels, 30 numbers, on rows of 12 pixels, and
            # twice the time with groups of 4 channels on rows of 28.
            part = channels // groups
            beside = 1 if groups * geometry.dilation_rate[-1] > 1 else geometry.kernel_size[-1]
            shown = geometry
            self.planar = _planar(geometry, len(x), part) and pixels[-1] >= beside * part
            halo, width = 0, width * taps
            most = size // (width * dtype.itemsize)
        self.view, self.halo = windows(pad(x, geometry, dtype, self.planar), shown), halo
        self.workspace = _Workspace(pixels, width, most, groups, dtype, halo * line)
        self.boxes = self.workspace.boxes
        self.starts = range(0, halo * line + 1, rate * line)

    def split(self, matrix: Array) -> Array:
        """Show a matrix (groups, K, columns) as the parts (groups, parts, K / parts, columns)."""
        return matrix.reshape(len(matrix), len(self.starts), -1, matrix.shape[-1])

    def gather(self, box: Box) -> list[Array]:
        """Return the columns of the windows in this box, one for each part of the matrix."""
        images, rows, *others = box
        if rows.stop is not None:
            rows = slice(rows.start, rows.stop + self.halo)
        columns = self.workspace.gather(self.view[(images, rows, *others)], self.planar)
        count = columns.shape[1] - self.starts[-1]
        return [columns[:, start : start + count] for start in self.starts]


class _Workspace:
    """Pixels block by block, and room for the columns of a few blocks, used in turn.

    The columns are (groups, windows, K): `most` windows, and `more` that a block by rows gathers
    below its last.
    """

    def __init__(
        self,
        pixels: tuple[int, ...],
        width: int,
        most: int,
        groups: int,
        dtype: DType,
        more: int = 0,
    ) -> None:
        self.width, self.groups = width, groups
        self.boxes = list(blocks(pixels, most))
        size = (min(max(1, most), math.prod(pixels)) + more) * width
        self.places = _places(size, len(self.boxes), dtype)

    def columns(self, count: int, across: bool) -> Array:
        """Return room for the columns of so many windows; across: stored entry by entry."""
        room = next(self.places)[: count * self.width]
        if across:
            return room.reshape(self.groups, self.width // self.groups, count).swapaxes(1, 2)
        return room.reshape(self.groups, count, self.width // self.groups)

    def gather(self, view: Array, across: bool) -> Array:
        """Copy windows into the workspace; where they lie side by side, use them as they are."""
        if self.groups == 1 and view.flags.c_contiguous:
            return view.reshape(1, -1, self.width)
        columns = self.columns(view.size // self.width, across)
        np.copyto(_as_windows(columns, view.shape, self.groups), _split(view, self.groups))
        return columns


def _planar(geometry: Geometry, batch: int, channels: int) -> bool:
    # Few channels: windows are gathered from an image, and scattered to one, that is stored channel
    # by channel. Copying then runs along the pixels, not over the few channels of a tap: training
    # steps of 1 to 8 channels take 0.5 to 0.9 of the time.
    return (
        few(channels, batch * math.prod(geometry.output_size))
        and geometry.strides[-1] == 1  # neighbouring windows read neighbouring pixels
        and math.prod(geometry.kernel_size) > 1  # there is something to copy
    )


def _places(size: int, count: int, dtype: DType) -> Iterator[Array]:
    # Room for so many blocks of this size, at most TURNS and as many as fit; made when first used
    fitting = TURNS * WORKSPACE // max(1, size * dtype.itemsize)
    yield from cycle([np.empty(size, dtype) for _ in range(max(1, min(count, TURNS, fitting)))])


def _by_group(kernel: Array, groups: int) -> Array:
    # (*kernel_size, C_in // groups, C_out) -> (groups, K, C_out // groups)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).swapaxes(0, 1)


def _backwards(kernel: Array, groups: int) -> Array:
    # The kernel with its taps flipped, from output channels to input channels; its own inverse:
    # (*kernel_size, C_in // groups, C_out) -> (*kernel_size, C_out // groups, C_in)
    *taps, inputs, outputs = kernel.shape
    flipped = kernel[(slice(None, None, -1),) * len(taps)]
    by_group = flipped.reshape(*taps, inputs, groups, outputs // groups).swapaxes(-1, -3)
    return by_group.reshape(*taps, outputs // groups, groups * inputs)


def _rows(pixels: Array, groups: int) -> Array:
    # (…, C) -> (groups, pixels, C // groups), a view of contiguous pixels
    return pixels.reshape(-1, groups, pixels.shape[-1] // groups).swapaxes(0, 1)


def _split(view: Array, groups: int) -> Array:
    # (…, C) -> (…, groups, C // groups)
    return view.reshape(*view.shape[:-1], groups, view.shape[-1] // groups)


def _as_windows(columns: Array, shape: tuple[int, ...], groups: int) -> Array:
    # (groups, windows, K) -> (*windows, groups, C // groups)
    by_group = columns.reshape(groups, *shape[:-1], shape[-1] // groups)
    return by_group.transpose(*range(1, len(shape)), 0, len(shape))
