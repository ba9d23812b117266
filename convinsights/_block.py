"""What a residual block is made of, checked: arrays in tuples, which fit each other and the image.

Messages name the place of an array among the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from convinsights import _plans, batchnorm, unary
from convinsights._arguments import (
    Array,
    Ints,
    Pad,
    as_array,
    as_sequence,
    as_vector,
    as_vectors,
    check_choice,
    check_pixels,
    check_size,
    per_axis,
    shown,
    spatial_rank,
    to_integer,
)
from convinsights._padding import resolve
from convinsights._remembered import remembered
from convinsights._weights import spatial_size
from convinsights.batchnorm import Statistics

__all__ = [
    "Norm",
    "Parameters",
    "as_all_statistics",
    "as_parameters",
    "checked_steps",
    "norms_of",
    "weight_shapes",
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


def weight_shapes(
    kernel_sizes: object, in_channels: int, filters: Ints, strides: Ints, variant: str
) -> tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...] | None]:
    """Return the kernels' shapes, the channels of each of `norms`, and a projection's shape."""
    kernel_sizes = as_sequence("kernel_sizes", kernel_sizes, "a sequence of kernel sizes")
    sizes = [spatial_size(size, f"kernel_sizes[{i}]") for i, size in enumerate(kernel_sizes)]
    rank = len(sizes[0])
    if any(len(size) != rank for size in sizes):
        raise ValueError(f"kernel_sizes must all have as many axes, got {shown(kernel_sizes)}")
    outputs = per_axis("filters", filters, len(sizes), axis="convolution")
    channels = to_integer("in_channels", in_channels), *outputs
    counts, ends = _norm_channels(channels, variant), (channels[0], channels[-1])
    shapes = [
        (*size, before, after)
        for size, before, after in zip(sizes, channels[:-1], outputs, strict=True)
    ]
    projects = _projects(per_axis("strides", strides, rank), ends)
    projection = (*(1,) * rank, *ends) if projects else None
    for shape in (*shapes, projection or ()):
        check_size("kernel_sizes, in_channels and filters", shape)
    return shapes, counts, projection


def as_parameters(parameters: Any) -> Parameters:
    """Return arrays in tuples, whatever they were given as, each of a shape it may have."""
    try:
        # Five, one more than the fields: too many are refused, even from an iterator without end.
        kernels, norms, projection, projection_norm = Parameters(*islice(parameters, 5))
    except (NotImplementedError, TypeError):  # iterating over a memoryview may raise the former
        form = f"Parameters({', '.join(Parameters._fields)})"
        raise TypeError(f"parameters must be a {form}, got {shown(parameters)}") from None
    arrays = as_sequence("parameters.kernels", kernels, "a sequence of arrays")
    pairs = as_sequence("parameters.norms", norms, "a sequence of pairs (gamma, beta)")
    kernels = tuple(_as_kernel(f"parameters.kernels[{i}]", a) for i, a in enumerate(arrays))
    norms = tuple(_as_norm(f"parameters.norms[{i}]", pair) for i, pair in enumerate(pairs))
    inputs, outputs = kernels[0].shape[-2], kernels[-1].shape[-1]
    if projection is not None:
        projection = as_array("parameters.projection", projection)
        unary.behind_ones(
            "parameters.projection",
            projection.shape,
            (inputs, outputs),
            kernels[0].ndim - 2,
            f"kernels from {inputs} to {outputs} channels",
        )
    if projection_norm is not None:
        if projection is None:
            raise ValueError("parameters.projection_norm must be None where there is no projection")
        projection_norm = _as_norm("parameters.projection_norm", projection_norm, outputs)
    return Parameters(kernels, norms, projection, projection_norm)


def _as_kernel(name: str, value: object) -> Array:
    kernel = as_array(name, value)
    spatial_rank(name, kernel.shape, _plans.KERNEL)
    return kernel


def _as_norm(name: str, norm: object, channels: int | None = None) -> Norm:
    pair = as_sequence(name, norm, "a pair (gamma, beta)", 2)
    gamma, beta = as_vectors((f"gamma of {name}", f"beta of {name}"), pair, channels)
    return gamma, beta


def as_all_statistics(
    name: str, statistics: object, channels: Sequence[int] | None = None
) -> tuple[Statistics, ...]:
    """Return statistics in a tuple; channels, if given, has the channel count of each."""
    count = None if channels is None else len(channels)
    entries = as_sequence(name, statistics, f"a sequence of {count or 'some'} Statistics", count)
    return tuple(
        batchnorm.as_statistics(entry, None if channels is None else channels[i], f"{name}[{i}]")
        for i, entry in enumerate(entries)
    )


def checked_steps(
    x_shape: tuple[int, ...], p: Parameters, strides: Ints, padding: Pad, variant: str
) -> Sequence[dict[str, Any]]:
    """Check the whole block with its image, and return every kernel's strides and padding."""
    shapes = tuple([kernel.shape for kernel in p.kernels])
    projection = None if p.projection is None else p.projection.shape
    steps, channels = _steps_and_channels(x_shape, shapes, projection, strides, padding, variant)
    what = f"a sequence of {len(channels)} pairs (gamma, beta)"
    as_sequence("parameters.norms", p.norms, what, len(channels))
    for i, (gamma, _) in enumerate(p.norms):  # each beta is as long as its gamma
        as_vector(f"gamma of parameters.norms[{i}]", gamma, channels[i])
    return steps


