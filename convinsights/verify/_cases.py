"""One call of a concept, made from a row of a covering array, with the right answers.

The truth is what the library gives in float64. Hyperparameters are written as a kernel gets them:
one entry per axis, padding as (before, after) pairs, the zeros of "same" counted; or, where a
candidate takes them so, in every form that the library allows.
"""

import math
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable, im2col, transposed, unary
from convinsights._arguments import Array, per_axis, shape_of
from convinsights._concepts import defaults, name_of
from convinsights.verify._factors import BY_NAME, zeros
from convinsights.verify._precision import NORMALIZATIONS, Precision
from convinsights.verify._values import extremes, integers

__all__ = [
    "Case",
    "Outcome",
    "apply",
    "case_of",
    "extra_rows",
    "given_cases",
    "resized",
    "resolved",
]

# Results by name: y, and dx, dkernel, … as far as there are any.
Outcome: TypeAlias = dict[str, Array]
Row: TypeAlias = Mapping[str, Any]
Seed: TypeAlias = Sequence[int]


def apply(
    module: ModuleType,
    arrays: Sequence[Any],
    settings: dict[str, Any],
    dy: Array | None = None,
    *,
    fit: bool = False,
) -> Outcome:
    """Run forward, and backward where dy is of the output's shape.

    With `fit`, an output of another shape is brought to the shape of dy by cutting off or adding
    zeros at the end of every axis, and dy to the output's.
    """
    y, cache = module.forward(*arrays, **settings)
    outcome = {"y": y}
    if fit and dy is not None:
        outcome["y"], dy = resized(y, dy.shape), resized(dy, y.shape)
    if dy is not None and dy.shape == y.shape:
        gradients = module.backward(dy, cache)._asdict()
        gradients.pop("statistics", None)
        outcome |= {f"d{name}": g for name, g in gradients.items() if g is not None}
    return outcome


def resized(array: Array, shape: tuple[int, ...]) -> Array:
    """Cut off the end of every axis, or add zeros there."""
    result = np.zeros(shape, array.dtype)
    common = tuple(slice(min(sizes)) for sizes in zip(array.shape, shape, strict=True))
    result[common] = array[common]
    return result


@dataclass(frozen=True)
class Case:
    """One call. The arrays are in float64, and every value can be held in the dtype to verify.

    `row` is what it was made from: the level of each factor.
    """

    module: ModuleType
    kind: str
    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    dy: Array
    integers: bool
    layout: str = "C"
    values: str = "normal"
    row: Row | None = None

    @cached_property
    def truth(self) -> Outcome:
        """The right answers."""
        return apply(self.module, self.arrays, self.settings, self.dy)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(self.module.Gradients._fields)

    @property
    def x(self) -> Array:
        """The images."""
        x: Array = self.arrays[0]
        return x

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return self.x.ndim - 2

    @property
    def size(self) -> int:
        """How many numbers the case takes to write down; one without outputs shows least."""
        size = self.dy.size + sum(np.size(a) for a in self.arrays if a is not None)
        return size if self.dy.size else sys.maxsize

    def axes(self, name: str) -> tuple[int, ...]:
        """Return a hyperparameter with one entry per spatial axis."""
        return per_axis(name, self.settings[name], self.rank)

    def image(self, n: int) -> "Case":
        """Return the case of the n-th image alone."""
        arrays = (self.x[n : n + 1], *self.arrays[1:])
        return Case(
            self.module, self.kind, arrays, self.settings, self.dy[n : n + 1], self.integers
        )

    def __str__(self) -> str:
        """Write the call down, the arrays by their shapes."""
        usual = defaults(self.module)
        words = []
        for name, array in zip(self.names, self.arrays, strict=False):
            if array is None or isinstance(array, tuple):
                words.append(f"{name}={None if array is None else 'Statistics(…)'}")
            else:
                words.append(f"{name}={self.values} {array.shape}")
        words += [f"{k}={v!r}" for k, v in self.settings.items() if v != usual[k]]
        memory = "" if self.layout == "C" else f" [memory: {self.layout}]"
        return f"forward({', '.join(words)}){memory}"


