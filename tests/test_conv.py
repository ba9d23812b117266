"""conv: the classic convolution, forward, backward, shapes, counts, weights and its matrix."""

import numpy as np
import pytest
from helpers import (
    both_ways,
    close,
    conv_cases,
    dot,
    integers,
    line,
    same_values,
    says,
    taps,
    untouched,
)
from hypothesis import given
from numpy.testing import assert_array_equal

from convinsights import _costs, conv, depthwise, transposed
from convinsights._geometry import Geometry
from convinsights.im2col import col2im, im2col

rng = np.random.default_rng(11)


# ---- by hand


def test_the_kernel_is_not_flipped():
    y, _ = conv.forward(line(1, 10, 100), taps(2, 3))
    assert_array_equal(y, line(1 * 2 + 10 * 3, 10 * 2 + 100 * 3))


def test_defaults_are_stride_1_valid_rate_1_one_group():
    y, _ = conv.forward(np.ones((1, 5, 4, 6)), np.ones((2, 3, 6, 2)))
    same_values(y, np.full((1, 4, 2, 2), 36.0))


def test_strides_and_rate_in_one_row():
    y, _ = conv.forward(line(1, 2, 3, 4, 5, 6), taps(1, 10), strides=3, dilation_rate=2)
    assert_array_equal(y, line(1 + 30, 4 + 60))


def test_every_kind_of_padding_in_one_row():
    x, kernel = line(1, 2, 3), taps(1, 10)
    assert_array_equal(conv.forward(x, kernel, padding="valid")[0], line(21, 32))
    assert_array_equal(conv.forward(x, kernel, padding="same")[0], line(21, 32, 3))
    assert_array_equal(conv.forward(x, kernel, padding="causal")[0], line(10, 21, 32))
    assert_array_equal(conv.forward(x, kernel, padding=1)[0], line(10, 21, 32, 3))
    assert_array_equal(conv.forward(x, kernel, padding=((0, 2),))[0], line(21, 32, 3, 0))


def test_channels_are_summed_and_the_bias_added_to_every_pixel():
    x = np.array([[[1, 2], [3, 4]]])
    kernel = np.array([[[1, 0, 1], [0, 1, 1]]])
    y, _ = conv.forward(x, kernel, np.array([100, 200, 300]))
    assert_array_equal(y, [[[101, 202, 303], [103, 204, 307]]])


def test_a_group_sees_only_its_own_channels():
    x = np.array([[[1, 10, 100, 1000]]])
    kernel = np.array([[[1, 2], [3, 4]]])  # filter 0 reads channels 0 and 1, filter 1 the others
    y, _ = conv.forward(x, kernel, groups=2)
    assert_array_equal(y, [[[1 * 1 + 10 * 3, 100 * 2 + 1000 * 4]]])


def test_gradients_in_one_row():
    _, cache = conv.forward(line(5, 6, 7), taps(2, 3), np.array([0.0]))
    gradients = conv.backward(line(10, 100), cache)
    assert_array_equal(gradients.x, line(10 * 2, 10 * 3 + 100 * 2, 100 * 3))
    assert_array_equal(gradients.kernel, taps(10 * 5 + 100 * 6, 10 * 6 + 100 * 7))
    assert_array_equal(gradients.bias, [110])


def test_a_pixel_that_no_window_reads_has_gradient_0():
    _, cache = conv.forward(line(1, 2, 3, 4, 5), taps(7), strides=3)
    assert_array_equal(conv.backward(line(10, 100), cache).x, line(70, 0, 0, 700, 0))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (6, 5)),
        ({"padding": "same"}, (8, 7)),
        ({"padding": "same", "strides": (3, 2)}, (3, 4)),
        ({"padding": "same", "strides": (8, 7)}, (1, 1)),
        ({"padding": 1, "strides": 2}, (4, 4)),
        ({"padding": ((0, 1), 2), "dilation_rate": (3, 2)}, (3, 7)),
    ],
)
def test_output_shape_by_hand(options, size):
    assert conv.output_shape((9, 8, 7, 4), (3, 3, 4, 6), **options) == (9, *size, 6)


