"""The paths of pixels through a stack of layers that lies over an image.

Along an axis, window i of a layer lies over the pixels i s + u d - before, one per tap u. A
convolution leads from pixels to windows, a transposed convolution from windows (its stamps) to
pixels; backwards it is the other way round. To follow a stack is to add, layer by layer, from
pixels to windows or from windows to pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from convinsights._arguments import Array, check_size
from convinsights._axes import Axis
from convinsights._stacks import Fork, Stack, Window

__all__ = ["Step", "Steps", "Sum", "follow", "lay", "ways"]


class Step(NamedTuple):
    """A layer along one axis, with so many windows over so many pixels."""

    axis: int
    window: Window
    windows: int
    pixels: int

    def reads(self) -> Iterator[tuple[slice, slice]]:
        """Tell for every tap the windows that read a pixel with it, and those pixels."""
        of = self.window
        sizes = self.pixels, of.kernel_size, of.strides, of.dilation_rate, of.padding, self.windows
        for _, windows, pixels in Axis(*sizes).reads():
            yield windows, pixels


class Sum(NamedTuple):
    """Two ways from the same pixels to the same pixels."""

    branch: Steps
    shortcut: Steps


Steps: TypeAlias = list[Step | Sum]


def lay(stacks: list[Stack], size: tuple[int, ...]) -> tuple[Steps, tuple[int, ...]]:
    """Lay a stack per axis over an input, and return it step by step, and the output's size."""
    if len(set(map(len, stacks))) > 1:
        raise ValueError(
            f"layers must be as many along every axis, got {[len(stack) for stack in stacks]}"
        )
    steps: Steps = []
    for parts in zip(*stacks, strict=True):
        windows = [part for part in parts if isinstance(part, Window)]
        forks = [part for part in parts if isinstance(part, Fork)]
        if windows and forks:
            raise ValueError(
                f"layers must have sums in the same places along every axis, got {forks[0].name} "
                f"but not {windows[0].name}"
            )
        if forks:
            branch, end = lay([fork.branch for fork in forks], size)
            shortcut, other = lay([fork.shortcut for fork in forks], size)
            if end != other:
                raise ValueError(
                    f"{forks[0].name} must have a branch and a shortcut that end in the same size, "
                    f"got {end} and {other}"
                )
            steps.append(Sum(branch, shortcut))
            size = end
            continue
        windows = [window.over(count) for window, count in zip(windows, size, strict=True)]
        output = tuple(
            window.output_size(count) for window, count in zip(windows, size, strict=True)
        )
        steps += [
            Step(axis, window, *((old, new) if window.transposed else (new, old)))
            for axis, (window, old, new) in enumerate(zip(windows, size, output, strict=True))
        ]
        size = check_size(windows[0].name, output)
    return steps, size


def ways(steps: Steps) -> int:
    """Bound the paths that lead to one pixel: the product of the taps, with sums added up."""
    most = 1
    for step in steps:
        if isinstance(step, Sum):
            most *= ways(step.branch) + ways(step.shortcut)
        else:
            most *= step.window.kernel_size
    return most


def follow(steps: Steps, counts: Array, *, back: bool) -> Array:
    """Carry counts of the input's pixels to those of the output, or back: the adjoint."""
    for step in reversed(steps) if back else steps:
        if isinstance(step, Sum):
            counts = follow(step.branch, counts, back=back) + follow(
                step.shortcut, counts, back=back
            )
            continue
        to_windows = step.window.transposed == back
        source = np.moveaxis(counts, step.axis, 0)
        length = step.windows if to_windows else step.pixels
        target = np.zeros((length, *source.shape[1:]), counts.dtype)
        for windows, pixels in step.reads():
            if to_windows:
                target[windows] += source[pixels]
            else:
                target[pixels] += source[windows]
        counts = np.moveaxis(target, 0, step.axis)
    return counts
