"""receptive_field: how far one output pixel of a stack sees, where, and in how many ways."""

import math

import numpy as np
import pytest
from helpers import foldings, says, zeros_on
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from convinsights import average_pooling, conv, transposed
from convinsights.receptive_field import (
    Layer,
    ReceptiveField,
    Residual,
    dependencies,
    has_gaps,
    overlaps,
    receptive_field,
)

layers_of = st.lists(
    st.builds(
        Layer,
        kernel_size=st.integers(1, 4),
        strides=st.integers(1, 3),
        dilation_rate=st.integers(1, 3),
        padding=st.integers(0, 3),
        transposed=st.just(False),
        output_padding=st.just(0),
    ),
    max_size=4,
)


@st.composite
def stacks_over_images(draw, rank, words=("valid", "causal", "same")):
    """(a stack per axis, an input size): up to five layers and sums, each laid over what is there.

    A sum is of one or two layers that keep the size, and the identity or a layer of one tap.
    """
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def number(low, high):
        return int(numbers.integers(low, high + 1))

    size = tuple(number(1, (30, 9)[rank - 1]) for _ in range(rank))
    stacks, now = [[] for _ in range(rank)], list(size)
    for _ in range(number(0, 5)):
        kind = numbers.choice(["conv", "conv", "transposed", "sum"])
        deep, plain = number(1, 2), number(0, 1)
        for axis in range(rank):
            k, s, d = number(1, 4), number(1, 3), number(1, 3)
            before, after = number(0, 3), number(0, 3)
            span = (k - 1) * d + 1
            if kind == "sum":
                before = number(0, span - 1)
                kept = Layer(k, 1, d, (before, span - 1 - before))
                stacks[axis].append(Residual([kept] * deep, [Layer(1)] * plain))
                continue
            padding = (before, after) if numbers.random() < 0.5 else before
            zeros = before + after if isinstance(padding, tuple) else 2 * before
            if kind == "conv" and numbers.random() < 0.3:
                padding = str(numbers.choice(words))
                zeros = sum(zeros_on(now[axis], k, s, padding, d))
            if kind == "conv":
                if now[axis] + zeros < span:
                    k, span, padding, zeros = 1, 1, 0, 0
                now[axis] = (now[axis] + zeros - span) // s + 1
                stacks[axis].append(Layer(k, s, d, padding))
                continue
            lengths, extra = foldings(now[axis], k, s, padding, d), number(0, s - 1)
            if lengths[extra] < 1:  # more cut off than there is
                padding, lengths = 0, foldings(now[axis], k, s, 0, d)
            now[axis] = lengths[extra]
            stacks[axis].append(Layer(k, s, d, padding, True, extra))
    return stacks, size


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
    for k, s, d, p, *_ in reversed(layers):
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
    for k, s, d, p, *_ in layers:
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
    for k, _, d, *_ in sorted(layers, key=lambda layer: layer.dilation_rate):
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
    layers = [Layer(max(k, s), s, 1, p) for k, s, _, p, *_ in layers]
    size, stride, start = receptive_field(layers)
    pixels, pixel = support(layers, 2 * size + 20 * stride)
    first = start + pixel * stride
    assert pixels.tolist() == list(range(first, first + size))


def test_at_the_edge_the_field_begins_in_the_padding():
    layers = [Layer(3, dilation_rate=d, padding=d) for d in (1, 2, 4)]
    assert receptive_field(layers) == (15, 1, -7)
    assert support(layers, 30, pixel=0)[0].tolist() == list(range(-7 + 7, -7 + 15))


# ---- paths by hand


def test_without_layers_a_pixel_depends_on_itself():
    assert dependencies([], 2, 4).tolist() == [0, 0, 1, 0]
    assert overlaps([], 3).tolist() == [1, 1, 1]


def test_paths_through_two_layers_are_counted():
    assert dependencies([Layer(3), Layer(3)], 1, 7).tolist() == [0, 1, 2, 3, 2, 1, 0]
    assert dependencies([Layer(3, 2), Layer(2)], 0, 6).tolist() == [1, 1, 2, 1, 1, 0]


def test_paths_through_the_padding_do_not_count():
    assert dependencies([Layer(3, padding=1)] * 2, 0, 4).tolist() == [2, 2, 1, 0]
    assert dependencies([Layer(3, padding=(2, 0))], 1, 3).tolist() == [1, 1, 0]


