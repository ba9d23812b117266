"""layouts: axes change places, and nothing else."""

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    conv_cases,
    depthwise_cases,
    integers,
    same_values,
    says,
    transposed_cases,
    untouched,
    variants,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from convinsights import conv, depthwise, layouts, transposed

rng = np.random.default_rng(81)


def coded(shape):
    """An array whose values spell their coordinates in decimal digits."""
    return sum(i * 10.0**n for i, n in zip(np.indices(shape), range(len(shape))[::-1], strict=True))


def times(function, multiplier):
    """A `from_torch` with its depth multiplier."""
    return lambda weight: function(weight, depth_multiplier=multiplier)


PAIRS = {
    "image": (layouts.to_channels_first, layouts.to_channels_last),
    "conv": (layouts.kernel_to_torch, layouts.kernel_from_torch),
    "depthwise": (
        layouts.depthwise_kernel_to_torch,
        times(layouts.depthwise_kernel_from_torch, 4),
    ),
    "transposed": (layouts.transposed_kernel_to_torch, layouts.transposed_kernel_from_torch),
}
FUNCTIONS = [function for pair in PAIRS.values() for function in pair]


# ---- by hand


def test_channels_move_in_front_of_the_spatial_axes():
    x = coded((2, 3, 4, 5))  # n, i, j, c
    y = layouts.to_channels_first(x)
    assert y.shape == (2, 5, 3, 4)
    assert y[1, 4, 2, 3] == 1234
    assert y[0, 3, 1, 2] == 123


def test_channels_move_behind_the_spatial_axes():
    x = layouts.to_channels_last(coded((2, 3, 4, 5)))  # n, c, i, j
    assert x.shape == (2, 4, 5, 3)
    assert x[1, 3, 4, 2] == 1234


def test_a_kernel_has_its_outputs_first():
    weight = layouts.kernel_to_torch(coded((2, 3, 4, 5)))  # u, v, c, o
    assert weight.shape == (5, 4, 2, 3)
    assert weight[4, 3, 1, 2] == 1234
    assert layouts.kernel_from_torch(weight)[1, 2, 0, 3] == 1203


def test_the_plain_matrix_of_unary_is_transposed():
    matrix = coded((2, 3))
    assert_array_equal(layouts.kernel_to_torch(matrix), matrix.T)
    assert_array_equal(layouts.kernel_from_torch(matrix.T), matrix)


def test_a_depthwise_kernel_has_the_kernels_of_a_channel_side_by_side():
    weight = layouts.depthwise_kernel_to_torch(coded((2, 3, 5, 4)))  # u, v, c, m
    assert weight.shape == (20, 1, 2, 3)
    assert weight[3 * 4 + 2, 0, 1, 2] == 1232
    kernel = layouts.depthwise_kernel_from_torch(weight, depth_multiplier=4)
    assert kernel[1, 2, 3, 2] == 1232


def test_a_depthwise_weight_has_one_kernel_per_channel_by_default():
    kernel = layouts.depthwise_kernel_from_torch(coded((6, 1, 2, 3)))
    assert kernel.shape == (2, 3, 6, 1)
    assert kernel[1, 2, 5, 0] == 5012


def test_a_transposed_kernel_has_its_inputs_first():
    weight = layouts.transposed_kernel_to_torch(coded((2, 3, 4, 5)))  # u, v, o, c
    assert weight.shape == (5, 4, 2, 3)
    assert weight[4, 3, 1, 2] == 1234
    assert layouts.transposed_kernel_from_torch(weight)[1, 2, 0, 3] == 1203


# ---- round trips


@pytest.mark.parametrize("kind", PAIRS)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
@settings(max_examples=20)
def test_there_and_back_is_where_it_began(kind, size):
    there, back = PAIRS[kind]
    array = integers(rng, (*size, 3, 4) if kind != "image" else (2, *size, 4))
    same_values(back(there(array)), array)
    same_values(there(back(there(array))), there(array))


def test_there_and_back_with_the_plain_matrix():
    matrix = integers(rng, (3, 4))
    same_values(layouts.kernel_from_torch(layouts.kernel_to_torch(matrix)), matrix)


# ---- against the operations


@given(depthwise_cases())
@settings(max_examples=30)
def test_a_depthwise_weight_is_that_of_as_many_groups_as_channels(case):
    y, _ = depthwise.forward(*case.arrays, **case.hyperparameters)
    kernel = layouts.kernel_from_torch(layouts.depthwise_kernel_to_torch(case.kernel))
    grouped, _ = conv.forward(
        case.x, kernel, case.bias, **case.hyperparameters, groups=case.x.shape[-1]
    )
    same_values(grouped, y)


@given(transposed_cases())
@settings(max_examples=30)
def test_a_transposed_weight_is_that_of_the_convolution_it_transposes(case):
    weight = layouts.transposed_kernel_to_torch(case.kernel)
    kernel = layouts.kernel_from_torch(weight)
    y, _ = transposed.forward(case.x, case.kernel, **case.hyperparameters)
    geometry = ("strides", "padding", "dilation_rate", "groups")
    _, cache = conv.forward(y, kernel, **{name: case.hyperparameters[name] for name in geometry})
    same_values(conv.backward(case.x, cache).x, y)