def test_counts_by_hand():
    assert conv.parameter_count((3, 5), 4, 6) == 3 * 5 * 4 * 6
    assert conv.parameter_count((3, 5), 4, 6, use_bias=True) == 3 * 5 * 4 * 6 + 6
    assert conv.parameter_count((3, 5), 4, 6, groups=2) == 3 * 5 * 2 * 6
    assert conv.parameter_count(3, 4, 6, groups=np.int64(2), use_bias=True) == 3 * 2 * 6 + 6
    shapes = (2, 8, 7, 4), (3, 3, 2, 6)
    assert conv.multiply_adds(*shapes, groups=2) == (2 * 6 * 5) * (3 * 3) * 2 * 6
    assert conv.multiply_adds(*shapes, groups=2, padding="same") == (2 * 8 * 7) * (3 * 3) * 2 * 6


def test_matrix_by_hand():
    assert_array_equal(
        conv.matrix(taps(1, 2), (4, 1), padding=((1, 0),), strides=2), [[2, 0, 0, 0], [0, 1, 2, 0]]
    )


def test_matrix_of_two_channels_and_groups_by_hand():
    kernel = np.array([[[1, 2]], [[3, 4]]])  # two taps, one channel of each group, two filters
    assert_array_equal(conv.matrix(kernel, (2, 2), groups=2), [[1, 0, 3, 0], [0, 2, 0, 4]])


# ---- against a second derivation


@given(conv_cases())
def test_it_is_the_product_with_its_matrix(case):
    y, dy, gradients = both_ways(conv, case)
    matrix = conv.matrix(case.kernel, case.x.shape[1:], **case.hyperparameters)
    images, rows = case.x.reshape(len(y), matrix.shape[1]), dy.reshape(len(y), matrix.shape[0])
    product = (images @ matrix.T).reshape(y.shape)
    same_values(y, product if case.bias is None else product + case.bias)
    same_values(gradients.x, (rows @ matrix).reshape(case.x.shape))


@given(conv_cases())
def test_columns_of_the_matrix_are_the_responses_to_single_pixels(case):
    shape = case.x.shape[1:]
    pixels = np.eye(np.prod(shape)).reshape(-1, *shape)
    responses, _ = conv.forward(pixels, case.kernel, **case.hyperparameters)
    matrix = conv.matrix(case.kernel, shape, **case.hyperparameters)
    same_values(matrix.T, responses.reshape(len(pixels), -1))


@given(conv_cases())
def test_groups_are_separate_convolutions_side_by_side(case):
    y, dy, gradients = both_ways(conv, case)
    options = {**case.hyperparameters, "groups": 1}
    groups = case.hyperparameters["groups"]
    images, kernels, cotangents = (np.split(a, groups, axis=-1) for a in (case.x, case.kernel, dy))
    parts = [conv.forward(x, k, **options) for x, k in zip(images, kernels, strict=True)]
    backs = [conv.backward(d, cache) for d, (_, cache) in zip(cotangents, parts, strict=True)]
    shift = 0 if case.bias is None else case.bias
    same_values(y - shift, np.concatenate([part for part, _ in parts], axis=-1))
    same_values(gradients.x, np.concatenate([back.x for back in backs], axis=-1))
    same_values(gradients.kernel, np.concatenate([back.kernel for back in backs], axis=-1))


def test_it_is_im2col_and_one_product():
    x, kernel = integers(rng, (2, 7, 6, 3)), integers(rng, (3, 2, 3, 5))
    options = {"strides": (2, 1), "padding": "same", "dilation_rate": (1, 2)}
    y, _ = conv.forward(x, kernel, **options)
    rows = im2col(x, (3, 2), **options) @ kernel.reshape(-1, 5)
    same_values(y, rows.reshape(y.shape))


def test_two_strided_convolutions_are_one():
    x, first, second = integers(rng, (2, 40, 3)), integers(rng, (3, 3, 4)), integers(rng, (2, 4, 2))
    y, _ = conv.forward(conv.forward(x, first, strides=2)[0], second, strides=3)
    both = np.zeros((5, 3, 2))  # the second kernel's taps lie 2 pixels apart
    for u, v in np.ndindex(3, 2):
        both[u + 2 * v] += first[u] @ second[v]
    same_values(y, conv.forward(x, both, strides=6)[0])


