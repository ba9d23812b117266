"""transposed: a convolution run backwards, its output size, and the inflated input."""

import numpy as np
import pytest
from helpers import (
    both_ways,
    dot,
    foldings,
    integers,
    line,
    loop_padding,
    per_axis,
    same_values,
    says,
    takes_any_layout,
    taps,
    transposed_cases,
)
from hypothesis import given
from numpy.testing import assert_array_equal

from convinsights import conv, transposed

rng = np.random.default_rng(31)


def of_the_convolution(case):
    """The hyperparameters that a convolution has too."""
    names = ("strides", "padding", "dilation_rate", "groups")
    return {name: case.hyperparameters[name] for name in names}


# ---- by hand


def test_stamps_add_up_where_they_overlap():
    y, _ = transposed.forward(line(1, 10), taps(1, 2, 3), strides=2)
    assert_array_equal(y, line(1, 2, 3 + 10, 20, 30))


def test_defaults_are_stride_1_valid_rate_1_one_group():
    y, _ = transposed.forward(line(1, 10), taps(1, 2, 3))
    assert_array_equal(y, line(1, 2 + 10, 3 + 20, 30))


def test_dilation_spreads_the_stamp():
    y, _ = transposed.forward(line(1, 10), taps(1, 2), strides=3, dilation_rate=2)
    assert_array_equal(y, line(1, 0, 2, 10, 0, 20))


def test_padding_is_cut_off():
    y, _ = transposed.forward(line(1, 10), taps(1, 2, 3), strides=2, padding=((1, 2),))
    assert_array_equal(y, line(2, 13))


def test_output_padding_reaches_further_and_adds_no_zeros_of_its_own():
    x, kernel = line(1, 10), taps(1, 2, 3)
    y, _ = transposed.forward(x, kernel, strides=2, padding=1, output_padding=1)
    assert_array_equal(y, line(2, 13, 20, 30))
    beyond, _ = transposed.forward(x, kernel, strides=2, output_padding=1)
    assert_array_equal(beyond, line(1, 2, 13, 20, 30, 0))


def test_same_multiplies_the_size_by_the_stride():
    y, _ = transposed.forward(line(1, 10), taps(1, 2, 3), strides=2, padding="same")
    assert_array_equal(y, line(1, 2, 13, 20))  # of size 4: no zero before, one behind
    shorter, _ = transposed.forward(
        line(1, 10), taps(1, 2, 3), strides=2, padding="same", output_padding=0
    )
    assert_array_equal(shorter, line(2, 13, 20))  # of size 3: one before, one behind


def test_output_size_says_the_size_itself():
    y, _ = transposed.forward(line(1, 10), taps(5), strides=3, output_size=6)
    assert_array_equal(y, line(5, 0, 0, 50, 0, 0))


def test_a_kernel_smaller_than_the_stride_leaves_gaps():
    y, _ = transposed.forward(line(1, 10), taps(3, 4), strides=3)
    assert_array_equal(y, line(3, 4, 0, 30, 40))


def test_the_kernel_is_that_of_the_convolution_from_outputs_to_inputs():
    kernel = np.array([[[1, 2], [3, 4], [5, 6]]])  # one tap, three outputs, two inputs
    y, _ = transposed.forward(np.array([[[1, 10]]]), kernel, np.array([100, 200, 300]))
    assert_array_equal(y, [[[121, 243, 365]]])


def test_a_group_stamps_only_its_own_channels():
    kernel = np.array([[[2, 3, 4, 5]]])  # inputs 0 and 1 make output 0, 2 and 3 make output 1
    y, _ = transposed.forward(np.array([[[1, 10, 100, 1000]]]), kernel, groups=2)
    assert_array_equal(y, [[[32, 5400]]])


