"""Arguments of the kinds that slip through: refused by name, in every module alike."""

from collections import UserList, deque
from collections.abc import Sequence

import numpy as np
import pytest
from helpers import integers, says

from convinsights import (
    average_pooling,
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    max_pooling,
    normalization,
    receptive_field,
    relu,
    residual,
    transposed,
    unary,
)
from convinsights.receptive_field import Layer, Residual

rng = np.random.default_rng(89)
X, KERNEL, MATRIX = (integers(rng, shape) for shape in ((2, 6, 5, 4), (3, 2, 4, 4), (4, 4)))


class Liar(Sequence):
    """A sequence of ones that is longer or shorter than it says."""

    def __init__(self, says, has):
        self.says, self.has = says, has

    def __len__(self):
        return self.says

    def __getitem__(self, index):
        if index >= self.has:
            raise IndexError
        return 1


class Broken(Sequence):
    """Fails at every touch."""

    def __len__(self):
        raise OSError("gone")

    __getitem__ = __index__ = __repr__ = lambda self, *_: len(self)


# A call for every argument that is an int, or one per axis.
INTS = {
    "strides": [
        lambda value: conv.forward(X, KERNEL, strides=value),
        lambda value: unary.forward(X, MATRIX, strides=value),
        lambda value: depthwise.forward(X, KERNEL, strides=value),
        lambda value: transposed.forward(X, KERNEL, strides=value),
        lambda value: residual.forward(X, residual.initialize(rng, [(3, 3)], 4, 4), strides=value),
        lambda value: max_pooling.forward(X, 2, strides=value),
    ],
    "dilation_rate": [
        lambda value: dilated.forward(X, KERNEL, dilation_rate=value),
        lambda value: dilated.inflate(KERNEL, value),
        lambda value: im2col.im2col(X, 2, dilation_rate=value),
    ],
    "padding": [
        lambda value: conv.output_shape(X.shape, KERNEL.shape, padding=value),
        lambda value: depthwise_separable.forward(X, KERNEL, np.ones((16, 3)), padding=value),
        lambda value: average_pooling.forward(X, 2, padding=value),
    ],
    "output_padding": [lambda value: transposed.forward(X, KERNEL, output_padding=value)],
    "output_size": [lambda value: transposed.forward(X, KERNEL, output_size=value)],
    "kernel_size": [
        lambda value: conv.initialize(rng, value, 4, 4),
        lambda value: im2col.resolve_padding((6, 5), value),
    ],
    "pool_size": [lambda value: max_pooling.output_shape(X.shape, value)],
    "input_shape": [
        lambda value: conv.output_shape(value, KERNEL.shape),
        lambda value: unary.multiply_adds(value, (4, 4)),
    ],
    "input_size": [lambda value: receptive_field.overlaps([Layer(1)], value)],
}
EACH = [(name, call) for name, calls in INTS.items() for call in calls]


@pytest.mark.parametrize(("name", "call"), EACH)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5000, id="huge"),
        pytest.param(-(10**5000), id="as far below 0"),
        pytest.param(10**20, id="larger than any array"),
        pytest.param((10**5000, 1), id="huge first"),
        pytest.param((1, 10**400), id="large second"),
        pytest.param(Liar(2, 0), id="2 of which there is none"),
        pytest.param(Liar(2, 1), id="2 of which there is 1"),
        pytest.param(Liar(2, 9), id="2 that are 9"),
        pytest.param(Broken(), id="broken"),
        pytest.param(range(10**9), id="a thousand million"),
        pytest.param((1,) * 10_000, id="ten thousand"),
        pytest.param(bytearray(2), id="bytes"),
        pytest.param(memoryview(b"ab"), id="memory"),
        pytest.param(np.ones((6, 6, 6, 6)).tolist(), id="lists in lists in lists"),
    ],
)
def test_no_number_and_no_sequence_slips_through(name, call, value):
    """Ints no array can have, sequences that lie or fail, a thousand million axes."""
    with pytest.raises((TypeError, ValueError), match=name) as refused:
        call(value)
    assert len(str(refused.value)) < 400
    assert "zip" not in str(refused.value)


