"""What a user sees of a cache: its shapes; that it is itself and no other; that it can be sent."""

import copy
import pickle

import numpy as np
import pytest
from helpers import arrays_in, same_values

from convinsights import batchnorm, conv, depthwise_separable, relu, residual

RNG = np.random.default_rng(0)
X, KERNEL = RNG.normal(size=(2, 5, 4, 3)), RNG.normal(size=(3, 2, 3, 3))
BLOCK = residual.initialize(RNG, [(3, 2), (1, 1)], 3, 4, strides=2)
CALLS = [
    (conv, (X, KERNEL), {"padding": "same"}),
    (batchnorm, (X, np.ones(3)), {}),
    (relu, (X[:, ::-1],), {}),
    (depthwise_separable, (X, KERNEL, RNG.normal(size=(9, 2)), np.ones(2)), {}),
    (residual, (X, BLOCK), {"strides": 2}),
]


def test_a_cache_prints_as_the_types_and_shapes_of_its_arrays():
    _, cache = conv.forward(X.astype("f4"), KERNEL)
    assert repr(cache) == "Cache(x=float32 (2, 5, 4, 3), kernel=float64 (3, 2, 3, 3))"


def test_statistics_and_the_caches_of_steps_are_shown_alike():
    _, cache = batchnorm.forward(X.astype("f2"))
    statistics = "Statistics(mean=float32 (3,), variance=float32 (3,))"
    assert str(cache) == f"Cache(x=float16 (2, 5, 4, 3), statistics={statistics})"
    _, cache = depthwise_separable.forward(X, KERNEL, np.ones((9, 2)))
    first = "Cache(conv=Cache(x=float64 (2, 5, 4, 3), kernel=float64 (3, 2, 1, 9)))"
    second = "Cache(conv=Cache(x=float64 (2, 3, 3, 9), kernel=float64 (1, 1, 9, 2)))"
    assert repr(cache) == f"Cache(depthwise={first}, unary={second})"


def test_a_cache_without_arrays_is_shown_as_one():
    cache = type(conv.forward(X, KERNEL)[1])(None, None, False, None, 1, np.dtype("f8"))
    assert repr(cache) == "Cache()"


def test_a_large_image_prints_short():
    _, cache = residual.forward(np.zeros((9, 32, 32, 3)), BLOCK, strides=2)
    assert len(repr(cache)) < 1100


@pytest.mark.parametrize(("module", "arrays", "options"), CALLS)
def test_caches_of_equal_calls_are_two(module, arrays, options):
    _, one = module.forward(*arrays, **options)
    _, other = module.forward(*arrays, **options)
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize("copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
@pytest.mark.parametrize(("module", "arrays", "options"), CALLS)
def test_a_cache_can_be_sent_and_copied(module, arrays, options, copied):
    y, cache = module.forward(*arrays, **options)
    actual, expected = module.backward(y, copied(cache)), module.backward(y, cache)
    for a, b in zip(arrays_in(actual), arrays_in(expected), strict=True):
        same_values(a, b)