def test_behind_a_transposed_layer_it_depends_on_the_place():
    layers = [Layer(3, 2, transposed=True)]
    rows = [dependencies(layers, pixel, 3).tolist() for pixel in range(7)]
    assert rows == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 1]]


def test_padding_of_a_transposed_layer_cuts_off_and_output_padding_gives_back():
    cut = [Layer(3, 2, padding=(1, 0), transposed=True)]
    assert overlaps(cut, 2).tolist() == [1, 2, 1, 1]
    more = [Layer(3, 2, padding=1, transposed=True, output_padding=1)]
    assert overlaps(more, 2).tolist() == [1, 2, 1, 1]
    beyond = [Layer(1, 3, transposed=True, output_padding=2)]
    assert overlaps(beyond, 2).tolist() == [1, 0, 0, 1, 0, 0]


def test_branch_and_shortcut_add_up():
    block = Residual([Layer(3, padding=1)] * 2)
    assert dependencies([block], 2, 5).tolist() == [1, 2, 3 + 1, 2, 1]
    projected = Residual([Layer(3, 2, padding=1)], [Layer(1, 2)])
    assert dependencies([projected], 1, 5).tolist() == [0, 1, 1 + 1, 1, 0]
    assert receptive_field([block, projected]) == ReceptiveField(7, 2, -3)
    assert overlaps([Residual([], [])], 2).tolist() == [2, 2]


def test_sums_may_hold_sums():
    inner = Residual([Layer(3, padding=1)])  # 1, 2, 1
    outer = Residual([inner, inner])
    assert dependencies([outer], 2, 5).tolist() == [1, 4, 6 + 1, 4, 1]
    assert receptive_field([outer, Layer(2)]) == ReceptiveField(6, 1, -2)
    larger = Residual([inner, Layer(2, 2, transposed=True)], [Layer(2, 2, transposed=True)])
    assert dependencies([larger], 4, 4).tolist() == [0, 1, 3, 1]
    assert not has_gaps([larger])


def test_a_shortcut_may_see_further_than_its_branch():
    part = Residual([Layer(2, padding=(0, 1))], [Layer(3, dilation_rate=2, padding=(3, 1))])
    assert receptive_field([Layer(2), part]) == ReceptiveField(1 + 1 + 4, 1, -3)
    assert dependencies([part], 3, 6).tolist() == [1, 0, 1, 1, 2, 0]


def test_sums_of_several_axes_are_no_outer_product():
    axis = [Residual([Layer(3, padding=1)])]
    counts = dependencies([axis, axis], (1, 1), 3)
    assert counts.tolist() == [[1, 1, 1], [1, 1 + 1, 1], [1, 1, 1]]


def test_a_checkerboard_is_even_where_the_stride_divides_the_kernel():
    assert overlaps([Layer(4, 2, transposed=True)], 4).tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]
    uneven = overlaps([[Layer(3, 2, padding=1, transposed=True)]] * 2, (3, 3))
    line = [1, 2, 1, 2, 1]
    assert uneven.tolist() == np.outer(line, line).tolist()


@pytest.mark.parametrize("k", range(1, 8))
@pytest.mark.parametrize("s", range(1, 5))
def test_overlaps_of_a_transposed_layer_are_the_taps_left_over_the_stride(k, s):
    inside = overlaps([Layer(k, s, transposed=True)], 20)[8 * s : 10 * s]
    assert inside.tolist() == [math.ceil(max(0, k - i) / s) for i in range(s)] * 2


# ---- padding by name


def test_named_paddings_are_the_zeros_that_they_stand_for():
    for word, zeros in (("valid", 0), ("causal", (4, 0)), ("same", 2)):
        layers = [Layer(2), Layer(3, dilation_rate=2, padding=word)]
        by_zeros = [Layer(2), Layer(3, dilation_rate=2, padding=zeros)]
        assert receptive_field(layers) == receptive_field(by_zeros)
        assert_array_equal(dependencies(layers, 3, 12), dependencies(by_zeros, 3, 12))
    assert receptive_field([Layer(3, 2, padding="causal")]).start == -2


@pytest.mark.parametrize(("size", "zeros"), [(8, (0, 1)), (7, 1)])
def test_same_with_strides_is_one_thing_for_an_even_and_another_for_an_odd_size(size, zeros):
    by_name, by_zeros = ([Layer(3, 2, padding=padding), Layer(2)] for padding in ("same", zeros))
    assert_array_equal(overlaps(by_name, size), overlaps(by_zeros, size))
    for pixel in range(3):
        expected = dependencies(by_zeros, pixel, size)
        assert_array_equal(dependencies(by_name, pixel, size), expected)


