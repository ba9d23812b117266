"""average_pooling: of every window the mean."""

import numpy as np
import pytest
from helpers import (
    dot,
    integers,
    line,
    pool_cases,
    same_values,
    says,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import average_pooling, depthwise

rng = np.random.default_rng(89)


# ---- by hand


def test_the_mean_of_each_window_and_an_equal_share_of_its_gradient():
    y, cache = average_pooling.forward(line(3, 1, 4, 2, 5, 9, 7), 2)
    assert_array_equal(y, line(2, 3, 7))
    assert_array_equal(average_pooling.backward(line(2, 4, 6), cache).x, line(1, 1, 2, 2, 3, 3, 0))


@pytest.mark.parametrize(
    ("options", "expected", "counted"),
    [
        ({}, (15, 35), (15, 35)),
        ({"strides": 1}, (15, 25, 35, 45), (15, 25, 35, 45)),
        ({"strides": 3}, (15, 45), (15, 45)),
        ({"padding": "same"}, (15, 35, 50), (15, 35, 25)),
        ({"padding": "causal"}, (10, 25, 45), (5, 25, 45)),
        ({"padding": 1}, (10, 25, 45), (5, 25, 45)),
        ({"padding": ((0, 1),)}, (15, 35, 50), (15, 35, 25)),
        ({"padding": [[1, 0]], "strides": 1}, (10, 15, 25, 35, 45), (5, 15, 25, 35, 45)),
    ],
)
def test_strides_and_paddings_in_one_row(options, expected, counted):
    x = line(10, 20, 30, 40, 50)
    assert_array_equal(average_pooling.forward(x, 2, **options)[0], line(*expected))
    y, _ = average_pooling.forward(x, 2, **options, count_padding=True)
    assert_array_equal(y, line(*counted))


@pytest.mark.parametrize(
    ("count_padding", "counts"),
    [(False, [[4, 6, 4], [4, 6, 4]]), (True, [[9, 9, 9], [9, 9, 9]])],
)
def test_what_is_counted_at_edges_and_corners(count_padding, counts):
    x = np.full((1, 3, 5, 1), 36.0)
    options = {"strides": 2, "padding": 1, "count_padding": count_padding}
    y, cache = average_pooling.forward(x, 3, **options)
    pixels = [[4, 6, 4], [4, 6, 4]]
    assert_array_equal(y[0, ..., 0], 36 * np.divide(pixels, counts))
    dx = average_pooling.backward(np.full(y.shape, 36.0), cache).x
    assert dx[0, 0, 0, 0] == 36 / counts[0][0]
    assert dx.sum() == pytest.approx(36 * np.divide(pixels, counts).sum())


def test_channels_and_images_do_not_meet():
    x = np.array([[[1, 80], [3, 70]], [[4, 50], [2, 60]]])
    y, cache = average_pooling.forward(x, 2)
    assert_array_equal(y, [[[2, 75]], [[3, 55]]])
    dx = average_pooling.backward(np.array([[[2, 4]], [[6, 8]]]), cache).x
    assert_array_equal(dx, [[[1, 2], [1, 2]], [[3, 4], [3, 4]]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count_padding", [False, True])
def test_what_is_not_finite_stays_in_the_windows_that_read_it(value, count_padding):
    options = {"strides": 1, "padding": 1, "count_padding": count_padding}
    y, cache = average_pooling.forward(line(2, 2, value, 2, 2, 2), 3, **options)
    assert_array_equal(np.isfinite(y).ravel(), [True, False, False, False, True, True])
    dx = average_pooling.backward(line(0, 0, value, 0, 0, 0), cache).x
    assert_array_equal(np.isfinite(dx).ravel(), [True, False, False, False, True, True])


@pytest.mark.parametrize("size", [(7,), (3, 5), (2, 3, 4)])
def test_without_a_pool_size_the_whole_image_is_the_window(size):
    count = int(np.prod(size))
    x = count * integers(rng, (2, *size, 3))
    y, cache = average_pooling.forward(x, None)
    same_values(y.reshape(2, 3), x.reshape(2, -1, 3).sum(axis=1) / count)
    assert average_pooling.output_shape(x.shape, None) == y.shape == (2, *[1] * len(size), 3)
    dx = average_pooling.backward(y, cache).x
    same_values(dx, np.broadcast_to(y / count, x.shape))


def test_the_mean_of_a_long_signal_is_summed_without_loss():
    """One after the other in float32, 0.1 a million times is off by one per cent."""
    x = np.full((1, 10**6, 1), 0.1, np.float32)
    assert average_pooling.forward(x, None)[0].item() == x[0, 0, 0]


def test_the_gradient_is_named_after_the_argument():
    y, cache = average_pooling.forward(line(1, 2), 2)
    assert average_pooling.backward(y, cache)._fields == ("x",)


# ---- against a second derivation


@settings(max_examples=30)
@given(pool_cases(dilated=False))
def test_it_is_a_depthwise_convolution_with_equal_weights(case):
    """With weights of 1, divided by the count; where padding counts, with weights of 1 / count."""
    y, cache = average_pooling.forward(case.x, case.pool_size, **case.hyperparameters)
    dy, options = case.cotangent(y), {"strides": case.pool_size} | case.hyperparameters
    counted, rank = options.pop("count_padding"), case.x.ndim - 2
    size = np.broadcast_to(case.pool_size, rank)
    kernel = np.ones((*size, case.x.shape[-1], 1))
    sums, as_sums = depthwise.forward(case.x, kernel, **options)
    counts, _ = depthwise.forward(np.ones(case.x.shape), kernel, **options)
    counts = np.full(counts.shape, size.prod()) if counted else counts
    same_values(y, sums / counts)
    same_values(average_pooling.backward(dy, cache).x, depthwise.backward(dy / counts, as_sums).x)


# ---- adjoint, exact where counts divide


@settings(max_examples=30)
@given(pool_cases(dilated=False))
def test_adjoint_identity_holds_exactly(case):
    x = 27720 * case.x
    y, cache = average_pooling.forward(x, case.pool_size, **case.hyperparameters)
    dy = case.cotangent(y)
    assert dot(dy, y) == dot(average_pooling.backward(dy, cache).x, x)


# ---- manners


def test_float16_is_summed_in_float32_and_rounded_once():
    x = line(2048, 1, 1, 2).astype("f2")  # 2048 + 1 is 2048 in float16
    same_values(average_pooling.forward(x, 4)[0], line(513).astype("f2"))
    same_values(
        average_pooling.forward(np.full((1, 2, 1), 6e4, "f2"), 2)[0], line(6e4).astype("f2")
    )
    _, cache = average_pooling.forward(x[:, 1:], 3, strides=1, padding=1, count_padding=True)
    dx = average_pooling.backward(line(3, 3 * 2048, 3).astype("f2"), cache).x
    same_values(dx, line(2049, 2050, 2049).astype("f2"))


# ---- refusals


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_count_padding_is_checked(value):
    message = f"count_padding must be a bool, got {value!r}"
    with pytest.raises(TypeError, match=says(message)):
        average_pooling.forward(line(1, 2), 2, count_padding=value)
    with pytest.raises(TypeError, match=says(message)):
        average_pooling.output_shape((1, 2, 1), 2, count_padding=value)


def test_padding_that_counts_does_not_make_a_window_of_it_alone():
    message = "padding must leave every window a pixel, got ((2, 0),), with which window 0 along"
    with pytest.raises(ValueError, match=says(message)):
        average_pooling.forward(line(1, 2), 2, padding=((2, 0),), count_padding=True)
