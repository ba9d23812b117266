"""The cases of geometries that the author gives: shapes and hyperparameters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import depthwise_separable, im2col, transposed
from convinsights._arguments import per_axis, shape_of
from convinsights._concepts import defaults, name_of
from convinsights.verify._calls import NORMALIZATIONS, plain
from convinsights.verify._cases import Case
from convinsights.verify._made import draw_convolution, draw_normalization
from convinsights.verify._precision import Precision

__all__ = ["given_cases"]


def given_cases(
    module: ModuleType, number: int, given: Mapping[str, Any], precision: Precision, seed: int
) -> Iterator[Case]:
    """Yield a case of one geometry for each kind of values."""
    kind, settings = f"cases[{number}]", plain(given)
    of_arrays = module.Gradients._fields[1:-1] if module not in NORMALIZATIONS else ()
    names = ["x_shape", *(f"{name}_shape" for name in of_arrays)]
    if module is depthwise_separable and "kernel_shape" in settings:
        settings[names[1]] = settings.pop("kernel_shape")
    unknown = settings.keys() - {*names, *defaults(module)}
    missing = [name for name in names if name not in settings]
    if unknown or missing:
        raise ValueError(
            f"it must have {', '.join(names)} and hyperparameters of {name_of(module)}, "
            f"got {', '.join(map(str, given))}"
        )
    x_shape, *kernels = (shape_of(n, settings.pop(n), minimum=0) for n in names)
    if module in NORMALIZATIONS:
        settings = defaults(module) | {"groups": 1} | settings
        known = {name: settings[name] for name in defaults(module)}
        module.forward(np.zeros(x_shape), **known)  # refuses what does not go together
    for index, values in enumerate(precision.values):
        row = {"layout": "C", "values": values, "bias": True, "gamma": True, "beta": True}
        key = 1994, seed, number, index
        if module in NORMALIZATIONS:
            row |= settings | {"batch": x_shape[0]}
            row["channels"] = x_shape[-1] // settings["groups"]
            row |= {f"size[{a}]": n for a, n in enumerate(x_shape[1:-1])}
            case = draw_normalization(module, len(x_shape) - 2, row, precision, key)
        else:
            canonical = _canonical(module, x_shape, kernels, defaults(module) | settings)
            case = draw_convolution(module, kind, x_shape, kernels, canonical, row, precision, key)
        yield replace(case, kind=kind, row=None)


def _canonical(
    module: ModuleType,
    x_shape: tuple[int, ...],
    kernels: Sequence[tuple[int, ...]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    # One entry per axis, padding in zeros, the output's size given as output_padding.
    y_shape = module.output_shape(x_shape, *kernels, **settings)
    rank = len(x_shape) - 2
    for name in ("strides", "dilation_rate"):
        if name in settings:
            settings[name] = per_axis(name, settings[name], rank)
    if "padding" in settings:
        image = y_shape if module is transposed else x_shape
        laid = {name: settings[name] for name in ("strides", "padding", "dilation_rate")}
        settings["padding"] = im2col.resolve_padding(image[1:-1], kernels[0][:-2], **laid)
    if module is transposed:
        settings |= {"output_size": None, "output_padding": (0,) * rank}
        least = module.output_shape(x_shape, *kernels, **settings)
        settings["output_padding"] = tuple(np.subtract(y_shape, least)[1:-1].tolist())
    return settings