def test_same_with_strides_needs_the_size_of_the_input():
    layers = [Layer(3), Layer(3, 2, padding="same")]
    message = (
        'layers[1].padding must not be "same" with strides of 2 where the input\'s size is not '
        "known: its zeros depend on it (see im2col.resolve_padding)"
    )
    with pytest.raises(ValueError, match=says(message)):
        receptive_field(layers)
    with pytest.raises(ValueError, match=says(message)):
        has_gaps([*layers, Layer(2, 2, transposed=True)])
    assert not has_gaps(layers), "where it begins does not matter there"
    assert receptive_field([Layer(1, 3, padding="same")]).start == 0, "nor for a single tap"


@pytest.mark.parametrize(
    ("k", "s", "d"), [(3, 2, 1), (2, 2, 1), (4, 3, 1), (2, 3, 1), (1, 4, 1), (3, 2, 3)]
)
def test_same_of_a_transposed_layer_is_that_of_transposed(k, s, d):
    for extra in range(s):
        options = {"strides": s, "dilation_rate": d, "output_padding": extra}
        y, _ = transposed.forward(np.ones((1, 5, 1)), np.ones((k, 1, 1)), padding="same", **options)
        layer = Layer(k, padding="same", transposed=True, **options)
        assert_array_equal(overlaps([layer], 5), y.ravel())


def test_same_of_a_transposed_layer_adds_nothing_by_itself():
    """Unlike `transposed`, whose output has size * strides pixels."""
    layer = Layer(3, 2, padding="same", transposed=True)
    assert overlaps([layer], 4).shape == (7,)
    size = transposed.output_shape((1, 4, 1), (3, 1, 1), strides=2, padding="same")[1:-1]
    assert overlaps([layer._replace(output_padding=1)], 4).shape == size == (8,)


# ---- pooling


def test_a_pooling_is_a_layer_with_its_window_and_its_strides():
    """What the gradient of a mean reaches; of a maximum, one of these pixels."""
    layers = [Layer(3, padding=1), Layer(2, strides=2), Layer(3, padding=1)]
    x, kernel = np.ones((1, 12, 1)), np.ones((3, 1, 1))
    y, first = conv.forward(x, kernel, padding=1)
    y, second = average_pooling.forward(2 * y, 2)
    y, third = conv.forward(y, kernel, padding=1)
    for pixel in range(6):
        dy = np.zeros(y.shape)
        dy[0, pixel] = 1
        dx = conv.backward(dy, third).x
        dx = conv.backward(2 * average_pooling.backward(dx, second).x, first).x
        assert_array_equal(dependencies(layers, pixel, 12), dx.ravel())
    assert receptive_field(layers) == ReceptiveField(size=8, stride=2, start=-3)


# ---- paths against the gradient with all weights 1


def outputs(stacks, x, tape):
    """The stack with all weights 1, computed by `conv` and `transposed`; tape: what it did."""
    for parts in zip(*stacks, strict=True):
        if isinstance(parts[0], Residual):
            branch, shortcut = [], []
            above = outputs([part.branch for part in parts], x, branch)
            x = above + outputs([part.shortcut for part in parts], x, shortcut)
            tape.append((branch, shortcut))
            continue
        k, s, d, padding, _, extra = zip(*parts, strict=True)
        axes = zip(x.shape[1:-1], k, s, padding, d, strict=True)
        pairs = [zeros_on(*axis) for axis in axes]
        options = {"strides": s, "dilation_rate": d, "padding": pairs}
        module = transposed if parts[0].transposed else conv
        if parts[0].transposed:
            options["output_padding"] = extra
        x, cache = module.forward(x, np.ones((*k, 1, 1)), **options)
        tape.append((module, cache))
    return x


def inputs(tape, dx):
    """The gradient of such an output."""
    for first, second in reversed(tape):
        if isinstance(first, list):
            dx = inputs(first, dx) + inputs(second, dx)
        else:
            dx = first.backward(dx, second).x
    return dx


