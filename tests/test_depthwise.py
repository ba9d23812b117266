"""depthwise: windows and kernels for every channel by itself."""

import numpy as np
import pytest
from helpers import (
    both_ways,
    depthwise_cases,
    integers,
    line,
    same_values,
    says,
    taps,
    untouched,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import _costs, conv, depthwise

rng = np.random.default_rng(41)


# ---- by hand


def test_every_channel_has_a_kernel_of_its_own():
    x = np.array([[[1, 10], [2, 20], [4, 40]]])
    y, _ = depthwise.forward(x, np.array([[[-1], [1]], [[1], [2]]]))
    assert_array_equal(y, [[[2 - 1, 10 + 2 * 20], [4 - 2, 20 + 2 * 40]]])


def test_the_outputs_of_a_channel_lie_side_by_side():
    y, _ = depthwise.forward(np.array([[[1, 10]]]), np.array([[[2, 3], [4, 5]]]), np.arange(4))
    assert_array_equal(y, [[[2 + 0, 3 + 1, 40 + 2, 50 + 3]]])


def test_the_kernel_is_not_flipped():
    y, _ = depthwise.forward(line(1, 10, 100), taps(1, 2))
    assert_array_equal(y, line(1 + 2 * 10, 10 + 2 * 100))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (21, 210, 2100)),
        ({"strides": 2}, (21, 2100)),
        ({"dilation_rate": 3}, (2001,)),
        ({"padding": "same"}, (21, 210, 2100, 1000)),
        ({"padding": "same", "strides": 3}, (21, 1000)),
        ({"padding": "causal"}, (2, 21, 210, 2100)),
        ({"padding": 1, "strides": 2}, (2, 210, 1000)),
        ({"padding": ((0, 2),), "dilation_rate": 2}, (201, 2010, 100, 1000)),
    ],
)
def test_strides_rates_and_paddings_in_one_row(options, expected):
    y, _ = depthwise.forward(line(1, 10, 100, 1000), taps(1, 2), **options)
    assert_array_equal(y, line(*expected))


def test_gradients_by_hand():
    x, kernel = np.array([[[1, 10], [2, 20]]]), np.array([[[3, 4], [5, 6]]])
    _, cache = depthwise.forward(x, kernel, np.zeros(4))
    gradients = depthwise.backward(np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]]), cache)
    assert_array_equal(gradients.x, [[[3 + 8, 15 + 24], [15 + 24, 35 + 48]]])
    assert_array_equal(gradients.kernel, [[[1 + 10, 2 + 12], [30 + 140, 40 + 160]]])
    assert_array_equal(gradients.bias, [6, 8, 10, 12])


def test_a_pixel_that_no_window_reads_has_gradient_0():
    _, cache = depthwise.forward(line(1, 2, 3, 4, 5), taps(7), strides=3)
    assert_array_equal(depthwise.backward(line(1, 10), cache).x, line(7, 0, 0, 70, 0))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (5, 5)),
        ({"strides": (2, 3)}, (3, 2)),
        ({"padding": "same"}, (7, 6)),
        ({"padding": "same", "strides": 2}, (4, 3)),
        ({"padding": (1, (0, 2))}, (7, 7)),
        ({"dilation_rate": (3, 5)}, (1, 1)),
    ],
)
def test_output_shape_by_hand(options, size):
    assert depthwise.output_shape((8, 7, 6, 3), (3, 2, 3, 2), **options) == (8, *size, 6)


def test_counts_by_hand():
    assert depthwise.parameter_count((3, 5), 6) == 3 * 5 * 6
    assert depthwise.parameter_count((3, 5), 6, depth_multiplier=2) == 3 * 5 * 6 * 2
    count = depthwise.parameter_count(3, 6, depth_multiplier=2, use_bias=True)
    assert count == 3 * 6 * 2 + 6 * 2
    assert depthwise.multiply_adds((2, 7, 6, 3), (3, 2, 3, 2)) == (2 * 5 * 5 * 6) * (3 * 2)
    options = {"strides": 2, "padding": "same", "dilation_rate": 2}
    assert depthwise.multiply_adds((2, 7, 6, 3), (3, 2, 3, 2), **options) == (2 * 4 * 3 * 6) * 6


# ---- against a second derivation


