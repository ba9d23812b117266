"""verify: right implementations pass, whatever their way; broken ones are told what is wrong."""

import dataclasses
import io
import re
import sys
import zlib

import numpy as np
import pytest
from helpers import loop_padding, per_axis, says

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    relu,
    transposed,
    unary,
    verify,
)
from convinsights.verify import _candidate as trials
from convinsights.verify import _plan as plans
from convinsights.verify._hypotheses import hypotheses

rng = np.random.default_rng(4)


MADE, ROWS, ALLOWANCES = plans.case_of, plans.rows, trials.allowances
CASES, ALLOWED = {}, {}


@pytest.fixture(autouse=True)
def _a_few_cases_made_once(monkeypatch):
    """Some rows of a middling size will do here, and most of the time goes into right answers."""

    def case_of(module, rank, row, precision, seed):
        key = module, rank, tuple(sorted(row.items())), precision, seed
        if key not in CASES:
            CASES[key] = MADE(module, rank, row, precision, seed)
        return CASES[key]

    def allowances(case, precision, gradients):
        key = id(case), precision, gradients
        if key not in ALLOWED:
            ALLOWED[key] = case, ALLOWANCES(case, precision, gradients)
        return ALLOWED[key][1]

    monkeypatch.setattr(plans, "case_of", case_of)

    def rows(space, strength):
        return sorted(ROWS(space, strength), key=plans.weight)[30:70]

    monkeypatch.setattr(plans, "rows", rows)
    monkeypatch.setattr(plans, "extra_rows", lambda *arguments: ())
    monkeypatch.setattr(trials, "allowances", allowances)


# ---- implementations that share no code with the library: tap by tap, summed in float64