@pytest.mark.parametrize("rank", [1, 2])
@given(data=st.data())
@settings(max_examples=30)
def test_dependencies_are_the_gradient_and_overlaps_the_output_of_ones(rank, data):
    stacks, size = data.draw(stacks_over_images(rank))
    tape = []
    y = outputs(stacks, np.ones((1, *size, 1)), tape)
    layers, spelled = (stacks, size) if rank > 1 else (stacks[0], size[0])
    ends = overlaps(layers, spelled)
    assert_array_equal(ends, y[0, ..., 0])
    rng = np.random.default_rng(y.size)
    for _ in range(3):
        pixel = tuple(int(rng.integers(count)) for count in ends.shape)
        dy = np.zeros(y.shape)
        dy[(0, *pixel, 0)] = 1
        counts = dependencies(layers, pixel if rank > 1 else pixel[0], spelled)
        assert_array_equal(counts, inputs(tape, dy)[0, ..., 0])
        assert counts.dtype == ends.dtype == np.int64
        assert counts.sum() == ends[pixel]


@given(layers_of, layers_of, st.integers(1, 30), st.integers(1, 30))
def test_paths_along_two_axes_are_the_outer_product(rows, columns, height, width):
    many = min(len(rows), len(columns))
    rows, columns = rows[:many], columns[:many]
    size = [
        length + receptive_field(axis).size for length, axis in ((height, rows), (width, columns))
    ]
    counts = dependencies([rows, columns], (0, 0), size)
    line, other = dependencies(rows, 0, size[0]), dependencies(columns, 0, size[1])
    assert_array_equal(counts, np.outer(line, other))


@given(layers_of, st.integers(0, 2))
def test_dependencies_lie_in_the_field(layers, pixel):
    size, stride, start = receptive_field(layers)
    first = start + pixel * stride
    counts = dependencies(layers, pixel, 2 * stride + 2 * size + 20)
    assert not counts[max(0, first + size) :].any()
    assert counts.sum() <= math.prod(layer.kernel_size for layer in layers)


# ---- gaps


@pytest.mark.parametrize(
    ("layers", "gaps"),
    [
        ([], False),
        ([Layer(1, 5)], False),
        ([Layer(3, dilation_rate=2)], True),
        ([Layer(3, dilation_rate=d) for d in (2, 2, 2)], True),
        ([Layer(3, dilation_rate=d) for d in (9, 1, 3)], False),
        ([Layer(3, dilation_rate=d) for d in (1, 3, 10)], True),
        ([Layer(2, dilation_rate=d) for d in (1, 2, 4, 8)], False),
        ([Layer(1, dilation_rate=9), Layer(2)], False),
        ([Layer(1, 3), Layer(2)], True),
        ([Layer(3, 3), Layer(2)], False),
        ([Layer(2, 3), Layer(2)], True),
        ([Layer(3, 2, transposed=True)], False),
        ([Layer(3, dilation_rate=2, transposed=True)], True),
        ([Layer(2, 2, transposed=True), Layer(3, dilation_rate=4)], True),
        ([Layer(1, 4, transposed=True), Layer(2)], False),
        ([Residual([Layer(3, dilation_rate=2, padding=2)])], True),
        ([Residual([Layer(2, dilation_rate=2, padding=1)])], False),
        ([Residual([Layer(3, 3, transposed=True), Layer(3, 3)])], False),
        ([Residual([Layer(3, padding=1)] * 2)] * 25, False),
    ],
)
def test_gaps_by_hand(layers, gaps):
    assert has_gaps(layers) is gaps


def test_ways_that_lie_apart_are_not_followed_beyond_some_millions_of_pixels():
    apart = [Residual([Layer(1, padding=10**i)]) for i in range(2, 17)]
    with pytest.raises(
        ValueError, match=r"at most 4194304 pixels .* got some 6586367 at each of 1"
    ):
        has_gaps([Layer(200), *apart])


@given(layers_of, st.data())
def test_the_criterion_is_whether_the_pixels_seen_lie_side_by_side(layers, data):
    pixels = seen(layers, data.draw(st.integers(0, 3)))
    assert has_gaps(layers) == (len(pixels) < receptive_field(layers).size)
    shuffled = data.draw(st.permutations([layer._replace(strides=1) for layer in layers]))
    assert has_gaps(shuffled) == has_gaps([layer._replace(strides=1) for layer in layers])
    assert has_gaps(shuffled) == (not without_gaps(shuffled))


