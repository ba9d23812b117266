"""depthwise_separable: over space first, then over the channels; and back from classic kernels."""

import math

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    both_ways,
    close,
    dot,
    integers,
    loop_conv_gradients,
    loop_depthwise,
    loop_depthwise_gradients,
    loop_separable,
    same_values,
    says,
    separable_cases,
    untouched,
    variants,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from convinsights import conv, depthwise, depthwise_separable, unary

rng = np.random.default_rng(51)


def with_taps(matrix, x):
    """The pointwise kernel with an axis of length 1 for each spatial axis of x."""
    return matrix.reshape((1,) * (x.ndim - 2) + matrix.shape[-2:])


# ---- by hand


def test_first_over_space_then_over_channels():
    x = np.array([[[1, 10], [2, 20], [4, 40]]])
    spatial = np.array([[[-1], [1]], [[1], [1]]])  # differences of one channel, sums of the other
    y, _ = depthwise_separable.forward(x, spatial, np.array([[1, 2], [1, 0]]), np.array([5, 7]))
    assert_array_equal(y, [[[1 + 30 + 5, 2 + 7], [2 + 60 + 5, 4 + 7]]])


def test_the_outputs_of_a_channel_are_mixed_side_by_side():
    x, spatial = np.array([[[1, 10]]]), np.array([[[2, 3], [4, 5]]])
    y, _ = depthwise_separable.forward(x, spatial, np.array([[1], [100], [1000], [10000]]))
    assert_array_equal(y, [[[2 + 300 + 40_000 + 500_000]]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (21, 210, 2100)),
        ({"strides": 2}, (21, 2100)),
        ({"dilation_rate": 3}, (2001,)),
        ({"padding": "same", "strides": 3}, (21, 1000)),
        ({"padding": ((1, 0),)}, (2, 21, 210, 2100)),
    ],
)
def test_strides_rates_and_paddings_are_those_of_the_first_step(options, expected):
    x, spatial = np.reshape([1, 10, 100, 1000], (1, 4, 1)), np.reshape([1, 2], (2, 1, 1))
    y, _ = depthwise_separable.forward(x, spatial, np.array([[3]]), **options)
    assert_array_equal(y.ravel(), np.multiply(3, expected))


def test_gradients_by_hand():
    x, spatial, matrix = (
        np.array([[[1, 10], [2, 20]]]),
        np.array([[[3], [5]]]),
        np.array([[7], [9]]),
    )
    _, cache = depthwise_separable.forward(x, spatial, matrix, np.zeros(1))
    gradients = depthwise_separable.backward(np.array([[[1], [10]]]), cache)
    assert_array_equal(gradients.x, [[[3 * 7, 5 * 9], [3 * 7 * 10, 5 * 9 * 10]]])
    assert_array_equal(gradients.depthwise_kernel, [[[7 * (1 + 20)], [9 * (10 + 200)]]])
    assert_array_equal(gradients.pointwise_kernel, [[3 * (1 + 20)], [5 * (10 + 200)]])
    assert_array_equal(gradients.bias, [11])


def test_gradients_are_named_after_the_arguments_and_none_without_a_bias():
    _, cache = depthwise_separable.forward(np.ones((1, 2, 1)), np.ones((1, 1, 1)), np.ones((1, 1)))
    gradients = depthwise_separable.backward(integers(rng, (1, 2, 1)), cache)
    assert gradients._fields == ("x", "depthwise_kernel", "pointwise_kernel", "bias")
    assert gradients.bias is None


SHAPES = (8, 7, 6, 3), (3, 2, 3, 2)


@pytest.mark.parametrize("matrix", [(6, 5), (1, 1, 6, 5)])
def test_shapes_and_counts_by_hand(matrix):
    assert depthwise_separable.output_shape(*SHAPES, matrix) == (8, 5, 5, 5)
    options = {"strides": 2, "padding": "same", "dilation_rate": 2}
    assert depthwise_separable.output_shape(*SHAPES, matrix, **options) == (8, 4, 3, 5)
    assert depthwise_separable.multiply_adds(*SHAPES, matrix) == (8 * 5 * 5) * 6 * (3 * 2 + 5)
    less = depthwise_separable.multiply_adds(*SHAPES, matrix, **options)
    assert less == (8 * 4 * 3) * 6 * (3 * 2 + 5)