def test_gradients_by_hand():
    _, cache = transposed.forward(line(1, 10), taps(1, 2, 3), np.zeros(1), strides=2)
    gradients = transposed.backward(line(1, 0, 2, 0, 3), cache)
    assert_array_equal(gradients.x, line(1 * 1 + 3 * 2, 1 * 2 + 3 * 3))
    assert_array_equal(gradients.kernel, taps(1 * 1 + 10 * 2, 0, 1 * 2 + 10 * 3))
    assert_array_equal(gradients.bias, [6])


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (7, 6)),
        ({"strides": 2}, (11, 9)),
        ({"strides": (2, 3)}, (11, 12)),
        ({"strides": 2, "output_padding": 1}, (12, 10)),
        ({"strides": 2, "output_padding": (0, 1)}, (11, 10)),
        ({"strides": 2, "output_size": (12, 9)}, (12, 9)),
        ({"strides": (2, 3), "padding": "same"}, (10, 12)),
        ({"strides": (2, 3), "padding": "same", "output_padding": 0}, (9, 10)),
        ({"padding": "same"}, (5, 4)),
        ({"strides": 2, "padding": 1}, (9, 7)),
        ({"strides": 2, "padding": ((0, 1), 2)}, (10, 5)),
        ({"strides": 2, "dilation_rate": (1, 3)}, (11, 13)),
    ],
)
def test_output_shape_by_hand(options, size):
    assert transposed.output_shape((8, 5, 4, 6), (3, 3, 2, 6), **options) == (8, *size, 2)


def test_output_channels_are_those_of_all_groups():
    assert transposed.output_shape((8, 5, 6), (3, 2, 6), groups=3) == (8, 7, 6)


def test_counts_by_hand():
    assert transposed.parameter_count((3, 5), 6, 4) == 3 * 5 * 6 * 4
    assert transposed.parameter_count((3, 5), 6, 4, use_bias=True) == 3 * 5 * 6 * 4 + 4
    assert transposed.parameter_count((3, 5), 6, 4, groups=2, use_bias=True) == 3 * 5 * 6 * 2 + 4
    assert transposed.multiply_adds((2, 5, 4, 6), (3, 3, 2, 6)) == (2 * 5 * 4) * (3 * 3) * 2 * 6


def test_inflate_sets_zeros_between_neighbours():
    assert_array_equal(transposed.inflate(line(1, 2, 3), 3), line(1, 0, 0, 2, 0, 0, 3))


def test_inflate_takes_a_stride_per_axis():
    x = np.arange(1.0, 5).reshape(1, 2, 2, 1)
    inflated = transposed.inflate(x, (1, 3))
    assert_array_equal(inflated[0, ..., 0], [[1, 0, 0, 2], [3, 0, 0, 4]])


# ---- against a second derivation


@given(transposed_cases())
def test_it_is_the_transpose_of_the_matrix_of_the_convolution(case):
    y, dy, gradients = both_ways(transposed, case)
    matrix = conv.matrix(case.kernel, y.shape[1:], **of_the_convolution(case))
    x, rows = case.x.reshape(len(y), matrix.shape[0]), dy.reshape(len(y), matrix.shape[1])
    shift = 0 if case.bias is None else case.bias
    same_values(y, (x @ matrix).reshape(y.shape) + shift)
    same_values(gradients.x, (rows @ matrix.T).reshape(case.x.shape))


def flipped(kernel, groups):
    """The kernel turned around along its spatial axes, its channels swapped within each group."""
    rank = kernel.ndim - 2
    turned = kernel[(slice(None, None, -1),) * rank]
    parts = turned.reshape(*turned.shape[:-1], groups, -1)  # (*k, outputs, groups, inputs)
    swapped = np.moveaxis(parts, -1, rank)  # (*k, inputs, outputs, groups)
    swapped = np.swapaxes(swapped, -1, -2)  # (*k, inputs, groups, outputs)
    return swapped.reshape(*swapped.shape[: rank + 1], -1)