@given(conv_cases())
@settings(max_examples=30)
def test_a_weight_holds_one_kernel_for_every_output(case):
    weight = layouts.kernel_to_torch(case.kernel)
    for output, kernel in enumerate(weight):
        same_values(np.moveaxis(kernel, 0, -1), case.kernel[..., output])


# ---- manners

ARRAY = integers(rng, (8, 1, 4, 3))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_becomes_a_plain_one(function, layout):
    result = function(variants(ARRAY)[layout])
    same_values(result, function(ARRAY))
    assert result.flags.c_contiguous


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(8, 1, 4, 3), (4, 1, 1)])
def test_results_are_copies(function, shape):
    array = integers(rng, shape)
    with untouched(array) as results:
        results.append(function(array))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("dtype", "wanted"), [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i1", "f8"), (bool, "f8")]
)
def test_floats_keep_their_type_and_integers_become_float64(function, dtype, wanted):
    array = np.abs(ARRAY).astype(dtype)
    same_values(function(array), function(array.astype(float)).astype(wanted))


@pytest.mark.parametrize("function", [layouts.to_channels_first, layouts.to_channels_last])
def test_an_empty_batch_stays_empty(function):
    assert function(np.zeros((0, 2, 3))).shape == (0, 3, 2)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nested_lists_work(function):
    same_values(function(ARRAY.tolist()), function(ARRAY))


# ---- refusals

SPATIAL = "x must be (N, *spatial, C) with one, two or three spatial axes, got shape "
FIRST = (
    "x must be (N, C, *spatial) with one, two or three spatial axes and no size of 0 behind N, "
    "got shape "
)
SIZES = " with one, two or three spatial axes and no size of 0, got shape "
TO = "kernel must be (*kernel_size, C_in // groups, C_out)" + SIZES
FROM = "weight must be (C_out, C_in // groups, *kernel_size)" + SIZES
DEPTHWISE = "kernel must be (*kernel_size, C, depth_multiplier)" + SIZES
WEIGHT = "weight must be (C * depth_multiplier, 1, *kernel_size)" + SIZES
TRANSPOSED = "kernel must be (*kernel_size, C_out // groups, C_in)" + SIZES
INPUTS = "weight must be (C_in, C_out // groups, *kernel_size)" + SIZES


@pytest.mark.parametrize(
    ("function", "fewest", "message"),
    [
        (layouts.to_channels_first, 3, SPATIAL),
        (layouts.to_channels_last, 3, FIRST),
        (layouts.kernel_to_torch, 2, TO),
        (layouts.kernel_from_torch, 2, FROM),
        (layouts.depthwise_kernel_to_torch, 3, DEPTHWISE),
        (layouts.depthwise_kernel_from_torch, 3, WEIGHT),
        (layouts.transposed_kernel_to_torch, 3, TRANSPOSED),
        (layouts.transposed_kernel_from_torch, 3, INPUTS),
    ],
)
def test_a_wrong_number_of_axes_is_refused(function, fewest, message):
    for axes in range(fewest, 6):
        assert function(np.zeros((1,) * axes)).ndim == axes
    for axes in (fewest - 1, 6):
        with pytest.raises(ValueError, match=says(message + str((1,) * axes))):
            function(np.zeros((1,) * axes))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            layouts.to_channels_first,
            "x must have no spatial size and no channel count of 0, got shape ",
        ),
        (layouts.to_channels_last, FIRST),
        (layouts.kernel_to_torch, TO),
        (layouts.kernel_from_torch, FROM),
        (layouts.depthwise_kernel_to_torch, DEPTHWISE),
        (layouts.depthwise_kernel_from_torch, WEIGHT),
        (layouts.transposed_kernel_to_torch, TRANSPOSED),
        (layouts.transposed_kernel_from_torch, INPUTS),
    ],
)
@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 1, 0)])
def test_a_size_of_0_is_refused(function, message, shape):
    with pytest.raises(ValueError, match=says(message + str(shape))):
        function(np.zeros(shape))


@pytest.mark.parametrize(
    ("function", "name"), list(zip(FUNCTIONS, ["x", "x", *["kernel", "weight"] * 3], strict=True))
)
def test_what_is_no_number_is_refused(function, name):
    with pytest.raises(TypeError, match=says(f"{name} must hold real numbers ... complex128")):
        function(ARRAY.astype(complex))


@pytest.mark.parametrize(
    ("shape", "multiplier", "exception", "message"),
    [
        (
            (6, 2, 3, 3),
            1,
            ValueError,
            "weight must be (C * depth_multiplier, 1, *kernel_size), got shape (6, 2, 3, 3)",
        ),
        (
            (6, 1, 3, 3),
            4,
            ValueError,
            "depth_multiplier must divide the 6 channels of weight, got 4",
        ),
        (
            (6, 1, 3, 3),
            12,
            ValueError,
            "depth_multiplier must divide the 6 channels of weight, got 12",
        ),
        ((6, 1, 3, 3), 0, ValueError, "depth_multiplier must be at least 1, got 0"),
        ((6, 1, 3, 3), 2.0, TypeError, "depth_multiplier must be an integer, got 2.0"),
        ((6, 1, 3, 3), True, TypeError, "depth_multiplier must be an integer, got True"),
    ],
)
def test_a_depthwise_weight_that_does_not_fit_is_refused(shape, multiplier, exception, message):
    with pytest.raises(exception, match=says(message)):
        layouts.depthwise_kernel_from_torch(np.zeros(shape), depth_multiplier=multiplier)