def test_what_is_refused_is_shown_in_a_few_words():
    with pytest.raises(ValueError, match=says("groups must be of at most ..., got a int that can")):
        conv.forward(X, KERNEL, groups=10**5000)
    with pytest.raises(TypeError, match=says("groups must be an integer, got <Broken instance at")):
        conv.forward(X, KERNEL, groups=Broken())
    message = "padding must have as many entries as it says, 2, got <"
    with pytest.raises(ValueError, match=says(message)):
        conv.forward(X, KERNEL, padding=Liar(2, 1))


@pytest.mark.parametrize("size", [10**9, 10**17, 2**62])
@pytest.mark.parametrize(
    "call",
    [
        lambda size: conv.forward(np.ones((1, 8, 100)), np.ones((1, 100, 1)), padding=size * 10**9),
        lambda size: conv.forward(
            np.ones((1, 8, 100)), np.ones((1, 100, 1)), padding=size * 10**8, strides=size
        ),
        lambda size: depthwise.forward(
            np.ones((9, 8, 100)), np.ones((1, 100, 1)), padding=size * 10**8, strides=size
        ),
        lambda size: im2col.im2col(np.ones((1, 8, 100)), 1, padding=size * 10**8),
        lambda size: max_pooling.forward(np.ones((0, 8, 8, 9)), 2, padding=size),
        lambda size: receptive_field.overlaps([Layer(1, padding=size * 10**10)], 1),
        lambda size: receptive_field.dependencies([Layer(1)], 0, size * 10**10),
    ],
)
def test_what_no_memory_could_hold_is_refused_by_name(call, size):
    with pytest.raises(ValueError, match=r"(padding|layers.*|input_size) must "):
        call(size)


def nested(depth, value=1.0):
    for _ in range(depth):
        value = [value]
    return value


