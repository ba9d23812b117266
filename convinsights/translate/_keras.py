"""An expression for Keras."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights._geometry import Geometry
from convinsights.translate._task import Shape, Step, Task, task_of
from convinsights.translate._write import (
    LEAST,
    axes,
    bracketed,
    call,
    composed,
    cut,
    divided,
    expression,
)

__all__ = ["to_keras"]


def to_keras(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for Keras, with the functions of `keras.ops`.

    They do what the layers of Keras refuse, strides together with dilation. (The backend has the
    last word: TensorFlow refuses the two together, JAX and PyTorch do not.)

    Examples
    --------
    >>> from convinsights import conv, translate
    >>> print(translate.to_keras(conv, (8, 100, 2), (3, 2, 4), padding="causal", use_bias=True))
    keras.ops.conv(
        keras.ops.pad(x, ((0, 0), (2, 0), (0, 0))),
        kernel,
        strides=(1,),
        padding="valid",
        data_format="channels_last",
        dilation_rate=(1,),
    ) + bias
    """
    task = task_of(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    convolutions = partial(composed, _convolution)
    return expression(task, "keras.ops.relu(x)", _normalization, _pooling, convolutions)


def _convolution(x: str, step: Step) -> str:
    geometry, groups, shape, _ = step.plan
    s, d, ke, padding, size, reach, _ = axes(geometry)
    kernel = step.kernel
    if step.given != shape:
        kernel = call("keras.ops.reshape", kernel, shape)
    options = {"strides": s, "padding": '"valid"', "data_format": '"channels_last"'}
    options["dilation_rate"] = d
    if not step.transposed:
        # Keras sees the groups by the shapes: C_in over the input channels of the kernel.
        return call("keras.ops.conv", _padded(x, padding), kernel, **options)
    if groups == 1:
        y = call("keras.ops.conv_transpose", x, kernel, **options)
    else:
        part = call("keras.ops.conv_transpose", "*pair", **options)
        parts = (call("keras.ops.split", a, groups, axis=-1) for a in (x, kernel))
        every = f"for pair in {call('zip', *parts)}"
        y = call("keras.ops.concatenate", bracketed("[", [part, every], "]", ""), axis=-1)
    # Behind the last stamp Keras leaves pixels only where a stride is larger than its kernel.
    sizes = reach + np.maximum(s - ke, 0)
    starts = np.minimum(padding[:, 0], sizes)
    kept = np.minimum(size, sizes - starts)
    missing = np.stack([0 * kept, size - kept], axis=-1)
    return _padded(y + cut(":", starts, kept, sizes), missing)


def _padded(x: str, pairs: Array, **value: str) -> str:
    zeros = np.pad(pairs, ((1, 1), (0, 0)))
    return call("keras.ops.pad", x, zeros, **value) if zeros.any() else x


def _pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = axes(geometry)
    options = {"pool_size": np.array(geometry.kernel_size), "strides": s, "padding": '"valid"'}
    options["data_format"] = '"channels_last"'
    if task.name == "max_pooling":
        x = _padded("x", padding, constant_values=LEAST)
        if (d == 1).all():
            return call("keras.ops.max_pool", x, **options)
        return _dilated_maximum(x, geometry)

    def mean(image: str) -> str:
        return call("keras.ops.average_pool", _padded(image, padding), **options)

    if task.count_padding or not padding.any():
        return mean("x")
    return divided(mean("x"), mean("keras.ops.ones_like(x[:1, ..., :1])"))


def _dilated_maximum(x: str, geometry: Geometry) -> str:
    # Keras's windows have no holes: the maximum of the taps, one shifted image for each.
    names, shifts, loops = "ijk"[: len(geometry.strides)], [], []
    for name, (_, k, s, d, _, n) in zip(names, geometry.axes(), strict=True):
        shifts.append(f"{name} : {name} + {(n - 1) * s + 1} : {s}")
        loops.append(f"for {name} in range(0, {k * d}, {d})")
    taps = [f"{x}[:, {', '.join(shifts)}]", *loops]
    stacked = call("keras.ops.stack", bracketed("[", taps, "]", ""))
    return call("keras.ops.max", stacked, axis=0)


def _normalization(task: Task) -> str:
    averages = ["statistics.mean", "statistics.variance"]
    if task.training:
        averages = [call(f"keras.ops.{name}", "x", axis=task.axes) for name in ("mean", "var")]
    options = {"axis": -1, "offset": "beta", "scale": "gamma", "epsilon": task.epsilon}
    return call("keras.ops.batch_normalization", "x", *averages, **options)
