"""Slips of what is multiplied and added: the kernel's taps, groups, multipliers and the bias."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product
from types import ModuleType

import numpy as np

from convinsights import depthwise, depthwise_separable, unary
from convinsights._arguments import Array
from convinsights._concepts import defaults
from convinsights.verify._calls import Outcome, resized
from convinsights.verify._cases import Case
from convinsights.verify._slips import Hypothesis, interleaved, with_arrays

__all__ = ["of_channels", "of_kernel"]


def of_kernel(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a kernel's taps."""
    if module is unary:
        return
    yield Hypothesis("kernel_flipped", _kernel_flipped)
    axes = [some for count in (1, 2, 3) for some in combinations(range(3), count)]
    for some, several in product([*axes, ()], (False, True)):
        slip = partial(_last_tap_ignored, axes=some, several=several)
        yield Hypothesis("last_tap_ignored", slip)


def of_channels(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a module's channels."""
    settings = defaults(module)
    if "groups" in settings:
        for moved in list(product((True, False), repeat=3))[:-1]:  # one of them at least
            yield Hypothesis("groups_interleaved", partial(_groups_interleaved, moved=moved))
        yield Hypothesis("bias_of_first_group", _bias_of_first_group)
    if "groups" in settings or module is depthwise:
        rules: tuple[Callable[[Array, int, int], Array], ...] = (
            lambda c, size, groups: c // size,
            lambda c, size, groups: c % groups,
        )
        for rule, alone in product(rules, (True, False)):
            slip = partial(_bias_per_group, rule=rule, alone=alone)
            yield Hypothesis("bias_per_group", slip)
        yield Hypothesis("bias_per_group", _bias_once_per_group)
    if module in (depthwise, depthwise_separable):
        for read, written in ((False, True), (True, False), (True, True)):
            slip = partial(_multiplier_major, read=read, written=written)
            yield Hypothesis("multiplier_major", slip)
        if module is depthwise_separable:
            yield Hypothesis("multiplier_major", _pointwise_multiplier_major)
    yield Hypothesis("bias_ignored", _bias_ignored)


def _flipped(kernel: Array) -> Array:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))


def _kernel_flipped(case: Case) -> Outcome:
    x, kernel, *others = case.arrays
    outcome, name = with_arrays(case, x, _flipped(kernel), *others), f"d{case.names[1]}"
    return outcome | {name: _flipped(outcome[name])}


def _last_tap_ignored(case: Case, axes: tuple[int, ...], several: bool) -> Outcome:
    # Of these axes, or of the whole kernel; `several`: only where there is another one.
    x, kernel, *others = case.arrays
    taps = kernel.shape[:-2]
    if any(axis >= len(taps) for axis in axes):
        return {}
    kept = np.ones((*taps, 1, 1))
    if not axes and (kept.size > 1 or not several):
        kept.flat[-1] = 0
    for axis in axes:
        if taps[axis] > 1 or not several:
            kept[(slice(None),) * axis + (-1,)] = 0
    if kept.all():
        return case.truth
    outcome, name = with_arrays(case, x, kernel * kept, *others), f"d{case.names[1]}"
    return outcome | {name: outcome[name] * kept}


def _groups_interleaved(case: Case, moved: tuple[bool, ...]) -> Outcome:
    # Of the channels c of x, of the kernel's last axis or of y, those with c mod G = g belong to
    # group g, where they should lie side by side.
    x, kernel, bias = case.arrays
    groups = case.settings["groups"]
    if groups == 1:
        return case.truth

    def order(channels: int, move: bool) -> Array:
        return interleaved(channels, groups) if move else np.arange(channels)

    filters = case.dy.shape[-1]
    of_x, of_kernel, of_y = map(order, (x.shape[-1], kernel.shape[-1], filters), moved)
    outcome = with_arrays(
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
    # order[k]: which output of the right layout stands at k; back is its inverse.
    order = interleaved(channels * multiplier, multiplier)
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
    outcome = with_arrays(case, x, kernel, *others, dy=dy)
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


def _pointwise_multiplier_major(case: Case) -> Outcome:
    # The rows of the pointwise kernel are put into the order (M, C), what they meet is not.
    x, kernel, pointwise, bias = case.arrays
    *_, channels, multiplier = kernel.shape
    order = interleaved(channels * multiplier, multiplier)
    outcome, name = (
        with_arrays(case, x, kernel, pointwise[..., order, :], bias),
        "dpointwise_kernel",
    )
    return outcome | {name: outcome[name][..., np.argsort(order), :]}


def _bias_ignored(case: Case) -> Outcome:
    *others, bias = case.arrays
    if bias is None:
        return case.truth
    return with_arrays(case, *others, None) | {"dbias": np.zeros_like(bias)}


def _bias_of_first_group(case: Case) -> Outcome:
    bias, groups = case.arrays[-1], case.settings["groups"]
    if bias is None or groups == 1:
        return case.truth
    first = bias.size // groups
    dbias = case.truth["dbias"].reshape(groups, first).sum(axis=0)
    y = case.truth["y"] + (np.tile(bias[:first], groups) - bias)
    return case.truth | {"y": y, "dbias": resized(dbias, bias.shape)}


def _groups(case: Case) -> int:
    return int(case.settings["groups"] if "groups" in case.settings else case.x.shape[-1])


def _bias_per_group(case: Case, rule: Callable[[Array, int, int], Array], alone: bool) -> Outcome:
    # One bias for all channels of a group, the one at the group's number (`alone`: also where there
    # is one group only); of depthwise the groups are the channels of the image.
    bias, groups = case.arrays[-1], _groups(case)
    if bias is None or (groups == 1 and not alone):
        return case.truth
    index = rule(np.arange(bias.size), bias.size // groups, groups)
    dbias = np.zeros_like(bias)
    np.add.at(dbias, index, case.truth["dbias"])
    return case.truth | {"y": case.truth["y"] + (bias[index] - bias), "dbias": dbias}


def _bias_once_per_group(case: Case) -> Outcome:
    # Each group adds the whole bias.
    bias, groups = case.arrays[-1], _groups(case)
    if bias is None:
        return case.truth
    y = case.truth["y"] + (groups - 1) * bias
    return case.truth | {"y": y, "dbias": groups * case.truth["dbias"]}