def tap_by_tap(dy_or_x, kernel, shape):
    """A valid stride-1 convolution as one product per tap of the kernel, over whole images."""
    size = [a - b + 1 for a, b in zip(shape[1:-1], kernel.shape[:-2], strict=True)]
    places = [
        (tap, (slice(None), *(slice(t, t + n) for t, n in zip(tap, size, strict=True))))
        for tap in np.ndindex(*kernel.shape[:-2])
    ]
    return sum(dy_or_x[place] @ kernel[tap] for tap, place in places), places


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape"),
    [
        ((7, 40, 40, 8), (5, 5, 8, 3)),  # several images to a block of windows
        ((2, 110, 100, 4), (7, 7, 4, 2)),  # several blocks to an image
        ((2, 40000, 3), (9, 3, 2)),  # several blocks to a row
        ((7, 50, 70, 3), (3, 3, 3, 20)),  # several images to a block, channel by channel
        ((1, 40, 8192), (9, 8192, 8)),  # a kernel larger than a block
    ],
)
def test_large_images_go_through_the_workspace_block_by_block(x_shape, kernel_shape):
    x, kernel, bias = (integers(rng, shape) for shape in (x_shape, kernel_shape, kernel_shape[-1:]))
    y, cache = conv.forward(x, kernel, bias)
    expected, places = tap_by_tap(x, kernel, x_shape)
    same_values(y, expected + bias)
    dy = integers(rng, y.shape)
    dx, dkernel, dbias = np.zeros(x_shape), np.zeros(kernel_shape), dy.reshape(-1, len(bias)).sum(0)
    for tap, place in places:
        dx[place] += dy @ kernel[tap].T
        dkernel[tap] = np.tensordot(x[place], dy, (range(x.ndim - 1), range(x.ndim - 1)))
    for actual, wanted in zip(conv.backward(dy, cache), (dx, dkernel, dbias), strict=True):
        same_values(actual, wanted)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
def test_an_empty_batch_has_no_kernel_gradient_however_small_the_workspace(
    monkeypatch, padding, strides
):
    monkeypatch.setattr(_costs, "WORKSPACE", 1)
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    x = np.ones((0, 5, 6, 4))
    for module, kernel_shape in ((conv, (3, 3, 4, 2)), (transposed, (3, 3, 2, 4))):
        y, cache = module.forward(x, np.ones(kernel_shape), padding=padding, strides=strides)
        same_values(module.backward(y, cache).kernel, np.zeros(kernel_shape))


@pytest.mark.parametrize(
    ("kernel_size", "strides", "rates", "padding", "apart"),
    [
        ((2, 3), (2, 3), 1, "valid", True),
        ((2, 3), (3, 4), 1, "same", True),
        ((2, 3), (2, 2), 1, "valid", False),
        ((2, 3), (1, 3), 1, "valid", False),
        ((2, 3), (3, 5), 2, "valid", True),
        ((2, 3), (3, 4), 2, "valid", False),  # they reach into each other
        ((1, 1), (1, 1), 1, 2, True),
        ((17, 3), (1, 3), 1, "valid", True),  # a single window from top to bottom
        ((17, 3), (1, 3), 1, 1, False),
    ],
)
def test_windows_that_lie_apart_are_scattered_without_adding(
    kernel_size, strides, rates, padding, apart
):
    """Adding to zeros would do as well; a zero's sign tells: 0 + -0 is 0."""
    x, kernel = integers(rng, (3, 17, 19, 2)), np.ones((*kernel_size, 2, 1))
    options = {"strides": strides, "dilation_rate": rates, "padding": padding}
    _, cache = conv.forward(x, kernel, **options)
    assert cache.geometry.disjoint == apart
    columns = np.ones_like(im2col(x, kernel_size, **options))
    read = col2im(columns, x.shape, kernel_size, **options)
    image = col2im(-0.0 * columns, x.shape, kernel_size, **options)
    assert_array_equal(np.signbit(image), (read == 1) & apart)
    assert not apart or read.max() == 1


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("batch", [1, 5])
def test_what_is_not_finite_in_a_kernel_reaches_the_pixels_that_its_tap_read(batch, value):
    """And not the border, where no window reads: zeros around dy would make it nan."""
    x, kernel = np.ones((batch, 4, 1)), np.array([value, 1]).reshape(2, 1, 1)
    wanted = np.broadcast_to(np.reshape([value, value, value, 1], (4, 1)), x.shape)
    for module in (conv, depthwise):
        y, cache = module.forward(x, kernel)
        assert_array_equal(module.backward(np.ones(y.shape), cache).x, wanted)
    assert_array_equal(transposed.forward(x[:, 1:], kernel)[0], wanted)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("rate", [1, 2])
