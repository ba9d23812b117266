"""What a wrong kernel may have got wrong: every slip as the results that it would give.

A hypothesis turns a case into an outcome, by the library itself with a changed argument: the
flipped kernel, other strides, another padding. It explains a candidate if it gives the candidate's
values, the wrong ones and the right ones. What it has nothing to say of (a kernel that does not fit
its image without the padding, the gradient of an output of another shape) counts neither way.

Slips come in variants under one name: "same" may have been resolved before the slip or after it,
and the output may keep the shape that the slip gives it or be brought to the one asked for.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable, im2col, transposed, unary
from convinsights._arguments import Array
from convinsights._concepts import defaults
from convinsights._geometry import effective_size
from convinsights.verify._cases import Case, Outcome, apply, resized, resolved

__all__ = ["Hypothesis", "hypotheses"]


class Hypothesis(NamedTuple):
    """A slip by its name, and the outcome that it would give for a case."""

    name: str
    outcome: Callable[[Case], Outcome]


def hypotheses(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips that a candidate for this module may have made, most specific first."""
    settings = defaults(module)
    if module is batchnorm:
        yield from _of_normalization()
    else:
        if "padding" in settings:
            yield from _of_padding()
        yield Hypothesis("kernel_flipped", _kernel_flipped)
        yield from _of_steps(settings)
        if "groups" in settings:
            for moved in list(product((True, False), repeat=3))[:-1]:  # one of them at least
                yield Hypothesis("groups_interleaved", partial(_groups_interleaved, moved=moved))
            yield Hypothesis("bias_of_first_group", _bias_of_first_group)
        if module in (depthwise, depthwise_separable):
            for read, written in ((False, True), (True, False), (True, True)):
                slip = partial(_multiplier_major, read=read, written=written)
                yield Hypothesis("multiplier_major", slip)
        yield Hypothesis("bias_ignored", _bias_ignored)
    yield from _of_gradients(module)


# -- where the windows lie -----------------------------------------------------------------------


def _changed(case: Case, *, fit: bool = False, **settings: Any) -> Outcome:
    changed = case.settings | settings
    if changed == case.settings:
        return case.truth
    return apply(case.module, case.arrays, changed, case.dy, fit=fit)


