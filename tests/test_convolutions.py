"""What the convolutions of one kernel have in common: from the definition to the refusals."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    Case,
    arrays_in,
    both_ways,
    close,
    conv_cases,
    depthwise_cases,
    dot,
    integers,
    loop_conv,
    loop_conv_gradients,
    loop_depthwise,
    loop_depthwise_gradients,
    loop_transposed,
    loop_transposed_gradients,
    result_type,
    same_gradients,
    same_values,
    says,
    transposed_cases,
    unary_cases,
    untouched,
    variants,
)
from hypothesis import given
from hypothesis import strategies as st

from convinsights import conv, depthwise, depthwise_separable, dilated, transposed, unary

rng = np.random.default_rng(17)
CASES = {
    conv: conv_cases(),
    unary: unary_cases(),
    depthwise: depthwise_cases(),
    transposed: transposed_cases(),
    dilated: conv_cases(),
}
MODULES = pytest.mark.parametrize("module", CASES)


def sample(x_shape, kernel_shape, filters, **hyperparameters):
    """A call with a bias and every hyperparameter that the module has."""
    arrays = (integers(rng, shape) for shape in (x_shape, kernel_shape, filters))
    return Case(*arrays, hyperparameters)


OPTIONS = {"strides": (1, 2), "padding": ((1, 0), 1), "dilation_rate": (2, 1)}
SAMPLES = {
    conv: sample((8, 6, 5, 4), (3, 2, 2, 6), 6, **OPTIONS, groups=2),
    unary: sample((2, 5, 4, 3), (3, 6), 6, strides=(2, 1)),
    depthwise: sample((2, 6, 5, 3), (3, 2, 3, 2), 6, **OPTIONS),
    transposed: sample(
        (2, 4, 3, 6),
        (3, 2, 2, 6),
        4,
        strides=(2, 3),
        padding=((0, 1), 2),
        dilation_rate=(2, 1),
        groups=2,
        output_padding=(1, 1),
    ),
    dilated: sample((2, 9, 8, 4), (3, 2, 2, 6), 6, padding="same", dilation_rate=2, groups=2),
}


def cotangent(module):
    """A dy for the sample of the module."""
    case = SAMPLES[module]
    return case.cotangent(module.forward(*case.arrays, **case.hyperparameters)[0])


def results_of(module, case, dy):
    """(y, *gradients) of a case."""
    y, cache = module.forward(*case.arrays, **case.hyperparameters)
    return y, *module.backward(dy, cache)


def same(results, expected):
    """All arrays have the same values."""
    for actual, wanted in zip(results, expected, strict=True):
        same_values(actual, wanted)


# ---- against the definition

DEFINITIONS = {
    conv: (loop_conv, loop_conv_gradients),
    unary: (loop_conv, loop_conv_gradients),
    depthwise: (loop_depthwise, loop_depthwise_gradients),
    transposed: (loop_transposed, loop_transposed_gradients),
    dilated: (loop_conv, loop_conv_gradients),
}


@MODULES
@given(data=st.data())
def test_results_are_their_definition(module, data):
    case = data.draw(CASES[module])
    y, dy, gradients = both_ways(module, case)
    forward, backward = DEFINITIONS[module]
    kernel = case.kernel.reshape((1,) * (case.x.ndim - case.kernel.ndim) + case.kernel.shape)
    same_values(y, forward(case.x, kernel, case.bias, **case.hyperparameters))
    dx, dkernel, dbias = backward(dy, case.x, kernel, **case.hyperparameters)
    dkernel = dkernel.reshape(case.kernel.shape)
    same_gradients(gradients, dx, dkernel, None if case.bias is None else dbias)


@MODULES
@given(data=st.data())
def test_output_shape_and_multiply_adds_foretell_the_forward(module, data):
    case = data.draw(CASES[module])
    y, _ = module.forward(*case.arrays, **case.hyperparameters)
    shapes = case.x.shape, case.kernel.shape
    assert module.output_shape(*shapes, **case.hyperparameters) == y.shape
    pixels = (case.x if module is transposed else y)[..., 0].size  # each a stamp, or a window
    products = pixels * case.kernel.size
    assert module.multiply_adds(*shapes, **case.hyperparameters) == products


# ---- adjoint


@MODULES
@given(data=st.data())
def test_adjoint_identities_hold_exactly(module, data):
    case = data.draw(CASES[module])
    y, dy, gradients = both_ways(module, case)
    linear = y if case.bias is None else y - case.bias
    assert dot(dy, linear) == dot(gradients.x, case.x) == dot(gradients.kernel, case.kernel)
    if case.bias is not None:
        assert dot(gradients.bias, case.bias) == dot(dy, np.broadcast_to(case.bias, y.shape))


# ---- manners


@MODULES
def test_gradients_are_named_after_the_arguments_and_none_without_a_bias(module):
    case, dy = replace(SAMPLES[module], bias=None), cotangent(module)
    _, cache = module.forward(*case.arrays, **case.hyperparameters)
    gradients = module.backward(dy, cache)
    assert gradients._fields == ("x", "kernel", "bias")
    assert gradients.bias is None


@pytest.mark.parametrize("layout", LAYOUTS)
@MODULES
def test_any_memory_layout_works(module, layout):
    case, dy = SAMPLES[module], cotangent(module)
    x, kernel, bias, dy_there = (variants(array)[layout] for array in (*case.arrays, dy))
    there = replace(case, x=x, kernel=kernel, bias=bias)
    same(results_of(module, there, dy_there), results_of(module, case, dy))


PLAIN = {"strides": 1, "padding": "same", "dilation_rate": 1, "output_padding": None}


@pytest.mark.parametrize("other", [{}, {"padding": "same"}, PLAIN])
@MODULES
def test_nothing_is_modified_and_nothing_shared(module, other):
    case = SAMPLES[module]
    options = case.hyperparameters | {
        name: value for name, value in other.items() if name in case.hyperparameters
    }
    with untouched(case.arrays) as results:
        y, cache = module.forward(*case.arrays, **options)
        with untouched(dy := y + 1) as gradients:
            gradients.append(module.backward(dy, cache))
        results += [y, gradients]


@pytest.mark.parametrize(
    ("module", "kernel"),
    [
        (conv, np.eye(4)[None]),
        (unary, np.eye(4)),
        (depthwise, np.ones((1, 4, 1))),
        (transposed, np.eye(4)[None]),
        (dilated, np.eye(4)[None]),
    ],
)
def test_nothing_is_shared_by_a_kernel_of_one_tap(module, kernel):
    x = integers(rng, (2, 3, 4))
    with untouched(x, kernel) as results:
        y, cache = module.forward(x, kernel)
        with untouched(dy := y + 1) as gradients:
            gradients.append(module.backward(dy, cache))
        results += [y, gradients]


@MODULES
def test_the_cache_serves_twice_whatever_became_of_the_results(module):
    case, dy = SAMPLES[module], cotangent(module)
    y, cache = module.forward(*case.arrays, **case.hyperparameters)
    for array in (y, *module.backward(dy, cache)):
        array[...] = np.nan
    same(module.backward(dy, cache), results_of(module, case, dy)[1:])


DTYPES = ["float16", "float32", "float64", "int16", "uint8", "bool"]


@pytest.mark.parametrize("image", DTYPES)
@pytest.mark.parametrize("weights", DTYPES)
@MODULES
def test_results_have_the_type_of_the_floating_arguments(module, image, weights):
    case, dy = SAMPLES[module], np.abs(cotangent(module))
    x, kernel = np.abs(case.x).astype(image), np.abs(case.kernel).astype(weights)
    typed = replace(case, x=x, kernel=kernel, bias=None)
    exact = replace(typed, x=x.astype(float), kernel=kernel.astype(float))
    wanted = result_type(image, weights)
    expected = [array.astype(wanted) for array in results_of(module, exact, dy)[:3]]
    same(results_of(module, typed, dy)[:3], expected)


@pytest.mark.parametrize("dtype", DTYPES)
@MODULES
def test_the_bias_counts_in_the_type(module, dtype):
    case, dy = SAMPLES[module], cotangent(module)
    half = replace(case, x=case.x.astype("f2"), kernel=case.kernel.astype("f2"))
    bias, wanted = np.abs(case.bias).astype(dtype), result_type("f2", dtype)
    y, dx, dkernel, dbias = results_of(module, replace(half, bias=bias), dy.astype("f2"))
    plain = results_of(module, case, dy)
    same_values(y, (plain[0] - case.bias + bias).astype(wanted))
    assert [gradient.dtype for gradient in (dx, dkernel, dbias)] == [wanted] * 3
    same_values(dbias, plain[3].astype(wanted))


@pytest.mark.parametrize(
    ("module", "image", "weights", "terms"),
    [
        (conv, (2, 12, 10, 32), (5, 5, 32, 8), 800),
        (unary, (2, 9, 8, 200), (200, 8), 200),
        (depthwise, (2, 40, 30, 3), (9, 9, 3, 2), 81),
        (transposed, (2, 12, 10, 32), (5, 5, 8, 32), 800),
        (dilated, (2, 12, 10, 32), (5, 5, 32, 8), 800),
    ],
)
def test_float32_errs_by_a_few_roundings_of_the_terms_summed(module, image, weights, terms):
    x, kernel = rng.normal(size=image), rng.normal(size=weights)
    rounded = x.astype(np.float32), kernel.astype(np.float32)
    y, _ = module.forward(*rounded)
    exact, _ = module.forward(*(array.astype(float) for array in rounded))
    scale, _ = module.forward(np.abs(x), np.abs(kernel))
    assert y.dtype == np.float32
    close(y.astype(float), exact, scale=scale, tolerance=4 * np.sqrt(terms) * 2**-24)


@MODULES
def test_an_empty_batch_has_an_empty_result_and_zero_gradients(module):
    case, dy = SAMPLES[module], cotangent(module)
    empty = replace(case, x=case.x[:0])
    zeros = dy[:0], case.x[:0], np.zeros(case.kernel.shape), np.zeros(case.bias.shape)
    same(results_of(module, empty, dy[:0]), zeros)
    shapes = empty.x.shape, case.kernel.shape
    assert module.output_shape(*shapes, **case.hyperparameters) == dy[:0].shape
    assert module.multiply_adds(*shapes, **case.hyperparameters) == 0


@MODULES
@given(data=st.data())
def test_a_batch_is_its_first_image_and_the_others(module, data):
    case = data.draw(CASES[module])
    y, dy, gradients = both_ways(module, case)
    dkernel = np.zeros(case.kernel.shape)
    for part in (slice(1), slice(1, None)):
        some = results_of(module, replace(case, x=case.x[part]), dy[part])
        same(some[:2], (y[part], gradients.x[part]))
        dkernel += some[2]
    same_values(gradients.kernel, dkernel)


@MODULES
def test_threads_do_not_meet(module):
    dy = cotangent(module)
    cases = [replace(SAMPLES[module], x=SAMPLES[module].x + i) for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda case: results_of(module, case, dy), cases))
    for case, results in zip(cases, threaded, strict=True):
        same(results, results_of(module, case, dy))


# ---- weights

PLAIN_WEIGHTS = {
    conv: (3, 4, 6),
    unary: (4, 6),
    depthwise: (3, 4),
    transposed: (3, 4, 6),
    dilated: (3, 4, 6),
    depthwise_separable: (3, 4, 6),
}
WEIGHTS = pytest.mark.parametrize(("module", "sizes"), PLAIN_WEIGHTS.items())


@WEIGHTS
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_initialize_takes_a_type_and_repeats_with_the_seed(module, sizes, dtype):
    first, again, other = (
        list(arrays_in(module.initialize(np.random.default_rng(seed), *sizes, dtype=dtype)))
        for seed in (0, 0, 1)
    )
    same(again, first)
    for kernel, unlike in zip(first, other, strict=True):
        assert kernel.dtype == dtype
        assert (kernel != unlike).mean() > 0.9


@pytest.mark.parametrize("kernel_size", [3, (3, 2), [1, 2, 3]])
@pytest.mark.parametrize(
    ("module", "sizes", "option"),
    [(each, (4, 6), "groups") for each in (conv, dilated, transposed)]
    + [(depthwise, (4,), "depth_multiplier"), (depthwise_separable, (4, 6), "depth_multiplier")],
)
def test_parameter_count_is_the_size_of_the_weights(module, sizes, option, kernel_size):
    for value in (1, 2):
        weights = module.initialize(rng, kernel_size, *sizes, **{option: value})
        count = module.parameter_count(kernel_size, *sizes, **{option: value})
        assert count == sum(array.size for array in arrays_in(weights))


@WEIGHTS
def test_use_bias_dtype_and_rng_are_checked(module, sizes):
    for flag in (0, 1, None):
        with pytest.raises(TypeError, match=says(f"use_bias must be a bool, got {flag}")):
            module.parameter_count(*sizes, use_bias=flag)
    dtype = "dtype must be float16, float32 or float64, got int64"
    with pytest.raises(TypeError, match=says(dtype)):
        module.initialize(rng, *sizes, dtype=int)
    for generator in (7, None):
        generators = f"rng must be a numpy.random.Generator, got {generator}"
        with pytest.raises(TypeError, match=says(generators)):
            module.initialize(generator, *sizes)