def test_what_is_not_finite_in_an_image_reaches_the_taps_that_read_it(rate, value):
    """And no other, though it meets the zeros around dy."""
    x, kernel = np.ones((1, 12, 2)), np.ones((3, 2, 1))
    x[0, -1, 1] = value
    with np.errstate(invalid="ignore"):  # of the matrix product: it may take a few zeros along
        y, cache = conv.forward(x, kernel, dilation_rate=rate)
        gradients = conv.backward(np.ones(y.shape), cache)
    count = float(y.shape[1])
    assert_array_equal(gradients.kernel[..., 0], [[count, count], [count, count], [count, value]])
    assert np.isfinite(gradients.x).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_in_dy_reaches_every_tap_of_its_filter(value):
    x, kernel = np.ones((1, 12, 2)), np.ones((3, 2, 2))
    y, cache = conv.forward(x, kernel)
    dy = np.ones(y.shape)
    dy[0, 0, 1] = value
    with np.errstate(invalid="ignore"):  # of the matrix product: it may take a few zeros along
        gradients = conv.backward(dy, cache)
    assert_array_equal(gradients.kernel[..., 0], np.full((3, 2), 10.0))
    assert_array_equal(gradients.kernel[..., 1], np.full((3, 2), value))
    assert_array_equal(np.isfinite(gradients.x[0, :, 0]), [False] * 3 + [True] * 9)


@pytest.mark.parametrize("padding", [(3, 0), (0, 3)])
def test_even_if_its_window_sees_nothing_but_zeros(padding):
    x, kernel = np.ones((1, 12, 2)), np.ones((3, 2, 1))
    y, cache = conv.forward(x, kernel, padding=[padding])
    dy = np.ones(y.shape)
    dy[0, 0 if padding[0] else -1] = np.inf
    with np.errstate(invalid="ignore"):  # 0 inf
        gradients = conv.backward(dy, cache)
    assert np.isnan(gradients.kernel).all()


@given(conv_cases())
def test_windows_said_to_touch_the_image_see_a_pixel(case):
    _, cache = conv.forward(case.x, case.kernel, **case.hyperparameters)
    options = {k: v for k, v in case.hyperparameters.items() if k != "groups"}
    ones = np.ones((1, *case.x.shape[1:-1], 1))
    seen = im2col(ones, case.kernel.shape[:-2], **options).any(axis=-1)
    assert seen.all() or not cache.geometry.touching


@pytest.mark.parametrize(
    ("length", "taps", "rate", "padding", "touching"),
    [
        (5, 3, 1, 2, True),
        (5, 3, 1, 3, False),
        (5, 3, 1, (0, 3), False),
        (5, 3, 2, (4, 0), True),
        (5, 3, 2, (5, 0), False),
        (2, 2, 2, 2, True),
        (2, 2, 3, 2, False),  # a window may pass over the image
        (1, 1, 7, 0, True),
        (1, 1, 1, 1, False),
        (9, 2, 3, "same", True),
    ],
)
def test_windows_touch_the_image_unless_padding_or_holes_are_too_wide(
    length, taps, rate, padding, touching
):
    one, two = (padding,) * 2 if padding == "same" else ([padding], [0, padding])
    assert Geometry.of((length,), (taps,), 1, one, rate).touching == touching
    assert Geometry.of((7, length), (3, taps), 1, two, (1, rate)).touching == touching


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("filters", [1, 16])  # the image gradient is gathered, scattered
def test_results_are_in_c_order(padding, filters):
    x, kernel = integers(rng, (2, 40, 40, 3)), integers(rng, (3, 3, 3, filters))
    y, cache = conv.forward(x, kernel, padding=padding)
    gradients = conv.backward(y, cache)
    assert all(a.flags.c_contiguous for a in (y, gradients.x, gradients.kernel))


# ---- adjoint


@given(conv_cases())
def test_a_step_along_the_kernel_changes_the_loss_by_its_gradient(case):
    y, dy, gradients = both_ways(conv, case)
    step = integers(np.random.default_rng(5), case.kernel.shape)
    moved, _ = conv.forward(case.x, case.kernel + step, case.bias, **case.hyperparameters)
    assert dot(dy, moved - y) == dot(gradients.kernel, step)


# ---- manners


