"""Where convolutions go wrong: calls that are small, lopsided and told apart by every slip.

A case is one call: a module, its arrays, its hyperparameters and a cotangent; its truth is what the
library gives for it in float64. Every axis has its own size, kernel, stride, rate and padding, so
that no mistake of an axis goes unseen; numbers of channels differ; kernels are even as well as odd.
Each geometry comes with small integers, whose sums are exact, and with normal deviates.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    transposed,
    unary,
)
from convinsights._arguments import Array, DType, per_axis
from convinsights._concepts import defaults, name_of
from convinsights._geometry import effective_size

__all__ = [
    "MODULES",
    "Case",
    "Outcome",
    "adversarial",
    "apply",
    "arranged",
    "resized",
    "resolved",
]

# Results by name: y, and dx, dkernel, … as far as there are any.
Outcome: TypeAlias = dict[str, Array]

LINEAR = (conv, depthwise, depthwise_separable, dilated, transposed, unary)
MODULES = (batchnorm, *LINEAR)
GROUPED = ("conv", "dilated", "transposed")
WITH_TAPS = ("conv", "depthwise", "depthwise_separable", "dilated", "transposed")
EVERY = (*WITH_TAPS, "unary")


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


def arranged(array: Array, layout: str) -> Array:
    """Copy an array into another order of memory: "C", "Fortran" or "negative" strides."""
    if layout == "negative":
        backwards = (slice(None, None, -1),) * array.ndim
        return np.array(array[backwards], order="C")[backwards]
    return np.array(array, order="F" if layout == "Fortran" else "C")


@dataclass(frozen=True)
class Case:
    """One call. The arrays are in float64, and every value can be held in the dtype to verify."""

    module: ModuleType
    kind: str
    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    dy: Array
    integers: bool
    layout: str = "C"

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
        """How many numbers the case takes to write down."""
        return self.dy.size + sum(np.size(a) for a in self.arrays if a is not None)

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
        numbers = "integers" if self.integers else "normal"
        usual = defaults(self.module)
        words = []
        for name, array in zip(self.names, self.arrays, strict=True):
            if array is None or isinstance(array, tuple):
                words.append(f"{name}={None if array is None else 'Statistics(…)'}")
            else:
                words.append(f"{name}={numbers} {array.shape}")
        words += [f"{k}={v!r}" for k, v in self.settings.items() if v != usual[k]]
        memory = "" if self.layout == "C" else f" [{self.layout} memory order]"
        return f"forward({', '.join(words)}){memory}"


class Spec(NamedTuple):
    """A geometry for one, two or three axes: each takes as many entries as there are axes."""

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()
    size: tuple[int, ...] = (6, 7, 4)
    kernel: tuple[int, ...] = (3, 2, 2)
    batch: int = 2
    channels: tuple[int, int] = (3, 4)  # of a group: inputs, outputs
    multiplier: int = 2
    bias: bool = True
    layout: str = "C"
    only: tuple[str, ...] = EVERY


def _spec(kind: str, *, only: tuple[str, ...] = EVERY, **fields: Any) -> Spec:
    # What is no field of a Spec is a hyperparameter.
    own = {name: fields.pop(name) for name in Spec._fields if name in fields}
    return Spec(kind, tuple(fields.items()), only=only, **own)


SPECS = (
    _spec("plain"),
    _spec("no bias", bias=False),
    _spec("one channel", channels=(1, 1)),
    _spec("one tap", kernel=(1, 1, 1), only=WITH_TAPS),
    _spec("even kernel", kernel=(2, 4, 2), only=WITH_TAPS),
    _spec("kernel as large as the input", size=(1, 1, 1), kernel=(3, 4, 2), only=WITH_TAPS),
    _spec("plain matrix", kernel=(), only=("unary",)),
    _spec("multiplier 1", multiplier=1, only=("depthwise", "depthwise_separable")),
    _spec("multiplier 3", multiplier=3, only=("depthwise", "depthwise_separable")),
    _spec("batch of 0", batch=0),
    _spec("batch of 1", batch=1),
    _spec("batch of 3", batch=3),
    _spec("Fortran order", layout="Fortran"),
    _spec("negative strides", layout="negative"),
    _spec("strides", strides=2, size=(7, 8, 5)),
    _spec("strides", strides=(2, 3, 1), size=(8, 9, 4)),
    _spec("strides > kernel", strides=(3, 4, 2), size=(8, 9, 5), kernel=(2, 1, 1), only=WITH_TAPS),
    _spec("dilation", dilation_rate=3, size=(8, 9, 5), only=WITH_TAPS),
    _spec("dilation", dilation_rate=(2, 3, 1), size=(8, 9, 4), only=WITH_TAPS),
    _spec("dilation, strides", dilation_rate=(3, 2, 1), strides=(2, 3, 1), size=(9, 8, 4)),
    _spec("valid", padding="valid"),
    _spec("same", padding="same"),
    _spec("same", padding="same", kernel=(5, 3, 3), channels=(2, 3)),
    _spec("same, even kernel", padding="same", kernel=(2, 4, 2)),
    _spec("same, strides", padding="same", strides=2, size=(8, 6, 4), kernel=(3, 3, 3)),
    _spec("same, strides", padding="same", strides=(3, 2, 1), size=(8, 7, 4), kernel=(4, 3, 2)),
    _spec("same, strides > kernel", padding="same", strides=(3, 4, 2), kernel=(2, 1, 1)),
    _spec("same, dilation", padding="same", dilation_rate=(3, 2, 1), size=(7, 6, 4)),
    _spec("padding", padding=1),
    _spec("padding per axis", padding=(1, 2, 0), kernel=(3, 3, 2)),
    _spec("padding in pairs", padding=((0, 1), (2, 1), (1, 0)), kernel=(3, 4, 2)),
    _spec(
        "padding, strides, dilation",
        padding=((2, 1), 1, (0, 1)),
        strides=(2, 3, 1),
        dilation_rate=(2, 1, 2),
        size=(8, 9, 4),
    ),
    _spec("causal", padding="causal"),
    _spec("causal, strides, dilation", padding="causal", strides=2, dilation_rate=3, size=(9,)),
    _spec("groups", groups=2, channels=(2, 3)),
    _spec("groups", groups=3, channels=(2, 2)),
    _spec("one channel per group", groups=4, channels=(1, 2)),
    _spec("groups, no bias", groups=2, channels=(3, 2), bias=False),
    _spec("groups, strides", groups=2, channels=(2, 2), strides=(2, 3, 1), size=(8, 9, 4)),
    _spec("output_padding", output_padding=1, strides=2, size=(4, 3, 3)),
    _spec("output_padding", output_padding=(1, 2, 0), strides=(3, 4, 1), size=(4, 3, 3)),
    _spec("output_padding, same", output_padding=0, strides=2, padding="same", size=(4, 3, 3)),
    _spec("output_size", output_size=(1, 2, 0), strides=(2, 3, 1), size=(4, 3, 3)),
    _spec(
        "many terms",
        size=(5, 4, 3),
        kernel=(3, 3, 3),
        batch=1,
        channels=(2304, 2),
        only=(*GROUPED, "unary"),
    ),
)


def adversarial(
    module: ModuleType,
    ranks: Sequence[int],
    supports: Sequence[str],
    dtype: DType,
    rng: np.random.Generator,
) -> Iterator[Case]:
    """Yield the cases of a module, those on integers first."""
    for integers in (True, False):

        def draw(shape: tuple[int, ...], integers: bool = integers) -> Array:
            drawn: Array = rng.integers(1, 4, shape) * rng.choice([-1.0, 1.0], shape)
            if integers:
                return drawn
            return rng.normal(size=shape).astype(dtype).astype(np.float64)

        for rank in ranks:
            if module is batchnorm:
                yield from _normalizations(rank, supports, draw, integers, dtype)
                continue
            for spec in SPECS:
                wanted = dict(spec.settings)
                possible = rank == 1 or wanted.get("padding") != "causal"
                possible = possible and (module, wanted.get("padding")) != (transposed, "causal")
                if possible and name_of(module) in spec.only and wanted.keys() <= {*supports}:
                    yield _convolution(module, spec, rank, draw, integers)


def _convolution(
    module: ModuleType,
    spec: Spec,
    rank: int,
    draw: Callable[[tuple[int, ...]], Array],
    integers: bool,
) -> Case:
    settings = defaults(module)
    for name, value in spec.settings:
        settings[name] = value[:rank] if isinstance(value, tuple) else value
    kernel_size = spec.kernel[:rank]
    if module is unary:
        kernel_size = (1,) * len(kernel_size)
    rates = per_axis("dilation_rate", settings.get("dilation_rate", 1), rank)
    # However far the kernel reaches, it fits its input.
    effective = effective_size(kernel_size or (1,) * rank, rates)
    size = tuple(map(max, spec.size[:rank], effective))
    (inputs, outputs), groups = spec.channels, settings.get("groups", 1)
    if spec.kind == "many terms":
        inputs = -(-inputs // math.prod(kernel_size))
    if module in (conv, dilated):
        kernels = [(*kernel_size, inputs, groups * outputs)]
    elif module is transposed:
        kernels = [(*kernel_size, outputs, groups * inputs)]
    elif module is unary:
        kernels = [(*kernel_size, inputs, outputs)]
    else:
        kernels = [(*kernel_size, inputs, spec.multiplier)]
    if module is depthwise_separable:
        ones = () if spec.kind == "plain" else (1,) * rank
        kernels.append((*ones, inputs * spec.multiplier, outputs))
    x_shape = (spec.batch, *size, groups * inputs)
    if settings.get("output_size") is not None:  # so many pixels above the least
        sized = settings | {"output_padding": settings["output_size"], "output_size": None}
        settings["output_size"] = module.output_shape(x_shape, *kernels, **sized)[1:-1]
    y_shape = module.output_shape(x_shape, *kernels, **settings)
    arrays: list[Array | None] = [draw(shape) for shape in (x_shape, *kernels)]
    arrays.append(draw(y_shape[-1:]) if spec.bias else None)
    kind = f"{rank}-D {spec.kind}"
    return Case(module, kind, tuple(arrays), settings, draw(y_shape), integers, spec.layout)


def _normalizations(
    rank: int,
    supports: Sequence[str],
    draw: Callable[[tuple[int, ...]], Array],
    integers: bool,
    dtype: DType,
) -> Iterator[Case]:
    # What is given and the size of the images; in training, then in inference.
    size = (3, 4, 2)[:rank]
    far = 8.0 if dtype == np.float16 else 1000.0
    for kind, batch, pixels, gamma, beta, epsilon, mean, layout in (
        ("plain", 2, size, True, True, None, 0, "C"),
        ("no gamma", 2, size, False, True, None, 0, "C"),
        ("no beta", 2, size, True, False, None, 0, "C"),
        ("large epsilon", 2, size, True, True, 0.5, 0, "C"),
        ("small epsilon", 2, size, True, True, 1e-5, 0, "C"),
        ("few values per channel", 3, (1,) * rank, True, True, None, 0, "C"),
        ("batch of 1", 1, size, True, True, None, 0, "C"),
        ("batch of 3", 3, size, True, True, None, 0, "C"),
        ("mean far from 0", 2, size, True, True, None, far, "C"),
        ("one value per channel", 1, (1,) * rank, True, True, None, 0, "C"),
        ("batch of 0", 0, size, True, True, None, 0, "C"),
        ("Fortran order", 2, size, True, True, None, 0, "Fortran"),
        ("negative strides", 2, size, True, True, None, 0, "negative"),
    ):
        for training in (True, False):
            if (training and not batch) or (epsilon is not None and "epsilon" not in supports):
                continue
            x, vectors = draw((batch, *pixels, 3)), [draw((3,)) for _ in range(4)]
            if not integers:  # channels of their own width, one of them below that of epsilon
                x = x * [0.05, 1, 3] + [0.5, -1, 2]
            x, moving_mean, variance = (
                a.astype(dtype).astype(np.float64)
                for a in (x + mean, vectors[2] + mean, np.abs(vectors[3]) + 0.1)
            )
            arrays = (
                x,
                vectors[0] if gamma else None,
                vectors[1] if beta else None,
                None if training else batchnorm.Statistics(moving_mean, variance),
            )
            settings = defaults(batchnorm) if epsilon is None else {"epsilon": epsilon}
            name = f"{rank}-D {'training' if training else 'inference'}, {kind}"
            yield Case(batchnorm, name, arrays, settings, draw(x.shape), integers, layout)


def resolved(case: Case) -> tuple[tuple[int, int], ...]:
    """Return the case's padding in zeros, around the image that the windows lie over."""
    image = case.truth["y"] if case.module is transposed else case.x
    names = ("strides", "padding", "dilation_rate")
    return im2col.resolve_padding(
        image.shape[1:-1],
        case.arrays[1].shape[:-2],
        **{name: case.settings[name] for name in names},
    )
