"""An expression for JAX."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._geometry import Geometry
from convinsights.translate._task import Shape, Step, Task, task_of
from convinsights.translate._write import LEAST, axes, call, composed, divided, expression, reshaped

__all__ = ["to_jax"]


def to_jax(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for JAX: its one convolution is dilated, grouped and transposed alike.

    Examples
    --------
    The convolution of the inflated image with the flipped kernel, whose channels change places:

    >>> from convinsights import transposed, translate
    >>> print(translate.to_jax(transposed, (8, 7, 7, 64), (4, 4, 32, 64), strides=2, padding=1))
    jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1].swapaxes(-1, -2),
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        rhs_dilation=(1, 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=1,
    )
    """
    task = task_of(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    convolutions = partial(composed, _convolution)
    return expression(task, "jax.nn.relu(x)", _normalization, _pooling, convolutions)


def _convolution(x: str, step: Step) -> str:
    geometry, groups, shape, _ = step.plan
    strides, d, ke, padding, _, _, spare = axes(geometry)
    kernel = f"{step.kernel}{reshaped(step)}"
    inflation = np.ones_like(strides)
    if step.transposed:
        strides, inflation = inflation, strides
        padding = ke[:, None] - 1 - padding
        padding[:, 1] += spare
        kernel += f"[{', '.join(['::-1'] * len(strides))}]"
        if groups == 1:
            kernel += ".swapaxes(-1, -2)"
        else:
            # (…, C_out / groups, C_in) -> (…, C_in / groups, C_out), group by group
            *size, outputs, inputs = shape
            kernel += f".reshape{(*size, outputs, groups, inputs // groups)}.swapaxes(-1, -3)"
            kernel += f".reshape{(*size, inputs // groups, outputs * groups)}"
    letters = "DHW"[-len(strides) :]
    return call(
        "jax.lax.conv_general_dilated",
        x,
        kernel,
        window_strides=strides,
        padding=padding,
        lhs_dilation=inflation,
        rhs_dilation=d,
        dimension_numbers=f'("N{letters}C", "{letters}IO", "N{letters}C")',
        feature_group_count=groups,
    )


def _pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = axes(geometry)
    k = np.array(geometry.kernel_size)

    def pool(image: str, start: str, operation: str) -> str:
        return call(
            "jax.lax.reduce_window",
            image,
            start,
            f"jax.lax.{operation}",
            window_dimensions=np.pad(k, 1, constant_values=1),
            window_strides=np.pad(s, 1, constant_values=1),
            padding=np.pad(padding, ((1, 1), (0, 0))),
            window_dilation=np.pad(d, 1, constant_values=1),
        )

    if task.name == "max_pooling":
        return pool("x", LEAST, "max")
    sums = pool("x", "0.0", "add")
    if task.count_padding or not padding.any():
        return f"{sums} / {k.prod()}"
    return divided(sums, pool("jax.numpy.ones_like(x[:1, ..., :1])", "0.0", "add"))


def _normalization(task: Task) -> str:
    mean, variance = "statistics.mean", "statistics.variance"
    if task.training:
        mean, variance = f"x.mean({task.axes})", f"x.var({task.axes})"
    return f"gamma * (x - {mean}) * jax.lax.rsqrt({variance} + {task.epsilon}) + beta"