@given(stacks_over_images(1, words=("valid", "causal")))
def test_gaps_are_those_of_the_gradients_of_neighbouring_outputs(drawn):
    (layers,), _ = drawn
    strides = [layer.strides for layer in layers if isinstance(layer, Layer) and layer.transposed]
    size, places = 300, math.prod(strides)
    tape = []
    y = outputs([layers], np.ones((1, size, 1)), tape)
    middle = y.shape[1] // 2
    assume(middle + places < y.shape[1])
    gaps = False
    for place in range(middle, middle + places):
        dy = np.zeros(y.shape)
        dy[0, place, 0] = 1
        pixels = np.flatnonzero(inputs(tape, dy))
        if len(pixels):
            assume(pixels[0] > 9 and pixels[-1] < size - 9)
            gaps = gaps or len(pixels) <= pixels[-1] - pixels[0]
    assert has_gaps(layers) == gaps


# ---- manners


def test_any_iterable_of_tuples_works():
    stack = [Layer(3, 2), Layer(5, 1, 2, 3)]
    expected = receptive_field(stack)
    assert receptive_field(layer for layer in stack) == expected
    assert receptive_field(((3, 2), (5, 1, 2, 3))) == expected
    assert receptive_field([(7,)]) == receptive_field([Layer(7)])
    assert receptive_field([Layer(*map(np.int8, layer[:4])) for layer in stack]) == expected


def test_fields_are_plain_ints_and_do_not_overflow():
    field = receptive_field([Layer(*map(np.int8, (100, 100, 100, 100)))] * 2)
    assert field == (1 + 9900 + 990_000, 10_000, -100 - 10_000)
    assert {type(number) for number in field} == {int}


def test_generators_and_numpy_integers_work_for_paths():
    stack = [Layer(3, padding=1), Layer(2)]
    expected = dependencies(stack, 3, 9)
    assert_array_equal(dependencies(iter(stack), np.int8(3), np.int64(9)), expected)
    assert_array_equal(dependencies([(3, 1, 1, [1, 1]), (2,)], 3, 9), expected)
    assert_array_equal(dependencies((iter(stack) for _ in range(1)), [3], 9), expected)
    both = dependencies([stack, stack], np.array([3, 3]), 9)
    assert_array_equal(both, np.outer(expected, expected))
    block = Residual(iter([Layer(3, padding=1)]), iter(()))
    assert overlaps([block], 3).tolist() == [3, 4, 3]


def test_three_axes_work():
    stack = [Layer(2), Layer(2, 2, transposed=True)]
    line = dependencies(stack, 1, 4)
    counts = dependencies([stack] * 3, (1, 1, 1), (4, 4, 4))
    assert_array_equal(counts, np.multiply.outer(np.outer(line, line), line))
    assert overlaps([stack] * 3, (3, 4, 5)).shape == (4, 6, 8)


def test_counts_too_large_for_64_bits_are_exact():
    counts = dependencies([Layer(2)] * 80, 0, 81)
    assert counts.tolist() == [math.comb(80, i) for i in range(81)]
    assert counts.dtype == object
    assert dependencies([Layer(2)] * 60, 0, 61).dtype == np.int64


# ---- refusals