def test_float16_is_summed_in_float32_and_rounded_once():
    terms = np.array([2048, 1, 1], np.float16)  # 2048 + 1 is 2048 in float16
    y, _ = conv.forward(terms.reshape(1, 1, 3), np.ones((1, 3, 1), "f2"), np.float16([-2050]))
    same_values(y, np.zeros((1, 1, 1), np.float16))
    _, cache = conv.forward(np.zeros((1, 3, 1), "f2"), np.ones((1, 1, 1), "f2"), np.float16([0]))
    same_values(conv.backward(terms.reshape(1, 3, 1), cache).bias, np.float16([2050]))
    _, cache = conv.forward(terms.reshape(1, 3, 1), np.ones((1, 1, 3), "f2"))
    dkernel = conv.backward(np.ones((1, 3, 3)), cache).kernel
    same_values(dkernel, np.full((1, 1, 3), 2050, np.float16))
    _, cache = conv.forward(np.zeros((1, 1, 1), "f2"), np.ones((1, 1, 3), "f2"))
    dx = conv.backward(terms.reshape(1, 1, 3), cache).x
    same_values(dx, np.full((1, 1, 1), 2050, np.float16))
    _, cache = conv.forward(np.zeros((1, 9, 1), "f2"), np.ones((5, 1, 1), "f2"), strides=2)
    dx = conv.backward(np.roll(terms, 1).reshape(1, 3, 1), cache).x  # windows that overlap
    same_values(dx[0, 4], np.float16([2050]))


def test_float16_overflows_only_where_the_result_does():
    x = np.full((1, 1, 3), 60000, np.float16)
    y, cache = conv.forward(x, np.float16([1, 1, -1]).reshape(1, 3, 1))
    same_values(y, np.full((1, 1, 1), 60000, np.float16))
    gradients = conv.backward(np.ones((1, 1, 1)), cache)
    same_values(gradients.kernel, np.full((1, 3, 1), 60000, np.float16))


def test_nested_lists_work():
    y, cache = conv.forward([[[1], [2], [3]]], [[[1]], [[10]]], [100])
    same_values(y, line(121, 132))
    gradients = conv.backward([[[1], [2]]], cache)
    same_values(gradients.x, line(1, 12, 20))
    same_values(gradients.bias, np.array([3.0]))
    same_values(conv.matrix([[[1]], [[10]]], [3, 1]), np.array([[1.0, 10, 0], [0, 1, 10]]))


def test_matrix_keeps_floats_and_makes_integers_float64():
    kernel = integers(rng, (3, 2, 2, 6))
    assert conv.matrix(kernel.astype("f2"), (6, 5, 4), groups=2).dtype == np.float16
    assert conv.matrix(kernel.astype(">f4"), (6, 5, 4), groups=2).dtype == np.dtype("f4")
    assert conv.matrix(kernel.astype("i4"), (6, 5, 4), groups=2).dtype == np.float64
    with untouched(kernel) as results:
        results.append(conv.matrix(kernel, (6, 5, 4), groups=2))


def test_counts_and_shapes_are_plain_ints():
    shapes = np.array([2, 6, 5, 4]), np.array([3, 2, 2, 6])
    shape = conv.output_shape(*shapes, groups=np.int8(2))
    assert {type(size) for size in shape} == {int}
    assert type(shape) is tuple
    assert type(conv.multiply_adds(*shapes, groups=np.int8(2))) is int
    assert (
        type(conv.parameter_count(np.array([3, 2]), np.int8(4), np.int8(6), use_bias=True)) is int
    )


# ---- initial values


def test_initialize_draws_he_normal_weights():
    kernel = conv.initialize(np.random.default_rng(0), (3, 3), 64, 128)
    assert kernel.shape == (3, 3, 64, 128)
    assert kernel.dtype == np.float64
    assert abs(kernel.mean()) < 4 * kernel.std() / np.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 3 * 64)), rel=0.01)
    assert np.mean(np.abs(kernel) > 2 * kernel.std()) == pytest.approx(0.0455, rel=0.05)


def test_initialize_counts_only_the_inputs_of_a_group():
    kernel = conv.initialize(np.random.default_rng(0), 5, 64, 128, groups=4)
    assert kernel.shape == (5, 16, 128)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (5 * 16)), rel=0.03)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_initialize_takes_a_type(dtype):
    kernel = conv.initialize(np.random.default_rng(0), (3, 2), 4, 6, dtype=dtype)
    assert kernel.dtype == np.dtype(dtype).newbyteorder("=")
    close(kernel.astype(float), conv.initialize(np.random.default_rng(0), (3, 2), 4, 6), scale=1e7)


