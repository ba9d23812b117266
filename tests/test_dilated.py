"""dilated: the convolution whose taps lie apart, its effective kernel and the kernel with holes."""

import numpy as np
import pytest
from helpers import (
    both_ways,
    conv_cases,
    integers,
    line,
    per_axis,
    same_values,
    says,
    takes_any_layout,
    taps,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import conv, dilated

rng = np.random.default_rng(41)
FEWER = settings(max_examples=30)  # more are in test_convolutions


# ---- by hand


def test_taps_lie_a_rate_apart():
    y, _ = dilated.forward(line(1, 2, 3, 4, 5, 6, 7), taps(1, 10), dilation_rate=3, padding="valid")
    assert_array_equal(y, line(1 + 40, 2 + 50, 3 + 60, 4 + 70))


def test_defaults_are_rate_2_and_same():
    y, _ = dilated.forward(line(1, 2, 3, 4, 5), taps(1, 10, 100))
    assert_array_equal(y, line(10 + 300, 20 + 400, 1 + 30 + 500, 2 + 40, 3 + 50))


def test_gradients_by_hand():
    _, cache = dilated.forward(line(4, 5, 6, 7), taps(1, 10), np.zeros(1), padding="valid")
    gradients = dilated.backward(line(2, 3), cache)
    assert_array_equal(gradients.x, line(2, 3, 20, 30))
    assert_array_equal(gradients.kernel, taps(2 * 4 + 3 * 5, 2 * 6 + 3 * 7))
    assert_array_equal(gradients.bias, [5])


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (9, 8)),
        ({"padding": "valid"}, (5, 4)),
        ({"padding": "valid", "dilation_rate": (3, 1)}, (3, 6)),
        ({"strides": (2, 3)}, (5, 3)),
        ({"padding": 1, "strides": 2, "dilation_rate": 4}, (2, 1)),
    ],
)
def test_output_shape_by_hand(options, size):
    assert dilated.output_shape((2, 9, 8, 4), (3, 3, 4, 6), **options) == (2, *size, 6)


def test_counts_by_hand():
    assert dilated.parameter_count((3, 5), 4, 6) == 3 * 5 * 4 * 6
    assert dilated.parameter_count((3, 5), 4, 6, groups=2, use_bias=True) == 3 * 5 * 2 * 6 + 6
    shapes = (2, 9, 8, 4), (3, 3, 2, 6)
    assert dilated.multiply_adds(*shapes, groups=2) == (2 * 9 * 8) * (3 * 3) * 2 * 6
    assert dilated.multiply_adds(*shapes, groups=2, padding="valid") == (2 * 5 * 4) * 3 * 3 * 2 * 6
    valid = dilated.multiply_adds(*shapes, groups=2, padding="valid", strides=2, dilation_rate=3)
    assert valid == (2 * 2 * 1) * (3 * 3) * 2 * 6


@pytest.mark.parametrize(
    ("kernel_size", "rate", "size"),
    [(3, 1, 3), (3, 2, 5), (3, 4, 9), (1, 7, 1), (2, 5, 6), (np.int64(3), np.int8(2), 5)],
)
def test_effective_kernel_size_of_one_axis_is_an_int(kernel_size, rate, size):
    effective = dilated.effective_kernel_size(kernel_size, rate)
    assert effective == size
    assert type(effective) is int


def test_effective_kernel_size_has_an_entry_per_axis():
    assert dilated.effective_kernel_size((3, 5), (1, 2)) == (3, 9)
    assert dilated.effective_kernel_size([3, 2, 1], 4) == (9, 5, 1)
    assert dilated.effective_kernel_size((3,), 2) == (5,)
    assert dilated.effective_kernel_size(np.array([3, 5]), np.array([1, 2])) == (3, 9)


def test_inflate_sets_zeros_between_the_taps():
    assert_array_equal(dilated.inflate(taps(1, 2, 3), 3), taps(1, 0, 0, 2, 0, 0, 3))


def test_inflate_takes_a_rate_per_axis():
    kernel = np.arange(1.0, 5).reshape(2, 2, 1, 1)
    inflated = dilated.inflate(kernel, (1, 3))
    assert_array_equal(inflated[..., 0, 0], [[1, 0, 0, 2], [3, 0, 0, 4]])


# ---- against the definition


