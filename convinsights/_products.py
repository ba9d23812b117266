"""The three matrix products that every convolution and its gradients are made of.

With the windows of the image as rows (see `convinsights.im2col`) and the kernel as a matrix, per
group and with R = N * prod(output_size) windows of K = prod(kernel_size) * C_in / groups entries:

    product           computes                         (rows × inner) (inner × outputs)
    correlate         y       = columns kernel         (R × K) (K × C_out/groups)
    image_gradient    dx      = col2im(dy kernelᵀ)     (R × C_out/groups) (C_out/groups × K)
    kernel_gradient   dkernel = columnsᵀ dy            (K × R) (R × C_out/groups)

A convolution is the first of them, and its backward the other two; a transposed convolution is the
second, and its backward the first and the third. Two products of the same columns are computed
together: `both_from_columns`, `both_gradients`.

Each takes the first of these ways that pays, and among blocks the cheapest (`_costs` knows the
prices):

    way           chosen by                 pays where
    by channel    by_channel, …_twice       every group is one channel, with few outputs
      collecting  collects_by_channel       dx, unless the kernel spans most of x: few windows
    boxes         in_boxes                  many taps read zeros alone: they are left out
    collecting    collects                  dx: adding to pixels costs more than gathering from dy
    strips        neighbours                wide kernels, few filters: pixels are copied many times
    blocks        -                         everywhere else: the plain way, see `_columns`
      planar      way_to_gather/scatter     few channels, long rows: stored channel by channel
      by rows     way_to_gather             tall kernels: windows of one row of taps serve all rows
      one by one  way_to_scatter            many taps, few windows

`both_gradients` asks for collecting before boxes; the product it collects with may take boxes.
Every product of blocks is cut into pieces where it is narrow, to stay on one core (`piece`).

A result must be what padded zeros would give, also where inf or nan meets one. Boxes leave zeros
out: y needs a finite kernel, dkernel a finite dy; dx drops what falls on padding anyway. Collecting
pads dy with zeros, and so needs a finite kernel. Strips put zeros into the kernel: a result that is
not finite is computed anew without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from convinsights import _channelwise, _costs
from convinsights._arguments import Array, DType
from convinsights._columns import gather_multiply, grouped, multiply_scatter
from convinsights._geometry import Geometry
from convinsights._passes import add_bias
from convinsights._strips import Strips

__all__ = [
    "both_from_columns",
    "both_from_pixels",
    "both_gradients",
    "correlate",
    "image_gradient",
    "kernel_gradient",
]


def correlate(
    x: Array, kernel: Array, bias: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return y = columns kernel + bias, (N, *output_size, C_out)."""
    (y,) = _from_columns(x, kernel, None, geometry, groups, dtype)
    if bias is not None:
        add_bias(y, bias)
    return y


