"""Kernels with one fault each, of the kinds that are found in bug reports of real ones.

Every entry makes a fresh forward and backward, for some remember what they were given; everything
but the fault is the library's own.
"""

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    normalization,
    transposed,
    unary,
    verify,
)


class Wrong(NamedTuple):
    """A faulty kernel: what it is, for which module, how it is made, and how it is explained.

    None where that is not told, or need not be.
    """

    name: str
    module: ModuleType
    make: Callable[[], tuple[Callable[..., Any], Callable[..., Any] | None]]
    diagnosis: str | None = None
    when: str | None = None
    where: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012


def right(module):
    """The forward and the backward of the library, as `verify` calls them."""

    def forward(*arrays, **hyper):
        return module.forward(*arrays, **hyper)[0]

    def backward(dy, *arrays, **hyper):
        names = [name for name in module.Gradients._fields if name != "statistics"]
        gradients = module.backward(dy, module.forward(*arrays, **hyper)[1])
        return tuple(gradients[: len(names)])

    return forward, backward


def before(module, change):
    """A forward that changes what it is given: change(arrays, hyperparameters) -> both."""

    def forward(*arrays, **hyper):
        arrays, hyper = change(list(arrays), dict(hyper))
        return module.forward(*arrays, **hyper)[0]

    return lambda: (forward, None)


def after(module, change):
    """A forward that changes its result in place: change(y, arrays, hyperparameters)."""

    def forward(*arrays, **hyper):
        y = module.forward(*arrays, **hyper)[0]
        if y.size:
            changed = change(y, arrays, hyper)
            y = y if changed is None else changed
        return y

    return lambda: (forward, None)


def gradient(module, change):
    """A backward that changes its gradients: change(gradients, dy, arrays, hyperparameters)."""
    forward, backward = right(module)

    def broken(dy, *arrays, **hyper):
        gradients = list(backward(dy, *arrays, **hyper))
        if dy.size:
            change(gradients, dy, arrays, hyper)
        return tuple(gradients)

    return lambda: (forward, broken)


def axes(value, rank):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def rank_of(arrays):
    return arrays[0].ndim - 2


def taps_of(arrays):
    return arrays[1].shape[:-2] or (1,) * rank_of(arrays)


def zeros_of(arrays, hyper):
    """The padding of a convolution in zeros."""
    names = ("strides", "padding", "dilation_rate")
    return im2col.resolve_padding(
        arrays[0].shape[1:-1], arrays[1].shape[:-2], **{n: hyper[n] for n in names}
    )


def one_axis(name):
    """The hyperparameter of the first axis for all."""

    def change(arrays, hyper):
        hyper[name] = axes(hyper[name], rank_of(arrays))[0]
        return arrays, hyper

    return change


def first_padding(arrays, hyper):
    hyper["padding"] = [zeros_of(arrays, hyper)[0]] * rank_of(arrays)
    return arrays, hyper


def padding_before_behind(arrays, hyper):
    hyper["padding"] = [(pair[0], pair[0]) for pair in zeros_of(arrays, hyper)]
    return arrays, hyper


def same_by(**others):
    """Zeros for "same" by other numbers: of each of size, taps, strides and rates, a function."""

    def change(arrays, hyper):
        if hyper["padding"] == "same":
            rank = rank_of(arrays)
            numbers = {
                "size": arrays[0].shape[1:-1],
                "taps": taps_of(arrays),
                "strides": axes(hyper["strides"], rank),
                "rates": axes(hyper["dilation_rate"], rank),
            }
            numbers |= {name: other(numbers[name]) for name, other in others.items()}
            hyper["padding"] = im2col.resolve_padding(
                numbers["size"],
                numbers["taps"],
                strides=numbers["strides"],
                padding="same",
                dilation_rate=numbers["rates"],
            )
        return arrays, hyper

    return change


def backwards(value):
    return value[::-1]


def first(value):
    return (value[0],) * len(value)


def when(holds, change):
    """Another change only where holds(arrays, hyperparameters)."""

    def changed(arrays, hyper):
        return change(arrays, hyper) if holds(arrays, hyper) else (arrays, hyper)

    return changed


def five_strided(arrays, hyper):
    return arrays[1].shape[:-2] == (5, 5) and max(hyper["strides"]) == 2


