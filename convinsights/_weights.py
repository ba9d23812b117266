"""Shapes, counts and initial values of weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from convinsights._arguments import (
    Array,
    FloatType,
    Ints,
    as_float,
    as_generator,
    check_flag,
    check_groups,
    check_size,
    is_sequence,
    shown,
    to_integer,
    to_integers,
)
from convinsights._passes import PASS, steps

__all__ = ["ParameterCount", "conv_kernel_shape", "count", "he_normal", "spatial_size"]

WEIGHTS = "kernel_size, in_channels and filters"


class ParameterCount(NamedTuple):
    """Numbers that training moves by their gradient, and numbers it keeps by averaging."""

    trainable: int
    non_trainable: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.trainable + self.non_trainable


def spatial_size(size: Ints, name: str = "kernel_size") -> tuple[int, ...]:
    """Return a size as one int per spatial axis; a single int is a single axis."""
    if not is_sequence(size):
        return (to_integer(name, size),)
    sizes = to_integers(name, size)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"{name} must be one, two or three ints, got {shown(size)}")
    return sizes


def conv_kernel_shape(
    kernel_size: Ints, in_channels: int, filters: int, groups: int
) -> tuple[int, ...]:
    """Return (*kernel_size, C_in // groups, C_out)."""
    size = spatial_size(kernel_size)
    in_channels, filters = to_integer("in_channels", in_channels), to_integer("filters", filters)
    groups = check_groups(groups, in_channels=in_channels, filters=filters)
    return *size, in_channels // groups, filters


def count(kernel_shape: tuple[int, ...], outputs: int, use_bias: bool) -> int:
    """Count the weights of a kernel and, where asked to, one bias per output channel."""
    return math.prod(kernel_shape) + (int(outputs) if check_flag("use_bias", use_bias) else 0)


def he_normal(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    fan_in: int,
    dtype: FloatType,
    names: str = WEIGHTS,
) -> Array:
    """Draw normal weights of variance 2 / fan_in, for outputs that are sums of fan_in inputs.

    names: the arguments that the shape came from, for the message.

    Drawn in float64, PASS bytes at a time: all that a kernel needs beside itself.
    """
    result = as_float(dtype)
    check_size(names, shape)
    generator, deviation = as_generator(rng), math.sqrt(2 / fan_in)
    kernel = np.empty(shape, result)
    flat = kernel.reshape(-1)
    for some in steps(len(flat), PASS // 8):
        flat[some] = generator.standard_normal(some.stop - some.start) * deviation
    return kernel