def _of_padding() -> Iterator[Hypothesis]:
    # Zeros on either side, from the taps k, the rate d and the effective kernel ke.
    rules: tuple[Callable[[int, int, int], int], ...] = (
        lambda k, d, ke: k // 2,
        lambda k, d, ke: (k - 1) // 2,
        lambda k, d, ke: d * (k // 2),
        lambda k, d, ke: ke // 2,
        lambda k, d, ke: (ke - 1) // 2,
    )
    for rule in rules:
        yield Hypothesis("padding_symmetric", partial(_padding_symmetric, rule=rule))
    yield Hypothesis("padding_before", _padding_before)
    for fit in (False, True):
        yield Hypothesis("padding_ignored", partial(_changed, padding="valid", fit=fit))


def _padded(case: Case, pairs: tuple[tuple[int, int], ...]) -> Outcome:
    if case.module is not transposed:
        return _changed(case, padding=pairs)
    return _changed(
        case, padding=pairs, output_size=case.truth["y"].shape[1:-1], output_padding=None
    )


def _padding_symmetric(case: Case, rule: Callable[[int, int, int], int]) -> Outcome:
    if case.settings["padding"] != "same":
        return case.truth
    taps, rates = case.arrays[1].shape[:-2], case.axes("dilation_rate")
    zeros = map(rule, taps, rates, effective_size(taps, rates))
    return _padded(case, tuple((z, z) for z in zeros))


def _padding_before(case: Case) -> Outcome:
    if case.settings["padding"] != "same":
        return case.truth
    return _padded(case, tuple((after, before) for before, after in resolved(case)))


def _of_steps(settings: dict[str, Any]) -> Iterator[Hypothesis]:
    yield from _of_swapped_axes(settings)
    for before, fit in product((False, True), repeat=2):
        slip = partial(_stepped, name="strides", step=lambda s: 1, before=before, fit=fit)
        yield Hypothesis("strides_ignored", slip)
    if "dilation_rate" in settings:
        rules: tuple[tuple[str, Callable[[int], int]], ...] = (
            ("dilation_ignored", lambda d: 1),
            ("dilation_off_by_one", lambda d: d + 1),
            ("dilation_off_by_one", lambda d: d + (d > 1)),
            ("dilation_off_by_one", lambda d: max(d - 1, 1)),
        )
        for (name, step), before, fit in product(rules, (False, True), (False, True)):
            slip = partial(_stepped, name="dilation_rate", step=step, before=before, fit=fit)
            yield Hypothesis(name, slip)
    if "output_padding" in settings:
        for value, said, fit in product((0, None), (False, True), (False, True)):
            slip = partial(_output_padding_ignored, value=value, said=said, fit=fit)
            yield Hypothesis("output_padding_ignored", slip)


def _resolved_first(case: Case, before: bool) -> dict[str, Any]:
    # The padding in zeros by the right strides and rates, if the slip came after that.
    return {"padding": resolved(case)} if before and case.settings.get("padding") == "same" else {}


def _stepped(case: Case, name: str, step: Callable[[int], int], before: bool, fit: bool) -> Outcome:
    changed = tuple(map(step, case.axes(name)))
    if changed == case.axes(name):
        return case.truth
    free = {"output_padding": None, "output_size": None} if case.module is transposed else {}
    return _changed(case, fit=fit, **_resolved_first(case, before), **{name: changed}, **free)


def _output_padding_ignored(case: Case, value: int | None, said: bool, fit: bool) -> Outcome:
    # `said`: a size that was said outright is ignored as well.
    padding, size = case.settings["output_padding"], case.settings["output_size"]
    if padding is None and (size is None or not said):
        return case.truth
    return _changed(case, output_padding=value, output_size=None, fit=fit)


def _of_swapped_axes(settings: dict[str, Any]) -> Iterator[Hypothesis]:
    names = [n for n in ("strides", "dilation_rate", "padding", "output_padding") if n in settings]
    subsets = [some for count in range(1, len(names) + 1) for some in combinations(names, count)]
    for some, before, swap in product(subsets, (False, True), SWAPS):
        slip = partial(_axes_swapped, names=some, before=before, swap=swap)
        yield Hypothesis("axes_swapped", slip)


# The same for two axes; of three any two may be exchanged.
SWAPS = ((-1, -2), (0, 1), (0, -1))


def _axes_swapped(
    case: Case, names: tuple[str, ...], before: bool, swap: tuple[int, int]
) -> Outcome:
    if case.rank == 1:
        return case.truth
    settings = case.settings | _resolved_first(case, before)
    for name in names:
        if isinstance(settings[name], tuple):
            entries = list(settings[name])
            entries[swap[0]], entries[swap[1]] = entries[swap[1]], entries[swap[0]]
            settings[name] = tuple(entries)
    return _changed(case, **settings)


# -- what is multiplied and added ----------------------------------------------------------------


def _flipped(kernel: Array) -> Array:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def _with(case: Case, *arrays: Any, dy: Array | None = None) -> Outcome:
    return apply(case.module, arrays, case.settings, case.dy if dy is None else dy)


def _kernel_flipped(case: Case) -> Outcome:
    x, kernel, *others = case.arrays
    outcome, name = _with(case, x, _flipped(kernel), *others), f"d{case.names[1]}"
    return outcome | {name: _flipped(outcome[name])}


def _groups_interleaved(case: Case, moved: tuple[bool, ...]) -> Outcome:
    # Of the channels c of x, of the kernel's last axis or of y, those with c mod G = g belong to
    # group g, where they should lie side by side.
    x, kernel, bias = case.arrays
    groups = case.settings["groups"]

    def order(channels: int, move: bool) -> Array:
        numbers = np.arange(channels)
        return numbers.reshape(-1, groups).T.ravel() if move else numbers

    filters = case.dy.shape[-1]
    of_x, of_kernel, of_y = map(order, (x.shape[-1], kernel.shape[-1], filters), moved)
    outcome = _with(
        case,
        x[..., of_x],
        kernel[..., of_kernel],
        None if bias is None else bias[of_y],
        dy=case.dy[..., of_y],
    )
    orders = {"y": of_y, "dx": of_x, "dkernel": of_kernel, "dbias": of_y}
    return {name: value[..., np.argsort(orders[name])] for name, value in outcome.items()}


def _multiplier_major(case: Case, read: bool, written: bool) -> Outcome:
    # The depthwise outputs stand at m C + c, or the kernel is read as (…, M, C).
    x, kernel, *others = case.arrays
    *taps, channels, multiplier = kernel.shape
    order = np.arange(channels * multiplier).reshape(channels, multiplier).T.ravel()
    back = np.argsort(order)
    if not written:
        order = back = np.arange(channels * multiplier)
    if read:
        kernel = kernel.reshape(*taps, multiplier, channels).swapaxes(-1, -2)
    dy = case.dy
    if case.module is depthwise:
        others[0] = None if others[0] is None else others[0][back]
        dy = dy[..., back]
    else:
        others[0] = others[0][..., back, :]
    outcome = _with(case, x, kernel, *others, dy=dy)
    if case.module is depthwise:
        if "dbias" in outcome:
            outcome["dbias"] = outcome["dbias"][order]
        outcome["y"] = outcome["y"][..., order]
    else:
        outcome["dpointwise_kernel"] = outcome["dpointwise_kernel"][..., order, :]
    name = f"d{case.names[1]}"
    if read:
        outcome[name] = outcome[name].swapaxes(-1, -2).reshape(case.arrays[1].shape)
    return outcome


def _bias_ignored(case: Case) -> Outcome:
    *others, bias = case.arrays
    if bias is None:
        return case.truth
    return _with(case, *others, None) | {"dbias": np.zeros_like(bias)}


def _bias_of_first_group(case: Case) -> Outcome:
    *others, bias = case.arrays
    if bias is None:
        return case.truth
    groups, first = case.settings["groups"], bias.size // case.settings["groups"]
    outcome = _with(case, *others, np.tile(bias[:first], groups))
    dbias = outcome["dbias"].reshape(groups, first).sum(axis=0)
    return outcome | {"dbias": resized(dbias, bias.shape)}


# -- batch normalization -------------------------------------------------------------------------


class Scaling(NamedTuple):
    """What a slip divides by, from the variance v, epsilon e and the values per channel m.

    `slope` is the derivative of that root with respect to v, times twice the root: 1 in the right
    one, so that a backward that does not know of the slip takes it for 1.
    """

    root: Callable[[Array, float, int], Array]
    slope: Callable[[Array, float, int], Array]


def _of_normalization() -> Iterator[Hypothesis]:
    unbiased = Scaling(
        lambda v, e, m: np.sqrt(v * (m / (m - 1)) + e), lambda v, e, m: np.full_like(v, m / (m - 1))
    )
    outside = Scaling(lambda v, e, m: np.sqrt(v) + e, lambda v, e, m: 1 + e / np.sqrt(v))
    for known in (True, False):
        slip = partial(_scaled, scaling=unbiased, known=known, inference=False)
        yield Hypothesis("unbiased_variance", slip)
        slip = partial(_scaled, scaling=outside, known=known)
        yield Hypothesis("epsilon_outside_root", slip)
    for constant in (0.0, 1e-3, 1e-5):
        yield Hypothesis("epsilon_ignored", partial(_changed, epsilon=constant))
    yield Hypothesis("moving_statistics_in_training", _moving_statistics_in_training)
    yield Hypothesis("batch_statistics_in_inference", _batch_statistics_in_inference)


def _scaled(case: Case, scaling: Scaling, known: bool, inference: bool = True) -> Outcome:
    x, gamma, beta, statistics = case.arrays
    m, axes, epsilon = math.prod(x.shape[:-1]), tuple(range(x.ndim - 1)), case.settings["epsilon"]
    if statistics is not None and not inference:
        return case.truth
    mean, variance = (x.mean(axes), x.var(axes)) if statistics is None else statistics
    if statistics is None and (variance == 0).any():
        raise ValueError("a slip that divides by 0 says nothing")
    root, dy = scaling.root(variance, epsilon, m), case.dy
    normal = (x - mean) / root
    scale = (1 if gamma is None else gamma) / root
    outcome = {"y": scale * (x - mean) + (0 if beta is None else beta), "dx": scale * dy}
    if statistics is None:
        slope = scaling.slope(variance, epsilon, m) if known else 1.0
        along = (dy * normal).mean(axes) * slope
        outcome["dx"] = scale * (dy - dy.mean(axes) - normal * along)
    sums = {"dgamma": (dy * normal).sum(axes), "dbeta": dy.sum(axes)}
    return outcome | {name: value for name, value in sums.items() if name in case.truth}


def _moving_statistics_in_training(case: Case) -> Outcome:
    *others, statistics = case.arrays
    moving = batchnorm.initial_statistics(case.x.shape[-1])
    return case.truth if statistics is not None else _with(case, *others, moving)


def _batch_statistics_in_inference(case: Case) -> Outcome:
    return _with(case, *case.arrays[:-1], None)


# -- gradients -----------------------------------------------------------------------------------


def _of_gradients(module: ModuleType) -> Iterator[Hypothesis]:
    for pixels, of_x in ((False, False), (False, True), (True, False)):
        slip = partial(_gradient_averaged, pixels=pixels, of_x=of_x)
        yield Hypothesis("gradient_averaged", slip)
    if module is batchnorm:
        yield Hypothesis("statistics_constant", _statistics_constant)
        return
    yield Hypothesis("kernel_gradient_flipped", _kernel_gradient_flipped)
    for last in (0, -1):
        yield Hypothesis("bias_gradient_missing_batch", partial(_one_image, name="dbias", n=last))
    yield Hypothesis("bias_gradient_missing_batch", _bias_gradient_per_image)
    if module is not unary:
        for by_tap, last_filter in product((True, False), (False, True)):
            slip = partial(_overlaps_overwritten, by_tap=by_tap, last_filter=last_filter)
            yield Hypothesis("overlaps_overwritten", slip)
    yield Hypothesis("overlaps_overwritten", partial(_one_image, name=None, n=-1))


def _gradient_averaged(case: Case, pixels: bool, of_x: bool) -> Outcome:
    # Of the sums over the batch, or over all its pixels; also dx, as if the loss were a mean.
    count = math.prod(case.dy.shape[:-1]) if pixels else len(case.dy)
    if count == 0:
        return case.truth
    kept = ("y",) if of_x else ("y", "dx")
    return {name: a if name in kept else a / count for name, a in case.truth.items()}


def _statistics_constant(case: Case) -> Outcome:
    x, gamma, beta, statistics = case.arrays
    if statistics is not None:
        return case.truth
    axes = tuple(range(x.ndim - 1))
    own = batchnorm.Statistics(x.mean(axes), x.var(axes))
    return case.truth | {"dx": _with(case, x, gamma, beta, own)["dx"]}


def _kernel_gradient_flipped(case: Case) -> Outcome:
    name = f"d{case.names[1]}"
    return case.truth | {name: _flipped(case.truth[name])}


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
        padding=resolved(case),
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
