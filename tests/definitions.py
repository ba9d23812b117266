"""Implementations that share no code with the library: tap by tap, summed in float64."""

import numpy as np
from helpers import loop_padding, per_axis

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    transposed,
    unary,
)


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


def amid(x, zeros):
    """The image amid its zeros, and where it lies there; np.pad takes ten times as long."""
    axes = list(zip(x.shape[1:-1], zeros, strict=True))
    padded = np.zeros((len(x), *(b + n + a for n, (b, a) in axes), x.shape[-1]))
    inside = (slice(None), *(slice(b, b + n) for n, (b, _) in axes))
    padded[inside] = x
    return padded, inside


def my_conv(x, kernel, bias=None, *, groups=1, **geometry):
    zeros, size, read = layout_of(x.shape[1:-1], kernel.shape[:-2], **geometry)
    padded, _ = amid(x, zeros)
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
    padded, inside = amid(x, zeros)
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
    return rounded(x, dpadded[inside], dkernel, dy.astype(float).sum(axis=axes))


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