def test_parameter_count_by_hand():
    count = depthwise_separable.parameter_count
    assert count((3, 5), 6, 4) == 3 * 5 * 6 + 6 * 4
    assert count((3, 5), 6, 4, depth_multiplier=2) == 3 * 5 * 12 + 12 * 4
    assert count(3, 6, 4, depth_multiplier=2, use_bias=True) == 3 * 12 + 12 * 4 + 4


def test_a_classic_convolution_costs_more_by_one_over_filters_plus_one_over_taps():
    shape, filters, taps = (2, 9, 9, 8), 16, 3 * 3
    separable = depthwise_separable.multiply_adds(shape, (3, 3, 8, 1), (8, filters))
    classic = conv.multiply_adds(shape, (3, 3, 8, filters))
    assert separable * filters * taps == classic * (taps + filters)


def test_as_conv_kernel_by_hand():
    spatial = np.array([[[1, 2]], [[10, 20]]])  # one channel, two taps, two kernels
    kernel = depthwise_separable.as_conv_kernel(spatial, np.array([[3, 5], [7, 11]]))
    assert_array_equal(kernel, [[[3 + 14, 5 + 22]], [[30 + 140, 50 + 220]]])


@pytest.mark.parametrize(("multiplier", "kept"), [(1, [[0, 0], [0, 4]]), (2, [[3, 0], [0, 4]])])
def test_from_conv_kernel_keeps_the_largest_windows(multiplier, kept):
    kernel = np.array([[3, 0], [0, 4]]).reshape(2, 1, 2)
    pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
    close(depthwise_separable.as_conv_kernel(*pair), np.reshape(kept, (2, 1, 2)).astype(float))


# ---- against the definition


@given(separable_cases())
def test_forward_is_its_definition(case):
    y, _ = depthwise_separable.forward(*case.arrays, **case.hyperparameters)
    same_values(y, loop_separable(*case.arrays, **case.hyperparameters))


@given(separable_cases())
def test_gradients_are_their_definition(case):
    _, dy, gradients = both_ways(depthwise_separable, case)
    between = loop_depthwise(case.x, case.kernel, **case.hyperparameters)
    dbetween, dmatrix, dbias = loop_conv_gradients(dy, between, with_taps(case.pointwise, case.x))
    dx, dkernel, _ = loop_depthwise_gradients(dbetween, case.x, case.kernel, **case.hyperparameters)
    same_values(gradients.x, dx)
    same_values(gradients.depthwise_kernel, dkernel)
    same_values(gradients.pointwise_kernel, dmatrix.reshape(case.pointwise.shape))
    assert gradients.bias is None if case.bias is None else same_values(gradients.bias, dbias)


@settings(max_examples=30)
@given(separable_cases())
def test_output_shape_and_multiply_adds_foretell_the_forward(case):
    y, _ = depthwise_separable.forward(*case.arrays, **case.hyperparameters)
    shapes = case.x.shape, case.kernel.shape, case.pointwise.shape
    assert depthwise_separable.output_shape(*shapes, **case.hyperparameters) == y.shape
    between = depthwise.output_shape(*shapes[:2], **case.hyperparameters)
    first = depthwise.multiply_adds(*shapes[:2], **case.hyperparameters)
    second = unary.multiply_adds(between, case.pointwise.shape)
    products = depthwise_separable.multiply_adds(*shapes, **case.hyperparameters)
    assert products == first + second


# ---- against a second derivation


