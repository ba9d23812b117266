"""What the whole suite leans on: definitions as plain loops, drawn cases, exact comparison.

The definitions share no code with the library and are written to be read as the law. Each linear
operation is a list of products ``y[a] += x[b] * kernel[c]``; its gradients are the same list read
the other two ways. Arrays are small integers held in float64, so that every sum is exact, whatever
its order.
"""

from __future__ import annotations

import contextlib
import doctest
import math
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

# ---- comparison and manners


def integers(rng: np.random.Generator, shape) -> np.ndarray:
    """Integers of -9 … 9 in float64, never 0: no product vanishes by luck, every sum is exact."""
    return rng.integers(1, 10, shape) * rng.choice([-1.0, 1.0], shape)


def line(*values) -> np.ndarray:
    """One image of one row and one channel."""
    return np.array(values, float).reshape(1, -1, 1)


def taps(*values) -> np.ndarray:
    """A kernel of one axis between one channel and one."""
    return np.array(values, float).reshape(-1, 1, 1)


def same_values(actual, expected) -> bool:
    """Same shape, same dtype, every value equal; raises with NumPy's report where they are not."""
    assert isinstance(actual, np.ndarray), f"not an array but {type(actual).__name__}"
    np.testing.assert_array_equal(actual, expected, strict=True)
    return True


def same_gradients(gradients, dx, dkernel, dbias) -> None:
    """The same values as these; no bias' gradient where dbias is None."""
    same_values(gradients.x, dx)
    same_values(gradients.kernel, dkernel)
    assert gradients.bias is None if dbias is None else same_values(gradients.bias, dbias)


def close(actual, expected, *, scale=None, tolerance=1e-10) -> bool:
    """Same shape, same dtype, no value off by more than tolerance * scale.

    ``scale`` is the size of the terms that were summed, one number or one per element; left out, it
    is the largest magnitude expected (at least 1e-3, so that zeros may be met by rounding noise).
    """
    assert isinstance(actual, np.ndarray), f"not an array but {type(actual).__name__}"
    expected = np.asarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if scale is None:
        scale = max(np.abs(expected).max(initial=0.0), 1e-3)
    error = np.abs(actual.astype(np.float64) - expected) - tolerance * np.asarray(scale)
    assert np.isfinite(error).all(), "not finite"
    assert (error <= 0).all(), f"off by {error.max()} beyond {tolerance} * scale"
    return True


def result_type(*dtypes) -> np.dtype:
    """The widest of the floating types; integers and bools take it, and alone are float64."""
    floats = [np.dtype(dtype) for dtype in dtypes if np.dtype(dtype).kind == "f"]
    return max(floats, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float64))


def dot(a, b) -> float:
    """The inner product <a, b> of two arrays of one shape."""
    assert a.shape == b.shape
    return float((a.astype(np.float64) * b).sum())


def says(message: str) -> str:
    """A pattern for `pytest.raises`: errors that start with this; "..." stands for anything."""
    return "^" + ".*".join(re.escape(part) for part in message.split("..."))


def examples_run(function, name=None) -> bool:
    """The docstring of a function has examples, and they print what they show."""
    (test,) = doctest.DocTestFinder().find(function, name)
    report: list[str] = []
    assert test.examples
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)
    return True


def traced(call, *arguments, **options):
    """What a call returns, and the bytes at its peak and at its end beyond those before."""
    tracemalloc.start()
    try:
        result = call(*arguments, **options)
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, peak, end


def spied(monkeypatch, owner, name, note):
    """A list of what `note(result, *arguments)` says of every call of owner.name from now on."""
    noted, function = [], getattr(owner, name)

    def recorded(*arguments):
        result = function(*arguments)
        noted.append(note(result, *arguments))
        return result

    monkeypatch.setattr(owner, name, recorded)
    return noted


