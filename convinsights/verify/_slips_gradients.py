"""Slips of a backward: sums averaged, forgotten, overwritten; statistics that count as constant."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from types import ModuleType

import numpy as np

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    im2col,
    transposed,
    unary,
)
from convinsights.verify._calls import NORMALIZATIONS, Outcome, resized
from convinsights.verify._cases import Case
from convinsights.verify._grouped import Grouped
from convinsights.verify._slips import Hypothesis, with_arrays
from convinsights.verify._slips_normalization import training_gradient

__all__ = ["of_gradients"]


def of_gradients(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a module's backward."""
    for pixels, of_x in ((False, False), (False, True), (True, False)):
        slip = partial(_gradient_averaged, pixels=pixels, of_x=of_x)
        yield Hypothesis("gradient_averaged", slip)
    summed = [name for name in module.Gradients._fields[1:] if name != "statistics"]
    for name, pixels in product(summed, (False, True)):
        slip = partial(_gradient_averaged, pixels=pixels, only=f"d{name}")
        yield Hypothesis("gradient_averaged", slip)
    if module in NORMALIZATIONS:
        yield Hypothesis("statistics_constant", _statistics_constant)
        yield Hypothesis("gamma_gradient_not_normalized", _gamma_gradient_not_normalized)
        if module is batchnorm:
            for own in (("dx",), ("dgamma",), ("dx", "dgamma"), ()):
                slip = partial(_training_in_inference, own=own)
                yield Hypothesis("training_gradient_in_inference", slip)
        return
    if module is not unary:
        yield Hypothesis("kernel_gradient_flipped", _kernel_gradient_flipped)
    if module in (depthwise, depthwise_separable):
        for read in (False, True):
            slip = partial(_kernel_gradient_multiplier_major, read=read)
            yield Hypothesis("multiplier_major", slip)
    if module is transposed:
        yield Hypothesis("strides_and_dilation_exchanged", _exchanged)
    if module not in (unary, depthwise_separable):
        yield Hypothesis("strides_and_dilation_exchanged", _kernel_gradient_exchanged)
    for last in (0, -1):
        yield Hypothesis("bias_gradient_missing_batch", partial(_one_image, name="dbias", n=last))
    yield Hypothesis("bias_gradient_missing_batch", _bias_gradient_per_image)
    if module is not unary:
        for by_tap, last_filter in product((True, False), (False, True)):
            slip = partial(_overlaps_overwritten, by_tap=by_tap, last_filter=last_filter)
            yield Hypothesis("overlaps_overwritten", slip)
    yield Hypothesis("overlaps_overwritten", partial(_one_image, name=None, n=-1))


def _gradient_averaged(
    case: Case, pixels: bool, of_x: bool = False, only: str | None = None
) -> Outcome:
    # Divided by the number of images, or (`pixels`) of all their pixels: every sum, or `only` one;
    # `of_x`: dx too, as if the loss were a mean.
    count = math.prod(case.dy.shape[:-1]) if pixels else len(case.dy)
    if count == 0:
        return case.truth
    kept = ("y",) if of_x else ("y", "dx")
    return {
        name: a if name in kept or only not in (None, name) else a / count
        for name, a in case.truth.items()
    }


def _statistics_constant(case: Case) -> Outcome:
    parts = Grouped(case)
    if not parts.own:
        return case.truth
    return case.truth | {"dx": parts.whole(parts.scale / parts.root * parts.view(case.dy))}


def _gamma_gradient_not_normalized(case: Case) -> Outcome:
    if "dgamma" not in case.truth:
        return case.truth
    axes = tuple(range(case.x.ndim - 1))
    return case.truth | {"dgamma": (case.x * case.dy).sum(axis=axes)}


def _training_in_inference(case: Case, own: tuple[str, ...]) -> Outcome:
    # `own`: the gradients that are made with the images' own statistics; none: dx alone, as in
    # training but with those that were given.
    *others, statistics = case.arrays
    if statistics is None or not case.x.size:
        return case.truth
    if own:
        outcome = with_arrays(case, *others, None)
        return case.truth | {name: outcome[name] for name in own if name in outcome}
    parts = Grouped(case)
    return case.truth | {"dx": training_gradient(parts, case.dy, parts.root)}


def _kernel_gradient_flipped(case: Case) -> Outcome:
    name = f"d{case.names[1]}"
    gradient = case.truth[name]
    return case.truth | {name: np.flip(gradient, tuple(range(gradient.ndim - 2)))}