@settings(max_examples=30)
@given(separable_cases())
def test_it_is_one_classic_convolution(case):
    y, dy, gradients = both_ways(depthwise_separable, case)
    kernel = depthwise_separable.as_conv_kernel(case.kernel, case.pointwise)
    classic, cache = conv.forward(case.x, kernel, case.bias, **case.hyperparameters)
    same_values(y, classic)
    expected = conv.backward(dy, cache)
    same_values(gradients.x, expected.x)
    # Of the gradient in the one kernel, the chain rule makes those in the two.
    channels, multiplier = case.kernel.shape[-2:]
    mixing = case.pointwise.reshape(channels, multiplier, -1)
    dkernel = np.einsum("...co,cmo->...cm", expected.kernel, mixing)
    same_values(gradients.depthwise_kernel, dkernel)
    by_tap = case.kernel.reshape(-1, channels, multiplier)
    dmatrix = np.einsum("tcm,tco->cmo", by_tap, expected.kernel.reshape(len(by_tap), channels, -1))
    same_values(gradients.pointwise_kernel, dmatrix.reshape(case.pointwise.shape))


def matrices(kernel):
    """One matrix per input channel, prod(kernel_size) × C_out."""
    return [kernel[..., c, :].reshape(-1, kernel.shape[-1]) for c in range(kernel.shape[-2])]


@st.composite
def kernels(draw):
    """A classic kernel of one to three axes, and a depth multiplier."""
    size = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    shape = (*size, draw(st.integers(1, 3)), draw(st.integers(1, 5)))
    return np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape)


@given(kernels(), st.integers(1, 6))
def test_from_conv_kernel_gives_a_pair_of_the_shapes_asked_for(kernel, multiplier):
    spatial, mixing = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
    *size, channels, filters = kernel.shape
    assert spatial.shape == (*size, channels, multiplier)
    assert mixing.shape == (*(1,) * len(size), channels * multiplier, filters)


@given(kernels(), st.integers(1, 6))
def test_from_conv_kernel_leaves_exactly_the_discarded_singular_values(kernel, multiplier):
    pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
    left = kernel - depthwise_separable.as_conv_kernel(*pair)
    for remainder, matrix in zip(matrices(left), matrices(kernel), strict=True):
        squares = np.linalg.eigvalsh(matrix @ matrix.T)[::-1]  # of the singular values
        discarded = squares[multiplier:].sum()
        assert (remainder**2).sum() == pytest.approx(discarded, rel=1e-9, abs=1e-12)


@given(kernels(), st.integers(0, 2))
def test_from_conv_kernel_is_exact_from_the_smaller_side_of_the_matrix_on(kernel, more):
    multiplier = min(math.prod(kernel.shape[:-2]), kernel.shape[-1]) + more
    pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
    close(depthwise_separable.as_conv_kernel(*pair), kernel)


@settings(max_examples=30)
@given(separable_cases())
def test_from_conv_kernel_is_exact_on_separable_kernels(case):
    kernel = depthwise_separable.as_conv_kernel(case.kernel, case.pointwise)
    pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=case.kernel.shape[-1])
    close(depthwise_separable.as_conv_kernel(*pair), kernel)


def test_a_kernel_of_higher_rank_in_one_channel_alone_is_not_separable():
    kernel = np.zeros((2, 2, 2))
    kernel[:, 0], kernel[:, 1] = [[1, 2], [2, 4]], [[1, 0], [0, 1]]  # of rank 1 and 2
    pair = depthwise_separable.from_conv_kernel(kernel)
    left = kernel - depthwise_separable.as_conv_kernel(*pair)
    close(left[:, 0], np.zeros((2, 2)))
    assert (left[:, 1] ** 2).sum() == pytest.approx(1)


def test_by_default_every_channel_keeps_one_kernel():
    spatial, mixing = depthwise_separable.from_conv_kernel(integers(rng, (3, 2, 4, 5)))
    assert (spatial.shape, mixing.shape) == ((3, 2, 4, 1), (1, 1, 4, 5))


# ---- adjoint