def variants(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in every memory layout that a caller may hand over."""
    reverse = (slice(None, None, -1),) * array.ndim
    read_only = array.copy()
    read_only.flags.writeable = False
    spaced = np.full([2 * size for size in array.shape], 99, array.dtype)
    spaced[(slice(1, None, 2),) * array.ndim] = array
    return {
        "read-only": read_only,
        "Fortran-ordered": np.asfortranarray(array),
        "negatively strided": np.ascontiguousarray(array[reverse])[reverse],
        "every other element": spaced[(slice(1, None, 2),) * array.ndim],
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
    }


LAYOUTS = tuple(variants(np.zeros(1)))


def arrays_in(value) -> Iterator[np.ndarray]:
    """Every array in nested tuples, lists, dictionaries and NamedTuples."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from arrays_in(entry)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def _state(array: np.ndarray) -> tuple:
    return array.tobytes(), array.shape, array.strides, array.dtype, array.flags.writeable


@contextlib.contextmanager
def untouched(*arguments) -> Iterator[list]:
    """Check that the arguments keep every bit, and that no result in the list shares memory."""
    arrays = list(arrays_in(arguments))
    before = [_state(array) for array in arrays]
    results: list = []
    yield results
    assert before == [_state(array) for array in arrays], "an argument was modified"
    assert list(arrays_in(results)), "no result was handed over to be checked"
    for result, array in product(arrays_in(results), arrays):
        assert not np.may_share_memory(result, array), "a result shares memory with an argument"


def takes_any_layout(function, array, argument) -> None:
    """What comes of float64, in the array's result type; in no layout touched, nor shared."""
    expected = function(array.astype(float), argument).astype(result_type(array.dtype))
    for each in (array, *variants(array).values()):
        with untouched(each) as results:
            results.append(function(each, argument))
        same_values(results[0], expected)


# ---- geometry, stated independently


def per_axis(value, rank: int) -> tuple:
    """One entry per axis, from one for all of them or from a sequence."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def starts(size: int, zeros: tuple[int, int], kernel: int, stride: int, rate: int) -> range:
    """Where windows start: every ``stride`` pixels, the last tap still on the padded input."""
    return range(-zeros[0], size + zeros[1] - rate * (kernel - 1), stride)


def zeros_on(size: int, kernel: int, stride: int, padding, rate: int) -> tuple[int, int]:
    """Zeros (before, after) along one axis; ``padding`` is a word, an int or a pair."""
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return rate * (kernel - 1), 0
    if padding == "same":  # as few as give one window per stride begun, the odd one behind
        total = 0
        while len(starts(size, (0, total), kernel, stride, rate)) < math.ceil(size / stride):
            total += 1
        return total // 2, total - total // 2
    before, after = padding if isinstance(padding, (tuple, list)) else (padding, padding)
    return int(before), int(after)


def loop_padding(input_size, kernel_size, *, strides=1, padding="valid", dilation_rate=1):
    """Zeros (before, after) per axis: what `im2col.resolve_padding` is to return."""
    rank = len(input_size)
    axes = (
        input_size,
        kernel_size,
        *(per_axis(value, rank) for value in (strides, padding, dilation_rate)),
    )
    return tuple(zeros_on(*axis) for axis in zip(*axes, strict=True))


def foldings(size: int, kernel: int, stride: int, padding, rate: int) -> list[int]:
    """The lengths that a convolution folds onto ``size`` windows: try them, shortest first."""
    span = rate * (kernel - 1) + 1
    if padding == "same":
        return [
            length for length in range(1, size * stride + 1) if math.ceil(length / stride) == size
        ]
    before, after = zeros_on(0, kernel, stride, padding, rate)
    lengths = range(-before - after, size * stride + span + 1)
    return [L for L in lengths if len(starts(L, (before, after), kernel, stride, rate)) == size]


def windows(input_size, kernel_size, *, strides=1, padding="valid", dilation_rate=1):
    """The output size, and every (output, tap, pixel) at which a window reads the image."""
    rank = len(input_size)
    zeros = loop_padding(
        input_size, kernel_size, strides=strides, padding=padding, dilation_rate=dilation_rate
    )
    strides, rates = per_axis(strides, rank), per_axis(dilation_rate, rank)
    first = [
        starts(*axis) for axis in zip(input_size, zeros, kernel_size, strides, rates, strict=True)
    ]
    output_size = tuple(len(positions) for positions in first)

    def reads():
        for output, tap in product(np.ndindex(*output_size), np.ndindex(*kernel_size)):
            pixel = tuple(first[a][output[a]] + rates[a] * tap[a] for a in range(rank))
            if all(0 <= pixel[a] < input_size[a] for a in range(rank)):
                yield output, tap, pixel

    return output_size, reads()


# ---- definitions: lists of products (index into y, into x, into kernel), the batch axis left out


def conv_products(x_shape, kernel_shape, *, groups=1, **geometry):
    """y[output, o] += x[pixel, c] * kernel[tap, c within its group, o], c and o of one group."""
    *kernel_size, inputs, filters = kernel_shape
    output_size, reads = windows(x_shape[1:-1], kernel_size, **geometry)

    def products():
        for output, tap, pixel in reads:
            for i, o in np.ndindex(inputs, filters):
                group = o // (filters // groups)
                yield (*output, o), (*pixel, group * inputs + i), (*tap, i, o)

    return (x_shape[0], *output_size, filters), products()


def depthwise_products(x_shape, kernel_shape, **geometry):
    """y[output, c * M + m] += x[pixel, c] * kernel[tap, c, m]."""
    *kernel_size, channels, multiplier = kernel_shape
    output_size, reads = windows(x_shape[1:-1], kernel_size, **geometry)

    def products():
        for output, tap, pixel in reads:
            for c, m in np.ndindex(channels, multiplier):
                yield (*output, c * multiplier + m), (*pixel, c), (*tap, c, m)

    return (x_shape[0], *output_size, channels * multiplier), products()


def transposed_products(
    x_shape,
    kernel_shape,
    *,
    strides=1,
    padding="valid",
    output_padding=None,
    output_size=None,
    dilation_rate=1,
    groups=1,
):
    """Every pixel stamps its kernel, ``strides`` apart; what falls off the output is lost."""
    batch, *input_size, channels = x_shape
    *kernel_size, outputs, _ = kernel_shape
    rank = len(kernel_size)
    strides, rates = per_axis(strides, rank), per_axis(dilation_rate, rank)
    legal = [
        foldings(*axis)
        for axis in zip(
            input_size, kernel_size, strides, per_axis(padding, rank), rates, strict=True
        )
    ]
    if output_size is not None:
        size = tuple(int(length) for length in per_axis(output_size, rank))
    elif output_padding is not None:
        size = tuple(legal[a][extra] for a, extra in enumerate(per_axis(output_padding, rank)))
    else:
        size = tuple(lengths[-1 if padding == "same" else 0] for lengths in legal)
    assert all(length in lengths for length, lengths in zip(size, legal, strict=True))
    zeros = loop_padding(size, kernel_size, strides=strides, padding=padding, dilation_rate=rates)

    def products():
        for pixel, tap in product(np.ndindex(*input_size), np.ndindex(*kernel_size)):
            place = tuple(
                pixel[a] * strides[a] + tap[a] * rates[a] - zeros[a][0] for a in range(rank)
            )
            if all(0 <= place[a] < size[a] for a in range(rank)):
                for o, c in np.ndindex(outputs, channels):
                    group = c // (channels // groups)
                    yield (*place, group * outputs + o), (*pixel, c), (*tap, o, c)

    return (batch, *size, groups * outputs), products()


def _forward(products_of, x, kernel, bias, hyperparameters):
    shape, products = products_of(x.shape, kernel.shape, **hyperparameters)
    y = np.zeros(shape)
    for a, b, c in products:
        y[:, *a] += x[:, *b] * kernel[c]
    return y if bias is None else y + bias


def _gradients(products_of, dy, x, kernel, hyperparameters):
    shape, products = products_of(x.shape, kernel.shape, **hyperparameters)
    assert dy.shape == shape
    dx, dkernel = np.zeros(x.shape), np.zeros(kernel.shape)
    for a, b, c in products:
        dx[:, *b] += dy[:, *a] * kernel[c]
        dkernel[c] += dy[:, *a] @ x[:, *b]
    return dx, dkernel, dy.reshape(-1, shape[-1]).sum(axis=0)


def loop_conv(x, kernel, bias=None, **hyperparameters):
    """The convolution, product by product."""
    return _forward(conv_products, x, kernel, bias, hyperparameters)


def loop_conv_gradients(dy, x, kernel, **hyperparameters):
    """(dx, dkernel, dbias) of `loop_conv`."""
    return _gradients(conv_products, dy, x, kernel, hyperparameters)


def loop_depthwise(x, kernel, bias=None, **hyperparameters):
    """The depthwise convolution, product by product."""
    return _forward(depthwise_products, x, kernel, bias, hyperparameters)


def loop_depthwise_gradients(dy, x, kernel, **hyperparameters):
    """(dx, dkernel, dbias) of `loop_depthwise`."""
    return _gradients(depthwise_products, dy, x, kernel, hyperparameters)


def loop_separable(x, depthwise_kernel, pointwise_kernel, bias=None, **hyperparameters):
    """Depthwise, then 1×1: one definition after the other."""
    y = loop_depthwise(x, depthwise_kernel, **hyperparameters)
    matrix = pointwise_kernel.reshape((1,) * (x.ndim - 2) + pointwise_kernel.shape[-2:])
    return loop_conv(y, matrix, bias)


def loop_transposed(x, kernel, bias=None, **hyperparameters):
    """The transposed convolution, stamp by stamp."""
    return _forward(transposed_products, x, kernel, bias, hyperparameters)


def loop_transposed_gradients(dy, x, kernel, **hyperparameters):
    """(dx, dkernel, dbias) of `loop_transposed`."""
    return _gradients(transposed_products, dy, x, kernel, hyperparameters)


def loop_im2col(x, kernel_size, **geometry):
    """One row per window: the pixels it reads, in (tap, channel) order, and zeros over the edge."""
    batch, *input_size, channels = x.shape
    output_size, reads = windows(input_size, kernel_size, **geometry)
    columns = np.zeros((batch, *output_size, *kernel_size, channels))
    for output, tap, pixel in reads:
        columns[:, *output, *tap] = x[:, *pixel]
    return columns.reshape(batch * math.prod(output_size), math.prod(kernel_size) * channels)


def loop_col2im(columns, input_shape, kernel_size, **geometry):
    """Every column entry added to the pixel that it was read from."""
    batch, *input_size, channels = input_shape
    output_size, reads = windows(input_size, kernel_size, **geometry)
    entries = columns.reshape(batch, *output_size, *kernel_size, channels)
    x = np.zeros(input_shape)
    for output, tap, pixel in reads:
        x[:, *pixel] += entries[:, *output, *tap]
    return x


def loop_pooling(x_shape, pool_size, *, strides=None, **geometry):
    """The output size, and for every output the pixels of its window, in C order of the taps."""
    size = x_shape[1:-1] if pool_size is None else per_axis(pool_size, len(x_shape) - 2)
    output_size, reads = windows(x_shape[1:-1], size, strides=strides or size, **geometry)
    pixels: dict[tuple, list] = {output: [] for output in np.ndindex(*output_size)}
    for output, _, pixel in reads:
        pixels[output].append(pixel)
    return output_size, pixels


def loop_max_pooling(x, pool_size, dy=None, **geometry):
    """(y, dx): of a window the largest pixel, of several the first."""
    size, pixels = loop_pooling(x.shape, pool_size, **geometry)
    y, dx = np.zeros((len(x), *size, x.shape[-1])), np.zeros(x.shape)
    for n, *output, c in np.ndindex(*y.shape):
        best = max(pixels[tuple(output)], key=lambda pixel: x[n, *pixel, c])
        y[n, *output, c] = x[n, *best, c]
        if dy is not None:
            dx[n, *best, c] += dy[n, *output, c]
    return y, dx


def loop_average_pooling(x, pool_size, dy=None, *, count_padding=False, **geometry):
    """(y, dx): of a window the mean."""
    size, pixels = loop_pooling(x.shape, pool_size, **geometry)
    y, dx = np.zeros((len(x), *size, x.shape[-1])), np.zeros(x.shape)
    taps = math.prod(x.shape[1:-1] if pool_size is None else per_axis(pool_size, x.ndim - 2))
    for output, some in pixels.items():
        count = taps if count_padding else len(some)
        y[:, *output] = sum(x[:, *pixel] for pixel in some) / count
        if dy is not None:
            for pixel in some:
                dx[:, *pixel] += dy[:, *output] / count
    return y, dx


def loop_batchnorm(x, gamma=None, beta=None, statistics=None, *, epsilon=1e-3):
    """(y, mean, variance): each channel by itself, in two passes, with exactly rounded sums."""
    y, means, variances = np.zeros(x.shape), [], []
    for c in range(x.shape[-1]):
        values = [float(value) for value in x[..., c].ravel()]
        if statistics is None:
            mean = math.fsum(values) / len(values)
            variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        else:
            mean, variance = (float(entry[c]) for entry in statistics)
        scale = 1.0 if gamma is None else float(gamma[c])
        shift = 0.0 if beta is None else float(beta[c])
        deviation = math.sqrt(variance + epsilon)
        normalized = [scale * ((value - mean) / deviation) + shift for value in values]
        y[..., c] = np.reshape(normalized, x.shape[:-1])
        means.append(mean)
        variances.append(variance)
    return y, np.array(means), np.array(variances)


def loop_normalization(x, gamma=None, beta=None, *, groups, epsilon=1e-3):
    """y: every image and group of channels by itself, in two passes, with exactly rounded sums."""
    y, width = np.zeros(x.shape), x.shape[-1] // groups
    for n, g in np.ndindex(len(x), groups):
        channels = slice(g * width, (g + 1) * width)
        values = [float(value) for value in x[n][..., channels].ravel()]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
        y[n][..., channels] = (x[n][..., channels] - mean) / math.sqrt(variance + epsilon)
    return y * (1.0 if gamma is None else gamma) + (0.0 if beta is None else beta)


# ---- strategies: valid geometry by construction


@dataclass(frozen=True)
class Case:
    """One drawn call of an operation: ``forward(x, kernel, bias, **hyperparameters)``."""

    x: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray | None
    hyperparameters: dict[str, Any]
    pointwise: np.ndarray | None = None  # the second kernel of a separable convolution

    @property
    def arrays(self) -> tuple:
        """The array arguments, in the forward's order."""
        kernels = (self.kernel,) if self.pointwise is None else (self.kernel, self.pointwise)
        return (self.x, *kernels, self.bias)

    def cotangent(self, y: np.ndarray) -> np.ndarray:
        """A dy for this y: random integers, the same ones each time."""
        return integers(np.random.default_rng(y.size), y.shape)


def both_ways(module, case: Case) -> tuple:
    """(y, dy, gradients) of a drawn case."""
    y, cache = module.forward(*case.arrays, **case.hyperparameters)
    dy = case.cotangent(y)
    return y, dy, module.backward(dy, cache)


@dataclass(frozen=True)
class Geometry:
    """Sizes along the spatial axes; ``keywords`` as a caller may spell them."""

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel_size)


