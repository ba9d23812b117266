"""What a step takes beyond its inputs and results: bounded, whatever the kernel."""

import math

import numpy as np
import pytest
from helpers import arrays_in, thinned, traced

from convinsights import (
    average_pooling,
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    max_pooling,
    normalization,
    residual,
    transposed,
)

MIB = 2**20
rng = np.random.default_rng(101)
LAYERS = {
    "7×7": (conv, (4, 224, 224, 16), (7, 7, 16, 4), {"padding": "same"}),
    "5×5": (conv, (1, 1024, 1024, 8), (5, 5, 8, 4), {}),
    "1024 taps": (conv, (1, 300, 64), (1024, 64, 64), {"padding": "same"}),
    "transposed 4×4": (transposed, (16, 56, 56, 64), (4, 4, 8, 64), {"strides": 2}),
    "depthwise 5×5": (depthwise, (4, 224, 224, 16), (5, 5, 16, 1), {"padding": "same"}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_take_two_copies_of_the_larger_image_and_32_mib(name):
    layer, shape, kernel_shape, options = LAYERS[name]
    x, kernel = np.ones(shape, np.float32), np.ones(kernel_shape, np.float32)
    (y, cache), peak, end = traced(layer.forward, x, kernel, **options)
    most = 2 * max(x.nbytes, y.nbytes) + 32 * MIB
    assert peak - y.nbytes <= most
    assert end - y.nbytes < MIB, "the cache holds more than references to the inputs"
    gradients, peak, _ = traced(layer.backward, y, cache)
    assert peak - sum(array.nbytes for array in arrays_in(gradients)) <= most


@pytest.mark.parametrize("layer", [average_pooling, max_pooling])
@pytest.mark.parametrize(
    "options", [{"pool_size": 3, "strides": 1, "padding": 1}, {"pool_size": 2}]
)
def test_pooling_takes_a_few_blocks_and_keeps_a_byte_per_window_at_most(layer, options):
    x = np.ones((4, 224, 224, 16), np.float32)
    (y, cache), peak, end = traced(layer.forward, x, **options)
    assert end - y.nbytes < y.size + MIB
    assert peak - y.nbytes < y.size + 16 * MIB
    gradients, peak, _ = traced(layer.backward, y, cache)
    assert peak - gradients.x.nbytes < 16 * MIB


@pytest.mark.parametrize("layer", [average_pooling, max_pooling])
def test_global_pooling_takes_two_copies_of_the_image_and_32_mib(layer):
    x = np.ones((1, 1000, 1000, 8), np.float32)
    (y, cache), peak, _ = traced(layer.forward, x, None)
    assert peak <= 2 * x.nbytes + 32 * MIB
    gradients, peak, _ = traced(layer.backward, y, cache)
    assert peak - gradients.x.nbytes <= 2 * x.nbytes + 32 * MIB


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "most"),
    [
        ((1, 2**21, 1), np.float32, {"pool_size": 3, "strides": 1, "padding": 1}, 40),
        ((1, 2**22, 1), np.float16, {"pool_size": 2}, 32),
        ((1, 2**22, 1), np.float16, {"pool_size": None}, 24),
        ((1, 2**11, 2**11, 1), np.float16, {"pool_size": None}, 24),
    ],
)
def test_max_pooling_knows_no_place_of_every_window_or_tap(shape, dtype, options, most):
    """A place takes 8 bytes, and a pixel of the one channel 2 or 4."""
    y, cache = max_pooling.forward(np.zeros(shape, dtype), **options)
    gradients, peak, _ = traced(max_pooling.backward, y, cache)
    assert peak - gradients.x.nbytes <= most * MIB


def test_depthwise_convolution_takes_a_few_blocks():
    x, kernel = np.ones((4, 224, 224, 32), np.float32), np.ones((5, 5, 32, 1), np.float32)
    (y, cache), peak, _ = traced(depthwise.forward, x, kernel, padding="same")
    assert peak - y.nbytes < 12 * MIB
    gradients, peak, _ = traced(depthwise.backward, y, cache)
    assert peak - gradients.x.nbytes < 12 * MIB


