"""Pictures are read back from their SVG, still and moving, and compared with what is computed."""

import contextlib
import inspect
import math
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import NamedTuple

import numpy as np
import pytest
from helpers import (
    conv_cases,
    depthwise_cases,
    examples_run,
    per_axis,
    pool_cases,
    says,
    transposed_cases,
    unary_cases,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convinsights import (
    average_pooling,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    draw,
    im2col,
    max_pooling,
    receptive_field,
    relu,
    transposed,
    unary,
)
from convinsights.draw.__main__ import main
from convinsights.receptive_field import Layer, Residual

SVG = "{http://www.w3.org/2000/svg}"

# ---- reading a picture


class Seen(NamedTuple):
    """The cells of one plane by their place, and what lies on them frame by frame."""

    cells: dict  # (kind, place): corner
    kinds: dict  # (kind, place): class
    windows: list  # per frame: the corners of the taps
    rings: list  # per frame: the corner of the cell that belongs to the window
    stamps: list  # per frame: {corner: count written there}


def style_of(svg):
    return svg.find(f"{SVG}style").text


def moves(style, name, frames):
    """Where the keyframes move a shape to, while a frame lasts."""
    steps = re.search(rf"@keyframes \w+-{name}{{(.*?}})}}", style)[1]
    places = re.findall(
        r"[\d.]+%,[\d.]+%{transform:translate\((\S+?)px,(\S+?)px\);opacity:1", steps
    )
    assert len(places) == frames
    return [(float(x), float(y)) for x, y in places]


def corner(shape, shift=(0, 0)):
    """The corner of a cell: what is drawn lies 1 inside of it."""
    inside = 1 if shape.tag == f"{SVG}rect" else 0
    return tuple(float(shape.get(k)) + d - inside for k, d in zip("xy", shift, strict=True))


def kind_of(use, parents):
    """The class that a cell has itself, or from its group."""
    return (use.get("class") or parents[use].get("class")).split()[0]


def translation(shape):
    return tuple(
        map(float, re.fullmatch(r"translate\((\S+) (\S+)\)", shape.get("transform")).groups())
    )


def place(text):
    return tuple(map(int, text.split(",")))


def read(picture, plane=0, planes=1, outputs=True):
    svg = ET.fromstring(str(picture))
    cells, kinds = {}, {}
    parents = {child: parent for parent in svg.iter() for child in parent}
    for kind in ("input", "output", "padding"):
        found = [use for use in svg.iter(f"{SVG}use") if use.get(f"data-{kind}")]
        assert len(found) % planes == 0
        count = len(found) // planes
        for use in found[plane * count : (plane + 1) * count]:
            key = kind, place(use.get(f"data-{kind}"))
            assert key not in cells
            cells[key], kinds[key] = corner(use), kind_of(use, parents)
    frames = [g for g in svg.iter() if g.get("data-window")]
    frames = frames[plane * len(frames) // planes : (plane + 1) * len(frames) // planes]
    group = [g for g in svg.iter(f"{SVG}g") if g.get("class") == "w"][plane]
    origin = translation(parents[group])
    style, (still, *others) = style_of(svg), [g for g in frames if " s" in g.get("class")]
    assert not others
    if "@keyframes" in style:
        shifts = moves(style, "w", len(frames))
        number = int(re.search(r" d(\d+) ", still.get("class"))[1])
        assert np.allclose(shifts[number], translation(group), atol=0.11)
    else:
        shifts = [translation(group)]
    taps = [rect for rect in group if rect.get("class") in ("tp", "tq", "ts")]
    windows = [[corner(tap, np.add(origin, shift)) for tap in taps] for shift in shifts]
    rings = [corner(g.find(f"{SVG}rect[@class='wi']")) for g in frames] if outputs else []
    stamps = [g for g in svg.iter(f"{SVG}g") if g.get("data-stamp")]
    counts = [
        {corner(use): int(kind_of(use, parents)[1:]) for use in g.iter(f"{SVG}use")}
        for g in stamps[plane * len(stamps) // planes : (plane + 1) * len(stamps) // planes]
    ]
    return Seen(cells, kinds, windows, rings, counts)


def on(seen, spot):
    """The cell whose corner is there; coordinates are written to a tenth."""
    names = list(seen.cells)
    distance = np.abs(np.array([seen.cells[name] for name in names]) - spot).max(axis=1)
    assert distance.min() < 0.35, "no cell is there"
    return names[distance.argmin()]


# ---- windows


class Drawn(NamedTuple):
    """A call of `windows` and the same operation with ones for weights, on one plane."""

    module: object
    input_size: tuple
    kernel_size: tuple
    keywords: dict
    planes: int

    def draw(self, **more):
        return draw.windows(self.module, self.input_size, self.kernel_size, **self.keywords, **more)

    def forward(self, image):
        keywords = {k: v for k, v in self.keywords.items() if k != "groups"}
        x = np.reshape(image, (1, *self.input_size, 1)).astype(float)
        if self.module in (average_pooling, max_pooling):
            return self.module.forward(x, self.kernel_size, **keywords)
        mixing = [np.ones((1, 1))] * (self.module is depthwise_separable)
        return self.module.forward(x, np.ones((*self.kernel_size, 1, 1)), *mixing, **keywords)

    def support(self, pixel):
        """The input pixels that an output pixel depends on, by its gradient."""
        if self.module is max_pooling:
            # Its gradient is that of the largest pixel, which each may be in its turn.
            pixels = math.prod(self.input_size)
            turns = np.eye(pixels).reshape(pixels, *self.input_size, 1)
            y, _ = max_pooling.forward(turns, self.kernel_size, **self.keywords)
            (largest,) = y[(slice(None), *pixel, 0)].nonzero()
            return set(zip(*np.unravel_index(largest, self.input_size), strict=True))
        y, cache = self.forward(np.ones(self.input_size))
        dy = np.zeros_like(y)
        dy[(0, *pixel, 0)] = 1
        return set(zip(*self.module.backward(dy, cache).x[0, ..., 0].nonzero(), strict=True))


@st.composite
def drawings(draw_from, transposed_too=True):
    """Any geometry of one or two axes that is small enough to be seen."""
    module, cases = draw_from(
        st.sampled_from(
            [
                (conv, conv_cases()),
                (dilated, conv_cases()),
                (depthwise, depthwise_cases()),
                (depthwise_separable, depthwise_cases()),
                (unary, unary_cases()),
                (max_pooling, pool_cases(True)),
                (average_pooling, pool_cases(False)),
                *[(transposed, transposed_cases())] * transposed_too,
            ]
        )
    )
    case = draw_from(cases.filter(lambda case: case.x.ndim < 5))
    if module in (average_pooling, max_pooling):
        size = per_axis(case.pool_size, case.x.ndim - 2)
        return Drawn(module, case.x.shape[1:-1], tuple(size), case.hyperparameters, 1)
    kernel_size = case.kernel.shape[:-2] or (1,) * (case.x.ndim - 2)
    apart = module in (depthwise, depthwise_separable)
    planes = 2 if apart or case.hyperparameters.get("groups", 1) > 1 else 1
    return Drawn(module, case.x.shape[1:-1], kernel_size, case.hyperparameters, planes)


@given(drawings())
@settings(max_examples=40)
def test_every_frame_lights_what_the_gradient_depends_on(case):
    y, _ = case.forward(np.ones(case.input_size))
    output_size = y.shape[1:-1]
    frames = list(np.ndindex(*(case.input_size if case.module is transposed else output_size)))
    assume(len(frames) <= 60)
    picture = case.draw()
    assert len(str(picture).encode()) <= 60_000
    for plane in range(case.planes):
        seen = read(picture, plane, case.planes)
        for kind, size in (("input", case.input_size), ("output", output_size)):
            assert {p for k, p in seen.cells if k == kind} == set(np.ndindex(*size))
        assert len(seen.windows) == len(seen.rings) == len(frames)
        for frame, taps, ring in zip(frames, seen.windows, seen.rings, strict=True):
            assert len(taps) == np.prod(case.kernel_size)
            lit = {on(seen, tap) for tap in taps}
            assert len(lit) == len(taps)
            if case.module is transposed:
                assert on(seen, ring) == ("input", frame)
                image = np.zeros(case.input_size)
                image[frame] = 1
                stamped = case.forward(image)[0][0, ..., 0]
                assert {p for k, p in lit if k == "output"} == set(
                    zip(*stamped.nonzero(), strict=True)
                )
            else:
                assert on(seen, ring) == ("output", frame)
                assert {p for k, p in lit if k == "input"} == case.support(frame)


@given(transposed_cases().filter(lambda case: case.x.ndim < 5))
@settings(max_examples=20)
def test_stamps_count_what_has_been_added_so_far(case):
    groups = case.hyperparameters["groups"]
    case = Drawn(transposed, case.x.shape[1:-1], case.kernel.shape[:-2], case.hyperparameters, 1)
    seen = read(case.draw(animate=False), 0, 2 if groups > 1 else 1)
    image, shown = np.zeros(case.input_size), {}
    for pixel, stamp in zip(np.ndindex(*case.input_size), seen.stamps, strict=True):
        image[pixel] = 1
        shown |= {on(seen, spot): count for spot, count in stamp.items()}
        counts = case.forward(image)[0][0, ..., 0]
        assert shown == {("output", p): counts[p] for p in zip(*counts.nonzero(), strict=True)}


@given(drawings(transposed_too=False))
@settings(max_examples=20)
def test_pixels_that_no_window_reads_and_padding_look_different(case):
    seen = read(case.draw(animate=False), 0, case.planes)
    y, _ = case.forward(np.ones(case.input_size))
    read_by = np.zeros(case.input_size)
    for pixel in np.ndindex(*y.shape[1:-1]):
        for spot in case.support(pixel):
            read_by[spot] = 1
    for (kind, pixel), shade in seen.kinds.items():
        expected = {"output": "ou", "padding": "ze"}.get(kind)
        assert shade == (expected or ("px" if read_by[pixel] else "un"))


def test_zeros_of_same_lie_below_and_to_the_right():
    seen = read(draw.windows(conv, (6, 6), (3, 3), strides=2, padding="same"))
    zeros = {pixel for kind, pixel in seen.cells if kind == "padding"}
    assert zeros == {(6, j) for j in range(7)} | {(i, 6) for i in range(7)}


def test_a_frame_lasts_as_long_for_window_beam_words_and_output():
    picture = draw.windows(conv, 5, 2, strides=2)
    style = style_of(ET.fromstring(str(picture)))
    duration = float(re.search(r"\.f{animation:\w+-f ([\d.]+)s", style)[1])
    glide = re.search(r"@keyframes \w+-w{(.*?}})", style)[1]
    starts = [float(start) for start in re.findall(r"([\d.]+)%,[\d.]+%{transform", glide)]
    delays = [float(re.search(rf"\.d{k}{{animation-delay:(\S+)s}}", style)[1]) for k in range(2)]
    filled = [re.search(rf"@keyframes \w+-o{k}{{(.*?}})}}", style)[1] for k in range(2)]
    assert starts[:2] == pytest.approx([0, 100 / 4.5], abs=0.01)
    shifted = [(delay / duration + 1) * 100 for delay in delays]
    assert shifted == pytest.approx(starts[:2], abs=0.1)
    assert filled[0] == "0%,100%{opacity:1}"
    assert starts[1] < float(re.search(r"}([\d.]+)%,100%{opacity:1", filled[1])[1]) < starts[1] + 5


def frames_of(picture):
    return [g for g in ET.fromstring(str(picture)).iter(f"{SVG}g") if g.get("data-window")]


def numbers(text):
    return list(map(float, re.findall(r"-?[\d.]+", text)))


@pytest.mark.parametrize("module", [conv, transposed])
def test_beams_lead_from_the_window_to_its_cell(module):
    picture = draw.windows(module, (3, 4), (2, 3), strides=(1, 2), padding=((1, 0), (0, 1)))
    seen = read(picture)
    for frame, taps, ring in zip(frames_of(picture), seen.windows, seen.rings, strict=True):
        edge, top, to, to_top, down, end, bottom = numbers(frame.find(f"{SVG}path").get("d"))
        size = taps[1][0] - taps[0][0]
        right = module is conv
        assert (edge, end) == (taps[-1 if right else 0][0] + right * size,) * 2
        assert (top, bottom) == (taps[0][1], taps[-1][1] + size)
        assert (to, to_top, down) == (ring[0] + (not right) * size, ring[1], size)


@pytest.mark.parametrize("module", [conv, transposed])
def test_beams_of_one_axis_lead_from_every_tap(module):
    picture = draw.windows(module, 5, 3, strides=2, dilation_rate=2, padding=1)
    seen = read(picture)
    for frame, taps, ring in zip(frames_of(picture), seen.windows, seen.rings, strict=True):
        lines = numbers(frame.find(f"{SVG}path").get("d"))
        size = (taps[1][0] - taps[0][0]) / 2
        below = module is conv
        assert lines[0::4] == [x + size / 2 for x, _ in taps]
        assert lines[1::4] == [y + below * size for _, y in taps]
        assert lines[2::4] == [ring[0] + size / 2] * 3
        assert lines[3::4] == [ring[1] + (not below) * size] * 3
        assert lines[2] == taps[1][0] + size / 2, "a cell stands at the middle of its window"


def test_causal_cells_stand_at_the_last_tap():
    seen = read(draw.windows(dilated, 6, 3, padding="causal"))
    assert [taps[-1][0] for taps in seen.windows] == [ring[0] for ring in seen.rings]


@pytest.mark.parametrize(
    ("size", "kernel", "keywords", "frame", "neighbour"),
    [
        ((4, 5), (2, 2), {"strides": (1, 3)}, (0, 0), (0, 3)),
        ((4, 2), (2, 2), {"strides": 2}, (0, 0), (2, 0)),
        ((4, 4), (3, 3), {"strides": 2, "padding": "same"}, (2, 2), (2, 0)),
        (4, 3, {"padding": "causal"}, (-2,), (-1,)),
    ],
)
def test_still_picture_shows_a_window_and_its_neighbour(size, kernel, keywords, frame, neighbour):
    picture = draw.windows(conv, size, kernel, **keywords, animate=False)
    svg, seen = ET.fromstring(str(picture)), read(picture)
    (ghost,) = [rect for rect in svg.iter(f"{SVG}rect") if rect.get("class") == "gh g"]
    (taps,) = seen.windows
    group = next(g for g in svg.iter(f"{SVG}g") if ghost in list(g))
    shift = np.subtract(
        numbers(f"{ghost.get('x')} {ghost.get('y')}"), translation(group.find(f"{SVG}g"))
    )
    assert on(seen, taps[0])[1] == frame
    cells = shift[::-1][-len(frame) :] / (taps[1][0] - taps[0][0])
    assert tuple(np.add(frame, cells)) == neighbour


def test_holes_are_under_the_window_but_not_under_its_taps():
    seen = read(draw.windows(dilated, 5, 2, dilation_rate=3, padding="valid"))
    assert [[on(seen, tap)[1] for tap in taps] for taps in seen.windows] == [
        [(0,), (3,)],
        [(1,), (4,)],
    ]


def words(picture):
    svg = ET.fromstring(str(picture))
    return [text.text for text in svg.iter(f"{SVG}text")]


def test_words_say_what_is_seen():
    shown = words(draw.windows(conv, (6, 5), (3, 3), strides=(2, 1), padding="same"))
    assert {
        "input 6 × 5",
        "output 3 × 5",
        'kernel 3 × 3, strides 2 × 1, padding "same"',
        "zeros: 0 above, 1 below, 1 left, 1 right",
        "rows: (0 + 6 + 1 − 3) / 2 + 1 = 3",
        "columns: 1 + 5 + 1 − 3 + 1 = 5",
        "window (0, 0): 6 pixels and 3 zeros",
        "window (0, 1): 9 pixels",
        "15 windows × 9 taps = 135 products, 31 with zeros",
        "zero of the padding",
        "pixel × weight",
    } <= set(shown)


def test_words_of_a_transposed_convolution():
    shown = words(draw.windows(transposed, (3, 3), (3, 3), strides=2, padding=1, output_padding=1))
    assert {
        "input 3 × 3",
        "output 6 × 6",
        "kernel 3 × 3, strides 2, output padding 1",
        "cut off: 1 above, 1 below, 1 left, 1 right",
        "output: (3 − 1) · 2 + 3 − 1 − 1 + 1 = 6",
        "stamp (0, 0): 4 of 9 taps land, 5 cut off",
        "9 stamps × 9 taps = 81 products, 17 cut off",
        "4 stamps",
    } <= set(shown)


def test_lines_that_are_too_long_are_broken_but_no_size():
    picture = draw.windows(
        dilated, (6, 7), (2, 3), strides=(1, 2), dilation_rate=(3, 2), animate=False
    )
    shown = words(picture)
    assert 'kernel 2 × 3, strides 1 × 2, padding "same", dilation rate' in shown
    assert "3 × 2" in shown


def test_what_is_rounded_is_said():
    picture = draw.windows(conv, 6, 3, strides=2)
    assert "output: (6 − 3) / 2, rounded down, + 1 = 2" in words(picture)


def test_one_window_has_no_other_beside_it():
    assert "window 0: 3 pixels" in words(draw.windows(conv, 3, 3, animate=False))
    assert "window 0: 3 pixels; dashed: its neighbour" in words(draw.windows(conv, 4, 3))


def test_words_of_pooling():
    assert {
        "pool 3 × 3, strides 2",
        "padding: 1 above, 1 below, 1 left, 1 right",
        "padding, left out",
        "in the window",
        "window (0, 0): the maximum of 4 pixels",
        "9 windows of 9 pixels, 64 of them over pixels",
    } <= set(words(draw.windows(max_pooling, (6, 6), 3, strides=2, padding=1)))
    assert {"window 0: the sum of 2 pixels / 2", "padding, left out"} <= set(
        words(draw.windows(average_pooling, 6, 3, padding=1))
    )
    assert {"window 0: the sum of 2 pixels / 3", "padding, counted as 0", "0"} <= set(
        words(draw.windows(average_pooling, 6, 3, padding=1, count_padding=True))
    )
    assert {'pool 4 × 5, strides 4 × 5, padding "valid"', "no padding"} <= set(
        words(draw.windows(max_pooling, (4, 5)))
    )


def test_channels_that_stay_apart_are_drawn_apart():
    assert {
        "output 4, channel 1",
        "2 channels × 4 windows × 2 taps = 16 products, 2 with zeros",
    } <= set(words(draw.windows(depthwise, 4, 2, padding="same")))
    assert {
        "between 4, channel 1",
        "between",
        "then 1 × 1: of every pixel between, the channels are mixed",
    } <= set(words(draw.windows(depthwise_separable, 4, 2, padding="same")))
    grouped = words(draw.windows(conv, 4, 2, groups=3))
    assert {
        "input 4, group 1",
        'kernel 2, strides 1, padding "valid", groups 3',
        "3 groups × 3 windows × 2 taps = 18 products",
    } <= set(grouped)


def test_unary_says_that_it_has_more_channels_than_the_one_shown():
    assert {
        "one channel of input and of output; all are mixed",
        "4 windows × 1 tap = 4 products",
    } <= set(words(draw.windows(unary, 4)))


# ---- columns


@given(
    st.tuples(st.integers(3, 5), st.integers(3, 5)) | st.tuples(st.integers(5, 9)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["valid", "same", 1]),
    st.integers(1, 2),
)
@settings(max_examples=20)
def test_rows_are_those_of_im2col(input_size, kernel_size, strides, padding, rate):
    assume((kernel_size - 1) * rate < min(input_size))
    keywords = {"strides": strides, "padding": padding, "dilation_rate": rate}
    image = np.array(list(np.ndindex(*input_size))) @ [10, 1][-len(input_size) :]
    image = image.reshape(1, *input_size, 1) + 1000
    rows = im2col.im2col(image, (kernel_size,) * len(input_size), **keywords).astype(int)
    assume(len(rows) <= 40)
    assume(rows.shape[1] + input_size[-1] + 2 * (kernel_size - 1) * rate + 2 <= 20)
    picture = draw.columns(input_size, (kernel_size,) * len(input_size), **keywords)
    svg = ET.fromstring(str(picture))
    labels = {
        group.get("id").split("-")[1]: group.find(f"{SVG}text").text
        for group in svg.iter(f"{SVG}g")
        if re.search(r"-p\d+$", group.get("id", ""))
    }
    shown = [
        [(labels[use.get("href").split("-")[1]], use.get("class")) for use in group]
        for group in svg.iter(f"{SVG}g")
        if group.get("data-row")
    ]
    name = {0: ("0", "ze")} | {
        pixel: (str(pixel - 1000).zfill(len(input_size)), "px") for pixel in image.ravel()
    }
    assert shown == [[name[pixel] for pixel in row] for row in rows]
    corners = [[corner(use) for use in g] for g in svg.iter(f"{SVG}g") if g.get("data-row")]
    assert all(len({y for _, y in row}) == 1 for row in corners)
    assert len({y for row in corners for _, y in row}) == len(rows)
    assert all(x == sorted(x) for x in ([x for x, _ in row] for row in corners))
    pixels = {
        labels[use.get("href").split("-")[1]]: place(use.get("data-input"))
        for use in svg.iter(f"{SVG}use")
        if use.get("data-input")
    }
    assert {"".join(map(str, spot)) for spot in pixels.values()} == set(pixels)
    geometry = Drawn(conv, input_size, (kernel_size,) * len(input_size), keywords, 1)
    seen = read(picture, outputs=False)
    for frame, taps in zip(
        np.ndindex(*geometry.forward(image)[0].shape[1:-1]), seen.windows, strict=True
    ):
        lit = {on(seen, tap) for tap in taps}
        assert {spot for kind, spot in lit if kind == "input"} == geometry.support(frame)


def test_words_of_columns():
    shown = words(draw.columns((3, 4), (2, 2)))
    assert {"image 3 × 4", "matrix 6 × 4", "row 5, window (1, 2): 4 pixels"} <= set(shown)
    assert "6 windows × 4 taps: 24 numbers from 12 pixels" in shown


# ---- matrix


@st.composite
def matrices(draw_from):
    """A kernel and an image whose matrix is small enough to be seen."""
    case = draw_from(conv_cases().filter(lambda case: case.x.ndim < 5))
    shape = case.x.shape[1:]
    rows = conv.matrix(case.kernel, shape, **case.hyperparameters).shape
    assume(max(rows) <= 40)
    return case.kernel, shape, case.hyperparameters


def path_cells(shape):
    return [tuple(map(float, spot)) for spot in re.findall(r"M(\S+) (\S+?)h", shape.get("d"))]


def table(svg, attribute):
    """The values of a table whose cells are drawn value by value."""
    found = {}
    for shape in svg.iter(f"{SVG}path"):
        if shape.get(attribute) is not None:
            found |= dict.fromkeys(path_cells(shape), int(shape.get(attribute)))
    xs, ys = (sorted({spot[axis] for spot in found}) for axis in (0, 1))
    assert len(found) == len(xs) * len(ys)
    return np.array([[found[x, y] for x in xs] for y in ys])


@given(matrices())
@settings(max_examples=15)
def test_matrix_shows_every_weight_where_it_stands(case):
    kernel, shape, keywords = case
    order = np.arange(1, kernel.size + 1).reshape(kernel.shape)
    expected = conv.matrix(order, shape, **keywords)
    svg = ET.fromstring(str(draw.matrix(kernel, shape, **keywords)))
    assert (table(svg, "data-weight") == expected).all()
    if sum(expected.shape) <= 24:
        assert (table(svg, "data-tweight") == expected.T).all()


def test_matrix_shows_the_numbers_of_the_kernel():
    kernel = np.array([1.5, 0, -2]).reshape(3, 1, 1)
    picture = draw.matrix(kernel, (4, 1))
    numbers = [text for text in words(picture) if text in ("1.5", "0", "−2")]
    assert numbers == ["1.5", "0", "−2"] * 2 + ["1.5", "0", "1.5", "−2", "0", "−2"] + ["0"]
    assert "row 1 gathers 3 inputs; column 1 of Aᵀ scatters to them" in words(picture)
    assert "tap 2" in words(picture)
    shifts = moves(style_of(ET.fromstring(str(picture))), "w", 2)
    assert [x for x, _ in shifts] == [0, 0]
    assert [y for _, y in shifts] == [0, 38]
    shifts = moves(style_of(ET.fromstring(str(picture))), "t", 2)
    assert [x for x, _ in shifts] == [0, 38]
    assert [y for _, y in shifts] == [0, 0]


def test_matrix_with_channels_names_its_weights():
    shown = words(draw.matrix(np.ones((1, 2, 1)), (2, 2), animate=False))
    assert {"weight (0, 1, 0)", "3"} & set(shown) == {"weight (0, 1, 0)"}
    many = words(draw.matrix(np.ones((4, 3, 1)), (5, 3)))
    assert "weights, each in its colour" in many


# ---- receptive fields and overlaps


def plain_layers():
    rates, zeros = st.integers(1, 2), st.sampled_from([1, 2, (2, 0), "same", "causal"])
    strides = st.integers(1, 2)
    return st.tuples(st.integers(1, 3), strides, rates, zeros).map(lambda way: Layer(*way))


def larger_layers():
    ways = st.tuples(st.integers(1, 4), st.integers(1, 2))
    return ways.map(lambda way: Layer(*way, transposed=True))


def blocks():
    ways = [
        Residual([Layer(3, padding=1)]),
        Residual([Layer(2, 2, padding=(0, 1)), Layer(1)], [Layer(1, 2)]),
    ]
    return st.sampled_from(ways)


def layers():
    return plain_layers() | larger_layers() | blocks()


@st.composite
def stacks(draw_from, kinds=layers, *, size=(6,), most=3):
    """A stack per axis, in which every layer fits what comes before it."""
    fitting = [[] for _ in size]
    for pair in draw_from(st.lists(st.tuples(*[kinds()] * len(size)), max_size=most)):
        longer = [[*stack, layer] for stack, layer in zip(fitting, pair, strict=True)]
        with contextlib.suppress(ValueError):
            if max(receptive_field.overlaps(longer, size).shape) <= 50:
                fitting = longer
    return fitting


def counted(svg, depth=None):
    """The counts written on cells by their place, of one stage."""
    groups = [g for g in svg.iter() if depth is None or g.get("data-depth") == str(depth)]
    cells = [shape for group in groups for shape in group.iter() if shape.get("data-count")]
    return {place(shape.get("data-pixel")): int(shape.get("data-count")) for shape in cells}


def nonzero(counts):
    return {spot: counts[spot] for spot in zip(*map(tuple, counts.nonzero()), strict=True)}


@given(stacks(size=(7,)), st.data())
@settings(max_examples=25)
def test_every_stage_counts_the_paths_to_the_output_pixel(along_axes, data):
    (stack,), size = along_axes, 7
    sizes = [len(receptive_field.overlaps(stack[:n], size)) for n in range(len(stack) + 1)]
    pixel = data.draw(st.integers(0, sizes[-1] - 1))
    picture = draw.receptive_field(iter(stack), pixel, size)
    svg = ET.fromstring(str(picture))
    for depth, count in enumerate(sizes):
        expected = receptive_field.dependencies(stack[depth:], pixel, count)
        assert counted(svg, depth) == nonzero(expected)
    total = int(receptive_field.dependencies(stack, pixel, size).sum())
    assert f"by {total} path" in svg.find(f"{SVG}title").text
    assert len([shape for shape in svg.iter() if shape.get("data-depth")]) == len(sizes)


@given(
    st.one_of(
        [stacks(kinds, size=(4, 5), most=2) for kinds in (plain_layers, larger_layers, blocks)]
    ),
    st.data(),
)
@settings(max_examples=15)
def test_a_plane_counts_the_paths_of_both_axes(along_axes, data):
    size = 4, 5
    reached = receptive_field.overlaps(along_axes, size)
    pixel = tuple(data.draw(st.integers(0, n - 1)) for n in reached.shape)
    seen = ET.fromstring(str(draw.receptive_field(map(iter, along_axes), pixel, size)))
    assert counted(seen) == nonzero(receptive_field.dependencies(along_axes, pixel, size))
    assert counted(ET.fromstring(str(draw.overlaps(along_axes, size)))) == nonzero(reached)


@given(stacks(size=(7,), most=2))
@settings(max_examples=15)
def test_towers_have_a_block_for_every_path(along_axes):
    (stack,), size = along_axes, 7
    reached = receptive_field.overlaps(stack, size)
    svg = ET.fromstring(str(draw.overlaps(iter(stack), size)))
    towers = [shape for shape in svg.iter(f"{SVG}path") if shape.get("data-count")]
    assert [int(tower.get("data-count")) for tower in towers] == reached.tolist()
    assert [len(path_cells(tower)) for tower in towers] == reached.tolist()


def test_towers_with_little_room_have_no_numbers():
    assert words(draw.overlaps([], 40)) == [
        "output 40",
        "1 path",
        "1 path to each of 40 output pixels",
    ]


def test_lines_lead_from_every_pixel_to_what_it_depends_on():
    svg = ET.fromstring(str(draw.receptive_field([Layer(2), Layer(2)], 0, 3)))
    (path,) = [
        group.find(f"{SVG}path").get("d")
        for group in svg.iter(f"{SVG}g")
        if group.get("data-depth") == "0"
    ]
    lines = [tuple(map(float, line)) for line in re.findall(r"M(\S+) \S+L(\S+) \S+?(?=M|$)", path)]
    assert [end - start for start, end in lines] == [-19, 19, -19, 19]


@pytest.mark.parametrize(
    ("layer", "below"),
    [
        (Layer(3, 2, padding=1), [0, 2, 4]),
        (Layer(2), [0.5, 1.5, 2.5, 3.5]),
        (Layer(3, padding=(2, 0)), [0, 1, 2, 3, 4]),
        (Layer(3, 2, transposed=True, padding=1), [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (Residual([Layer(2, 2, padding=(0, 1)), Layer(1)], [Layer(1, 2)]), [0, 2, 4]),
    ],
)
def test_pixels_stand_above_the_middle_of_what_they_see(layer, below):
    svg = ET.fromstring(str(draw.receptive_field([layer], 0, 5)))
    upper, lower = [
        [x for x, _ in path_cells(shape)]
        for shape in svg.iter(f"{SVG}path")
        if shape.get("class") == "un"
    ]
    unit = lower[1] - lower[0]
    assert [(x - lower[0]) / unit for x in upper] == pytest.approx(below, abs=0.02)


def test_middle_and_size_by_default():
    stack = [Layer(3, dilation_rate=rate, padding=rate) for rate in (1, 2, 4)]
    picture = draw.receptive_field(stack)
    assert picture == draw.receptive_field(stack, 8, 17)
    plane = draw.receptive_field([stack, stack], input_size=(9, 8))
    assert plane == draw.receptive_field([stack, stack], (4, 3), (9, 8))


def test_words_of_receptive_fields():
    shown = words(draw.receptive_field([Layer(3, dilation_rate=2, padding=2)] * 2))
    assert {
        "1 of 11 pixels of the output",
        "3 of 11 pixels after layer 1",
        "5 of 11 pixels of the input, by 9 paths",
        "kernel 3, dilation rate 2, padding 2",
        "5 of 11 pixels, by 9 paths, with gaps between",
        "3 paths",
        "not seen",
    } <= set(shown)
    layers = [[Layer(3, 2, transposed=True)] * 2, [Layer(1), Layer(1)]]
    assert {
        "rows: 2 layers: transposed, kernel 3, strides 2",
        "columns: 2 layers: kernel 1",
        "1 to 3 paths to each of 11 × 2 output pixels",
    } <= set(words(draw.overlaps(layers, (2, 2))))
    assert "1 path to each of 4 output pixels" in words(draw.overlaps([], 4))
    assert "a branch and its short cut" in words(draw.receptive_field([Residual([Layer(1)])]))
    assert "2 paths to each of 4 output pixels" in words(draw.overlaps([Residual([Layer(1)])], 4))
    shown = words(draw.overlaps([[Layer(3, 2, transposed=True)]] * 2, (2, 2)))
    assert shown[-5:-1] == [
        "1 stamp",
        "2 stamps",
        "4 stamps",
        "1 to 4 stamps on each of 5 × 5 output pixels",
    ]


def test_a_receptive_field_begins_with_the_whole():
    style = style_of(ET.fromstring(str(draw.receptive_field([Layer(3)] * 2))))
    duration, begin = map(
        float, re.search(r"\.z{animation:\S+ (\S+)s step-end (\S+)s", style).groups()
    )
    whole = float(re.search(r"-z{0%{opacity:0}([\d.]+)%,100%{opacity:1}", style)[1]) / 100
    assert -begin / duration == pytest.approx(whole, abs=1e-3)
    late = [float(re.search(rf"\.d{k}{{animation-delay:(\S+)s}}", style)[1]) for k in range(3)]
    assert np.diff(late) == pytest.approx([duration / 5.5] * 2, abs=2e-3)
    assert late[0] == pytest.approx(begin - duration)
    assert re.search(rf"\.o{{animation:{duration:g}s step-end {begin:g}s infinite}}", style)


def test_gaps_are_those_of_the_zeros_that_same_means_for_the_size():
    stack = [Residual([Layer(2, 2, 2, "same")], [Layer(1, 2)])]
    odd, even = (str(draw.receptive_field(stack, 1, size)) for size in (7, 8))
    assert "3 of 7 pixels, by 3 paths." in odd  # one zero in front: the taps lie around the middle
    assert "2 of 8 pixels, by 3 paths, with gaps between." in even  # none: the first tap is on it
    behind = [Layer(1, 2, transposed=True), Layer(2, 2, padding="same")]
    assert "1 of 7 pixels, by 1 path." in str(draw.receptive_field(behind, 0, 7))


def test_nothing_is_seen_among_the_padding():
    stack = [Layer(1, padding=2)]
    assert "0 of 3 pixels, by 0 paths" in words(draw.receptive_field(stack, 0, 3))
    assert "0 of 3 pixels, by 0 paths" in words(draw.receptive_field(stack, 0, 3, animate=False))


# ---- array


@given(
    st.integers(1, 2).flatmap(
        lambda ndim: st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim)
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25)
def test_array_is_darker_the_further_from_0(shape, seed):
    x = np.random.default_rng(seed).integers(-5, 6, shape)
    picture = draw.array(x)
    svg = ET.fromstring(str(picture))
    shades = {}
    for shape in svg.iter(f"{SVG}path"):
        kind = shape.get("class")
        shades |= dict.fromkeys(path_cells(shape), int(kind[1:]) * (-1 if kind[0] == "m" else 1))
    ordered = np.array([shades[spot] for spot in sorted(shades, key=lambda spot: spot[::-1])])
    most = max(abs(x).max(), 1)
    assert (ordered == np.sign(x.ravel()) * -(-12 * abs(x.ravel()) // most)).all()
    numbers = [str(value).replace("-", "−") for value in x.ravel()]
    assert words(picture)[1 : len(numbers) + 1] == numbers


def test_array_with_little_room_shows_shades_only():
    assert words(draw.array(np.arange(400).reshape(20, 20)))[1:] == ["0", "399"]
    assert words(draw.array([1000, -99999, 0.0625]))[1:4] == ["1000", "−99999", "0.0625"]
    assert words(draw.array(np.float16([[0.125, -1]]), title="<a&b>"))[:3] == [
        "<a&b> 1 × 2",
        "0.125",
        "−1",
    ]


def test_array_leaves_its_argument_alone():
    x = np.array([[1, 2], [3, 4]])
    x.flags.writeable = False
    assert draw.array(x) == draw.array(np.asfortranarray(x)) == draw.array(x.tolist())


# ---- every picture


PICTURES = {
    "two axes": lambda: draw.windows(conv, (6, 6), (3, 3), strides=2, padding="same"),
    "one axis": lambda: draw.windows(dilated, 9, 3, padding="causal"),
    "depthwise": lambda: draw.windows(depthwise, (5, 5), (3, 3)),
    "stamps": lambda: draw.windows(transposed, (3, 3), (3, 3), strides=2),
    "stamps in groups": lambda: draw.windows(transposed, 3, 2, groups=2),
    "still": lambda: draw.windows(conv, 5, 2, animate=False),
    "pooling": lambda: draw.windows(average_pooling, (5, 5), 3, strides=2, padding="same"),
    "columns": lambda: draw.columns((3, 4), (2, 2)),
    "still columns": lambda: draw.columns((3, 3), 2, padding="same", animate=False),
    "matrix": lambda: draw.matrix(np.arange(3).reshape(3, 1, 1), (5, 1)),
    "still matrix": lambda: draw.matrix(np.ones((2, 2, 1, 1)), (5, 5, 1), animate=False),
    "receptive field": lambda: draw.receptive_field([Layer(3), Layer(2, 2)]),
    "still field": lambda: draw.receptive_field([Layer(3)], animate=False),
    "plane": lambda: draw.receptive_field([[Layer(3)], [Layer(2)]], input_size=(5, 5)),
    "overlaps": lambda: draw.overlaps([[Layer(3, 2, transposed=True)]] * 2, (3, 3)),
    "towers": lambda: draw.overlaps([Layer(3, 2, transposed=True)], 4),
    "array": lambda: draw.array([[-1, 0, 1]], title="differences"),
}
every_picture = pytest.mark.parametrize(
    "picture", [make() for make in PICTURES.values()], ids=PICTURES
)
TAGS = ("svg", "title", "desc", "style", "defs", "g", "rect", "use", "path", "text")
MOTION = "@media (prefers-reduced-motion:no-preference){"


@every_picture
def test_is_said_to_those_who_do_not_see_it(picture):
    svg = ET.fromstring(str(picture))
    labels = [svg.find(f"{SVG}{tag}") for tag in ("title", "desc")]
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby").split() == [label.get("id") for label in labels]
    assert all(len(label.text) > 20 for label in labels)
    assert repr(picture) == f"<Picture: {labels[0].text}>"


@every_picture
def test_needs_no_script_and_nothing_from_elsewhere(picture):
    svg = ET.fromstring(str(picture))
    for shape in svg.iter():
        assert shape.tag.removeprefix(SVG) in TAGS
        assert all(not name.startswith("on") for name in shape.attrib)
        assert shape.get("href", "#").startswith("#")
    assert "url(" not in str(picture)
    assert "@import" not in str(picture)


@every_picture
def test_what_is_used_is_defined_and_every_class_has_its_style(picture):
    svg = ET.fromstring(str(picture))
    ids = [shape.get("id") for shape in svg.iter() if shape.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(name.startswith(svg.get("id")) for name in ids)
    assert {use.get("href")[1:] for use in svg.iter(f"{SVG}use")} <= set(ids)
    style = style_of(svg)
    for shape in svg.iter():
        for kind in (shape.get("class") or "").split():
            named = re.search(rf"#{svg.get('id')} \.{kind}[{{,]", style)
            assert named or (kind[0] in "dowg" and MOTION not in style), kind


@every_picture
def test_stands_still_where_motion_is_not_wanted(picture):
    style = style_of(ET.fromstring(str(picture)))
    assert "animation" not in style.split(MOTION)[0]
    assert "@keyframes" not in style.split(MOTION)[0]
    assert style.count("{") == style.count("}")


@every_picture
def test_follows_the_scheme_of_the_page_on_no_ground_of_its_own(picture):
    svg = ET.fromstring(str(picture))
    style = style_of(svg).split(MOTION)[0]
    light, dark = style.split("@media (prefers-color-scheme:dark){")
    coloured = r"(\.\w+){[^}]*(?:fill|stroke):#"
    assert set(re.findall(coloured, light)) == set(re.findall(coloured, dark))
    for shape in svg.iter(f"{SVG}rect"):
        assert float(shape.get("width")) < 470


def luminance(colour):
    """As WCAG 2.1 defines it."""
    colour = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


GROUNDS = ["#ffffff", "#0d1117"]


@every_picture
@pytest.mark.parametrize("dark", [False, True])
def test_words_and_numbers_stand_out(picture, dark):
    style = style_of(ET.fromstring(str(picture))).split(MOTION)[0]
    style = style.split("@media (prefers-color-scheme:dark){")[dark]
    fills = dict(re.findall(r"#\w+ \.?(\w+){[^}]*?fill:(#\w+)", style))
    ink = re.search(r"--ink:(#\w+)", style)[1]
    for kind, fill in fills.items():
        if kind in ("text", "m"):
            assert contrast(fill, GROUNDS[dark]) > 6
        elif re.fullmatch(r"px|un|ou|k\d+", kind):
            assert contrast(fill, ink) > 4.5
        elif re.fullmatch(r"t[vm]\d+", kind):
            assert contrast(fill, fills[kind[1:]]) > 4.5
        elif re.fullmatch(r"h\d", kind) and "d" in fills:
            assert contrast(fill, fills["d"]) > 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_larger_counts_stand_out_more(dark):
    kinds = shades_of(draw.overlaps([[Layer(3, 2, transposed=True)]] * 2, (3, 3)), "k", dark)
    assert len(kinds) == 3
    assert kinds == sorted(kinds)
    kinds = shades_of(draw.array(np.arange(5)), "v", dark)
    assert len(kinds) == 5
    assert kinds == sorted(kinds)


def shades_of(picture, kind, dark):
    """The contrast of every shade to the ground, from the least to the largest."""
    style = style_of(ET.fromstring(str(picture))).split("@media")[dark]
    fills = re.findall(rf"#\w+ \.{kind}(\d+){{[^}}]*?fill:(#\w+)", style)
    return [contrast(fill, GROUNDS[dark]) for _, fill in sorted(fills, key=lambda f: int(f[0]))]


@every_picture
def test_is_legible_at_400_pixels(picture):
    svg = ET.fromstring(str(picture))
    assert svg.get("viewBox").split()[2] == "480"
    sizes = re.findall(r"font-size:([\d.]+)px", str(picture))
    assert min(map(float, sizes)) * 400 / 480 >= 9
    for text in svg.iter(f"{SVG}text"):
        assert len(text.text) * 7.2 <= 480


@every_picture
def test_is_a_value(picture):
    assert picture == draw.Picture(str(picture))


def test_pictures_on_one_page_keep_apart():
    names = {ET.fromstring(str(make())).get("id") for make in PICTURES.values()}
    assert len(names) == len(PICTURES)


def test_is_shown_in_notebooks_and_saved(tmp_path):
    picture = draw.windows(conv, 4, 2)
    assert picture._repr_svg_() == str(picture)
    picture.save(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == str(picture).encode()


# ---- refusals


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            TypeError,
            "module must be a module of convinsights, got 'conv'",
            lambda: draw.windows("conv", 4, 2),
        ),
        (
            ValueError,
            "module must be one of average_pooling, conv, ... got convinsights.relu",
            lambda: draw.windows(relu, 4, 2),
        ),
        (
            TypeError,
            "hyperparameters of conv must be strides, padding, ... got stride",
            lambda: draw.windows(conv, 4, 2, stride=2),
        ),
        (TypeError, "input_size must be an integer, got 4.0", lambda: draw.windows(conv, 4.0, 2)),
        (
            ValueError,
            "input_size[1] must be at least 1, got 0",
            lambda: draw.windows(conv, (4, 0), 2),
        ),
        (
            ValueError,
            "input_size must be an int or one for each of up to 2 axes, got (4, 4, 4)",
            lambda: draw.windows(conv, (4, 4, 4), 2),
        ),
        (
            ValueError,
            "input_size must be an int or one for each of up to 2 axes, got ()",
            lambda: draw.windows(conv, (), 2),
        ),
        (
            ValueError,
            "input_size must be small enough to be seen, at most 40 ... got (41,)",
            lambda: draw.windows(conv, 41, 2),
        ),
        (TypeError, "kernel_size must be given for conv, got None", lambda: draw.windows(conv, 4)),
        (
            ValueError,
            "kernel_size must be an int or have one entry per ... got (2, 2)",
            lambda: draw.windows(conv, 4, (2, 2)),
        ),
        (ValueError, "kernel_size must be 1 for unary, got 2", lambda: draw.windows(unary, 4, 2)),
        (ValueError, "kernel does not fit its padded input", lambda: draw.windows(conv, 2, 3)),
        (
            ValueError,
            "strides must be left out where kernel_size is None, the whole image, got 2",
            lambda: draw.windows(max_pooling, 4, strides=2),
        ),
        (
            ValueError,
            "padding must leave every window a pixel",
            lambda: draw.windows(average_pooling, 4, 2, padding=2),
        ),
        (
            TypeError,
            "count_padding must be a bool, got 1",
            lambda: draw.windows(average_pooling, 4, 2, count_padding=1),
        ),
        (
            ValueError,
            "groups must be at least 1, got 0",
            lambda: draw.windows(conv, 4, 3, groups=0),
        ),
        (
            ValueError,
            "strides must be at least 1, got 0",
            lambda: draw.windows(conv, 4, 3, strides=0),
        ),
        (
            ValueError,
            "output_padding must be 0 … 1 per spatial axis",
            lambda: draw.windows(transposed, 4, 3, strides=2, output_padding=2),
        ),
        (TypeError, "animate must be a bool, got 1", lambda: draw.windows(conv, 4, 3, animate=1)),
        (ValueError, "kernel does not fit its padded input", lambda: draw.columns(2, 3)),
        (ValueError, "input_size must leave room for the names", lambda: draw.columns((11, 2), 2)),
        (ValueError, "input_size must leave room for the names", lambda: draw.columns((5, 9), 4)),
        (ValueError, "input_size must leave room for the names", lambda: draw.columns((7, 7), 1)),
        (TypeError, "animate must be a bool, got None", lambda: draw.columns(4, 3, animate=None)),
        (
            ValueError,
            "kernel_shape must be (*kernel_size, C_in // groups, C_out)",
            lambda: draw.matrix([1, 2], (4, 1)),
        ),
        (
            ValueError,
            "input_shape must make a matrix that can be seen, at most 40 × 40, got 42 × 42",
            lambda: draw.matrix(np.ones((1, 1, 1, 1)), (6, 7, 1)),
        ),
        (
            ValueError,
            "input_size must be an int or one for each of up to 2 axes, got (2, 2, 2)",
            lambda: draw.matrix(np.ones((1, 1, 1, 1, 1)), (2, 2, 2, 1)),
        ),
        (TypeError, "layers must be an iterable of Layer, got 3", lambda: draw.overlaps(3, 3)),
        (TypeError, "layers[0] must be a Layer, got 3", lambda: draw.receptive_field([3], 0, 4)),
        (
            TypeError,
            "layers[1] must be an iterable of Layer, got 3",
            lambda: draw.overlaps([[], 3], (3, 3)),
        ),
        (
            ValueError,
            "input_size must be given, for layers[0] must not be transposed",
            lambda: draw.receptive_field([Layer(3, transposed=True)]),
        ),
        (
            ValueError,
            'input_size must be given, for layers[0].padding must not be "same" with strides',
            lambda: draw.receptive_field([Layer(3, 2, padding="same")]),
        ),
        (
            ValueError,
            "input_size must be small enough to be seen, at most 50 pixels ... got 51",
            lambda: draw.receptive_field([], 0, 51),
        ),
        (
            ValueError,
            "input_size must be small enough to be seen, at most 50 pixels ... got 63",
            lambda: draw.receptive_field([Layer(3, 2, transposed=True)] * 2, 0, 15),
        ),
        (
            ValueError,
            "input_size must be small enough to be seen, at most 50 pixels ... got 99",
            lambda: draw.overlaps([[], []], (3, 99)),
        ),
        (
            ValueError,
            "input_size must be small enough to be seen, at most 50 pixels ... got 61",
            lambda: draw.overlaps([[Layer(3, 2, transposed=True)]] * 2, (30, 3)),
        ),
        (
            ValueError,
            "input_size must be an int or one for each of 2 axes, got (3,)",
            lambda: draw.receptive_field([[]], input_size=(3,)),
        ),
        (
            ValueError,
            "layers must make few enough paths to be seen, at most 50 to a pixel, got 64",
            lambda: draw.overlaps([Layer(4)] * 3, 20),
        ),
        (ValueError, "output_pixel must be from 0 to 3", lambda: draw.receptive_field([], 4, 4)),
        (TypeError, "x must hold real numbers", lambda: draw.array([1j])),
        (
            ValueError,
            "x must be (size,) or (rows, columns) with no size of 0, got shape ()",
            lambda: draw.array(3),
        ),
        (ValueError, "x must be (size,) or (rows, columns)", lambda: draw.array([[]])),
        (ValueError, "x must be finite, got infinities or NaNs", lambda: draw.array([np.nan])),
        (
            ValueError,
            "x must be small enough to be seen, at most 64 columns ... got shape (80,)",
            lambda: draw.array(np.ones(80)),
        ),
        (TypeError, "title must be a string, got 3", lambda: draw.array([1], title=3)),
        (
            ValueError,
            "title must be printable and at most 40 characters",
            lambda: draw.array([1], title="a\0"),
        ),
        (
            ValueError,
            "input_size must make a picture of at most 60000 bytes, or be drawn still",
            lambda: draw.windows(conv, (14, 14), 3),
        ),
        (
            ValueError,
            "input_size must make a picture of at most 60000 bytes, got one of",
            lambda: draw.windows(conv, (30, 30), 3, animate=False),
        ),
        (
            ValueError,
            "x must make a picture of at most 60000 bytes, got one of",
            lambda: draw.array(np.arange(5760).reshape(90, 64)),
        ),
    ],
)
def test_refuses(error, message, call):
    with pytest.raises(error, match=says(message)):
        call()


# ---- the command line


def test_command_draws_what_the_function_draws():
    line = "windows conv --input 6 6 --kernel 3 3 --strides 2 --padding same"
    command = [sys.executable, "-m", "convinsights.draw", *line.split()]
    shown = subprocess.run(command, capture_output=True, check=True)
    assert shown.stdout.decode() == str(PICTURES["two axes"]())
    assert shown.stderr == b""


@pytest.mark.parametrize(
    ("line", "picture"),
    [
        ("windows conv --input 5 --kernel 2 --still", lambda: PICTURES["still"]()),
        (
            "windows dilated --input 6 --kernel 2 --padding 0,2 --dilation-rate 3",
            lambda: draw.windows(dilated, 6, 2, padding=((0, 2),), dilation_rate=3),
        ),
        (
            "windows conv --input 5 6 --kernel 3 2 --strides 2 1 --padding 1 0,1 --groups 2",
            lambda: draw.windows(
                conv, (5, 6), (3, 2), strides=(2, 1), padding=(1, (0, 1)), groups=2
            ),
        ),
        (
            "windows transposed --input 3 --kernel 3 --strides 2 --padding 1 --output-padding 1",
            lambda: draw.windows(transposed, 3, 3, strides=2, padding=1, output_padding=1),
        ),
        (
            "windows transposed --input 3 --kernel 3 --strides 2 --output-size 8",
            lambda: draw.windows(transposed, 3, 3, strides=2, output_size=8),
        ),
        (
            "windows average_pooling --input 4 --kernel 3 --padding 1 --count-padding",
            lambda: draw.windows(average_pooling, 4, 3, padding=1, count_padding=True),
        ),
        ("windows max_pooling --input 4 3", lambda: draw.windows(max_pooling, (4, 3))),
        ("windows unary --input 4 --strides 2", lambda: draw.windows(unary, 4, strides=2)),
        (
            "columns --input 3 4 --kernel 2 2 --padding same --strides 2 --still",
            lambda: draw.columns((3, 4), (2, 2), padding="same", strides=2, animate=False),
        ),
        (
            "matrix --input 7 --kernel [1,2,3] --strides 2",
            lambda: draw.matrix(np.array([1, 2, 3]).reshape(3, 1, 1), (7, 1), strides=2),
        ),
        (
            "receptive_field --layers 3,strides=2,padding=1 2 --input 9 --pixel 2",
            lambda: draw.receptive_field([Layer(3, 2, padding=1), Layer(2)], 2, 9),
        ),
        (
            "receptive_field --input 9 "
            "--layers 3,dilation_rate=2,padding=4:0 3,strides=2,padding=same",
            lambda: draw.receptive_field(
                [Layer(3, dilation_rate=2, padding=(4, 0)), Layer(3, 2, padding="same")],
                input_size=9,
            ),
        ),
        ("receptive_field --layers 3 --still", lambda: PICTURES["still field"]()),
        (
            "receptive_field --layers 3,transposed=1 --input 4 4 --pixel 2 3",
            lambda: draw.receptive_field([[Layer(3, transposed=True)]] * 2, (2, 3), (4, 4)),
        ),
        ("overlaps --layers 3,strides=2,transposed=1 --input 4", lambda: PICTURES["towers"]()),
        ("overlaps --layers 3,strides=2,transposed=1 --input 3 3", lambda: PICTURES["overlaps"]()),
        ("array [[-1,0,1]] --title differences", lambda: PICTURES["array"]()),
    ],
)
def test_command_takes_every_hyperparameter(line, picture, capfdbinary):
    main(line.split())
    assert capfdbinary.readouterr().out.decode() == str(picture())


def test_module_runs_as_a_command(monkeypatch, capfdbinary):
    line = "windows conv --input 5 --kernel 2 --still"
    monkeypatch.setattr(sys, "argv", ["draw", *line.split()])
    monkeypatch.delitem(sys.modules, "convinsights.draw.__main__")
    runpy.run_module("convinsights.draw", run_name="__main__")
    assert capfdbinary.readouterr().out.decode() == str(PICTURES["still"]())


def test_command_writes_a_file(tmp_path):
    main(["windows", "conv", "--input", "5", "--kernel", "2", "--output", str(tmp_path / "a.svg")])
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == str(draw.windows(conv, 5, 2))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: picture"),
        ("windows relu --input 4", "invalid choice: 'relu'"),
        ("windows conv --kernel 3", "the following arguments are required: --input"),
        ("windows conv --input 4", "kernel_size must be given for conv"),
        ("windows conv --input x --kernel 2", "argument --input: invalid int value: 'x'"),
        ("windows conv --input 4 --kernel 2 --padding full", "padding must be"),
        ("windows conv --input 4 --kernel 2 --padding 1,x", "padding must be"),
        ("windows conv --input 2 --kernel 3", "error: kernel does not fit its padded input"),
        ("windows unary --input 2 --padding 1", "hyperparameters of unary must be strides"),
        ("array [1,x", "argument x: must be numbers such as [[0, 1], [2, 3]], got [1,x"),
        ("array 3", "error: x must be (size,) or (rows, columns)"),
        ("overlaps --input 3 --layers x", "must be such as 3 or 3,strides=2,padding=1, got x"),
        ("overlaps --input 3 --layers 3,foo=2", "must be such as 3 or"),
        ("overlaps --input 3 --layers 3,transposed=2", "must be such as 3 or"),
        ("receptive_field --layers 3 --input 4 --pixel 2", "output_pixel must be from 0 to 1"),
        ("windows conv --input 4 --kernel 2 --output /no/such/folder/a.svg", "No such file"),
    ],
)
def test_command_refuses_with_status_2(line, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("line", ["--help", "windows --help"])
def test_command_helps(line, capsys):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 0
    assert "usage: python -m convinsights.draw" in capsys.readouterr().out


# ---- the face

SIGNATURES = {
    "array": "(x, *, title='array')",
    "columns": (
        "(input_size, kernel_size, *, strides=1, padding='valid', dilation_rate=1, animate=True)"
    ),
    "matrix": (
        "(kernel, input_shape, *, strides=1, padding='valid', dilation_rate=1, groups=1, "
        "animate=True)"
    ),
    "overlaps": "(layers, input_size)",
    "receptive_field": "(layers, output_pixel=None, input_size=None, *, animate=True)",
    "windows": "(module, input_size, kernel_size=None, *, animate=True, **hyperparameters)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_face(name):
    function = getattr(draw, name)
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]
    text = inspect.getdoc(function)
    titles = re.findall(r"^(\w+)\n-+$", text, flags=re.MULTILINE)
    assert titles == ["Parameters", "Returns", "Raises", "Examples"]
    assert f"`{name}`" in draw.__doc__.partition("\nReferences\n")[2]
    for parameter in signature.parameters:
        assert re.search(rf"^(.*, )?\W*{parameter}\b", text, flags=re.MULTILINE), parameter
    assert examples_run(function)


def test_the_package_hands_on_its_functions():
    assert dir(draw) == draw.__all__ == ["Picture", *SIGNATURES]