def test_initialize_repeats_with_the_seed_and_not_with_the_generator():
    generator = np.random.default_rng(0)
    first, second = (conv.initialize(generator, (3, 2), 4, 6) for _ in range(2))
    same_values(conv.initialize(np.random.default_rng(0), (3, 2), 4, 6), first)
    assert not np.isin(first, second).any()


# ---- refusals

GOOD = {"x": np.zeros((2, 6, 5, 4)), "kernel": np.zeros((3, 2, 4, 6))}
FORM = "kernel must be (*kernel_size, C_in // groups, C_out) with one, two or three spatial axes "
REFUSED = [
    ({"kernel": np.zeros((4, 6))}, ValueError, FORM + "and no size of 0, got shape (4, 6)"),
    ({"kernel": np.zeros((1, 1, 1, 1, 4, 6))}, ValueError, FORM),
    ({"kernel": np.zeros((0, 2, 4, 6))}, ValueError, FORM + "and no size of 0, got shape (0, 2"),
    ({"kernel": np.zeros((3, 2, 4, 0))}, ValueError, FORM),
    (
        {"kernel": np.zeros((3, 2, 3, 6))},
        ValueError,
        "kernel must be (*kernel_size, 4, C_out) for x of shape (2, 6, 5, 4), got ",
    ),
    (
        {"groups": 2},
        ValueError,
        "kernel must be (*kernel_size, 2, C_out) for x of shape (2, 6, 5, 4) and groups = 2, got ",
    ),
    ({"kernel": np.zeros((3, 2, 4, 6), complex)}, TypeError, "kernel must hold real numbers"),
    ({"kernel": [[1], [2, 3]]}, ValueError, "kernel must be a rectangular array of numbers"),
    (
        {"x": np.zeros((2, 6, 4))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2, 6, 4)",
    ),
    (
        {"x": np.zeros((2, 6, 5, 1, 4))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2",
    ),
    ({"x": np.zeros((2, 0, 5, 4))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 6, 5, 0))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 6, 5, 4), object)}, TypeError, "x must hold real numbers"),
    ({"x": "image"}, TypeError, "x must hold real numbers"),
    (
        {"bias": np.zeros(4)},
        ValueError,
        "bias must be (6,), one number per channel, got shape (4,)",
    ),
    ({"bias": 0.0}, ValueError, "bias must be (6,), one number per channel, got shape ()"),
    ({"bias": np.zeros((1, 6))}, ValueError, "bias must be (6,), one number per channel, got sha"),
    ({"bias": np.zeros(6, complex)}, TypeError, "bias must hold real numbers"),
    ({"groups": 3}, ValueError, "groups must divide C_in = 4, got 3"),
    (
        {"groups": 4, "kernel": np.zeros((3, 2, 1, 6))},
        ValueError,
        "groups must divide C_out = 6, got 4",
    ),
    ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
    ({"groups": -1}, ValueError, "groups must be at least 1, got -1"),
    ({"groups": 1.0}, TypeError, "groups must be an integer, got 1.0"),
    ({"groups": True}, TypeError, "groups must be an integer, got True"),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": (1, 1, 1)}, ValueError, "strides must be an int or have one entry per spatial"),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
    ({"padding": "causal"}, ValueError, 'padding "causal" needs one spatial axis, got 2'),
    ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    (
        {"dilation_rate": (3, 1)},
        ValueError,
        "kernel does not fit its padded input: effective kernel size (7, 2), padded input si",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert conv.forward(**GOOD)[0].shape == (2, 4, 4, 6)
    with pytest.raises(exception, match=says(message)):
        conv.forward(**{**GOOD, **bad})


SHAPES = {"input_shape": (2, 6, 5, 4), "kernel_shape": (3, 2, 4, 6)}


@pytest.mark.parametrize("function", [conv.output_shape, conv.multiply_adds])
@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_shape": 6}, TypeError, "input_shape must be a sequence of ints, got 6"),
        ({"input_shape": (-2, 6, 5, 4)}, ValueError, "input_shape[0] must be at least 0, got -2"),
        ({"input_shape": (2, 6, 0, 4)}, ValueError, "input_shape must have no spatial size and no"),
        ({"input_shape": (2, 6.0, 5, 4)}, TypeError, "input_shape[1] must be an integer, got 6.0"),
        (
            {"input_shape": (2, 6, 4)},
            ValueError,
            "input_shape must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2",
        ),
        (
            {"kernel_shape": "3246"},
            TypeError,
            "kernel_shape must be a sequence of ints, got '3246'",
        ),
        ({"kernel_shape": (3, 0, 4, 6)}, ValueError, "kernel_shape[1] must be at least 1, got 0"),
        (
            {"kernel_shape": (4, 6)},
            ValueError,
            "kernel_shape must be (*kernel_size, C_in // groups,",
        ),
        (
            {"kernel_shape": (3, 2, 3, 6)},
            ValueError,
            "kernel_shape must be (*kernel_size, 4, C_out) for input_shape (2, 6, 5, 4), got (3, 2",
        ),
        ({"kernel_shape": (7, 2, 4, 6)}, ValueError, "kernel does not fit its padded input"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"padding": "full"}, ValueError, "padding must be"),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
        ({"groups": 3}, ValueError, "groups must divide C_in = 4, got 3"),
    ],
)
def test_shapes_refuse_what_the_forward_refuses(function, bad, exception, message):
    with pytest.raises(exception, match=says(message)):
        function(**{**SHAPES, **bad})