batches = st.sampled_from([2, 1, 3, 2, 1, 3, 2, 0])
# Many windows and few channels may be worth another way to the same numbers than a handful.
large_batches = st.sampled_from([2, 80, 3, 80, 1, 80, 2, 0])
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def spelled(draw, values: tuple[int, ...]):
    """One int per axis as a tuple, a list, NumPy integers, or a single int where all are equal."""
    ways: list[Any] = [tuple(values), list(values), tuple(np.int64(value) for value in values)]
    if len(set(values)) == 1:
        ways += [int(values[0]), np.int32(values[0])]
    return draw(st.sampled_from(ways))


@st.composite
def paddings(draw, rank: int, words=("valid", "same", "causal")):
    """A padding of any kind: a word, an int, an int or a pair per axis, ints and pairs mixed."""
    amount = st.integers(0, (3, 2, 1)[rank - 1])
    pair = st.one_of(st.tuples(amount, amount), st.lists(amount, min_size=2, max_size=2))
    entry = st.one_of(amount, amount.map(np.int64), pair)
    kinds: dict[str, Any] = {word: st.just(word) for word in words if rank == 1 or word != "causal"}
    kinds["int"] = st.one_of(amount, amount.map(np.int64))
    kinds["an int per axis"] = st.tuples(*[amount] * rank)
    kinds["a pair per axis"] = st.lists(pair, min_size=rank, max_size=rank)
    kinds["mixed"] = st.tuples(*[entry] * rank)
    return draw(kinds[draw(st.sampled_from([*kinds, "same"]))])