@given(transposed_cases())
def test_it_is_a_convolution_of_the_inflated_input_with_the_flipped_kernel(case):
    options, size = case.hyperparameters, case.x.ndim - 2
    y, _ = transposed.forward(*case.arrays, **options)
    rates = per_axis(options["dilation_rate"], size)
    reach = [d * (k - 1) for d, k in zip(rates, case.kernel.shape[:-2], strict=True)]
    full, _ = conv.forward(
        transposed.inflate(case.x, options["strides"]),
        flipped(case.kernel, options["groups"]),
        padding=tuple((r, r) for r in reach),
        dilation_rate=rates,
        groups=options["groups"],
    )
    convolution = {n: v for n, v in of_the_convolution(case).items() if n != "groups"}
    zeros = loop_padding(y.shape[1:-1], case.kernel.shape[:-2], **convolution)
    crop = [slice(before, before + n) for n, (before, _) in zip(y.shape[1:-1], zeros, strict=True)]
    wide = np.pad(full, ((0, 0), *((0, kept.stop) for kept in crop), (0, 0)))
    shift = 0 if case.bias is None else case.bias
    same_values(y, wide[(slice(None), *crop)] + shift)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_is_as_many_convolutions_as_the_stride_interleaved(kernel_size, stride):
    x, kernel = integers(rng, (2, 5, 3)), integers(rng, (kernel_size, 2, 3))
    y, _ = transposed.forward(x, kernel, strides=stride)
    for r in range(min(stride, kernel_size)):
        part = kernel[r::stride]
        phase, _ = conv.forward(x, part[::-1].swapaxes(1, 2), padding=len(part) - 1)
        same_values(y[:, r::stride], phase)
    assert not any(y[:, r::stride].any() for r in range(kernel_size, stride))


@given(transposed_cases())
def test_groups_are_separate_convolutions_side_by_side(case):
    groups = case.hyperparameters["groups"]
    y, _ = transposed.forward(*case.arrays, **case.hyperparameters)
    images, kernels = (np.split(array, groups, axis=-1) for array in (case.x, case.kernel))
    options = {**case.hyperparameters, "groups": 1}
    parts = [transposed.forward(*pair, **options)[0] for pair in zip(images, kernels, strict=True)]
    shift = 0 if case.bias is None else case.bias
    same_values(y, np.concatenate(parts, axis=-1) + shift)


def test_equal_sums_of_the_sub_kernels_and_only_they_keep_a_constant_image_constant():
    x = np.full((1, 6, 1), 5.0)
    even, _ = transposed.forward(x, taps(1, 2, 6, 5), strides=2)  # 1 + 6 = 2 + 5
    assert_array_equal(even[0, 2:-2], np.full((10, 1), 35))
    odd, _ = transposed.forward(x, taps(1, 2, 6, 4), strides=2)
    assert_array_equal(odd[0, 2:6], [[35], [30], [35], [30]])


