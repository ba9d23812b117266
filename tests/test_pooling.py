"""What max_pooling and average_pooling have in common: the definition, manners and refusals."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    integers,
    line,
    loop_average_pooling,
    loop_max_pooling,
    pool_cases,
    result_type,
    same_values,
    says,
    untouched,
    variants,
)
from hypothesis import given
from hypothesis import strategies as st

from convinsights import _pooling, average_pooling, max_pooling

MODULES = pytest.mark.parametrize("module", [max_pooling, average_pooling])
rng = np.random.default_rng(97)


# ---- against the definition

DEFINED = pytest.mark.parametrize(
    ("module", "definition"),
    [(max_pooling, loop_max_pooling), (average_pooling, loop_average_pooling)],
)


def agrees_with_the_definition(module, definition, data):
    case = data.draw(pool_cases(dilated=module is max_pooling))
    y, cache = module.forward(case.x, case.pool_size, **case.hyperparameters)
    dy = case.cotangent(y)
    expected = definition(case.x, case.pool_size, dy, **case.hyperparameters)
    same_values(y, expected[0])
    same_values(module.backward(dy, cache).x, expected[1])
    assert module.output_shape(case.x.shape, case.pool_size, **case.hyperparameters) == y.shape


@DEFINED
@given(data=st.data())
def test_values_and_gradients_are_their_definition(module, definition, data):
    agrees_with_the_definition(module, definition, data)


@DEFINED
@given(data=st.data())
def test_in_many_blocks_and_window_by_window_too(module, definition, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pooling, "WORKSPACE", 64)
        patch.setattr(_pooling, "TAPS", 1)
        agrees_with_the_definition(module, definition, data)


# ---- manners

X = 36 * integers(rng, (2, 7, 6, 3))
DY = 36 * integers(rng, (2, 4, 6, 3))
OPTIONS = {"strides": (2, 1), "padding": 1}


def both_ways(module, x=X, dy=DY):
    y, cache = module.forward(x, 3, **OPTIONS)
    return y, module.backward(dy, cache).x


@pytest.mark.parametrize("layout", LAYOUTS)
@MODULES
def test_any_memory_layout_works(module, layout):
    results = both_ways(module, *(variants(array)[layout] for array in (X, DY)))
    for actual, expected in zip(results, both_ways(module), strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("pool_size", [1, 3, None])
@MODULES
def test_nothing_is_modified_and_nothing_shared(module, pool_size):
    dy = np.ones(module.output_shape(X.shape, pool_size))
    with untouched(X, dy) as results:
        y, cache = module.forward(X, pool_size)
        results += [y, module.backward(dy, cache)]


@MODULES
def test_the_cache_serves_twice_whatever_became_of_arguments_and_results(module):
    x = X.copy()
    y, cache = module.forward(x, 3, **OPTIONS)
    for array in (x, y, module.backward(DY, cache).x):
        array[...] = np.nan
    same_values(module.backward(DY, cache).x, both_ways(module)[1])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", bool])
@pytest.mark.parametrize("cotangent", ["f2", "f8", "i4"])
@MODULES
def test_floats_keep_their_type_and_integers_become_float64(module, dtype, cotangent):
    x, dy = (np.abs(X) // 4).astype(dtype), (DY // 4).astype(cotangent)
    computed = np.promote_types(result_type(dtype), "f4")
    expected = both_ways(module, x.astype(computed), dy.astype(computed))
    for actual, wide in zip(both_ways(module, x, dy), expected, strict=True):
        same_values(actual, wide.astype(result_type(dtype)))


@MODULES
def test_an_empty_batch_has_an_empty_result_and_gradient(module):
    for pool_size in (3, None):
        y, cache = module.forward(X[:0], pool_size)
        assert y.shape == module.output_shape(X[:0].shape, pool_size)
        same_values(module.backward(y, cache).x, X[:0])


@MODULES
def test_nested_lists_work(module):
    y, cache = module.forward([[[3], [3], [2], [2]]], [2])
    same_values(y, line(3, 2))
    assert module.backward([[[6], [8]]], cache).x.sum() == 6 + 8


@MODULES
def test_a_batch_is_its_images_one_by_one(module):
    y, dx = both_ways(module)
    for n in range(2):
        one, back = both_ways(module, X[n : n + 1], DY[n : n + 1])
        same_values(one, y[n : n + 1])
        same_values(back, dx[n : n + 1])


@MODULES
def test_the_stride_of_a_single_window_may_be_any_number(module):
    for pool_size in ((7, 6), (1, 6)):
        strides = (2**62 if pool_size[0] == 7 else 1, 2**62)
        y, cache = module.forward(X, pool_size, strides=strides)
        same_values(y, module.forward(X, pool_size, strides=1)[0])
        dx = module.backward(y, cache).x
        same_values(dx, module.backward(y, module.forward(X, pool_size, strides=1)[1]).x)


@MODULES
def test_threads_do_not_meet(module):
    images = [np.roll(X, i, axis=2) for i in range(16)]
    with ThreadPoolExecutor(4) as threads:
        threaded = list(threads.map(lambda x: both_ways(module, x), images))
    for image, results in zip(images, threaded, strict=True):
        for actual, expected in zip(results, both_ways(module, image), strict=True):
            same_values(actual, expected)


# ---- refusals

GOOD = {"x": np.zeros((2, 4, 5, 3)), "pool_size": (2, 3)}
ALONE = "padding must leave every window a pixel, got "
REFUSED = [
    ({"x": np.zeros((4, 5))}, ValueError, "x must be (N, *spatial, C) with one, two or three"),
    ({"x": np.zeros((2, 4, 0, 3))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 4, 5, 0))}, ValueError, "x must have no spatial size and no channel count"),
    ({"x": np.zeros((2, 4, 5, 3), complex)}, TypeError, "x must hold real numbers ... complex128"),
    ({"x": np.ma.zeros((2, 4, 5, 3))}, TypeError, "x must be a plain array, got a masked one"),
    ({"pool_size": 0}, ValueError, "pool_size must be at least 1, got 0"),
    ({"pool_size": (2, -1)}, ValueError, "pool_size[1] must be at least 1, got -1"),
    ({"pool_size": 2.0}, TypeError, "pool_size must be an integer, got 2.0"),
    ({"pool_size": True}, TypeError, "pool_size must be an integer, got True"),
    ({"pool_size": (2, None)}, TypeError, "pool_size[1] must be an integer, got None"),
    (
        {"pool_size": (2,)},
        ValueError,
        "pool_size must be an int or have one entry per spatial axis (2), got (2,)",
    ),
    (
        {"pool_size": (5, 2)},
        ValueError,
        (
            "pool does not fit its padded input: effective pool size (5, 2), padded input size "
            "(4, 5) (input (4, 5), padding ((0, 0), (0, 0)))"
        ),
    ),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": (1, 1, 1)}, ValueError, "strides must be an int or have one entry per spatial"),
    ({"strides": 1.5}, TypeError, "strides must be an integer, got 1.5"),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
    ({"padding": "causal"}, ValueError, 'padding "causal" needs one spatial axis, got 2'),
    ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    (
        {"padding": 2},
        ValueError,
        ALONE + "((2, 2), (2, 2)), with which window 0 along spatial axis 0 has none",
    ),
    (
        {"padding": [0, (0, 3)], "strides": 1},
        ValueError,
        ALONE + "((0, 0), (0, 3)), with which window 5 along spatial axis 1 has none",
    ),
    (
        {"pool_size": None, "strides": 1},
        ValueError,
        "strides must be left out where pool_size is N",
    ),
    (
        {"pool_size": None, "padding": "same"},
        ValueError,
        "padding must be left out where pool_size is None, the whole image, got 'same'",
    ),
    (
        {"pool_size": None, "padding": 0},
        ValueError,
        "padding must be left out where pool_size is N",
    ),
    (
        {"pool_size": None, "padding": np.array([1, 1])},
        ValueError,
        "padding must be left out where pool_size is None, the whole image, got array([1, 1])",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
@MODULES
def test_forward_and_output_shape_refuse(module, bad, exception, message):
    assert module.forward(**GOOD)[0].shape == (2, 2, 1, 3)
    call = GOOD | bad
    with pytest.raises(exception, match=says(message)):
        module.forward(**call)
    x = call.pop("x")
    if "x" not in bad:
        with pytest.raises(exception, match=says(message)):
            module.output_shape(x.shape, **call)


@pytest.mark.parametrize("shape", [5, (2, 4), (-1, 4, 5, 3), (2, 4, 0, 3)])
@MODULES
def test_output_shape_names_its_own_argument(module, shape):
    with pytest.raises((TypeError, ValueError), match=r"^input_shape(\[0\])? must "):
        module.output_shape(shape, (2, 3))


@MODULES
def test_output_shape_holds_for_images_that_no_memory_would(module):
    shape = module.output_shape(np.array([1, 10**6, 10**6, 10**6]), 2, padding="same")
    assert shape[1] == 5 * 10**5
    assert {type(size) for size in shape} == {int}
