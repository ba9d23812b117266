"""The plan of a convolution, made once for forward and both gradients."""

from __future__ import annotations

import math
from typing import NamedTuple

from convinsights._arguments import (
    Ints,
    Pad,
    channels_first_hint,
    check_groups,
    check_pixels,
    described,
    shape_of,
    spatial_rank,
)
from convinsights._geometry import Geometry
from convinsights._remembered import remembered

__all__ = ["KERNEL", "SHAPES", "Plan", "plan", "shapes_of"]

KERNEL = "(*kernel_size, C_in // groups, C_out)"
SHAPES = ("input_shape", "kernel_shape")


class Plan(NamedTuple):
    """A kernel over an image, checked: where its windows lie, and what shapes go with them.

    `transposed` makes one too: the geometry is then that of the convolution which it transposes,
    kernel_shape and output_shape those of the transposed one.
    """

    geometry: Geometry
    groups: int
    kernel_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def multiply_adds(self) -> int:
        """One per weight for every window of every image."""
        windows = self.output_shape[0] * math.prod(self.geometry.output_size)
        return windows * math.prod(self.kernel_shape)


def shapes_of(
    input_shape: tuple[int, ...], kernel_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of an image and of a kernel as tuples of ints."""
    return shape_of(SHAPES[0], input_shape, minimum=0), shape_of(SHAPES[1], kernel_shape)


@remembered
def plan(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    strides: Ints,
    padding: Pad,
    dilation_rate: Ints,
    groups: int,
    names: tuple[str, str] = ("x", "kernel"),
) -> Plan:
    """Check that an image and a kernel go together, and lay the windows."""
    rank = spatial_rank(names[1], kernel_shape, KERNEL)
    check_pixels(names[0], x_shape, rank)
    channels, filters = x_shape[-1], kernel_shape[-1]
    groups = check_groups(groups, C_in=channels, C_out=filters)
    if kernel_shape[-2] != channels // groups:
        raise ValueError(
            f"{names[1]} must be (*kernel_size, {channels // groups}, C_out) for "
            f"{described(names[0], x_shape)}{f' and groups = {groups}' * (groups > 1)}, "
            f"got {kernel_shape}{channels_first_hint(x_shape, kernel_shape[-2] * groups)}"
        )
    padded = x_shape[0], max(channels, filters)
    geometry = Geometry.of(
        x_shape[1:-1],
        kernel_shape[:-2],
        strides,
        padding,
        dilation_rate,
        padded=padded,
        names=names,
    )
    return Plan(geometry, groups, kernel_shape, (x_shape[0], *geometry.output_size, filters))