@settings(max_examples=30)
@given(separable_cases())
def test_adjoint_identities_hold_exactly(case):
    y, dy, gradients = both_ways(depthwise_separable, case)
    product = dot(dy, y if case.bias is None else y - case.bias)
    assert product == dot(gradients.x, case.x)
    assert product == dot(gradients.depthwise_kernel, case.kernel)
    assert product == dot(gradients.pointwise_kernel, case.pointwise)
    if case.bias is not None:
        assert dot(gradients.bias, case.bias) == dot(dy, np.broadcast_to(case.bias, y.shape))


# ---- manners

ARRAYS = (
    integers(rng, (2, 6, 5, 3)),
    integers(rng, (3, 2, 3, 2)),
    integers(rng, (6, 4)),
    integers(rng, 4),
)
OPTIONS = {"strides": (1, 2), "padding": ((1, 0), 1), "dilation_rate": (2, 1)}
DY = integers(rng, (2, 3, 3, 4))


@pytest.fixture(scope="module")
def plain():
    """(y, gradients) of ARRAYS and DY, as they are."""
    y, cache = depthwise_separable.forward(*ARRAYS, **OPTIONS)
    return y, depthwise_separable.backward(DY, cache)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout, plain):
    *arrays, dy = (variants(array)[layout] for array in (*ARRAYS, DY))
    y, cache = depthwise_separable.forward(*arrays, **OPTIONS)
    same_values(y, plain[0])
    for actual, expected in zip(depthwise_separable.backward(dy, cache), plain[1], strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernels_of_any_memory_layout_are_joined_and_split(layout):
    spatial, mixing = (variants(array)[layout] for array in ARRAYS[1:3])
    kernel = depthwise_separable.as_conv_kernel(spatial, mixing)
    same_values(kernel, depthwise_separable.as_conv_kernel(*ARRAYS[1:3]))
    pair = depthwise_separable.from_conv_kernel(variants(kernel)[layout])
    for actual, expected in zip(pair, depthwise_separable.from_conv_kernel(kernel), strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("options", [OPTIONS, {}])
def test_nothing_is_modified_and_nothing_shared(options):
    with untouched(*ARRAYS) as results:
        y, cache = depthwise_separable.forward(*ARRAYS, **options)
        with untouched(dy := y + 1) as gradients:
            gradients.append(depthwise_separable.backward(dy, cache))
        results += [y, gradients]


def test_nothing_is_shared_by_kernels_of_ones():
    x, spatial, mixing = integers(rng, (2, 3, 4)), np.ones((1, 4, 1)), np.eye(4)
    with untouched(x, spatial, mixing) as results:
        y, cache = depthwise_separable.forward(x, spatial, mixing)
        with untouched(dy := y + 1) as gradients:
            gradients.append(depthwise_separable.backward(dy, cache))
        results += [y, gradients, depthwise_separable.as_conv_kernel(spatial, mixing)]
    kernel = integers(rng, (1, 3, 1))
    with untouched(kernel) as results:
        results.append(depthwise_separable.from_conv_kernel(kernel))


def test_the_cache_serves_twice_whatever_became_of_the_results(plain):
    y, cache = depthwise_separable.forward(*ARRAYS, **OPTIONS)
    for array in (y, *depthwise_separable.backward(DY, cache)):
        array[...] = np.nan
    for actual, expected in zip(depthwise_separable.backward(DY, cache), plain[1], strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("wide", range(5))
def test_the_widest_argument_decides_the_type(wide):
    arrays = [a.astype("f4" if i == wide else "f2") for i, a in enumerate(ARRAYS)]
    wanted = np.float16 if wide == 4 else np.float32
    y, cache = depthwise_separable.forward(*arrays, **OPTIONS)
    gradients = depthwise_separable.backward(DY, cache)
    assert [array.dtype for array in (y, *gradients)] == [wanted] * 5
    kernel = depthwise_separable.as_conv_kernel(*arrays[1:3])
    assert kernel.dtype == (np.float32 if wide in (1, 2) else np.float16)


@pytest.mark.parametrize("dtype", ["int16", "bool"])
def test_integers_count_as_float64(dtype):
    arrays = [np.abs(array).astype(dtype) for array in ARRAYS]
    floats = [array.astype(float) for array in arrays]
    y, cache = depthwise_separable.forward(*arrays, **OPTIONS)
    expected, float_cache = depthwise_separable.forward(*floats, **OPTIONS)
    same_values(y, expected)
    dy = DY.astype("i4")
    for a, b in zip(
        depthwise_separable.backward(dy, cache),
        depthwise_separable.backward(DY, float_cache),
        strict=True,
    ):
        same_values(a, b)


def test_float16_is_computed_in_float32_and_rounded_once():
    halves = [(array / 7).astype("f2") for array in (*ARRAYS, DY)]
    singles = [array.astype("f4") for array in halves]
    y, cache = depthwise_separable.forward(*halves[:-1], **OPTIONS)
    wide, wide_cache = depthwise_separable.forward(*singles[:-1], **OPTIONS)
    same_values(y, wide.astype("f2"))
    for actual, exact in zip(
        depthwise_separable.backward(halves[-1], cache),
        depthwise_separable.backward(singles[-1], wide_cache),
        strict=True,
    ):
        same_values(actual, exact.astype("f2"))


@pytest.mark.parametrize(
    ("pixels", "weight", "bias", "expected"),
    [((2048, 1), 1, -2048, 1), ((60000, 60000), 0.25, 0, 30000)],  # 2049 and 120000 are no float16
)
def test_float16_is_not_rounded_between_the_steps(pixels, weight, bias, expected):
    x, spatial = np.float16(pixels).reshape(1, 2, 1), np.ones((2, 1, 1), np.float16)
    y, _ = depthwise_separable.forward(x, spatial, np.float16([[weight]]), np.float16([bias]))
    same_values(y, np.float16([[[expected]]]))


def test_kernels_of_float16_are_joined_and_split_in_float32():
    spatial, mixing = ((array / 7).astype("f2") for array in ARRAYS[1:3])
    kernel = depthwise_separable.as_conv_kernel(spatial, mixing)
    exact = depthwise_separable.as_conv_kernel(spatial.astype("f4"), mixing.astype("f4"))
    same_values(kernel, exact.astype("f2"))
    pair = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=2)
    wide = depthwise_separable.from_conv_kernel(kernel.astype("f4"), depth_multiplier=2)
    for actual, expected in zip(pair, wide, strict=True):
        same_values(actual, expected.astype("f2"))


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i2", "f8"), (bool, "f8")]
)
def test_from_conv_kernel_keeps_floats_and_makes_integers_float64(dtype, wanted):
    pair = depthwise_separable.from_conv_kernel(integers(rng, (2, 3, 4)).astype(dtype))
    assert [array.dtype for array in pair] == [wanted, wanted]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_singular_value_may_be_beyond_the_type(dtype, multiplier):
    largest, smallest = np.finfo(dtype).max, np.finfo(dtype).tiny
    kernel = np.full((3, 3, 2, 4), largest, dtype)
    kernel[..., 1, :] = smallest  # a channel for itself: it must not vanish beside the other
    spatial, pointwise = depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
    assert spatial.dtype == pointwise.dtype == dtype
    near = depthwise_separable.as_conv_kernel(spatial / 2, pointwise)
    np.testing.assert_allclose(near, kernel / 2, rtol=8 * np.finfo(dtype).eps)


def test_an_empty_batch_has_an_empty_result_and_zero_gradients():
    x, *kernels = ARRAYS
    y, cache = depthwise_separable.forward(x[:0], *kernels, **OPTIONS)
    same_values(y, DY[:0])
    gradients = depthwise_separable.backward(DY[:0], cache)
    for gradient, array in zip(gradients, (x[:0], *kernels), strict=True):
        same_values(gradient, np.zeros(array.shape))
    shapes = (0, 6, 5, 3), (3, 2, 3, 2), (6, 4)
    assert depthwise_separable.output_shape(*shapes, **OPTIONS) == (0, 3, 3, 4)
    assert depthwise_separable.multiply_adds(*shapes, **OPTIONS) == 0


def test_nested_lists_work():
    y, cache = depthwise_separable.forward([[[1], [2]]], [[[1]], [[10]]], [[3]], [100])
    same_values(y, np.array([[[163.0]]]))
    same_values(depthwise_separable.backward([[[2]]], cache).x, np.array([[[6.0], [60.0]]]))
    same_values(depthwise_separable.as_conv_kernel([[[2]]], [[3, 4]]), np.array([[[6.0, 8.0]]]))


@settings(max_examples=30)
@given(separable_cases())
def test_a_batch_is_its_images_one_by_one(case):
    y, dy, gradients = both_ways(depthwise_separable, case)
    total = [np.zeros(case.kernel.shape), np.zeros(case.pointwise.shape)]
    for n in range(len(y)):
        one = slice(n, n + 1)
        y_n, cache = depthwise_separable.forward(
            case.x[one], *case.arrays[1:], **case.hyperparameters
        )
        same_values(y_n, y[one])
        back = depthwise_separable.backward(dy[one], cache)
        same_values(back.x, gradients.x[one])
        total = [total[0] + back.depthwise_kernel, total[1] + back.pointwise_kernel]
    same_values(gradients.depthwise_kernel, total[0])
    same_values(gradients.pointwise_kernel, total[1])


def test_counts_and_shapes_are_plain_ints():
    shapes = [np.array(s, np.int8) for s in ((2, 6, 5, 30), (3, 2, 30, 2), (60, 40))]
    shape = depthwise_separable.output_shape(*shapes)
    assert {type(size) for size in shape} == {int}
    products = depthwise_separable.multiply_adds(*shapes)
    assert (products, type(products)) == (2 * 4 * 4 * 60 * (6 + 40), int)
    sizes = np.int8(9), np.int8(30), np.int8(40)
    count = depthwise_separable.parameter_count(*sizes, depth_multiplier=np.int8(9), use_bias=True)
    assert (count, type(count)) == (9 * 270 + 270 * 40 + 40, int)


# ---- initial values


@pytest.mark.parametrize("kernel_size", [(15,), (3, 5), (3, 1, 5)])
def test_initialize_draws_both_kernels_he_normal(kernel_size):
    spatial, mixing = depthwise_separable.initialize(
        np.random.default_rng(0), kernel_size, 150, 200, depth_multiplier=4
    )
    assert spatial.shape == (*kernel_size, 150, 4)
    assert mixing.shape == (*(1,) * len(kernel_size), 600, 200)
    assert spatial.dtype == mixing.dtype == np.float64
    assert spatial.std() == pytest.approx(np.sqrt(2 / (3 * 5)), rel=0.02)
    assert mixing.std() == pytest.approx(np.sqrt(2 / 600), rel=0.02)


# ---- refusals

GOOD = {
    "x": np.zeros((2, 4, 5, 3)),
    "depthwise_kernel": np.zeros((2, 3, 3, 2)),
    "pointwise_kernel": np.zeros((6, 4)),
}
MATRIX = (
    "pointwise_kernel must be (6, C_out), or that behind a 1 for each spatial axis, "
    "for depthwise_kernel of shape (2, 3, 3, 2), got "
)
REFUSED = [
    (
        {"depthwise_kernel": np.zeros((3, 2))},
        ValueError,
        (
            "depthwise_kernel must be (*kernel_size, C, depth_multiplier) with one, two or three "
            "spatial axes and no size of 0, got shape (3, 2)"
        ),
    ),
    (
        {"depthwise_kernel": np.zeros((2, 3, 2, 3))},
        ValueError,
        (
            "depthwise_kernel must be (*kernel_size, 3, depth_multiplier) for "
            "x of shape (2, 4, 5, 3), got (2, 3, 2, 3)"
        ),
    ),
    ({"depthwise_kernel": [[[[1j]]]]}, TypeError, "depthwise_kernel must hold real numbers"),
    ({"pointwise_kernel": np.zeros((3, 4))}, ValueError, MATRIX + "(3, 4)"),
    ({"pointwise_kernel": np.zeros((6, 0))}, ValueError, MATRIX + "(6, 0)"),
    ({"pointwise_kernel": np.zeros((1, 1, 6, 0))}, ValueError, MATRIX + "(1, 1, 6, 0)"),
    ({"pointwise_kernel": np.zeros(6)}, ValueError, MATRIX + "(6,)"),
    ({"pointwise_kernel": 6}, ValueError, MATRIX + "()"),
    ({"pointwise_kernel": np.zeros((1, 6, 4))}, ValueError, MATRIX + "(1, 6, 4)"),
    ({"pointwise_kernel": np.zeros((2, 3, 6, 4))}, ValueError, MATRIX + "(2, 3, 6, 4)"),
    ({"pointwise_kernel": np.zeros((1, 1, 3, 4))}, ValueError, MATRIX + "(1, 1, 3, 4)"),
    ({"pointwise_kernel": [["a"]]}, TypeError, "pointwise_kernel must hold real numbers"),
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
    ({"x": np.zeros((2, 4, 5, 3), object)}, TypeError, "x must hold real numbers"),
    (
        {"x": np.zeros((2, 1, 5, 3))},
        ValueError,
        "kernel does not fit its padded input: effective kernel size (2, 3)",
    ),
    (
        {"bias": np.zeros(6)},
        ValueError,
        "bias must be (4,), one number per channel, got shape (6,)",
    ),
    ({"bias": np.zeros(4, complex)}, TypeError, "bias must hold real numbers"),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"dilation_rate": 1.0}, TypeError, "dilation_rate must be an integer, got 1.0"),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert depthwise_separable.forward(**GOOD)[0].shape == (2, 3, 3, 4)
    with pytest.raises(exception, match=says(message)):
        depthwise_separable.forward(**{**GOOD, **bad})


