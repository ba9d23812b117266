"""verify: every slip is told by its name, and none by chance."""

import dataclasses

import numpy as np
import pytest
from definitions import (
    ALL,
    MINE,
    NAMES,
    as_grouped,
    layout_of,
    my_batchnorm,
    my_batchnorm_gradients,
    my_conv,
    my_conv_gradients,
    my_depthwise,
    my_depthwise_gradients,
    my_separable_gradients,
    my_transposed,
    my_transposed_gradients,
    my_unary,
    my_unary_gradients,
    parts,
    rounded,
)
from helpers import first_of_each, loop_padding, per_axis, thinned

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    transposed,
    verify,
)
from convinsights.verify import _slips_values
from convinsights.verify._hypotheses import hypotheses
from convinsights.verify._made import case_of
from convinsights.verify._plan import Plan
from convinsights.verify._precision import Precision

rng = np.random.default_rng(4)
pytestmark = pytest.mark.usefixtures("fewest_cases")


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
    first_of_each(BROKEN, [f"{slip}-{NAMES[module]}" for slip, module, *_ in BROKEN], 6),
)
def test_a_broken_implementation_is_told_its_slip(slip, module, forward, backward, request):
    if slip == "layout_ignored":  # among the fewest none is in Fortran's order
        request.getfixturevalue("more_cases")
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


@pytest.mark.thorough
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
    "gamma_gradient_not_normalized",
}
# Of the forward, or of the backward alone
ALONE = {"multiplier_major", "strides_and_dilation_exchanged"}
# No functions to differentiate, of y alone, or a change of hyperparameters only.
OTHERS = (
    "axes_swapped",
    "first_axis_for_all",
    "last_axis_for_all",
    "size_from_other_axis",
    "low_precision",
    "reads_outside",
    "saturated",
    "wrapped",
    "dilation_ignored (padding)",
    "size_by_whole_rates",
)


@pytest.mark.parametrize(
    "module",
    [
        batchnorm,
        *(pytest.param(m, marks=pytest.mark.thorough) for m in (conv, transposed, depthwise)),
        pytest.param(depthwise_separable, marks=pytest.mark.thorough),
    ],
)
@pytest.mark.usefixtures("more_cases")
def test_the_gradients_of_a_slip_are_those_of_what_its_forward_computes(module):
    varied, precision = frozenset(ALL[module]), Precision.of(module, np.float64)
    made = Plan(module, (2,), varied, precision, names=module is not batchnorm).cases()
    # Integers last, for an activation has its kinks there.
    cases = sorted((c for c in made if c.dy.size), key=lambda c: (c.integers, c.size))
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
            if all(np.allclose(found[key], case.truth[key], atol=1e-9) for key in found):
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
            assert verdicts == {"wrong"}, name
        elif module is batchnorm or name in ALONE:  # the backward may know of it, or not
            assert "right" in verdicts
        else:
            assert verdicts == {"right"}


@pytest.mark.usefixtures("more_cases")
def test_two_slips_are_told_apart_result_by_result():
    def broken(x, kernel, bias, *, padding, groups):
        if padding == "same":
            padding = [(k // 2, k // 2) for k in kernel.shape[:-2]]
        y = first_bias(x, kernel, bias, padding=padding, groups=groups)
        return np.cos(y) if x.shape[-1] > 12 else y

    report = verify.verify(conv, broken)
    assert report.diagnosis is None
    assert "\ndiagnosis: none, no single slip explains all failures\n" in str(report)
    found = {}
    for failure in report.failures[:-1]:  # all but the one made smaller
        x, bias = failure.arrays["x"], failure.arrays["bias"]
        kind = "cosine" if x.shape[-1] > 12 else ("same" * ("same" in failure.call), bias is None)
        found.setdefault(kind, set()).add(failure.diagnosis)
    found["same", False].discard(None)  # both together
    assert found == {
        "cosine": {None},
        ("same", True): {"padding_symmetric"},
        # Each alone, where the other changes nothing.
        ("same", False): {"padding_symmetric", "bias_of_first_group"},
        ("", False): {"bias_of_first_group"},
    }


@pytest.mark.usefixtures("more_cases")
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


@pytest.mark.usefixtures("more_cases")
def test_a_layout_that_is_ignored_beside_another_slip():
    def broken(x, kernel, bias):
        y = by_memory(x, kernel, bias)
        return np.cos(y) if bias is None else y

    report = verify.verify(conv, broken)
    found = {(failure.arrays["bias"] is None, failure.diagnosis) for failure in report.failures}
    assert found == {(True, None), (False, "layout_ignored")}


# ---- precision


@pytest.mark.usefixtures("more_cases")
def test_a_variance_in_one_pass_fails_where_the_mean_is_large():
    def one_pass(x, mean, variance):
        single = x.astype(np.float32)
        axes = tuple(range(x.ndim - 1))
        square = (single * single).mean(axes) - single.mean(axes) ** 2
        return mean, np.maximum(square, 0).astype(float)

    report = verify.verify(batchnorm, batchnorm_like(moments=one_pass), seed=0)
    assert {failure.kind for failure in report.failures} == {"2-D training, far from 0"}
    assert report.diagnosis == "one_pass_variance"


def test_rounding_in_a_coarser_precision_fails():
    def coarse(x, kernel, bias):
        return my_conv(x.astype(np.float16), kernel, bias).astype(np.float32)

    report = verify.verify(conv, coarse)
    assert not report.passed
    assert {failure.call[8:18] for failure in report.failures} == {"x=normal ("}
    verify.verify(conv, coarse, accumulate=np.float16).check()


@pytest.mark.parametrize(
    ("module", "ranks"),
    thinned(
        [(m, r) for m in (conv, transposed) for r in ((1,), (2,), (1, 2), (1, 2, 3))],
        map(str, range(8)),
        {0},
    ),
)
def test_rounding_is_a_slip_of_its_own(module, ranks):
    forward, backward = MINE[module]

    def coarse(x, *others, **hyper):
        return forward(x.astype(np.float16), *others, **hyper).astype(np.float32)

    def coarse_gradients(dy, x, *others, **hyper):
        gradients = backward(dy, x.astype(np.float16), *others, **hyper)
        return [g.astype(np.float32) for g in gradients]

    report = verify.verify(module, coarse, coarse_gradients, supports=ALL[module], ranks=ranks)
    assert {failure.result for failure in report.failures} == {"y", "dx", "dkernel", "dbias"}
    assert {failure.diagnosis for failure in report.failures} == {"low_precision (11 bits)"}


def test_sums_of_pairs_saturate_and_large_cases_are_left_out(monkeypatch):
    precision = Precision.of(conv, np.uint8)
    row = Plan(conv, (2,), frozenset(ALL[conv]), precision).plain(2) | {"values": "extremes"}
    case = case_of(conv, 2, row | {"in_channels": 3, "groups": 2}, precision, 0)
    x, kernel, bias = case.arrays
    y = np.zeros(case.dy.shape)
    for index in np.ndindex(*y.shape):
        n, i, j, o = index
        group = o // (y.shape[-1] // 2)
        products = x[n, i : i + 3, j : j + 3, 3 * group : 3 * group + 3] * kernel[..., o]
        pairs = products[..., :2].sum(axis=-1), products[..., 2]
        y[index] = sum(np.minimum(pair, 2**15 - 1).sum() for pair in pairs) + bias[o]
    assert (y != case.truth["y"]).any()
    np.testing.assert_array_equal(_slips_values._pairs_saturated(case)["y"], y)
    monkeypatch.setattr(_slips_values, "PRODUCTS", 0)
    assert _slips_values._pairs_saturated(case) == {}