def as_groups(kernel):
    """The kernel of the convolution with as many groups as channels."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


@given(depthwise_cases())
def test_it_is_the_convolution_with_as_many_groups_as_channels(case):
    y, dy, gradients = both_ways(depthwise, case)
    grouped, cache = conv.forward(
        case.x,
        as_groups(case.kernel),
        case.bias,
        **case.hyperparameters,
        groups=case.x.shape[-1],
    )
    same_values(y, grouped)
    expected = conv.backward(dy, cache)
    same_values(gradients.x, expected.x)
    same_values(as_groups(gradients.kernel), expected.kernel)


@settings(max_examples=30)
@given(depthwise_cases())
def test_every_output_is_a_convolution_of_one_channel(case):
    y, _ = depthwise.forward(*case.arrays, **case.hyperparameters)
    multiplier = case.kernel.shape[-1]
    for channel in range(y.shape[-1]):
        c, m = divmod(channel, multiplier)
        one, _ = conv.forward(
            case.x[..., [c]], case.kernel[..., [c], :][..., [m]], **case.hyperparameters
        )
        shift = 0 if case.bias is None else case.bias[channel]
        same_values(y[..., [channel]], one + shift)


def under(tap, size, strides, rates):
    """The pixels under one tap of a valid convolution."""
    steps = zip(tap, size, strides, rates, strict=True)
    return (slice(None), *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in steps))


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "strides", "rates"),
    [
        ((40, 20, 30, 2), (3, 2, 2, 2), (1, 1), (1, 2)),  # several images to a block
        ((2, 300, 140, 2), (2, 3, 2, 2), (2, 1), (3, 2)),  # several blocks to an image
        ((2, 80000, 3), (3, 3, 2), (2,), (5,)),  # several blocks to a row
        ((2, 80000, 3), (2, 3, 1), (2,), (1,)),
        ((3, 2, 2, 40000), (2, 2, 40000, 1), (1, 1), (1, 1)),  # a pixel larger than a block
    ],
)
def test_large_images_are_done_block_by_block(monkeypatch, x_shape, kernel_shape, strides, rates):
    monkeypatch.setattr(_costs, "WORKSPACE", 2**18)
    *taps_size, channels, multiplier = kernel_shape
    x, kernel = integers(rng, x_shape), integers(rng, kernel_shape)
    bias = integers(rng, channels * multiplier)
    y, cache = depthwise.forward(x, kernel, bias, strides=strides, dilation_rate=rates)
    dy = integers(rng, y.shape)
    expected, dx, dkernel = np.zeros(y.shape), np.zeros(x_shape), np.zeros(kernel_shape)
    by_channel = dy.reshape(*dy.shape[:-1], channels, multiplier)
    for tap in np.ndindex(*taps_size):
        pixels = under(tap, y.shape[1:-1], strides, rates)
        image = x[pixels][..., np.newaxis]
        expected += (image * kernel[tap]).reshape(y.shape)
        dx[pixels] += (by_channel * kernel[tap]).sum(axis=-1)
        dkernel[tap] = (by_channel * image).sum(axis=tuple(range(y.ndim - 1)))
    same_values(y, expected + bias)
    wanted = dx, dkernel, dy.reshape(-1, len(bias)).sum(axis=0)
    for actual, array in zip(depthwise.backward(dy, cache), wanted, strict=True):
        same_values(actual, array)


@pytest.mark.parametrize("strides", [1, 2])
def test_of_no_large_images_there_are_no_results(strides):
    x, kernel = np.ones((0, 60, 61, 64)), np.ones((3, 3, 64, 1))
    y, cache = depthwise.forward(x, kernel, padding="same", strides=strides)
    dx, dkernel, _ = depthwise.backward(y, cache)
    assert (len(y), dx.shape) == (0, x.shape)
    same_values(dkernel, np.zeros(kernel.shape))


# ---- manners

X, KERNEL, BIAS = integers(rng, (2, 6, 5, 3)), integers(rng, (3, 2, 3, 2)), integers(rng, 6)
OPTIONS = {"strides": (1, 2), "padding": ((1, 0), 1), "dilation_rate": (2, 1)}


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("options", [OPTIONS, {}, {"padding": "same"}])
def test_nothing_is_modified_and_nothing_shared(multiplier, options):
    kernel, bias = KERNEL[..., :multiplier], BIAS[: 3 * multiplier]
    with untouched(X, kernel, bias) as results:
        y, cache = depthwise.forward(X, kernel, bias, **options)
        with untouched(dy := y + 1) as gradients:
            gradients.append(depthwise.backward(dy, cache))
        results += [y, gradients]


def test_float16_is_summed_in_float32_and_rounded_once():
    x = np.float16([2048, 1, 1])  # 2048 + 1 is 2048 in float16
    y, _ = depthwise.forward(
        x.reshape(1, 3, 1), np.ones((3, 1, 1), np.float16), -np.float16([2050])
    )
    same_values(y, np.zeros((1, 1, 1), np.float16))
    image, one = x.reshape(1, 3, 1), np.ones((1, 1, 1), np.float16)
    _, cache = depthwise.forward(image, one)
    same_values(depthwise.backward(np.ones((1, 3, 1)), cache).kernel, np.float16([[[2050]]]))
    _, cache = depthwise.forward(image * 0, one, np.float16([0]))
    same_values(depthwise.backward(image, cache).bias, np.float16([2050]))


def test_the_gradients_of_a_channel_shown_often_are_added_in_float32():
    x = np.float16([2048, 1, 1])
    _, cache = depthwise.forward(np.ones((1, 1, 1), "f2"), np.ones((1, 1, 3), "f2"))
    same_values(depthwise.backward(x.reshape(1, 1, 3), cache).x, np.float16([[[2050]]]))


def test_nested_lists_work():
    y, cache = depthwise.forward([[[1], [2], [3]]], [[[1]], [[10]]], [100])
    same_values(y, line(121, 132))
    gradients = depthwise.backward([[[1], [2]]], cache)
    same_values(gradients.x, line(1, 12, 20))
    same_values(gradients.bias, np.array([3.0]))


def test_counts_and_shapes_are_plain_ints():
    shapes = np.array([2, 6, 5, 30], np.int8), np.array([3, 2, 30, 20], np.int8)
    shape = depthwise.output_shape(*shapes)
    assert shape == (2, 4, 4, 600)
    assert {type(size) for size in shape} == {int}
    products = depthwise.multiply_adds(*shapes)
    assert (products, type(products)) == (2 * 4 * 4 * 600 * 6, int)
    count = depthwise.parameter_count(
        np.int8(9), np.int8(30), depth_multiplier=np.int8(20), use_bias=np.True_
    )
    assert (count, type(count)) == (10 * 600, int)


# ---- initial values


@pytest.mark.parametrize("kernel_size", [(15,), (3, 5), (3, 1, 5)])
def test_initialize_draws_he_normal_weights_for_sums_over_one_channel(kernel_size):
    kernel = depthwise.initialize(np.random.default_rng(0), kernel_size, 300, depth_multiplier=8)
    assert kernel.shape == (*kernel_size, 300, 8)
    assert kernel.dtype == np.float64
    assert abs(kernel.mean()) < 4 * kernel.std() / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 5)), rel=0.01)


# ---- refusals

GOOD = {"x": np.zeros((2, 4, 5, 3)), "kernel": np.zeros((2, 3, 3, 2)), "padding": (1, 0)}
FORM = (
    "kernel must be (*kernel_size, C, depth_multiplier) with one, two or three spatial axes "
    "and no size of 0, got shape "
)
REFUSED = [
    ({"kernel": np.zeros((3, 2))}, ValueError, FORM + "(3, 2)"),
    ({"kernel": np.zeros((1, 1, 1, 1, 3, 2))}, ValueError, FORM + "(1, 1, 1, 1, 3, 2)"),
    ({"kernel": np.zeros((2, 0, 3, 2))}, ValueError, FORM + "(2, 0, 3, 2)"),
    ({"kernel": np.zeros((2, 3, 3, 0))}, ValueError, FORM + "(2, 3, 3, 0)"),
    (
        {"kernel": np.zeros((2, 3, 2, 3))},
        ValueError,
        (
            "kernel must be (*kernel_size, 3, depth_multiplier) for x of shape (2, 4, 5, 3), "
            "got (2, 3, 2, 3)"
        ),
    ),
    (
        {"kernel": np.zeros((2, 3, 1, 6))},
        ValueError,
        "kernel must be (*kernel_size, 3, depth_multiplier) for x of shape (2, 4, 5, 3)",
    ),
    (
        {"kernel": np.zeros((7, 3, 3, 2))},
        ValueError,
        (
            "kernel does not fit its padded input: effective kernel size (7, 3), "
            "padded input size (6, 5) (input (4, 5), padding ((1, 1), (0, 0)))"
        ),
    ),
    (
        {"kernel": np.zeros((2, 3, 3, 2), complex)},
        TypeError,
        (
            "kernel must hold real numbers (float16, float32, float64, integers or bools), "
            "got dtype complex128"
        ),
    ),
    (
        {"x": np.zeros((2, 4, 3))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2, 4, 3)",
    ),
    (
        {"x": np.zeros((2, 4, 0, 3))},
        ValueError,
        "x must have no spatial size and no channel count of 0, got shape (2, 4, 0, 3)",
    ),
    ({"x": np.full((2, 4, 5, 3), "a")}, TypeError, "x must hold real numbers"),
    ({"x": [[[1], [2, 3]]]}, ValueError, "x must be a rectangular array of numbers"),
    (
        {"x": np.ma.zeros((2, 4, 5, 3))},
        TypeError,
        "x must be a plain array, got a masked one: its mask would be lost",
    ),
    (
        {"bias": np.zeros(3)},
        ValueError,
        "bias must be (6,), one number per channel, got shape (3,)",
    ),
    ({"bias": 1.0}, ValueError, "bias must be (6,), one number per channel, got shape ()"),
    ({"bias": np.zeros(6, object)}, TypeError, "bias must hold real numbers"),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": (1, 1.5)}, TypeError, "strides[1] must be an integer, got 1.5"),
    (
        {"strides": (1, 1, 1)},
        ValueError,
        "strides must be an int or have one entry per spatial axis (2), got (1, 1, 1)",
    ),
    ({"dilation_rate": -1}, ValueError, "dilation_rate must be at least 1, got -1"),
    ({"dilation_rate": True}, TypeError, "dilation_rate must be an integer, got True"),
    (
        {"dilation_rate": (1, 3)},
        ValueError,
        "kernel does not fit ...: effective kernel size (2, 7)",
    ),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
    ({"padding": "causal"}, ValueError, 'padding "causal" needs one spatial axis, got 2'),
    ({"padding": (1, -1)}, ValueError, "padding must be at least 0, got -1"),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert depthwise.forward(**GOOD)[0].shape == (2, 5, 3, 6)
    with pytest.raises(exception, match=says(message)):
        depthwise.forward(**{**GOOD, **bad})


@pytest.mark.parametrize("function", [depthwise.output_shape, depthwise.multiply_adds])
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_shape": 5}, TypeError, "input_shape must be a sequence of ints, got 5"),
        (
            {"input_shape": (2, 5, 3)},
            ValueError,
            "input_shape must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2,",
        ),
        (
            {"input_shape": (2, 0, 4, 3)},
            ValueError,
            "input_shape must have no spatial size and no channel count of 0, got shape (2, 0, 4",
        ),
        ({"input_shape": (-1, 5, 4, 3)}, ValueError, "input_shape[0] must be at least 0, got -1"),
        ({"input_shape": (1.0, 5, 4, 3)}, TypeError, "input_shape[0] must be an integer, got 1.0"),
        ({"kernel_shape": 3}, TypeError, "kernel_shape must be a sequence of ints, got 3"),
        ({"kernel_shape": (2, 3, 3, 0)}, ValueError, "kernel_shape[3] must be at least 1, got 0"),
        (
            {"kernel_shape": (3, 2)},
            ValueError,
            "kernel_shape must be (*kernel_size, C, depth_multiplier) with one, two or three",
        ),
        (
            {"kernel_shape": (2, 3, 4, 2)},
            ValueError,
            (
                "kernel_shape must be (*kernel_size, 3, depth_multiplier) for "
                "input_shape (2, 5, 4, 3), got (2, 3, 4, 2)"
            ),
        ),
        ({"kernel_shape": (6, 3, 3, 2)}, ValueError, "kernel does not fit its padded input"),
        ({"strides": -1}, ValueError, "strides must be at least 1, got -1"),
        ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int'),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    good = {"input_shape": (2, 5, 4, 3), "kernel_shape": (2, 3, 3, 2)}
    with pytest.raises(exception, match=says(message)):
        function(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": ()}, ValueError, "kernel_size must be one, two or three ints, got ()"),
        ({"kernel_size": (1,) * 4}, ValueError, "kernel_size must be one, two or three ints, got"),
        ({"kernel_size": [3, True]}, TypeError, "kernel_size[1] must be an integer, got True"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 4.0}, TypeError, "in_channels must be an integer, got 4.0"),
        ({"depth_multiplier": 0}, ValueError, "depth_multiplier must be at least 1, got 0"),
        ({"depth_multiplier": True}, TypeError, "depth_multiplier must be an integer, got True"),
    ],
)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    good = {"kernel_size": (3, 2), "in_channels": 4}
    with pytest.raises(exception, match=says(message)):
        depthwise.parameter_count(**{**good, **bad})
    with pytest.raises(exception, match=says(message)):
        depthwise.initialize(rng, **{**good, **bad})


def test_a_kernel_that_no_memory_holds_is_refused():
    message = (
        "kernel_size, in_channels and depth_multiplier must make arrays that fit in memory, "
        "got one of shape (3, 1099511627776, 2097"
    )
    with pytest.raises(ValueError, match=says(message)):
        depthwise.initialize(rng, 3, 2**40, depth_multiplier=2**21)