@pytest.mark.parametrize(
    ("layers", "exception", "message"),
    [
        (5, TypeError, "layers must be an iterable of Layer, got 5"),
        (Layer(3), TypeError, "layers must be an iterable of Layer, got one: put it in a list"),
        ([Layer(3), None], TypeError, "layers[1] must be a Layer, got None"),
        ([()], TypeError, "layers[0] must be a Layer, got ()"),
        ([(3, 1, 1, 0, 0)], TypeError, "layers[0].transposed must be a bool, got 0"),
        ([(3, 1, 1, 0, False, 0, 0)], TypeError, "layers[0] must be a Layer, got (3, 1, 1, 0, F"),
        (["3"], TypeError, "layers[0] must be a Layer, got '3'"),
        ([Layer(0)], ValueError, "layers[0].kernel_size must be at least 1, got 0"),
        ([Layer(3.0)], TypeError, "layers[0].kernel_size must be an integer, got 3.0"),
        ([Layer((3, 3))], TypeError, "layers[0].kernel_size must be an integer, got (3, 3)"),
        ([Layer(3), Layer(3, 0)], ValueError, "layers[1].strides must be at least 1, got 0"),
        ([Layer(3, True)], TypeError, "layers[0].strides must be an integer, got True"),
        ([Layer(3, 1, 0)], ValueError, "layers[0].dilation_rate must be at least 1, got 0"),
        ([Layer(3, padding=-1)], ValueError, "layers[0].padding must be at least 0, got -1"),
        ([Layer(3, padding=1.0)], TypeError, "layers[0].padding must be an integer, got 1.0"),
        (
            [Layer(3, padding="full")],
            ValueError,
            (
                'layers[0].padding must be an int, a (before, after) pair, "valid", "same" or, not '
                "transposed, \"causal\", got 'full'"
            ),
        ),
        (
            [Layer(3, 2, padding="causal", transposed=True)],
            ValueError,
            "layers[0].padding must be an",
        ),
        (
            [Layer(3, padding=(1, 2, 3))],
            ValueError,
            "layers[0].padding must be an int or a (before, after) pair, got (1, 2, 3)",
        ),
        (
            [Layer(3, padding=(1, -2))],
            ValueError,
            "layers[0].padding[1] must be at least 0, got -2",
        ),
        (
            [Layer(3, output_padding=1)],
            ValueError,
            "layers[0].output_padding must be at most 0 (not transposed), got 1",
        ),
        (
            [Layer(3, 2, transposed=True, output_padding=2)],
            ValueError,
            "layers[0].output_padding must be at most 1 (strides - 1), got 2",
        ),
        ([Residual([Layer(3), 7])], TypeError, "layers[0].branch[1] must be a Layer, got 7"),
        ([Residual([], None)], TypeError, "layers[0].shortcut must be an iterable of Layer, got N"),
        (
            [Layer(2), Residual([Layer(3, 2), Layer(2, 3, transposed=True)])],
            ValueError,
            "layers[1] must have a branch and a shortcut of the same stride, got 2/3 and 1",
        ),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        receptive_field,
        has_gaps,
        lambda layers: dependencies(layers, 0, 99),
        lambda layers: overlaps(layers, 99),
    ],
    ids=["receptive_field", "has_gaps", "dependencies", "overlaps"],
)
def test_what_is_no_layer_is_refused(function, layers, exception, message):
    with pytest.raises(exception, match=says(message)):
        function(layers)


def test_a_field_of_one_size_is_refused_through_a_transposed_layer():
    message = "layers[1].branch[0] must not be transposed: what an output pixel sees through it"
    layers = [Layer(3), Residual([Layer(3, transposed=True)])]
    with pytest.raises(ValueError, match=says(message)):
        receptive_field(layers)


STACK = [Layer(3, padding=1)]


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((STACK, 7, 7), ValueError, "output_pixel must be from 0 to 6, got 7"),
        ((STACK, -1, 7), ValueError, "output_pixel must be at least 0, got -1"),
        ((STACK, 1.0, 7), TypeError, "output_pixel must be an integer, got 1.0"),
        ((STACK, 1, 0), ValueError, "input_size must be at least 1, got 0"),
        ((STACK, 1, (7, 7)), TypeError, "input_size must be an integer, got (7, 7)"),
        (([STACK] * 2, (6, 4), (7, 4)), ValueError, "output_pixel[1] must be from 0 to 3, got 4"),
        (
            ([STACK] * 2, (6, 4), (7,)),
            ValueError,
            "input_size must be an int or have one entry per",
        ),
        (
            (STACK, (1, 1), 7),
            ValueError,
            "layers must be one stack per axis, 2 as in output_pixel,",
        ),
        ((5, (1, 1), 7), TypeError, "layers must be an iterable of stacks, one per axis, got 5"),
        (([5, STACK], (1, 1), 7), TypeError, "layers[0] must be an iterable of Layer, got 5"),
        (
            (STACK, (), 7),
            ValueError,
            "output_pixel must be an int, or one for each of up to 3 axes",
        ),
        (
            ([STACK, STACK * 2], (1, 1), 7),
            ValueError,
            "layers must be as many along every axis, got [1, 2]",
        ),
        (
            ([STACK, [Residual(STACK)]], (1, 1), 7),
            ValueError,
            "layers must have sums in the same places along every axis, got layers[1][0] but not "
            "layers[0][0]",
        ),
        (
            ([*STACK, Layer(5, dilation_rate=2)], 0, 8),
            ValueError,
            "layers[1] does not fit its padded input: effective kernel size 9, padded input size 8",
        ),
        (
            ([Layer(2, padding=(1, 2), transposed=True)], 0, 2),
            ValueError,
            "layers[0].padding must leave an output, got (1, 2), with which its size is 0",
        ),
        (
            ([Residual([Layer(3)])], 0, 5),
            ValueError,
            "layers[0] must have a branch and a shortcut that end in the same size, got (3,) and",
        ),
    ],
)
def test_where_there_is_no_such_pixel_or_no_such_stack(arguments, exception, message):
    with pytest.raises(exception, match=says(message)):
        dependencies(*arguments)
