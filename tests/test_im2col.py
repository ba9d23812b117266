"""im2col: windows as rows, rows back to pixels, and what a padding means in zeros."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    dot,
    im2col_cases,
    integers,
    loop_col2im,
    loop_im2col,
    loop_padding,
    same_values,
    says,
    untouched,
    variants,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from convinsights._geometry import Geometry
from convinsights._passes import blocks
from convinsights.im2col import col2im, im2col, pad, resolve_padding, windows

DTYPES = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.float64,
    "uint64": np.float64,
    "bool": np.float64,
}


def row(*values):
    """One image of one row and one channel."""
    return np.array(values, float).reshape(1, -1, 1)


def coded(height, width, channels=1):
    """One image whose values spell their coordinates: 100 i + 10 j + c."""
    i, j, c = np.indices((height, width, channels))
    return (100.0 * i + 10 * j + c)[None]


# ---- by hand


def test_a_row_is_a_window_in_row_column_channel_order():
    columns = im2col(coded(2, 3, channels=2), (2, 2))
    assert_array_equal(
        columns, [[0, 1, 10, 11, 100, 101, 110, 111], [10, 11, 20, 21, 110, 111, 120, 121]]
    )


def test_windows_come_image_by_image_in_the_order_of_the_output():
    x = np.concatenate([coded(3, 2), coded(3, 2) + 1000])
    columns = im2col(x, (2, 1))
    assert_array_equal(columns[:4], [[0, 100], [10, 110], [100, 200], [110, 210]])
    assert_array_equal(columns[4:], columns[:4] + 1000)


def test_strides_move_the_window_and_dilation_spreads_its_taps():
    assert_array_equal(
        im2col(row(1, 2, 3, 4, 5, 6), 2, strides=3, dilation_rate=2), [[1, 3], [4, 6]]
    )


def test_every_axis_has_its_own_size_stride_and_rate():
    columns = im2col(coded(3, 6), (2, 3), strides=(1, 1), dilation_rate=(2, 2))
    assert_array_equal(columns, [[0, 20, 40, 200, 220, 240], [10, 30, 50, 210, 230, 250]])
    assert_array_equal(
        im2col(coded(3, 6), (1, 2), strides=(2, 4)), [[0, 10], [40, 50], [200, 210], [240, 250]]
    )


def test_three_spatial_axes():
    x = np.arange(1.0, 9).reshape(1, 2, 2, 2, 1)
    assert_array_equal(im2col(x, (2, 1, 2)), [[1, 2, 5, 6], [3, 4, 7, 8]])


def test_one_kernel_size_stands_for_every_axis():
    assert_array_equal(im2col(coded(2, 2), 2), [[0, 10, 100, 110]])


def test_the_odd_zero_of_same_stands_behind():
    assert_array_equal(im2col(row(1, 2, 3), 2, padding="same"), [[1, 2], [2, 3], [3, 0]])


def test_all_zeros_of_causal_stand_in_front():
    columns = im2col(row(1, 2, 3), 2, padding="causal", dilation_rate=2)
    assert_array_equal(columns, [[0, 1], [0, 2], [1, 3]])


def test_a_pair_pads_in_front_and_behind():
    assert_array_equal(im2col(row(1, 2), 2, padding=((1, 2),)), [[0, 1], [1, 2], [2, 0], [0, 0]])


def test_a_window_as_large_as_the_image_is_one_row():
    assert_array_equal(im2col(row(4, 5, 6), 3), [[4, 5, 6]])


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_stride_beyond_the_image_leaves_one_window_however_large_it_is(padding):
    assert_array_equal(im2col(row(4, 5), 1, strides=2**62, padding=padding), [[4]])


def test_a_kernel_of_one_tap_has_no_neighbour_for_the_rate_to_place():
    assert_array_equal(im2col(row(4, 5), 1, dilation_rate=2**62), [[4], [5]])


def test_col2im_adds_every_entry_to_the_pixel_it_was_read_from():
    columns = np.array([[1, 20], [300, 4000], [50000, 600000]])
    assert_array_equal(col2im(columns, (1, 4, 1), 2), row(1, 320, 54000, 600000))


def test_col2im_leaves_0_where_no_window_reads_and_drops_what_lay_on_padding():
    columns = np.array([[1, 20], [300, 4000]])
    x = col2im(columns, (1, 4, 1), 2, strides=3, padding=1)
    assert_array_equal(x, row(20, 0, 300, 4000))


@pytest.mark.parametrize(
    ("size", "kernel", "options", "zeros"),
    [
        (5, 3, {}, (0, 0)),
        (5, 3, {"padding": "valid"}, (0, 0)),
        (5, 3, {"padding": "same"}, (1, 1)),
        (5, 2, {"padding": "same"}, (0, 1)),
        (5, 4, {"padding": "same"}, (1, 2)),
        (7, 3, {"padding": "same", "strides": 2}, (1, 1)),
        (8, 3, {"padding": "same", "strides": 2}, (0, 1)),
        (8, 2, {"padding": "same", "strides": 2}, (0, 0)),
        (9, 2, {"padding": "same", "strides": 2}, (0, 1)),
        (8, 1, {"padding": "same", "strides": 3}, (0, 0)),  # clamped: never -1
        (5, 3, {"padding": "same", "dilation_rate": 2}, (2, 2)),
        (6, 2, {"padding": "same", "dilation_rate": 3, "strides": 2}, (1, 1)),
        (5, 3, {"padding": "causal"}, (2, 0)),
        (5, 3, {"padding": "causal", "dilation_rate": 4, "strides": 3}, (8, 0)),
        (5, 3, {"padding": 0}, (0, 0)),
        (5, 3, {"padding": 2}, (2, 2)),
        (5, 3, {"padding": [2]}, (2, 2)),
        (5, 3, {"padding": [(0, 4)]}, (0, 4)),
    ],
)
def test_resolve_padding_along_one_axis(size, kernel, options, zeros):
    assert resolve_padding((size,), (kernel,), **options) == (zeros,)


def test_resolve_padding_tells_every_axis_apart():
    resolved = resolve_padding((8, 7, 5), (3, 3, 2), strides=(2, 2, 1), padding="same")
    assert resolved == ((0, 1), (1, 1), (0, 1))
    assert resolve_padding((8, 7), (3, 2), padding=(1, (0, 2))) == ((1, 1), (0, 2))
    assert resolve_padding((8, 7), 3, padding=2) == ((2, 2), (2, 2))


def test_a_bare_input_size_is_one_axis():
    assert resolve_padding(8, 3, strides=2, padding="same") == ((0, 1),)


def test_resolved_zeros_are_plain_ints():
    resolved = resolve_padding((np.int64(8),), np.int64(3), padding=((np.int8(1), np.int16(2)),))
    assert resolved == ((1, 2),)
    assert [type(zeros) for zeros in resolved[0]] == [int, int]


def test_a_padded_size_is_refused_only_where_no_memory_could_hold_it():
    most = sys.maxsize // 8 - 1
    assert resolve_padding((1,), 1, padding=((0, most),)) == ((0, most),)
    with pytest.raises(ValueError, match=says("input_size and padding must make arrays that fit")):
        resolve_padding((1,), 1, padding=((0, most + 1),))


# ---- against the definition


@given(im2col_cases())
def test_im2col_is_its_definition(case):
    x, kernel_size, options = case
    same_values(im2col(x, kernel_size, **options), loop_im2col(x, kernel_size, **options))


@given(im2col_cases())
def test_col2im_is_its_definition(case):
    x, kernel_size, options = case
    columns = integers(np.random.default_rng(1), im2col(x, kernel_size, **options).shape)
    expected = loop_col2im(columns, x.shape, kernel_size, **options)
    same_values(col2im(columns, x.shape, kernel_size, **options), expected)


@given(im2col_cases())
def test_resolve_padding_is_its_definition(case):
    x, kernel_size, options = case
    zeros = loop_padding(x.shape[1:-1], kernel_size, **options)
    assert resolve_padding(x.shape[1:-1], kernel_size, **options) == zeros


# ---- against a second derivation


@given(im2col_cases())
def test_padding_is_windows_over_an_image_with_zeros_written_around_it(case):
    x, kernel_size, options = case
    zeros = resolve_padding(x.shape[1:-1], kernel_size, **options)
    padded = np.pad(x, ((0, 0), *zeros, (0, 0)))
    expected = im2col(padded, kernel_size, **{**options, "padding": "valid"})
    same_values(im2col(x, kernel_size, **options), expected)


@given(im2col_cases())
def test_col2im_of_im2col_counts_how_often_each_pixel_is_read(case):
    x, kernel_size, options = case
    ones = im2col(np.ones(x.shape), kernel_size, **options)
    reads = col2im(ones, x.shape, kernel_size, **options)
    columns = im2col(x, kernel_size, **options)
    same_values(col2im(columns, x.shape, kernel_size, **options), x * reads)


@given(im2col_cases(), st.integers(1, 30))
def test_a_part_of_the_windows_lies_over_the_pixels_that_it_spans(case, most):
    x, kernel_size, options = case
    whole = Geometry.of(x.shape[1:-1], kernel_size, **options)
    every = windows(pad(x, whole, x.dtype), whole)
    for images, *box in blocks((len(x), *whole.output_size), most):
        pixels, part = whole.part(tuple(box))
        view = windows(pad(x[(images, *pixels)], part, x.dtype), part)
        assert_array_equal(view, every[(images, *box)], strict=True)
        axes = zip(box, part.padded_size, part.output_size, kernel_size, strict=True)
        for axis, (where, span, n, k) in enumerate(axes):
            if where != slice(None):  # not a pixel more
                steps = (n - 1) * part.strides[axis] + (k - 1) * part.dilation_rate[axis]
                assert span == steps + 1


# ---- adjoint


@given(im2col_cases())
def test_col2im_is_the_adjoint_of_im2col(case):
    x, kernel_size, options = case
    columns = im2col(x, kernel_size, **options)
    dcolumns = integers(np.random.default_rng(2), columns.shape)
    assert dot(dcolumns, columns) == dot(col2im(dcolumns, x.shape, kernel_size, **options), x)


# ---- manners

X = integers(np.random.default_rng(3), (2, 5, 4, 3))
OPTIONS = {"strides": (1, 2), "padding": ((1, 0), (0, 2)), "dilation_rate": (2, 1)}
COLUMNS = integers(np.random.default_rng(4), im2col(X, (2, 3), **OPTIONS).shape)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout):
    same_values(im2col(variants(X)[layout], (2, 3), **OPTIONS), im2col(X, (2, 3), **OPTIONS))
    expected = col2im(COLUMNS, X.shape, (2, 3), **OPTIONS)
    same_values(col2im(variants(COLUMNS)[layout], X.shape, (2, 3), **OPTIONS), expected)


@pytest.mark.parametrize(("kernel_size", "options"), [((2, 3), OPTIONS), (1, {}), ((5, 4), {})])
def test_nothing_is_modified_and_nothing_shared(kernel_size, options):
    columns = im2col(X, kernel_size, **options)
    with untouched(X, columns) as results:
        results.append(im2col(X, kernel_size, **options))
        results.append(col2im(columns, X.shape, kernel_size, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_floats_keep_their_type_and_integers_become_float64(dtype):
    x = np.abs(X).astype(dtype)
    columns = im2col(x, (2, 3), **OPTIONS)
    assert columns.dtype == DTYPES[dtype]
    same_values(columns, im2col(x.astype(DTYPES[dtype]), (2, 3), **OPTIONS))
    assert col2im(np.abs(COLUMNS).astype(dtype), X.shape, (2, 3), **OPTIONS).dtype == DTYPES[dtype]


def test_col2im_keeps_no_padding():
    x = col2im(np.ones((8, 2)), (2, 3, 1), 2, padding=1)
    assert x.flags.c_contiguous
    assert x.base is None or x.base.size == x.size


def test_col2im_adds_float16_in_float32_and_rounds_once():
    columns = np.array([[0, 0, 2048], [0, 1, 0], [1, 0, 0]], np.float16)  # 2048 + 1 is 2048 there
    same_values(col2im(columns, (1, 5, 1), 3), row(0, 0, 2050, 0, 0).astype(np.float16))


@pytest.mark.parametrize("padding", ["valid", "same", 1])
def test_an_empty_batch_has_no_windows(padding):
    columns = im2col(X[:0], (2, 3), padding=padding)
    same_values(columns, np.zeros((0, 18)))
    same_values(col2im(columns, (0, 5, 4, 3), (2, 3), padding=padding), np.zeros((0, 5, 4, 3)))


def test_nested_lists_work():
    same_values(im2col([[[1], [2], [3]]], 2), np.array([[1.0, 2], [2, 3]]))
    same_values(col2im([[1, 2], [3, 4]], [1, 3, 1], 2), row(1, 5, 4))


def test_sizes_may_be_arrays():
    options = {"strides": np.array([1, 2]), "dilation_rate": np.array([2, 1])}
    columns = im2col(X, np.array([2, 3]), padding=np.array([[1, 0], [0, 2]]), **options)
    same_values(columns, im2col(X, (2, 3), **OPTIONS))
    same_values(im2col(X, 2, strides=np.array(2)), im2col(X, 2, strides=2))


def test_threads_do_not_meet():
    images = [X + i for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda x: im2col(x, (2, 3), **OPTIONS), images))
    for x, columns in zip(images, rows, strict=True):
        same_values(columns, im2col(x, (2, 3), **OPTIONS))


# ---- refusals

GOOD = {"x": np.zeros((2, 5, 4, 3)), "kernel_size": (2, 3)}
ONE_AXIS = {"x": np.zeros((2, 5, 3)), "kernel_size": (2,)}
RULE = (
    'padding must be "valid", "same", "causal", an int, or one entry per spatial axis, '
    "each an int or a (before, after) pair"
)
REAL = "x must hold real numbers (float16, float32, float64, integers or bools), got "
RANK = "x must be (N, *spatial, C) with one, two or three spatial axes, got shape "
ZERO = "x must have no spatial size and no channel count of 0, got shape "
REFUSED = [
    (
        {"padding": 10**12},
        ValueError,
        "x and padding must make arrays that fit in memory, got one of shape (2, 2000000000005, ",
    ),
    ({"x": np.zeros((5, 4))}, ValueError, RANK + "(5, 4)"),
    ({"x": np.zeros((1,) * 6)}, ValueError, RANK + "(1, 1, 1, 1, 1, 1)"),
    ({"x": 3.0}, ValueError, RANK + "()"),
    ({"x": np.zeros((2, 0, 4, 3))}, ValueError, ZERO + "(2, 0, 4, 3)"),
    ({"x": np.zeros((2, 5, 4, 0))}, ValueError, ZERO + "(2, 5, 4, 0)"),
    ({"x": np.zeros((2, 5, 4, 3), complex)}, TypeError, REAL + "dtype complex128"),
    ({"x": np.zeros((2, 5, 4, 3), np.longdouble)}, TypeError, REAL),
    ({"x": np.zeros((2, 5, 4, 3), object)}, TypeError, REAL + "array("),
    ({"x": np.zeros((2, 5, 4, 3), "M8[s]")}, TypeError, REAL + "dtype datetime64[s]"),
    ({"x": "image"}, TypeError, REAL + "dtype <U5"),
    ({"x": None}, TypeError, REAL + "None"),
    ({"x": [[1, 2], [3]]}, ValueError, "x must be a rectangular array of numbers, got nested seq"),
    ({"x": np.ma.zeros((2, 5, 4, 3))}, TypeError, "x must be a plain array, got a masked one"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1, got 0"),
    ({"kernel_size": (2, -1)}, ValueError, "kernel_size[1] must be at least 1, got -1"),
    ({"kernel_size": (2, 2.0)}, TypeError, "kernel_size[1] must be an integer, got 2.0"),
    ({"kernel_size": "22"}, TypeError, "kernel_size must be an integer, got '22'"),
    ({"kernel_size": None}, TypeError, "kernel_size must be an integer, got None"),
    (
        {"kernel_size": (2, 2, 2)},
        ValueError,
        "kernel_size must be an int or have one entry per spatial axis (2), got (2, 2, 2)",
    ),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": (1, -2)}, ValueError, "strides[1] must be at least 1, got -2"),
    ({"strides": 1.5}, TypeError, "strides must be an integer, got 1.5"),
    ({"strides": True}, TypeError, "strides must be an integer, got True"),
    ({"strides": (1, np.True_)}, TypeError, "strides[1] must be an integer, got ...True"),
    (
        {"strides": [2]},
        ValueError,
        "strides must be an int or have one entry per spatial axis (2), got [2]",
    ),
    ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ({"dilation_rate": (1, -1)}, ValueError, "dilation_rate[1] must be at least 1, got -1"),
    ({"dilation_rate": 2.0}, TypeError, "dilation_rate must be an integer, got 2.0"),
    ({"dilation_rate": False}, TypeError, "dilation_rate must be an integer, got False"),
    (
        {"dilation_rate": (1, 1, 1)},
        ValueError,
        "dilation_rate must be an int or have one entry per spatial axis (2), got (1, 1, 1)",
    ),
    ({"padding": "full"}, ValueError, RULE + ", got 'full'"),
    ({"padding": "SAME"}, ValueError, RULE + ", got 'SAME'"),
    ({"padding": "causal"}, ValueError, 'padding "causal" needs one spatial axis, got 2'),
    ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ({"padding": (0, -1)}, ValueError, "padding must be at least 0, got -1"),
    ({"padding": ((0, 0), (0, -1))}, ValueError, "padding must be at least 0, got -1"),
    ({"padding": 0.5}, TypeError, RULE + ", got 0.5"),
    ({"padding": True}, TypeError, RULE + ", got True"),
    ({"padding": None}, TypeError, RULE + ", got None"),
    ({"padding": (1, ("a", 1))}, TypeError, RULE + ", got 'a'"),
    ({"padding": (1,)}, ValueError, RULE + "; there are 2 spatial axes, got (1,)"),
    ({"padding": (1, 1, 1)}, ValueError, RULE + "; there are 2 spatial axes, got (1, 1, 1)"),
    ({"padding": ((1, 1, 1), 1)}, ValueError, RULE + ", got the entry (1, 1, 1)"),
    ({"padding": (1, (1,))}, ValueError, RULE + ", got the entry (1,)"),
    ({**ONE_AXIS, "padding": (1, 2)}, ValueError, RULE + "; there are 1 spatial axes, got (1, 2)"),
    (
        {"kernel_size": (3, 3), "dilation_rate": (3, 2), "padding": ((0, 1), 0)},
        ValueError,
        (
            "kernel does not fit its padded input: effective kernel size (7, 5), padded input size "
            "(6, 4) (input (5, 4), padding ((0, 1), (0, 0)))"
        ),
    ),
    (
        {"kernel_size": (5, 5)},
        ValueError,
        "...effective kernel size (5, 5), padded input size (5, 4)",
    ),
    (
        {"kernel_size": (6, 4)},
        ValueError,
        "...effective kernel size (6, 4), padded input size (5, 4)",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_im2col_refuses(bad, exception, message):
    assert im2col(**GOOD).shape == (16, 18)
    with pytest.raises(exception, match=says(message)):
        im2col(**{**GOOD, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        (
            {"columns": np.zeros((3, 2))},
            ValueError,
            (
                "columns must be (4, 2) (N * prod(output_size), prod(kernel_size) * C) for "
                "input_shape (2, 3, 1), got shape (3, 2)"
            ),
        ),
        ({"columns": np.zeros(8)}, ValueError, "columns must be (4, 2)"),
        ({"columns": np.zeros((4, 2), complex)}, TypeError, "columns must hold real numbers"),
        ({"input_shape": 3}, TypeError, "input_shape must be a sequence of ints, got 3"),
        ({"input_shape": (2, -3, 1)}, ValueError, "input_shape[1] must be at least 0, got -3"),
        ({"input_shape": (2, 3.0, 1)}, TypeError, "input_shape[1] must be an integer, got 3.0"),
        ({"input_shape": (2, 3)}, ValueError, "input_shape must be (N, *spatial, C) with one, two"),
        ({"input_shape": (2, 0, 1)}, ValueError, "input_shape must have no spatial size and no"),
        ({"kernel_size": (2, 2)}, ValueError, "kernel_size must be an int or have one entry per"),
        ({"kernel_size": 4}, ValueError, "kernel does not fit its padded input"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"padding": "full"}, ValueError, RULE),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ],
)
def test_col2im_refuses(bad, exception, message):
    good = {"columns": np.zeros((4, 2)), "input_shape": (2, 3, 1), "kernel_size": 2}
    same_values(col2im(**good), np.zeros((2, 3, 1)))
    with pytest.raises(exception, match=says(message)):
        col2im(**{**good, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"input_size": (0,)}, ValueError, "input_size[0] must be at least 1, got 0"),
        ({"input_size": 2.5}, TypeError, "input_size must be an integer, got 2.5"),
        ({"input_size": ()}, ValueError, "input_size must be one, two or three ints, got ()"),
        (
            {"input_size": (5, 5, 5, 5)},
            ValueError,
            "input_size must be one, two or three ints, got (5, 5, 5, 5)",
        ),
        ({"kernel_size": (3, 3)}, ValueError, "kernel_size must be an int or have one entry per"),
        ({"kernel_size": (6,)}, ValueError, "kernel does not fit its padded input"),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ({"dilation_rate": 0}, ValueError, "dilation_rate must be at least 1, got 0"),
    ],
)
def test_resolve_padding_refuses(bad, exception, message):
    good = {"input_size": (5,), "kernel_size": (3,)}
    assert resolve_padding(**good) == ((0, 0),)
    with pytest.raises(exception, match=says(message)):
        resolve_padding(**{**good, **bad})
