"""The case of a row of a covering array: its shapes, hyperparameters and numbers.

Hyperparameters are written as a kernel gets them: one entry per axis, padding as (before, after)
pairs, the zeros of "same" counted; or, where a candidate takes them so, in every form that the
library allows.
"""

import math
import zlib
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable, transposed, unary
from convinsights._concepts import defaults
from convinsights._geometry import effective_size
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._cases import Case
from convinsights.verify._covering import Levels
from convinsights.verify._padding import BY_NAME, zeros
from convinsights.verify._precision import Precision
from convinsights.verify._values import Draw, Seed

__all__ = ["case_of", "draw_convolution", "draw_normalization", "most_terms"]


def case_of(module: ModuleType, rank: int, row: Levels, precision: Precision, seed: int) -> Case:
    """Make the case of a row; a ValueError where its levels do not go together."""
    # Not the stream of default_rng(seed), which the candidate's own arrays may come from.
    key = 1992, seed, zlib.crc32(repr(sorted(row.items())).encode())
    make = draw_normalization if module in NORMALIZATIONS else _convolution
    case = make(module, rank, row, precision, key)
    return case.drawn_by(partial(case_of, module, rank, row, precision, seed))


def _convolution(
    module: ModuleType, rank: int, row: Levels, precision: Precision, seed: Seed
) -> Case:
    axes = range(rank)
    size = tuple(row[f"size[{a}]"] for a in axes)
    kernel_size = tuple(row.get(f"kernel_size[{a}]", 1) for a in axes)
    groups, inputs = row.get("groups", 1), row["in_channels"]
    outputs, multiplier = row.get("out_channels", 1), row.get("depth_multiplier", 1)
    one_by_one = () if row.get("form") == "short" else (1,) * rank
    if module is transposed:
        kernels = [(*kernel_size, outputs, groups * inputs)]
    elif module is unary:
        kernels = [(*one_by_one, inputs, outputs)]
    elif module in (depthwise, depthwise_separable):
        kernels = [(*kernel_size, inputs, multiplier)]
    else:
        kernels = [(*kernel_size, inputs, groups * outputs)]
    if module is depthwise_separable:
        kernels.append((*one_by_one, inputs * multiplier, outputs))
    x_shape = (row["batch"], *size, groups * inputs)
    settings = _settings(module, rank, row, size, kernel_size)
    kind = f"{rank}-D {_kind(row, rank)}"
    return draw_convolution(module, kind, x_shape, kernels, settings, row, precision, seed)


def draw_convolution(
    module: ModuleType,
    kind: str,
    x_shape: tuple[int, ...],
    kernels: Sequence[tuple[int, ...]],
    settings: dict[str, Any],
    row: Levels,
    precision: Precision,
    seed: Seed,
) -> Case:
    """Draw the arrays of a convolution, whose shapes and hyperparameters are given."""
    y_shape = module.output_shape(x_shape, *kernels, **settings)
    groups = kernels[0][-2] if module is depthwise else settings.get("groups", 1)
    terms = most_terms(x_shape, kernels, y_shape, groups)
    draw = Draw(seed, row["values"], precision, terms, 1 + len(kernels))
    x = draw(x_shape, first=True)
    if row["layout"] == "broadcast":
        x = np.repeat(x[:1], len(x), axis=0)
    arrays = (x, *map(draw, kernels), draw(y_shape[-1:]) if row["bias"] else None)
    settings, dy = _spelled(settings, row.get("form", "tuple")), draw(y_shape)
    return Case(
        module,
        arrays,
        settings,
        dy,
        kind=kind,
        integers=draw.integers,
        layout=row["layout"],
        values=row["values"],
        row=row,
    )


