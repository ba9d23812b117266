"""unary: the 1×1 convolution, the same matrix at every pixel."""

import numpy as np
import pytest
from helpers import (
    both_ways,
    integers,
    same_values,
    says,
    unary_cases,
    untouched,
)
from hypothesis import given
from numpy.testing import assert_array_equal

from convinsights import conv, unary

rng = np.random.default_rng(21)


# ---- by hand


def test_every_pixel_is_multiplied_by_the_matrix():
    x = np.array([[[1, 10], [2, 20]]])
    y, _ = unary.forward(x, np.array([[1, 3, 5], [2, 4, 6]]), np.array([100, 200, 300]))
    assert_array_equal(y, [[[121, 243, 365], [142, 286, 430]]])


def test_strides_read_the_first_pixel_of_every_step():
    x = np.arange(1.0, 9).reshape(1, 2, 4, 1)
    y, _ = unary.forward(x, np.array([[10]]), strides=(2, 3))
    assert_array_equal(y, np.reshape([10, 40], (1, 1, 2, 1)))


def test_gradients_by_hand():
    _, cache = unary.forward(np.array([[[1, 10], [2, 20]]]), np.array([[3], [4]]), np.zeros(1))
    gradients = unary.backward(np.array([[[5], [7]]]), cache)
    assert_array_equal(gradients.x, [[[15, 20], [21, 28]]])
    assert_array_equal(gradients.kernel, [[1 * 5 + 2 * 7], [10 * 5 + 20 * 7]])
    assert_array_equal(gradients.bias, [12])


def test_at_stride_2_three_quarters_of_the_pixels_have_gradient_0():
    _, cache = unary.forward(np.ones((1, 4, 4, 1)), np.array([[7]]), strides=2)
    dx = unary.backward(np.arange(1.0, 5).reshape(1, 2, 2, 1), cache).x
    assert_array_equal(dx[0, ::2, ::2, 0], [[7, 14], [21, 28]])
    assert np.count_nonzero(dx) == 4


@pytest.mark.parametrize("kernel_shape", [(5, 3), (1, 1, 5, 3)])
def test_shapes_and_counts_by_hand(kernel_shape):
    assert unary.output_shape((2, 7, 6, 5), kernel_shape) == (2, 7, 6, 3)
    assert unary.output_shape((2, 7, 6, 5), kernel_shape, strides=(3, 2)) == (2, 3, 3, 3)
    assert unary.multiply_adds((2, 7, 6, 5), kernel_shape) == (2 * 7 * 6) * 5 * 3
    assert unary.multiply_adds((2, 7, 6, 5), kernel_shape, strides=(3, 2)) == (2 * 3 * 3) * 5 * 3


def test_parameter_count_by_hand():
    assert unary.parameter_count(5, 3) == 15
    assert unary.parameter_count(5, 3, use_bias=True) == 18


# ---- against a second derivation


@given(unary_cases())
def test_it_is_one_product_of_the_pixels_that_are_read(case):
    y, dy, gradients = both_ways(unary, case)
    steps = np.broadcast_to(case.hyperparameters["strides"], case.x.ndim - 2)
    read = (slice(None), *(slice(None, None, step) for step in steps))
    matrix = case.kernel.reshape(case.kernel.shape[-2:])
    same_values(y, case.x[read] @ matrix + (0 if case.bias is None else case.bias))
    dx = np.zeros(case.x.shape)
    dx[read] = dy @ matrix.T
    same_values(gradients.x, dx)


def test_it_commutes_with_every_shuffle_of_the_pixels():
    x, kernel, order = integers(rng, (2, 12, 3)), integers(rng, (3, 4)), rng.permutation(12)
    shuffled, _ = unary.forward(x[:, order], kernel)
    same_values(shuffled, unary.forward(x, kernel)[0][:, order])


def test_two_in_a_row_are_one():
    x, first, second = integers(rng, (2, 3, 4, 3)), integers(rng, (3, 5)), integers(rng, (5, 2))
    y, _ = unary.forward(unary.forward(x, first)[0], second)
    same_values(y, unary.forward(x, first @ second)[0])


def test_as_a_convolution_it_has_a_matrix_of_blocks():
    kernel = integers(rng, (3, 2))
    same_values(conv.matrix(kernel[None], (4, 3)), np.kron(np.eye(4), kernel.T))


# ---- manners


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel", [np.eye(3), np.eye(3).reshape(1, 1, 3, 3)])
def test_nothing_is_modified_and_nothing_shared(kernel, strides):
    x = integers(rng, (2, 5, 4, 3))
    with untouched(x, kernel) as results:
        y, cache = unary.forward(x, kernel, strides=strides)
        with untouched(dy := y + 1) as gradients:
            gradients.append(unary.backward(dy, cache))
        results += [y, gradients]


def test_float16_is_summed_in_float32_and_rounded_once():
    x = np.array([2048, 1, 1], np.float16).reshape(1, 1, 3)  # 2048 + 1 is 2048 in float16
    y, cache = unary.forward(x, np.ones((3, 1), np.float16))
    same_values(y, np.full((1, 1, 1), 2050, np.float16))
    _, cache = unary.forward(np.ones((1, 3, 1), np.float16), np.ones((1, 1), np.float16))
    dkernel = unary.backward(x.reshape(1, 3, 1), cache).kernel
    same_values(dkernel, np.full((1, 1), 2050, np.float16))