WEIGHTS = {"kernel_size": (3, 2), "in_channels": 4, "filters": 6}
NO_WEIGHTS = [
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
    ({"kernel_size": (3, 2.0)}, TypeError, "kernel_size[1] must be an integer, got 2.0"),
    ({"kernel_size": ()}, ValueError, "kernel_size must be one, two or three ints, got ()"),
    ({"kernel_size": (1,) * 4}, ValueError, "kernel_size must be one, two or three ints, got (1,"),
    ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
    ({"in_channels": 4.0}, TypeError, "in_channels must be an integer, got 4.0"),
    ({"filters": -1}, ValueError, "filters must be at least 1, got -1"),
    ({"filters": True}, TypeError, "filters must be an integer, got True"),
    ({"groups": 3}, ValueError, "groups must divide in_channels = 4, got 3"),
    ({"groups": 4}, ValueError, "groups must divide filters = 6, got 4"),
    ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
]


@pytest.mark.parametrize(("bad", "exception", "message"), NO_WEIGHTS)
def test_parameter_count_and_initialize_refuse(bad, exception, message):
    with pytest.raises(exception, match=says(message)):
        conv.parameter_count(**{**WEIGHTS, **bad})
    with pytest.raises(exception, match=says(message)):
        conv.initialize(rng, **{**WEIGHTS, **bad})


@pytest.mark.parametrize("dtype", ["int32", "complex64", "float128", "no type"])
def test_initialize_refuses_a_type_that_is_no_float(dtype):
    with pytest.raises(
        TypeError, match=says("dtype must be float16, float32 or float64, got ..." + dtype)
    ):
        conv.initialize(rng, **WEIGHTS, dtype=dtype)


def test_initialize_refuses_a_kernel_that_no_memory_could_hold():
    with pytest.raises(
        ValueError,
        match=says("kernel_size, in_channels and filters must make arrays that fit in memory, got"),
    ):
        conv.initialize(rng, 2**31, 2**31, 2**31)


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel": np.zeros((4, 6))}, ValueError, FORM),
        ({"kernel": np.zeros((3, 2, 4, 6), object)}, TypeError, "kernel must hold real numbers"),
        ({"kernel": np.zeros((3, 2, 3, 6))}, ValueError, "kernel must be (*kernel_size, 4, C_out)"),
        (
            {"input_shape": (6, 4)},
            ValueError,
            "input_shape must be (*spatial, C_in), of one image with the kernel's 2 spatial axes, "
            "got (6, 4)",
        ),
        ({"input_shape": 6}, TypeError, "input_shape must be a sequence of ints, got 6"),
        ({"input_shape": (6, 0, 4)}, ValueError, "input_shape[1] must be at least 1, got 0"),
        ({"input_shape": (2, 5, 4)}, ValueError, "kernel does not fit its padded input"),
        ({"groups": 3}, ValueError, "groups must divide C_in = 4, got 3"),
    ],
)
def test_matrix_refuses(bad, exception, message):
    good = {"kernel": np.zeros((3, 2, 4, 6)), "input_shape": (6, 5, 4)}
    with pytest.raises(exception, match=says(message)):
        conv.matrix(**{**good, **bad})