def most_terms(
    x: tuple[int, ...], kernels: Sequence[tuple[int, ...]], y: tuple[int, ...], groups: int
) -> int:
    """Return an upper limit of the products in one sum, of y, dx or a kernel's gradient."""
    pixels = max(math.prod(x[:-1]), math.prod(y[:-1]))
    taps = math.prod(kernels[0][:-2])
    if len(kernels) > 1:  # the products of two steps are sums of products
        mixed, filters = kernels[1][-2:]
        return max(pixels * max(taps, filters), taps * mixed * filters)
    return max(pixels, taps * max(x[-1], y[-1]) // groups)


def _settings(
    module: ModuleType, rank: int, row: Levels, size: tuple[int, ...], kernel_size: tuple[int, ...]
) -> dict[str, Any]:
    axes, settings = range(rank), defaults(module)
    strides = tuple(row[f"strides[{a}]"] for a in axes)
    settings["strides"] = strides
    if "groups" in settings:
        settings["groups"] = row["groups"]
    if "padding" not in settings:
        return settings
    rates = tuple(row[f"dilation_rate[{a}]"] for a in axes)
    settings["dilation_rate"] = rates
    same = row["padding"].startswith("same")
    image_size = size
    if module is transposed:  # as large as "same" makes it
        image_size = tuple(n * s for n, s in zip(size, strides, strict=True))
    places = zip(axes, image_size, kernel_size, strides, rates, strict=True)
    pairs = tuple(zeros(row["padding"], *place) for place in places)
    named = row["padding"].endswith(BY_NAME)
    settings["padding"] = row["padding"].removesuffix(BY_NAME) if named else pairs
    if module is transposed:
        effective = effective_size(kernel_size, rates)
        steps = list(zip(size, strides, effective, pairs, strict=True))
        # The least output; "same" by name fixes ceil(y / s) = n, so y is (n - 1) s + 1 at least.
        least = [(n - 1) * s + (1 if named and same else ke - sum(p)) for n, s, ke, p in steps]
        if row["output"] == "most":
            settings["output_padding"] = tuple(s - 1 for s in strides)
        elif row["output"] == "size":
            more = [(s - 1) * (a % 2) for a, s in enumerate(strides)]
            settings["output_size"] = tuple(map(sum, zip(least, more, strict=True)))
        elif not named:
            settings["output_padding"] = (0,) * rank
    return settings


def _spelled(settings: dict[str, Any], form: str) -> dict[str, Any]:
    # In "list"s, or as "short" as can be: an int where all entries are equal.
    if form == "tuple":
        return settings
    spelled = {}
    for name, value in settings.items():
        if isinstance(value, tuple):
            value = _short(tuple(map(_short, value))) if form == "short" else [*value]
        spelled[name] = value
    return spelled


def _short(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return value[0] if len(set(value)) == 1 and isinstance(value[0], int) else value


def _kind(row: Levels, rank: int) -> str:
    # The case's line in the report: its path if it has one, or else which settings are on.
    if row.get("path", "any") != "any":
        return str(row["path"])
    on = [
        name
        for name in ("strides", "dilation_rate")
        if any(row.get(f"{name}[{a}]", 1) > 1 for a in range(rank))
    ]
    on += ["padding"] * (row.get("padding", "valid") != "valid")
    on += ["groups"] * (row.get("groups", 1) > 1)
    return ", ".join(on) or "plain"


def draw_normalization(
    module: ModuleType, rank: int, row: Levels, precision: Precision, seed: Seed
) -> Case:
    """Draw the arrays of a normalization."""
    groups, training = row.get("groups", 1), row.get("training", True)
    channels = groups * row["channels"]
    shape = (row["batch"], *(row[f"size[{a}]"] for a in range(rank)), channels)
    draw = Draw(seed, row["values"], precision)
    far = 0.0
    x = draw(shape)
    if not draw.integers:
        # Widths of their own, the least of them so small that epsilon matters.
        widths = np.resize([0.05, 1, 3], channels)
        if row["values"] == "far from 0":
            # As far as the format holds the deviations beside the mean.
            far = 8.0 if precision.exact_integers < 2**12 else 1000.0
        means = np.resize([0.5, -1, 2], channels)
        if row["values"] == "variance 0":
            # All numbers are equal in every other channel, or in every other group of an image.
            alone = module is batchnorm
            group = np.arange(channels) // (1 if alone else row["channels"])
            image = np.arange(1 if alone else len(x)).reshape(-1, *[1] * (rank + 1))
            widths, means = widths * ((image + group + 1) % 2), means[group]
        x = precision.held(x * widths + means + far)
    if row["layout"] == "broadcast":
        x = np.repeat(x[:1], len(x), axis=0)
    gamma, beta, mean, variance = (draw((channels,)) for _ in range(4))
    arrays: list[Any] = [x, gamma if row["gamma"] else None, beta if row["beta"] else None]
    settings: dict[str, Any] = {"epsilon": row["epsilon"]}
    kind = "training" if training else "inference"
    if module is batchnorm:
        variance = precision.held(np.abs(variance) + 0.1)
        moving = batchnorm.Statistics(precision.held(mean + far), variance)
        arrays.append(None if training else moving)
    else:
        settings = {"groups": groups, **settings}
        kind = f"{groups} groups" if groups > 1 else "1 group"
    return Case(
        module,
        tuple(arrays),
        settings,
        draw(shape),
        kind=f"{rank}-D {kind}, {row['values']}",
        integers=draw.integers,
        layout=row["layout"],
        values=row["values"],
        row=row,
    )
