"""receptive_field: how far one output pixel of a stack of layers sees, and where."""

import numpy as np
import pytest
from helpers import says
from hypothesis import given
from hypothesis import strategies as st

from convinsights import conv
from convinsights.receptive_field import Layer, ReceptiveField, receptive_field

layers_of = st.lists(
    st.builds(
        Layer,
        kernel_size=st.integers(1, 4),
        strides=st.integers(1, 3),
        dilation_rate=st.integers(1, 3),
        padding=st.integers(0, 3),
    ),
    max_size=4,
)


# ---- by hand


def test_no_layer_sees_one_pixel():
    assert receptive_field([]) == ReceptiveField(size=1, stride=1, start=0)


def test_one_layer_sees_its_window():
    assert receptive_field([Layer(5)]) == ReceptiveField(size=5, stride=1, start=0)
    layer = Layer(kernel_size=3, strides=2, dilation_rate=4, padding=1)
    assert receptive_field([layer]) == ReceptiveField(size=9, stride=2, start=-1)


def test_behind_a_stride_every_step_is_longer():
    stack = [Layer(3, strides=2, padding=1), Layer(5, strides=3, padding=2), Layer(2, padding=1)]
    size, start = 1 + 2 + 4 * 2 + 1 * 6, -1 - 2 * 2 - 1 * 6
    assert receptive_field(stack) == ReceptiveField(size, 2 * 3, start)


def test_the_order_of_the_layers_counts():
    one, other = Layer(3, strides=2), Layer(5)
    assert receptive_field([one, other]).size == 1 + 2 + 4 * 2
    assert receptive_field([other, one]).size == 1 + 4 + 2


def test_of_the_first_layers_of_a_residual_network():
    stack = [Layer(7, 2, padding=3), Layer(3, 2, padding=1), *[Layer(3, padding=1)] * 4]
    assert receptive_field(stack) == ReceptiveField(size=43, stride=4, start=-21)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_doubling_rates_double_the_field(depth):
    stack = [Layer(3, dilation_rate=2**i) for i in range(depth)]
    assert receptive_field(stack).size == 2 ** (depth + 1) - 1


# ---- against the definition


def seen(layers, pixel):
    """The input pixels, in the padding or not, that an output pixel is made of."""
    pixels = {pixel}
    for k, s, d, p in reversed(layers):
        pixels = {i * s + u * d - p for i in pixels for u in range(k)}
    return pixels


@given(layers_of, st.integers(0, 3))
def test_the_field_reaches_from_the_first_pixel_seen_to_the_last(layers, pixel):
    size, stride, start = receptive_field(layers)
    pixels = seen(layers, pixel)
    assert min(pixels) == start + pixel * stride
    assert max(pixels) == start + pixel * stride + size - 1


# ---- against the gradient of one output pixel


def support(layers, length, pixel=None):
    """Where the gradient of one output pixel, by default the middle one, is not 0; and which."""
    x, caches = np.zeros((1, length, 1)), []
    for k, s, d, p in layers:
        x, cache = conv.forward(x, np.ones((k, 1, 1)), strides=s, dilation_rate=d, padding=p)
        caches.append(cache)
    pixel = x.shape[1] // 2 if pixel is None else pixel
    dx = np.zeros(x.shape)
    dx[0, pixel] = 1
    for cache in reversed(caches):
        dx = conv.backward(dx, cache).x
    return np.flatnonzero(dx), pixel


@given(layers_of)
def test_the_ends_of_the_field_are_those_of_the_gradient_of_one_output(layers):
    size, stride, start = receptive_field(layers)
    pixels, pixel = support(layers, 2 * size + 20 * stride)
    assert pixels[0] == start + pixel * stride
    assert pixels[-1] == start + pixel * stride + size - 1


def without_gaps(layers):
    """Whether every layer's taps are no further apart than the fields they read are long."""
    size = 1
    for k, _, d, _ in sorted(layers, key=lambda layer: layer.dilation_rate):
        if k > 1 and d > size:
            return False
        size += (k - 1) * d
    return True


@given(layers_of)
def test_the_field_is_the_support_of_the_gradient_where_it_has_no_gaps(layers):
    layers = [layer._replace(strides=1) for layer in layers]
    size, _, start = receptive_field(layers)
    pixels, pixel = support(layers, 2 * size + 20)
    field = list(range(start + pixel, start + pixel + size))
    assert (pixels.tolist() == field) == without_gaps(layers)


@given(layers_of)
def test_a_strided_field_without_dilation_is_the_support_where_windows_meet(layers):
    layers = [Layer(max(k, s), s, 1, p) for k, s, _, p in layers]
    size, stride, start = receptive_field(layers)
    pixels, pixel = support(layers, 2 * size + 20 * stride)
    first = start + pixel * stride
    assert pixels.tolist() == list(range(first, first + size))


def test_at_the_edge_the_field_begins_in_the_padding():
    layers = [Layer(3, dilation_rate=d, padding=d) for d in (1, 2, 4)]
    assert receptive_field(layers) == (15, 1, -7)
    assert support(layers, 30, pixel=0)[0].tolist() == list(range(-7 + 7, -7 + 15))


# ---- manners


def test_any_iterable_of_tuples_works():
    stack = [Layer(3, 2), Layer(5, 1, 2, 3)]
    expected = receptive_field(stack)
    assert receptive_field(layer for layer in stack) == expected
    assert receptive_field(((3, 2), (5, 1, 2, 3))) == expected
    assert receptive_field([(7,)]) == receptive_field([Layer(7)])
    assert receptive_field([Layer(*map(np.int8, layer)) for layer in stack]) == expected


def test_fields_are_plain_ints_and_do_not_overflow():
    field = receptive_field([Layer(*map(np.int8, (100, 100, 100, 100)))] * 2)
    assert field == (1 + 9900 + 990_000, 10_000, -100 - 10_000)
    assert {type(number) for number in field} == {int}


# ---- refusals


@pytest.mark.parametrize(
    ("layers", "exception", "message"),
    [
        (5, TypeError, "layers must be an iterable of Layer, got 5"),
        (Layer(3), TypeError, "layers[0] must be a Layer, got 3"),
        ([Layer(3), None], TypeError, "layers[1] must be a Layer, got None"),
        ([()], TypeError, "layers[0] must be a Layer, got ()"),
        ([(3, 1, 1, 0, 0)], TypeError, "layers[0] must be a Layer, got (3, 1, 1, 0, 0)"),
        (["3"], TypeError, "layers[0] must be a Layer, got '3'"),
        ([Layer(0)], ValueError, "layers[0].kernel_size must be at least 1, got 0"),
        ([Layer(3.0)], TypeError, "layers[0].kernel_size must be an integer, got 3.0"),
        ([Layer((3, 3))], TypeError, "layers[0].kernel_size must be an integer, got (3, 3)"),
        ([Layer(3), Layer(3, 0)], ValueError, "layers[1].strides must be at least 1, got 0"),
        ([Layer(3, True)], TypeError, "layers[0].strides must be an integer, got True"),
        ([Layer(3, 1, 0)], ValueError, "layers[0].dilation_rate must be at least 1, got 0"),
        ([Layer(3, padding=-1)], ValueError, "layers[0].padding must be at least 0, got -1"),
        ([Layer(3, padding="same")], TypeError, "layers[0].padding must be an integer, got 'same'"),
    ],
)
def test_what_is_no_layer_is_refused(layers, exception, message):
    with pytest.raises(exception, match=says(message)):
        receptive_field(layers)