def _kernels_and_steps(draw):
    rank = draw(st.sampled_from([2, 1, 3, 2, 1]))
    most = (5, 3, 2)[rank - 1]  # three axes: one of the sizes may still be 3
    kernel_size = [draw(st.integers(1, most)) for _ in range(rank)]
    if rank == 3 and draw(st.booleans()):
        kernel_size[draw(st.integers(0, 2))] = 3
    strides = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    rates = tuple(draw(st.sampled_from([1, 2, 1, 3])) for _ in range(rank))
    return rank, tuple(kernel_size), strides, rates


@st.composite
def geometries(draw):
    """Kernel, strides, rates and padding first, then an input that fits: nothing is filtered."""
    rank, kernel_size, strides, rates = _kernels_and_steps(draw)
    padding = draw(paddings(rank))
    input_size = []
    for k, s, p, d in zip(kernel_size, strides, per_axis(padding, rank), rates, strict=True):
        span = d * (k - 1) + 1
        fits = 1 if p in ("same", "causal") else max(1, span - sum(zeros_on(0, k, s, p, d)))
        more_windows = draw(st.integers(0, (4, 2, 1)[rank - 1]))
        input_size.append(fits + more_windows * min(s, 3) + draw(st.integers(0, s - 1)))
    keywords = {
        "strides": draw(spelled(strides)),
        "padding": padding,
        "dilation_rate": draw(spelled(rates)),
    }
    return Geometry(tuple(input_size), kernel_size, keywords)