def test_large_images_are_stamped_block_by_block():
    x, kernel, bias = integers(rng, (2, 60, 50, 8)), integers(rng, (6, 5, 3, 8)), integers(rng, 3)
    y, cache = transposed.forward(x, kernel, bias, strides=(2, 3))
    dy = integers(rng, y.shape)
    expected, dx, dkernel = np.zeros(y.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    for u, v in np.ndindex(6, 5):
        under = (slice(None), slice(u, u + 119, 2), slice(v, v + 148, 3))
        expected[under] += x @ kernel[u, v].T
        dx += dy[under] @ kernel[u, v]
        dkernel[u, v] = np.tensordot(dy[under], x, ((0, 1, 2), (0, 1, 2)))
    same_values(y, expected + bias)
    gradients = transposed.backward(dy, cache)
    for actual, wanted in zip(gradients, (dx, dkernel, dy.sum(axis=(0, 1, 2))), strict=True):
        same_values(actual, wanted)


# ---- adjoint


@given(transposed_cases())
def test_it_is_the_adjoint_of_the_convolution(case):
    y, _ = transposed.forward(case.x, case.kernel, **case.hyperparameters)
    image = case.cotangent(y)
    folded, _ = conv.forward(image, case.kernel, **of_the_convolution(case))
    assert folded.shape == case.x.shape
    assert dot(folded, case.x) == dot(image, y)
    both = of_the_convolution(case), case.hyperparameters
    there = conv.multiply_adds(image.shape, case.kernel.shape, **both[0])
    assert there == transposed.multiply_adds(case.x.shape, case.kernel.shape, **both[1])


@given(transposed_cases())
def test_it_is_the_gradient_of_the_convolution_in_its_image(case):
    y, _ = transposed.forward(case.x, case.kernel, **case.hyperparameters)
    _, cache = conv.forward(case.cotangent(y), case.kernel, **of_the_convolution(case))
    same_values(y, conv.backward(case.x, cache).x)


@pytest.mark.parametrize("padding", ["valid", "same", 1, ((2, 1),)])
@pytest.mark.parametrize(("stride", "kernel", "rate"), [(1, 3, 1), (2, 4, 1), (3, 2, 1), (4, 3, 2)])
def test_the_legal_sizes_are_all_that_the_convolution_folds_onto_the_input(
    padding, stride, kernel, rate
):
    options = {"strides": stride, "padding": padding, "dilation_rate": rate}
    legal = foldings(3, kernel, stride, per_axis(padding, 1)[0], rate)
    assert len(legal) == stride
    for length in range(1, 25):
        shapes = (1, 3, 1), (kernel, 1, 1)
        if length in legal:
            same = transposed.output_shape(*shapes, **options, output_size=length)
            extra = transposed.output_shape(*shapes, **options, output_padding=legal.index(length))
            assert same == extra == (1, length, 1)
            assert conv.output_shape(same, (kernel, 1, 1), **options) == (1, 3, 1)
        else:
            with pytest.raises(
                ValueError,
                match=says(
                    f"output_size must be {legal[0]} … {legal[-1]} per spatial axis, got {length}"
                ),
            ):
                transposed.output_shape(*shapes, **options, output_size=length)


# ---- manners


def test_float16_is_summed_in_float32_and_rounded_once():
    x, ones = line(2048, 1, 1).astype("f2"), np.ones((3, 1, 1), "f2")  # 2048 + 1 is 2048 there
    y, cache = transposed.forward(x, ones, np.float16([-2050]))
    same_values(y, line(-2, -1, 0, -2048, -2049).astype(np.float16))
    dkernel = transposed.backward(np.ones((1, 5, 1)), cache).kernel
    same_values(dkernel, np.full((3, 1, 1), 2050, np.float16))
    _, cache = transposed.forward(np.zeros((1, 3, 1), "f2"), ones, np.float16([0]))
    gradients = transposed.backward(line(0, 0, 2048, 1, 1), cache)
    same_values(gradients.x, line(2048, 2049, 2050).astype(np.float16))
    same_values(gradients.bias, np.float16([2050]))
    endless = np.float16([1, 1, 1, np.inf, 1, 1]).reshape(3, 1, 2)  # which is summed tap by tap
    _, cache = transposed.forward(np.ones((1, 1, 2), "f2"), endless)
    dx = transposed.backward(line(2048, 1, 1).astype("f2"), cache).x
    same_values(dx, np.float16([[[2050, np.inf]]]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "bool"])
def test_inflate_takes_any_type_and_layout_and_shares_nothing(dtype):
    x = rng.integers(0, 9, (2, 4, 3, 6)).astype(dtype)
    for strides in (1, (2, 1)):
        takes_any_layout(transposed.inflate, x, strides)
    same_values(transposed.inflate(x[:0].astype(float), 2), np.zeros((0, 7, 5, 6)))


def test_nested_lists_work():
    y, cache = transposed.forward([[[1], [10]]], [[[1]], [[2]]], [100])
    same_values(y, line(101, 112, 120))
    same_values(transposed.backward([[[1], [2], [3]]], cache).x, line(5, 8))
    same_values(transposed.inflate([[[1], [2]]], 2), line(1, 0, 2))


def test_counts_and_shapes_are_plain_ints():
    shapes = np.array([2, 4, 3, 6], np.int8), np.array([3, 2, 20, 6], np.int8)
    options = {"groups": np.int8(2), "output_size": np.array([10, 6]), "strides": np.int8(2)}
    shape = transposed.output_shape(*shapes, **options)
    assert shape == (2, 10, 6, 40)
    assert {type(size) for size in shape} == {int}
    assert transposed.multiply_adds(*shapes, **options) == 24 * 6 * 20 * 6
    assert type(transposed.multiply_adds(*shapes, **options)) is int
    count = transposed.parameter_count(np.int8(3), np.int8(60), np.int8(60), use_bias=True)
    assert (count, type(count)) == (3 * 60 * 60 + 60, int)


# ---- initial values


def test_initialize_draws_he_normal_weights():
    kernel = transposed.initialize(np.random.default_rng(0), (3, 3), 64, 128)
    assert kernel.shape == (3, 3, 128, 64)
    assert kernel.dtype == np.float64
    assert abs(kernel.mean()) < 4 * kernel.std() / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 3 * 64)), rel=0.01)