def layout_of(x_size, kernel_size, strides=1, padding="valid", dilation_rate=1):
    """(zeros, output size, a function from a tap to the slices of the padded image it reads)."""
    rank = len(kernel_size)
    s, d = per_axis(strides, rank), per_axis(dilation_rate, rank)
    zeros = loop_padding(x_size, kernel_size, strides=s, padding=padding, dilation_rate=d)
    padded = [size + sum(pair) for size, pair in zip(x_size, zeros, strict=True)]
    axes = list(zip(padded, kernel_size, s, d, strict=True))
    size = tuple((length - (k - 1) * rate - 1) // step + 1 for length, k, step, rate in axes)
    if min(size) < 1:
        raise ValueError("the kernel does not fit")

    def read(tap):
        return tuple(
            slice(u * rate, u * rate + (n - 1) * step + 1, step)
            for u, n, step, rate in zip(tap, size, s, d, strict=True)
        )

    return zeros, size, read


def parts(groups, channels):
    step = channels // groups
    return [slice(g * step, (g + 1) * step) for g in range(groups)]


def rounded(like, *arrays):
    results = tuple(None if a is None else a.astype(like.dtype) for a in arrays)
    return results[0] if len(results) == 1 else results


def my_conv(x, kernel, bias=None, *, groups=1, **geometry):
    zeros, size, read = layout_of(x.shape[1:-1], kernel.shape[:-2], **geometry)
    padded = np.pad(x.astype(float), [(0, 0), *zeros, (0, 0)])
    y = np.zeros((len(x), *size, kernel.shape[-1]))
    for tap in np.ndindex(kernel.shape[:-2]):
        pixels = padded[(slice(None), *read(tap))]
        ways = parts(groups, x.shape[-1]), parts(groups, kernel.shape[-1])
        for c, o in zip(*ways, strict=True):
            y[..., o] += pixels[..., c] @ kernel[tap][:, o].astype(float)
    return rounded(x, y if bias is None else y + bias)


def my_conv_gradients(dy, x, kernel, bias=None, *, groups=1, write=None, **geometry):
    zeros, size, read = layout_of(x.shape[1:-1], kernel.shape[:-2], **geometry)
    if dy.shape[1:-1] != size:
        raise ValueError("dy is of another shape")
    padded = np.pad(x.astype(float), [(0, 0), *zeros, (0, 0)])
    dpadded, dkernel = np.zeros(padded.shape), np.zeros(kernel.shape)
    axes = tuple(range(dy.ndim - 1))
    for tap in np.ndindex(kernel.shape[:-2]):
        place = (slice(None), *read(tap))
        ways = parts(groups, x.shape[-1]), parts(groups, kernel.shape[-1])
        for c, o in zip(*ways, strict=True):
            part = dy[..., o].astype(float)
            dkernel[tap][:, o] = np.tensordot(padded[place][..., c], part, (axes, axes))
            change = part @ kernel[tap][:, o].T.astype(float)
            if write == "=":
                dpadded[place][..., c] = change
            else:
                dpadded[place][..., c] += change
    inside = tuple(slice(b, b + n) for (b, _), n in zip(zeros, x.shape[1:-1], strict=True))
    return rounded(x, dpadded[(slice(None), *inside)], dkernel, dy.astype(float).sum(axis=axes))


def my_dilated(x, kernel, bias, **hyper):
    return my_conv(x, kernel, bias, **hyper)


def as_grouped(kernel):
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def my_depthwise(x, kernel, bias=None, **geometry):
    return my_conv(x, as_grouped(kernel), bias, groups=kernel.shape[-2], **geometry)


def my_depthwise_gradients(dy, x, kernel, bias=None, **geometry):
    groups = kernel.shape[-2]
    dx, dk, db = my_conv_gradients(dy, x, as_grouped(kernel), bias, groups=groups, **geometry)
    return dx, dk.reshape(kernel.shape), db


def my_unary(x, kernel, bias=None, *, strides=1):
    kernel = kernel.reshape((1,) * (x.ndim - 2) + kernel.shape[-2:])
    return my_conv(x, kernel, bias, strides=strides)


def my_unary_gradients(dy, x, kernel, bias=None, *, strides=1):
    full = kernel.reshape((1,) * (x.ndim - 2) + kernel.shape[-2:])
    dx, dkernel, dbias = my_conv_gradients(dy, x, full, bias, strides=strides)
    return dx, dkernel.reshape(kernel.shape), dbias


def my_separable(x, spatial, pointwise, bias, **geometry):
    between = my_depthwise(x.astype(float), spatial, **geometry)
    return rounded(x, my_unary(between, pointwise, bias))


def my_separable_gradients(dy, x, spatial, pointwise, bias, **geometry):
    between = my_depthwise(x.astype(float), spatial, **geometry)
    dbetween, dpointwise, dbias = my_unary_gradients(dy.astype(float), between, pointwise)
    dx, dspatial, _ = my_depthwise_gradients(dbetween, x.astype(float), spatial, **geometry)
    return rounded(x, dx, dspatial, dpointwise, dbias)


def transposed_size(x, kernel, strides, padding, output_padding, output_size, dilation_rate):
    rank = kernel.ndim - 2
    if output_size is not None:
        return per_axis(output_size, rank)
    s, d = per_axis(strides, rank), per_axis(dilation_rate, rank)
    same = padding == "same"
    zeros = [(0, 0)] * rank
    if not isinstance(padding, str):
        zeros = [p if isinstance(p, tuple) else (p, p) for p in per_axis(padding, rank)]
    extra = [step - 1 if same else 0 for step in s] if output_padding is None else output_padding
    return tuple(
        (n - 1) * step + (1 if same else (k - 1) * rate + 1 - sum(pair)) + more
        for n, step, k, rate, pair, more in zip(
            x.shape[1:-1], s, kernel.shape, d, zeros, per_axis(extra, rank), strict=False
        )
    )


def my_transposed(
    x,
    kernel,
    bias,
    *,
    strides=1,
    padding="valid",
    output_padding=None,
    output_size=None,
    dilation_rate=1,
    groups=1,
    write="+=",
):
    size = transposed_size(x, kernel, strides, padding, output_padding, output_size, dilation_rate)
    filters = kernel.shape[-2] * groups
    image = np.zeros((len(x), *size, filters))
    y, _, _ = my_conv_gradients(
        x.astype(float),
        image,
        kernel,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        groups=groups,
        write=write,
    )
    return rounded(x, y if bias is None else y + bias)


def my_transposed_gradients(dy, x, kernel, bias, *, output_padding, output_size, **hyper):
    dx = my_conv(dy, kernel, **hyper)
    _, dkernel, _ = my_conv_gradients(x, dy, kernel, **hyper)
    return rounded(x, dx, dkernel, dy.astype(float).sum(axis=tuple(range(dy.ndim - 1))))


def in_double(arrays):
    return [a.astype(float) for a in arrays]


def my_batchnorm(x, gamma, beta, statistics, *, epsilon=1e-3, root=None, moments=None):
    x, axes = x.astype(float), tuple(range(x.ndim - 1))
    mean, variance = (x.mean(axes), x.var(axes)) if statistics is None else in_double(statistics)
    if moments is not None and statistics is None:
        mean, variance = moments(x, mean, variance)
    root = np.sqrt(variance + epsilon) if root is None else root(variance, epsilon)
    y = (x - mean) / root
    return (y if gamma is None else y * gamma) + (0 if beta is None else beta)


def my_batchnorm_gradients(dy, x, gamma, beta, statistics, *, epsilon=1e-3, constant=False):
    like, axes = x, tuple(range(x.ndim - 1))
    x, dy = x.astype(float), dy.astype(float)
    mean, variance = (x.mean(axes), x.var(axes)) if statistics is None else in_double(statistics)
    deviation = np.sqrt(variance + epsilon)
    normal = (x - mean) / deviation
    dx = dy
    if statistics is None and not constant:
        dx = dy - dy.mean(axes) - normal * (dy * normal).mean(axes)
    scale = (1 if gamma is None else gamma) / deviation
    return rounded(like, scale * dx, (dy * normal).sum(axes), dy.sum(axes))


def in_kind(function):
    """The function with its result in the dtype of the first array."""
    return lambda x, *others, **hyper: function(x, *others, **hyper).astype(x.dtype)


MINE = {
    conv: (my_conv, my_conv_gradients),
    depthwise: (my_depthwise, my_depthwise_gradients),
    depthwise_separable: (my_separable, my_separable_gradients),
    dilated: (my_dilated, my_conv_gradients),
    transposed: (my_transposed, my_transposed_gradients),
    unary: (my_unary, my_unary_gradients),
    batchnorm: (in_kind(my_batchnorm), my_batchnorm_gradients),
}
NAMES = {module: module.__name__.rpartition(".")[2] for module in MINE}
ALL = {
    conv: ("strides", "padding", "dilation_rate", "groups"),
    depthwise: ("strides", "padding", "dilation_rate"),
    depthwise_separable: ("strides", "padding", "dilation_rate"),
    dilated: ("dilation_rate", "strides", "padding", "groups"),
    transposed: (
        "strides",
        "padding",
        "output_padding",
        "output_size",
        "dilation_rate",
        "groups",
    ),
    unary: ("strides",),
    batchnorm: ("epsilon",),
}


# ---- right implementations


def run(module, forward=None, backward=None, **options):
    mine = MINE[module]
    options = {"supports": ALL[module]} | options
    return verify.verify(module, forward or mine[0], backward or mine[1], **options)


@pytest.mark.parametrize("module", MINE, ids=NAMES.values())
def test_the_definition_tap_by_tap_passes_in_every_rank(module):
    report = run(module, ranks=(3, 1, 2))
    report.check()
    assert report.passed
    assert report.diagnosis is None
    assert not report.declined


@pytest.mark.parametrize("module", MINE, ids=NAMES.values())
@pytest.mark.parametrize(
    "precision", [(np.float16, np.float32), (np.float16, None), (np.float64, None)]
)
def test_it_passes_in_every_precision(module, precision):
    run(module, dtype=precision[0], accumulate=precision[1], ranks=(1,)).check()


@pytest.mark.parametrize("module", MINE, ids=NAMES.values())
def test_the_library_passes_in_float16(module):
    def forward(*arrays, **hyper):
        return module.forward(*arrays, **hyper)[0]

    def backward(dy, *arrays, **hyper):
        return module.backward(dy, module.forward(*arrays, **hyper)[1])

    if module is batchnorm:
        report = verify.verify(module, forward, dtype=np.float16, accumulate=np.float32)
    else:
        report = verify.verify(module, forward, backward, dtype=np.float16, accumulate=np.float32)
    report.check()


def by_matrix(x, kernel, bias, **hyper):
    m = conv.matrix(kernel.astype(float), x.shape[1:], **hyper)
    shape = conv.output_shape(x.shape, kernel.shape, **hyper)
    y = (x.reshape(len(x), m.shape[1]).astype(float) @ m.T).reshape(shape)
    return rounded(x, y if bias is None else y + bias)


def by_fft(x, kernel, bias, *, strides, padding, groups):
    if np.max(strides) > 1 or groups > 1:
        raise NotImplementedError("FFT needs adjacent windows")
    taps = kernel.shape[:-2]
    zeros = loop_padding(x.shape[1:-1], taps, padding=padding)
    padded = np.pad(x.astype(float), [(0, 0), *zeros, (0, 0)])
    axes = tuple(range(1, 1 + len(taps)))
    size = padded.shape[1:-1]
    images = np.fft.rfftn(padded, axes=axes)
    kernels = np.fft.rfftn(kernel.astype(float), size, axes=range(len(taps)))
    y = np.fft.irfftn(np.einsum("n...c,...co->n...o", images, kernels.conj()), size, axes=axes)
    y = y[(slice(None), *(slice(n - k + 1) for n, k in zip(size, taps, strict=True)))]
    return rounded(x, y if bias is None else y + bias)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_explicit_matrix_passes(rank):
    report = verify.verify(conv, by_matrix, ranks=(rank,))
    report.check()
    assert not report.declined


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_fft_passes_where_it_does_not_decline(rank):
    report = verify.verify(conv, by_fft, ranks=(rank,), algorithm="fft")
    report.check()
    assert sum(report.declined.values()) > 10
    assert f"{rank}-D groups (forward)" in report.declined


def backwards_sum(x, kernel, bias, *, strides, padding, dilation_rate, groups):
    """Every sum in float32, one term after the other, the last tap first."""
    zeros, size, read = layout_of(x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation_rate)
    padded = np.pad(x, [(0, 0), *zeros, (0, 0)])
    y = np.zeros((len(x), *size, kernel.shape[-1]), np.float32)
    for tap in list(np.ndindex(kernel.shape[:-2]))[::-1]:
        pixels = padded[(slice(None), *read(tap))]
        ways = parts(groups, x.shape[-1]), parts(groups, kernel.shape[-1])
        for c, o in zip(*ways, strict=True):
            for i in range(kernel.shape[-2])[::-1]:
                y[..., o] += pixels[..., c][..., i, None] * kernel[tap][i, o]
    return y if bias is None else y + bias


def test_float32_sums_in_another_order_pass():
    report = verify.verify(conv, backwards_sum)
    report.check()
    worst = {row.kind: row.worst for row in report.rows}
    assert 0 < worst["2-D many terms"] < 1


# ---- broken ones: for each slip, exactly its name


def same_as(zeros):
    """my_conv with other zeros where same was asked: zeros(k, d, pair) -> pair for each axis."""

    def pairs(x, kernel, hyper):
        size = loop_padding(x.shape[1:-1], kernel.shape[:-2], **hyper)
        rates = per_axis(hyper["dilation_rate"], len(size))
        axes = zip(kernel.shape, rates, size, strict=False)
        return hyper | {"padding": [zeros(*axis) for axis in axes]}

    return pairs


def pytorch(k, d, pair):
    return k // 2, k // 2


def pytorch_dilated(k, d, pair):
    return d * (k // 2), d * (k // 2)


def pytorch_less(k, d, pair):
    return (k - 1) // 2, (k - 1) // 2


def pytorch_effective(k, d, pair):
    return ((k - 1) * d + 1) // 2, ((k - 1) * d + 1) // 2


def pytorch_effective_less(k, d, pair):
    return (k - 1) * d // 2, (k - 1) * d // 2


def odd_in_front(k, d, pair):
    return pair[::-1]


def changing(change, forward=None, backward=None):
    """Both ways with hyperparameters changed by `change(x, kernel, hyperparameters)`."""
    forward, backward = forward or my_conv, backward or my_conv_gradients

    def broken(x, kernel, bias, **hyper):
        return forward(x, kernel, bias, **change(x, kernel, hyper))

    def broken_gradients(dy, x, kernel, bias, **hyper):
        return backward(dy, x, kernel, bias, **change(x, kernel, hyper))

    return broken, broken_gradients


def on_same(zeros):
    def change(x, kernel, hyper):
        if hyper["padding"] != "same":
            return hyper
        geometry = {k: v for k, v in hyper.items() if k != "groups"}
        return hyper | {"padding": same_as(zeros)(x, kernel, geometry)["padding"]}

    return changing(change)


def setting(name, value, first=False):
    """Both ways with one hyperparameter replaced: padding resolved before that, or after."""

    def change(x, kernel, hyper):
        changed = value(hyper[name]) if callable(value) else value
        if first:
            geometry = {k: v for k, v in hyper.items() if k != "groups"}
            zeros = loop_padding(x.shape[1:-1], kernel.shape[:-2], **geometry)
            hyper = hyper | {"padding": zeros}
        return hyper | {name: changed}

    return changing(change)


def each(rule):
    return lambda value: tuple(map(rule, value)) if isinstance(value, tuple) else rule(value)


def swapped(*names):
    def change(x, kernel, hyper):
        both = {n: hyper[n][::-1] for n in names if isinstance(hyper[n], tuple)}
        return hyper | both

    return changing(change)


def cut(array, shape):
    """The array cut off or filled up with zeros at the end of every axis."""
    result = np.zeros(shape, array.dtype)
    common = tuple(slice(min(sizes)) for sizes in zip(array.shape, shape, strict=True))
    result[common] = array[common]
    return result


def in_shape(pair, forward=my_conv):
    """The same slip with the output and the gradient forced into the right shape."""
    broken, broken_gradients = pair

    def cut_forward(x, kernel, bias, **hyper):
        return cut(broken(x, kernel, bias, **hyper), forward(x, kernel, bias, **hyper).shape)

    def cut_backward(dy, x, kernel, bias, **hyper):
        longer = cut(dy, broken(x, kernel, bias, **hyper).shape)
        return broken_gradients(longer, x, kernel, bias, **hyper)

    return cut_forward, cut_backward


def flip(kernel):
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def flipped(x, kernel, bias, **hyper):
    return my_conv(x, flip(kernel), bias, **hyper)


def flipped_gradients(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, flip(kernel), bias, **hyper)
    return dx, flip(dkernel), dbias


def order_of(channels, groups):
    """Where the channels of group 0, 1, … stand if channel c belongs to group c mod G."""
    return [c for g in range(groups) for c in range(channels) if c % groups == g]


def interleaved(of_x, of_y):
    """Input channels, output channels, or both, dealt to the groups in turn."""

    def broken(x, kernel, bias, *, groups, **hyper):
        ins, outs = order_of(x.shape[-1], groups), order_of(kernel.shape[-1], groups)
        read = x[..., ins] if of_x else x
        block = my_conv(read, kernel[..., outs] if of_y else kernel, groups=groups, **hyper)
        y = np.empty_like(block)
        y[..., outs if of_y else slice(None)] = block
        return y if bias is None else y + bias

    def broken_gradients(dy, x, kernel, bias, *, groups, **hyper):
        ins, outs = order_of(x.shape[-1], groups), order_of(kernel.shape[-1], groups)
        ins = ins if of_x else slice(None)
        outs = outs if of_y else slice(None)
        parts_of = my_conv_gradients(
            dy[..., outs], x[..., ins], kernel[..., outs], bias, groups=groups, **hyper
        )
        dx, dkernel = np.empty_like(x), np.empty_like(kernel)
        dx[..., ins], dkernel[..., outs] = parts_of[:2]
        return dx, dkernel, dy.astype(float).sum(tuple(range(dy.ndim - 1))).astype(x.dtype)

    return broken, broken_gradients


def shuffled(x, kernel, bias, *, groups, **hyper):
    """Right sums, written to the channels of the groups in turn."""
    y = my_conv(x, kernel, groups=groups, **hyper)
    return rounded(x, y[..., np.argsort(order_of(y.shape[-1], groups))] + zero_if_none(bias))


def zero_if_none(bias):
    return 0 if bias is None else bias


def multiplier_major(x, kernel, bias, **hyper):
    """Output channels written as m C + c."""
    several = [my_depthwise(x, kernel[..., m : m + 1], **hyper) for m in range(kernel.shape[-1])]
    return rounded(x, np.concatenate(several, axis=-1) + zero_if_none(bias))


def multiplier_major_gradients(dy, x, kernel, bias, **hyper):
    channels, multiplier = kernel.shape[-2:]
    order = [m * channels + c for c in range(channels) for m in range(multiplier)]
    dx, dkernel, _ = my_depthwise_gradients(dy[..., order], x, kernel, **hyper)
    return dx, dkernel, my_depthwise_gradients(dy, x, kernel, **hyper)[2]


def read_as_multiplier_major(x, kernel, bias, **hyper):
    *taps, channels, multiplier = kernel.shape
    kernel = kernel.reshape(*taps, multiplier, channels).swapaxes(-1, -2)
    return my_depthwise(x, kernel, bias, **hyper)


def mixed_multiplier_major(x, spatial, pointwise, bias, **hyper):
    between = multiplier_major(x.astype(float), spatial, None, **hyper)
    return rounded(x, my_unary(between, pointwise, bias))


def mixed_multiplier_major_gradients(dy, x, spatial, pointwise, bias, **hyper):
    between = multiplier_major(x.astype(float), spatial, None, **hyper)
    dbetween, dpointwise, dbias = my_unary_gradients(dy.astype(float), between, pointwise)
    dx, dspatial, _ = multiplier_major_gradients(dbetween, x.astype(float), spatial, None, **hyper)
    return rounded(x, dx, dspatial, dpointwise, dbias)


def no_bias(x, kernel, bias, **hyper):
    return my_conv(x, kernel, None, **hyper)


def no_bias_gradients(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, **hyper)
    return dx, dkernel, 0 * dbias


def first_bias(x, kernel, bias, *, groups, **hyper):
    if bias is not None:
        bias = np.tile(bias[: len(bias) // groups], groups)
    return my_conv(x, kernel, bias, groups=groups, **hyper)


def first_bias_gradients(dy, x, kernel, bias, *, groups, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, groups=groups, **hyper)
    first = np.zeros_like(dbias)
    first[: len(dbias) // groups] = dbias.reshape(groups, -1).sum(axis=0)
    return dx, dkernel, first


def first_transposed_bias(x, kernel, bias, *, groups, **hyper):
    if bias is not None:
        bias = np.tile(bias[: len(bias) // groups], groups)
    return my_transposed(x, kernel, bias, groups=groups, **hyper)


def rolled(x, kernel, bias, **hyper):
    return np.roll(my_conv(x, kernel, bias, **hyper), (1, 0), axis=(1, 2))


def rolled_gradients(dy, x, kernel, bias, **hyper):
    return my_conv_gradients(np.roll(dy, (-1, 0), axis=(1, 2)), x, kernel, bias, **hyper)


def late_windows(x, kernel, bias, **hyper):
    """Windows that start a pixel late on the second axis, as if the image lay a pixel before."""
    moved = np.zeros_like(x)
    moved[:, :, :-1] = x[:, :, 1:]
    return my_conv(moved, kernel, bias, **hyper)


def late_windows_gradients(dy, x, kernel, bias, **hyper):
    moved = np.zeros_like(x)
    moved[:, :, :-1] = x[:, :, 1:]
    dmoved, dkernel, dbias = my_conv_gradients(dy, moved, kernel, bias, **hyper)
    dx = np.zeros_like(x)
    dx[:, :, 1:] = dmoved[:, :, :-1]
    return dx, dkernel, dbias


def displaced_gradient(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    return np.roll(dx, (0, -2), axis=(1, 2)), dkernel, dbias


def first_image_for_all(x, kernel, bias, **hyper):
    y = my_conv(x, kernel, bias, **hyper)
    y[1:] = y[:1]
    return y


def first_image_for_all_gradients(dy, x, kernel, bias, **hyper):
    """Those of `first_image_for_all`: all gradients go to the first image."""
    if len(x) == 0:
        return my_conv_gradients(dy, x, kernel, bias, **hyper)
    dx = np.zeros_like(x)
    total = dy.astype(float).sum(axis=0, keepdims=True)
    first, dkernel, dbias = my_conv_gradients(total, x[:1].astype(float), kernel, **hyper)
    dx[:1] = first
    return dx, *rounded(x, dkernel, dbias)


def first_gradient_for_all(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    dx[1:] = dx[:1]
    return dx, dkernel, dbias


def by_memory(x, kernel, bias, **hyper):
    """Takes the bytes of x for those of an array in C order."""
    order = x if x.flags.c_contiguous else np.reshape(x.ravel("K"), x.shape)
    return my_conv(order, kernel, bias, **hyper)


def averaged(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    n = max(1, len(x))
    return dx, dkernel / np.float32(n), dbias / np.float32(n)


def all_averaged(dy, x, kernel, bias, **hyper):
    n = np.float32(max(1, len(x)))
    return tuple(g / n for g in my_conv_gradients(dy, x, kernel, bias, **hyper))


def averaged_over_pixels(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    n = np.float32(max(1, dy.size // dy.shape[-1]))
    return dx, dkernel / n, dbias / n


def flipped_kernel_gradient(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    return dx, flip(dkernel), dbias


def bias_gradient(of):
    def broken(dy, x, kernel, bias, **hyper):
        dx, dkernel, _ = my_conv_gradients(dy, x, kernel, bias, **hyper)
        per_image = dy.astype(float).sum(axis=tuple(range(1, dy.ndim - 1)))
        return rounded(x, dx, dkernel, of(per_image))

    return broken


def overwritten_by_taps(dy, x, kernel, bias, **hyper):
    return my_conv_gradients(dy, x, kernel, bias, write="=", **hyper)


def overwritten_by_windows(filters):
    """Window after window written into dx; of the filters, the sum or one after the other."""

    def broken(dy, x, kernel, bias, *, groups, **hyper):
        zeros, size, _ = layout_of(x.shape[1:-1], kernel.shape[:-2], **hyper)
        dpadded = np.pad(np.zeros(x.shape), [(0, 0), *zeros, (0, 0)])
        ways = parts(groups, x.shape[-1]), parts(groups, kernel.shape[-1])
        strides = per_axis(hyper["strides"], kernel.ndim - 2)
        rates = per_axis(hyper.get("dilation_rate", 1), kernel.ndim - 2)
        for c, o in zip(*ways, strict=True):
            for window in np.ndindex(size):
                place = tuple(
                    slice(i * s, i * s + (k - 1) * d + 1, d)
                    for i, s, k, d in zip(window, strides, kernel.shape, rates, strict=False)
                )
                last = slice(o.stop - 1, o.stop) if filters == "one by one" else o
                value = dy[(slice(None), *window, last)].astype(float)
                dpadded[(slice(None), *place, c)] = np.tensordot(value, kernel[..., last], (1, -1))
        inside = tuple(slice(b, b + n) for (b, _), n in zip(zeros, x.shape[1:-1], strict=True))
        dx = dpadded[(slice(None), *inside)].astype(x.dtype)
        return dx, *my_conv_gradients(dy, x, kernel, bias, groups=groups, **hyper)[1:]

    return broken


def last_image_only(dy, x, kernel, bias, **hyper):
    dx, dkernel, dbias = my_conv_gradients(dy, x, kernel, bias, **hyper)
    if len(x):
        dkernel = my_conv_gradients(dy[-1:], x[-1:], kernel, bias, **hyper)[1]
    return dx, dkernel, dbias


def overwritten_depthwise(dy, x, kernel, bias, **hyper):
    _, dkernel, dbias = my_depthwise_gradients(dy, x, kernel, bias, **hyper)
    channels = kernel.shape[-2]
    dx = my_conv_gradients(dy, x, as_grouped(kernel), bias, groups=channels, write="=", **hyper)[0]
    return dx, dkernel, dbias


def overwritten_separable(dy, x, spatial, pointwise, bias, **hyper):
    right = my_separable_gradients(dy, x, spatial, pointwise, bias, **hyper)
    between = my_depthwise(x.astype(float), spatial, **hyper)
    dbetween = my_unary_gradients(dy.astype(float), between, pointwise)[0]
    dx = overwritten_depthwise(dbetween, x.astype(float), spatial, None, **hyper)[0]
    return rounded(x, dx, *right[1:])


def overwritten_stamps(x, kernel, bias, **hyper):
    return my_transposed(x, kernel, bias, write="=", **hyper)


def ignoring_output_padding(x, kernel, bias, *, output_padding, **hyper):
    return my_transposed(x, kernel, bias, output_padding=None, **hyper)


def zeros_for_output_padding(x, kernel, bias, **hyper):
    """The right shape, but zeros where the padding goes: contributions there are lost."""
    least = hyper | {"output_size": None}
    if hyper["output_padding"] is not None or hyper["output_size"] is not None:
        least["output_padding"] = 0
    return cut(
        my_transposed(x, kernel, bias, **least), my_transposed(x, kernel, bias, **hyper).shape
    )


def transposed_symmetric(x, kernel, bias, **hyper):
    """PyTorch's padding=(k - 1) // 2 where "same" was asked, the size being the right one."""
    if hyper["padding"] == "same":
        size = my_transposed(x, kernel, None, **hyper).shape[1:-1]
        zeros = [(k - 1) // 2 for k in kernel.shape[:-2]]
        hyper |= {"padding": tuple(zeros), "output_size": size, "output_padding": None}
    return my_transposed(x, kernel, bias, **hyper)


def transposed_odd_in_front(x, kernel, bias, **hyper):
    if hyper["padding"] == "same":
        size = my_transposed(x, kernel, None, **hyper).shape[1:-1]
        geometry = {k: hyper[k] for k in ("strides", "padding", "dilation_rate")}
        zeros = tuple(pair[::-1] for pair in loop_padding(size, kernel.shape[:-2], **geometry))
        hyper |= {"padding": zeros, "output_size": size, "output_padding": None}
    return my_transposed(x, kernel, bias, **hyper)


def transposed_flipped(x, kernel, bias, **hyper):
    """JAX's conv_transpose: a convolution of the inflated image, the kernel not flipped."""
    return my_transposed(x, flip(kernel), bias, **hyper)


def unbiased(x, mean, variance):
    m = x[..., 0].size
    return mean, variance * (m / (m - 1)) if m > 1 else variance


def moving(x, mean, variance):
    return np.zeros_like(mean), np.ones_like(variance)


def batchnorm_like(**options):
    def broken(x, gamma, beta, statistics, *, epsilon):
        y = my_batchnorm(x, gamma, beta, statistics, epsilon=epsilon, **options)
        return y.astype(x.dtype)

    return broken


def own_statistics(x, gamma, beta, statistics, *, epsilon):
    return my_batchnorm(x, gamma, beta, None, epsilon=epsilon).astype(x.dtype)


def constant_statistics(dy, *arrays, epsilon):
    return my_batchnorm_gradients(dy, *arrays, epsilon=epsilon, constant=True)


def batchnorm_averaged(dy, *arrays, epsilon):
    dx, dgamma, dbeta = my_batchnorm_gradients(dy, *arrays, epsilon=epsilon)
    n = np.float32(max(1, len(dy)))
    return dx, dgamma / n, dbeta / n


BROKEN = [
    ("padding_symmetric", conv, *on_same(pytorch)),
    ("padding_symmetric", conv, *on_same(pytorch_dilated)),
    ("padding_symmetric", conv, *on_same(pytorch_less)),
    ("padding_symmetric", conv, *on_same(pytorch_effective)),
    ("padding_symmetric", conv, *on_same(pytorch_effective_less)),
    ("padding_symmetric", transposed, transposed_symmetric, None),
    ("padding_before", conv, *on_same(odd_in_front)),
    ("padding_before", transposed, transposed_odd_in_front, None),
    ("padding_ignored", conv, *setting("padding", "valid")),
    ("padding_ignored", conv, *in_shape(setting("padding", "valid"))),
    ("kernel_flipped", conv, flipped, flipped_gradients),
    ("kernel_flipped", conv, flipped, None),
    ("kernel_flipped", transposed, transposed_flipped, None),
    ("axes_swapped", conv, *swapped("strides")),
    ("axes_swapped", conv, *swapped("dilation_rate")),
    ("axes_swapped", conv, *swapped("padding")),
    ("axes_swapped", conv, *swapped("strides", "padding")),
    ("axes_swapped", conv, *swapped("strides", "padding", "dilation_rate")),
    (
        "axes_swapped",
        conv,
        *setting("strides", lambda s: s[::-1] if isinstance(s, tuple) else s, True),
    ),
    ("strides_ignored", conv, *setting("strides", 1)),
    ("strides_ignored", conv, *setting("strides", 1, first=True)),
    ("strides_ignored", conv, *in_shape(setting("strides", 1))),
    ("strides_ignored", conv, *in_shape(setting("strides", 1, first=True))),
    ("dilation_ignored", conv, *setting("dilation_rate", 1)),
    ("dilation_ignored", conv, *in_shape(setting("dilation_rate", 1, first=True))),
    ("dilation_off_by_one", conv, *setting("dilation_rate", each(lambda d: d + 1))),
    ("dilation_off_by_one", conv, *setting("dilation_rate", each(lambda d: d + (d > 1)))),
    ("dilation_off_by_one", conv, *setting("dilation_rate", each(lambda d: max(1, d - 1)))),
    ("groups_interleaved", conv, *interleaved(True, False)),
    ("groups_interleaved", conv, *interleaved(False, True)),
    ("groups_interleaved", conv, *interleaved(True, True)),
    ("groups_interleaved", conv, shuffled, None),
    ("multiplier_major", depthwise, multiplier_major, multiplier_major_gradients),
    ("multiplier_major", depthwise, read_as_multiplier_major, None),
    (
        "multiplier_major",
        depthwise_separable,
        mixed_multiplier_major,
        mixed_multiplier_major_gradients,
    ),
    ("bias_ignored", conv, no_bias, no_bias_gradients),
    ("bias_ignored", conv, no_bias, my_conv_gradients),
    ("bias_of_first_group", conv, first_bias, first_bias_gradients),
    ("bias_of_first_group", transposed, first_transposed_bias, my_transposed_gradients),
    ("shifted by (1, 0)", conv, rolled, None),
    ("shifted by (1, 0)", conv, rolled, rolled_gradients),
    ("shifted by (0, -1)", conv, late_windows, None),
    ("shifted by (0, -1)", conv, late_windows, late_windows_gradients),
    ("shifted by (0, -2)", conv, my_conv, displaced_gradient),
    ("output_padding_ignored", transposed, ignoring_output_padding, None),
    ("output_padding_ignored", transposed, zeros_for_output_padding, my_transposed_gradients),
    ("batch_mixed", conv, first_image_for_all, my_conv_gradients),
    ("batch_mixed", conv, first_image_for_all, first_image_for_all_gradients),
    ("batch_mixed", conv, my_conv, first_gradient_for_all),
    ("layout_ignored", conv, by_memory, None),
    ("gradient_averaged", conv, my_conv, averaged),
    ("gradient_averaged", conv, my_conv, all_averaged),
    ("gradient_averaged", conv, my_conv, averaged_over_pixels),
    ("gradient_averaged", batchnorm, None, batchnorm_averaged),
    ("kernel_gradient_flipped", conv, my_conv, flipped_kernel_gradient),
    ("bias_gradient_missing_batch", conv, my_conv, bias_gradient(lambda d: d[:1].sum(axis=0))),
    ("bias_gradient_missing_batch", conv, my_conv, bias_gradient(lambda d: d[-1:].sum(axis=0))),
    ("bias_gradient_missing_batch", conv, my_conv, bias_gradient(lambda d: d)),
    ("overlaps_overwritten", conv, my_conv, overwritten_by_taps),
    ("overlaps_overwritten", conv, my_conv, overwritten_by_windows("all at once")),
    ("overlaps_overwritten", conv, my_conv, overwritten_by_windows("one by one")),
    ("overlaps_overwritten", conv, my_conv, last_image_only),
    ("overlaps_overwritten", depthwise, my_depthwise, overwritten_depthwise),
    ("overlaps_overwritten", depthwise_separable, None, overwritten_separable),
    ("overlaps_overwritten", transposed, overwritten_stamps, my_transposed_gradients),
    ("unbiased_variance", batchnorm, batchnorm_like(moments=unbiased), None),
    ("epsilon_outside_root", batchnorm, batchnorm_like(root=lambda v, e: np.sqrt(v) + e), None),
    ("epsilon_ignored", batchnorm, batchnorm_like(root=lambda v, e: np.sqrt(v + 1e-5)), None),
    ("epsilon_ignored", batchnorm, batchnorm_like(root=lambda v, e: np.sqrt(v + 1e-3)), None),
    ("moving_statistics_in_training", batchnorm, batchnorm_like(moments=moving), None),
    ("batch_statistics_in_inference", batchnorm, own_statistics, None),
    ("statistics_constant", batchnorm, None, constant_statistics),
]


OF_GRADIENTS = ["gradient_averaged", "kernel_gradient_flipped", "bias_gradient_missing_batch"]


@pytest.mark.parametrize(
    ("slip", "module", "forward", "backward"),
    BROKEN,
    ids=[f"{slip}-{NAMES[module]}" for slip, module, *_ in BROKEN],
)
def test_a_broken_implementation_is_told_its_slip(slip, module, forward, backward):
    forward = forward or MINE[module][0]
    supports = ("strides", "groups") if slip in OF_GRADIENTS and module is conv else ALL[module]
    report = verify.verify(module, forward, backward, supports=supports)
    assert not report.passed
    assert report.diagnosis == slip, str(report)
    assert {failure.diagnosis for failure in report.failures} == {slip}
    assert f"diagnosis: {slip}" in str(report)


# ---- what else may come back


def test_a_slip_of_the_forward_alone_is_named_too():
    report = verify.verify(conv, on_same(pytorch)[0], my_conv_gradients, supports=ALL[conv])
    assert report.diagnosis == "padding_symmetric"
    assert {failure.result for failure in report.failures} == {"y"}


def test_slips_are_named_in_every_rank():
    for rank in (1, 3):
        report = verify.verify(conv, flipped, ranks=(rank,), supports=ALL[conv])
        assert report.diagnosis == "kernel_flipped"
    three = {"ranks": (3,), "supports": ALL[conv]}
    last_two = setting("strides", lambda s: (s[0], s[2], s[1]) if isinstance(s, tuple) else s)[0]
    outer = setting("strides", lambda s: s[::-1] if isinstance(s, tuple) else s)[0]
    assert verify.verify(conv, last_two, **three).diagnosis == "axes_swapped"
    assert verify.verify(conv, outer, **three).diagnosis == "axes_swapped"


GRADIENT_SLIPS = {
    "gradient_averaged",
    "kernel_gradient_flipped",
    "overlaps_overwritten",
    "statistics_constant",
    "bias_gradient_missing_batch",
    "training_gradient_in_inference",
}
# No functions to differentiate, of y alone, or a change of hyperparameters only.
OTHERS = (
    "axes_swapped",
    "first_axis_for_all",
    "size_from_other_axis",
    "low_precision",
    "reads_outside",
    "saturated",
    "wrapped",
    "dilation_ignored (padding)",
)


@pytest.mark.parametrize("module", [conv, transposed, depthwise, depthwise_separable, batchnorm])
def test_the_gradients_of_a_slip_are_those_of_what_its_forward_computes(module):
    ranks = (1,) if module is depthwise else (2,)
    made = ADVERSARIAL(module, ranks, ALL[module], np.dtype(float), np.random.default_rng(0))
    cases = sorted((c for c in made if c.dy.size and not c.integers), key=lambda c: c.size)
    seen = {}
    for name, outcome in hypotheses(module):
        if name.startswith(OTHERS):
            continue
        done = set()  # once, and of batch normalization once in training and once in inference
        for case in cases:
            kind = module is batchnorm and case.arrays[3] is None
            if kind in done:
                continue
            given = [i for i, array in enumerate(case.arrays) if isinstance(array, np.ndarray)]

            def results(dy, *arrays, case=case, given=given, outcome=outcome):
                changed = [*case.arrays]
                for i, array in zip(given, arrays, strict=True):
                    changed[i] = array
                return outcome(dataclasses.replace(case, arrays=tuple(changed), dy=dy))

            def forward(*arrays, case=case, results=results):
                return results(case.dy, *arrays)["y"]

            def backward(dy, *arrays, case=case, given=given, results=results):
                return tuple(results(dy, *arrays)[f"d{case.names[i]}"] for i in given)

            try:
                found = outcome(case)
            except ValueError:  # no such call
                continue
            if not case.truth.keys() <= found.keys() or found["y"].shape != case.dy.shape:
                continue
            if all(np.array_equal(found[key], case.truth[key]) for key in found):
                continue
            arrays = [case.arrays[i] for i in given]
            try:
                verify.check_gradients(forward, backward, *arrays, directions=1, tolerance=1e-5)
                seen.setdefault((name, kind), set()).add("right")
            except AssertionError:
                seen.setdefault((name, kind), set()).add("wrong")
            done.add(kind)
    names = {name for name, _ in hypotheses(module)}
    assert {name for name, _ in seen} == {name for name in names if not name.startswith(OTHERS)}
    for (name, _), verdicts in seen.items():
        if name in GRADIENT_SLIPS:
            assert verdicts == {"wrong"}
        elif module is batchnorm:  # whose backward may know of the slip, or not
            assert "right" in verdicts
        else:
            assert verdicts == {"right"}


def test_two_slips_are_told_apart_result_by_result():
    def broken(x, kernel, bias, *, padding, groups):
        if padding == "same":
            padding = [(k // 2, k // 2) for k in kernel.shape[:-2]]
        y = first_bias(x, kernel, bias, padding=padding, groups=groups)
        return np.cos(y) if x.shape[-1] == 1 else y

    report = verify.verify(conv, broken)
    assert report.diagnosis is None
    assert "\ndiagnosis: none, no single slip explains all failures\n" in str(report)
    found = {failure.kind.partition(",")[0]: failure.diagnosis for failure in report.failures}
    assert found == {
        "2-D one channel": None,
        "2-D same": "padding_symmetric",
        "2-D groups": "bias_of_first_group",
        "2-D one channel per group": "bias_of_first_group",
    }


def test_parts_of_the_failures_may_have_a_name():
    def broken(x, kernel, bias, *, padding, strides):
        if len(x) == 3:
            raise OSError("no\nmore")
        return on_same(pytorch)[0](
            x, kernel, bias, padding=padding, strides=strides, dilation_rate=1, groups=1
        )

    report = verify.verify(conv, broken)
    assert report.diagnosis is None
    named = [failure for failure in report.failures if failure.diagnosis]
    assert {failure.diagnosis for failure in named} == {"padding_symmetric"}
    total = len(report.failures)
    assert f"  padding_symmetric would explain {len(named)} of {total} wrong results" in str(report)
    assert "forward raised OSError: no more" in str(report)


def test_a_layout_that_is_ignored_beside_another_slip():
    def broken(x, kernel, bias):
        y = by_memory(x, kernel, bias)
        return np.cos(y) if bias is None else y

    report = verify.verify(conv, broken)
    found = {failure.kind: failure.diagnosis for failure in report.failures}
    assert found == {"2-D no bias": None, "2-D Fortran order": "layout_ignored"}


def test_an_exception_is_a_failure_and_ends_nothing():
    def broken(x, kernel, bias, *, groups):
        if groups > 1:
            raise KeyError("groups")
        return my_conv(x, kernel, bias)

    report = verify.verify(conv, broken)
    assert {failure.kind for failure in report.failures} == {
        "2-D groups",
        "2-D one channel per group",
        "2-D groups, no bias",
    }
    assert all(f.message == "forward raised KeyError: 'groups'" for f in report.failures)
    assert all((f.index, f.got, f.diagnosis) == (None, None, None) for f in report.failures)
    assert report.cases > len(report.failures)


def test_an_exception_in_the_backward():
    def broken(dy, x, kernel, bias):
        raise ArithmeticError("lost")

    report = verify.verify(unary, my_unary, broken, supports=())
    assert len(report.failures) == report.cases
    assert {f.message for f in report.failures} == {"backward raised ArithmeticError: lost"}


def test_what_is_not_implemented_is_declined():
    def partial(x, kernel, bias, *, groups, padding):
        if groups > 1 or padding != "valid":
            raise NotImplementedError
        return my_conv(x, kernel, bias)

    def backward(dy, x, kernel, bias, *, groups, padding):
        if bias is None:
            raise NotImplementedError
        return my_conv_gradients(dy, x, kernel, bias)

    report = verify.verify(conv, partial, backward)
    report.check()
    assert report.declined["2-D groups (forward)"] == 4
    assert report.declined["2-D no bias (backward)"] == 2
    assert "2-D groups (forward): 4" in str(report)
    assert "2-D groups" not in {row.kind for row in report.rows}


def test_nothing_verified_is_no_pass():
    def no(*arrays):
        raise NotImplementedError

    report = verify.verify(conv, no)
    assert (report.cases, report.failures, report.passed) == (0, (), False)
    assert str(report).startswith("conv in float32: nothing was verified, for no case ran\n")
    with pytest.raises(AssertionError, match="nothing was verified"):
        report.check()


class Convertible:
    """An array of another library, that converts itself."""

    dtype = "strange"

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise RuntimeError("lies on another device")
        return self.array


def test_arrays_that_convert_themselves_will_do():
    verify.verify(conv, lambda x, k, b: Convertible(my_conv(x, k, b))).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: None, "y: got NoneType, expected an array (2, 4, 6, 4)"),
        (lambda y: y.tolist(), "y: got a list of 2, expected an array (2, 4, 6, 4)"),
        (lambda y: (y, None), "y: got a tuple of 2, expected an array (2, 4, 6, 4)"),
        (lambda y: Convertible(None), "y: got Convertible of strange, expected an array"),
        (lambda y: y.astype(complex), "y: got ndarray of complex128, expected an array"),
        (lambda y: y[..., 0], "y: got shape (2, 4, 6), expected (2, 4, 6, 4)"),
        (lambda y: y[:, :-1], "y: got shape (2, 3, 6, 4), expected (2, 4, 6, 4)"),
        (lambda y: y * np.nan, "y[0, 0, 0, 0]: got nan, expected "),
        (lambda y: y * np.inf, "y[0, 0, 0, 0]: got "),
        (lambda y: 0.0, "y: got float, expected an array (2, 4, 6, 4)"),
        (lambda y: np.float32(0), "y: got shape (), expected (2, 4, 6, 4)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_whatever_comes_back_is_reported(change, message):
    report = verify.verify(conv, lambda x, k, b: change(my_conv(x, k, b)))
    assert report.failures[0].message.startswith(message)
    assert report.rows[0].worst == np.inf
    assert report.diagnosis is None
    assert str(report)


@pytest.mark.parametrize(
    ("gradients", "came"),
    [(None, "NoneType"), ((1, 2), "a tuple of 2"), (np.zeros(3), "ndarray of float64")],
)
def test_gradients_must_be_one_for_each_array(gradients, came):
    report = verify.verify(conv, my_conv, lambda dy, x, k, b: gradients, supports=())
    expected = f"backward returned {came}, expected 3 gradients (dx, dkernel, dbias)"
    assert {failure.message for failure in report.failures} == {expected}


def test_another_dtype_is_a_failure_of_its_own():
    report = verify.verify(conv, lambda x, k, b: my_conv(x, k, b).astype(float))
    assert len(report.failures) == report.cases
    assert report.diagnosis == "dtype_changed"
    assert report.failures[0].message == "y: got dtype float64, expected float32"


def test_wrong_values_are_diagnosed_in_another_dtype():
    report = verify.verify(conv, lambda x, k, b: flipped(x, k, b).astype(float))
    assert report.diagnosis == "kernel_flipped"
    assert {f.diagnosis for f in report.failures} == {"kernel_flipped", "dtype_changed"}


def test_a_modified_argument_is_a_failure():
    def broken(x, kernel, bias):
        y = my_conv(x, kernel, bias)
        kernel *= 2
        return y

    def broken_gradients(dy, x, kernel, bias):
        gradients = my_conv_gradients(dy, x, kernel, bias)
        dy[...] = 0
        return gradients

    report = verify.verify(conv, broken, broken_gradients)
    messages = {failure.message for failure in report.failures}
    assert messages == {
        "forward modified its argument kernel",
        "backward modified its argument dy",
    }
    assert report.diagnosis == "argument_modified"


def test_changed_moving_statistics_are_a_modified_argument():
    def broken(x, gamma, beta, statistics, *, epsilon):
        y = batchnorm_like()(x, gamma, beta, statistics, epsilon=epsilon)
        if statistics is not None:
            statistics.mean[:] = 0
        return y

    report = verify.verify(batchnorm, broken)
    assert {f.message for f in report.failures} == {"forward modified its argument statistics"}


def test_several_ways_to_fail_at_once_are_no_single_diagnosis():
    def broken(x, kernel, bias):
        kernel *= 2 if bias is None else 1
        y = my_conv(x, kernel, bias)
        return y.astype(float) if len(x) == 3 else y

    report = verify.verify(conv, lambda x, k, b: broken(x, k, b))
    assert report.diagnosis is None


# ---- which cases


def signature(forward, **options):
    """Which hyperparameters the candidate is passed, and which of them are varied."""
    seen = {}

    def spy(x, kernel, bias, **hyper):
        for name, value in hyper.items():
            seen.setdefault(name, set()).add(str(value))
        return forward(x, kernel, bias, **hyper)

    if "supports" not in options:
        spy.__signature__ = __import__("inspect").signature(forward)
    verify.verify(conv, spy, **options).check()
    return {name: len(values) > 1 for name, values in seen.items()}


def test_the_signature_says_what_is_varied():
    def some(x, kernel, bias, strides, *, padding):
        return my_conv(x, kernel, bias, strides=strides, padding=padding)

    assert signature(some) == {"strides": True, "padding": True}
    every = dict.fromkeys(ALL[conv], True)
    assert signature(lambda x, k, b, **hyper: my_conv(x, k, b, **hyper)) == every
    assert signature(lambda x, k, b: my_conv(x, k, b)) == {}


def test_supports_says_what_is_varied_and_the_named_rest_is_passed():
    assert signature(my_conv, supports=["groups"]) == {"groups": True}

    def named(x, kernel, bias, *, strides, groups):
        assert strides == 1
        return my_conv(x, kernel, bias, groups=groups)

    verify.verify(conv, named, supports=("groups",)).check()


def test_what_has_no_signature_is_passed_everything():
    class Hidden:
        __signature__ = "none"

        def __call__(self, x, kernel, bias, **hyper):
            assert set(hyper) == set(ALL[conv])
            return my_conv(x, kernel, bias, **hyper)

    verify.verify(conv, Hidden()).check()


def test_cases_are_lopsided_and_say_what_they_are():
    seen = []

    def spy(x, kernel, bias, **hyper):
        seen.append((x, kernel, bias, hyper))
        raise NotImplementedError

    report = verify.verify(conv, spy, supports=ALL[conv])
    kinds = set(report.declined)
    for kind in ("even kernel", "strides > kernel", "kernel as large as the input", "groups"):
        assert f"2-D {kind} (forward)" in kinds
    shapes = [x.shape for x, *_ in seen]
    assert {0, 1, 2, 3} <= {shape[0] for shape in shapes}
    assert sum(shape[1] != shape[2] for shape in shapes) > 0.8 * len(shapes)
    assert any(not x.flags.c_contiguous and x.flags.f_contiguous for x, *_ in seen)
    assert any(min(x.strides) < 0 for x, *_ in seen)
    whole = [bool((x == np.round(x)).all()) for x, *_ in seen if x.size]
    assert whole == sorted(whole, reverse=True)
    assert whole.count(True) == whole.count(False)
    said = {str(hyper["padding"]) for *_, hyper in seen}
    assert {"valid", "same", "1", "(1, 2)", "((0, 1), (2, 1))"} <= said
    terms = [kernel.size // kernel.shape[-1] for _, kernel, *_ in seen]
    assert max(terms) == 2304


@pytest.mark.parametrize(
    ("module", "count", "digest"),
    [
        (conv, 214, 64602683),
        (dilated, 214, 1079244645),
        (transposed, 234, 422225030),
        (depthwise, 190, 4039007872),
        (depthwise_separable, 190, 1906609842),
        (unary, 72, 2508356716),
        (batchnorm, 150, 2987572566),
    ],
)
def test_every_case_is_one_that_was_chosen(module, count, digest):
    # Who changes the cases on purpose reads them once, and puts the new numbers here.
    rng, dtype = np.random.default_rng(0), np.dtype(np.float16)
    cases = list(ADVERSARIAL(module, (1, 2, 3), ALL[module], dtype, rng))
    written = "\n".join(f"{case.kind}: {case}" for case in cases)
    assert (len(cases), zlib.crc32(written.encode())) == (count, digest)


@pytest.mark.parametrize(("dtype", "far"), [(np.float16, 8), (np.float32, 1000)])
def test_images_to_normalize_are_small_integers_or_of_channels_unlike_each_other(dtype, far):
    rng = np.random.default_rng(0)
    for case in ADVERSARIAL(batchnorm, (2,), ("epsilon",), np.dtype(dtype), rng):
        mean = far if "far" in case.kind else 0
        centred = case.x - mean
        assert np.abs(centred).max(initial=0) < 12
        if case.arrays[3] is not None:
            assert np.abs(case.arrays[3].mean - mean).max() < 4
        if case.integers:
            assert set(np.abs(centred).ravel()) <= {1, 2, 3}
        elif case.x.size >= 3 * 12:
            assert centred[..., 0].std() * 10 < centred[..., 1].std() < centred[..., 2].std()


def test_the_same_seed_gives_the_same_report():
    def off(x, kernel, bias):
        return my_conv(x, kernel, bias) + np.float32(1)

    first, again, other = (verify.verify(conv, off, seed=seed) for seed in (3, 3, 4))
    assert str(first) == str(again)
    assert str(first) != str(other)


# ---- the report


def test_the_report_in_words():
    report = verify.verify(conv, on_same(pytorch)[0], supports=ALL[conv], seed=1)
    lines = str(report).splitlines()
    failed = sum(row.failed for row in report.rows)
    assert lines[0] == f"conv in float32: {failed} of {report.cases} cases failed"
    assert lines[1:4] == ["diagnosis: padding_symmetric", "", "smallest failing case:"]
    call = r"  forward\(x=integers \(2, .*\), kernel=integers \(.*padding='same'\)"
    assert re.fullmatch(call, lines[4])
    assert re.search(r"y.*: got .*, expected .*", lines[5])
    assert re.fullmatch("geometry +cases  failed  error / allowed", lines[7])
    row = next(line for line in lines if line.startswith("2-D same, strides  "))
    assert re.match(r"2-D same, strides +4 +4 +inf  y\[.*\]: got ", row)
    assert len({line.index("y[") for line in lines if re.match(r"2-D.* y\[", line)}) == 1
    with pytest.raises(AssertionError) as caught:
        report.check()
    assert str(caught.value) == str(report)


def test_a_passing_report_in_words():
    report = verify.verify(
        conv, my_conv, dtype=np.float16, accumulate="float32", supports=("groups",)
    )
    text = str(report)
    title = f"conv in float16 summed in float32: passed all {report.cases} cases"
    assert text.startswith(title)
    assert "diagnosis" not in text
    assert "failing" not in text
    assert "declined" not in text
    report.check()


def test_a_failure_says_where_and_by_how_much():
    def broken(x, kernel, bias):
        y = my_conv(x, kernel, bias)
        if y.size:
            y[-1, 1, 2, -1] += 7
        return y

    failure = verify.verify(conv, broken).failures[0]
    assert (failure.kind, failure.result, failure.index) == ("2-D plain", "y", (1, 1, 2, 3))
    assert failure.got - failure.expected == 7
    assert 0 <= failure.allowed < 1e-9
    assert "(1 of 192 elements wrong)" in failure.message


class Terminal(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def test_progress_shows_on_a_terminal_and_goes_away(monkeypatch):
    for terminal in (True, False):
        stream = Terminal(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        verify.verify(unary, lambda x, k, b: my_unary(x, k, b))
        text = stream.getvalue()
        if not terminal:
            assert text == ""
            continue
        assert "\runary in float32: case 1 of " in text
        assert "2-D plain" in text
        assert "looking for what is wrong" in text
        assert "\n" not in text
        assert text.endswith("\r" + " " * 79 + "\r")
        assert {len(part) for part in text.split("\r")} == {0, 79}


# ---- precision


def test_a_variance_in_one_pass_fails_where_the_mean_is_large():
    def one_pass(x, mean, variance):
        single = x.astype(np.float32)
        axes = tuple(range(x.ndim - 1))
        square = (single * single).mean(axes) - single.mean(axes) ** 2
        return mean, np.maximum(square, 0).astype(float)

    report = verify.verify(batchnorm, batchnorm_like(moments=one_pass), seed=0)
    assert {failure.kind for failure in report.failures} == {"2-D training, mean far from 0"}
    assert report.diagnosis == "one_pass_variance"


def test_rounding_in_a_coarser_precision_fails():
    def coarse(x, kernel, bias):
        return my_conv(x.astype(np.float16), kernel, bias).astype(np.float32)

    report = verify.verify(conv, coarse)
    assert not report.passed
    assert {failure.call[8:18] for failure in report.failures} == {"x=normal ("}
    verify.verify(conv, coarse, accumulate=np.float16).check()


@pytest.mark.parametrize("module", [conv, transposed])
def test_rounding_is_a_slip_of_its_own(module):
    forward, backward = MINE[module]

    def coarse(x, *others, **hyper):
        return forward(x.astype(np.float16), *others, **hyper).astype(np.float32)

    def coarse_gradients(dy, x, *others, **hyper):
        gradients = backward(dy, x.astype(np.float16), *others, **hyper)
        return [g.astype(np.float32) for g in gradients]

    report = verify.verify(module, coarse, coarse_gradients, ranks=(1, 2), supports=ALL[module])
    assert {failure.result for failure in report.failures} == {"y", "dx", "dkernel", "dbias"}
    assert {failure.diagnosis for failure in report.failures} == {"low_precision (11 bits)"}


# ---- refusals

ONE = np.ones(3)


def same(x):
    return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: verify.verify(relu, same),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, transposed, unary, got <module 'convinsights.relu' from ...>"
            ),
        ),
        (
            lambda: verify.verify("conv", same),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, transposed, unary, got 'conv'"
            ),
        ),
        (lambda: verify.verify(conv, 3), TypeError, "forward must be callable, got 3"),
        (lambda: verify.verify(conv, None), TypeError, "forward must be callable, got None"),
        (lambda: verify.verify(conv, same, 3), TypeError, "backward must be callable, got 3"),
        (
            lambda: verify.verify(conv, same, dtype=np.int64),
            TypeError,
            "dtype must be float16, float32, float64, int8, int16, uint8, uint16 or a Format, "
            "got int64",
        ),
        (
            lambda: verify.verify(conv, same, accumulate=np.int64),
            TypeError,
            "accumulate must be float16, float32, float64 or a Format, got int64",
        ),
        (lambda: verify.verify(conv, same, ranks=2), TypeError, "ranks must be a sequence, got 2"),
        (
            lambda: verify.verify(conv, same, ranks="2"),
            TypeError,
            "ranks must be a sequence, got '2'",
        ),
        (
            lambda: verify.verify(conv, same, ranks=()),
            ValueError,
            "ranks must name one rank at least, got none",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(4,)),
            ValueError,
            "ranks must be from 1 to 3, got 4",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(0,)),
            ValueError,
            "ranks must be at least 1, got 0",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(1.5,)),
            TypeError,
            "ranks must be an integer, got 1.5",
        ),
        (lambda: verify.verify(conv, same, seed=-1), ValueError, "seed must be at least 0, got -1"),
        (
            lambda: verify.verify(conv, same, supports="groups"),
            TypeError,
            "supports must be a sequence, got 'groups'",
        ),
        (
            lambda: verify.verify(conv, same, supports=3),
            TypeError,
            "supports must be a sequence, got 3",
        ),
        (
            lambda: verify.verify(unary, same, supports=["strides", "groups", 3]),
            ValueError,
            "supports must name hyperparameters of unary (strides), got 3, groups",
        ),
        (
            lambda: verify.error_bound(relu, ONE, dtype="float32"),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, transposed, unary, got <module 'convinsights.relu' from ...>"
            ),
        ),
        (
            lambda: verify.error_bound(conv, ONE, ONE, dtype=np.float32),
            ValueError,
            (
                "kernel must be (*kernel_size, C_in // groups, C_out) with one, two or three "
                "spatial axes and no size of 0, got shape (3,)"
            ),
        ),
        (
            lambda: verify.error_bound(conv, [1j], ONE, dtype=np.float32),
            TypeError,
            (
                "x must hold real numbers (float16, float32, float64, integers or bools), got "
                "dtype complex128"
            ),
        ),
        (
            lambda: verify.error_bound(conv, ONE, dtype="f4"),
            TypeError,
            (
                "kernel must hold real numbers (float16, float32, float64, integers or bools), "
                "got None"
            ),
        ),
        (
            lambda: verify.error_bound(conv, *[ONE] * 4, dtype="f4"),
            TypeError,
            "arrays must be x, kernel, bias, got 4 of them",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=says(message) + "$"):
        call()
