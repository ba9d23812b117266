"""max_pooling: of every window the largest number."""

import numpy as np
import pytest
from helpers import (
    dot,
    has_slope,
    integers,
    line,
    pool_cases,
    same_values,
    says,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import _pooling, im2col, max_pooling

rng = np.random.default_rng(83)


def pool(x, *arguments, **options):
    """(y, dx) for slopes of 1, 10, 100, …: they tell which pixel won which window."""
    y, cache = max_pooling.forward(x, *arguments, **options)
    slopes = 10.0 ** np.arange(y[0, ..., 0].size).reshape(1, *y.shape[1:-1], 1)
    return y, max_pooling.backward(np.broadcast_to(slopes, y.shape), cache).x


# ---- by hand


def test_the_largest_number_of_each_window_wins_and_gets_the_gradient():
    y, dx = pool(line(3, 1, 4, 1, 5, 9), 2)
    assert_array_equal(y, line(3, 4, 9))
    assert_array_equal(dx, line(1, 0, 10, 0, 0, 100))


def test_a_pixel_that_wins_several_windows_gets_all_their_gradients():
    y, dx = pool(line(1, 7, 2, 3), 2, strides=1)
    assert_array_equal(y, line(7, 7, 3))
    assert_array_equal(dx, line(0, 11, 0, 100))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (10, 40)),
        ({"strides": 1}, (10, 30, 40, 40)),
        ({"strides": 3}, (10, 40)),
        ({"strides": 1, "dilation_rate": 3}, (40, 20)),
        ({"padding": "same"}, (10, 40, 20)),
        ({"padding": "causal"}, (10, 30, 40)),
        ({"padding": 1}, (10, 30, 40)),
        ({"padding": ((0, 1),)}, (10, 40, 20)),
        ({"padding": [[1, 0]], "strides": 1}, (10, 10, 30, 40, 40)),
    ],
)
def test_strides_rates_and_paddings_in_one_row(options, expected):
    y, _ = max_pooling.forward(line(10, -5, 30, 40, 20), 2, **options)
    assert_array_equal(y, line(*expected))


def test_channels_and_images_do_not_meet():
    x = np.array([[[1, 80], [2, 70]], [[4, 50], [3, 60]]])
    y, cache = max_pooling.forward(x, 2)
    assert_array_equal(y, [[[2, 80]], [[4, 60]]])
    dx = max_pooling.backward(np.array([[[1, 2]], [[3, 4]]]), cache).x
    assert_array_equal(dx, [[[0, 2], [1, 0]], [[3, 0], [0, 4]]])


def test_padding_is_never_the_maximum_of_negative_numbers():
    y, dx = pool(line(-3, -1, -4), 3, strides=2, padding=1)
    assert_array_equal(y, line(-1, -1))
    assert_array_equal(dx, line(0, 11, 0))


@pytest.mark.parametrize("padding", ["same", 1, ((1, 0),), ((2, 0),)])
def test_pixels_of_minus_infinity_win_over_padding(padding):
    y, dx = pool(line(-np.inf, -np.inf), 3, strides=1, padding=padding)
    assert_array_equal(y, np.full(y.shape, -np.inf))
    assert dx.sum() == int("1" * y.size)


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_of_equal_maxima_the_first_in_c_order_gets_the_gradient(strides):
    x = np.array([[0, 0, 5, 5], [5, 0, 5, 0], [5, 5, 0, 0]]).reshape(1, 3, 4, 1)
    _, dx = pool(x, (3, 4), padding=[(1, 0), 0], strides=strides)
    assert dx[0, 0, 2, 0] == dx.sum()
    _, dx = pool(np.ones((1, 4, 6, 1)), 2, strides=2)
    assert_array_equal(dx[0, ::2, ::2, 0], 10.0 ** np.arange(6).reshape(2, 3))


def test_zeros_of_either_sign_are_equal():
    for x in (line(0.0, -0.0), line(-0.0, 0.0)):
        assert_array_equal(pool(x, 2)[1], line(1, 0))
        assert_array_equal(pool(np.tile(x, (1, 3, 1)), 2)[1], np.kron(line(1, 10, 100), line(1, 0)))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("taps", [0.5, 16])