@remembered
def _steps_and_channels(
    x_shape: tuple[int, ...],
    kernel_shapes: tuple[tuple[int, ...], ...],
    projection_shape: tuple[int, ...] | None,
    strides: Ints,
    padding: Pad,
    variant: str,
) -> tuple[Sequence[dict[str, Any]], tuple[int, ...]]:
    # Every kernel's strides and padding, and the channels that each of `norms` must have
    rank = len(kernel_shapes[0]) - 2
    check_pixels("x", x_shape, rank)
    ones, whole = (1,) * rank, per_axis("strides", strides, rank)
    # Checked here: 1×1 kernels do not read it, and a bad one is refused all the same.
    resolve(padding, x_shape[1:-1], ones, ones)
    large = [math.prod(kernel[:-2]) > 1 for kernel in kernel_shapes]
    striding = large.index(True) if any(large) else 0
    shape, steps, name = x_shape, [], "x"
    for i, kernel in enumerate(kernel_shapes):
        step: dict[str, Any] = {
            "strides": whole if i == striding else ones,
            "padding": padding if large[i] else "valid",
        }
        names = name, f"parameters.kernels[{i}]"
        plan = _plans.plan(shape, kernel, **step, dilation_rate=1, groups=1, names=names)
        shape = plan.output_shape
        steps.append(step)
        name = f"the input of parameters.kernels[{i + 1}]"
    ends = x_shape[-1], shape[-1]
    if projection_shape is None and _projects(whole, ends):
        raise ValueError(
            f"parameters.projection must be given where strides {whole} are not 1 or the "
            f"channels change ({ends[0]} to {ends[1]})"
        )
    size, wanted = shape[1:-1], unary.output_shape(x_shape, ends, strides=whole)[1:-1]
    if size != wanted:
        raise ValueError(
            f"padding must give the branch the short cut's size {wanted}, "
            f"got {size} by {shown(padding)}"
        )
    return steps, _norm_channels((x_shape[-1], *(kernel[-1] for kernel in kernel_shapes)), variant)


def _projects(strides: tuple[int, ...], ends: tuple[int, int]) -> bool:
    # Whether the branch changes the shape of x, from so many channels to so many
    return any(stride != 1 for stride in strides) or ends[0] != ends[1]


def _norm_channels(channels: tuple[int, ...], variant: str) -> tuple[int, ...]:
    # The channels of each of `norms`, given those of x and then what every kernel makes
    check_choice("variant", variant, VARIANTS)
    if variant == "original":
        return channels[1:]
    if variant == "preactivation":
        return channels[:-1]
    return *channels[1:], channels[-1]
