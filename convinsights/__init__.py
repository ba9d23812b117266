"""Building blocks of convolutional networks in NumPy, to read, to check against and to import.

Every module is one concept with `forward` and `backward`; arrays are channels last,
(N, *spatial, C), with one, two or three spatial axes.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from convinsights import (
    average_pooling,
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    layouts,
    max_pooling,
    normalization,
    parameters,
    receptive_field,
    relu,
    residual,
    transposed,
    unary,
)

if TYPE_CHECKING:
    from convinsights import draw, translate, verify

__all__ = [
    "average_pooling",
    "batchnorm",
    "conv",
    "depthwise",
    "depthwise_separable",
    "dilated",
    "draw",
    "im2col",
    "layouts",
    "max_pooling",
    "normalization",
    "parameters",
    "receptive_field",
    "relu",
    "residual",
    "translate",
    "transposed",
    "unary",
    "verify",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    # Tools, not layers, and as much code again: loaded when first asked for.
    if name in ("draw", "translate", "verify"):
        return importlib.import_module(f"convinsights.{name}")
    raise AttributeError(f"module 'convinsights' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