@given(conv_cases())
@FEWER
def test_inflate_puts_tap_u_at_pixel_u_times_the_rate(case):
    rates = per_axis(case.hyperparameters["dilation_rate"], case.x.ndim - 2)
    size = dilated.effective_kernel_size(case.kernel.shape[:-2], rates)
    expected = np.zeros((*size, *case.kernel.shape[-2:]))
    for tap in np.ndindex(*case.kernel.shape[:-2]):
        expected[tuple(u * d for u, d in zip(tap, rates, strict=True))] = case.kernel[tap]
    same_values(dilated.inflate(case.kernel, case.hyperparameters["dilation_rate"]), expected)


# ---- against a second derivation


@given(conv_cases())
@FEWER
def test_it_is_the_convolution_with_the_inflated_kernel(case):
    y, dy, gradients = both_ways(dilated, case)
    rate = case.hyperparameters["dilation_rate"]
    options = {**case.hyperparameters, "dilation_rate": 1}
    inflated = dilated.inflate(case.kernel, rate)
    dense, cache = conv.forward(case.x, inflated, case.bias, **options)
    same_values(y, dense)
    back = conv.backward(dy, cache)
    same_values(gradients.x, back.x)
    at_taps = tuple(slice(None, None, d) for d in per_axis(rate, case.x.ndim - 2))
    same_values(gradients.kernel, back.kernel[at_taps])


@pytest.mark.parametrize("rates", [(1, 3), (2, 2), (3, 2)])
def test_it_is_an_ordinary_convolution_of_every_polyphase_grid(rates):
    x, kernel = integers(rng, (2, 11, 9, 3)), integers(rng, (3, 2, 3, 4))
    y, cache = dilated.forward(x, kernel, dilation_rate=rates, padding="valid")
    dy = integers(rng, y.shape)
    dx, dkernel = np.zeros(x.shape), np.zeros(kernel.shape)
    for r, q in np.ndindex(*rates):
        grid = (slice(None), slice(r, None, rates[0]), slice(q, None, rates[1]))
        phase, phase_cache = conv.forward(x[grid], kernel)
        same_values(y[grid], phase)
        back = conv.backward(dy[grid], phase_cache)
        dx[grid] = back.x
        dkernel += back.kernel
    same_values(dilated.backward(dy, cache).x, dx)
    same_values(dilated.backward(dy, cache).kernel, dkernel)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_doubling_rates_see_without_gaps(depth):
    x = np.zeros((1, 2 ** (depth + 2) + 7, 1))
    layers, y = [], x
    for i in range(depth):
        y, cache = dilated.forward(y, taps(1, 1, 1), dilation_rate=2**i)
        layers.append(cache)
    dx = np.zeros(y.shape)
    dx[0, len(x[0]) // 2] = 1
    for cache in reversed(layers):
        dx = dilated.backward(dx, cache).x
    seen = np.flatnonzero(dx)
    assert len(seen) == seen[-1] - seen[0] + 1 == 2 ** (depth + 1) - 1


def test_equal_rates_leave_gaps():
    y, first = dilated.forward(np.zeros((1, 15, 1)), taps(1, 1, 1))
    _, second = dilated.forward(y, taps(1, 1, 1))
    dy = np.zeros((1, 15, 1))
    dy[0, 7] = 1
    seen = np.flatnonzero(dilated.backward(dilated.backward(dy, second).x, first).x)
    assert_array_equal(seen, [3, 5, 7, 9, 11])


# ---- manners


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "bool"])
def test_inflate_takes_any_type_and_layout_and_shares_nothing(dtype):
    kernel = rng.integers(0, 9, (3, 2, 2, 6)).astype(dtype)
    for rates in (1, (1, 2)):
        takes_any_layout(dilated.inflate, kernel, rates)


def test_nested_lists_work():
    y, _ = dilated.forward([[[1], [2], [3]]], [[[1]], [[10]]], padding="valid")
    same_values(y, line(31))
    same_values(dilated.inflate([[[1]], [[2]]], 2), taps(1, 0, 2))


# ---- initial values