def image_gradient(
    dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> Array:
    """Return dx = col2im(dy kernelᵀ), (N, *input_size, C_in)."""
    kernel = np.ascontiguousarray(kernel, dtype)
    if _by_channel(len(dy), geometry, groups, kernel.shape):
        return _channels_gradient(dy, kernel, geometry, groups)
    if _in_boxes(len(dy), geometry, groups, kernel.shape):
        dx = np.zeros((len(dy), *geometry.input_size, kernel.shape[-2] * groups), dtype)
        for windows, taps, pixels, part in geometry.boxes:
            of_dy = dy[(slice(None), *windows)]
            dx[(slice(None), *pixels)] += image_gradient(of_dy, kernel[taps], part, groups, dtype)
        return dx
    if _collects(dy, kernel, geometry, groups):
        return _collected(dy, kernel, geometry, groups, dtype)
    strips = _strips(len(dy), geometry, groups, kernel.shape, scatters=True)
    if strips:
        with np.errstate(invalid="ignore"):
            wide = strips.outputs(dy.astype(dtype, copy=False)), strips.kernel(kernel)
            dx = multiply_scatter(*wide, strips.geometry, groups, dtype)
        if np.isfinite(dx).all():
            return dx
    return multiply_scatter(dy, kernel, geometry, groups, dtype)


def kernel_gradient(x: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    """Return dkernel = columnsᵀ dy, (*kernel_size, C_in // groups, C_out)."""
    (dkernel,) = _from_columns(x, None, dy, geometry, groups, dtype)
    return dkernel


def both_from_columns(
    x: Array, kernel: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return y = columns kernel and dkernel = columnsᵀ dy, gathered once where that pays."""
    y, dkernel = _from_columns(x, kernel, dy, geometry, groups, dtype)
    return y, dkernel


def both_gradients(
    x: Array, dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return the image_gradient and the kernel_gradient.

    dkernel is columnsᵀ dy or, flipped, (windows of dy)ᵀ x. Where dx is collected with strides of 1
    the windows of dy are gathered for it anyway; here they serve both (0.75 to 0.97 of the time of
    a training step).
    """
    kernel = np.ascontiguousarray(kernel, dtype)
    plain = max(geometry.strides) == 1 and geometry.touching
    plain = plain and not _by_channel(len(x), geometry, groups, kernel.shape)
    if not (plain and _room_for(kernel, dy, 2) and _collects(dy, kernel, geometry, groups)):
        dkernel = kernel_gradient(x, dy, geometry, groups, dtype)
        return image_gradient(dy, kernel, geometry, groups, dtype), dkernel
    (phase,) = geometry.phases_to_pixels
    with np.errstate(invalid="ignore"):
        dx, backwards = both_from_columns(
            dy, _backwards(kernel, groups), x, phase.geometry, groups, dtype
        )
    # The two ways to dkernel differ only where inf or nan meets a zero of the padding. In this way
    # it is an inf or nan in x that meets the zeros around dy: `backwards` shows it. In the other
    # way it is one in dy that meets the zeros around x. Those are not read here, but every window
    # reads some pixel (touching): the inf or nan in dy meets that one, and `backwards` shows it
    # too. So if `backwards` is finite, the two agree.
    if np.isfinite(backwards).all():
        return dx, _backwards(backwards, groups)
    del backwards
    return dx, kernel_gradient(x, dy, geometry, groups, dtype)


def both_from_pixels(
    x: Array, kernel: Array, dy: Array, geometry: Geometry, groups: int, dtype: DType
) -> tuple[Array, Array]:
    """Return what `both_from_columns` does, but with no term where a tap reads no pixel.

    For the gradients of a transposed convolution: what `both_from_columns` reads as zero is there a
    pixel that was cut off, and must not count, not even as 0 · inf = nan. So this alone is not what
    padded zeros would give. It goes tap by tap, without padding.
    """
    y, dkernel = np.zeros(dy.shape, dtype), np.zeros(kernel.shape, dtype)
    given = x.astype(dtype), kernel.astype(dtype), dy.astype(dtype)
    x, taps, dy, of_y, dtaps = (grouped(a, groups) for a in (*given, y, dkernel))
    images, summed = slice(None), range(dy.ndim - 2)
    for reads in product(*(list(axis.reads()) for axis in geometry.axes())):
        tap, windows, pixels = zip(*reads, strict=True)
        for g in range(groups):
            read, at = x[(g, images, *pixels)], dy[(g, images, *windows)]
            of_y[(g, images, *windows)] += read @ taps[(g, *tap)]
            dtaps[(g, *tap)] += np.tensordot(read, at, (summed, summed))
    return y, dkernel


def _from_columns(
    x: Array, kernel: Array | None, dy: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> list[Array]:
    # [y] given a kernel, [dkernel] given dy, [y, dkernel] given both: here and in what follows, the
    # first is y and the last dkernel, where there is one
    kernel, dy = (None if a is None else np.ascontiguousarray(a, dtype) for a in (kernel, dy))
    given = [a for a in (kernel, dy) if a is not None]
    shape = *geometry.kernel_size, x.shape[-1] // groups, given[0].shape[-1]
    one, outputs = len(given) == 1, shape[-1] // groups
    by_channel = _by_channel(len(x), geometry, groups, shape)
    if by_channel and (one or _costs.by_channel_twice(geometry, groups, outputs, len(x))):
        return _channel_by_channel(x, kernel, dy, geometry, groups)
    if _in_boxes(len(x), geometry, groups, shape) and _finite(given):
        return _box_by_box(x, kernel, dy, geometry, groups, dtype)
    strips = _strips(len(x), geometry, groups, shape)
    if strips:
        results = _strip_by_strip(x, kernel, dy, strips, dtype)
        if _finite(results):
            return results
    return gather_multiply(x, kernel, dy, geometry, groups, dtype)


def _finite(arrays: list[Array]) -> bool:
    return all(np.isfinite(a).all() for a in arrays)


def _by_channel(batch: int, geometry: Geometry, groups: int, shape: tuple[int, ...]) -> bool:
    single = groups > 1 and shape[-2] == 1  # every group is one channel
    return single and _costs.by_channel(geometry, groups, shape[-1] // groups, batch)


def _channel_by_channel(
    x: Array, kernel: Array | None, dy: Array | None, geometry: Geometry, channels: int
) -> list[Array]:
    results = []
    if kernel is not None:
        y = np.empty((len(x), *geometry.output_size, kernel.shape[-1]), kernel.dtype)
        of_y = _outputs_by_multiple(y, channels)
        of_kernel = _outputs_by_multiple(kernel[..., 0, :], channels)
        for sums, weights in zip(of_y, of_kernel, strict=True):
            _channelwise.correlate(x, weights, geometry, sums)
        results.append(y)
    if dy is not None:
        of_dy = _outputs_by_multiple(dy, channels)
        parts = [_channelwise.kernel_gradient(x, part, geometry, dy.dtype) for part in of_dy]
        dkernel = np.stack(parts, axis=-1)
        results.append(dkernel.reshape(*geometry.kernel_size, 1, dy.shape[-1]))
    return results


def _channels_gradient(dy: Array, kernel: Array, geometry: Geometry, channels: int) -> Array:
    collects = _costs.collects_by_channel(geometry) and np.isfinite(kernel).all()
    every = collects and max(geometry.strides) == 1  # every pixel is written
    dx = (np.empty if every else np.zeros)((len(dy), *geometry.input_size, channels), kernel.dtype)
    of_outputs = zip(
        _outputs_by_multiple(dy, channels),
        _outputs_by_multiple(kernel[..., 0, :], channels),
        strict=True,
    )
    for index, (of_dy, of_kernel) in enumerate(of_outputs):
        if collects:
            _channelwise.image_gradient(of_dy, of_kernel, geometry, dx, add=index > 0)
        else:
            dx += _channelwise.multiply_scatter(of_dy, of_kernel, geometry)
    return dx


def _outputs_by_multiple(outputs: Array, channels: int) -> Iterator[Array]:
    # (…, C M) -> M times (…, C): every channel's m-th output
    each = outputs.reshape(*outputs.shape[:-1], channels, outputs.shape[-1] // channels)
    return (each[..., m] for m in range(each.shape[-1]))


def _in_boxes(batch: int, geometry: Geometry, groups: int, shape: tuple[int, ...]) -> bool:
    return _costs.in_boxes(geometry, groups, shape[-2], shape[-1] // groups, batch)


def _box_by_box(
    x: Array, kernel: Array | None, dy: Array | None, geometry: Geometry, groups: int, dtype: DType
) -> list[Array]:
    results = []
    if kernel is not None:
        results.append(np.zeros((len(x), *geometry.output_size, kernel.shape[-1]), dtype))
    if dy is not None:
        shape = *geometry.kernel_size, x.shape[-1] // groups, dy.shape[-1]
        results.append(np.zeros(shape, dtype))
    for windows, taps, pixels, part in geometry.boxes:
        at = (slice(None), *windows)
        factors = None if kernel is None else kernel[taps], None if dy is None else dy[at]
        of_box = _from_columns(x[(slice(None), *pixels)], *factors, part, groups, dtype)
        if kernel is not None:
            results[0][at] = of_box[0]
        if dy is not None:
            results[-1][taps] += of_box[-1]
    return results


def _collects(dy: Array, kernel: Array, geometry: Geometry, groups: int) -> bool:
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    cheaper = _costs.collects(geometry, groups, inputs, outputs, len(dy))
    return _room_for(kernel, dy, 1) and cheaper and bool(np.isfinite(kernel).all())


def _room_for(kernel: Array, dy: Array, copies: int) -> bool:
    # Whether so many rearranged copies of the kernel keep the promise on memory
    return copies * kernel.nbytes <= max(copies * dy.nbytes, _costs.COPIED * _costs.WORKSPACE)


def _collected(dy: Array, kernel: Array, geometry: Geometry, groups: int, dtype: DType) -> Array:
    # col2im without adding: every pixel collects, phase by phase of the strides, from the windows
    # that read it. With strides of 1 there is one phase, and dx is the convolution of dy with the
    # flipped kernel.
    phases = geometry.phases_to_pixels
    if max(geometry.strides) == 1:
        return correlate(dy, _backwards(kernel, groups), None, phases[0].geometry, groups, dtype)
    dx = np.zeros((len(dy), *geometry.input_size, kernel.shape[-2] * groups), dtype)
    for phase in phases:
        part = _backwards(kernel[phase.taps], groups)
        dx[(slice(None), *phase.pixels)] = correlate(dy, part, None, phase.geometry, groups, dtype)
    return dx


def _backwards(kernel: Array, groups: int) -> Array:
    # The kernel with its taps flipped, from output channels to input channels; its own inverse:
    # (*kernel_size, C_in // groups, C_out) -> (*kernel_size, C_out // groups, C_in)
    *taps, inputs, outputs = kernel.shape
    flipped = kernel[(slice(None, None, -1),) * len(taps)]
    by_group = flipped.reshape(*taps, inputs, groups, outputs // groups).swapaxes(-1, -3)
    return np.ascontiguousarray(by_group.reshape(*taps, outputs // groups, groups * inputs))


def _strips(
    batch: int, geometry: Geometry, groups: int, shape: tuple[int, ...], scatters: bool = False
) -> Strips | None:
    sizes = shape[-2], shape[-1] // groups, batch
    count = _costs.neighbours(geometry, groups, *sizes, scatters)
    return Strips(geometry, count, groups) if count > 1 else None


def _strip_by_strip(
    x: Array, kernel: Array | None, dy: Array | None, strips: Strips, dtype: DType
) -> list[Array]:
    wide = None if kernel is None else strips.kernel(kernel)
    slopes = None if dy is None else strips.outputs(dy)
    with np.errstate(invalid="ignore"):
        results = gather_multiply(x, wide, slopes, strips.geometry, strips.groups, dtype)
        if kernel is not None:
            results[0] = strips.outputs_back(results[0])
        if dy is not None:
            results[-1] = strips.kernel_back(results[-1])
    return results