def tail_dropped(least, block):
    """From so many input channels on, those that do not fill blocks are left out."""

    def change(arrays, hyper):
        channels = arrays[1].shape[-2]
        if channels >= least:
            arrays[1] = arrays[1].copy()
            arrays[1][..., channels // block * block :, :] = 0
        return arrays, hyper

    return change


def flip_first_axis(arrays, hyper):
    arrays[1] = arrays[1][::-1]
    return arrays, hyper


def flip_channels(arrays, hyper):
    arrays[1] = arrays[1][..., ::-1, :]
    return arrays, hyper


def forget(*names, **values):
    def change(arrays, hyper):
        usual = {"strides": 1, "padding": "valid", "dilation_rate": 1, "groups": 1} | values
        hyper |= {name: usual[name] for name in names if name in hyper}
        return arrays, hyper

    return change


def forget_all_at_1x1(arrays, hyper):
    """As a matrix product of all pixels."""
    if one_tap(arrays, hyper) and not grouped(arrays, hyper):
        return arrays, hyper | {"strides": 1, "padding": "valid"}
    return arrays, hyper


def largest(name):
    return lambda arrays, hyper: max(axes(hyper[name], rank_of(arrays))) > 1


def both(*conditions):
    return lambda arrays, hyper: all(condition(arrays, hyper) for condition in conditions)


def grouped(arrays, hyper):
    return hyper.get("groups", 1) > 1


def one_tap(arrays, hyper):
    return all(k == 1 for k in taps_of(arrays))


def three_taps(arrays, hyper):
    return all(k == 3 for k in taps_of(arrays))


def one_more_behind_blocks_of_8(y, arrays, hyper):
    rows = y.reshape(-1, y.shape[-1])
    if len(rows) > 8:
        rows[len(rows) // 8 * 8 :] += 1


def set_to(index, value=0.0):
    def change(y, arrays, hyper):
        y[index] = value

    return change


def flat_from(least):
    def change(y, arrays, hyper):
        y.reshape(-1)[least:] = 0

    return change


def channels(rule):
    def change(y, arrays, hyper):
        y[..., [c for c in range(y.shape[-1]) if rule(c, y.shape[-1])]] = 0

    return change


def through(function):
    return lambda y, arrays, hyper: function(y).astype(y.dtype)


# -- state


def second_call_wrong():
    """The second call on the same values takes what the first left behind."""
    seen = {}

    def forward(x, kernel, bias, **hyper):
        key = (x.shape, x.tobytes(), kernel.tobytes(), str(hyper))
        seen[key] = seen.get(key, 0) + 1
        y = conv.forward(x, kernel, bias, **hyper)[0]
        return y if seen[key] < 2 else 2 * y

    return forward, None


def buffer_of_one_size():
    """Results are views of one buffer that the next call writes to."""
    buffer = np.zeros(1 << 20, np.float32)

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        part = buffer[: y.size].reshape(y.shape)
        part[...] = y
        return part

    return forward, None


def first_call_wrong():
    calls = itertools.count()

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        return y if next(calls) else y + 1

    return forward, None


def every_25th_call_wrong():
    calls = itertools.count(1)

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        return y if next(calls) % 25 else y + 1

    return forward, None


def race():
    """Now and then a pixel of a larger result gets only a part of its sum."""
    draw = np.random.default_rng(7)

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        if y.size > 500 and draw.random() < 0.3:
            y.reshape(-1)[draw.integers(y.size)] /= 2
        return y

    return forward, None


def chance():
    """Results that have nothing to do with the arguments."""
    draw = np.random.default_rng(8)

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        return draw.normal(size=y.shape).astype(y.dtype)

    return forward, None


def packed_kernel_kept():
    """The kernel is packed once for each shape, and the next of the same shape is not looked at."""
    packed = {}

    def forward(x, kernel, bias, **hyper):
        kept = packed.setdefault(kernel.shape, kernel.copy())
        return conv.forward(x, kept, bias, **hyper)[0]

    return forward, None


def statistics_kept():
    kept = {}

    def forward(x, gamma, beta, statistics, **hyper):
        if statistics is not None:
            statistics = kept.setdefault(x.shape[-1], statistics)
        return batchnorm.forward(x, gamma, beta, statistics, **hyper)[0]

    return forward, None


# -- memory


def as_packed(array):
    """The elements from the first on as they lie in memory, as far as that is safe."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    packed = array.size * array.itemsize
    if min(array.strides, default=0) < 0 or not 0 <= start <= base.nbytes - packed:
        return array.copy()
    memory = np.frombuffer(memoryview(base.reshape(-1).view(np.uint8)), np.uint8)
    return memory[start : start + packed].copy().view(array.dtype).reshape(array.shape)


def read_packed(number):
    def change(arrays, hyper):
        array = arrays[number]
        outer = array
        while isinstance(outer.base, np.ndarray):
            outer = outer.base
        if array.size and outer.flags.c_contiguous:
            arrays[number] = as_packed(array)
        return arrays, hyper

    return change


def order_ignored(arrays, hyper):
    x = arrays[0]
    arrays[0] = x if x.flags.c_contiguous else np.reshape(x.ravel("K"), x.shape)
    return arrays, hyper


def odd_address(arrays, hyper):
    x = arrays[0]
    if x.__array_interface__["data"][0] % x.itemsize:
        arrays[0] = np.roll(x, 1, axis=-1)
    return arrays, hyper


def input_padded_in_place(arrays, hyper):
    arrays[0][:, :1] = 0
    return arrays, hyper


# -- windows


def padded_by(mode):
    """Other pixels than zeros around the image."""

    def change(arrays, hyper):
        zeros = zeros_of(arrays, hyper)
        size = arrays[0].shape[1:-1]
        if all(max(pair) < n for pair, n in zip(zeros, size, strict=True)):
            arrays[0] = np.pad(arrays[0], [(0, 0), *zeros, (0, 0)], mode)
            hyper["padding"] = "valid"
        return arrays, hyper

    return change


def wrapped_rows(arrays, hyper):
    """A window beyond the last column reads on in the next row: no zeros on the last axis."""
    x, zeros = arrays[0], zeros_of(arrays, hyper)
    n, *size, c = x.shape
    if x.size == 0:
        return arrays, hyper
    ranges = [np.arange(-b, s + a) for s, (b, a) in zip(size, zeros, strict=True)]
    index, inside = np.arange(n), np.ones(n, bool)
    for axis, (places, s) in enumerate(zip(ranges, size, strict=True)):
        index = index[..., np.newaxis] * s + places
        last = axis == len(size) - 1
        inside = inside[..., np.newaxis] & (((places >= 0) & (places < s)) | last)
    known = inside & (index >= 0) & (index < n * int(np.prod(size)))
    pixels = x.reshape(-1, c)[np.where(known, index, 0)]
    arrays[0] = np.where(known[..., np.newaxis], pixels, 0).astype(x.dtype)
    return arrays, hyper | {"padding": "valid"}


def exchanged(arrays, hyper):
    hyper["strides"], hyper["dilation_rate"] = hyper["dilation_rate"], hyper["strides"]
    return arrays, hyper


def dilated_twice(arrays, hyper):
    hyper["padding"] = zeros_of(arrays, hyper)
    rates = axes(hyper["dilation_rate"], rank_of(arrays))
    if any(
        n + sum(pair) <= (k - 1) * d * d
        for n, pair, k, d in zip(
            arrays[0].shape[1:], hyper["padding"], taps_of(arrays), rates, strict=False
        )
    ):
        return arrays, hyper
    hyper["dilation_rate"] = tuple(d * d for d in rates)
    return arrays, hyper


def without_taps(index):
    def change(arrays, hyper):
        arrays[1] = arrays[1].copy()
        arrays[1][index] = 0
        return arrays, hyper

    return change


def taps_beyond(count):
    def change(arrays, hyper):
        kernel = arrays[1].copy()
        kernel.reshape(-1, *kernel.shape[-2:])[count:] = 0
        arrays[1] = kernel
        return arrays, hyper

    return change


def last_terms(count):
    """What does not fill a vector of input channels is left out."""

    def change(arrays, hyper):
        kernel = arrays[1].copy()
        inputs = kernel.shape[-2]
        kernel[..., inputs - inputs % count :, :] = 0
        arrays[1] = kernel
        return arrays, hyper

    return change


def chunk_lost(arrays, hyper):
    arrays[1] = arrays[1].copy()
    arrays[1][..., 128:, :] = 0
    return arrays, hyper


# -- channels


def bias_by(rule):
    def change(arrays, hyper):
        *others, bias = arrays
        if bias is not None:
            bias = bias[[rule(c, bias.size, hyper.get("groups", 1)) for c in range(bias.size)]]
        return [*others, bias], hyper

    return change


def bias_times(count):
    def change(arrays, hyper):
        *others, bias = arrays
        return [*others, None if bias is None else bias * bias.dtype.type(count(hyper))], hyper

    return change


def bias_forgotten(arrays, hyper):
    return [*arrays[:-1], None], hyper


def interleaved(arrays, hyper):
    x, *others = arrays
    groups = hyper["groups"]
    order = np.arange(x.shape[-1]).reshape(-1, groups).T.ravel()
    return [x[..., order], *others], hyper


def square_transposed(arrays, hyper):
    kernel = arrays[1]
    if kernel.shape[-1] == kernel.shape[-2]:
        arrays[1] = kernel.swapaxes(-1, -2)
    return arrays, hyper


def first_multiple(arrays, hyper):
    arrays[1] = np.broadcast_to(arrays[1][..., :1], arrays[1].shape)
    return arrays, hyper


# -- values


def bits(count, which=slice(0, 2)):
    """Operands rounded to so many significant bits."""

    def change(arrays, hyper):
        for number in range(*which.indices(len(arrays))):
            arrays[number] = rounded_to(arrays[number], count)
        return arrays, hyper

    return change


def rounded_to(array, count):
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, count)), exponent - count).astype(array.dtype)


def without_last_windows(y, arrays, hyper):
    """The last window is lost along an axis that is strided and dilated."""
    axes_of_y = zip(
        y.shape[1:-1], arrays[1].shape, hyper["strides"], hyper["dilation_rate"], strict=False
    )
    return y[(slice(None), *(slice(n - (min(n, k, s, d) > 1) or None) for n, k, s, d in axes_of_y))]


def gathered_to(limit):
    """Nothing comes of the pixels whose windows lie beyond an index of the matrix of im2col."""

    def cut(y, arrays, hyper):
        y.reshape(-1, y.shape[-1])[limit // arrays[1][..., 0].size + 1 :] = 0

    return cut


def padded_by_a_number(number):
    """A convolution of integers that reads a number, not zeros, around the image."""

    def forward(x, kernel, bias, *, padding, **hyper):
        zeros = im2col.resolve_padding(
            x.shape[1:-1],
            kernel.shape[:-2],
            strides=hyper["strides"],
            dilation_rate=hyper["dilation_rate"],
            padding=padding,
        )
        wide = np.pad(x, [(0, 0), *zeros, (0, 0)], constant_values=number)
        floats = [None if a is None else a.astype(float) for a in (wide, kernel, bias)]
        return conv.forward(*floats, **hyper)[0].astype(np.int32)

    return lambda: (forward, None)


def summed_in_half(x, kernel, bias, **hyper):
    half = [None if a is None else a.astype(np.float16) for a in (x, kernel, bias)]
    columns = im2col.im2col(
        half[0],
        kernel.shape[:-2],
        strides=hyper["strides"],
        padding=hyper["padding"],
        dilation_rate=hyper["dilation_rate"],
    )
    total = np.zeros((len(columns), kernel.shape[-1]), np.float16)
    for term, row in zip(columns.T, half[1].reshape(-1, kernel.shape[-1]), strict=True):
        total += term[:, np.newaxis] * row
    shape = conv.output_shape(x.shape, kernel.shape, **hyper)
    y = total.reshape(shape)
    return (y if bias is None else y + half[2]).astype(x.dtype)


def declining_groups(forward):
    def some(x, kernel, bias, *, strides, padding, dilation_rate, groups):
        if groups > 1:
            raise NotImplementedError
        return forward(
            x, kernel, bias, strides=strides, padding=padding, dilation_rate=dilation_rate, groups=1
        )

    return lambda: (some, None)


def narrow(limit):
    """Exact sums of integers, brought into a narrower type by limit(sums)."""

    def forward(*arrays, **hyper):
        wide = [None if a is None else a.astype(np.float64) for a in arrays]
        return limit(conv.forward(*wide, **hyper)[0].astype(np.int64)).astype(np.int32)

    return lambda: (forward, None)


# -- normalization


def normalized(root=None, moments=None):
    """Batch normalization by another root or by other moments."""

    def forward(x, gamma, beta, statistics, *, epsilon):
        wide, over = x.astype(np.float64), tuple(range(x.ndim - 1))
        if statistics is None:
            mean, variance = wide.mean(over), wide.var(over)
            if moments is not None:
                mean, variance = moments(x, mean, variance)
        else:
            mean, variance = (s.astype(np.float64) for s in statistics)
        divisor = np.sqrt(variance + epsilon) if root is None else root(variance, epsilon)
        y = (wide - mean) / divisor * (1 if gamma is None else gamma)
        return (y + (0 if beta is None else beta)).astype(x.dtype)

    return lambda: (forward, None)


def one_pass(x, mean, variance):
    over = tuple(range(x.ndim - 1))
    square = (x * x).mean(over) - x.mean(over) ** 2
    return mean, np.maximum(square, 0).astype(np.float64)


def mean_of_few_bits(x, mean, variance):
    return rounded_to(mean, 8), variance


def unbiased(x, mean, variance):
    count = x[..., 0].size
    return mean, variance * count / max(count - 1, 1)


def first_images(x, mean, variance):
    """The moments of the first three images."""
    over = tuple(range(x.ndim - 1))
    some = x[:3].astype(np.float64)
    return some.mean(over), some.var(over)


def first_pixels(x, mean, variance):
    """The moments of the first 1024 pixels."""
    some = x.reshape(-1, x.shape[-1])[:1024].astype(np.float64)
    return some.mean(0), some.var(0)


def first_channel_from_4(x, mean, variance):
    if len(variance) >= 4:
        variance = np.broadcast_to(variance[:1], variance.shape)
    return mean, variance


def grouped_normalized(root=None, moments=None, parts=None):
    """Group normalization by another root or by other moments, of a variance or of all parts."""
    both = parts

    def forward(x, gamma, beta, *, groups, epsilon):
        n, c = len(x), x.shape[-1]
        parts = x.reshape(n, -1, groups, c // groups)
        wide = parts.astype(np.float64)
        mean, variance = wide.mean((1, 3), keepdims=True), wide.var((1, 3), keepdims=True)
        if moments is not None:
            variance = moments(parts, variance)
        if both is not None:
            mean, variance = both(wide)
        divisor = np.sqrt(variance + epsilon) if root is None else root(variance, epsilon)
        y = ((wide - mean) / divisor).reshape(x.shape) * (1 if gamma is None else gamma)
        return (y + (0 if beta is None else beta)).astype(x.dtype)

    return lambda: (forward, None)


def lanes_to_a_power_of_2(parts):
    """The channels of a group with those behind them, up to a power of 2."""
    n, pixels, groups, channels = parts.shape
    lanes, flat = 1 << (channels - 1).bit_length(), parts.reshape(n, pixels, -1)
    mean, variance = np.zeros((2, n, 1, groups, 1))
    for g in range(groups):
        some = flat[:, :, g * channels : g * channels + lanes]
        mean[:, 0, g] = some.sum((1, 2))[:, np.newaxis] / (pixels * channels)
        square = (some - mean[:, :, g]) ** 2
        variance[:, 0, g] = square.sum((1, 2))[:, np.newaxis] / (pixels * channels)
    return mean, variance


def first_values(parts):
    """The moments of the first 1024 values, in whole pixels."""
    some = parts[:, : 1024 // parts.shape[3]]
    return some.mean((1, 3), keepdims=True), some.var((1, 3), keepdims=True)


def grouped_one_pass(parts, variance):
    square = (parts * parts).mean((1, 3), keepdims=True) - parts.mean((1, 3), keepdims=True) ** 2
    return np.maximum(square, 0).astype(np.float64)


def grouped_unbiased(parts, variance):
    count = parts.shape[1] * parts.shape[3]
    return variance * count / max(count - 1, 1)


def training_gradient(dy, x, gamma, beta, statistics, *, epsilon):
    """Through mean and variance, though they were given."""
    if statistics is None:
        return right(batchnorm)[1](dy, x, gamma, beta, None, epsilon=epsilon)
    over = tuple(range(x.ndim - 1))
    mean, variance = (s.astype(np.float64) for s in statistics)
    normal = (x - mean) / np.sqrt(variance + epsilon)
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + epsilon)
    dx = scale * (dy - dy.mean(over) - normal * (dy * normal).mean(over))
    results = dx, (dy * normal).sum(over), dy.sum(over)
    return tuple(result.astype(x.dtype) for result in results)


def kept(keep):
    """Group normalization's backward by what was kept of mean and 1 / root, in x's own format."""

    def backward(dy, x, gamma, beta, *, groups, epsilon):
        shape = len(x), -1, groups, x.shape[-1] // groups
        parts, scaled = (a.reshape(shape) for a in (x, dy if gamma is None else gamma * dy))
        axes = {"axis": (1, 3), "keepdims": True}
        mean, inverse = keep(parts.mean(**axes)), keep((parts.var(**axes) + epsilon) ** -0.5)
        normal = (parts - mean) * inverse
        dx = scaled - scaled.mean(**axes) - normal * (scaled * normal).mean(**axes)
        over = tuple(range(x.ndim - 1))
        sums = (dy * normal.reshape(x.shape)).sum(over), dy.sum(over)
        return tuple(a.astype(x.dtype) for a in ((dx * inverse).reshape(x.shape), *sums))

    return backward


def sums_of_few_bits(count):
    """What is summed over the images, one after the other in so many bits."""

    def backward(dy, x, gamma, beta, *, groups, epsilon):
        dx, *sums = right(normalization)[1](dy, x, gamma, beta, groups=groups, epsilon=epsilon)
        normal = normalization.forward(x, groups=groups, epsilon=epsilon)[0]
        for place, terms in enumerate((dy * normal, dy)):
            if sums[place] is not None:
                sums[place] = np.zeros_like(sums[place])
                for term in terms.reshape(-1, x.shape[-1]):
                    sums[place] = rounded_to(sums[place] + term, count)
        return dx, *sums

    return backward


# -- gradients


def gradient_of(number, change):
    """Change one gradient in place."""

    def changed(gradients, dy, arrays, hyper):
        if gradients[number] is not None:
            result = change(gradients[number], dy, arrays, hyper)
            if result is not None:
                gradients[number] = result

    return changed


def taps_by_strides(gradient, dy, arrays, hyper):
    """The kernel's gradient with taps that lie strides apart, and windows by the rate."""
    x, kernel, _ = arrays
    taps, sizes, groups = kernel.shape[:-2], dy.shape[1:-1], hyper["groups"]
    steps, rates = hyper["dilation_rate"], hyper["strides"]
    laid = {name: hyper[name] for name in ("strides", "dilation_rate", "padding")}
    zeros = im2col.resolve_padding(x.shape[1:-1], taps, **laid)
    each = zip(sizes, steps, taps, rates, strict=True)
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in each]
    each = zip(zeros, reach, x.shape[1:-1], strict=True)
    wide = [(a, max(0, far - n - a)) for (a, _), far, n in each]
    padded = np.pad(x, [(0, 0), *wide, (0, 0)])
    windows = dy.reshape(-1, groups, dy.shape[-1] // groups)
    for tap in np.ndindex(*taps):
        each = zip(tap, rates, sizes, steps, strict=True)
        places = (slice(u * d, u * d + (n - 1) * s + 1, s) for u, d, n, s in each)
        read = padded[(slice(None), *places)]
        pixels = read.reshape(-1, groups, kernel.shape[-2])
        gradient[tap] = np.einsum("pgi,pgo->igo", pixels, windows).reshape(kernel.shape[-2:])


def dkernel_of_chunks(gradients, dy, arrays, hyper):
    """Without what does not fill chunks of 1024 pixels, where there is one."""
    pixels = dy[..., 0].size
    if pixels > 1024:
        chunks = dy.reshape(-1, dy.shape[-1]).copy()
        chunks[pixels // 1024 * 1024 :] = 0
        gradients[1] = right(conv)[1](chunks.reshape(dy.shape), *arrays, **hyper)[1]


def only_one_phase(dx, dy, arrays, hyper):
    """Of the pixels between the strides none is written."""
    steps = axes(hyper["strides"], rank_of(arrays))
    kept = np.zeros_like(dx)
    place = (slice(None), *(slice(None, None, s) for s in steps))
    kept[place] = dx[place]
    return kept


def strides_forgotten_at_1x1(gradients, dy, arrays, hyper):
    if one_tap(arrays, hyper) and max(axes(hyper["strides"], rank_of(arrays))) > 1:
        x = arrays[0]
        part = dy[(slice(None), *(slice(n) for n in x.shape[1:-1]))]
        if part.shape[:-1] == x.shape[:-1]:
            plain = hyper | {"strides": 1, "padding": "valid", "output_padding": None}
            plain["output_size"] = None
            gradients[0] = transposed.backward(
                part, transposed.forward(*arrays, **plain)[1]
            ).x.astype(x.dtype)


def of_even_channels(dkernel, dy, arrays, hyper):
    if one_tap(arrays, hyper) and dkernel.shape[-1] % 2 == 0:
        dkernel[..., ::2] = dkernel[..., 1::2]


def strided_channels(dkernel, dy, arrays, hyper):
    if max(axes(hyper["strides"], rank_of(arrays))) > 1:
        dkernel[..., 1:, :] = dkernel[..., :1, :]


def of_many_images(least):
    def change(value, dy, arrays, hyper):
        if len(dy) >= least:
            value *= 0

    return change


def first_image(dbias, dy, arrays, hyper):
    return dy[:1].sum(axis=tuple(range(dy.ndim - 1))).astype(dbias.dtype)


def image_of_batch(count):
    """Images from that number on are computed from the one before."""

    def change(y, arrays, hyper):
        if len(y) >= count:
            y[count - 1 :] = y[count - 2]

    return change


INT8 = {"dtype": np.int8}

# -- reported ones, of paths, plans and lanes


def pads_of_other_axis(arrays, hyper):
    """The fast way of 3×3 takes every axis' zeros from another."""
    if taps_of(arrays) == (3, 3) and {*hyper["strides"], *hyper["dilation_rate"]} == {1}:
        hyper["padding"] = zeros_of(arrays, hyper)[::-1]
    return arrays, hyper


def pads_in_front_first(arrays, hyper):
    """Zeros are given as all in front, then all behind."""
    if not isinstance(hyper["padding"], str):
        flat = [zeros for pair in hyper["padding"] for zeros in pair]
        half = len(flat) // 2
        hyper["padding"] = tuple(zip(flat[:half], flat[half:], strict=True))
    return arrays, hyper


def rates_up_to_3(arrays, hyper):
    hyper["dilation_rate"] = tuple(min(rate, 3) for rate in hyper["dilation_rate"])
    return arrays, hyper


def split_sums(arrays, hyper):
    """Only the first 512 products are added."""
    kernel = arrays[1].copy()
    kernel.reshape(-1, kernel.shape[-1])[512:] = 0
    arrays[1] = kernel
    return arrays, hyper


def cut_to_the_image(arrays, hyper):
    """A kernel taller than the image loses its last rows."""
    kernel = arrays[1].copy()
    kernel[arrays[0].shape[1] :] = 0
    arrays[1] = kernel
    return arrays, hyper


def plan_of_shapes():
    """Hyperparameters are those of the first call on arrays of these shapes."""
    plans = {}

    def forward(x, kernel, bias, **hyper):
        plan = plans.setdefault((x.shape, kernel.shape), hyper)
        return conv.forward(x, kernel, bias, **plan)[0]

    return forward, None


def flips_in_place():
    """The kernel is flipped where it lies, at the end."""

    def forward(x, kernel, bias, **hyper):
        y = conv.forward(x, kernel, bias, **hyper)[0]
        kernel[...] = kernel[::-1].copy()
        return y

    return forward, None


def zeros_skipped(arrays, hyper):
    """An infinite tap that meets pixels of 0 only is not seen."""
    x, kernel = arrays[:2]
    spoilt = ~np.isfinite(kernel)
    if spoilt.any() and np.isfinite(x).all():
        met = conv.forward(np.abs(x), spoilt.astype(x.dtype), None, **hyper)[0] > 0
        right, zeroed = conv.forward(*arrays, **hyper)[0], np.where(spoilt, 0, kernel)
        return np.where(met, right, conv.forward(x, zeroed, arrays[2], **hyper)[0])
    return conv.forward(*arrays, **hyper)[0]


def output_padding_not_filled(y, arrays, hyper):
    """What the output padding adds holds the bias alone."""
    added = hyper["output_padding"]
    for axis, n in enumerate(added or ()):
        if n:
            y.swapaxes(0, 1 + axis)[-n:] = 0 if arrays[2] is None else arrays[2]


def row_later(y, arrays, hyper):
    """Strided, all rows come one too late."""
    return np.roll(y, 1, axis=1) if max(hyper["strides"]) > 1 else None


def lanes_beyond_the_end(parts, variance):
    """Lanes up to a power of 2 count in the variance, as pixels of 0."""
    count = parts.shape[1] * parts.shape[3]
    lanes = 1 << (count - 1).bit_length()
    return variance + (lanes - count) * parts.mean((1, 3), keepdims=True) ** 2 / count


def bias_of_the_first_lanes(y, arrays, hyper):
    rest = y.shape[-1] % 4
    if arrays[2] is not None and y.shape[-1] > 4 and rest:
        y[..., -rest:] += arrays[2][:rest] - arrays[2][-rest:]


def wrapped_at_24(sums):
    return (sums + 2**23) % 2**24 - 2**23


def dgamma_of_x(dgamma, dy, arrays, hyper):
    return (arrays[0] * dy).sum(tuple(range(dy.ndim - 1)))


def gamma_of_16(arrays, hyper):
    if arrays[1] is not None:
        arrays[1] = np.where(np.arange(arrays[1].size) < 16, arrays[1], 1).astype(arrays[1].dtype)
    return arrays, hyper


# -- more reported ones: groups, remainders, what is remembered


def gamma_of_whole_vectors(arrays, hyper):
    """What does not fill 4 in a group has the gamma before it."""
    if arrays[1] is not None:
        gamma = arrays[1].reshape(hyper["groups"], -1).copy()
        rest = gamma.shape[1] % 4
        if rest and gamma.shape[1] > 4:
            gamma[:, -rest:] = gamma[:, -rest - 1 : -1]
        arrays[1] = gamma.ravel()
    return arrays, hyper


def squared_when_given(arrays, hyper):
    """A variance that is given is taken for a deviation."""
    if arrays[3] is not None:
        arrays[3] = batchnorm.Statistics(arrays[3].mean, arrays[3].variance ** 2)
    return arrays, hyper


def no_sum_without_gamma(gradients, dy, arrays, hyper):
    if arrays[1] is None and gradients[2] is not None:
        gradients[2] *= 0


def bias_where_a_tap_reaches(y, arrays, hyper):
    x, kernel, bias = arrays
    if bias is not None:
        ones = np.ones_like(x), np.ones_like(kernel)
        y[transposed.forward(*ones, **hyper)[0] == 0] = 0


def remainders_unweighted(arrays, hyper):
    """The channels that do not fill 4 are added as they are."""
    kernel = arrays[1].reshape(*arrays[1].shape[:-1], hyper["groups"], -1).copy()
    rest = kernel.shape[-1] % 4
    if rest:
        kernel[..., -rest:] = 1
    arrays[1] = kernel.reshape(arrays[1].shape)
    return arrays, hyper


def filters_in_turn(y, arrays, hyper):
    """Of groups of one channel, the filters of each lie apart."""
    groups = hyper["groups"]
    if groups > 1 and arrays[1].shape[-2] == 1:
        return y.reshape(*y.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(y.shape)
    return None


def first_channel_at_1x1(dx, dy, arrays, hyper):
    if one_tap(arrays, hyper):
        dx[..., 1:] = 0


def pointwise_backwards_from(least):
    """From so many channels between the steps on, the second step reads them backwards."""

    def change(arrays, hyper):
        if arrays[2].shape[-2] >= least:
            arrays[2] = arrays[2][..., ::-1, :]
        return arrays, hyper

    return change


def bias_between(x, first, second, bias, **hyper):
    """The bias is added to the channels between the steps where there are as many."""
    mixed = depthwise.forward(x, first, **hyper)[0]
    if bias is not None and mixed.shape[-1] == len(bias):
        mixed, bias = mixed + bias, None
    return unary.forward(mixed, second.reshape(second.shape[-2:]), bias)[0]


def of_whole_blocks(dbeta, dy, arrays, hyper):
    """From 1024 pixels of all images on, only those that fill blocks of 8."""
    rows = dy.reshape(-1, dy.shape[-1])
    if len(rows) > 1024:
        dbeta[...] = rows[: len(rows) // 8 * 8].sum(axis=0, dtype=float)


def zeros_where_plain(y, arrays, hyper):
    # A way of its own for 1×1 alone: strides of 1, no padding, no groups
    plain = taps_of(arrays) == (1,) * rank_of(arrays) and hyper["groups"] == 1
    if plain and set(hyper["strides"]) == {1} and not np.any(hyper["padding"]):
        y[...] = 0


def nan_where_equal(y, arrays, hyper):
    # 0 / 0 in the groups of an image whose numbers are all equal
    x, groups = arrays[0], hyper["groups"]
    parts = (len(x), -1, groups, x.shape[-1] // groups)
    equal = np.ptp(x.reshape(parts), axis=(1, 3), keepdims=True) == 0
    y.reshape(parts)[np.broadcast_to(equal, y.reshape(parts).shape)] = np.nan


def first_image_where_as_high(y, arrays, hyper):
    if arrays[1].shape[0] == arrays[0].shape[1]:
        y[1:] = y[:1]


def more_than_8_taps(arrays, hyper):
    return max(taps_of(arrays)) > 8


def rectified_between(x, first, second, bias, **hyper):
    mixed = np.maximum(depthwise.forward(x, first, **hyper)[0], 0)
    return unary.forward(mixed, second.reshape(second.shape[-2:]), bias)[0]


def packed_kernel_of_these_ends():
    """The packed kernel is known by its shape, its first and its last number."""
    packed = {}

    def forward(x, kernel, bias, **hyper):
        ends = tuple(kernel.ravel()[[0, -1]])
        kept = packed.setdefault((kernel.shape, ends), kernel.copy())
        return conv.forward(x, kept, bias, **hyper)[0]

    return forward, None


def gradients_of_the_arrays_alone():
    """Gradients are kept by the image and the kernel, whatever dy is."""
    forward, backward = right(depthwise)
    kept = {}

    def remembering(dy, x, kernel, bias, **hyper):
        key = x.tobytes(), kernel.tobytes(), dy.shape, str(hyper)
        if key not in kept:
            kept[key] = backward(dy, x, kernel, bias, **hyper)
        return tuple(None if gradient is None else gradient.copy() for gradient in kept[key])

    return forward, remembering


WRONG = [
    # vector width, body and tail
    Wrong(
        "kernel flipped from 8 output channels on",
        conv,
        before(conv, when(lambda a, h: a[1].shape[-1] // h["groups"] >= 8, flip_first_axis)),
    ),
    Wrong(
        "packing of 8 input channels",
        conv,
        before(conv, when(lambda a, h: a[1].shape[-2] >= 8, flip_channels)),
    ),
    Wrong("tail of input channels left out", conv, before(conv, last_terms(4))),
    Wrong(
        "tail of output channels not written",
        conv,
        after(conv, channels(lambda c, n: c >= n - n % 8)),
    ),
    Wrong(
        "body of output channels wrong",
        conv,
        after(conv, channels(lambda c, n: c < n - n % 8)),
    ),
    Wrong("second register", conv, after(conv, channels(lambda c, n: c % 16 >= 8))),
    Wrong("one lane of 4", conv, after(conv, channels(lambda c, n: c % 4 == 3))),
    Wrong(
        "depthwise from 4 channels on",
        depthwise,
        before(depthwise, when(lambda a, h: a[1].shape[-2] >= 4, flip_first_axis)),
    ),
    Wrong(
        "depthwise channels that do not fill 4",
        depthwise,
        after(depthwise, channels(lambda c, n: c >= n - n % 4)),
    ),
    Wrong(
        "batch normalization from 4 channels on",
        batchnorm,
        normalized(moments=first_channel_from_4),
    ),
    Wrong(
        "unary from 8 input channels on",
        unary,
        before(unary, when(lambda a, h: a[1].shape[-2] >= 8, flip_channels)),
    ),
    Wrong(
        "transposed from 8 input channels on",
        transposed,
        before(transposed, when(lambda a, h: a[0].shape[-1] >= 8, flip_first_axis)),
    ),
    Wrong(
        "pixels that do not fill 4",
        conv,
        after(
            conv,
            lambda y, a, h: (
                set_to(np.s_[:, -1:])(y, a, h) if int(np.prod(y.shape[1:-1])) % 4 else None
            ),
        ),
    ),
    # borders of tiles and chunks, overflow of an index
    Wrong("rows beyond a tile", conv, after(conv, set_to(np.s_[:, 16:]))),
    Wrong("columns beyond a tile", conv, after(conv, set_to(np.s_[..., 16:, :]))),
    Wrong("images beyond a chunk", conv, after(conv, set_to(np.s_[4:]))),
    Wrong("elements beyond 2^15", conv, after(conv, flat_from(1 << 15))),
    Wrong("last column not written", conv, after(conv, set_to(np.s_[..., -1:, :]))),
    Wrong("last column is garbage", conv, after(conv, set_to(np.s_[..., -1:, :], np.nan))),
    Wrong("rows beyond a tile, transposed", transposed, after(transposed, set_to(np.s_[:, 16:]))),
    Wrong("rows beyond a tile, depthwise", depthwise, after(depthwise, set_to(np.s_[:, 16:]))),
    Wrong("images from the fifth on repeated", conv, after(conv, image_of_batch(5))),
    Wrong("taps beyond 32", conv, before(conv, taps_beyond(32))),
    Wrong("terms beyond a chunk", conv, before(conv, chunk_lost), options={"dtype": np.float16}),
    # fast paths that forget a setting
    Wrong(
        "1x1 forgets everything", conv, before(conv, when(one_tap, forget("strides", "padding")))
    ),
    Wrong("1x1 forgets padding", conv, before(conv, when(one_tap, forget("padding")))),
    Wrong("1x1 forgets strides", conv, before(conv, when(one_tap, forget("strides")))),
    Wrong("1x1 without groups forgets everything", conv, before(conv, forget_all_at_1x1)),
    Wrong(
        "3x3 forgets dilation",
        conv,
        before(conv, when(three_taps, forget("dilation_rate"))),
    ),
    Wrong("groups forget dilation", conv, before(conv, when(grouped, forget("dilation_rate")))),
    Wrong(
        "strides forget dilation",
        conv,
        before(conv, when(largest("strides"), forget("dilation_rate"))),
    ),
    Wrong(
        "strides and dilation together, transposed",
        transposed,
        before(transposed, when(largest("strides"), forget("dilation_rate"))),
    ),
    Wrong(
        "strided depthwise forgets dilation",
        depthwise,
        before(depthwise, when(largest("strides"), forget("dilation_rate"))),
    ),
    Wrong(
        "flips the kernel of strided groups",
        conv,
        before(conv, when(both(grouped, largest("strides")), flip_first_axis)),
    ),
    Wrong(
        "one pixel",
        conv,
        after(conv, lambda y, a, h: y * 2 if max(a[0].shape[1:-1]) == 1 else None),
    ),
    Wrong(
        "no bias",
        conv,
        after(conv, lambda y, a, h: y + 1 if a[-1] is None else None),
    ),
    Wrong("depthwise multiplier", depthwise, before(depthwise, first_multiple)),
    Wrong("square matrix", unary, before(unary, square_transposed)),
    # padding
    Wrong("same by the other strides", conv, before(conv, same_by(strides=backwards))),
    Wrong("same by the other size", conv, before(conv, same_by(size=backwards))),
    Wrong("same by the other kernel", conv, before(conv, same_by(taps=backwards))),
    Wrong("same by the other rates", conv, before(conv, same_by(rates=backwards))),
    Wrong("same by the first kernel", conv, before(conv, same_by(taps=first))),
    Wrong(
        "same as if not strided",
        conv,
        before(conv, same_by(strides=lambda strides: (1,) * len(strides))),
    ),
    Wrong("strides of the first axis", conv, before(conv, one_axis("strides"))),
    Wrong("rates of the first axis", conv, before(conv, one_axis("dilation_rate"))),
    Wrong("padding of the first axis", conv, before(conv, first_padding)),
    Wrong("padding before used behind too", conv, before(conv, padding_before_behind)),
    Wrong("strides of the first axis, unary", unary, before(unary, one_axis("strides"))),
    Wrong("strides for rates", conv, before(conv, exchanged)),
    Wrong("dilated twice", conv, before(conv, dilated_twice)),
    Wrong("image reflected", conv, before(conv, padded_by("reflect"))),
    Wrong("image continued", conv, before(conv, padded_by("edge"))),
    Wrong("rows wrap", conv, before(conv, wrapped_rows)),
    Wrong("last tap", conv, before(conv, without_taps(np.s_[-1:]))),
    Wrong("last tap of all", conv, before(conv, without_taps((-1, -1)))),
    # channels
    Wrong("bias of the group", conv, before(conv, bias_by(lambda c, n, g: c // (n // g)))),
    Wrong("bias of the first group", conv, before(conv, bias_by(lambda c, n, g: c % (n // g)))),
    Wrong(
        "bias of the first group, transposed",
        transposed,
        before(transposed, bias_by(lambda c, n, g: c % (n // g))),
    ),
    Wrong("bias once per group", conv, before(conv, bias_times(lambda h: h["groups"]))),
    Wrong("bias twice", conv, before(conv, bias_times(lambda h: 2))),
    Wrong("bias forgotten in groups", conv, before(conv, when(grouped, bias_forgotten))),
    Wrong("groups interleaved", conv, before(conv, interleaved)),
    # values
    Wrong("relu left on", conv, after(conv, through(lambda y: np.maximum(y, 0)))),
    Wrong("relu6 left on", conv, after(conv, through(lambda y: np.clip(y, 0, 6)))),
    Wrong("clamped", conv, after(conv, through(lambda y: np.clip(y, -4, 4)))),
    Wrong(
        "leaky relu left on",
        depthwise,
        after(depthwise, through(lambda y: np.where(y > 0, y, y / 8))),
    ),
    Wrong("operands in bfloat16", conv, before(conv, bits(8))),
    Wrong("operands in TF32", conv, before(conv, bits(11))),
    Wrong("kernel in float16", conv, before(conv, bits(11, slice(1, 2)))),
    Wrong("sums in float16", conv, declining_groups(summed_in_half)),
    Wrong("float64 in float32", conv, before(conv, bits(24)), options={"dtype": np.float64}),
    Wrong("wraps at 8 bits", conv, narrow(lambda y: (y + 128) % 256 - 128), options=INT8),
    Wrong("saturates at 8 bits", conv, narrow(lambda y: y.clip(-128, 127)), options=INT8),
    Wrong("wraps at 16 bits", conv, narrow(lambda y: (y + 2**15) % 2**16 - 2**15), options=INT8),
    Wrong(
        "saturates at 16 bits", conv, narrow(lambda y: y.clip(-(2**15), 2**15 - 1)), options=INT8
    ),
    Wrong("swallows nan", conv, after(conv, through(lambda y: np.fmax(y, np.finfo(y.dtype).min)))),
    Wrong("nan is zero", conv, after(conv, through(np.nan_to_num))),
    Wrong("a nan spreads over the image", conv, after(conv, lambda y, a, h: y + 0 * a[0].sum())),
    # state
    Wrong("second call wrong", conv, second_call_wrong),
    Wrong("output buffer handed out again", conv, buffer_of_one_size),
    Wrong("first call wrong", conv, first_call_wrong),
    Wrong("every 25th call wrong", conv, every_25th_call_wrong),
    Wrong("race", conv, race),
    Wrong("chance", conv, chance),
    Wrong("packed kernel kept", conv, packed_kernel_kept),
    Wrong("statistics kept", batchnorm, statistics_kept),
    # memory
    Wrong("image read as if packed", conv, before(conv, read_packed(0))),
    Wrong("kernel read as if packed", conv, before(conv, read_packed(1))),
    Wrong("order of memory ignored", conv, before(conv, order_ignored)),
    Wrong("odd address", conv, before(conv, odd_address)),
    Wrong("image modified", conv, before(conv, input_padded_in_place)),
    Wrong("another dtype", conv, after(conv, lambda y, a, h: y.astype(np.float64))),
    # gradients only
    Wrong(
        "dx of a strided 1x1 transposed",
        transposed,
        gradient(transposed, strides_forgotten_at_1x1),
    ),
    Wrong("dx of one phase", conv, gradient(conv, gradient_of(0, only_one_phase))),
    Wrong("dkernel of even channels", conv, gradient(conv, gradient_of(1, of_even_channels))),
    Wrong(
        "dkernel of strided depthwise",
        depthwise,
        gradient(depthwise, gradient_of(1, strided_channels)),
    ),
    Wrong("dbias of the first image", conv, gradient(conv, gradient_of(2, first_image))),
    Wrong(
        "dgamma of many images",
        batchnorm,
        gradient(batchnorm, gradient_of(1, of_many_images(129))),
    ),
    Wrong("dbias from 4 images on", unary, gradient(unary, gradient_of(2, of_many_images(4)))),
    Wrong(
        "dpointwise of the last channel",
        depthwise_separable,
        gradient(
            depthwise_separable, gradient_of(2, lambda g, *_: set_to(np.s_[..., -1])(g, 0, 0))
        ),
    ),
    # normalization
    Wrong("variance in one pass", batchnorm, normalized(moments=one_pass)),
    Wrong("unbiased variance", batchnorm, normalized(moments=unbiased)),
    Wrong("epsilon outside", batchnorm, normalized(root=lambda v, e: np.sqrt(v) + e)),
    Wrong("epsilon of its own", batchnorm, normalized(root=lambda v, e: np.sqrt(v + 1e-5))),
    Wrong("moments of three images", batchnorm, normalized(moments=first_images)),
    Wrong(
        "training gradient in inference",
        batchnorm,
        lambda: (right(batchnorm)[0], training_gradient),
    ),
    Wrong("groups ignored", normalization, before(normalization, forget("groups"))),
    Wrong(
        "variance of groups in one pass",
        normalization,
        grouped_normalized(moments=grouped_one_pass),
    ),
    Wrong(
        "unbiased variance of groups", normalization, grouped_normalized(moments=grouped_unbiased)
    ),
    Wrong(
        "epsilon outside, groups",
        normalization,
        grouped_normalized(root=lambda v, e: np.sqrt(v) + e),
    ),
    # reported ones
    Wrong(
        "3x3 padded as the other axis",
        conv,
        before(conv, pads_of_other_axis),
        "axes_swapped",
    ),
    Wrong("zeros in front first", conv, before(conv, pads_in_front_first), "padding_by_sides"),
    Wrong(
        "dilation rates up to 3",
        dilated,
        before(dilated, rates_up_to_3),
        when="dilation_rate >= 4",
    ),
    Wrong("sums of 512", conv, before(conv, split_sums), when="terms > 512"),
    Wrong(
        "kernel taller than the image",
        conv,
        before(conv, cut_to_the_image),
        when="kernel_size[0] > size[0]",
    ),
    Wrong("plan of the shapes alone", conv, plan_of_shapes, "stale_argument"),
    Wrong("kernel flipped in place", conv, flips_in_place, "argument_modified"),
    Wrong(
        "zeros are skipped",
        conv,
        lambda: (lambda *arrays, **hyper: zeros_skipped(arrays, hyper), None),
        "non_finite_swallowed",
    ),
    Wrong("wraps at 24 bits", conv, narrow(wrapped_at_24), "wrapped (24 bits)", options=INT8),
    Wrong(
        "output padding not filled",
        transposed,
        after(transposed, output_padding_not_filled),
        where="pixels of the output padding",
    ),
    Wrong(
        "a row later where strided",
        transposed,
        after(transposed, row_later),
        "shifted by (1, 0)",
        "strides > 1 and output height > 1",
    ),
    Wrong(
        "lanes beyond the end",
        normalization,
        grouped_normalized(moments=lanes_beyond_the_end),
        when="terms no power of 2",
    ),
    Wrong(
        "bias of the first lanes",
        conv,
        after(conv, bias_of_the_first_lanes),
        where="the last channels that do not fill 4",
    ),
    Wrong(
        "dkernel averaged alone",
        conv,
        gradient(conv, gradient_of(1, lambda g, dy, *_: g / len(dy))),
        "gradient_averaged",
    ),
    Wrong(
        "dgamma of x",
        batchnorm,
        gradient(batchnorm, gradient_of(1, dgamma_of_x)),
        "gamma_gradient_not_normalized",
    ),
    Wrong(
        "gamma of the first 16 channels",
        batchnorm,
        before(batchnorm, gamma_of_16),
        when="channels > 16 and gamma given",
        where="channels from 16 on",
    ),
    # more of public reports: rows of a matrix product, paths, bits
    Wrong(
        "pixels of all images beyond 4096",
        conv,
        after(conv, lambda y, a, h: set_to(np.s_[4096:])(y.reshape(-1, y.shape[-1]), a, h)),
        "unwritten",
        "output pixels > 2^12",
        "pixels from 2^12 on (flat index through the images)",
    ),
    Wrong(
        "pixels of all images that do not fill 8",
        unary,
        after(unary, one_more_behind_blocks_of_8),
        when="output pixels > 8 and output pixels not a multiple of 8",
        where="the last pixels that do not fill 8 (flat index through the images)",
    ),
    Wrong(
        "dkernel without the last chunk of pixels",
        conv,
        gradient(conv, dkernel_of_chunks),
        when="output pixels > 1024 and output pixels not a multiple of 1024",
    ),
    Wrong(
        "5x5 at strides 2 mirrored",
        conv,
        before(conv, when(five_strided, flip_first_axis)),
        when="kernel_size == (5, 5) and strides > 1",
    ),
    Wrong(
        "1x1 with a relu left on",
        conv,
        after(conv, lambda y, a, h: np.maximum(y, 0) if {*a[1].shape[:-2]} == {1} else y),
        "activation_left_on",
        "kernel_size == (1, 1)",
    ),
    Wrong(
        "bias in float16",
        conv,
        before(conv, when(lambda arrays, hyper: arrays[2] is not None, bits(11, slice(2, 3)))),
        "low_precision (11 bits)",
    ),
    Wrong(
        "tail of unrolled channels from 32 on",
        unary,
        before(unary, tail_dropped(32, 8)),
        when="in_channels > 32 and in_channels not a multiple of 8",
    ),
    Wrong(
        "moments of 1024 pixels",
        batchnorm,
        normalized(moments=first_pixels),
        when="training and terms > 1024",
    ),
    Wrong(
        "the larger of variance and epsilon",
        batchnorm,
        normalized(root=lambda v, e: np.sqrt(np.maximum(v, e))),
        "epsilon_ignored",
    ),
    Wrong(
        "statistics in bfloat16",
        batchnorm,
        normalized(moments=mean_of_few_bits),
        "low_precision (8 bits)",
    ),
    Wrong(
        "last window where strided and dilated",
        depthwise,
        after(depthwise, without_last_windows),
        when="strides and dilation_rate both > 1 on an axis",
    ),
    Wrong(
        "elements of im2col beyond 2^15",
        conv,
        after(conv, gathered_to(2**15)),
        "unwritten",
    ),
    Wrong(
        "padding by the least integer",
        conv,
        padded_by_a_number(-128),
        where="pixels whose window touches the padding",
        options={"dtype": np.int8},
    ),
    Wrong(
        "taps of the kernel's gradient by strides",
        conv,
        gradient(conv, gradient_of(1, taps_by_strides)),
        "strides_and_dilation_exchanged",
    ),
    Wrong(
        "lanes of the next group",
        normalization,
        grouped_normalized(parts=lanes_to_a_power_of_2),
        when="groups > 1 and channels // groups no power of 2",
        where="groups other than the last",
    ),
    Wrong(
        "moments of 1024 values of a group",
        normalization,
        grouped_normalized(parts=first_values),
        when="terms > 1024",
    ),
    Wrong(
        "sums of float16 in bfloat16",
        normalization,
        lambda: (right(normalization)[0], sums_of_few_bits(8)),
        "low_precision (8 bits)",
        options={"dtype": np.float16, "accumulate": np.float32},
    ),
    # more reported ones: groups, remainders, what is remembered
    Wrong(
        "gamma of whole vectors",
        normalization,
        before(normalization, gamma_of_whole_vectors),
        where="the last channels that do not fill 4 of each group",
    ),
    Wrong(
        "a given variance taken for a deviation",
        batchnorm,
        before(batchnorm, squared_when_given),
        when="inference",
    ),
    Wrong(
        "dbeta without gamma",
        normalization,
        gradient(normalization, no_sum_without_gamma),
        when="gamma not given",
    ),
    Wrong(
        "no bias where no tap reaches",
        transposed,
        after(transposed, bias_where_a_tap_reaches),
        where="pixels that no tap reaches",
    ),
    Wrong(
        "remainders of channels without weights",
        transposed,
        before(transposed, remainders_unweighted),
        when="in_channels // groups not a multiple of 4",
    ),
    Wrong(
        "filters of groups of one channel in turn",
        conv,
        after(conv, filters_in_turn),
        when="in_channels // groups == 1 and out_channels // groups > 1 and groups > 1",
    ),
    Wrong(
        "dx of the first channel at 1x1",
        conv,
        gradient(conv, gradient_of(0, first_channel_at_1x1)),
        when="in_channels > 1 and kernel_size == (1, 1)",
        where="channels other than the first of dx",
    ),
    Wrong(
        "an activation between the steps",
        depthwise_separable,
        lambda: (rectified_between, None),
        "activation_left_on",
    ),
    Wrong(
        "8 channels between the steps",
        depthwise_separable,
        before(depthwise_separable, pointwise_backwards_from(8)),
        when="in_channels * depth_multiplier >= 8",
    ),
    Wrong(
        "bias between the steps",
        depthwise_separable,
        lambda: (bias_between, None),
        when="in_channels * depth_multiplier and out_channels equal and bias given",
    ),
    Wrong(
        "long kernels of groups mirrored",
        conv,
        before(conv, when(both(grouped, more_than_8_taps), flip_first_axis)),
        "kernel_flipped",
        "kernel_size > 8 and groups > 1",
        options={"ranks": (1,)},
    ),
    Wrong(
        "one image where the kernel is as high",
        depthwise,
        after(depthwise, first_image_where_as_high),
        "batch_mixed",
        "batch > 1 and kernel_size[0] == size[0] and not broadcast arrays",
        options={"seed": 1},
    ),
    Wrong(
        "dbeta of whole blocks of 8",
        normalization,
        gradient(normalization, gradient_of(2, of_whole_blocks)),
        when="output pixels > 1024 and output pixels not a multiple of 8",
    ),
    Wrong("zeros of the plain 1×1", conv, after(conv, zeros_where_plain)),
    Wrong(
        "nan of groups whose numbers are equal",
        normalization,
        after(normalization, nan_where_equal),
        "unwritten",
        when="terms <= 1 or values: variance 0",
        options={"ranks": (1,)},
    ),
    Wrong("packed kernel of these ends", conv, packed_kernel_of_these_ends, "stale_argument"),
    Wrong(
        "gradients of the arrays alone",
        depthwise,
        gradients_of_the_arrays_alone,
        "stale_argument",
    ),
]


def main():
    """Print what verify says of each kernel: whether it is caught, and how it is explained."""
    caught = explained = 0
    for kernel in WRONG:
        report = verify.verify(kernel.module, *kernel.make(), **kernel.options)
        words = [report.diagnosis, report.when, report.where]
        caught += not report.passed
        explained += not report.passed and any(words)
        verdict = "passed" if report.passed else " | ".join(str(word) for word in words)
        print(f"{kernel.name:44} {verdict}", flush=True)
    print(f"{caught} of {len(WRONG)} caught, {explained} explained")


if __name__ == "__main__":
    main()