def _maybe_bias(draw, rng, channels: int):
    return integers(rng, channels) if draw(st.booleans()) else None


@st.composite
def im2col_cases(draw):
    """(x, kernel_size, keywords) for `im2col.im2col`."""
    geometry, rng = draw(geometries()), draw(generators)
    x = integers(rng, (draw(batches), *geometry.input_size, draw(st.integers(1, 3))))
    return x, geometry.kernel_size, geometry.keywords


@st.composite
def conv_cases(draw):
    """A convolution of any rank, stride, padding, rate and number of groups."""
    geometry, rng = draw(geometries()), draw(generators)
    groups = draw(st.sampled_from([1, 2, 3, 1]))
    inputs, outputs = draw(st.integers(1, 3 if groups == 1 else 2)), draw(st.integers(1, 2))
    filters = groups * outputs
    x = integers(rng, (draw(large_batches), *geometry.input_size, groups * inputs))
    kernel = integers(rng, (*geometry.kernel_size, inputs, filters))
    spelled_groups = draw(st.sampled_from([groups, np.int64(groups)]))
    return Case(
        x, kernel, _maybe_bias(draw, rng, filters), {**geometry.keywords, "groups": spelled_groups}
    )


@st.composite
def unary_cases(draw):
    """A 1×1 convolution, its kernel with or without the axes of length 1."""
    rank, rng = draw(st.integers(1, 3)), draw(generators)
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    x = integers(
        rng,
        (draw(batches), *(draw(st.integers(1, 5)) for _ in range(rank)), draw(st.integers(1, 4))),
    )
    filters = draw(st.integers(1, 4))
    kernel = integers(rng, (*draw(st.sampled_from([(), (1,) * rank])), x.shape[-1], filters))
    return Case(x, kernel, _maybe_bias(draw, rng, filters), {"strides": draw(spelled(strides))})