def case_of(module: ModuleType, rank: int, row: Row, precision: Precision, seed: int) -> Case:
    """Make the case of a row; a ValueError where its levels do not go together."""
    # Not the stream of default_rng(seed), which the candidate's own arrays may come from.
    numbers = 1992, seed, zlib.crc32(repr(sorted(row.items())).encode())
    make = _normalization if module in NORMALIZATIONS else _convolution
    return make(module, rank, row, precision, numbers)


def given_cases(
    module: ModuleType, number: int, given: Mapping[str, Any], precision: Precision, seed: int
) -> Iterator[Case]:
    """Make the cases of a geometry that the author gives: shapes and hyperparameters."""
    what, settings = f"cases[{number}]", dict(given)
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
    for index, values in enumerate(precision.values):
        row = {"layout": "C", "values": values, "bias": True, "gamma": True, "beta": True}
        numbers = 1994, seed, number, index
        if module in NORMALIZATIONS:
            groups = settings.get("groups", 1)
            row |= {"batch": x_shape[0], "channels": x_shape[-1] // groups, "groups": groups}
            row |= {f"size[{a}]": n for a, n in enumerate(x_shape[1:-1])}
            row["epsilon"] = settings.get("epsilon", 1e-3)
            case = _normalization(module, len(x_shape) - 2, row, precision, numbers)
        else:
            canonical = _canonical(module, x_shape, kernels, defaults(module) | settings)
            case = _drawn(module, what, x_shape, kernels, canonical, row, precision, numbers)
        yield replace(case, kind=what, row=None)


def _canonical(
    module: ModuleType,
    x_shape: tuple[int, ...],
    kernels: Sequence[tuple[int, ...]],
    settings: dict[str, Any],
) -> dict[str, Any]:
    # One entry per axis, padding in zeros, the output's size by its padding.
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


def extra_rows(
    module: ModuleType, rank: int, plain: Row, levels: Sequence[str], thorough: bool
) -> Iterator[Row]:
    """Yield what no level of a factor is: no images, many terms, flat indices beyond 2^15.

    Many terms with numbers of all these `levels`.
    """
    yield {**plain, "batch": 0, "training": False}
    inputs = "channels" if module in NORMALIZATIONS else "in_channels"
    for bits in (15, 16, 17) if thorough else (15,):
        side = math.ceil((2**bits / 16) ** (1 / rank)) + 1
        sizes = {f"size[{a}]": side for a in range(rank)}
        yield {**plain, **sizes, inputs: 9, "out_channels": 9, "values": "integers"}
        yield {**plain, "batch": 2**bits // (9 * 3**rank) + 5, inputs: 11, "out_channels": 10}
    if inputs == "in_channels":
        taps = math.prod(plain.get(f"kernel_size[{a}]", 1) for a in range(rank))
        for values in levels:
            yield {**plain, inputs: -(-2304 // taps), "out_channels": 2, "values": values}
        yield {**plain, inputs: 64, "out_channels": -(-(2**15) // (64 * taps)) + 1}


# -- convolutions ---------------------------------------------------------------------------------


def _convolution(module: ModuleType, rank: int, row: Row, precision: Precision, seed: Seed) -> Case:
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
    return _drawn(module, kind, x_shape, kernels, settings, row, precision, seed)


def _drawn(
    module: ModuleType,
    kind: str,
    x_shape: tuple[int, ...],
    kernels: Sequence[tuple[int, ...]],
    settings: dict[str, Any],
    row: Row,
    precision: Precision,
    seed: Seed,
) -> Case:
    y_shape = module.output_shape(x_shape, *kernels, **settings)
    terms = _terms(x_shape, kernels, y_shape, settings.get("groups", 1))
    draw = _Draw(seed, row["values"], precision, terms, 1 + len(kernels))
    x = draw(x_shape, first=True)
    if row["layout"] == "broadcast":
        x = np.repeat(x[:1], len(x), axis=0)
    arrays = (x, *map(draw, kernels), draw(y_shape[-1:]) if row["bias"] else None)
    settings, dy = _spelled(settings, row.get("form", "tuple")), draw(y_shape)
    numbers = draw.integers, row["layout"], row["values"], row
    return Case(module, kind, arrays, settings, dy, *numbers)


def _terms(
    x: tuple[int, ...], kernels: Sequence[tuple[int, ...]], y: tuple[int, ...], groups: int
) -> int:
    # The most products that any sum has: of y, dx, or a kernel's gradient.
    pixels = max(math.prod(x[:-1]), math.prod(y[:-1]))
    taps = math.prod(kernels[0][:-2])
    if len(kernels) > 1:  # the products of two steps are sums of products
        mixed, filters = kernels[1][-2:]
        return max(pixels * max(taps, filters), taps * mixed * filters)
    return max(pixels, taps * max(x[-1], y[-1]) // groups)


def _settings(
    module: ModuleType, rank: int, row: Row, size: tuple[int, ...], kernel_size: tuple[int, ...]
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
    laid = [n * s for n, s in zip(size, strides, strict=True)] if module is transposed else size
    places = zip(axes, laid, kernel_size, strides, rates, strict=True)
    pairs = tuple(zeros(row["padding"], *place) for place in places)
    named = row["padding"].endswith(BY_NAME)
    settings["padding"] = row["padding"].removesuffix(BY_NAME) if named else pairs
    if module is transposed:
        effective = [(k - 1) * d + 1 for k, d in zip(kernel_size, rates, strict=True)]
        steps = list(zip(size, strides, effective, pairs, strict=True))
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
    return value[0] if len(set(map(str, value))) == 1 and isinstance(value[0], int) else value


def _kind(row: Row, rank: int) -> str:
    # A line of the table: a path of its own, or which settings are on.
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


class _Draw:
    # The numbers of one case.
    def __init__(
        self, seed: Seed, values: str, precision: Precision, terms: int = 1, factors: int = 2
    ) -> None:
        self.rng, self.values, self.precision = np.random.default_rng(seed), values, precision
        self.terms, self.factors = terms, factors
        self.integers = values in ("integers", "extremes")

    def __call__(self, shape: tuple[int, ...], first: bool = False) -> Array:
        if self.values == "extremes":
            carrier, factors = self.precision.stored.carrier, self.factors
            return extremes(self.rng, shape, carrier, self.terms, factors, first)
        if self.values == "integers":
            most = self.precision.exact_integers
            signed = self.precision.stored.carrier.kind != "u"
            return integers(self.rng, shape, self.terms, most, signed)
        return self.precision.held(self.rng.normal(size=shape))


def resolved(case: Case) -> tuple[tuple[int, int], ...]:
    """Return the case's padding in zeros, around the image that the windows lie over."""
    if "resolved" not in case.__dict__:  # kept with the case, as its truth is
        image = case.truth["y"] if case.module is transposed else case.x
        names = ("strides", "padding", "dilation_rate")
        case.__dict__["resolved"] = im2col.resolve_padding(
            image.shape[1:-1],
            case.arrays[1].shape[:-2],
            **{name: case.settings[name] for name in names},
        )
    pairs: tuple[tuple[int, int], ...] = case.__dict__["resolved"]
    return pairs


# -- normalizations -------------------------------------------------------------------------------


def _normalization(
    module: ModuleType, rank: int, row: Row, precision: Precision, seed: Seed
) -> Case:
    groups, training = row.get("groups", 1), row.get("training", True)
    channels = groups * row["channels"]
    shape = (row["batch"], *(row[f"size[{a}]"] for a in range(rank)), channels)
    draw = _Draw(seed, row["values"], precision)
    far = 0.0
    x = draw(shape)
    if not draw.integers:  # channels of their own width, some of them below that of epsilon
        widths = np.resize([0.05, 1, 3], channels)
        if row["values"] == "far from 0":
            far = 8.0 if precision.exact_integers < 2**12 else 1000.0
        x = precision.held(x * widths + np.resize([0.5, -1, 2], channels) + far)
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
        f"{rank}-D {kind}, {row['values']}",
        tuple(arrays),
        settings,
        draw(shape),
        draw.integers,
        row["layout"],
        row["values"],
        row,
    )
