"""What to translate: refused as the module itself refuses it, and resolved into numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

from convinsights import (
    _pooling,
    average_pooling,
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    max_pooling,
    relu,
    residual,
    transposed,
    unary,
)
from convinsights._arguments import check_flag, check_fraction, shape_of, shown
from convinsights._concepts import defaults, name_of
from convinsights._geometry import Geometry

__all__ = ["Shape", "Step", "Task", "task_of"]

Shape: TypeAlias = Sequence[int]

CONVOLUTIONS = (conv, unary, depthwise, depthwise_separable, transposed, dilated)
POOLINGS = (max_pooling, average_pooling)
CONCEPTS = {module: name_of(module) for module in (*CONVOLUTIONS, *POOLINGS, batchnorm, relu)}


class Step(NamedTuple):
    """One kernel at work, as that of `conv` or, with the geometry it transposes, `transposed`."""

    kernel: str  # its name
    given: tuple[int, ...]  # its shape
    shape: tuple[int, ...]  # and that in which conv, or transposed, takes it
    geometry: Geometry
    groups: int = 1
    use_bias: bool = False
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What to translate: convolutions in a row, a pooling, a normalization or a rectifier."""

    name: str
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    epsilon: float = 0.0
    training: bool = False
    geometry: Geometry | None = None  # of a pooling
    count_padding: bool = True  # of average_pooling

    @property
    def axes(self) -> tuple[int, ...]:
        """All axes but that of the channels."""
        return tuple(range(len(self.x_shape) - 1))


def task_of(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None,
    pointwise_kernel_shape: Shape | None,
    hyperparameters: dict[str, Any],
) -> Task:
    """Refuse what the module itself refuses, in its own words; the rest becomes numbers."""
    name, options = _name(module), _options(module, hyperparameters)
    kernels = {"kernel_shape": kernel_shape, "pointwise_kernel_shape": pointwise_kernel_shape}
    count = 2 if module is depthwise_separable else int(module in CONVOLUTIONS)
    for kernel, value in list(kernels.items())[count:]:
        if value is not None:
            raise TypeError(f"{kernel} must be left out for {name}, got {shown(value)}")
    shape = shape_of("x_shape", x_shape, minimum=0)
    if module is relu:
        return Task(name, shape)
    if module is batchnorm:
        return _normalization(Task(name, shape), **options)
    if module in POOLINGS:
        return _pooled(module, Task(name, shape), **options)
    given = [shape_of(kernel, value) for kernel, value in list(kernels.items())[:count]]
    use_bias = check_flag("use_bias", options.pop("use_bias"))
    y_shape = _output_shape(module, shape, *given, **options)
    return Task(name, shape, y_shape, _steps(module, shape, y_shape, given, use_bias, options))


def _output_shape(module: ModuleType, *shapes: Any, **options: Any) -> tuple[int, ...]:
    # What it refuses is said with the names that the arguments have here.
    try:
        y_shape: tuple[int, ...] = module.output_shape(*shapes, **options)
    except (TypeError, ValueError) as error:
        message = str(error).replace("input_shape", "x_shape")
        raise type(error)(message.replace("depthwise_kernel_shape", "kernel_shape")) from None
    return y_shape


def _pooled(module: ModuleType, task: Task, *, pool_size: Any, **options: Any) -> Task:
    y_shape = _output_shape(module, task.x_shape, pool_size, **options)
    count_padding = bool(options.pop("count_padding", True))
    geometry = _pooling.plan(task.x_shape, pool_size, **{"dilation_rate": 1} | options)
    return replace(task, y_shape=y_shape, geometry=geometry, count_padding=count_padding)


def _normalization(task: Task, *, epsilon: object, training: object) -> Task:
    shape = task.x_shape
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f"x_shape must be (N, …, C) with no size of 0 behind N, got {shape}")
    raised, train = check_fraction("epsilon", epsilon), check_flag("training", training)
    if train and not shape[0]:
        raise ValueError(f"x_shape must not be an empty batch in training, got {shape}")
    return replace(task, epsilon=raised, training=train)


def _steps(
    module: ModuleType,
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    given: list[tuple[int, ...]],
    use_bias: bool,
    options: dict[str, Any],
) -> tuple[Step, ...]:
    kernel, groups = given[0], int(options.get("groups", 1))
    ones, is_transposed = (1,) * (len(x_shape) - 2), module is transposed
    shape = (*ones, *kernel[-2:]) if module is unary else kernel
    if module in (depthwise, depthwise_separable):
        shape, groups = (*kernel[:-2], 1, math.prod(kernel[-2:])), kernel[-2]
    geometry = Geometry.of(
        (y_shape if is_transposed else x_shape)[1:-1],
        shape[:-2],
        options["strides"],
        options.get("padding", "valid"),
        options.get("dilation_rate", 1),
    )
    if module is not depthwise_separable:
        return (Step("kernel", kernel, shape, geometry, groups, use_bias, is_transposed),)
    mixing, pixels = given[1], Geometry.of(geometry.output_size, ones, 1, "valid", 1)
    return (
        Step("depthwise_kernel", kernel, shape, geometry, groups),
        Step("pointwise_kernel", mixing, (*ones, *mixing[-2:]), pixels, 1, use_bias),
    )


def _name(module: ModuleType) -> str:
    if not isinstance(module, ModuleType):
        raise TypeError(f"module must be a module of convinsights, got {shown(module)}")
    if module is residual:
        raise ValueError(
            "module must be one operation, and residual is several, each with parameters of its "
            'own: translate its steps (conv with padding="same", batchnorm, relu, and unary for '
            "the projection) and add the short cut"
        )
    if module not in CONCEPTS:
        raise ValueError(
            f"module must be one of {', '.join(CONCEPTS.values())}, got {module.__name__}"
        )
    return CONCEPTS[module]


def _options(module: ModuleType, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    # What forward takes by keyword, with its defaults, and the two that are ours.
    options = defaults(module)
    options |= {"use_bias": False} if module in CONVOLUTIONS else {}
    options |= {"training": False} if module is batchnorm else {}
    if module in POOLINGS:
        if "pool_size" not in hyperparameters:
            raise TypeError(
                f"pool_size must be given for {CONCEPTS[module]} (None: the whole image)"
            )
        options["pool_size"] = None
    for key in hyperparameters:
        if key not in options:
            legal = ", ".join(options) or "none at all"
            raise TypeError(f"hyperparameters of {CONCEPTS[module]} must be {legal}, got {key}")
    return options | hyperparameters