@st.composite
def depthwise_cases(draw):
    """A depthwise convolution with any multiplier."""
    geometry, rng = draw(geometries()), draw(generators)
    channels, multiplier = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x = integers(rng, (draw(batches), *geometry.input_size, channels))
    kernel = integers(rng, (*geometry.kernel_size, channels, multiplier))
    return Case(x, kernel, _maybe_bias(draw, rng, channels * multiplier), geometry.keywords)


@st.composite
def separable_cases(draw):
    """A depthwise-separable convolution; the pointwise kernel plain or with axes of length 1."""
    case, rng, filters = draw(depthwise_cases()), draw(generators), draw(st.integers(1, 3))
    channels, multiplier = case.kernel.shape[-2:]
    ones = draw(st.sampled_from([(), (1,) * (case.x.ndim - 2)]))
    pointwise = integers(rng, (*ones, channels * multiplier, filters))
    return Case(
        case.x, case.kernel, _maybe_bias(draw, rng, filters), case.hyperparameters, pointwise
    )


@st.composite
def transposed_cases(draw):
    """A transposed convolution; its size by default, by output_padding or said outright."""
    rank, kernel_size, strides, rates = _kernels_and_steps(draw)
    rng, padding = draw(generators), draw(paddings(rank, ("valid", "same")))
    way = draw(st.sampled_from(["default", "output_padding", "output_size"]))
    input_size, extras, lengths = [], [], []
    for k, s, p, d in zip(kernel_size, strides, per_axis(padding, rank), rates, strict=True):
        extra = 0 if way == "default" else draw(st.integers(0, s - 1))
        size = 1
        while foldings(size, k, s, p, d)[extra] < 1:  # more padding than kernel: a longer input
            size += 1
        input_size.append(size + draw(st.integers(0, (4, 2, 1)[rank - 1])))
        extras.append(extra)
        lengths.append(foldings(input_size[-1], k, s, p, d)[extra])
    groups = draw(st.sampled_from([1, 2, 3, 1]))
    inputs, outputs = draw(st.integers(1, 2)), draw(st.integers(1, 3 if groups == 1 else 2))
    x = integers(rng, (draw(large_batches), *input_size, groups * inputs))
    kernel = integers(rng, (*kernel_size, outputs, groups * inputs))
    keywords = {
        "strides": draw(spelled(strides)),
        "padding": padding,
        "dilation_rate": draw(spelled(rates)),
        "groups": groups,
    }
    if way == "output_padding":
        keywords["output_padding"] = draw(spelled(tuple(extras)))
    if way == "output_size":
        keywords["output_size"] = draw(spelled(tuple(lengths)))
    return Case(x, kernel, _maybe_bias(draw, rng, groups * outputs), keywords)


