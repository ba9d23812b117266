"""Say the same operation in the language of PyTorch, Keras, JAX or ONNX.

Each function writes a Python expression, as a string, over the names of the arguments of `forward`:
evaluated where these are arrays in the layout of this library, all of one dtype, it computes what
`module.forward` computes, again in this layout. No framework is imported here. The one name that
an expression needs besides is `torch`, `keras`, `jax` or `onnx`, imported as such.

What the frameworks do differently is written out:

    here                     PyTorch         Keras           JAX             ONNX
    (N, *spatial, C)         permuted        the same        the same        permuted
    kernel                   permuted        the same        the same        permuted
    kernel of transposed     permuted        the same        flipped         permuted
    zeros before and after   pad or conv     pad             of the conv     of the node
    cut off, of transposed   sliced          sliced          of the conv     of the node
    groups, of transposed    the same        split, joined   regrouped       the same
    depthwise                C groups        C groups        C groups        C groups
    batchnorm                batch_norm      likewise        the law         node, or the law
    padding of pooling       pad or pool     pad             of the pool     of the node
    pixels in an average     of the pool     divided by      divided by      of the node

"same" and "causal" become the numbers of zeros that they stand for with the size of x: an
expression is for images of that size, in batches of any. Sums are rounded as the framework does by
default, which on GPUs and TPUs can be to fewer digits than float32 has.

Hyperparameters are those of `forward`, by keyword, and one that says which arrays there are:

    use_bias    of every convolution. False (the default): no bias; True: `bias` is added.
    training    of batchnorm. False (the default): normalize by `statistics`, a tuple with mean and
                variance; True: by the batch's own. gamma and beta are always there.

and, for max_pooling and average_pooling, `pool_size`. Where maxima are equal, each framework sends
the gradient where it likes.

References
----------
PyTorch documentation, `torch.nn.functional`.
Keras documentation, `keras.ops`.
JAX documentation, `jax.lax.conv_general_dilated`.
ONNX documentation, "ONNX Operators".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from textwrap import indent
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

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
from convinsights._arguments import Array, check_flag, check_fraction, shape_of, shown
from convinsights._concepts import defaults, name_of
from convinsights._geometry import Geometry, effective_size

__all__ = ["to_jax", "to_keras", "to_onnx", "to_torch"]


def __dir__() -> list[str]:
    return __all__


Shape: TypeAlias = Sequence[int]
Shapes: TypeAlias = Mapping[str, Sequence[object]]

CONVOLUTIONS = (conv, unary, depthwise, depthwise_separable, transposed, dilated)
POOLINGS = (max_pooling, average_pooling)
CONCEPTS = {module: name_of(module) for module in (*CONVOLUTIONS, *POOLINGS, batchnorm, relu)}
WIDTH = 88  # of a call on one line
LEAST = 'float("-inf")'  # no number is less


class Step(NamedTuple):
    """One kernel at work, as that of `conv` or, with the geometry it transposes, `transposed`."""

    kernel: str  # its name
    given: tuple[int, ...]  # its shape
    shape: tuple[int, ...]  # and that in which conv, or transposed, takes it
    geometry: Geometry
    groups: int = 1
    use_bias: bool = False
    transposed: bool = False


class Axes(NamedTuple):
    """A geometry to calculate with: one entry per spatial axis."""

    s: Array  # strides
    d: Array  # dilation rates
    ke: Array  # effective kernel size
    padding: Array  # (before, after)
    size: Array  # of the image
    reach: Array  # from the first pixel of the first window to the last of the last
    spare: Array  # from there to the end of the padded image


@dataclass(frozen=True, slots=True)
class Task:
    """What to translate: convolutions one after the other, a normalization or a rectifier."""

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


def to_torch(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for PyTorch: channels go in front, and back again.

    An image of one channel or one pixel is copied, for its strides do not tell where its channels
    are, and convolutions of PyTorch (2.13, on CPUs) then compute wrong values.

    Parameters
    ----------
    module : a layer's module
        conv, unary, depthwise, depthwise_separable, transposed, dilated, max_pooling,
        average_pooling, batchnorm or relu.
    x_shape : (N, *spatial, C_in)
        For batchnorm (N, …, C), for relu any.
    kernel_shape : as the module's `output_shape` takes it
        Of depthwise_separable the depthwise kernel's; left out where there is no kernel.
    pointwise_kernel_shape : (C_in * depth_multiplier, C_out) or (1, …, 1, …)
        For depthwise_separable alone.
    **hyperparameters
        Those of `module.forward`; and `use_bias`, `pool_size` or, for batchnorm, `training`.

    Returns
    -------
    str
        An expression over `torch` and tensors named as the arguments of `forward` are.

    Raises
    ------
    ValueError
        If a shape or hyperparameter is one that `module.forward` refuses, or PyTorch cannot do it:
        batch_norm refuses to train on one value per channel.
    TypeError
        If an argument is of the wrong type, or not one that this module takes.

    References
    ----------
    PyTorch documentation, `torch.nn.functional`.

    Examples
    --------
    Of an even image, a stride of 2 leaves one zero, and that behind:

    >>> from convinsights import conv, translate
    >>> print(translate.to_torch(conv, (8, 28, 28, 3), (3, 3, 3, 16), strides=2, padding="same"))
    torch.nn.functional.conv2d(
        torch.nn.functional.pad(x.movedim(-1, 1), (0, 1, 0, 1)),
        kernel.permute(3, 2, 0, 1),
        None,
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
    ).movedim(1, -1)
    """
    task = _task(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    if task.name == "relu":
        return "torch.relu(x)"
    if task.name == "batchnorm":
        return _torch_normalization(task)
    if task.geometry is not None:
        return _torch_pooling(task, task.geometry)
    return reduce(_torch_convolution, task.steps, "x.movedim(-1, 1)") + ".movedim(1, -1)"


def to_keras(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for Keras, with the functions of `keras.ops`.

    They do what the layers of Keras refuse, strides together with dilation. (The backend has the
    last word: TensorFlow refuses the two together, JAX and PyTorch do not.)

    Parameters
    ----------
    module : a layer's module
        conv, unary, depthwise, depthwise_separable, transposed, dilated, max_pooling,
        average_pooling, batchnorm or relu.
    x_shape : (N, *spatial, C_in)
        For batchnorm (N, …, C), for relu any.
    kernel_shape : as the module's `output_shape` takes it
        Of depthwise_separable the depthwise kernel's; left out where there is no kernel.
    pointwise_kernel_shape : (C_in * depth_multiplier, C_out) or (1, …, 1, …)
        For depthwise_separable alone.
    **hyperparameters
        Those of `module.forward`; and `use_bias`, `pool_size` or, for batchnorm, `training`.

    Returns
    -------
    str
        An expression over `keras` and arrays named as the arguments of `forward` are.

    Raises
    ------
    ValueError
        If a shape or hyperparameter is one that `module.forward` refuses.
    TypeError
        If an argument is of the wrong type, or not one that this module takes.

    References
    ----------
    Keras documentation, `keras.ops.conv` and `keras.ops.conv_transpose`.

    Examples
    --------
    >>> from convinsights import batchnorm, conv, translate
    >>> print(translate.to_keras(conv, (8, 100, 2), (3, 2, 4), padding="causal", use_bias=True))
    keras.ops.conv(
        keras.ops.pad(x, ((0, 0), (2, 0), (0, 0))),
        kernel,
        strides=(1,),
        padding="valid",
        data_format="channels_last",
        dilation_rate=(1,),
    ) + bias
    """
    task = _task(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    if task.name == "relu":
        return "keras.ops.relu(x)"
    if task.name == "batchnorm":
        return _keras_normalization(task)
    if task.geometry is not None:
        return _keras_pooling(task, task.geometry)
    y = reduce(_keras_convolution, task.steps, "x")
    return f"{y} + bias" if task.steps[-1].use_bias else y


def to_jax(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation for JAX: its one convolution is dilated, grouped and transposed alike.

    Parameters
    ----------
    module : a layer's module
        conv, unary, depthwise, depthwise_separable, transposed, dilated, max_pooling,
        average_pooling, batchnorm or relu.
    x_shape : (N, *spatial, C_in)
        For batchnorm (N, …, C), for relu any.
    kernel_shape : as the module's `output_shape` takes it
        Of depthwise_separable the depthwise kernel's; left out where there is no kernel.
    pointwise_kernel_shape : (C_in * depth_multiplier, C_out) or (1, …, 1, …)
        For depthwise_separable alone.
    **hyperparameters
        Those of `module.forward`; and `use_bias`, `pool_size` or, for batchnorm, `training`.

    Returns
    -------
    str
        An expression over `jax` and arrays named as the arguments of `forward` are.

    Raises
    ------
    ValueError
        If a shape or hyperparameter is one that `module.forward` refuses.
    TypeError
        If an argument is of the wrong type, or not one that this module takes.

    References
    ----------
    JAX documentation, `jax.lax.conv_general_dilated`.

    Examples
    --------
    The convolution of the inflated image with the flipped kernel, whose channels change places:

    >>> from convinsights import transposed, translate
    >>> print(translate.to_jax(transposed, (8, 7, 7, 64), (4, 4, 32, 64), strides=2, padding=1))
    jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1].swapaxes(-1, -2),
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        rhs_dilation=(1, 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=1,
    )
    """
    task = _task(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    if task.name == "relu":
        return "jax.nn.relu(x)"
    if task.name == "batchnorm":
        return _jax_normalization(task)
    if task.geometry is not None:
        return _jax_pooling(task, task.geometry)
    y = reduce(_jax_convolution, task.steps, "x")
    return f"{y} + bias" if task.steps[-1].use_bias else y


def to_onnx(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation as an ONNX model, between nodes that move the channels.

    Parameters
    ----------
    module : a layer's module
        conv, unary, depthwise, depthwise_separable, transposed, dilated, max_pooling,
        average_pooling, batchnorm or relu.
    x_shape : (N, *spatial, C_in)
        For batchnorm (N, …, C), for relu any.
    kernel_shape : as the module's `output_shape` takes it
        Of depthwise_separable the depthwise kernel's; left out where there is no kernel.
    pointwise_kernel_shape : (C_in * depth_multiplier, C_out) or (1, …, 1, …)
        For depthwise_separable alone.
    **hyperparameters
        Those of `module.forward`; and `use_bias`, `pool_size` or, for batchnorm, `training`.

    Returns
    -------
    str
        An expression over `onnx` alone. It makes a model whose inputs are float32 arrays named as
        the arguments of `forward` are, the statistics as `mean` and `variance`; its output is `y`.

    Raises
    ------
    ValueError
        If a shape or hyperparameter is one that `module.forward` refuses.
    TypeError
        If an argument is of the wrong type, or not one that this module takes.

    References
    ----------
    ONNX documentation, "ONNX Operators", Conv, ConvTranspose and BatchNormalization, opset 17.

    Examples
    --------
    >>> from convinsights import relu, translate
    >>> print(translate.to_onnx(relu, (8, 28, 28, 3)))
    onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])],
            "relu",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [8, 28, 28, 3])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [8, 28, 28, 3])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    """
    task = _task(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    if task.name == "relu":
        shape = task.x_shape
        return _onnx_model(task.name, [_node("Relu", ["x"], "y")], {"x": shape}, {"y": shape})
    image = ("N", *task.x_shape[1:])
    if task.name == "batchnorm":
        names = ("gamma", "beta") if task.training else ("gamma", "beta", "mean", "variance")
        inputs = {"x": image, **dict.fromkeys(names, task.x_shape[-1:])}
        return _onnx_model(task.name, _onnx_normalization(task), inputs, {"y": image})
    if task.geometry is not None:
        nodes = _channels_first(task, _onnx_pooling(task, task.geometry), "y_first")
        return _onnx_model(task.name, nodes, {"x": image}, {"y": ("N", *task.y_shape[1:])})
    inputs = {"x": image, **{step.kernel: step.given for step in task.steps}}
    if task.steps[-1].use_bias:
        inputs["bias"] = task.y_shape[-1:]
    nodes, name = [], "x_first"
    for step in task.steps:
        nodes += _onnx_convolution(name, step)
        name = f"{step.kernel}_output"
    nodes = _channels_first(task, nodes, name)
    return _onnx_model(task.name, nodes, inputs, {"y": ("N", *task.y_shape[1:])})


def _axes(g: Geometry) -> Axes:
    s, d, size, padding = map(np.array, (g.strides, g.dilation_rate, g.input_size, g.padding))
    ke = np.array(effective_size(g.kernel_size, g.dilation_rate))
    reach = (np.array(g.output_size) - 1) * s + ke
    return Axes(s, d, ke, padding, size, reach, size + padding.sum(axis=-1) - reach)


def _torch_convolution(x: str, step: Step) -> str:
    s, d, _, padding, size, reach, spare = _axes(step.geometry)
    rank, (before, after) = len(s), padding.T
    kernel = f"{step.kernel}{_reshaped(step)}.permute{(rank + 1, rank, *range(rank))}"
    bias = "bias" if step.use_bias else "None"
    common, cut = np.minimum(before, after), ""
    if not step.transposed:
        if (before != after).any():
            # conv pads both sides alike; pad takes the zeros of the last axis first.
            x, common = _call("torch.nn.functional.pad", x, padding[::-1].ravel()), 0 * common
        function, zeros = f"torch.nn.functional.conv{rank}d", {"padding": common}
        channels, pixels = step.shape[-2] * step.groups, step.geometry.input_size
    else:
        # Pixels to cut off behind, beyond those of both sides, are first not added there.
        added = np.maximum(spare - (after - common), 0)
        function = f"torch.nn.functional.conv_transpose{rank}d"
        zeros = {"padding": common, "output_padding": added}
        cut = _cut(":, :", before - common, size, reach - 2 * common + added)
        channels, pixels = step.shape[-1], step.geometry.output_size
    if channels == 1 or set(pixels) == {1}:
        # Strides that fit channels first and channels last alike: PyTorch mistakes them on CPUs.
        x += ".clone(memory_format=torch.contiguous_format)"
    options = {"stride": s, **zeros, "dilation": d, "groups": step.groups}
    return _call(function, x, kernel, bias, **options) + cut


def _torch_normalization(task: Task) -> str:
    values, training = math.prod(task.x_shape[:-1]), f"training={task.training}"
    averages = ("statistics.mean", "statistics.variance")
    if task.training:
        if values == 1:
            raise ValueError(
                f"x_shape must have more than one value per channel for training in PyTorch, whose "
                f"batch_norm refuses one, got {task.x_shape}; batchnorm itself returns beta there"
            )
        averages = ("None", "None")
        training = (
            "# Moving averages: momentum=0.1 of torch.nn.BatchNorm is the weight of the new, and\n"
            "# its variance is unbiased. batchnorm.update does the same with momentum=0.9 and\n"
            f"# sample_size={values}.\n{training}"
        )
    arrays = ("x.movedim(-1, 1)", *averages, "gamma", "beta")
    y = _call("torch.nn.functional.batch_norm", *arrays, training, eps=task.epsilon)
    return f"{y}.movedim(1, -1)"


def _torch_pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = _axes(geometry)
    k, (before, after) = np.array(geometry.kernel_size), padding.T
    x, options = "x.movedim(-1, 1)", {"kernel_size": k, "stride": s, "padding": before}
    # PyTorch pads both sides alike, by at most half a window.
    apart = (before != after).any() or (before > k // 2).any()
    zeros = padding[::-1].ravel()  # those of the last axis first
    if apart:
        options["padding"] = 0 * before
    if task.name == "max_pooling":
        if apart:
            x = _call("torch.nn.functional.pad", x, zeros, value=LEAST)
        y = _call(f"torch.nn.functional.max_pool{len(s)}d", x, **options, dilation=d)
        return f"{y}.movedim(1, -1)"

    def mean(image: str) -> str:
        padded = _call("torch.nn.functional.pad", image, zeros) if apart else image
        counted = {"count_include_pad": apart or task.count_padding}
        return _call(f"torch.nn.functional.avg_pool{len(s)}d", padded, **options, **counted)

    y = mean(x)
    if apart and not task.count_padding:
        y = _divided(y, mean("torch.ones_like(x[:1, ..., :1]).movedim(-1, 1)"))
    return f"{y}.movedim(1, -1)"


def _keras_convolution(x: str, step: Step) -> str:
    s, d, ke, padding, size, reach, _ = _axes(step.geometry)
    kernel = step.kernel
    if step.given != step.shape:
        kernel = _call("keras.ops.reshape", kernel, step.shape)
    options = {"strides": s, "padding": '"valid"', "data_format": '"channels_last"'}
    options["dilation_rate"] = d
    if not step.transposed:
        # Keras sees the groups by the shapes: C_in over the input channels of the kernel.
        return _call("keras.ops.conv", _keras_padded(x, padding), kernel, **options)
    if step.groups == 1:
        y = _call("keras.ops.conv_transpose", x, kernel, **options)
    else:
        part = _call("keras.ops.conv_transpose", "*pair", **options)
        parts = (_call("keras.ops.split", a, step.groups, axis=-1) for a in (x, kernel))
        every = f"for pair in {_call('zip', *parts)}"
        y = _call("keras.ops.concatenate", _bracketed("[", [part, every], "]", ""), axis=-1)
    # Behind the last stamp Keras leaves pixels only where a stride is larger than its kernel.
    sizes = reach + np.maximum(s - ke, 0)
    starts = np.minimum(padding[:, 0], sizes)
    kept = np.minimum(size, sizes - starts)
    missing = np.stack([0 * kept, size - kept], axis=-1)
    return _keras_padded(y + _cut(":", starts, kept, sizes), missing)


def _keras_padded(x: str, pairs: Array, **value: str) -> str:
    zeros = np.pad(pairs, ((1, 1), (0, 0)))
    return _call("keras.ops.pad", x, zeros, **value) if zeros.any() else x


def _keras_pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = _axes(geometry)
    options = {"pool_size": np.array(geometry.kernel_size), "strides": s, "padding": '"valid"'}
    options["data_format"] = '"channels_last"'
    if task.name == "max_pooling":
        x = _keras_padded("x", padding, constant_values=LEAST)
        if (d == 1).all():
            return _call("keras.ops.max_pool", x, **options)
        return _keras_dilated_maximum(x, geometry)

    def mean(image: str) -> str:
        return _call("keras.ops.average_pool", _keras_padded(image, padding), **options)

    if task.count_padding or not padding.any():
        return mean("x")
    return _divided(mean("x"), mean("keras.ops.ones_like(x[:1, ..., :1])"))


def _keras_dilated_maximum(x: str, geometry: Geometry) -> str:
    # Keras's windows have no holes: the maximum of the taps, one shifted image for each.
    names, shifts, loops = "ijk"[: len(geometry.strides)], [], []
    for name, (_, k, s, d, _, n) in zip(names, geometry.axes(), strict=True):
        shifts.append(f"{name} : {name} + {(n - 1) * s + 1} : {s}")
        loops.append(f"for {name} in range(0, {k * d}, {d})")
    taps = [f"{x}[:, {', '.join(shifts)}]", *loops]
    stacked = _call("keras.ops.stack", _bracketed("[", taps, "]", ""))
    return _call("keras.ops.max", stacked, axis=0)


def _divided(mean: str, share: str) -> str:
    # The mean with the zeros, by the mean of ones with them: the share of pixels that are there
    lines = indent(f"{mean}\n/ {share}", "    ")
    return f"(\n{lines}\n)"


def _keras_normalization(task: Task) -> str:
    averages = ["statistics.mean", "statistics.variance"]
    if task.training:
        averages = [_call(f"keras.ops.{name}", "x", axis=task.axes) for name in ("mean", "var")]
    options = {"axis": -1, "offset": "beta", "scale": "gamma", "epsilon": task.epsilon}
    return _call("keras.ops.batch_normalization", "x", *averages, **options)


def _jax_convolution(x: str, step: Step) -> str:
    strides, d, ke, padding, _, _, spare = _axes(step.geometry)
    kernel, groups, inflation = (
        f"{step.kernel}{_reshaped(step)}",
        step.groups,
        np.ones_like(strides),
    )
    if step.transposed:
        strides, inflation = inflation, strides
        padding = ke[:, None] - 1 - padding
        padding[:, 1] += spare
        kernel += f"[{', '.join(['::-1'] * len(strides))}]"
        if groups == 1:
            kernel += ".swapaxes(-1, -2)"
        else:
            # (…, C_out / groups, C_in) -> (…, C_in / groups, C_out), group by group
            *size, outputs, inputs = step.shape
            kernel += f".reshape{(*size, outputs, groups, inputs // groups)}.swapaxes(-1, -3)"
            kernel += f".reshape{(*size, inputs // groups, outputs * groups)}"
    letters = "DHW"[-len(strides) :]
    return _call(
        "jax.lax.conv_general_dilated",
        x,
        kernel,
        window_strides=strides,
        padding=padding,
        lhs_dilation=inflation,
        rhs_dilation=d,
        dimension_numbers=f'("N{letters}C", "{letters}IO", "N{letters}C")',
        feature_group_count=groups,
    )


def _jax_pooling(task: Task, geometry: Geometry) -> str:
    s, d, _, padding, *_ = _axes(geometry)
    k = np.array(geometry.kernel_size)

    def pool(image: str, start: str, operation: str) -> str:
        return _call(
            "jax.lax.reduce_window",
            image,
            start,
            f"jax.lax.{operation}",
            window_dimensions=np.pad(k, 1, constant_values=1),
            window_strides=np.pad(s, 1, constant_values=1),
            padding=np.pad(padding, ((1, 1), (0, 0))),
            window_dilation=np.pad(d, 1, constant_values=1),
        )

    if task.name == "max_pooling":
        return pool("x", LEAST, "max")
    sums = pool("x", "0.0", "add")
    if task.count_padding or not padding.any():
        return f"{sums} / {k.prod()}"
    return _divided(sums, pool("jax.numpy.ones_like(x[:1, ..., :1])", "0.0", "add"))


def _jax_normalization(task: Task) -> str:
    mean, variance = "statistics.mean", "statistics.variance"
    if task.training:
        mean, variance = f"x.mean({task.axes})", f"x.var({task.axes})"
    return f"gamma * (x - {mean}) * jax.lax.rsqrt({variance} + {task.epsilon}) + beta"


def _onnx_convolution(x: str, step: Step) -> list[str]:
    s, d, _, padding, _, _, spare = _axes(step.geometry)
    rank, kernel, nodes = len(s), step.kernel, []
    if step.given != step.shape:
        kernel = f"{step.kernel}_reshaped"
        nodes = [
            _node("Constant", [], f"{step.kernel}_shape", value_ints=step.shape),
            _node("Reshape", [step.kernel, f"{step.kernel}_shape"], kernel),
        ]
    weight = f"{step.kernel}_first"
    nodes.append(_node("Transpose", [kernel], weight, perm=(rank + 1, rank, *range(rank))))
    added = {"output_padding": spare} if step.transposed else {}
    operator = _node(
        "ConvTranspose" if step.transposed else "Conv",
        [x, weight, "bias"] if step.use_bias else [x, weight],
        f"{step.kernel}_output",
        strides=s,
        pads=padding.T.ravel(),
        dilations=d,
        group=step.groups,
        **added,
    )
    return [*nodes, operator]


def _onnx_normalization(task: Task) -> list[str]:
    if not task.training:
        names = ["x_first", "gamma", "beta", "mean", "variance"]
        node = _node("BatchNormalization", names, "y_first", epsilon=task.epsilon)
        return _channels_first(task, [node], "y_first")
    return [
        _node("ReduceMean", ["x"], "mean", axes=task.axes),
        _node("Sub", ["x", "mean"], "centred"),
        _node("Mul", ["centred", "centred"], "squares"),
        _node("ReduceMean", ["squares"], "variance", axes=task.axes),
        _node("Constant", [], "epsilon", value_float=task.epsilon),
        _node("Add", ["variance", "epsilon"], "raised"),
        _node("Sqrt", ["raised"], "root"),
        _node("Div", ["centred", "root"], "normalized"),
        _node("Mul", ["normalized", "gamma"], "scaled"),
        _node("Add", ["scaled", "beta"], "y"),
    ]


def _onnx_pooling(task: Task, geometry: Geometry) -> list[str]:
    s, d, _, padding, _, _, spare = _axes(geometry)
    k = np.array(geometry.kernel_size)
    pads = padding.copy()
    pads[:, 1] -= np.minimum(pads[:, 1], spare)  # behind the last window ONNX Runtime wants none
    options: dict[str, Any] = {"kernel_shape": k, "strides": s, "pads": pads.T.ravel()}
    if task.name == "average_pooling":
        options["count_include_pad"] = int(task.count_padding)
        return [_node("AveragePool", ["x_first"], "y_first", **options)]
    x, nodes = "x_first", []
    if (pads >= k[:, None]).any():  # what it refuses, also where the taps lie apart
        zeros = np.pad(pads, ((2, 0), (0, 0))).T.ravel()
        nodes = [
            _node("Constant", [], "pads", value_ints=zeros),
            _node("Constant", [], "least", value_float=float("-inf")),
            _node("Pad", ["x_first", "pads", "least"], "x_padded"),
        ]
        x, options["pads"] = "x_padded", 0 * options["pads"]
    return [*nodes, _node("MaxPool", [x], "y_first", **options, dilations=d)]


def _channels_first(task: Task, nodes: list[str], output: str) -> list[str]:
    # Between x and y, channels last, nodes that make `output` of x_first, channels first
    last = len(task.axes)
    return [
        _node("Transpose", ["x"], "x_first", perm=(0, last, *range(1, last))),
        *nodes,
        _node("Transpose", [output], "y", perm=(0, *range(2, last + 1), 1)),
    ]


def _onnx_model(name: str, nodes: list[str], inputs: Shapes, outputs: Shapes) -> str:
    def infos(shapes: Shapes) -> str:
        function, kind = "onnx.helper.make_tensor_value_info", "onnx.TensorProto.FLOAT"
        written = [_call(function, json.dumps(a), kind, json.dumps(shapes[a])) for a in shapes]
        return _bracketed("[", written, "]")

    parts = (_bracketed("[", nodes, "]"), json.dumps(name), infos(inputs), infos(outputs))
    graph, opset = _call("onnx.helper.make_graph", *parts), '[onnx.helper.make_opsetid("", 17)]'
    return _call("onnx.helper.make_model", graph, opset_imports=opset, ir_version=8)


def _node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
    names = (json.dumps(operator), json.dumps(inputs), json.dumps([output]))
    written = {
        key: json.dumps(value, default=np.ndarray.tolist).replace("-Infinity", LEAST)
        for key, value in attributes.items()
    }
    return _call("onnx.helper.make_node", *names, **written)


def _task(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None,
    pointwise_kernel_shape: Shape | None,
    hyperparameters: dict[str, Any],
) -> Task:
    # Refuse what the module itself refuses, in its own words, and resolve the rest into numbers.
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
    try:
        y_shape = module.output_shape(shape, *given, **options)
    except (TypeError, ValueError) as error:
        message = str(error).replace("input_shape", "x_shape")
        raise type(error)(message.replace("depthwise_kernel_shape", "kernel_shape")) from None
    return Task(name, shape, y_shape, _steps(module, shape, y_shape, given, use_bias, options))


def _pooled(module: ModuleType, task: Task, *, pool_size: Any, **options: Any) -> Task:
    try:
        y_shape = module.output_shape(task.x_shape, pool_size, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("input_shape", "x_shape")) from None
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


def _reshaped(step: Step) -> str:
    return f".reshape{step.shape}" if step.given != step.shape else ""


def _cut(lead: str, starts: Array, wanted: Array, sizes: Array) -> str:
    # The index that takes `wanted` pixels from `starts` on, behind the axes of `lead`.
    slices = [
        ":" if count == size else f"{start or ''}:{start + count}"
        for start, count, size in zip(starts, wanted, sizes, strict=True)
    ]
    return f"[{lead}, {', '.join(slices)}]" if (wanted < sizes).any() else ""


def _call(function: str, *arguments: object, **keywords: object) -> str:
    named = [f"{name}={_written(value)}" for name, value in keywords.items()]
    return _bracketed(f"{function}(", [*map(_written, arguments), *named], ")")


def _written(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return str(value)
    return str(tuple(tuple(a) if isinstance(a, list) else a for a in value.tolist()))


def _bracketed(opening: str, parts: list[str], closing: str, comma: str = ",") -> str:
    # On one line where it fits, else one part a line.
    line = opening + f"{comma} ".join(parts) + closing
    if len(line) <= WIDTH:
        return line
    body = "".join(f"{part}{comma}\n" for part in parts)
    return f"{opening}\n{indent(body, '    ')}{closing}"
