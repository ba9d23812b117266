"""What to translate: refused as the module itself refuses it, and resolved into numbers."""

from __future__ import annotations

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
from convinsights._arguments import check_flag, check_not_negative, shape_of, shown
from convinsights._concepts import defaults, name_of
from convinsights._geometry import Geometry
from convinsights._plans import Plan

__all__ = ["Shape", "Step", "Task", "task_of"]

Shape: TypeAlias = Sequence[int]

CONVOLUTIONS = (conv, unary, depthwise, depthwise_separable, transposed, dilated)
POOLINGS = (max_pooling, average_pooling)
CONCEPTS = {module: name_of(module) for module in (*CONVOLUTIONS, *POOLINGS, batchnorm, relu)}


class Step(NamedTuple):
    """One kernel at work, by its name and the shape in which it was given."""

    kernel: str
    given: tuple[int, ...]
    plan: Plan
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
        return _pooled(Task(name, shape), **options)
    given = [shape_of(kernel, value) for kernel, value in list(kernels.items())[:count]]
    use_bias = check_flag("use_bias", options.pop("use_bias"))
    names = ("x_shape", *kernels)
    if module is depthwise_separable:
        first, second = module.plan(shape, *given, **options, names=names)
        steps = (
            Step("depthwise_kernel", given[0], first),
            Step("pointwise_kernel", given[1], second, use_bias),
        )
        return Task(name, shape, second.output_shape, steps)
    planner = conv if module is dilated else module
    plan = planner.plan(shape, *given, **options, names=names[:2])
    step = Step("kernel", given[0], plan, use_bias, module is transposed)
    return Task(name, shape, plan.output_shape, (step,))


def _pooled(task: Task, *, count_padding: object = True, **options: Any) -> Task:
    counted = check_flag("count_padding", count_padding)
    geometry = _pooling.plan(task.x_shape, **options, name="x_shape")
    y_shape = (task.x_shape[0], *geometry.output_size, task.x_shape[-1])
    return replace(task, y_shape=y_shape, geometry=geometry, count_padding=counted)


def _normalization(task: Task, *, epsilon: object, training: object) -> Task:
    raised, train = check_not_negative("epsilon", epsilon), check_flag("training", training)
    batchnorm.check_batch("x_shape", task.x_shape, train)
    return replace(task, epsilon=raised, training=train)


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
