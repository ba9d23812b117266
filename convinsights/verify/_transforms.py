"""What fast convolutions lose: bounds on a whole result, for their errors spread over all of it.

Winograd's F(m, 3) computes m neighbouring outputs from m + 2 pixels, along every axis by itself:

    y = A' [(G k) o (B' x)]         o: number by number

and sums the products in brackets over the channels. An output is made of the products of tap p and
the pixel p steps after the output's own. On the way the transforms also form products of tap p and
the pixel e steps after the output's own, for other e; these cancel, but their roundings do not. So
each such product counts in the error of an output, with the weight L[e, p]; in a direct sum that
weight is 1 if e = p, and else 0. With output i of a tile, and product j of those in brackets:

    L[e, p] = max over i of  sum over j of |A[j, i]| |G[j, p]| |B[i + e, j]|

So every output is off by at most what PASSES roundings per axis, and one per channel summed, do to
the sum of |x| with the taps L |k|. A tile may begin anywhere, so L takes the worst i, and the bound
of a whole result is the largest of its elements'. The sum over the channels of one pixel is bounded
by Cauchy's inequality: |sum over c of k_c x_c| <= ||k|| ||x||. The bound holds for F(4, 3), whose
matrices stand below, for F(2, 3), whose L is less, and for what differs from either by scaled rows.

A Fourier transform of length n = 2^t in precision u is off by t eta / (1 - t eta) of itself in the
2-norm, eta = w + gamma_4 (sqrt(2) + w), with twiddle factors off by w. Multiplied and summed, two
transforms make an error of at most 2 t eta ||k|| ||x|| in every output (Cauchy's inequality again),
the transform back t eta ||y||, where ||y|| <= sqrt(taps) ||k|| ||x||.

References
----------
Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks", 2020, sections 3 and 4.
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 24.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from convinsights import depthwise, depthwise_separable, transposed
from convinsights._arguments import Array
from convinsights.verify._calls import Call
from convinsights.verify._precision import Precision
from convinsights.verify._terms import Products

__all__ = ["SPREAD", "lost"]

# A', G and B' of F(4, 3), with the points 0, 1, -1, 2, -2 and infinity
OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)
TAPS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
PIXELS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
# How often a number is rounded on the way through the three transforms of one axis: by each as
# often as its longest row has numbers that are not 0, and by G once more, for some of its numbers
# are no binary fractions (G: 3 + 1, B': 4, A': 5)
PASSES = 4 + 4 + 5


def _spread() -> Array:
    weights = np.einsum("ij,jp,jq->iqp", abs(OUTPUT), abs(TAPS), abs(PIXELS))
    spread = np.zeros((9, 3))  # e from -3 to 5; the first and the last weigh nothing
    for i, of_pixels in enumerate(weights):
        spread[3 - i : 9 - i] = np.maximum(spread[3 - i : 9 - i], of_pixels)
    # Gradients by pixels see the kernel flipped.
    return np.maximum(spread, spread[::-1, ::-1])[1:-1]


SPREAD = _spread()


def lost(call: Call, precision: Precision) -> dict[str, float]:
    """Return what the transform that `precision` names may add to the error of each result."""
    bound = _winograd if precision.algorithm == "winograd" else _fft
    products, x, dy = Products.of(call), call.x, call.dy
    if call.module is not depthwise_separable:
        return bound(products, x, dy, precision)
    # The first step goes through the transform, its error through the second.
    pointwise = np.abs(call.arrays[2]).reshape(call.arrays[2].shape[-2:])
    between = None if dy is None else np.abs(dy) @ pointwise.T
    first = bound(products, x, between, precision)
    result = {"y": first["y"] * float(pointwise.sum(axis=0).max())}
    if dy is not None:
        sums = np.abs(dy).reshape(-1, dy.shape[-1]).sum(axis=0)
        result |= {"dx": first["dx"], "ddepthwise_kernel": first["dkernel"]}
        result["dpointwise_kernel"] = first["y"] * float(sums.max())
    return result


def _winograd(
    products: Products, x: Array, dy: Array | None, precision: Precision
) -> dict[str, float]:
    axes = [axis for axis, taps in enumerate(products.geometry.kernel_size) if taps == 3]
    if not axes:
        return dict.fromkeys(("y", "dx", "dkernel"), 0.0)
    passes, (inputs, outputs) = PASSES * len(axes), products.channels
    of_y, of_dx = (_wide(taps, axes) for taps in products.tap_norms())
    pair = _on_windows, _on_pixels
    forth, back = pair[::-1] if products.module is transposed else pair
    most = forth(products, axes, _norms(x, products.groups), of_y)
    result = {"y": precision.multiplied(passes + inputs + 1) * most}  # 1 for the bias
    if dy is not None:
        most = back(products, axes, _norms(dy, products.groups), of_dx)
        result["dx"] = precision.multiplied(passes + outputs) * most
        # The terms are tiles, of two outputs or more along the axes that are transformed.
        sizes = enumerate(products.geometry.output_size)
        tiles = len(x) * math.prod(-(-n // 2) if axis in axes else n for axis, n in sizes)
        weight = float(SPREAD.sum(axis=0).max()) ** len(axes)
        norms = _channel_norm(x) * _channel_norm(dy)
        result["dkernel"] = precision.multiplied(passes + tiles) * weight * norms
    return result


def _wide(taps: Array, axes: Sequence[int]) -> Array:
    # L |k| along every axis of three taps, as the kernel of a depthwise convolution
    for axis in axes:
        taps = np.moveaxis(np.tensordot(SPREAD, taps, (1, axis)), 0, axis)
    return taps[..., np.newaxis]


def _laid(products: Products, axes: Sequence[int]) -> dict[str, Any]:
    # L has seven taps where the kernel has three: two more on either side.
    g = products.geometry
    more = [2 * rate * (axis in axes) for axis, rate in enumerate(g.dilation_rate)]
    padding = [(a + wide, b + wide) for (a, b), wide in zip(g.padding, more, strict=True)]
    return {"strides": g.strides, "padding": padding, "dilation_rate": g.dilation_rate}


def _on_windows(products: Products, axes: Sequence[int], image: Array, taps: Array) -> float:
    return float(depthwise.forward(image, taps, **_laid(products, axes))[0].max(initial=0))


def _on_pixels(products: Products, axes: Sequence[int], windows: Array, taps: Array) -> float:
    image = np.zeros((len(windows), *products.geometry.input_size, products.groups))
    cache = depthwise.forward(image, taps, **_laid(products, axes))[1]
    return float(depthwise.backward(windows, cache).x.max(initial=0))


def _fft(products: Products, x: Array, dy: Array | None, precision: Precision) -> dict[str, float]:
    g, (inputs, outputs), u = products.geometry, products.channels, precision.unit
    # A whole convolution, along every axis up to the next power of 2
    spans = ((k - 1) * d + 1 for k, d in zip(g.kernel_size, g.dilation_rate, strict=True))
    sizes = (size + span for size, span in zip(g.padded_size, spans, strict=True))
    t, gamma = sum(math.ceil(math.log2(size)) for size in sizes), 4 * u / (1 - 4 * u)
    off = t * (u + gamma * (math.sqrt(2) + u))
    off = off / (1 - off) if off < 1 else math.inf

    def of(norms: float, shorter: int, terms: int) -> float:
        # Of what is transformed, multiplied, summed over `terms` and transformed back
        return norms * ((2 + math.sqrt(shorter)) * off + float(precision.multiplied(terms + 2)))

    norms, taps = products.over(np.square(products.kernel)), math.prod(g.kernel_size)
    result = {"y": of(math.sqrt(norms[0]) * _image_norm(x, products.groups), taps, inputs)}
    if dy is not None:
        both, windows = _channel_norm(x) * _channel_norm(dy), math.prod(g.output_size)
        result["dx"] = of(math.sqrt(norms[1]) * _image_norm(dy, products.groups), taps, outputs)
        result["dkernel"] = of(both, windows, len(x))
    return result


def _norms(images: Array, groups: int) -> Array:
    # The norm of every pixel's channels, group by group
    parts = images.reshape(*images.shape[:-1], groups, images.shape[-1] // groups)
    norms: Array = np.sqrt(np.einsum("...c,...c->...", parts, parts))
    return norms


def _image_norm(images: Array, groups: int) -> float:
    # The largest of all images and groups
    squares = np.square(_norms(images, groups))
    return math.sqrt(squares.sum(axis=tuple(range(1, images.ndim - 1))).max(initial=0))


def _channel_norm(images: Array) -> float:
    # The largest of all channels, over all images
    pixels = images.reshape(-1, images.shape[-1])
    return math.sqrt(np.einsum("pc,pc->c", pixels, pixels).max(initial=0))
