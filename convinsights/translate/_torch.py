"""An expression for PyTorch."""

from __future__ import annotations

import math
from functools import reduce
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._geometry import Geometry
from convinsights.translate._task import Shape, Step, Task, task_of
from convinsights.translate._write import LEAST, axes, call, cut, divided, expression, reshaped

__all__ = ["to_torch"]


def to_torch(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for PyTorch: channels go in front, and back again.

    An image of one channel or one pixel is copied, for its strides do not tell where its channels
    are, and convolutions of PyTorch (2.13, on CPUs) then compute wrong values.

    Raises
    ------
    ValueError
        Also where PyTorch cannot do it: batch_norm refuses to train on one value per channel.

    Examples
    --------
    Of an even image, a stride of 2 leaves one zero, and that behind:

    >>> from convinsights import conv, translate
    >>> print(translate.to_torch(conv, (8, 28, 28, 3), (3, 3, 3, 16), strides=2, padding="same"))
    torch.nn.functional.conv2d(
        torch.nn.functional.pad(x.movedim(-1, 1), (0, 1, 0, 1)),
        kernel.permute(3, 2, 0, 1),
        None,
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
    ).movedim(1, -1)
    """
    task = task_of(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    return expression(task, "torch.relu(x)", _normalization, _pooling, _convolutions)


def _convolutions(steps: tuple[Step, ...]) -> str:
    return reduce(_convolution, steps, "x.movedim(-1, 1)") + ".movedim(1, -1)"


def _convolution(x: str, step: Step) -> str:
    geometry, groups, shape, _ = step.plan
    s, d, _, padding, size, reach, spare = axes(geometry)
    rank, (before, after) = len(s), padding.T
    kernel = f"{step.kernel}{reshaped(step)}.permute{(rank + 1, rank, *range(rank))}"
    bias = "bias" if step.use_bias else "None"
    common, kept = np.minimum(before, after), ""
    if not step.transposed:
        if (before != after).any():
            # conv pads both sides alike; pad takes the zeros of the last axis first.
            x, common = call("torch.nn.functional.pad", x, padding[::-1].ravel()), 0 * common
        function, zeros = f"torch.nn.functional.conv{rank}d", {"padding": common}
        channels, pixels = shape[-2] * groups, geometry.input_size
    else:
        # Pixels to cut off behind, beyond those of both sides, are first not added there.
        added = np.maximum(spare - (after - common), 0)
        function = f"torch.nn.functional.conv_transpose{rank}d"
        zeros = {"padding": common, "output_padding": added}
        kept = cut(":, :", before - common, size, reach - 2 * common + added)
        channels, pixels = shape[-1], geometry.output_size
    if channels == 1 or set(pixels) == {1}:
        # Strides that fit channels first and channels last alike: PyTorch mistakes them on CPUs.
        x += ".clone(memory_format=torch.contiguous_format)"
    options = {"stride": s, **zeros, "dilation": d, "groups": groups}
    return call(function, x, kernel, bias, **options) + kept


def _normalization(task: Task) -> str:
    values, training = math.prod(task.x_shape[:-1]), f"training={task.training}"
    averages = ("statistics.mean", "statistics.variance")
    if task.training:
        if values == 1:
            raise ValueError(
                f"x_shape must have more than one value per channel for training in PyTorch, whose "
                f"batch_norm refuses one, got {task.x_shape}; batchnorm itself returns beta there"
            )
        averages = ("None", "None")
        training = (
            "# Moving averages: momentum=0.1 of torch.nn.BatchNorm is the weight of the new, and\n"
            "# its variance is unbiased. batchnorm.update does the same with momentum=0.9 and\n"
            f"# sample_size={values}.\n{training}"
        )
    arrays = ("x.movedim(-1, 1)", *averages, "gamma", "beta")
    y = call("torch.nn.functional.batch_norm", *arrays, training, eps=task.epsilon)
    return f"{y}.movedim(1, -1)"


def _pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = axes(geometry)
    k, (before, after) = np.array(geometry.kernel_size), padding.T
    x, options = "x.movedim(-1, 1)", {"kernel_size": k, "stride": s, "padding": before}
    # PyTorch pads both sides alike, by at most half a window.
    apart = (before != after).any() or (before > k // 2).any()
    zeros = padding[::-1].ravel()  # those of the last axis first
    if apart:
        options["padding"] = 0 * before
    if task.name == "max_pooling":
        if apart:
            x = call("torch.nn.functional.pad", x, zeros, value=LEAST)
        y = call(f"torch.nn.functional.max_pool{len(s)}d", x, **options, dilation=d)
        return f"{y}.movedim(1, -1)"

    def mean(image: str) -> str:
        padded = call("torch.nn.functional.pad", image, zeros) if apart else image
        counted = {"count_include_pad": apart or task.count_padding}
        return call(f"torch.nn.functional.avg_pool{len(s)}d", padded, **options, **counted)

    y = mean(x)
    if apart and not task.count_padding:
        y = divided(y, mean("torch.ones_like(x[:1, ..., :1]).movedim(-1, 1)"))
    return f"{y}.movedim(1, -1)"
