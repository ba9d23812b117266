"""What can differ from one call of a concept to another, and what of it goes together.

Numbers of channels, images and pixels come below, at and above 4, 8, 16 and 32, the widths of
vectors and tiles, with and without a remainder. Kernels have fast ways for some geometries
(`_paths`); each is a level of the factor "path", so that it meets all levels of what it leaves
free.
"""

import math
from collections.abc import Collection, Iterator
from functools import lru_cache, partial
from itertools import product
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convinsights import batchnorm, depthwise, depthwise_separable, transposed, unary
from convinsights._concepts import defaults
from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._covering import Covering, Factor, Levels, Rule
from convinsights.verify._padding import BY_NAME, windows
from convinsights.verify._paths import Path, paths_of
from convinsights.verify._values import LAYOUTS

__all__ = ["Space", "covering", "rows"]

COUNTS = (3, 1, 4, 6, 8, 11, 16, 21, 32, 37)
MORE_COUNTS = (*COUNTS, 64, 128)
# 130 images: more than a tile of 128, in sums over the images.
BATCHES = (2, *COUNTS, 130)
KERNELS = (3, 1, 2, 4, 5, 7, 33)
STEPS = (1, 2, 3, 5)
# Most zeros on a side that full padding is tried with.
FULL = 8
# About so many multiply-adds may a case take.
BUDGET = 1e6
# How many numbers a case may have before a smaller one is sought; FEW if `thorough`, for then there
# are thousands of cases.
NOT_MANY, FEW = 2_000_000, 200_000
# A value takes longer to normalize than to multiply and add: where there are thousands of cases
# (`thorough`), about so many values may each of them have.
VALUES = 2.5e5


class Space(NamedTuple):
    """The calls that are possible: of a module, for images of a rank.

    Settings that are not `varied` keep their defaults; `forms` are the ways of writing them,
    `names` lets padding be a name, `kept` leaves some factors fewer levels.
    """

    module: ModuleType
    rank: int
    varied: frozenset[str]
    values: tuple[str, ...]
    forms: tuple[str, ...] = ("tuple",)
    names: bool = False
    thorough: bool = False
    kept: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@lru_cache(maxsize=64)
def covering(space: Space) -> Covering:
    """Return the factors of the calls of a module, and the rules of what goes together."""
    normalizing = space.module in NORMALIZATIONS
    factors, rules = (_normalization if normalizing else _convolution)(space)
    kept = dict(space.kept)
    for place, factor in enumerate(factors):
        if factor.name in kept:
            weights = dict(zip(factor.levels, factor.weights, strict=False))
            levels = tuple(level for level in kept[factor.name] if level in factor.levels)
            left = tuple(weights[level] for level in levels) if weights else ()
            factors[place] = factor._replace(levels=levels, weights=left)
    budget = VALUES if normalizing and space.thorough else BUDGET
    few = FEW if space.thorough else NOT_MANY
    return Covering(factors, rules, math.log(budget), partial(_numbers, space), few)


@lru_cache(maxsize=64)
def rows(space: Space, strength: int) -> tuple[Levels, ...]:
    """Return the rows of a covering array, the same ones every time."""
    return tuple(covering(space).rows(strength, np.random.default_rng(2004)))


def _numbers(space: Space, row: Levels) -> int:
    # About how many numbers the images and the outputs have
    module, axes = space.module, range(space.rank)
    if module in NORMALIZATIONS:
        sizes = (f"size[{a}]" for a in axes)
        each: int = math.prod(row[name] for name in ("batch", "channels", *sizes))
        return 2 * each * int(row.get("groups", 1))
    inputs = row.get("groups", 1) * row["in_channels"]
    size, outputs = inputs, inputs * row.get("depth_multiplier", 1)
    if module is not depthwise:
        outputs = row.get("groups", 1) * row["out_channels"]
    for a in axes:
        n, step = row[f"size[{a}]"], row[f"strides[{a}]"]
        kernel, rate = row.get(f"kernel_size[{a}]", 1), row.get(f"dilation_rate[{a}]", 1)
        size *= n
        outputs *= windows(module, row.get("padding", "valid"), a, n, kernel, step, rate)
    number: int = row["batch"] * (size + outputs)
    return number


# The logarithm as weight: a row's weights add up to that of its multiply-adds.
def _counted(name: str, levels: tuple[int, ...]) -> Factor:
    return Factor(name, levels, tuple(math.log(level) for level in levels))