@pytest.mark.parametrize("groups", [1, 4])
def test_initialize_draws_he_normal_weights(groups):
    kernel = dilated.initialize(np.random.default_rng(0), (3, 3), 64, 128, groups=groups)
    assert kernel.shape == (3, 3, 64 // groups, 128)
    assert kernel.dtype == np.float64
    assert kernel.std() == pytest.approx(np.sqrt(2 * groups / (3 * 3 * 64)), rel=0.02)
    assert kernel.size == dilated.parameter_count((3, 3), 64, 128, groups=groups)


# ---- refusals

GOOD = {"x": np.zeros((2, 9, 8, 4)), "kernel": np.zeros((3, 2, 4, 6))}
REFUSED = [
    (
        {"kernel": np.zeros((4, 6))},
        ValueError,
        "kernel must be (*kernel_size, C_in // groups, C_ou",
    ),
    (
        {"kernel": np.zeros((3, 2, 3, 6))},
        ValueError,
        "kernel must be (*kernel_size, 4, C_out) for x",
    ),
    (
        {"x": np.zeros((2, 9, 4))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial",
    ),
    ({"x": np.zeros((2, 9, 8, 4), complex)}, TypeError, "x must hold real numbers"),
    (
        {"bias": np.zeros(4)},
        ValueError,
        "bias must be (6,), one number per channel, got shape (4,)",
    ),
    ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ({"dilation_rate": 1.5}, TypeError, "dilation_rate must be an integer, got 1.5"),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
    ({"groups": 3}, ValueError, "groups must divide C_in = 4, got 3"),
    (
        {"dilation_rate": 5, "padding": "valid"},
        ValueError,
        "...effective kernel size (11, 6), padded input size (9, 8)",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert dilated.forward(**GOOD)[0].shape == (2, 9, 8, 6)
    with pytest.raises(exception, match=says(message)):
        dilated.forward(**{**GOOD, **bad})


@pytest.mark.parametrize("function", [dilated.output_shape, dilated.multiply_adds])
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        (
            {"input_shape": (2, 9, 4)},
            ValueError,
            "input_shape must be (N, *spatial, C) with the ke",
        ),
        (
            {"kernel_shape": (3, 2, 3, 6)},
            ValueError,
            "kernel_shape must be (*kernel_size, 4, C_out)",
        ),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ({"groups": 3}, ValueError, "groups must divide C_in = 4, got 3"),
        (
            {"dilation_rate": (1, 8), "padding": "valid"},
            ValueError,
            "kernel does not fit its padded input: effective kernel size (3, 9)",
        ),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    good = {"input_shape": (2, 9, 8, 4), "kernel_shape": (3, 2, 4, 6)}
    with pytest.raises(exception, match=says(message)):
        function(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"filters": 0}, ValueError, "filters must be at least 1, got 0"),
        ({"groups": 3}, ValueError, "groups must divide in_channels = 4, got 3"),
    ],
)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    good = {"kernel_size": (3, 2), "in_channels": 4, "filters": 6}
    with pytest.raises(exception, match=says(message)):
        dilated.parameter_count(**{**good, **bad})
    with pytest.raises(exception, match=says(message)):
        dilated.initialize(rng, **{**good, **bad})


@pytest.mark.parametrize(
    ("kernel_size", "rate", "exception", "message"),
    [
        (0, 2, ValueError, "kernel_size must be at least 1, got 0"),
        ((3, 2.0), 2, TypeError, "kernel_size[1] must be an integer, got 2.0"),
        ((), 2, ValueError, "kernel_size must be one, two or three ints, got ()"),
        (
            (3, 3, 3, 3),
            2,
            ValueError,
            "kernel_size must be one, two or three ints, got (3, 3, 3, 3)",
        ),
        (3, 0, ValueError, "dilation_rate must be at least 1, got 0"),
        (3, True, TypeError, "dilation_rate must be an integer, got True"),
        (
            (3, 3),
            (2,),
            ValueError,
            "dilation_rate must be an int or have one entry per spatial axis",
        ),
    ],
)
def test_effective_kernel_size_refuses(kernel_size, rate, exception, message):
    with pytest.raises(exception, match=says(message)):
        dilated.effective_kernel_size(kernel_size, rate)


@pytest.mark.parametrize(
    ("kernel", "rate", "exception", "message"),
    [
        (
            np.zeros((4, 6)),
            2,
            ValueError,
            "kernel must be (*kernel_size, C_in // groups, C_out) with",
        ),
        (np.zeros((1,) * 6), 2, ValueError, "kernel must be (*kernel_size, C_in // groups, C_out)"),
        (
            np.zeros((3, 0, 6)),
            2,
            ValueError,
            "kernel must be ...and no size of 0, got shape (3, 0, 6)",
        ),
        (np.zeros((3, 1, 1), complex), 2, TypeError, "kernel must hold real numbers"),
        (np.zeros((3, 1, 1)), 0, ValueError, "dilation_rate must be at least 1, got 0"),
        (np.zeros((3, 1, 1)), 2**62, ValueError, "dilation_rate must make arrays that fit in mem"),
        (np.zeros((3, 1, 1)), (2, 2), ValueError, "dilation_rate must be an int or have one entry"),
    ],
)
def test_inflate_refuses(kernel, rate, exception, message):
    with pytest.raises(exception, match=says(message)):
        dilated.inflate(kernel, rate)
