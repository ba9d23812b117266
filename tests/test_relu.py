"""relu: the positive pass, the rest does not."""

import numpy as np
import pytest
from helpers import LAYOUTS, dot, has_slope, integers, same_values, says, untouched, variants
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from convinsights import relu

rng = np.random.default_rng(71)
shapes = st.lists(st.integers(0, 3), max_size=5).map(tuple)


# ---- by hand


def test_negative_numbers_become_0():
    y, _ = relu.forward(np.array([[-3, 0], [0.5, 2]]))
    assert_array_equal(y, [[0, 0], [0.5, 2]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 70])
def test_minus_0_becomes_0(dtype, count):
    y, _ = relu.forward(np.full(count, -0.0, dtype))
    assert_array_equal(np.signbit(y), np.zeros(count, bool))


def test_the_gradient_passes_where_x_is_positive_and_not_at_0():
    _, cache = relu.forward(np.array([-3, -0.0, 0.0, 1e-300, 2]))
    assert_array_equal(relu.backward(np.array([2, 3, 5, -7, 11]), cache).x, [0, 0, 0, -7, 11])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_where_x_is_not_positive_any_gradient_becomes_0(dtype):
    """Not inf * 0, which is nan, and not -1 * 0, which is -0."""
    _, cache = relu.forward(np.array([-1, 0, np.nan, -np.inf, 1, 2], dtype))
    dx = relu.backward(np.array([np.inf, np.nan, -1, -np.inf, np.inf, np.nan]), cache).x
    assert_array_equal(dx, np.array([0, 0, 0, 0, np.inf, np.nan], dtype), strict=True)
    assert not np.signbit(dx[:4]).any()


def test_the_gradient_is_named_after_the_argument():
    _, cache = relu.forward(np.array([1.0]))
    assert relu.backward(np.array([2.0]), cache)._fields == ("x",)


# ---- against the definition


@given(shapes)
def test_forward_is_its_definition(shape):
    x = integers(rng, shape) - 5
    y, _ = relu.forward(x)
    same_values(y, np.reshape([max(value, 0.0) for value in x.ravel()], shape))


@given(shapes)
def test_the_gradient_is_its_definition(shape):
    x, dy = integers(rng, shape) - 5, integers(rng, shape)
    dx = [b if a > 0 else 0.0 for a, b in zip(x.ravel(), dy.ravel(), strict=True)]
    same_values(relu.backward(dy, relu.forward(x)[1]).x, np.reshape(dx, shape))


# ---- against a second derivation


def test_it_is_the_mean_of_the_number_and_its_magnitude():
    x = integers(rng, (4, 5, 6))
    same_values(relu.forward(x)[0], (x + np.abs(x)) / 2)


def test_a_number_is_its_positive_less_its_negative_part():
    x = integers(rng, (4, 5, 6))
    same_values(relu.forward(x)[0] - relu.forward(-x)[0], x)


# ---- adjoint, for it is linear on either side of 0


@given(shapes)
def test_adjoint_identity_holds_exactly(shape):
    x, dy = integers(rng, shape), integers(rng, shape)
    y, cache = relu.forward(x)
    assert dot(dy, y) == dot(relu.backward(dy, cache).x, x)


# ---- differences


def test_the_gradient_is_the_slope_along_any_direction():
    x, direction, dy = rng.normal(size=(3, 4, 5, 6))
    _, cache = relu.forward(x)
    slope = dot(relu.backward(dy, cache).x, direction)
    assert has_slope(lambda step: dot(dy, relu.forward(x + step * direction)[0]), slope)


# ---- manners

X, DY = integers(rng, (2, 3, 4, 5)), integers(rng, (2, 3, 4, 5))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout):
    x, dy = (variants(array)[layout] for array in (X, DY))
    y, cache = relu.forward(x)
    same_values(y, np.where(X > 0, X, 0))
    same_values(relu.backward(dy, cache).x, np.where(X > 0, DY, 0))


def test_nothing_is_modified_and_nothing_shared():
    for x in (X, np.abs(X)):
        with untouched(x, DY) as results:
            y, cache = relu.forward(x)
            results += [y, relu.backward(DY, cache)]


def test_the_cache_serves_twice_whatever_became_of_the_results():
    y, cache = relu.forward(X)
    for array in (y, relu.backward(DY, cache).x):
        array[...] = np.nan
    same_values(relu.backward(DY, cache).x, np.where(X > 0, DY, 0))


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i1", "f8"), ("u2", "f8"), (bool, "f8")],
)
@pytest.mark.parametrize("cotangent", ["f2", "f8", "i4"])
def test_floats_keep_their_type_and_integers_become_float64(dtype, wanted, cotangent):
    x = X.astype(dtype) if np.dtype(dtype).kind in "fi" else np.abs(X).astype(dtype)
    y, cache = relu.forward(x)
    same_values(y, np.where(x > 0, x, 0).astype(wanted))
    dx = relu.backward(DY.astype(cotangent), cache).x
    same_values(dx, np.where(x > 0, DY, 0).astype(wanted))


def test_a_number_alone_stays_an_array():
    y, cache = relu.forward(-3)
    same_values(y, np.zeros(()))
    same_values(relu.backward(5, cache).x, np.zeros(()))


def test_nan_is_not_hidden():
    assert np.isnan(relu.forward(np.array([np.nan]))[0]).all()


def test_nested_lists_work():
    y, cache = relu.forward([[-1, 2]])
    same_values(y, np.array([[0.0, 2.0]]))
    same_values(relu.backward([[3, 4]], cache).x, np.array([[0.0, 4.0]]))


# ---- refusals


@pytest.mark.parametrize(
    ("x", "exception", "message"),
    [
        (
            np.zeros(3, complex),
            TypeError,
            (
                "x must hold real numbers (float16, float32, float64, integers or bools), "
                "got dtype complex128"
            ),
        ),
        (np.zeros(3, object), TypeError, "x must hold real numbers"),
        (["a"], TypeError, "x must hold real numbers"),
        (np.zeros(3, np.longdouble), TypeError, "x must hold real numbers"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "x must hold real numbers"),
        (None, TypeError, "x must hold real numbers"),
        (
            [[1], [2, 3]],
            ValueError,
            "x must be a rectangular array of numbers, got nested sequences of unequal length",
        ),
        (
            np.ma.zeros(3),
            TypeError,
            "x must be a plain array, got a masked one: its mask would be lost",
        ),
    ],
)
def test_forward_refuses(x, exception, message):
    with pytest.raises(exception, match=says(message)):
        relu.forward(x)