@dataclass(frozen=True)
class PoolCase:
    """One drawn call of a pooling: ``forward(x, pool_size, **hyperparameters)``."""

    x: np.ndarray
    pool_size: Any
    hyperparameters: dict[str, Any]

    def cotangent(self, y: np.ndarray) -> np.ndarray:
        """A dy for this y: integers that every count of pixels up to 12 divides."""
        return 27720 * integers(np.random.default_rng(y.size), y.shape)


@st.composite
def pool_cases(draw, dilated: bool):
    """Windows that each have a pixel, over small integers, many of which are equal."""
    rank, pool_size, strides, rates = _kernels_and_steps(draw)
    rates = rates if dilated else (1,) * rank
    rng, kind = draw(generators), draw(st.sampled_from(["valid", "same", "causal", "pairs", "int"]))
    by_default = draw(st.booleans())
    strides = pool_size if by_default else strides
    reach = [(k - 1) * d for k, d in zip(pool_size, rates, strict=True)]
    padding: Any = kind
    if kind == "int":
        padding = draw(st.integers(0, min(2, *reach, 2)))
    elif kind == "pairs" or (kind == "causal" and rank > 1):
        padding = [tuple(draw(st.integers(0, min(3, r))) for _ in "ab") for r in reach]
    input_size = []
    for k, s, p, d in zip(pool_size, strides, per_axis(padding, rank), rates, strict=True):
        zeros = 0 if p in ("same", "causal") else sum(zeros_on(0, k, s, p, d))
        fits = d if p in ("same", "causal") else max(d, d * (k - 1) + 1 - zeros)
        more_windows = draw(st.integers(0, (6, 3, 1)[rank - 1]))
        input_size.append(fits + more_windows * min(s, 3) + draw(st.integers(0, s - 1)))
    x = rng.integers(-2, 3, (draw(batches), *input_size, draw(st.integers(1, 3)))).astype(float)
    keywords: dict[str, Any] = {"padding": padding}
    if not by_default:
        keywords["strides"] = draw(spelled(strides))
    if dilated:
        keywords["dilation_rate"] = draw(spelled(rates))
    else:
        keywords["count_padding"] = draw(st.sampled_from([False, True, np.True_]))
    return PoolCase(x, draw(spelled(pool_size)), keywords)


@dataclass(frozen=True)
class BatchnormCase:
    """One drawn batch normalization; ``statistics`` is a plain (mean, variance) or None."""

    x: np.ndarray
    gamma: np.ndarray | None
    beta: np.ndarray | None
    statistics: tuple[np.ndarray, np.ndarray] | None
    epsilon: float


@st.composite
def batchnorm_cases(draw, statistics=(False, True)):
    """Normal deviates, offset and scaled per channel, (N, …, C) of two to five axes, N > 1."""
    rng, channels = draw(generators), draw(st.integers(1, 4))
    shape = (draw(st.integers(2, 4)), *draw(st.lists(st.integers(1, 4), max_size=3)), channels)
    x = rng.normal(size=shape) * rng.uniform(0.1, 5, channels) + rng.normal(size=channels)
    gamma = rng.normal(size=channels) if draw(st.booleans()) else None
    beta = rng.normal(size=channels) if draw(st.booleans()) else None
    given = (rng.normal(size=channels), rng.uniform(0, 3, channels))
    epsilon = draw(st.sampled_from([1e-3, 1e-5, 0.5]))
    return BatchnormCase(
        x, gamma, beta, given if draw(st.sampled_from(statistics)) else None, epsilon
    )


@dataclass(frozen=True)
class NormalizationCase:
    """One drawn layer, instance or group normalization."""

    x: np.ndarray
    gamma: np.ndarray | None
    beta: np.ndarray | None
    groups: Any
    epsilon: float


@st.composite
def normalization_cases(draw):
    """Normal deviates, offset and scaled per channel; one group, one per channel, or between."""
    rng, groups, width = draw(generators), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    channels, rank = groups * width, draw(st.integers(1, 3))
    size = [draw(st.integers(1, (6, 4, 3)[rank - 1])) for _ in range(rank)]
    shape = (draw(large_batches), *size, channels)
    x = rng.normal(size=shape) * rng.uniform(0.1, 5, channels) + rng.normal(size=channels)
    gamma = rng.normal(size=channels) if draw(st.booleans()) else None
    beta = rng.normal(size=channels) if draw(st.booleans()) else None
    epsilon = draw(st.sampled_from([1e-3, 1e-5, 0.5]))
    return NormalizationCase(
        x, gamma, beta, draw(st.sampled_from([groups, np.int64(groups)])), epsilon
    )