def _convolution(space: Space) -> tuple[list[Factor], list[Rule]]:
    module, rank, varied = space.module, space.rank, space.varied
    settings, axes = defaults(module), range(rank)
    counts = MORE_COUNTS if space.thorough else COUNTS
    paths = {path.name: path for path in paths_of(module, rank)}

    def varying(name: str, levels: tuple[Any, ...]) -> tuple[Any, ...]:
        return levels if name in varied else (settings.get(name, levels[0]),)

    step = _counted if module is transposed else Factor  # its strides make images larger
    factors = [
        Factor("path", tuple(paths)),
        _counted("in_channels", counts),
        _counted("batch", BATCHES),
        *(_counted(f"size[{a}]", COUNTS) for a in axes),
        *(step(f"strides[{a}]", varying("strides", STEPS)) for a in axes),
        Factor("bias", (True, False)),
        Factor("layout", LAYOUTS),
        Factor("values", space.values),
        Factor("form", space.forms),
    ]
    if module in (depthwise, depthwise_separable):
        factors.append(_counted("depth_multiplier", (1, 2, 3, 4, 8)))
    if module is not depthwise:
        factors.append(_counted("out_channels", counts))
    if "groups" in settings:
        factors.append(_counted("groups", varying("groups", (1, 2, 3, 4))))
    if module is unary:
        return factors, []

    kinds = ["valid", "same", "1", "3", "per axis", "before", "after", "uneven", "full"]
    if rank == 1 and module is not transposed:
        kinds.append("causal")
    if space.names:
        kinds += [kind + BY_NAME for kind in kinds if kind in ("same", "causal", "valid")]
    factors += [
        *(_counted(f"kernel_size[{a}]", KERNELS) for a in axes),
        *(Factor(f"dilation_rate[{a}]", varying("dilation_rate", STEPS)) for a in axes),
        Factor("padding", varying("padding", tuple(kinds))),
    ]
    if module is transposed:
        # The output's size: the least that there is (size times stride where "same" is a name), the
        # most by output_padding, or one given by output_size
        outputs = ["least"]
        outputs += ["most"] * ("output_padding" in varied) + ["size"] * ("output_size" in varied)
        factors.append(Factor("output", tuple(outputs)))
    return factors, list(_of_windows(module, rank, paths, factors))


def _of_windows(
    module: ModuleType, rank: int, paths: dict[str, Path], factors: Collection[Factor]
) -> Iterator[Rule]:
    kinds_of_padding = next(factor.levels for factor in factors if factor.name == "padding")
    for a in range(rank):
        per_axis = [f"{n}[{a}]" for n in ("size", "kernel_size", "strides", "dilation_rate")]

        def fit(kind: str, *sizes: int, axis: int = a) -> bool:
            return windows(module, kind, axis, *sizes) > 0

        def on_path(name: str, kernel: int, step: int, rate: int, axis: int = a) -> bool:
            path = paths[name]
            return (
                path.kernel(kernel, axis)
                and path.strides in (None, step)
                and path.dilation_rate in (None, rate)
            )

        def whole(name: str, size: int, kernel: int) -> bool:
            return size == kernel or not paths[name].whole

        # Follows from the others together; said outright, so that `impossible`, which looks at one
        # rule at a time, can name the reason.
        def room(name: str, size: int, axis: int = a) -> bool:
            path = paths[name]
            kinds = (path.padding,) if path.padding else kinds_of_padding
            taps = [size] if path.whole else [k for k in KERNELS if path.kernel(k, axis)]
            ways = product(kinds, taps, (path.strides or 1,), (path.dilation_rate or 1,))
            return any(windows(module, kind, axis, size, *way) > 0 for kind, *way in ways)

        yield Rule(("padding", *per_axis), fit, "the kernel does not fit its padded image")
        yield Rule(
            ("padding", per_axis[1], per_axis[3]),
            lambda kind, kernel, rate: kind != "full" or (kernel - 1) * rate <= FULL,
            "so much padding makes large images",
        )
        yield Rule(("path", per_axis[0]), room, "the path's kernel does not fit its padded image")
        yield Rule(("path", *per_axis[1:]), on_path, "the path fixes kernel, strides and rates")
        yield Rule(("path", *per_axis[:2]), whole, "the path's kernel is as large as its image")
    for name in ("padding", "depth_multiplier", "output"):
        if any(factor.name == name for factor in factors):
            yield Rule(
                ("path", name),
                lambda path, level, name=name: getattr(paths[path], name) in (None, level),
                f"the path fixes the {name}",
            )


def _normalization(space: Space) -> tuple[list[Factor], list[Rule]]:
    counts = MORE_COUNTS if space.thorough else COUNTS
    factors = [
        _counted("channels", counts),
        _counted("batch", BATCHES),
        *(_counted(f"size[{a}]", COUNTS) for a in range(space.rank)),
        Factor("gamma", (True, False)),
        Factor("beta", (True, False)),
        Factor("epsilon", (1e-3, 0.5, 1e-5) if "epsilon" in space.varied else (1e-3,)),
        Factor("layout", LAYOUTS),
        Factor("values", (*space.values, "far from 0")),
    ]
    if space.module is batchnorm:
        factors.append(Factor("training", (True, False)))
    else:
        factors.append(_counted("groups", (1, 2, 3, 4)))
    return factors, []
