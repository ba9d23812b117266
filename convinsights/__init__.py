"""Building blocks of convolutional networks in NumPy, to read, to check against and to import.

Every module is one concept with `forward` and `backward`; arrays are channels last,
(N, *spatial, C), with one, two or three spatial axes.
"""

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    im2col,
    layouts,
    normalization,
    receptive_field,
    relu,
    residual,
    translate,
    transposed,
    unary,
    verify,
)

__all__ = [
    "batchnorm",
    "conv",
    "depthwise",
    "depthwise_separable",
    "dilated",
    "im2col",
    "layouts",
    "normalization",
    "receptive_field",
    "relu",
    "residual",
    "translate",
    "transposed",
    "unary",
    "verify",
]
__version__ = "0.1.0"
