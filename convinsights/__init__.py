"""Building blocks of convolutional networks in NumPy, to read, to check against and to import.

Every module is one concept. The modules of layers have `y, cache = forward(x, …)` and `gradients =
backward(dy, cache)`; im2col, receptive_field, layouts, parameters and the tools draw, translate,
verify have functions of their own. What holds in all modules is said here, and nowhere again:

* **Layout.** Channels last: images are (N, *spatial, C) with one, two or three spatial axes, as
  many as the kernel has. Formulas show two, with image n, the output's pixel (i, j), the kernel's
  tap (u, v), and the channels c (in) and o (out). Strides s and dilation rates d are in pixels;
  there are `before` zeros in front of an axis and `after` behind it.
* **Sizes.** What has one value per spatial axis (strides, kernel_size, …) is an int, for all axes,
  or a sequence, one per axis. Where no array tells how many axes there are (`parameter_count`,
  `initialize`), a kernel_size that is an int is one axis.
* **Padding.** "valid": no zeros. "same", as in TensorFlow: as many as ceil(size / stride) windows
  need, the odd one behind. "causal", for one axis: (kernel_size - 1) * dilation_rate in front. An
  int: so many on every side. One entry per axis: each an int or a pair (before, after).
* **Types.** Results have the type that NumPy's promotion gives the floating arrays among the
  arguments, float64 if there are none. Integers have no say (a uint8 image under a float32 kernel
  gives float32); those that the type cannot hold exactly are rounded, as by NumPy's `astype`.
  Moving statistics never widen a result; `batchnorm.update` returns them in the type they came in.
  float16 is computed in float32 and rounded once, at the end. Gradients have the dtype of the
  output.
* **Too large.** A result beyond its type is infinite. `np.errstate` at the call decides, as for
  NumPy's own operations, whether a float16 result that overflows warns, raises or does nothing;
  whether an overflow of sums in float32 or float64 warns is left open.
* **Gradients** are named after the arrays that `forward` takes, and have their shapes; what was not
  given has None. An empty batch gives an empty output and zero gradients of the weights; batch
  normalization in training, which has no mean then, refuses it.
* **No side effects.** Arguments are never modified, results share no memory with them, calls are
  thread-safe. A cache refers to the arguments of its `forward`: leave them as they are until
  `backward`, which may be called again (no ReLU in place, no update of the kernels in between).
* **Memory.** Beyond inputs and results, a call takes at most 32 MiB and two copies of the image
  (the input's or the output's, whichever is larger), padding included, however many taps the kernel
  has. (A float16 image counts as the float32 one that is computed with. In depthwise_separable and
  residual those between the steps count too, and `residual.backward` takes three copies: it keeps
  the gradient of the sum.) A kernel that is not contiguous, or not of the result's type, takes two
  copies of itself more. For `backward`, depthwise_separable and residual keep the images between
  their steps, max pooling a byte or two per window (four beyond 65,536 taps). What a normalization
  computes per channel or group (statistics, their roots, sums of gradients) counts as results.
  Under Linux, up to 62 MiB of what is freed stay with the process, for the next call.
* **Errors.** A wrong value or shape is a ValueError (so are sizes of 0 and a kernel that does not
  fit its padded image), a wrong type a TypeError; the message says what would be right. Nothing is
  broadcast, truncated or clipped in silence. What takes shapes instead of arrays (`output_shape`,
  `multiply_adds`) refuses what `forward` refuses.
* **Counts.** `parameter_count` counts weights, and with use_bias a bias per output channel.
  `multiply_adds` counts a multiplication and its addition as one, those with the padding's zeros
  too, and no biases (Howard et al., section 3.1).
* **Initial values.** `initialize` draws kernels He-normal: with a variance of 2 over the number of
  inputs that an output sums, activations keep their size through a ReLU (He et al., section 2.2).
  rng is a numpy.random.Generator, dtype float16, float32 or float64 (the default); a call that is
  refused draws nothing.

References
----------
He et al., "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet
Classification", 2015.
Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017.
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
    # Tools, not layers, and nearly twice as much code: loaded when first asked for.
    if name in ("draw", "translate", "verify"):
        return importlib.import_module(f"convinsights.{name}")
    raise AttributeError(f"module 'convinsights' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