class Failing(Broken):
    """A sequence whose entries alone cannot be had."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise KeyError(index)

    __repr__ = object.__repr__


MASKED = np.ma.masked_array([1.0, 2.0], [False, True])


@pytest.mark.parametrize(
    ("value", "exception", "message"),
    [
        (MASKED, TypeError, "x must be a plain array, got a masked one: its mask would be lost"),
        ([MASKED, MASKED], TypeError, "x must be a plain array, got a masked one"),
        ([[[0.0, 1.0]], (MASKED,)], TypeError, "x must be a plain array, got a masked one"),
        ([1.0, np.ma.masked], TypeError, "x must be a plain array, got a masked one"),
        (deque([MASKED]), TypeError, "x must be a plain array, got a masked one"),
        (deque([1.0, np.ma.masked]), TypeError, "x must be a plain array, got a masked one"),
        ([UserList([MASKED])], TypeError, "x must be a plain array, got a masked one"),
        (UserList([deque([MASKED])]), TypeError, "x must be a plain array, got a masked one"),
        (Failing(), TypeError, "x must hold real numbers (...), got <"),
        (bytearray(b"12"), TypeError, "x must be an array of numbers, got bytes in a bytearray"),
        (memoryview(b"12"), TypeError, "x must be an array of numbers, got bytes in a memoryview"),
        (
            nested(70),
            ValueError,
            "x must be a rectangular array of numbers, got nested sequences n",
        ),
        (nested(3000), ValueError, "x must be a rectangular array of numbers, got nested"),
        (
            [[1], [1, 2]],
            ValueError,
            "x must be a rectangular array of numbers, got nested seq...eq",
        ),
        (
            [10**5000],
            TypeError,
            "x must hold real numbers (...), got a list that cannot be written",
        ),
    ],
)
def test_what_would_lose_something_as_an_array_is_refused(value, exception, message):
    with pytest.raises(exception, match=says(message)):
        relu.forward(value)


def test_sequences_of_every_kind_are_arrays():
    for rows in ([deque([-1, 2]), range(2)], deque([UserList([-1, 2]), (0, 1)])):
        assert relu.forward(rows)[0].tolist() == [[0, 2], [0, 1]]


def test_numbers_in_buffers_are_arrays():
    assert relu.forward(memoryview(np.array([-1.0, 2.0])))[0].tolist() == [0, 2]


@pytest.mark.parametrize("layer", [batchnorm, normalization])
def test_no_type_is_no_type(layer):
    with pytest.raises(
        TypeError, match=says("dtype must be float16, float32 or float64, got None")
    ):
        layer.initialize(3, dtype=None)


# ---- stacks that cannot be followed


def test_sums_are_nested_a_hundred_deep_and_no_deeper():
    stack = [Layer(2, padding=(0, 1))]
    for _ in range(100):
        stack = [Residual(stack)]
    assert receptive_field.receptive_field(stack) == (2, 1, 0)
    assert receptive_field.overlaps(stack, 2).tolist() == [102, 101]
    assert not receptive_field.has_gaps(stack)
    for _ in range(3000):
        stack = [Residual(stack)]
    for call in (receptive_field.receptive_field, receptive_field.has_gaps):
        with pytest.raises(
            ValueError, match=says("layers[0].branch...must be sums nested at most")
        ):
            call(stack)


@pytest.mark.parametrize(
    "layers",
    [
        [Layer(3, 10**9, transposed=True)],
        [Layer(10**8, transposed=True)],
        [Layer(1, transposed=True), Layer(2**20), Layer(2**20)],  # few pixels, each by many ways
        [Layer(1, 2**16, transposed=True), Layer(2**16)],  # few are left of many
    ],
)
def test_gaps_behind_too_many_places_or_taps_are_not_looked_for(layers):
    with pytest.raises(ValueError, match=says("layers must have at most 4194304 pixels to follow")):
        receptive_field.has_gaps(layers)
    assert not receptive_field.has_gaps([Layer(3, 2, transposed=True)] * 6)


def test_counts_are_bounded_by_the_ways_through():
    large = [Layer(2)] * 61
    assert receptive_field.dependencies(large, 0, 62).dtype == np.int64
    block = Residual(large, large)
    assert receptive_field.overlaps([block, Layer(2)], 64).tolist() == [2 * 2**61 * 2] * 2
    assert receptive_field.overlaps([block, block], 124).tolist() == [2**124] * 2


# ---- numbers too large for their type


@pytest.mark.parametrize(
    "call",
    [
        lambda: conv.forward(np.full((1, 4, 1), 300, "f2"), np.full((1, 1, 1), 300, "f2")),
        lambda: batchnorm.forward(np.float16([[0], [9]]), np.float16([6e4]), np.float16([6e4])),
        lambda: depthwise.forward(np.full((1, 4, 1), 300, "f2"), np.full((2, 1, 1), 300, "f2")),
    ],
)
def test_a_float16_that_overflows_is_infinite_and_numpy_is_asked_what_to_say(call):
    with pytest.warns(RuntimeWarning, match="overflow"):
        y, _ = call()
    assert np.isinf(y).any()
    with np.errstate(over="ignore"):
        assert np.isinf(call()[0]).any()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        call()


@pytest.mark.parametrize("layer", [conv, depthwise])
def test_a_sum_that_overflows_is_infinite(layer):
    x, kernel = np.full((1, 4, 1), 3e38, "f4"), np.full((2, 1, 1), 3e3, "f4")
    with np.errstate(over="ignore"):
        y, _ = layer.forward(x, kernel)
    assert np.isinf(y).all()


def test_what_does_not_overflow_is_not_said_to():
    image, dy = integers(rng, (2, 70, 60, 4)), integers(rng, (2, 70, 60, 4))
    for dtype in ("f2", "f4", "f8"):
        x, kernel, gamma = (a.astype(dtype) for a in (image / 9, KERNEL / 9, np.ones(4)))
        with np.errstate(all="raise"):
            for layer, arrays, options in (
                (conv, (x, kernel), {"padding": "same"}),
                (transposed, (x, kernel), {"padding": "same"}),
                (batchnorm, (x, gamma, gamma), {}),
                (normalization, (x, gamma, gamma), {"groups": 2}),
                (relu, (x,), {}),
            ):
                y, cache = layer.forward(*arrays, **options)
                layer.backward(dy.astype(dtype), cache)
                assert y.shape == x.shape


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("count", [1, 40])
def test_the_rectifier_makes_no_negative_zeros(dtype, count):
    y, _ = relu.forward(np.full(count, -0.0, dtype))
    assert not np.signbit(y).any()


# ---- backward

FORWARDS = {
    conv: lambda: conv.forward(X, KERNEL),
    unary: lambda: unary.forward(X, MATRIX),
    depthwise: lambda: depthwise.forward(X, KERNEL),
    depthwise_separable: lambda: depthwise_separable.forward(X, KERNEL[..., :1], MATRIX),
    transposed: lambda: transposed.forward(X, KERNEL),
    dilated: lambda: dilated.forward(X, KERNEL),
    batchnorm: lambda: batchnorm.forward(X),
    normalization: lambda: normalization.forward(X, groups=2),
    relu: lambda: relu.forward(X),
    residual: lambda: residual.forward(X, residual.initialize(rng, [(3, 3)], 4, 4)),
    max_pooling: lambda: max_pooling.forward(X, 2),
    average_pooling: lambda: average_pooling.forward(X, 2),
}


@pytest.mark.parametrize("module", FORWARDS)
def test_backward_refuses_a_dy_of_another_shape(module):
    y, cache = FORWARDS[module]()
    fewer = y[..., :-1], y[..., :1], y[..., 0], y[:1], y[0, 0, 0, 0]
    for dy in (*fewer, y[..., None], y.ravel(), y.reshape(len(y), -1), np.repeat(y, 2, axis=0)):
        message = f"dy must be of the output's shape {y.shape}, got shape {dy.shape}"
        with pytest.raises(ValueError, match=says(message)):
            module.backward(dy, cache)


@pytest.mark.parametrize("module", FORWARDS)
def test_backward_refuses_what_is_no_number_and_no_cache(module):
    y, cache = FORWARDS[module]()
    for dy, kind in ((y.astype(complex), "dtype complex128"), (y.astype(object), "array(")):
        with pytest.raises(TypeError, match=says(f"dy must hold real numbers ... got {kind}")):
            module.backward(dy, cache)
    message = f"cache must be what {module.__name__}.forward returned, got a "
    for other in FORWARDS.keys() - {module, conv, dilated}:  # these two share theirs
        with pytest.raises(TypeError, match=says(f"{message}{other.__name__}.Cache")):
            module.backward(y, FORWARDS[other]()[1])
    for other, kind in (((y, cache), "builtins.tuple"), (5, "builtins.int")):
        with pytest.raises(TypeError, match=says(message + kind)):
            module.backward(y, other)


@pytest.mark.parametrize(
    ("initialize", "sizes", "message"),
    [
        (unary.initialize, (2**40, 2**40), "in_channels and filters must make arrays"),
        (conv.initialize, (3, 2**40, 2**40), "kernel_size, in_channels and filters must make"),
        (dilated.initialize, (2**61, 1, 1), "kernel_size, in_channels and filters must make"),
        (transposed.initialize, (3, 1, 2**60), "kernel_size, in_channels and filters must make"),
        (
            depthwise_separable.initialize,
            (2**40, 2**40, 1),
            "kernel_size, in_channels and depth_multiplier must make",
        ),
    ],
)
def test_a_kernel_beyond_memory_is_refused_by_what_it_was_to_be_made_of(initialize, sizes, message):
    with pytest.raises(ValueError, match=says(message)):
        initialize(rng, *sizes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda same: conv.forward(X, KERNEL, **same, dilation_rate=2**62), "x, kernel and dil"),
        (lambda same: conv.output_shape((1, 2**60 - 1, 1), (3, 1, 1), **same), "input_shape and k"),
        (lambda same: max_pooling.forward(X, 2**62, **same), "x and pool_size must make"),
        (lambda same: average_pooling.forward(X, 2**62, **same), "x and pool_size must make"),
        (lambda same: im2col.im2col(X, 2**62, **same), "x and kernel_size must make"),
        (lambda same: im2col.resolve_padding(9, 2**62, **same), "input_size and kernel_size must"),
        (
            lambda same: max_pooling.output_shape((1, 2**60, 1), 2, padding=1),
            "input_shape and padding must make",
        ),
    ],
)
def test_a_padded_size_beyond_memory_is_refused_by_what_makes_it(call, message):
    with pytest.raises(ValueError, match=says(message)):
        call({"padding": "same", "strides": 1})