@pytest.mark.parametrize(
    "function", [depthwise_separable.output_shape, depthwise_separable.multiply_adds]
)
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_shape": 5}, TypeError, "input_shape must be a sequence of ints, got 5"),
        (
            {"input_shape": (2, 5, 3)},
            ValueError,
            "input_shape must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2,",
        ),
        ({"input_shape": (-1, 5, 4, 3)}, ValueError, "input_shape[0] must be at least 0, got -1"),
        (
            {"input_shape": (1, 5, 4, 0)},
            ValueError,
            "input_shape must have no spatial size and no channel count of 0, got shape (1, 5, 4",
        ),
        (
            {"depthwise_kernel_shape": 3},
            TypeError,
            "depthwise_kernel_shape must be a sequence of ints, got 3",
        ),
        (
            {"depthwise_kernel_shape": (2, 0, 3, 2)},
            ValueError,
            "depthwise_kernel_shape[1] must be at least 1, got 0",
        ),
        (
            {"depthwise_kernel_shape": (2, 3, 2, 3)},
            ValueError,
            (
                "depthwise_kernel_shape must be (*kernel_size, 3, depth_multiplier) for "
                "input_shape (2, 5, 4, 3), got (2, 3, 2, 3)"
            ),
        ),
        (
            {"pointwise_kernel_shape": "6"},
            TypeError,
            "pointwise_kernel_shape must be a sequence of ints, got '6'",
        ),
        (
            {"pointwise_kernel_shape": (6, 0)},
            ValueError,
            "pointwise_kernel_shape[1] must be at least 1, got 0",
        ),
        (
            {"pointwise_kernel_shape": (3, 4)},
            ValueError,
            (
                "pointwise_kernel_shape must be (6, C_out), or that behind a 1 for each spatial "
                "axis, for depthwise_kernel_shape (2, 3, 3, 2), got (3, 4)"
            ),
        ),
        ({"strides": -1}, ValueError, "strides must be at least 1, got -1"),
        ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ({"dilation_rate": 9}, ValueError, "kernel does not fit its padded input"),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    good = {
        "input_shape": (2, 5, 4, 3),
        "depthwise_kernel_shape": (2, 3, 3, 2),
        "pointwise_kernel_shape": (6, 4),
    }
    with pytest.raises(exception, match=says(message)):
        function(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel_size": (3, 0)}, ValueError, "kernel_size[1] must be at least 1, got 0"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 4.0}, TypeError, "in_channels must be an integer, got 4.0"),
        ({"filters": 0}, ValueError, "filters must be at least 1, got 0"),
        ({"filters": False}, TypeError, "filters must be an integer, got False"),
        ({"depth_multiplier": 0}, ValueError, "depth_multiplier must be at least 1, got 0"),
    ],
)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    good = {"kernel_size": (3, 2), "in_channels": 4, "filters": 5}
    with pytest.raises(exception, match=says(message)):
        depthwise_separable.parameter_count(**{**good, **bad})
    with pytest.raises(exception, match=says(message)):
        depthwise_separable.initialize(generator := np.random.default_rng(0), **{**good, **bad})
    assert generator.random() == np.random.default_rng(0).random(), "refused, but drawn from"


