"""Slips of a normalization: its variance, its epsilon, its groups, whose statistics it takes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np

from convinsights import (
    batchnorm,
    normalization,
)
from convinsights._arguments import Array
from convinsights.verify._calls import Outcome
from convinsights.verify._cases import Case
from convinsights.verify._formats import to_bits
from convinsights.verify._grouped import Grouped
from convinsights.verify._slips import Hypothesis, changed, interleaved, with_arrays

__all__ = ["of_normalization", "training_gradient"]

# Which results show a mean and a root of few bits: a backward may be given others than its forward.
MADE_OF_MOMENTS = (
    ("dx", "dgamma"),
    ("dx",),
    ("y", "dx", "dgamma"),
    ("y", "dx"),
    ("y",),
    ("dgamma",),
)


class Scaling(NamedTuple):
    """What a slip divides by, from the variance v, epsilon e and the number m of a group's values.

    `slope` is the derivative of that root with respect to v, times twice the root: 1 in the right
    one, so that a backward that does not know of the slip takes it for 1.
    """

    root: Callable[[Array, float, int], Array]
    slope: Callable[[Array, float, int], Array]


def of_normalization(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips of a normalization's statistics."""
    unbiased = Scaling(
        lambda v, e, m: np.sqrt(v * (m / (m - 1)) + e), lambda v, e, m: np.full_like(v, m / (m - 1))
    )
    outside = Scaling(lambda v, e, m: np.sqrt(v) + e, lambda v, e, m: 1 + e / np.sqrt(v))
    # The larger of variance and epsilon.
    floor = Scaling(lambda v, e, m: np.sqrt(np.maximum(v, e)), lambda v, e, m: (v > e) * 1.0)
    # Epsilon added to the sum of squares, before it is divided by m.
    of_sum = Scaling(lambda v, e, m: np.sqrt(v + e / m), lambda v, e, m: np.ones_like(v))
    # Epsilon multiplied by m.
    of_mean = Scaling(lambda v, e, m: np.sqrt(v + e * m), lambda v, e, m: np.ones_like(v))
    for known in (True, False):
        slip = partial(_scaled, scaling=unbiased, known=known, inference=False)
        yield Hypothesis("unbiased_variance", slip)
        slip = partial(_scaled, scaling=outside, known=known)
        yield Hypothesis("epsilon_outside_root", slip)
    for constant in (0.0, 1e-3, 1e-5):
        yield Hypothesis("epsilon_ignored", partial(changed, epsilon=constant))
    for scaling in (floor, of_sum, of_mean):
        yield Hypothesis("epsilon_ignored", partial(_scaled, scaling=scaling, known=True))
    for bits, of, mean, root in product((8, 11), MADE_OF_MOMENTS, (True, False), (True, False)):
        if mean or root:
            slip = partial(_of_few_bits, bits=bits, of=of, mean=mean, root=root)
            yield Hypothesis(f"low_precision ({bits} bits)", slip)
    if module is normalization:
        yield Hypothesis("groups_ignored", partial(changed, groups=1))
        yield Hypothesis("gamma_per_group", _gamma_per_group)
        for read, written in ((True, True), (True, False), (False, True)):
            slip = partial(_groups_interleaved, read=read, written=written)
            yield Hypothesis("groups_interleaved", slip)
    else:
        yield Hypothesis("moving_statistics_in_training", _moving_statistics_in_training)
        yield Hypothesis("batch_statistics_in_inference", _batch_statistics_in_inference)


def _scaled(case: Case, scaling: Scaling, known: bool, inference: bool = True) -> Outcome:
    # `known`: the backward knows of the slip; `inference`: given statistics show it too.
    parts, epsilon = Grouped(case), case.settings["epsilon"]
    if (not parts.own and not inference) or not case.x.size:
        return case.truth
    if parts.own and ((parts.variance == 0).any() or parts.count == 1):
        raise ValueError("a slip that divides by 0 says nothing")
    root = scaling.root(parts.variance, epsilon, parts.count)
    normal = (parts.x - parts.mean) / root
    y = parts.whole(parts.scale * normal + parts.shift)
    outcome = {"y": y, "dx": parts.whole(parts.scale * parts.view(case.dy) / root)}
    if parts.own:
        slope = scaling.slope(parts.variance, epsilon, parts.count) if known else 1.0
        outcome["dx"] = training_gradient(parts, case.dy, root, slope)
    axes = tuple(range(case.x.ndim - 1))
    sums = {
        "dgamma": (case.dy * parts.whole(normal)).sum(axes),
        "dbeta": case.dy.sum(axes),
    }
    return outcome | {name: value for name, value in sums.items() if name in case.truth}


def training_gradient(parts: Grouped, dy: Array, root: Array, slope: Array | float = 1.0) -> Array:
    """Return dx through mean and variance.

    The root's derivative by the variance is `slope` times the right one.
    """
    normal, r = (parts.x - parts.mean) / root, parts.scale * parts.view(dy) / root
    along = parts.average(r * normal) * slope
    return parts.whole(r - parts.average(r) - normal * along)


def _of_few_bits(case: Case, bits: int, of: Sequence[str], mean: bool, root: bool) -> Outcome:
    # The results in `of`, made with a mean and a 1 / root of few bits, or with one of the two. Of y
    # and dx, what is not in `of` is right. Of dgamma, if it is not in `of`, and of dbeta nothing is
    # said: as sums over the images they may have few bits of their own.
    parts = Grouped(case)
    if not case.x.size:
        return case.truth
    inverse = to_bits(1 / parts.root, bits) if root else 1 / parts.root
    normal = (parts.x - (to_bits(parts.mean, bits) if mean else parts.mean)) * inverse
    part = parts.scale * parts.view(case.dy)
    if parts.own:
        part = part - parts.average(part) - normal * parts.average(part * normal)
    made = {
        "y": parts.whole(parts.scale * normal + parts.shift),
        "dx": parts.whole(part * inverse),
        "dgamma": (case.dy * parts.whole(normal)).sum(tuple(range(case.x.ndim - 1))),
    }
    told = {name: made[name] for name in of if name in case.truth}
    return {"y": case.truth["y"], "dx": case.truth["dx"]} | told


def _gamma_per_group(case: Case) -> Outcome:
    # The first numbers of gamma and beta, one for each group.
    groups = case.settings["groups"]
    x, *vectors = case.arrays
    each = (None if v is None else np.repeat(v[:groups], v.size // groups) for v in vectors)
    return {"y": with_arrays(case, x, *each)["y"]}


def _groups_interleaved(case: Case, read: bool, written: bool) -> Outcome:
    # Channels are `read`, `written` or both as if group g had those with c mod G = g.
    groups = case.settings["groups"]
    x, *vectors = case.arrays
    order = interleaved(x.shape[-1], groups)
    if groups == 1 or groups == x.shape[-1]:
        return case.truth
    same = np.arange(x.shape[-1])
    of_x, of_y = order if read else same, order if written else same
    moved = (None if v is None else v[of_y] for v in vectors)
    outcome = with_arrays(case, x[..., of_x], *moved, dy=case.dy[..., of_y])
    return {
        name: value[..., np.argsort(of_x if name == "dx" else of_y)]
        for name, value in outcome.items()
    }


def _moving_statistics_in_training(case: Case) -> Outcome:
    *others, statistics = case.arrays
    moving = batchnorm.initial_statistics(case.x.shape[-1])
    return case.truth if statistics is not None else with_arrays(case, *others, moving)


def _batch_statistics_in_inference(case: Case) -> Outcome:
    return with_arrays(case, *case.arrays[:-1], None)
