"""Kernels that are right in the precision they claim, forward and backward, and forgetful ones.

Only where the windows lie is the library's; every product and every sum is formed here, in the
arithmetic that is named. `forgetful` drops one tap of average size.
"""

import math

import numpy as np

from convinsights import conv, depthwise, dilated, transposed, unary
from convinsights._arguments import per_axis
from convinsights._geometry import Geometry
from convinsights.verify import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, TFLOAT32


def keep(array):
    return array


class Direct:
    """Tap by tap: operands are rounded by `read`, sums have the dtype `sums`."""

    def __init__(self, sums, read=keep):
        self.sums, self.read = np.dtype(sums), read

    def dot(self, a, b):
        """(…, n) by (n, o), one product after the other."""
        a, b = (self.read(array).astype(self.sums) for array in (a, b))
        if self.sums.itemsize > 2:
            return a @ b
        total = np.zeros((*a.shape[:-1], b.shape[-1]), self.sums)
        for i in range(len(b)):
            total += a[..., i, None] * b[i]
        return total

    def windows_of(self, x, kernel, geometry, groups):
        """The convolution."""
        padded, total = around(x, geometry), None
        for tap in np.ndindex(geometry.kernel_size):
            pixels = split(padded[(slice(None), *reads(tap, geometry))], groups)
            taps = split(kernel[tap], groups)
            part = [self.dot(p, t) for p, t in zip(pixels, taps, strict=True)]
            total = joined(part) if total is None else total + joined(part)
        return total

    def pixels_of(self, dy, kernel, geometry, groups):
        """Its adjoint in the image."""
        shape = len(dy), *geometry.padded_size, groups * kernel.shape[-2]
        total = np.zeros(shape, self.sums)
        for tap in np.ndindex(geometry.kernel_size):
            windows, taps = split(dy, groups), split(kernel[tap], groups)
            part = [self.dot(w, t.T) for w, t in zip(windows, taps, strict=True)]
            total[(slice(None), *reads(tap, geometry))] += joined(part)
        return inside(total, geometry)

    def taps_of(self, dy, x, geometry, groups):
        """Its adjoint in the kernel."""
        padded, result = around(x, geometry), []
        for tap in np.ndindex(geometry.kernel_size):
            pixels = split(padded[(slice(None), *reads(tap, geometry))], groups)
            pairs = zip(pixels, split(dy, groups), strict=True)
            result.append(joined([self.dot(flat(p).T, flat(w)) for p, w in pairs]))
        return np.reshape(result, (*geometry.kernel_size, *result[0].shape))


# A', G and B' by the number of outputs of a tile
MATRICES = {
    2: (
        np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
        np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    ),
    4: (
        np.array(
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
        ),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
    ),
}