def test_a_nan_is_the_maximum_wherever_it_stands(place, copies, taps, monkeypatch):
    monkeypatch.setattr(_pooling, "TAPS", taps)
    values = np.array([3, np.inf, -1, 2])
    values[place] = np.nan
    y, dx = pool(np.tile(values.reshape(1, 2, 2, 1), (1, copies, copies, 1)), 2)
    assert np.isnan(y).all()
    assert_array_equal(
        dx[0, place // 2 :: 2, place % 2 :: 2], pool(np.ones(dx.shape), 2)[1][0, ::2, ::2]
    )


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("taps", [0.5, 16])
def test_of_several_nans_the_first_gets_the_gradient_and_other_windows_are_spared(
    copies, taps, monkeypatch
):
    monkeypatch.setattr(_pooling, "TAPS", taps)
    values = np.array([[1, np.nan, 7, 8], [np.nan, np.nan, 9, 0]]).reshape(1, 2, 4, 1)
    y, dx = pool(np.tile(values, (1, copies, 1, 1)), 2)
    assert_array_equal(y[0, 0, :, 0], [np.nan, 9])
    assert_array_equal(dx[0, :2, :, 0], [[0, 1, 0, 0], [0, 0, 10, 0]])


def test_gradients_that_are_not_finite_stay_where_they_belong():
    _, cache = max_pooling.forward(line(1, 2, 4, 3, 5, 6), 2)
    dx = max_pooling.backward(line(np.inf, np.nan, -np.inf), cache).x
    assert_array_equal(dx, line(0, np.inf, np.nan, 0, 0, -np.inf))


@pytest.mark.parametrize("size", [(7,), (3, 5), (2, 3, 4)])
def test_without_a_pool_size_the_whole_image_is_the_window(size):
    x = rng.permutation(2 * 3 * np.prod(size)).reshape(2, *size, 3)
    y, cache = max_pooling.forward(x, None)
    assert y.shape == (2, *[1] * len(size), 3)
    assert_array_equal(y.reshape(2, 3), x.reshape(2, -1, 3).max(axis=1))
    assert max_pooling.output_shape(x.shape, None) == y.shape
    assert_array_equal(max_pooling.backward(y, cache).x, np.where(x == y, x, 0))


def test_more_taps_than_a_byte_counts():
    """The winner of a window of 450 pixels is its pixel 424, in every window that reads it."""
    x = np.zeros((1, 20, 30, 1))
    x[0, 17, 23] = 2
    y, cache = max_pooling.forward(x, (18, 25), strides=1)
    dx = max_pooling.backward(np.ones(y.shape), cache).x
    assert_array_equal(dx, np.where(x == 2, y.size, 0))


def test_the_gradient_is_named_after_the_argument():
    y, cache = max_pooling.forward(line(1, 2), 2)
    assert max_pooling.backward(y, cache)._fields == ("x",)


# ---- against a second derivation


@settings(max_examples=30)
@given(pool_cases(dilated=True))
def test_it_is_the_largest_entry_of_the_columns_of_a_positive_image(case):
    """The zeros of im2col's padding are never the maximum then."""
    y, _ = max_pooling.forward(case.x, case.pool_size, **case.hyperparameters)
    options = {"strides": case.pool_size} | case.hyperparameters
    columns = im2col.im2col(case.x + 3, case.pool_size, **options)
    taps = columns.shape[1] // case.x.shape[-1]
    same_values(y, columns.reshape(*y.shape[:-1], taps, y.shape[-1]).max(axis=-2) - 3)


@pytest.mark.parametrize("options", [{}, {"strides": (1, 2), "padding": ((1, 0), (0, 2))}])
def test_pooling_rows_and_then_columns_is_the_same(options):
    x = rng.permutation(2 * 7 * 8 * 3).reshape(2, 7, 8, 3)
    y, cache = max_pooling.forward(x, (2, 3), **options)
    strides, padding = options.get("strides", (2, 3)), options.get("padding", (0, 0))
    rows, one = max_pooling.forward(x, (1, 3), strides=(1, strides[1]), padding=(0, padding[1]))
    again, two = max_pooling.forward(rows, (2, 1), strides=(strides[0], 1), padding=(padding[0], 0))
    same_values(y, again)
    dy = integers(rng, y.shape)
    dx = max_pooling.backward(max_pooling.backward(dy, two).x, one).x
    same_values(dx, max_pooling.backward(dy, cache).x)


# ---- adjoint, for it is linear as long as the winners stay


@settings(max_examples=30)
@given(pool_cases(dilated=True))
def test_adjoint_identity_holds_exactly(case):
    y, cache = max_pooling.forward(case.x, case.pool_size, **case.hyperparameters)
    dy = case.cotangent(y)
    assert dot(dy, y) == dot(max_pooling.backward(dy, cache).x, case.x)


# ---- differences


@pytest.mark.parametrize(("pool_size", "strides"), [(3, 2), (2, None), ((2, 3), 1), (None, None)])
def test_the_gradient_is_the_slope_along_any_direction(pool_size, strides):
    x, direction = rng.normal(size=(2, 2, 7, 6, 3))
    y, cache = max_pooling.forward(x, pool_size, strides=strides)
    dy = rng.normal(size=y.shape)

    def loss(step):
        return dot(dy, max_pooling.forward(x + step * direction, pool_size, strides=strides)[0])

    assert has_slope(loss, dot(max_pooling.backward(dy, cache).x, direction))


# ---- manners


def test_gradients_of_float16_are_added_in_float32():
    y, cache = max_pooling.forward(line(0, 1, 0).astype("f2"), 3, strides=1, padding=1)
    dx = max_pooling.backward(line(2048, 1, 1).astype("f2"), cache).x
    same_values(dx, line(0, 2050, 0).astype("f2"))
    assert y.dtype == np.float16


def test_the_cache_holds_a_small_integer_for_each_window():
    for pool_size, dtype in ((2, "uint8"), (16, "uint8"), (17, "uint16")):
        _, cache = max_pooling.forward(np.zeros((1, 20, 20, 3)), pool_size, strides=1)
        assert repr(cache).startswith(f"Cache(winners={dtype} (1, {21 - pool_size}, ")


def test_the_rate_of_a_single_tap_may_be_any_number():
    x = rng.permutation(12).reshape(1, 3, 4, 1)
    y, dx = pool(x, (3, 1), dilation_rate=(1, 2**62))
    assert_array_equal(y, x.max(axis=1, keepdims=True))
    assert_array_equal(dx.sum(axis=1), [[[1], [10], [100], [1000]]])


# ---- refusals


REFUSED = [
    ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ({"dilation_rate": (1, 3)}, ValueError, "pool does not fit ...: effective pool size (2, 7)"),
    (
        {"dilation_rate": (5, 1), "padding": [1, 0], "strides": 1},
        ValueError,
        "padding must leave ... window 0 along spatial axis 0 has none",
    ),
    ({"pool_size": None, "dilation_rate": 2}, ValueError, "pool does not fit its padded input"),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_dilation_rates_are_refused(bad, exception, message):
    call = {"pool_size": (2, 3)} | bad
    with pytest.raises(exception, match=says(message)):
        max_pooling.forward(np.zeros((2, 4, 5, 3)), **call)
    with pytest.raises(exception, match=says(message)):
        max_pooling.output_shape((2, 4, 5, 3), **call)


def test_taps_may_reach_beyond_a_small_image_on_both_sides():
    """As long as one lies on it: the second of one window, the first of the other."""
    options = {"dilation_rate": 3, "padding": 2}
    y, _ = max_pooling.forward(line(1, 2), 2, strides=2, **options)
    assert_array_equal(y, line(2, 1))
    message = "padding must leave every window a pixel, got ((3, 3),), with which window 1 along"
    with pytest.raises(ValueError, match=says(message)):
        max_pooling.forward(line(1), 2, strides=1, dilation_rate=3, padding=3)