def test_initialize_draws_nothing_where_the_second_kernel_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=says("in_channels, depth_multiplier and filters must make")
    ):
        depthwise_separable.initialize(generator, 3, 4, 2**60)
    assert generator.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("spatial", "mixing", "exception", "message"),
    [
        (
            np.zeros((3, 2)),
            np.zeros((6, 4)),
            ValueError,
            (
                "depthwise_kernel must be (*kernel_size, C_in, depth_multiplier) with one, two or "
                "three spatial axes and no size of 0, got shape (3, 2)"
            ),
        ),
        (np.zeros((2, 3, 3, 2)), np.zeros((3, 4)), ValueError, MATRIX + "(3, 4)"),
        (np.zeros((2, 3, 3, 2)), np.zeros((1, 6, 4)), ValueError, MATRIX + "(1, 6, 4)"),
        ([[["a"]]], np.zeros((1, 1)), TypeError, "depthwise_kernel must hold real numbers"),
        ([[[1]]], [[1j]], TypeError, "pointwise_kernel must hold real numbers"),
    ],
)
def test_as_conv_kernel_refuses(spatial, mixing, exception, message):
    with pytest.raises(exception, match=says(message)):
        depthwise_separable.as_conv_kernel(spatial, mixing)


@pytest.mark.parametrize(
    ("kernel", "multiplier", "exception", "message"),
    [
        (
            np.zeros((3, 2)),
            1,
            ValueError,
            (
                "kernel must be (*kernel_size, C_in, C_out) with one, two or three spatial axes "
                "and no size of 0, got shape (3, 2)"
            ),
        ),
        ([[[np.nan]]], 1, ValueError, "kernel must be finite, got NaN or infinity in it"),
        ([[[-np.inf, 1]]], 1, ValueError, "kernel must be finite, got NaN or infinity in it"),
        ([[[1j]]], 1, TypeError, "kernel must hold real numbers"),
        ([[[1]]], 0, ValueError, "depth_multiplier must be at least 1, got 0"),
        (
            np.ones((1, 3, 2)),
            2**59,
            ValueError,
            (
                "depth_multiplier must make arrays that fit in memory, "
                "got one of shape (3, 576460752303423488, 2)"
            ),
        ),
        (
            np.ones((7, 7, 1, 1)),
            2**58,
            ValueError,
            (
                "depth_multiplier must make arrays that fit in memory, "
                "got one of shape (7, 7, 1, 288230376151711744)"
            ),
        ),
        ([[[1]]], 1.0, TypeError, "depth_multiplier must be an integer, got 1.0"),
    ],
)
def test_from_conv_kernel_refuses(kernel, multiplier, exception, message):
    with pytest.raises(exception, match=says(message)):
        depthwise_separable.from_conv_kernel(kernel, depth_multiplier=multiplier)
