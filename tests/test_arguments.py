"""The door that every module has in common: the types of results."""

import numpy as np
import pytest
from helpers import arrays_in, integers, same_values

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    normalization,
    residual,
    transposed,
    unary,
)

RNG = np.random.default_rng(0)
X, BIAS = integers(RNG, (2, 6, 5, 4)), integers(RNG, 4)
KERNEL, MATRIX = integers(RNG, (3, 2, 4, 4)), integers(RNG, (4, 4))
GAMMA = abs(integers(RNG, 4))
CALLS = {
    conv: ((X, KERNEL, BIAS), {"padding": 1}),
    dilated: ((X, KERNEL, BIAS), {}),
    transposed: ((X, KERNEL, BIAS), {"strides": 2}),
    unary: ((X, MATRIX, BIAS), {}),
    depthwise: ((X, KERNEL[..., :1], BIAS), {"strides": 2}),
    depthwise_separable: ((X, KERNEL[..., :1], MATRIX, BIAS), {}),
    batchnorm: ((X, GAMMA, BIAS), {}),
    normalization: ((X, GAMMA, BIAS), {"groups": 2}),
}


@pytest.mark.parametrize("module", CALLS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("floating", ["float16", "float32", "float64"])
def test_integers_take_the_type_of_the_one_floating_argument(module, floating):
    arrays, options = CALLS[module]
    dy = integers(RNG, module.forward(*arrays, **options)[0].shape)
    floats = [a.astype(floating) for a in arrays]
    y, cache = module.forward(*floats, **options)
    expected = list(arrays_in((y, *module.backward(dy, cache))))
    for wide in range(len(arrays)):
        whole = [a if i == wide else a.astype("int8") for i, a in enumerate(floats)]
        y, cache = module.forward(*whole, **options)
        actual = list(arrays_in((y, *module.backward(dy.astype("int16"), cache))))
        for a, b in zip(actual, expected, strict=True):
            same_values(a, b)


def test_a_block_of_integers_but_one_takes_its_type():
    norms = tuple((GAMMA.astype("i4"), BIAS.astype("i4")) for _ in range(2))
    kernels = (KERNEL.astype("i2"), KERNEL.astype("i2"))
    x, dy = X.astype("u1"), integers(RNG, X.shape)
    single = residual.Parameters(kernels, (norms[0], (norms[1][0], BIAS.astype("f4"))))
    y, cache = residual.forward(x, single)
    gradients = residual.backward(dy, cache)
    assert {a.dtype for a in arrays_in((y, *gradients))} == {np.dtype("f4")}
    alone, _ = residual.forward(x, single._replace(norms=norms))
    assert alone.dtype == np.float64