class Winograd(Direct):
    """F(m, 3) along every axis of three adjacent taps, in float32; direct sums where there is none.

    Transformed operands are rounded by `read`.
    """

    def __init__(self, m, read=keep):
        super().__init__(np.float32, read)
        self.m = m
        self.output, self.taps, self.pixels = (a.astype(np.float32) for a in MATRICES[m])

    def axes(self, geometry):
        """The axes of three taps, where all of the others have one."""
        adjacent = {*geometry.strides, *geometry.dilation_rate} == {1}
        fits = adjacent and {3} <= {*geometry.kernel_size} <= {1, 3}
        return [axis for axis, k in enumerate(geometry.kernel_size) if k == 3 and fits]

    def tiles(self, image, axes, width):
        """(N, tiles, …, G c, numbers, …) of an image with m + 2 - width pixels less than tiles."""
        for axis in axes:
            zeros = [(0, 0)] * image.ndim
            zeros[1 + axis] = (0, -(image.shape[1 + axis] - width) % self.m)
            image = np.pad(image, zeros)
        places = [1 + axis for axis in axes]
        tiles = np.lib.stride_tricks.sliding_window_view(image, [width] * len(axes), places)
        every = [slice(None, None, self.m if axis in places else 1) for axis in range(image.ndim)]
        return tiles[tuple(every)].astype(np.float32)

    def by_group(self, numbers, matrix, axes, channels, groups):
        """A matrix along the last axes, which go in front of (G, channels of a group)."""
        for _ in axes:
            numbers = np.moveaxis(np.tensordot(matrix, numbers, (1, -1)), 0, channels)
        numbers = np.moveaxis(numbers, channels + len(axes), -1)
        return self.read(numbers.reshape(*numbers.shape[:-1], groups, numbers.shape[-1] // groups))

    def windows_of(self, x, kernel, geometry, groups):
        axes, rank = self.axes(geometry), len(geometry.kernel_size)
        if not axes:
            return super().windows_of(x, kernel, geometry, groups)
        tiles = self.tiles(around(x, geometry), axes, self.m + 2)
        v = self.by_group(tiles, self.pixels, axes, rank + 1, groups)  # (N, tiles, points, G, c)
        bare = kernel.reshape(*[3] * len(axes), *kernel.shape[-2:])
        u = self.read(along(self.taps, bare, range(len(axes))))
        u = np.moveaxis(u.reshape(*u.shape[:-1], groups, -1), -2, -3)  # (points, G, c, o)
        sums = (v[..., np.newaxis, :] @ u)[..., 0, :]
        sums = sums.reshape(*sums.shape[:-2], kernel.shape[-1])  # (N, tiles, points, O)
        y = along(self.output, sums, range(rank + 1, rank + 1 + len(axes)))
        for axis in axes:  # the first of the axes of outputs goes behind its tiles
            y = np.moveaxis(y, rank + 1, axis + 2)
            size = y.shape[axis + 1] * self.m
            y = y.reshape(*y.shape[: axis + 1], size, *y.shape[axis + 3 :])
        return y[(slice(None), *map(slice, geometry.output_size))]

    def pixels_of(self, dy, kernel, geometry, groups):
        pairs = zip(geometry.padding, geometry.kernel_size, strict=True)
        zeros = tuple((k - 1 - a, k - 1 - b) for (a, b), k in pairs)
        if not self.axes(geometry) or min(map(min, zeros)) < 0:
            return super().pixels_of(dy, kernel, geometry, groups)
        ones = (1,) * len(zeros)
        flipped = kernel[(slice(None, None, -1),) * len(zeros)]
        turned = joined([part.swapaxes(-1, -2) for part in split(flipped, groups)])
        back = Geometry.of(geometry.output_size, geometry.kernel_size, ones, zeros, ones)
        return self.windows_of(dy, turned, back, groups)

    def taps_of(self, dy, x, geometry, groups):
        axes, rank = self.axes(geometry), len(geometry.kernel_size)
        if not axes:
            return super().taps_of(dy, x, geometry, groups)
        tiles = self.tiles(around(x, geometry), axes, self.m + 2)
        v = self.by_group(tiles, self.pixels, axes, rank + 1, groups)
        cut = self.tiles(dy, axes, self.m)
        w = self.by_group(cut, self.output.T, axes, rank + 1, groups)
        v, w = (a.reshape(math.prod(a.shape[: rank + 1]), *a.shape[rank + 1 :]) for a in (v, w))
        sums = np.einsum("t...gc,t...go->...cgo", v, w, optimize=True)
        taps = along(self.taps.T, sums, range(len(axes)))
        return taps.reshape(*geometry.kernel_size, taps.shape[-3], -1)


class Fourier(Direct):
    """By discrete Fourier transforms of the whole images, in float32."""

    def __init__(self):
        super().__init__(np.float32)

    def transform(self, image, geometry):
        axes = range(1, 1 + len(geometry.padded_size))
        return np.fft.rfftn(image.astype(np.float32), geometry.padded_size, axes)

    def back(self, numbers, geometry):
        axes = range(1, 1 + len(geometry.padded_size))
        return np.fft.irfftn(numbers, geometry.padded_size, axes).astype(np.float32)

    def stuffed(self, small, steps, geometry):
        """Numbers `steps` apart on an image of zeros, as large as the padded one."""
        image = np.zeros((len(small), *geometry.padded_size, small.shape[-1]), np.float32)
        places = zip(small.shape[1:-1], steps, strict=True)
        image[(slice(None), *(slice(0, n * s, s) for n, s in places))] = small
        return image

    def spectrum(self, kernel, geometry):
        """(1, frequencies, Cin of a group, Cout)."""
        *taps, rows, columns = kernel.shape
        flat = self.stuffed(kernel.reshape(1, *taps, -1), geometry.dilation_rate, geometry)
        numbers = self.transform(flat, geometry)
        return numbers.reshape(*numbers.shape[:-1], rows, columns)

    def windows_of(self, x, kernel, geometry, groups):
        image = split(self.transform(around(x, geometry), geometry), groups)
        taps = split(self.spectrum(kernel, geometry).conj(), groups)
        sums = [(i[..., np.newaxis, :] @ t)[..., 0, :] for i, t in zip(image, taps, strict=True)]
        places = zip(geometry.output_size, geometry.strides, strict=True)
        where = (slice(None), *(slice(0, (n - 1) * s + 1, s) for n, s in places))
        return self.back(joined(sums), geometry)[where]

    def pixels_of(self, dy, kernel, geometry, groups):
        windows = self.stuffed(dy, geometry.strides, geometry)
        windows = split(self.transform(windows, geometry), groups)
        taps = [t.swapaxes(-1, -2) for t in split(self.spectrum(kernel, geometry), groups)]
        sums = [(w[..., np.newaxis, :] @ t)[..., 0, :] for w, t in zip(windows, taps, strict=True)]
        return inside(self.back(joined(sums), geometry), geometry)

    def taps_of(self, dy, x, geometry, groups):
        image = split(self.transform(around(x, geometry), geometry), groups)
        windows = self.stuffed(dy, geometry.strides, geometry)
        windows = split(self.transform(windows, geometry).conj(), groups)
        sums = [
            np.einsum("n...c,n...o->...co", i, w)[np.newaxis]
            for i, w in zip(image, windows, strict=True)
        ]
        total = joined(sums)
        flat = self.back(total.reshape(*total.shape[:-2], -1), geometry)[0]
        taps = zip(geometry.kernel_size, geometry.dilation_rate, strict=True)
        flat = flat[tuple(slice(0, (k - 1) * d + 1, d) for k, d in taps)]
        return flat.reshape(*flat.shape[:-1], *total.shape[-2:])


def around(x, geometry):
    return np.pad(x, [(0, 0), *geometry.padding, (0, 0)])


def inside(padded, geometry):
    pairs = zip(geometry.padding, geometry.input_size, strict=True)
    return padded[(slice(None), *(slice(a, a + n) for (a, _), n in pairs))]


def reads(tap, geometry):
    """The padded pixels that a tap reads, window by window."""
    axes = zip(tap, geometry.dilation_rate, geometry.strides, geometry.output_size, strict=True)
    return tuple(slice(u * d, u * d + (n - 1) * s + 1, s) for u, d, s, n in axes)


def split(array, groups):
    return np.split(array, groups, axis=-1)


def joined(parts):
    return np.concatenate(parts, axis=-1)


def flat(array):
    return array.reshape(-1, array.shape[-1])


def along(matrix, array, axes):
    for axis in axes:
        array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
    return array


def kernel_of(module, arithmetic, store=keep, *, dropped=False):
    """(forward, backward) of a module in an arithmetic; results are rounded by `store`.

    With `dropped` a tap of average size is forgotten in every output, in every pixel's gradient,
    and a pixel in every tap's.
    """
    back_to_front = module is transposed

    def prepared(x, kernel, hyper):
        rank = x.ndim - 2
        full, groups = kernel, hyper.get("groups", 1)
        if module is unary:
            full = kernel.reshape(*[1] * rank, *kernel.shape[-2:])
        elif module is depthwise:
            full, groups = kernel.reshape(*kernel.shape[:-2], 1, -1), kernel.shape[-2]
        size = x.shape[1:-1]
        if back_to_front:
            size = transposed.output_shape(x.shape, kernel.shape, **hyper)[1:-1]
        geometry = Geometry.of(
            size,
            full.shape[:-2],
            per_axis("strides", hyper.get("strides", 1), rank),
            hyper.get("padding", "same" if module is dilated else "valid"),
            hyper.get("dilation_rate", 2 if module is dilated else 1),
        )
        return without_one(full) if dropped else full, geometry, groups

    def stored(array, shape):
        given = arithmetic.sums if arithmetic.sums == np.int32 else store(array).dtype
        return np.ascontiguousarray(store(array).reshape(shape), given)

    def forward(x, kernel, bias, **hyper):
        full, geometry, groups = prepared(x, kernel, hyper)
        way = arithmetic.pixels_of if back_to_front else arithmetic.windows_of
        y = way(x, full, geometry, groups)
        y = y if bias is None else (y + bias.astype(y.dtype)).astype(y.dtype)
        return stored(y, y.shape)

    def backward(dy, x, kernel, bias, **hyper):
        full, geometry, groups = prepared(x, kernel, hyper)
        images = without_one(x) if dropped else x
        if back_to_front:
            dx = arithmetic.windows_of(dy, full, geometry, groups)
            dkernel = arithmetic.taps_of(images, dy, geometry, groups)
        else:
            dx = arithmetic.pixels_of(dy, full, geometry, groups)
            dkernel = arithmetic.taps_of(dy, images, geometry, groups)
        ones = np.ones((1, flat(dy).shape[0]), dy.dtype)
        dbias = arithmetic.dot(ones, flat(dy))[0]
        return stored(dx, x.shape), stored(dkernel, kernel.shape), stored(dbias, dbias.shape)

    return forward, backward


def without_one(array):
    """Without the number of average size, among those of every last index."""
    parts = flat(array).copy()
    if parts.size:
        sizes = np.abs(parts.astype(float))
        nearest = np.abs(sizes - sizes.mean(axis=0)) + (sizes == 0) * sizes.max()
        parts[nearest.argmin(axis=0), range(parts.shape[-1])] = 0
    return parts.reshape(array.shape)


def half(array):
    return array.astype(np.float16)


# What is claimed, and how it is computed
RIGHT = {
    "float32": ({}, Direct(np.float32), keep),
    "float16 with float32 sums": (
        {"dtype": np.float16, "accumulate": np.float32},
        Direct(np.float32),
        half,
    ),
    "float16 sums": ({"dtype": np.float16}, Direct(np.float16), half),
    "bfloat16": ({"dtype": BFLOAT16}, Direct(np.float32), BFLOAT16.round),
    "tfloat32 operands": ({"operands": TFLOAT32}, Direct(np.float32, TFLOAT32.round), keep),
    "float8 operands": ({"operands": FLOAT8_E4M3}, Direct(np.float32, FLOAT8_E4M3.round), keep),
    "float8 results": (
        {"dtype": FLOAT8_E5M2, "accumulate": np.float32},
        Direct(np.float32),
        FLOAT8_E5M2.round,
    ),
    "int8": ({"dtype": np.int8}, Direct(np.int32), keep),
    "winograd of 2": ({"algorithm": "winograd"}, Winograd(2), keep),
    "winograd of 4": ({"algorithm": "winograd"}, Winograd(4), keep),
    "winograd in float16": (
        {"algorithm": "winograd", "dtype": np.float16, "accumulate": np.float32},
        Winograd(4),
        half,
    ),
    "fft": ({"algorithm": "fft"}, Fourier(), keep),
}
MODULES = conv, dilated, depthwise, transposed, unary