def test_initialize_counts_only_the_inputs_of_a_group():
    kernel = transposed.initialize(np.random.default_rng(0), 5, 64, 128, groups=np.int8(4))
    assert kernel.shape == (5, 32, 64)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (5 * 16)), rel=0.03)


# ---- refusals

GOOD = {"x": np.zeros((2, 5, 4, 6)), "kernel": np.zeros((3, 2, 3, 6)), "strides": (2, 3)}
FORM = "kernel must be (*kernel_size, C_out // groups, C_in) with one, two or three spatial axes "
CAUSAL = (
    'padding must be "valid", "same", an int or one entry per spatial axis '
    '(a transposed convolution has no "causal"), got '
)
REFUSED = [
    ({"kernel": np.zeros((3, 6))}, ValueError, FORM + "and no size of 0, got shape (3, 6)"),
    ({"kernel": np.zeros((1, 1, 1, 1, 3, 6))}, ValueError, FORM),
    ({"kernel": np.zeros((3, 2, 0, 6))}, ValueError, FORM),
    (
        {"kernel": np.zeros((3, 2, 6, 3))},
        ValueError,
        "kernel must be (*kernel_size, C_out // groups, 6) for x of shape (2, 5, 4, 6), got ",
    ),
    ({"kernel": np.zeros((3, 2, 3, 6), complex)}, TypeError, "kernel must hold real numbers"),
    (
        {"x": np.zeros((2, 5, 6))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2, 5, 6)",
    ),
    ({"x": np.zeros((2, 5, 0, 6))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 5, 4, 6), object)}, TypeError, "x must hold real numbers"),
    (
        {"bias": np.zeros(6)},
        ValueError,
        "bias must be (3,), one number per channel, got shape (6,)",
    ),
    ({"bias": np.zeros(3), "groups": 2}, ValueError, "bias must be (6,), one number per channel"),
    ({"groups": 4}, ValueError, "groups must divide C_in = 6, got 4"),
    ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
    ({"groups": 1.5}, TypeError, "groups must be an integer, got 1.5"),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    (
        {"strides": (1,)},
        ValueError,
        "strides must be an int or have one entry per spatial axis (2)",
    ),
    ({"strides": 2.0}, TypeError, "strides must be an integer, got 2.0"),
    ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ({"dilation_rate": True}, TypeError, "dilation_rate must be an integer, got True"),
    ({"padding": "causal"}, ValueError, CAUSAL + "'causal'"),
    ({"padding": "full"}, ValueError, CAUSAL + "'full'"),
    ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    (
        {"padding": (1, 1, 1)},
        ValueError,
        "padding must be ...there are 2 spatial axes, got (1, 1, 1)",
    ),
    ({"output_padding": 2}, ValueError, "output_padding must be 0 … 1, 0 … 2 per spatial axis "),
    ({"output_padding": 2}, ValueError, "...(output sizes 11 … 12, 11 … 13), got 2"),
    (
        {"output_padding": (0, 3)},
        ValueError,
        "output_padding must be 0 … 1, 0 … 2 per spatial axis",
    ),
    ({"output_padding": -1}, ValueError, "output_padding must be 0 … 1, 0 … 2 per spatial axis"),
    ({"output_padding": 0.5}, TypeError, "output_padding must be an integer, got 0.5"),
    ({"output_padding": True}, TypeError, "output_padding must be an integer, got True"),
    ({"output_padding": (1,)}, ValueError, "output_padding must be an int or have one entry per"),
    ({"output_padding": (1, 1, 1)}, ValueError, "output_padding must be an int or have one entry"),
    (
        {"output_size": (11, 14)},
        ValueError,
        "output_size must be 11 … 12, 11 … 13 per spatial axis, got (11, 14)",
    ),
    ({"output_size": 10}, ValueError, "output_size must be 11 … 12, 11 … 13 per spatial axis"),
    (
        {"output_size": 0},
        ValueError,
        "output_size must be 11 … 12, 11 … 13 per spatial axis, got 0",
    ),
    ({"output_size": 11.0}, TypeError, "output_size must be an integer, got 11.0"),
    (
        {"output_size": (11,)},
        ValueError,
        "output_size must be an int or have one entry per spatial",
    ),
    (
        {"output_size": 11, "output_padding": 0},
        ValueError,
        (
            "output_padding and output_size must not be given both, got 0 and 11; "
            "legal sizes are 11 … 12, 11 … 13"
        ),
    ),
    (
        {"output_size": (10, 13), "padding": "same"},
        ValueError,
        "output_size must be 9 … 10, 10 … 12 per spatial axis, got (10, 13)",
    ),
    (
        {"padding": ((6, 6), 0)},
        ValueError,
        "padding must leave an output, got ((6, 6), 0), with which it is (0, 13) at most",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert transposed.forward(**GOOD)[0].shape == (2, 11, 11, 3)
    with pytest.raises(exception, match=says(message)):
        transposed.forward(**{**GOOD, **bad})


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (2**28, {"strides": 2**32}),
        (2, {"output_size": 2**59 + 1, "strides": 2**59}),
        (2**57 + 1, {"padding": 2**57 // 2}),  # the convolution that is transposed pads as many
    ],
)
def test_what_fits_in_no_memory_is_refused_by_the_name_of_its_cause(size, options):
    assert len(transposed.output_shape((1, size, 1), (1, 1, 1), **options)) == 3
    message = f"{next(iter(options))} must make arrays that fit in memory"
    for batch, inputs, filters in ((8, 1, 1), (1, 1, 8), (2, 4, 1), (2, 1, 4)):
        with pytest.raises(ValueError, match=message):
            transposed.output_shape((batch, size, inputs), (1, filters, inputs), **options)


def test_where_padding_takes_the_shorter_sizes_only_the_others_are_legal():
    x, kernel, options = line(7), taps(1, 2), {"strides": 3, "padding": 1}  # sizes 0, 1 and 2
    with pytest.raises(
        ValueError, match=says("output_padding must be 1 … 2 per spatial axis (output sizes 1 … 2)")
    ):
        transposed.forward(x, kernel, **options)
    with pytest.raises(
        ValueError, match=says("output_padding must be 1 … 2 per spatial axis (output sizes 1 … 2)")
    ):
        transposed.forward(x, kernel, **options, output_padding=0)
    assert_array_equal(transposed.forward(x, kernel, **options, output_padding=1)[0], line(14))
    assert_array_equal(transposed.forward(x, kernel, **options, output_size=2)[0], line(14, 0))
    with pytest.raises(ValueError, match=says("output_size must be 1 … 2 per spatial axis")):
        transposed.forward(x, kernel, **options, output_size=3)


@pytest.mark.parametrize("function", [transposed.output_shape, transposed.multiply_adds])
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_shape": 5}, TypeError, "input_shape must be a sequence of ints, got 5"),
        (
            {"input_shape": (2, 5, 6)},
            ValueError,
            "input_shape must be (N, *spatial, C) with the ker",
        ),
        ({"input_shape": (2, 0, 4, 6)}, ValueError, "input_shape must have no spatial size and no"),
        ({"input_shape": (-1, 5, 4, 6)}, ValueError, "input_shape[0] must be at least 0, got -1"),
        ({"kernel_shape": 3}, TypeError, "kernel_shape must be a sequence of ints, got 3"),
        ({"kernel_shape": (3, 2, 0, 6)}, ValueError, "kernel_shape[2] must be at least 1, got 0"),
        (
            {"kernel_shape": (3, 2, 6, 3)},
            ValueError,
            "kernel_shape must be (*kernel_size, C_out // groups, 6) for input_shape (2, 5, 4, 6)",
        ),
        ({"strides": -1}, ValueError, "strides must be at least 1, got -1"),
        ({"padding": "causal"}, ValueError, CAUSAL + "'causal'"),
        ({"output_padding": 1}, ValueError, "output_padding must be 0 … 0, 0 … 0 per spatial axis"),
        (
            {"output_size": 9},
            ValueError,
            "output_size must be 7 … 7, 5 … 5 per spatial axis, got 9",
        ),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
        ({"groups": 4}, ValueError, "groups must divide C_in = 6, got 4"),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    good = {"input_shape": (2, 5, 4, 6), "kernel_shape": (3, 2, 3, 6)}
    with pytest.raises(exception, match=says(message)):
        function(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": ()}, ValueError, "kernel_size must be one, two or three ints, got ()"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 4.0}, TypeError, "in_channels must be an integer, got 4.0"),
        ({"filters": -1}, ValueError, "filters must be at least 1, got -1"),
        ({"filters": True}, TypeError, "filters must be an integer, got True"),
        ({"groups": 3}, ValueError, "groups must divide in_channels = 4, got 3"),
        ({"groups": 4}, ValueError, "groups must divide filters = 6, got 4"),
        ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
    ],
)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    good = {"kernel_size": (3, 2), "in_channels": 4, "filters": 6}
    with pytest.raises(exception, match=says(message)):
        transposed.parameter_count(**{**good, **bad})
    with pytest.raises(exception, match=says(message)):
        transposed.initialize(rng, **{**good, **bad})


@pytest.mark.parametrize(
    ("x", "strides", "exception", "message"),
    [
        (np.zeros((2, 3)), 2, ValueError, "x must be (N, *spatial, C) with one, two or three spat"),
        (
            np.zeros((2, 0, 3)),
            2,
            ValueError,
            "x must have no spatial size and no channel count of 0",
        ),
        (np.zeros((2, 3, 1), complex), 2, TypeError, "x must hold real numbers"),
        (np.zeros((2, 3, 1)), 0, ValueError, "strides must be at least 1, got 0"),
        (
            np.zeros((2, 3, 1)),
            2**62,
            ValueError,
            "strides must make arrays that fit in memory, got",
        ),
        (np.zeros((2, 3, 1)), 2.0, TypeError, "strides must be an integer, got 2.0"),
        (
            np.zeros((2, 3, 1)),
            (2, 2),
            ValueError,
            "strides must be an int or have one entry per sp",
        ),
    ],
)
def test_inflate_refuses(x, strides, exception, message):
    with pytest.raises(exception, match=says(message)):
        transposed.inflate(x, strides)