def test_nested_lists_work():
    y, cache = unary.forward([[[1, 2]]], [[3], [4]], [5])
    same_values(y, np.array([[[16.0]]]))
    same_values(unary.backward([[[2]]], cache).x, np.array([[[6.0, 8.0]]]))


def test_counts_and_shapes_are_plain_ints():
    shapes = np.array([2, 5, 4, 3], np.int8), np.array([3, 60], np.int8)
    assert {type(size) for size in unary.output_shape(*shapes)} == {int}
    assert unary.multiply_adds(*shapes) == 40 * 3 * 60
    assert type(unary.multiply_adds(*shapes)) is int
    assert unary.parameter_count(np.int8(30), np.int8(60), use_bias=True) == 30 * 60 + 60
    assert type(unary.parameter_count(np.int8(30), np.int8(60), use_bias=True)) is int


# ---- initial values


def test_initialize_draws_a_he_normal_matrix():
    kernel = unary.initialize(np.random.default_rng(0), 200, 300)
    assert kernel.shape == (200, 300)
    assert kernel.dtype == np.float64
    assert abs(kernel.mean()) < 4 * kernel.std() / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 200), rel=0.01)


# ---- refusals

GOOD = {"x": np.zeros((2, 5, 4, 3)), "kernel": np.zeros((3, 6))}
RULE = (
    "kernel must be (3, C_out), or that behind a 1 for each spatial axis, "
    "for x of shape (2, 5, 4, 3), got "
)
REFUSED = [
    ({"kernel": np.zeros((4, 6))}, ValueError, RULE + "(4, 6)"),
    ({"kernel": np.zeros((1, 1, 2, 6))}, ValueError, RULE + "(1, 1, 2, 6)"),
    ({"kernel": np.zeros((1, 3, 6))}, ValueError, RULE + "(1, 3, 6)"),
    ({"kernel": np.zeros((1, 1, 1, 3, 6))}, ValueError, RULE + "(1, 1, 1, 3, 6)"),
    ({"kernel": np.zeros((1, 2, 3, 6))}, ValueError, RULE + "(1, 2, 3, 6)"),
    ({"kernel": np.zeros((3, 3, 3, 6))}, ValueError, RULE + "(3, 3, 3, 6)"),
    ({"kernel": np.zeros(3)}, ValueError, RULE + "(3,)"),
    ({"kernel": np.zeros(())}, ValueError, RULE + "()"),
    ({"kernel": np.zeros((3, 0))}, ValueError, RULE + "(3, 0)"),
    ({"kernel": np.zeros((1, 1, 3, 0))}, ValueError, RULE + "(1, 1, 3, 0)"),
    ({"kernel": np.zeros((3, 6), complex)}, TypeError, "kernel must hold real numbers"),
    ({"x": np.zeros((2, 3))}, ValueError, "x must be (N, *spatial, C) with one, two or three spat"),
    ({"x": np.zeros((1, 1, 1, 1, 1, 3))}, ValueError, "x must be (N, *spatial, C) with one, two"),
    ({"x": np.zeros((2, 0, 4, 3))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 5, 4, 0))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 5, 4, 3), object)}, TypeError, "x must hold real numbers"),
    (
        {"bias": np.zeros(3)},
        ValueError,
        "bias must be (6,), one number per channel, got shape (3,)",
    ),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": 1.0}, TypeError, "strides must be an integer, got 1.0"),
    (
        {"strides": (1,)},
        ValueError,
        "strides must be an int or have one entry per spatial axis (2)",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert unary.forward(**GOOD)[0].shape == (2, 5, 4, 6)
    with pytest.raises(exception, match=says(message)):
        unary.forward(**{**GOOD, **bad})


@pytest.mark.parametrize("function", [unary.output_shape, unary.multiply_adds])
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_shape": 5}, TypeError, "input_shape must be a sequence of ints, got 5"),
        ({"input_shape": (2, 3)}, ValueError, "input_shape must be (N, *spatial, C) with one, two"),
        ({"input_shape": (2, 0, 4, 3)}, ValueError, "input_shape must have no spatial size and no"),
        ({"input_shape": (-1, 5, 4, 3)}, ValueError, "input_shape[0] must be at least 0, got -1"),
        ({"kernel_shape": 3}, TypeError, "kernel_shape must be a sequence of ints, got 3"),
        ({"kernel_shape": (3, 0)}, ValueError, "kernel_shape[1] must be at least 1, got 0"),
        (
            {"kernel_shape": (1, 3, 6)},
            ValueError,
            "kernel_shape must be (3, C_out), or that behind a 1 for each spatial axis, for input",
        ),
        (
            {"kernel_shape": (4, 6)},
            ValueError,
            "kernel_shape must be (3, C_out), or that behind a 1",
        ),
        ({"strides": -1}, ValueError, "strides must be at least 1, got -1"),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    good = {"input_shape": (2, 5, 4, 3), "kernel_shape": (3, 6)}
    with pytest.raises(exception, match=says(message)):
        function(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 3.0}, TypeError, "in_channels must be an integer, got 3.0"),
        ({"filters": -2}, ValueError, "filters must be at least 1, got -2"),
        ({"filters": False}, TypeError, "filters must be an integer, got False"),
    ],
)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    good = {"in_channels": 3, "filters": 6}
    with pytest.raises(exception, match=says(message)):
        unary.parameter_count(**{**good, **bad})
    with pytest.raises(exception, match=says(message)):
        unary.initialize(rng, **{**good, **bad})