@dataclass(frozen=True)
class ResidualCase:
    """One drawn residual block; ``parameters`` are the fields of `residual.Parameters` by name."""

    x: np.ndarray
    parameters: dict[str, Any]
    statistics: tuple[tuple[np.ndarray, np.ndarray], ...] | None
    options: dict[str, Any]


@st.composite
def residual_cases(
    draw, variants=("original", "preactivation", "normalized_sum"), statistics=(False, True)
):
    """A basic or bottleneck block of one or two axes; a projection where needed, and elsewhere."""
    rng, variant = draw(generators), draw(st.sampled_from(variants))
    rank = draw(st.integers(1, 2))
    size = tuple(draw(st.integers(2, 5)) for _ in range(rank))
    large = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    strides = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    if draw(st.booleans()):
        strides, filters = (1,) * rank, channels  # the shortcut may be the identity
    if draw(st.booleans()):
        small, width = (1,) * rank, draw(st.integers(1, 2))
        shapes = [(*small, channels, width), (*large, width, width), (*small, width, filters)]
    else:
        shapes = [(*large, channels, filters), (*large, filters, filters)]

    def norm(width: int):
        return rng.normal(size=width), rng.normal(size=width)

    normed = [shape[-2 if variant == "preactivation" else -1] for shape in shapes]
    if variant == "normalized_sum":
        normed.append(filters)
    parameters: dict[str, Any] = {
        "kernels": tuple(rng.normal(size=shape) for shape in shapes),
        "norms": tuple(norm(width) for width in normed),
    }
    if set(strides) != {1} or channels != filters or draw(st.booleans()):
        parameters["projection"] = rng.normal(size=(*(1,) * rank, channels, filters))
        if draw(st.booleans()):
            parameters["projection_norm"] = norm(filters)
            normed.append(filters)
    given = None
    if draw(st.sampled_from(statistics)):
        given = tuple((rng.normal(size=width), rng.uniform(0.2, 2, width)) for width in normed)
    x = rng.normal(size=(draw(st.integers(1, 3)), *size, channels))
    options = {"strides": draw(spelled(strides)), "variant": variant, "padding": "same"}
    if draw(st.booleans()):  # as many zeros as keep the size, on whichever side
        before = [draw(st.integers(0, k - 1)) for k in large]
        options["padding"] = tuple((b, k - 1 - b) for b, k in zip(before, large, strict=True))
    return ResidualCase(x, parameters, given, options)


# ---- differences along a direction, for what is not linear


def like(rng: np.random.Generator, value):
    """Normal deviates in the structure of an array or of nested tuples; None stays None."""
    if value is None:
        return None
    if isinstance(value, tuple):
        parts = [like(rng, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return rng.normal(size=value.shape)


def moved(value, direction, step: float):
    """``value + step * direction`` for nested tuples of arrays."""
    if value is None:
        return None
    if isinstance(value, tuple):
        parts = [moved(v, d, step) for v, d in zip(value, direction, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value + step * direction


def inner(gradients, direction) -> float:
    """The inner product of nested tuples of gradients with a direction of the same structure."""
    if direction is None:
        assert gradients is None
        return 0.0
    if isinstance(direction, tuple):
        return sum(inner(g, d) for g, d in zip(gradients, direction, strict=True))
    return dot(gradients, direction)


def has_slope(loss, slope: float, *, step=1e-6, tolerance=1e-6) -> bool:
    """Whether the slope of ``loss`` at 0 lies between its differences to the left and right.

    They enclose it to first order, whatever the curvature, and where a ReLU turns on or off within
    one of the two steps, the other is the slope.
    """
    left, right = ((loss(0) - loss(-step)) / step, (loss(step) - loss(0)) / step)
    slack = tolerance * max(abs(left), abs(right), 1.0)
    low, high = min(left, right) - slack, max(left, right) + slack
    assert low <= slope <= high, f"slope {slope} is not within {low} … {high}"
    return True


def first_of_each(entries, ids, step=1):
    """The first entry of every step-th first item for any run, the others where there is time."""
    firsts = list(dict.fromkeys(entry[0] for entry in entries))[::step]
    numbers = {[entry[0] for entry in entries].index(first) for first in firsts}
    return thinned(entries, ids, numbers)


def thinned(entries, ids, kept):
    """Those entries for any run whose numbers are kept, the others where there are minutes."""
    return [
        pytest.param(*entry, id=name, marks=[] if number in kept else [pytest.mark.thorough])
        for number, (entry, name) in enumerate(zip(entries, ids, strict=False))
    ]