@pytest.mark.parametrize(
    ("layer", "shape", "options"),
    [
        (batchnorm, (8, 112, 112, 32), {}),
        (batchnorm, (256, 20000), {}),  # few rows of many channels
        (normalization, (16, 50, 50, 64), {"groups": 4}),
        (normalization, (8, 1, 2**18), {"groups": 1}),
        (normalization, (30_000, 1, 64), {"groups": 1}),
    ],
)
def test_normalizing_takes_a_few_blocks(layer, shape, options):
    x, gamma = rng.random(shape, np.float32), np.ones(shape[-1], np.float32)
    (y, cache), peak, end = traced(layer.forward, x, gamma, gamma, **options)
    assert peak - y.nbytes < 4 * MIB
    assert end - y.nbytes < MIB
    gradients, peak, _ = traced(layer.backward, y, cache)
    assert peak - sum(array.nbytes for array in arrays_in(gradients)) < 7 * MIB


SIZES = [1, 2, 7, 1000, 2**18 - 1, 1_500_000]


def seeds(count, dear):
    """Those that take longest only where there are minutes for them."""
    numbers = range(count)
    return thinned([(n,) for n in numbers], map(str, numbers), set(numbers) - dear)


@pytest.mark.parametrize("seed", seeds(8, {2, 7}))
def test_normalizing_arrays_of_any_shape_keeps_the_promise(seed):
    """Drawn at the extremes: many images, pixels, channels, groups, or several of them."""
    draw = np.random.default_rng(seed)
    shape = (0,)
    while not 10**6 < np.prod(shape) < 4 * 10**6:
        shape = tuple(int(size) for size in draw.choice(SIZES, 3))
    channels = shape[-1]
    divisors = [g for g in (1, 2, 3, 7, channels // 7, channels) if g and channels % g == 0]
    groups = int(draw.choice(divisors))
    x = np.ones(shape, np.float32)
    x[..., ::2] = draw.choice([0, -1, 30])
    parameters = [None, np.ones(channels, np.float32)][seed % 2]
    for layer, options in ((normalization, {"groups": groups}), (batchnorm, {})):
        (y, cache), peak, end = traced(layer.forward, x, parameters, parameters, **options)
        assert peak - end <= 2 * x.nbytes + 32 * MIB
        assert end - y.nbytes <= 2 * x.nbytes + MIB, "more than y and the statistics"
        gradients, peak, _ = traced(layer.backward, y, cache)
        results = sum(array.nbytes for array in arrays_in(gradients))
        assert peak - results <= 2 * x.nbytes + 32 * MIB


def at_the_extremes(rng):
    """A convolution of some million numbers whose sizes are as unlike as can be."""
    layer = (conv, depthwise, transposed)[rng.integers(3)]
    rank, long = int(rng.integers(1, 3)), int(rng.integers(0, 4))
    size, taps = rng.integers(1, 12, rank), rng.integers(1, 5, rank)
    batch, channels, filters = (int(2 ** rng.integers(0, 4)) for _ in range(3))
    strides, rate = rng.integers(1, 4, rank), rng.integers(1, 3, rank)
    if long == 0:  # an image of long rows or columns
        size[rng.integers(rank)] = 2**21 // (math.prod(map(int, size)) * channels * batch) + 1
    elif long == 1:  # and a kernel as long
        axis = rng.integers(rank)
        size[axis], taps[axis] = 4096, int(rng.integers(100, 2000))
        batch, channels = 1, min(channels, 4)
    elif long == 2:  # channels
        channels = 2 ** int(rng.integers(9, 12))
        filters = 2 ** int(rng.integers(0, 3)) if layer is depthwise else channels // 2
    else:  # a batch
        batch = 2**20 // (math.prod(map(int, size)) * channels) + 1
    groups = int(rng.choice([1, 2, channels])) if channels % 2 == filters % 2 == 0 else 1
    groups = math.gcd(groups, math.gcd(channels, filters))
    size, taps, strides, rate = (tuple(map(int, v)) for v in (size, taps, strides, rate))
    options = {"strides": strides, "dilation_rate": rate, "padding": "same"}
    if layer is depthwise:
        kernel = (*taps, channels, min(filters, 16))
    else:
        kernel = (*taps, channels // groups, filters)
        options["groups"] = groups
    if layer is transposed:
        kernel, channels = (*taps, filters // groups, channels), channels
    return layer, (batch, *size, channels), kernel, options


@pytest.mark.parametrize("seed", seeds(16, {10}))
def test_convolutions_of_any_shape_keep_the_promise(seed):
    layer, shape, kernel_shape, options = at_the_extremes(np.random.default_rng(seed))
    x, kernel = np.ones(shape, np.float32), np.ones(kernel_shape, np.float32)
    (y, cache), peak, _ = traced(layer.forward, x, kernel, **options)
    image = y if layer is transposed else x
    geometry = getattr(cache, "conv", cache).geometry  # of depthwise, that of the convolution it is
    padded = len(x) * math.prod(geometry.padded_size) * image.shape[-1] * 4
    most = 2 * max(x.nbytes, y.nbytes, padded) + 32 * MIB
    assert peak - y.nbytes <= most
    gradients, peak, _ = traced(layer.backward, y, cache)
    assert peak - sum(array.nbytes for array in arrays_in(gradients)) <= most


@pytest.mark.parametrize(
    ("layer", "size", "options"),
    [
        (conv, 5003, {"padding": "same"}),  # nearly every window has taps of its own
        (transposed, 61, {"strides": 4999}),  # as many phases of the strides
    ],
)
def test_what_is_known_of_a_geometry_takes_no_memory_for_every_window(layer, size, options):
    x, kernel = np.ones((1, size, 1), np.float32), np.ones((5001, 1, 1), np.float32)
    (y, cache), _, end = traced(layer.forward, x, kernel, **options)
    gradients, _, beyond = traced(layer.backward, y, cache)
    assert end - y.nbytes < MIB
    assert beyond - sum(array.nbytes for array in arrays_in(gradients)) < MIB


@pytest.mark.parametrize(("image", "weights"), [(np.float16, np.float16), (np.float64, np.float32)])
def test_a_kernel_that_has_to_be_cast_is_copied_twice_at_most(image, weights):
    x, kernel = np.ones((1, 1, 1, 256), image), np.zeros((7, 7, 256, 512), weights)
    compute = np.float32 if image == np.float16 else np.float64
    most = 2 * kernel.size * np.dtype(compute).itemsize + 32 * MIB
    (y, cache), peak, _ = traced(conv.forward, x, kernel, padding=3)
    assert peak - y.nbytes <= most
    gradients, peak, _ = traced(conv.backward, y, cache)
    assert peak - gradients.kernel.nbytes <= most


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_initial_weights_take_their_own_memory_alone(dtype):
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    kernel, peak, _ = traced(conv.initialize, rng, (3, 3), 512, 512, dtype=dtype)
    assert peak - kernel.nbytes <= 2 * MIB
    whole = conv.initialize(same, (3, 3), 512, 512)
    np.testing.assert_array_equal(kernel, whole.astype(dtype))


@pytest.mark.parametrize(("dtype", "multiplier"), [(np.float16, 1), (np.float16, 2)])
def test_a_separable_convolution_takes_two_copies_of_the_largest_image(dtype, multiplier):
    x, kernel = np.ones((1, 512, 512, 8), dtype), np.zeros((3, 3, 8, multiplier), dtype)
    largest = x.size * multiplier * 4
    arguments = x, kernel, np.zeros((8 * multiplier, 8), dtype)
    (y, cache), peak, end = traced(depthwise_separable.forward, *arguments, padding="same")
    assert peak - end <= 2 * largest + 6 * MIB
    gradients, peak, _ = traced(depthwise_separable.backward, y, cache)
    assert peak - sum(array.nbytes for array in arrays_in(gradients)) <= 2 * largest + 6 * MIB


@pytest.mark.parametrize(
    ("variant", "dtype", "channels", "copies"),
    [
        ("original", np.float32, 16, 2),
        ("original", np.float16, 1, 3),
        ("preactivation", np.float16, 16, 3),
        ("normalized_sum", np.float32, 16, 2),
    ],
)
def test_a_residual_block_takes_two_copies_of_the_largest_image_and_three_back(
    variant, dtype, channels, copies
):
    rng, x = np.random.default_rng(4), np.ones((1, 256, 512, channels), dtype)
    block = residual.initialize(rng, [(1, 1)] * 2, channels, 16, variant=variant, dtype=dtype)
    largest = 256 * 512 * 16 * 4
    (y, cache), peak, end = traced(residual.forward, x, block, variant=variant)
    assert peak - end <= 2 * largest + 4 * MIB
    gradients, peak, _ = traced(residual.backward, np.zeros(y.shape, dtype), cache)
    assert peak - sum(array.nbytes for array in arrays_in(gradients)) <= copies * largest + 3 * MIB