def _kernel_gradient_multiplier_major(case: Case, read: bool) -> Outcome:
    # Written as (…, M, C), or read so.
    name = f"d{case.names[1]}"
    gradient = case.truth[name]
    *taps, channels, multiplier = gradient.shape
    if read:
        other = gradient.reshape(*taps, multiplier, channels).swapaxes(-1, -2)
    else:
        other = gradient.swapaxes(-1, -2).reshape(gradient.shape)
    return case.truth | {name: other}


def _exchanged(case: Case) -> Outcome:
    # dx of a transposed convolution is a convolution: here with strides and rates exchanged, cut or
    # filled up to the size of x.
    dx, _ = conv.forward(
        case.dy,
        case.arrays[1],
        strides=case.axes("dilation_rate"),
        dilation_rate=case.axes("strides"),
        padding=case.padding,
        groups=case.settings["groups"],
    )
    return case.truth | {"dx": resized(dx, case.x.shape)}


def _kernel_gradient_exchanged(case: Case) -> Outcome:
    # Taps lie strides apart, and windows by the rate; what they read behind the image is 0.
    kernel, steps, rates = case.arrays[1], case.axes("dilation_rate"), case.axes("strides")
    if steps == rates:
        return case.truth
    module, image, windows = case.module, case.x, case.dy
    if module is transposed:
        module, image, windows = conv, case.dy, case.x
    reach = (
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(windows.shape[1:-1], steps, kernel.shape, rates, strict=False)
    )
    padding = tuple(
        (before, max(0, far - size - before))
        for (before, _), far, size in zip(case.padding, reach, image.shape[1:-1], strict=True)
    )
    groups = {name: n for name, n in case.settings.items() if name == "groups"}
    y, cache = module.forward(
        image, kernel, None, strides=steps, dilation_rate=rates, padding=padding, **groups
    )
    gradients = module.backward(resized(windows, y.shape), cache)
    return case.truth | {"dkernel": gradients.kernel}


def _one_image(case: Case, name: str | None, n: int) -> Outcome:
    # The bias' gradient, or each kernel's, of one image in place of the sum over all.
    if len(case.x) == 0:
        return case.truth
    alone = case.image(n % len(case.x)).truth
    names = [d for d in alone if d == name or (name is None and d.endswith("kernel"))]
    return case.truth | {d: alone[d] for d in names}


def _bias_gradient_per_image(case: Case) -> Outcome:
    if case.arrays[-1] is None:
        return case.truth
    return case.truth | {"dbias": case.dy.sum(axis=tuple(range(1, case.dy.ndim - 1)))}


def _overlaps_overwritten(case: Case, by_tap: bool, last_filter: bool) -> Outcome:
    # Where windows overlap, the last to come is left: in the order of the taps, or of the windows
    # (and then of the filters, if they come one by one).
    kernel, groups = case.arrays[1], case.settings.get("groups", 1)
    if case.module is transposed:
        name, image, dy = "y", case.truth["y"], case.x
    else:
        name, image, dy = "dx", case.x, case.dy
    if case.module is depthwise_separable:
        x, spatial, pointwise, bias = case.arrays
        between = depthwise.forward(x, spatial, **case.settings)[0]
        dy = unary.backward(dy, unary.forward(between, pointwise, bias)[1]).x
    if case.module in (depthwise, depthwise_separable):
        groups, kernel = kernel.shape[-2], kernel.reshape(*kernel.shape[:-2], 1, -1)
    *taps, inputs, filters = kernel.shape
    chosen = slice(-1, None) if last_filter else slice(None)
    rows = dy.reshape(-1, groups, filters // groups)[..., chosen]
    matrix = kernel.reshape(-1, inputs, groups, filters // groups)[..., chosen]
    columns = np.einsum("rgo,ucgo->rugc", rows, matrix)
    pixels = im2col.im2col(  # by number, and 0 for the padding
        np.arange(1, image.size + 1).reshape(image.shape),
        tuple(taps),
        strides=case.settings["strides"],
        padding=case.padding,
        dilation_rate=case.settings["dilation_rate"],
    )
    places = pixels.astype(np.intp).reshape(columns.shape)
    if by_tap:
        columns, places = columns.swapaxes(0, 1), places.swapaxes(0, 1)
    flat = np.zeros(image.size + 1)
    flat[places.ravel()] = columns.ravel()
    left = flat[1:].reshape(image.shape)
    if case.module is transposed and case.arrays[-1] is not None:
        left = left + case.arrays[-1]
    return case.truth | {name: left}
