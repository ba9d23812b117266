"""The core: every way makes the same of every convolution, and the cheaper one is taken."""

from contextlib import contextmanager, suppress
from dataclasses import fields, replace

import numpy as np
import pytest
from helpers import (
    Case,
    arrays_in,
    conv_cases,
    depthwise_cases,
    dot,
    integers,
    same_values,
    spied,
    traced,
    transposed_cases,
)
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import convinsights.im2col
from convinsights import _channelwise, _columns, _costs, _products, conv, depthwise, transposed
from convinsights._geometry import Geometry
from convinsights._pieces import add_product, write_product
from convinsights._strips import Strips
from convinsights.im2col import copy_runs, im2col, pad, windows

rng = np.random.default_rng(211)
FLOAT = np.dtype(float)
CHOICES = [f for m in (_costs, _columns) for f in vars(m).values() if hasattr(f, "cache_clear")]


@contextmanager
def prices(**changed):
    """Other prices and sizes than those of `_costs`, or choices made by others, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setattr(_costs, name, value)
        for choice in CHOICES:
            choice.cache_clear()
        yield
    for choice in CHOICES:
        choice.cache_clear()


def laid(output_size, kernel_size, strides=1, rate=1):
    """The least image that holds so many windows, as a geometry."""
    rank = len(kernel_size)
    strides, rate = (v if isinstance(v, tuple) else (v,) * rank for v in (strides, rate))
    axes = zip(output_size, strides, kernel_size, rate, strict=True)
    spatial = tuple((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in axes)
    return Geometry.of(spatial, kernel_size, strides, "valid", rate)


# ---- every way makes the same

factors = st.sampled_from([0.0, 0.1, 1.0, 10.0, 1000.0])
drawn_prices = st.fixed_dictionaries(
    {
        **dict.fromkeys(("COPY_RUN", "ADD_RUN", "MULTIPLY", "STORE"), factors),
        "CALL": st.sampled_from([0.0, 1e4, 1e7]),
        "SETUP": st.sampled_from([0.0, 16e4]),
        "GAIN": st.sampled_from([0.0, 1.0, 1.0]),
        "WORKSPACE": st.sampled_from([1, 400, 2**22, 2**22]),
        "PIECE": st.sampled_from([0, 30, 10**6]),
        "NARROW": st.sampled_from([1, 16]),
    }
)
stretches = st.sampled_from([1, 30, 4096])


@pytest.mark.parametrize(
    ("module", "cases"),
    [(conv, conv_cases()), (transposed, transposed_cases()), (depthwise, depthwise_cases())],
)
@given(st.data(), drawn_prices, stretches)
def test_whatever_it_costs_the_results_are_the_same(module, cases, data, drawn, stretch):
    case = data.draw(cases)
    y, cache = module.forward(*case.arrays, **case.hyperparameters)
    dy = case.cotangent(y)
    gradients = module.backward(dy, cache)
    with prices(**drawn), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_channelwise, "STRETCH", stretch)
        again, cache = module.forward(*case.arrays, **case.hyperparameters)
        same_gradients = module.backward(dy, cache)
    same_values(again, y)
    for actual, expected in zip(same_gradients, gradients, strict=True):
        assert actual is expected is None or same_values(actual, expected)


@pytest.mark.parametrize("way", ["by_channel", "in_boxes", "collects", "neighbours"])
def test_every_way_returns_the_type_that_is_computed_in(way):
    def taken(geometry, *_):
        return geometry.is_padded * (2 if way == "neighbours" else 1)

    kind, geometry = np.dtype(np.float32), Geometry.of((5, 6), (3, 2), 1, "same", 1)
    x, kernel, dy = (integers(rng, size) for size in ((2, 5, 6, 3), (3, 2, 1, 6), (2, 5, 6, 6)))
    none = {"by_channel": lambda *_: False, "in_boxes": lambda *_: False}
    with prices(**{**none, way: taken}):
        y = _products.correlate(x, kernel, None, geometry, 3, kind)
        dx = _products.image_gradient(dy, kernel, geometry, 3, kind)
        dkernel = _products.kernel_gradient(x, dy, geometry, 3, kind)
    assert [array.dtype for array in (y, dx, dkernel)] == [kind] * 3


@given(conv_cases())
def test_both_gradients_are_those_that_come_one_by_one(case):
    y, cache = conv.forward(case.x, case.kernel, **case.hyperparameters)
    dy = integers(np.random.default_rng(3), y.shape)
    geometry, groups = cache.geometry, cache.groups
    dx, dkernel = _products.both_gradients(case.x, dy, case.kernel, geometry, groups, FLOAT)
    same_values(dx, _products.image_gradient(dy, case.kernel, geometry, groups, FLOAT))
    same_values(dkernel, _products.kernel_gradient(case.x, dy, geometry, groups, FLOAT))


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("name", ["x", "kernel", "dy"])
@pytest.mark.parametrize("groups", [1, 3])
def test_strips_and_runs_let_nothing_leak_that_is_not_finite(name, value, groups):
    """Their zeros, and the windows that wrap from row to row, meet pixels that are not theirs."""
    given = {
        "x": integers(rng, (2, 7, 9, 3)),
        "kernel": integers(rng, (3, 3, 3 // groups, 3)),
        "dy": integers(rng, (2, 7, 9, 3)),
    }
    given = {key: array.astype(float) for key, array in given.items()}
    place = 0 if name == "kernel" else given[name].size // 2  # a corner's tap meets the padding
    given[name].flat[place] = value
    options = {"padding": "same", "groups": groups}

    def step():
        with np.errstate(invalid="ignore"):
            y, cache = conv.forward(given["x"], given["kernel"], **options)
            return [y, *conv.backward(given["dy"], cache)[:2]]

    off = {"by_channel": lambda *_: False, "in_boxes": lambda *_: False}
    with prices(GAIN=np.inf, **off):
        plain = step()
    for changed in (
        {"GAIN": 0.0, **off},
        {"by_channel": lambda *_: True},
        {"by_channel": lambda *_: True, "collects_by_channel": lambda *_: True},
        {"GAIN": 0.0, **off, "collects": lambda *_: False},
        {"GAIN": 0.0, **off, "in_boxes": lambda *a: any(map(any, a[0].padding))},
    ):
        with prices(**changed), pytest.MonkeyPatch.context() as patch:
            patch.setattr(_channelwise, "STRETCH", 10**6)
            for actual, wanted in zip(step(), plain, strict=True):
                assert_array_equal(actual, wanted)


# ---- boxes of windows that read pixels with the same taps


# One pixel, two taps five apart: between the windows that read it lie some that read nothing.
GAP = Case(np.ones((1, 1, 1)), np.ones((2, 1, 1)), None, {"padding": 5, "dilation_rate": 5})


@given(st.one_of(conv_cases(), transposed_cases()))
@example(GAP)
def test_every_tap_that_reads_a_pixel_is_in_one_box_and_no_other(case):
    sized = {"output_padding", "output_size"} & set(case.hyperparameters)
    module = transposed if sized else conv
    with suppress(ValueError):
        geometry = module.forward(case.x, case.kernel, **case.hyperparameters)[1].geometry
        counted = np.zeros((*geometry.output_size, *geometry.kernel_size), int)
        wanted = counted.copy()
        for windows, taps, pixels, part in geometry.boxes:
            counted[windows + taps] += 1
            assert part.input_size == tuple(p.stop - p.start for p in pixels)
            assert part == Geometry.of(
                part.input_size, part.kernel_size, part.strides, "valid", part.dilation_rate
            )
            for at, tap, pixel, *rest in zip(
                windows,
                taps,
                pixels,
                geometry.strides,
                geometry.dilation_rate,
                geometry.padding,
                strict=True,
            ):
                stride, rate, (before, _) = rest
                assert pixel.start == at.start * stride + tap.start * rate - before >= 0
        for entry in np.ndindex(*wanted.shape):
            window, tap = entry[: len(geometry.strides)], entry[len(geometry.strides) :]
            at = np.multiply(window, geometry.strides) + np.multiply(tap, geometry.dilation_rate)
            at = at - [before for before, _ in geometry.padding]
            wanted[entry] = (at >= 0).all() and (at < geometry.input_size).all()
        assert_array_equal(counted, wanted)


@pytest.mark.parametrize(
    ("size", "taps", "rate", "padding", "channels", "wanted"),
    [
        (28, 3, 12, "same", 64, True),
        (14, 3, 18, "same", 64, True),
        (64, 1901, 1, 930, 1, True),
        (56, 3, 1, "same", 64, False),  # few taps read zeros
        (128, 63, 1, "same", 3, False),  # too many boxes
        (28, 3, 12, "valid", 64, False),
        (28, 3, 12, "same", 2, False),  # not much to save
        (7, 3, 1, "same", 2048, False),  # too large a kernel to copy
    ],
)
def test_taps_that_read_zeros_are_left_out_where_that_saves_much(
    size, taps, rate, padding, channels, wanted
):
    geometry = Geometry.of((size, size), (taps, taps), 1, padding, rate)
    assert _costs.in_boxes(geometry, 1, channels, channels, 8) == wanted


# ---- columns, block by block


@pytest.mark.parametrize("dtype", ["f4", "i4"])
@given(st.permutations(range(4)), st.permutations(range(4)), st.data())
def test_what_is_put_is_what_was_there(dtype, one, other, data):
    """Whatever lies side by side in both, in one of them, or in none."""
    shape = data.draw(st.tuples(*[st.integers(0, 4)] * 4))
    steps = data.draw(st.tuples(*[st.sampled_from([1, 1, 2, -1])] * 4))

    def room(order, dtype):
        sizes = [shape[axis] * abs(steps[axis]) for axis in order]
        back = np.argsort(order)
        return np.zeros(sizes, dtype).transpose(back)[tuple(slice(None, None, s) for s in steps)]

    source, target = room(one, dtype), room(other, "f4")
    source[...] = np.arange(source.size).reshape(source.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convinsights.im2col, "FEW", 0)
        copy_runs(target, source)
    assert_array_equal(target, np.arange(source.size).reshape(source.shape))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_are_taken_apart_and_padded(monkeypatch, groups):
    monkeypatch.setattr(convinsights.im2col, "FEW", 0)
    images = _columns.grouped(integers(rng, (5, 3, 4, 6)).astype(float), groups)
    padded = pad(images, Geometry.of((3, 4), (3, 2), 1, (1, (0, 2)), 1), FLOAT)
    none = 0, 0
    assert_array_equal(padded, np.pad(images, (none, none, (1, 1), (0, 2), none)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("rate", "strides"), [(1, 1), ((2, 1), (1, 1)), (1, (1, 2))])
@pytest.mark.parametrize("way", [{}, {"planar": True}, {"high": 2}, {"high": 5}])
def test_columns_are_those_of_im2col(way, groups, rate, strides):
    geometry = laid((5, 7), (3, 2), strides, rate)
    x = integers(rng, (3, *geometry.input_size, 4)).astype(float)
    wanted = im2col(x, (3, 2), strides=strides, dilation_rate=rate).reshape(3, 5, 7, 6, groups, -1)
    with prices(way_to_gather=lambda *_: _costs.Way(0.0, **way), WORKSPACE=8 * 200):
        columns = _columns.Columns(x, geometry, groups, 4, FLOAT)
        gathered = 0
        for box, parts in columns.gathered():
            gathered += 1
            assert len(parts) == (3 if way.get("high") else 1)
            for group in range(groups):
                rows = np.concatenate([part[group] for part in parts], axis=1)
                assert_array_equal(rows, wanted[box][..., group, :].reshape(rows.shape))
        assert gathered > 1


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("way", [{"planar": True}, {"high": 2}, {"high": 5}])
def test_the_products_of_columns_are_the_same_in_every_way(way, groups):
    geometry = laid((5, 7), (3, 2), rate=(2, 1))
    x, kernel = integers(rng, (3, *geometry.input_size, 4)), integers(rng, (3, 2, 4 // groups, 6))
    arrays = [array.astype(float) for array in (x, kernel, integers(rng, (3, 5, 7, 6)))]
    plain = _columns.gather_multiply(*arrays, geometry, groups, FLOAT)
    with prices(way_to_gather=lambda *_: _costs.Way(0.0, **way), WORKSPACE=8 * 200):
        results = _columns.gather_multiply(*arrays, geometry, groups, FLOAT)
    for actual, expected in zip(results, plain, strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("padding", [0, ((0, 0), (0, 0), (2, 1))])
def test_axes_along_which_windows_are_pixels_are_more_images(padding):
    geometry = Geometry.of((4, 5, 6), (1, 1, 3), (1, 1, 2), padding, (7, 1, 1))
    wanted = Geometry.of((6,), (3,), 2, padding and padding[-1:], 1)
    assert geometry.folded == wanted
    assert wanted.folded is wanted
    x, kernel = integers(rng, (2, 4, 5, 6, 4)), integers(rng, (1, 1, 3, 2, 6))
    dy = integers(rng, (2, 4, 5, *wanted.output_size, 6)).astype(float)
    results = _columns.gather_multiply(x, kernel.astype(float), dy, geometry, 2, FLOAT)
    flat = x.reshape(40, 6, 4), kernel[0, 0].astype(float), dy.reshape(40, -1, 6)
    for actual, expected in zip(
        results, _columns.gather_multiply(*flat, wanted, 2, FLOAT), strict=True
    ):
        assert_array_equal(actual, expected.reshape(actual.shape))


@pytest.mark.parametrize(
    ("size", "kernel_size", "strides", "padding"),
    [
        ((3, 4, 5), (2, 1, 3), 1, 0),  # an axis that does not come first
        ((3, 4), (1, 2), (2, 1), 0),
        ((3, 4), (1, 2), 1, ((1, 0), 0)),
        ((3,), (1,), 1, 0),
    ],
)
def test_other_axes_are_no_images(size, kernel_size, strides, padding):
    geometry = Geometry.of(size, kernel_size, strides, padding, 1)
    assert geometry.folded is geometry


@pytest.mark.parametrize("groups", [1, 2])
def test_a_row_of_one_tap_is_not_copied(monkeypatch, groups):
    copied = spied(monkeypatch, _columns, "copy_runs", lambda *_: True)
    x, kernel = integers(rng, (2, 9, 4)).astype(float), integers(rng, (3, 4 // groups, 4))
    with prices(way_to_gather=lambda *_: _costs.Way(0.0, high=4)):
        y, _ = conv.forward(x, kernel, groups=groups)
    assert not copied
    same_values(y, conv.forward(x, kernel, groups=groups)[0])


@pytest.mark.parametrize(("one_core", "places"), [(True, 1), (False, 4)])
def test_blocks_for_two_cores_are_gathered_in_several_places_in_turn(monkeypatch, one_core, places):
    monkeypatch.setattr(_columns, "TURNS", 4)
    x = integers(rng, (1, 6, 12, 1)).astype(float)
    with prices(WORKSPACE=240):  # 10 windows of 3 taps in float64
        geometry = Geometry.of((6, 12), (1, 3), 1, "valid", 1)
        workspace = _columns.Workspace(30, 6, one_core, FLOAT)
        taken = [workspace.columns((1, 10, 3), False).ctypes.data for _ in range(6)]
        small = _columns.Workspace(30, 2, False, FLOAT)
        large = _columns.Workspace(61, 6, False, FLOAT)
        assert len({small.columns((30,), False).ctypes.data for _ in range(6)}) == 2
        assert len({large.columns((30,), False).ctypes.data for _ in range(6)}) == 1
        y, _ = conv.forward(x, np.ones((1, 3, 1, 1)))
    assert taken == (taken[:places] * 6)[:6]
    assert len(set(taken)) == places
    assert_array_equal(y, x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:])
    assert geometry.output_size == (6, 10)


@pytest.mark.parametrize(
    ("taps", "filters", "one_core"),
    [(9, 16, True), (9, 17, False), (4, 17, True), (1934, 16, False)],
)
def test_one_core_gathers_for_itself_what_is_multiplied_in_pieces(taps, filters, one_core):
    geometry = laid((60,), (taps,))
    assert _columns._layout(geometry, 1, 2, 4, filters, 4).one_core == one_core


@pytest.mark.parametrize(("taps", "filters", "one_core"), [(9, 16, True), (9, 17, False)])
def test_one_core_scatters_itself_what_it_multiplied(monkeypatch, taps, filters, one_core):
    geometry = laid((60,), (taps,))
    asked = spied(monkeypatch, _columns, "Workspace", lambda _, size, count, one, dtype: one)
    with prices(collects=lambda *_: False, neighbours=lambda *_: 1):
        dy, kernel = np.ones((2, 60, filters)), np.ones((taps, 4, filters))
        _products.image_gradient(dy, kernel, geometry, 1, FLOAT)
    assert asked == [one_core]


def test_a_forward_takes_no_more_than_its_result_and_the_workspace():
    x, kernel = np.ones((1, 200, 200, 4)), np.ones((5, 5, 4, 4))
    with prices(WORKSPACE=2**18):  # all columns would take 30 MB
        (y, cache), peak, _ = traced(conv.forward, x, kernel)
        assert peak < y.nbytes + 5 * 2**18 + 2**16
        padded = 8 * 204**2 * 4
        gradients, peak, _ = traced(conv.backward, y, cache)
        assert peak < gradients.x.nbytes + padded + 5 * 2**18 + 2**16


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_few_images_are_padded_at_a_time(groups, collects):
    x, kernel = np.ones((64, 16, 16, 8)), np.ones((3, 3, 8 // groups, 8))
    ways = {"collects": lambda *_: collects, "neighbours": lambda *_: 1}
    with prices(WORKSPACE=2**15, **ways):
        (y, cache), peak, _ = traced(conv.forward, x, kernel, padding="same", groups=groups)
        assert peak < y.nbytes + 5 * 2**15 + 2**17 < 2 * y.nbytes
        gradients, peak, _ = traced(conv.backward, y, cache)
        assert peak < gradients.x.nbytes + 5 * 2**15 + 2**17


def test_the_next_images_are_padded_when_those_before_are_let_go():
    x, kernel = np.ones((4, 40, 40, 16)), np.ones((3, 3, 16, 16))
    padded = 42 * 42 * 16 * 8
    with prices(WORKSPACE=2**15, collects=lambda *_: False, neighbours=lambda *_: 1):
        (y, cache), peak, _ = traced(conv.forward, x, kernel, padding="same")
        assert peak < y.nbytes + 1.5 * padded + 5 * 2**15
        gradients, peak, _ = traced(conv.backward, y, cache)
        assert peak < gradients.x.nbytes + 1.5 * padded + 5 * 2**15


@pytest.mark.parametrize("name", ["kernel_gradient", "both_from_columns"])
def test_what_is_added_to_a_kernel_gradient_is_never_all_there(name):
    x, kernel, dy = np.ones((1, 407, 64)), np.ones((8, 64, 256)), np.ones((1, 400, 256))
    geometry = conv.forward(x, kernel)[1].geometry
    arrays = (x, dy) if name == "kernel_gradient" else (x, kernel, dy)
    function = getattr(_products, name)
    with prices(WORKSPACE=2**16):
        result, peak, _ = traced(function, *arrays, geometry, 1, x.dtype)
    beyond = peak - sum(array.nbytes for array in arrays_in(result))
    assert beyond < 5 * 2**16 + 2**15 < kernel.nbytes


@pytest.mark.parametrize("filters", [4, 16])
def test_a_kernel_of_one_tap_takes_no_workspace(filters):
    x, kernel = np.ones((1, 200, 200, 4)), np.ones((1, 1, 4, filters))
    (y, cache), peak, _ = traced(conv.forward, x, kernel)
    assert peak < y.nbytes + 2**16
    gradients, peak, _ = traced(conv.backward, y, cache)
    assert peak < gradients.x.nbytes + 2**16


@pytest.mark.parametrize(
    ("module", "strides", "taps", "padding", "wanted"),
    [
        (conv, 1, 3, "same", 1),  # windows of dy, for both
        (conv, 2, 4, "valid", 3),  # of x, and of dy phase by phase
        (conv, 1, 15, "valid", 1),  # of x; dx is scattered
        (conv, 1, 3, 3, 2),  # some windows see no pixel
        (transposed, 2, 3, "same", 1),  # of dy, for both
    ],
)
def test_windows_are_gathered_once_for_both_gradients(
    monkeypatch, module, strides, taps, padding, wanted
):
    x, kernel = integers(rng, (1, 20, 2)), integers(rng, (taps, 2, 2))
    y, cache = module.forward(x, kernel, strides=strides, padding=padding)
    gathered = spied(monkeypatch, _columns, "Columns", lambda *_: True)
    with prices(GAIN=np.inf, SETUP=0.0):
        module.backward(y, cache)
    assert len(gathered) == wanted


def test_a_box_of_windows_is_gathered_once_for_both_gradients(monkeypatch):
    x, kernel = integers(rng, (1, 20, 2)), integers(rng, (3, 2, 2))
    y, cache = conv.forward(x, kernel, padding="same", dilation_rate=8)
    gradients = conv.backward(y, cache)
    gathered = spied(monkeypatch, _columns, "Columns", lambda *_: True)
    ways = {"in_boxes": lambda g, *_: any(map(any, g.padding)), "collects": lambda *_: True}
    with prices(**ways):
        same = conv.backward(y, cache)
    assert len(gathered) == 3  # two taps, three, and two
    for actual, expected in zip(same[:2], gradients[:2], strict=True):
        assert_array_equal(actual, expected)


# ---- products in pieces


@pytest.mark.parametrize("piece", [0, 1, 5, 12, 13])
@pytest.mark.parametrize("workspace", [1, 50, 2**20])
def test_a_product_in_pieces_is_the_product(piece, workspace):
    a, b, c = (integers(rng, s).astype(float) for s in ((2, 12, 4), (2, 4, 3), (2, 12, 3)))
    with prices(piece=lambda *_: piece, WORKSPACE=workspace):
        out = np.full((2, 12, 6), np.nan)[..., ::2]
        assert write_product(a, b, out) is out
        assert_array_equal(out, a @ b)
        total = np.ones((2, 4, 3))
        add_product(a.swapaxes(1, 2), c, total, write=False)
        assert_array_equal(total, 1 + a.swapaxes(1, 2) @ c)
        add_product(a.swapaxes(1, 2), c, total, write=True)
        assert_array_equal(total, a.swapaxes(1, 2) @ c)


@pytest.mark.parametrize(
    ("inner", "columns", "wanted"),
    [
        (100, 16, 618),
        (100, 17, 0),
        (16, 100, 618),
        (3867, 16, 16),
        (3868, 16, 0),  # a piece of fewer rows than columns
        (9, 1, 110_000),
        (9, 2, 55_000),
    ],
)
def test_narrow_products_are_cut_into_pieces_for_one_core(inner, columns, wanted):
    assert _costs.piece(inner, columns) == wanted


def test_a_wide_product_is_added_whole_however_few_rows_fit():
    """Told apart by the matrices that NumPy multiplies: none has the 8 rows of a piece."""
    multiplied = []

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            multiplied.append(inputs[0].shape)
            return getattr(ufunc, method)(*(a.view(np.ndarray) for a in inputs), **options)

    a, b = integers(rng, (1, 20, 33)).astype("f4"), integers(rng, (1, 33, 8192)).astype("f4")
    target = np.ones((1, 20, 8192), "f4")
    add_product(a.view(Watched), b, target, write=False)
    assert multiplied == [(1, 20, 33)]
    assert_array_equal(target, 1 + a @ b)


# ---- strips


@given(conv_cases(), st.integers(1, 6))
def test_strips_are_another_convolution_of_the_same_pixels(case, count):
    y, cache = conv.forward(case.x, case.kernel, **case.hyperparameters)
    geometry, groups = cache.geometry, cache.groups
    strips = Strips(geometry, count, groups)
    kernel, dy = case.kernel.astype(float), integers(rng, y.shape).astype(float)
    wide = strips.kernel(kernel)
    (shown,) = _columns.gather_multiply(case.x, wide, None, strips.geometry, groups, FLOAT)
    same_values(strips.outputs_back(shown), y)
    assert_array_equal(strips.outputs_back(strips.outputs(dy)), dy)
    back = integers(rng, wide.shape).astype(float)
    assert dot(wide, back) == dot(kernel, strips.kernel_back(back))


def test_the_kernel_of_a_strip_is_the_kernel_shifted_from_window_to_window():
    geometry = Geometry.of((9,), (2,), 1, "valid", 2)
    wide = Strips(geometry, 3, 1).kernel(np.array([10.0, 20]).reshape(2, 1, 1))
    assert_array_equal(wide[:, 0], [[10, 0, 0], [0, 10, 0], [20, 0, 10], [0, 20, 0], [0, 0, 20]])


# ---- the cheaper way


def counted(geometry, inputs, outputs, batch=8):
    return _costs.neighbours(geometry, 1, inputs, outputs, batch, False)


@pytest.mark.parametrize(
    ("output_size", "kernel_size", "inputs", "outputs", "wanted"),
    [
        ((56, 56), (3, 3), 64, 64, 1),
        ((56, 56), (1, 1), 1, 1, 1),
        ((56, 56), (3, 3), 16, 16, 1),
        ((128, 128), (63, 63), 3, 8, 4),
        ((512, 512), (31, 31), 1, 1, 32),
        ((65536,), (1001,), 1, 1, 256),
    ],
)
def test_wide_kernels_of_few_filters_are_taken_strip_by_strip(
    output_size, kernel_size, inputs, outputs, wanted
):
    count = counted(laid(output_size, kernel_size), inputs, outputs)
    assert (count > 1) == (wanted > 1)
    assert count <= output_size[-1]


@pytest.mark.parametrize(("batch", "wanted"), [(8, 1), (256, 4)])
def test_few_windows_do_not_pay_for_a_wide_kernel_and_there_are_no_more_in_a_strip(batch, wanted):
    assert counted(laid((4, 4), (1, 63)), 8, 1, batch) == wanted


def test_a_wide_kernel_fits_in_the_workspace():
    geometry = laid((9, 512), (63, 63))
    count = counted(geometry, 3, 2)
    with prices(WORKSPACE=2**18):
        less = counted(geometry, 3, 2)
        assert 1 < less < count
        assert Strips(geometry, less, 1).kernel(np.ones((63, 63, 3, 2), "f4")).nbytes <= 2**18


@pytest.mark.parametrize(
    ("geometry", "inputs", "outputs", "way"),
    [
        (laid((56, 56), (3, 3)), 64, 64, "rows"),
        (laid((56, 56), (3, 3)), 64, 512, "plain"),  # too much to add
        (laid((7, 7), (3, 3)), 64, 8, "plain"),  # small products
        (laid((56, 56), (3, 3), (2, 1)), 64, 8, "plain"),
        (laid((56, 56), (3, 3)), 1, 32, "planar"),
        (laid((56, 56), (3, 3), (1, 2)), 32, 8, "rows"),
        (laid((56, 56), (3, 3), 2), 1, 32, "plain"),
        (laid((56, 6), (3, 3)), 3, 32, "plain"),  # a row of taps is longer than one of pixels
        (laid((56, 56), (1, 1)), 1, 1, "plain"),
        (laid((8, 28, 28), (1, 3, 3)), 64, 64, "rows"),  # of more images
        (laid((8, 28, 28), (3, 1, 1)), 64, 64, "rows"),  # which are not even copied
        (laid((8, 28, 28), (3, 1, 1), (1, 1, 2)), 64, 64, "plain"),
    ],
)
def test_windows_are_gathered_in_the_cheapest_way(geometry, inputs, outputs, way):
    cost, planar, high = _costs.way_to_gather(geometry, 1, inputs, outputs, 2**20)
    assert ("planar" if planar else "rows" if high else "plain") == way
    assert cost > 0


@pytest.mark.parametrize(
    ("geometry", "inputs", "way"),
    [
        (laid((56, 56), (3, 3)), 64, "taps"),
        (laid((56, 56), (3, 3)), 3, "planar"),
        (laid((2, 2), (9, 9)), 3, "windows"),
        (laid((28, 28), (3, 3), 3), 3, "taps"),  # apart: nothing to add
    ],
)
def test_windows_are_scattered_in_the_cheapest_way(geometry, inputs, way):
    _, planar, one_by_one = _costs.way_to_scatter(geometry, inputs, 8)
    assert ("planar" if planar else "windows" if one_by_one else "taps") == way


@pytest.mark.parametrize(
    ("geometry", "inputs", "outputs", "wanted"),
    [
        (laid((56, 56), (3, 3)), 64, 64, True),
        (laid((56, 56), (3, 3)), 3, 64, False),  # a pixel collects many filters
        (laid((2, 2), (9, 9)), 8, 8, False),  # and there are many pixels
        (laid((28, 28), (3, 3), 3), 64, 64, False),  # nothing to add
    ],
)
def test_pixels_collect_their_gradients_where_that_is_cheaper(geometry, inputs, outputs, wanted):
    assert _costs.collects(geometry, 1, inputs, outputs, 8) == wanted


@pytest.mark.parametrize(
    ("geometry", "channels", "batch", "wanted"),
    [
        (laid((16, 16), (3, 3), 2), 32, 1, False),  # four phases, each a convolution
        (laid((16, 16), (3, 3), 2), 32, 64, True),
        (laid((14, 14), (3, 3)), 64, 1, False),  # the kernel is rearranged
        (laid((14, 14), (3, 3)), 64, 64, True),
    ],
)
def test_large_batches_collect_what_small_ones_scatter(geometry, channels, batch, wanted):
    assert _costs.collects(geometry, 1, channels, channels, batch) == wanted


def test_windows_are_added_one_by_one_to_several_small_images_at_once():
    """One by one takes a call for each window of a block, tap by tap one for each tap."""
    geometry = laid((8, 8), (3, 3), 2)
    assert [_costs.way_to_scatter(geometry, 32, batch).one_by_one for batch in (1, 64)] == [0, 1]


@pytest.mark.parametrize(
    ("kernel_size", "outputs", "wanted"),
    [((3, 3), 1, True), ((9, 9), 1, True), ((3, 3), 16, False), ((1001,), 1, False)],
)
def test_few_taps_of_one_channel_go_without_matrix_products(kernel_size, outputs, wanted):
    geometry = laid((56,) * len(kernel_size), kernel_size)
    assert _costs.by_channel(geometry, 32, outputs, 8) == wanted


@pytest.mark.parametrize(("channels", "wanted"), [(16, False), (256, True)])
def test_several_outputs_of_many_channels_go_without_tiny_products(channels, wanted):
    """So few windows of all channels fit in a block that a product is mostly its call."""
    geometry = laid((14, 14), (3, 3))
    assert _costs.by_channel(geometry, channels, 4, 8) == wanted


@pytest.mark.parametrize(
    ("strides", "outputs", "batch", "wanted"),
    [(1, 1, 1, False), (1, 1, 8, True), (2, 1, 4, False), (1, 4, 4, False), (2, 2, 64, True)],
)
def test_a_small_image_has_one_convolution_for_all_channels(strides, outputs, batch, wanted):
    geometry = laid((8, 8), (3, 3), strides)
    assert _costs.by_channel(geometry, 16, outputs, batch) == wanted


@pytest.mark.parametrize(
    ("channels", "outputs", "batch", "wanted"),
    [(32, 1, 8, 2), (32, 2, 8, 0), (32, 1, 1, 0)],  # of several outputs or few pixels: together
)
def test_both_products_of_many_channels_go_without_matrix_products(
    monkeypatch, channels, outputs, batch, wanted
):
    x = integers(rng, (batch, 16, 16, channels))
    kernel = integers(rng, (3, 3, 1, channels * outputs))
    geometry = Geometry.of((16, 16), (3, 3), 1, "same", 1)
    y = _products.correlate(x, kernel, None, geometry, channels, FLOAT)
    dkernel = _products.kernel_gradient(x, y, geometry, channels, FLOAT)
    names = "correlate", "kernel_gradient"
    taken = [spied(monkeypatch, _channelwise, name, lambda *_: True) for name in names]
    with prices(WORKSPACE=4 * (2 * 16**2) * 9 * 32, by_channel=lambda *_: True):
        both = _products.both_from_columns(x, kernel, y, geometry, channels, FLOAT)
    assert sum(map(len, taken)) == wanted
    for actual, expected in zip(both, (y, dkernel), strict=True):
        same_values(actual, expected)


@pytest.mark.parametrize("options", [{}, {"padding": 2}, {"dilation_rate": 4}, {"strides": 3}])
def test_every_pixel_of_a_gradient_is_written_channel_by_channel(monkeypatch, options):
    """Also those between taps or windows, which no window reads."""
    x, kernel = integers(rng, (2, 6, 5, 3)), integers(rng, (2, 2, 3, 2))
    y, cache = depthwise.forward(x, kernel, **options)
    with prices(by_channel=lambda *_: False):
        wanted = depthwise.backward(y, cache).x
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, np.nan, dtype))
    ways = dict.fromkeys(("by_channel", "collects_by_channel"), lambda *_: True)
    with prices(**ways):
        assert_array_equal(depthwise.backward(y, cache).x, wanted)


def test_a_kernel_larger_than_dy_and_four_workspaces_is_not_copied(monkeypatch):
    collected = spied(monkeypatch, _products, "_collected", lambda *_: True)
    x, kernel = np.ones((1, 9, 2)), np.ones((9, 2, 2))
    y, cache = conv.forward(x, kernel, padding="same", strides=(1,))
    for size, wanted in ((8 * 9 * 4 // 4, 1), (8 * 9 * 4 // 4 - 1, 1)):
        with prices(WORKSPACE=size, collects=lambda *_: True):
            _products.image_gradient(y, kernel, cache.geometry, 1, FLOAT)
        assert len(collected) == wanted
    together = spied(monkeypatch, _products, "both_from_columns", lambda *_: True)
    for size, wanted in ((2 * 8 * 9 * 4 // 4, 1), (2 * 8 * 9 * 4 // 4 - 1, 1)):  # two copies
        with prices(WORKSPACE=size, collects=lambda *_: True):
            _products.both_gradients(x, y, kernel, cache.geometry, 1, FLOAT)
        assert len(together) == wanted


def test_a_rate_along_an_axis_of_one_tap_may_be_any_number():
    x, kernel = integers(rng, (2, 3, 4, 5)), integers(rng, (1, 3, 5, 1))

    def step(rate):
        y, cache = depthwise.forward(x, kernel, dilation_rate=(rate, 1))
        return y, *depthwise.backward(y, cache)[:2]

    with prices(by_channel=lambda *_: True):
        for actual, expected in zip(step(2**62), step(1), strict=True):
            same_values(actual, expected)


# ---- what is not finite, and what is not right


@given(transposed_cases(), st.sampled_from(["x", "kernel", "dy"]), st.integers(0, 10**6))
def test_no_term_of_a_transposed_gradient_comes_from_what_was_cut_off(case, name, where):
    """Padding is nothing there, not zero: inf must not meet it."""
    y, cache = transposed.forward(case.x, case.kernel, **case.hyperparameters)
    dy = case.cotangent(y)
    arrays = {"x": case.x, "kernel": case.kernel, "dy": dy}
    arrays = {key: array.astype(float) for key, array in arrays.items()}
    if not arrays[name].size:
        return
    arrays[name].flat[where % arrays[name].size] = np.inf
    x, kernel, dy = arrays.values()
    geometry, groups = cache.geometry, cache.groups
    dx, dkernel = np.zeros(x.shape), np.zeros(kernel.shape)
    outputs, inputs = kernel.shape[-2], x.shape[-1] // groups
    with np.errstate(invalid="ignore"):
        for window in np.ndindex(*geometry.output_size):
            for tap in np.ndindex(*geometry.kernel_size):
                at = np.multiply(window, geometry.strides) + np.multiply(
                    tap, geometry.dilation_rate
                )
                at = tuple(at - [before for before, _ in geometry.padding])
                if min(at) < 0 or np.any(np.subtract(at, geometry.input_size) >= 0):
                    continue
                for g in range(groups):
                    i, o = (slice(g * n, (g + 1) * n) for n in (inputs, outputs))
                    pixel, stamp = dy[(slice(None), *at, o)], x[(slice(None), *window, i)]
                    for n in range(len(x)):
                        dx[(n, *window, i)] += (
                            pixel[n][:, None] * kernel[(*tap, slice(None), i)]
                        ).sum(0)
                        dkernel[(*tap, slice(None), i)] += np.outer(pixel[n], stamp[n])
        _, cache = transposed.forward(x, kernel, **case.hyperparameters)
        gradients = transposed.backward(dy, cache)
    assert_array_equal(gradients.x, dx)
    assert_array_equal(gradients.kernel, dkernel)


def test_no_window_is_shown_in_no_memory():
    geometry = replace(Geometry.of((2,), (1,), 1, 0, 1), input_size=(0,))
    assert windows(np.zeros((0, 0, 3)), geometry).size == 0
    with pytest.raises(ValueError, match="does not fit in an empty array"):
        windows(np.zeros((2, 0, 3)), geometry)


@given(
    st.sampled_from(
        [(conv, conv_cases()), (transposed, transposed_cases()), (depthwise, depthwise_cases())]
    ),
    st.data(),
)
def test_no_altered_cache_reaches_memory_that_is_not_its_own(kind, data):
    """It is refused, or something is computed; NumPy checks every view that is made."""
    module, cases = kind
    case = data.draw(cases)
    y, cache = module.forward(case.x, case.kernel, **case.hyperparameters)
    if module is depthwise:
        module, cache = conv, cache.conv
    rank = len(cache.geometry.kernel_size)
    field = data.draw(st.sampled_from([f.name for f in fields(Geometry)]))
    number = st.integers(-3, 40)
    entry = st.tuples(number, number) if field == "padding" else number
    altered = replace(cache.geometry, **{field: data.draw(st.tuples(*[entry] * rank))})
    with suppress(ValueError, TypeError, IndexError, ZeroDivisionError, MemoryError):
        module.backward(y, replace(cache, geometry=altered))
