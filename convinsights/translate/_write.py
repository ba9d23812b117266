"""What the expressions are made of: calls, indices, and a geometry to calculate with."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from textwrap import indent
from typing import NamedTuple

import numpy as np

from convinsights._arguments import Array
from convinsights._geometry import Geometry, effective_size
from convinsights.translate._task import Step, Task

__all__ = [
    "LEAST",
    "Axes",
    "axes",
    "bracketed",
    "call",
    "composed",
    "cut",
    "divided",
    "expression",
    "reshaped",
]

WIDTH = 88  # of a call on one line
LEAST = 'float("-inf")'  # no number is less


class Axes(NamedTuple):
    """A geometry to calculate with: one entry per spatial axis."""

    s: Array  # strides
    d: Array  # dilation rates
    ke: Array  # effective kernel size
    padding: Array  # (before, after)
    size: Array  # of the image
    reach: Array  # from the first pixel of the first window to the last of the last
    spare: Array  # from there to the end of the padded image


def axes(g: Geometry) -> Axes:
    """Put a geometry into arrays."""
    s, d, size, padding = map(np.array, (g.strides, g.dilation_rate, g.input_size, g.padding))
    ke = np.array(effective_size(g.kernel_size, g.dilation_rate))
    reach = (np.array(g.output_size) - 1) * s + ke
    return Axes(s, d, ke, padding, size, reach, size + padding.sum(axis=-1) - reach)


def expression(
    task: Task,
    relu: str,
    normalization: Callable[[Task], str],
    pooling: Callable[[Task, Geometry], str],
    convolutions: Callable[[tuple[Step, ...]], str],
) -> str:
    """Write a task as a framework writes its kind."""
    if task.name == "relu":
        return relu
    if task.name == "batchnorm":
        return normalization(task)
    return convolutions(task.steps) if task.geometry is None else pooling(task, task.geometry)


def composed(convolution: Callable[[str, Step], str], steps: tuple[Step, ...]) -> str:
    """Write convolutions of x one in the other, and the bias that the last may add."""
    return reduce(convolution, steps, "x") + " + bias" * steps[-1].use_bias


def reshaped(step: Step) -> str:
    """Write what brings a kernel into the shape that conv takes it in."""
    return f".reshape{step.plan.kernel_shape}" if step.given != step.plan.kernel_shape else ""


def cut(lead: str, starts: Array, wanted: Array, sizes: Array) -> str:
    """Write the index that takes `wanted` pixels from `starts` on, behind the axes of `lead`."""
    slices = [
        ":" if count == size else f"{start or ''}:{start + count}"
        for start, count, size in zip(starts, wanted, sizes, strict=True)
    ]
    return f"[{lead}, {', '.join(slices)}]" if (wanted < sizes).any() else ""


def call(function: str, *arguments: object, **keywords: object) -> str:
    """Write a call."""
    named = [f"{name}={_written(value)}" for name, value in keywords.items()]
    return bracketed(f"{function}(", [*map(_written, arguments), *named], ")")


def bracketed(opening: str, parts: list[str], closing: str, comma: str = ",") -> str:
    """Write parts on one line where they fit, else one part a line."""
    line = opening + f"{comma} ".join(parts) + closing
    if len(line) <= WIDTH:
        return line
    body = "".join(f"{part}{comma}\n" for part in parts)
    return f"{opening}\n{indent(body, '    ')}{closing}"


def divided(mean: str, share: str) -> str:
    """Divide the mean with the zeros by that of ones with them, the share of pixels there."""
    lines = indent(f"{mean}\n/ {share}", "    ")
    return f"(\n{lines}\n)"


def _written(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return str(value)
    return str(tuple(tuple(a) if isinstance(a, list) else a for a in value.tolist()))
