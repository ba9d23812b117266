"""The door that every module has in common: the types of results, and what is told of errors."""

from collections.abc import Sequence

import numpy as np
import pytest
from helpers import arrays_in, close, integers, says

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    normalization,
    parameters,
    relu,
    residual,
    transposed,
    unary,
    verify,
)
from convinsights.receptive_field import Layer, dependencies, overlaps, receptive_field

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
            close(a, b, tolerance=4 * np.finfo(floating).eps)


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


# ---- what is no array, or the wrong way round


class Refusing:
    """What NumPy cannot read, like a PyTorch tensor that requires a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on it. Use detach() instead.")


class Symbolic:
    """What has no numbers yet, like a tensor of Keras while a model is built."""

    def __array__(self, dtype=None, copy=None):
        raise ValueError("A symbol has no numbers")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: relu.forward(conv.forward(X, KERNEL)),
            "x must be an array, got what a forward returned: take y of its (y, cache)",
        ),
        (
            lambda: conv.backward(relu.forward(X), conv.forward(X, KERNEL)[1]),
            "dy must be an array, got what a forward returned: take y of its (y, cache)",
        ),
        (
            lambda: verify.check_gradients(relu.forward, relu.backward, X),
            "forward(…) must be an array, got what a forward returned: take y of its (y, cache)",
        ),
        (
            lambda: verify.check_gradients(lambda x: (x, {"a": relu.forward(x)[1]}), abs, X),
            "forward(…) must be an array, got what a forward returned: take y of its (y, cache)",
        ),
        (
            lambda: parameters.named({"a": relu.forward(X)}),
            "tree.a[1] must hold real numbers",
        ),
        (
            lambda: conv.forward(Refusing(), KERNEL),
            "x must be an array, got a Refusing that is none: Can't call numpy() on it. Use detach",
        ),
        (
            lambda: conv.forward(X, Symbolic()),
            "kernel must be an array, got a Symbolic that is none: A symbol has no numbers",
        ),
        (
            lambda: relu.forward([[1.0], Symbolic()]),
            "x must be an array, got a list that is none: A symbol has no numbers",
        ),
    ],
)
def test_what_is_no_array_is_told_what_it_is(call, message):
    with pytest.raises(TypeError, match=says(message)):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: conv.forward(x, np.ones((3, 3, 6, 8))),
        lambda x: conv.forward(x, np.ones((3, 3, 3, 8)), groups=2),
        lambda x: conv.output_shape(x.shape, (3, 3, 6, 8)),
        lambda x: dilated.forward(x, np.ones((3, 3, 6, 8))),
        lambda x: unary.forward(x, np.ones((6, 8))),
        lambda x: depthwise.forward(x, np.ones((3, 3, 6, 1))),
        lambda x: depthwise_separable.forward(x, np.ones((3, 3, 6, 1)), np.ones((6, 2))),
        lambda x: transposed.forward(x, np.ones((3, 3, 8, 6))),
        lambda x: residual.forward(x, residual.initialize(RNG, [(3, 3)], 6, 6)),
    ],
)
def test_an_image_with_its_channels_first_is_asked_about(call):
    x = np.zeros((2, 6, 10, 8))
    with pytest.raises(ValueError, match=r"channels first\? layouts.to_channels_last puts them"):
        call(x)
    with pytest.raises(ValueError, match=r"^[^?]*$"):
        call(x[:, :5])


def test_kernels_without_channels_are_refused_as_ever():
    with pytest.raises(ValueError, match=says("kernel must be (4, C_out)")):
        unary.forward(X, np.ones(4))


# ---- plans are remembered, and only for what is the same


@pytest.mark.parametrize(
    ("name", "right", "equal", "message"),
    [
        ("strides", 1, True, "strides must be an integer, got True"),
        ("strides", 1, 1.0, "strides must be an integer, got 1.0"),
        ("strides", (1, 1), (1, True), "strides[1] must be an integer, got True"),
        ("dilation_rate", (1, 1), (1.0, 1), "dilation_rate[0] must be an integer, got 1.0"),
        ("groups", 1, np.True_, f"groups must be an integer, got {np.True_!r}"),
        ("padding", ((0, 0), (0, 0)), ((0, 0), (False, 0)), 'padding must be "valid"'),
        ("padding", 0, 0.0, 'padding must be "valid"'),
    ],
)
def test_what_equals_a_number_is_refused_after_it_as_before(name, right, equal, message):
    conv.forward(X, KERNEL, **{name: right})
    assert equal == right
    with pytest.raises(TypeError, match=says(message)):
        conv.forward(X, KERNEL, **{name: equal})


def test_equal_forms_of_a_hyperparameter_mean_the_same():
    expected, _ = conv.forward(X, KERNEL, strides=2, padding=1)
    for two, one in (
        ([2, 2], [1, 1]),
        (np.int8(2), np.uint8(1)),
        (np.array([2, 2]), ([1, 1],) * 2),
    ):
        close(conv.forward(X, KERNEL, strides=two, padding=one)[0], expected)
    with pytest.raises(ValueError, match=says("strides must be an int or have one entry per")):
        conv.forward(X, KERNEL, strides=((((((1,),),),),),))


# ---- what is callable, iterable or long in an unusual way


class Endless(Sequence):
    """A sequence that says it has more entries than anyone could ask for."""

    def __len__(self):
        return 2**62

    def __getitem__(self, index):
        return 1


class TooLarge:
    """An array that no memory can hold."""

    def __array__(self, dtype=None, copy=None):
        raise MemoryError


DIGITS = "1" * 5000
TABLE = memoryview(np.ones((2, 2)))
ONE = np.ones(3)


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: relu.forward(Endless()), ValueError, "x must fit in memory, got 4611"),
        (lambda: relu.forward(range(10**13)), ValueError, "x must fit in memory, got 10000"),
        (lambda: relu.forward(TooLarge()), ValueError, "x must fit in memory, got <"),
        (lambda: batchnorm.initialize(2, dtype=DIGITS), TypeError, "dtype must be float16"),
        (lambda: receptive_field(TABLE), TypeError, "layers must be an iterable of Layer, got <me"),
        (lambda: residual.forward(X, TABLE), TypeError, "parameters must be a Parameters("),
        (lambda: parameters.mapped(5, ONE), TypeError, "function must be callable, got 5"),
        (lambda: verify.adjoint_gap(abs, None, ONE), TypeError, "backward must be callable, got N"),
        (
            lambda: verify.check_gradients([], abs, ONE),
            TypeError,
            "forward must be callable, got [",
        ),
        (
            lambda: verify.check_gradients(np.negative, np.multiply, ONE, directions=2**62),
            ValueError,
            "directions must make arrays that fit in memory",
        ),
        (
            lambda: verify.error_bound(ONE, X, KERNEL, dtype="f4"),
            TypeError,
            "module must be one of",
        ),
        (
            lambda: verify.error_bound(conv, 5, KERNEL, dtype="f4"),
            ValueError,
            "x must be (N, …, C), got shape ()",
        ),
        (
            lambda: verify.error_bound(conv, X, KERNEL, dtype="f4", probabilistic=ONE),
            TypeError,
            "probabilistic must be a bool, got array(",
        ),
        (
            lambda: verify.error_bound(conv, X, KERNEL, dtype=DIGITS),
            TypeError,
            "dtype must be float16, float32",
        ),
        (
            lambda: transposed.forward(X, KERNEL, strides=2**62),
            ValueError,
            "x, kernel, dilation_rate and strides must make arrays",
        ),
        (
            lambda: transposed.inflate(X[:0], 2**62),
            ValueError,
            "strides must make arrays that fit in memory",
        ),
        (lambda: batchnorm.initialize(2, dtype=(None, None)), TypeError, "dtype must be float16"),
        (lambda: batchnorm.initialize(2, dtype=ONE), TypeError, "dtype must be float16"),
        (lambda: parameters.named([Layer]), TypeError, "tree[0] must hold real numbers"),
        (
            lambda: overlaps(np.array(2), (3, 3)),
            TypeError,
            "layers must be an iterable of stacks, one per axis, got array(2)",
        ),
        (
            lambda: dependencies([[Layer(1)]], None, 3),
            TypeError,
            "output_pixel must be an integer, got None",
        ),
        (
            lambda: depthwise_separable.parameter_count(3, 4, 10**20, depth_multiplier=2**62),
            ValueError,
            "filters must be of at most",
        ),
    ],
)
def test_unusual_arguments_are_refused_by_their_names(call, exception, message):
    with pytest.raises(exception, match=says(message)):
        call()
