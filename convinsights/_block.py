"""What a residual block is made of, checked: arrays in tuples, which fit each other and the image.

Messages name the place of an array among the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from convinsights import batchnorm, conv, unary
from convinsights._arguments import (
    Array,
    Ints,
    Pad,
    as_array,
    as_sequence,
    as_vector,
    check_choice,
    check_pixels,
    per_axis,
    shown,
    spatial_rank,
)
from convinsights._geometry import resolve
from convinsights.batchnorm import Statistics

__all__ = [
    "Parameters",
    "as_all_statistics",
    "as_parameters",
    "norm_channels",
    "norms_of",
    "steps_of",
]

Norm: TypeAlias = tuple[Array, Array]

VARIANTS = ("original", "preactivation", "normalized_sum")


class Parameters(NamedTuple):
    """What a block learns; also the form of its gradients."""

    kernels: tuple[Array, ...]
    norms: tuple[Norm, ...]
    projection: Array | None = None
    projection_norm: Norm | None = None


def norms_of(p: Parameters) -> tuple[Norm, ...]:
    """Return all normalizations, the short cut's last."""
    return p.norms if p.projection_norm is None else (*p.norms, p.projection_norm)


def norm_channels(channels: tuple[int, ...], variant: str) -> tuple[int, ...]:
    """Count the channels of each of `norms`; kernels lead from one of `channels` to the next."""
    check_choice("variant", variant, VARIANTS)
    if variant == "preactivation":
        return channels[:-1]
    return channels[1:] if variant == "original" else (*channels[1:], channels[-1])


def as_parameters(parameters: Any) -> Parameters:
    """Return arrays in tuples, whatever they were given as."""
    try:
        kernels, norms, projection, projection_norm = Parameters(*islice(parameters, 5))
    except TypeError:
        form = f"Parameters({', '.join(Parameters._fields)})"
        raise TypeError(f"parameters must be a {form}, got {shown(parameters)}") from None
    arrays = as_sequence("parameters.kernels", kernels, "a sequence of arrays")
    pairs = as_sequence("parameters.norms", norms, "a sequence of pairs (gamma, beta)")
    return Parameters(
        tuple(as_array(f"parameters.kernels[{i}]", kernel) for i, kernel in enumerate(arrays)),
        tuple(_as_norm(f"parameters.norms[{i}]", pair) for i, pair in enumerate(pairs)),
        None if projection is None else as_array("parameters.projection", projection),
        None
        if projection_norm is None
        else _as_norm("parameters.projection_norm", projection_norm),
    )


def _as_norm(name: str, norm: object) -> Norm:
    gamma, beta = as_sequence(name, norm, "a pair (gamma, beta)", 2)
    return as_array(f"gamma of {name}", gamma), as_array(f"beta of {name}", beta)


def as_all_statistics(
    name: str, statistics: object, norms: Sequence[Any] | None = None
) -> tuple[Statistics, ...]:
    """Return statistics in a tuple: if norms are given, as many and for their channels."""
    count = None if norms is None else len(norms)
    entries = as_sequence(name, statistics, f"a sequence of {count or 'some'} Statistics", count)
    channels = [None] * len(entries) if norms is None else [len(first) for first, _ in norms]
    return tuple(
        batchnorm.as_statistics(entry, channels[i], f"{name}[{i}]")
        for i, entry in enumerate(entries)
    )


def steps_of(
    x_shape: tuple[int, ...], p: Parameters, strides: Ints, padding: Pad, variant: str
) -> list[dict[str, Any]]:
    """Return the strides and the padding of every kernel, where all fits image and variant."""
    rank = spatial_rank("parameters.kernels[0]", p.kernels[0].shape, conv.KERNEL)
    check_pixels("x", x_shape, rank)
    ones, whole = (1,) * rank, per_axis("strides", strides, rank)
    resolve(padding, x_shape[1:-1], ones, ones)  # refuses what no kernel may read, too
    large = [math.prod(kernel.shape[:-2]) > 1 for kernel in p.kernels]
    striding = large.index(True) if any(large) else 0
    shape, steps, name = x_shape, [], "x"
    for i, kernel in enumerate(p.kernels):
        step: dict[str, Any] = {
            "strides": whole if i == striding else ones,
            "padding": padding if large[i] else "valid",
        }
        names = name, f"parameters.kernels[{i}]"
        geometry, _ = conv.plan(shape, kernel.shape, **step, dilation_rate=1, groups=1, names=names)
        shape = (shape[0], *geometry.output_size, kernel.shape[-1])
        steps.append(step)
        name = f"the input of parameters.kernels[{i + 1}]"
    _check_short_cut(p, x_shape, shape, whole, padding)
    _check_norms(p, norm_channels((x_shape[-1], *(k.shape[-1] for k in p.kernels)), variant))
    return steps


def _check_short_cut(
    p: Parameters,
    x_shape: tuple[int, ...],
    branch_shape: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Pad,
) -> None:
    ones, ends = (1,) * len(strides), (x_shape[-1], branch_shape[-1])
    if p.projection is None and p.projection_norm is not None:
        raise ValueError("parameters.projection_norm must be None where there is no projection")
    if p.projection is None and (strides != ones or ends[0] != ends[1]):
        raise ValueError(
            f"parameters.projection must be given where strides {strides} are not 1 or the "
            f"channels change ({ends[0]} to {ends[1]})"
        )
    if p.projection is not None and p.projection.shape not in (ends, (*ones, *ends)):
        raise ValueError(
            f"parameters.projection must be {ends}, or that behind a 1 for each spatial axis, "
            f"got {p.projection.shape}"
        )
    size, wanted = branch_shape[1:-1], unary.output_shape(x_shape, ends, strides=strides)[1:-1]
    if size != wanted:
        raise ValueError(
            f"padding must give the branch the short cut's size {wanted}, "
            f"got {size} by {shown(padding)}"
        )


def _check_norms(p: Parameters, channels: tuple[int, ...]) -> None:
    what = f"a sequence of {len(channels)} pairs (gamma, beta)"
    as_sequence("parameters.norms", p.norms, what, len(channels))
    names = [f"parameters.norms[{i}]" for i in range(len(channels))]
    counts = (*channels, p.kernels[-1].shape[-1])
    for name, count, (gamma, beta) in zip(
        (*names, "parameters.projection_norm"), counts, norms_of(p), strict=False
    ):
        as_vector(f"gamma of {name}", gamma, count)
        as_vector(f"beta of {name}", beta, count)
