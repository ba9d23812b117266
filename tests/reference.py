"""Write reference.npz: what PyTorch, Keras and ONNX Runtime make of the same convolutions.

Run by hand, with the packages that reference.md names; pytest does not collect it, and it knows
nothing of the library: what the library says must not end up in the file it is checked against.

    KERAS_BACKEND=jax python tests/reference.py

Every function below takes and returns channels-last images and Keras-like kernels. The transposes
stand inside the function that is differentiated, so that gradients come out in the same layout.
"""

import itertools
import json
import platform
from functools import partial
from pathlib import Path

import jax
import keras
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import helper

VERSIONS = {
    "Python": platform.python_version(),
    "NumPy": np.__version__,
    "PyTorch": torch.__version__,
    "Keras": keras.__version__,
    "JAX": jax.__version__,
    "ONNX": onnx.__version__,
    "ONNX Runtime": onnxruntime.__version__,
}
CASES = {}  # name -> role -> an array, arrays by path, or the call


def draw(rng, path, shape):
    """Draw whole numbers for whatever is convolved, so that any order of summation is exact."""
    eighths, sign = rng.integers(1, 16, shape) / 8, rng.choice([-1, 1], shape)
    match path.split("/")[-1]:
        case "variance":
            return 64 * eighths  # of the order of a convolution's
        case "mean":
            return sign * eighths
        case "gamma":
            return sign * (1 + eighths)
        case "beta":
            return sign * eighths / 8  # small, for ReLUs to be neither all open nor all shut
        case _:
            return rng.integers(-4, 5, shape).astype(float)


def nested(arrays):
    """Turn {"norms/0/beta": b} into {"norms": {"0": {"beta": b}}}."""
    tree = {}
    for path, array in arrays.items():
        *branches, leaf = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = array
    return tree


# PyTorch has channels first, and the same zeros on both sides of an axis or none: they are put in
# beforehand.


def per_axis(value, rank):
    return [value] * rank if isinstance(value, (int, str)) else value


def zeros(padding, size, kernel_size, stride, rate):
    """Say what a padding means on one axis, as (before, after); "same" by TensorFlow's rule."""
    if padding == "same":
        total = (-(-size // stride) - 1) * stride + rate * (kernel_size - 1) + 1 - size
        return max(total, 0) // 2, max(total + 1, 0) // 2
    if padding == "valid":
        return 0, 0
    return per_axis(padding, 2)


def torch_conv(x, kernel, bias=None, *, strides=1, padding="valid", dilation_rate=1, groups=1):
    rank = kernel.ndim - 2
    strides, padding, rates = (per_axis(v, rank) for v in (strides, padding, dilation_rate))
    axes = zip(padding, x.shape[1:-1], kernel.shape, strides, rates, strict=False)
    last_axis_first = [zeros(*axis) for axis in axes][::-1]
    x = F.pad(x.movedim(-1, 1), list(itertools.chain(*last_axis_first)))
    weight = kernel.permute(-1, -2, *range(rank))
    y = getattr(F, f"conv{rank}d")(x, weight, bias, strides, 0, rates, groups)
    return y.movedim(1, -1)


def torch_conv_same(x, kernel, bias=None, *, padding, dilation_rate):
    """Convolve with PyTorch's own "same", which it has for stride 1."""
    rank = kernel.ndim - 2
    weight = kernel.permute(-1, -2, *range(rank))
    operation = getattr(F, f"conv{rank}d")
    y = operation(x.movedim(-1, 1), weight, bias, padding=padding, dilation=dilation_rate)
    return y.movedim(1, -1)


def torch_unary(x, kernel, bias=None, *, strides=1):
    if kernel.ndim == 2:
        return F.linear(x, kernel.T, bias)
    return torch_conv(x, kernel, bias, strides=strides)


def torch_depthwise(x, kernel, bias=None, **hyperparameters):
    kernel = kernel.flatten(-2).unsqueeze(-2)  # (*kernel_size, 1, C * M)
    return torch_conv(x, kernel, bias, groups=x.shape[-1], **hyperparameters)


def torch_depthwise_separable(x, depthwise_kernel, pointwise_kernel, bias, **hyperparameters):
    y = torch_depthwise(x, depthwise_kernel, **hyperparameters)
    return torch_unary(y, pointwise_kernel, bias)


def torch_transposed(
    x, kernel, bias=None, *, strides, padding=0, output_padding=0, dilation_rate=1, groups=1
):
    rank = kernel.ndim - 2
    weight = kernel.permute(-1, -2, *range(rank))
    options = strides, padding, output_padding, groups, dilation_rate
    y = getattr(F, f"conv_transpose{rank}d")(x.movedim(-1, 1), weight, bias, *options)
    return y.movedim(1, -1)


def torch_batchnorm(x, gamma=None, beta=None, statistics=None, *, epsilon):
    mean, variance = statistics.values() if statistics else (None, None)
    x = x.movedim(-1, 1)
    y = F.batch_norm(x, mean, variance, gamma, beta, training=not statistics, eps=epsilon)
    return y.movedim(1, -1)


def torch_moved(given, moving, **_):
    """Average the statistics in PyTorch's way: its momentum is the weight of the new ones."""
    moved = {path: torch.tensor(array) for path, array in moving.items()}
    x = torch.tensor(given["x"]).movedim(-1, 1)
    F.batch_norm(x, *moved.values(), training=True, momentum=0.1)  # writes into moved
    return moved


def torch_relu(x):
    return F.relu(x)


def torch_max_pooling(x, *, pool_size, strides=None, padding=0, dilation_rate=1):
    operation = getattr(F, f"max_pool{x.ndim - 2}d")
    return operation(x.movedim(-1, 1), pool_size, strides, padding, dilation_rate).movedim(1, -1)


def torch_average_pooling(x, *, pool_size, strides=None, padding=0, count_padding=False):
    operation = getattr(F, f"avg_pool{x.ndim - 2}d")
    options = {"count_include_pad": count_padding}
    return operation(x.movedim(-1, 1), pool_size, strides, padding, **options).movedim(1, -1)


def torch_global(name, x, *, pool_size):
    """Pool the whole image, which is what a pool size of None stands for here."""
    assert pool_size is None
    operation = getattr(F, f"adaptive_{name}_pool{x.ndim - 2}d")
    return operation(x.movedim(-1, 1), 1).movedim(1, -1)


def run_torch(function, given, rng):
    """Return y, a random dy and the gradients; PyTorch has none for moving statistics."""
    leaves = {
        path: torch.tensor(array, requires_grad=not path.startswith("statistics"))
        for path, array in given.items()
    }
    y = function(**nested(leaves))
    dy = draw(rng, "dy", y.shape)
    y.backward(torch.tensor(dy))
    gradients = {path: leaf.grad for path, leaf in leaves.items() if leaf.requires_grad}
    return {"y": y.detach(), "dy": dy, "gradient": gradients}


# Keras, on JAX, has this library's layout.


def keras_through(layer, x, *weights):
    """Call a layer with these weights rather than its own."""
    layer.build(x.shape)
    y, _ = layer.stateless_call([weight for weight in weights if weight is not None], [], x)
    return y


def keras_conv(x, kernel, bias=None, **hyperparameters):
    *kernel_size, _, filters = kernel.shape
    make = getattr(keras.layers, f"Conv{len(kernel_size)}D")
    layer = make(filters, kernel_size, use_bias=bias is not None, **hyperparameters)
    return keras_through(layer, x, kernel, bias)


def keras_conv_operation(x, kernel, **hyperparameters):
    """Convolve with strides and dilation together, which the layers refuse."""
    return keras.ops.conv(x, kernel, **hyperparameters)


def keras_depthwise(x, kernel, bias=None, **hyperparameters):
    *kernel_size, _, multiplier = kernel.shape
    make = getattr(keras.layers, f"DepthwiseConv{len(kernel_size)}D")
    options = {"depth_multiplier": multiplier, "use_bias": bias is not None}
    layer = make(kernel_size, **options, **hyperparameters)
    return keras_through(layer, x, kernel, bias)


def keras_depthwise_separable(x, depthwise_kernel, pointwise_kernel, bias=None, **hyperparameters):
    *kernel_size, _, multiplier = depthwise_kernel.shape
    make = getattr(keras.layers, f"SeparableConv{len(kernel_size)}D")
    layer = make(
        pointwise_kernel.shape[-1],
        kernel_size,
        depth_multiplier=multiplier,
        use_bias=bias is not None,
        **hyperparameters,
    )
    return keras_through(layer, x, depthwise_kernel, pointwise_kernel, bias)


def keras_transposed(x, kernel, bias=None, *, output_padding=None, **hyperparameters):
    *kernel_size, filters, _ = kernel.shape
    if output_padding is not None and hyperparameters["padding"] == "same":
        # Keras counts from (size - 1) * stride + kernel_size % 2, not from the least legal size.
        pairs = zip(output_padding, kernel_size, strict=True)
        output_padding = [p + 1 - k % 2 for p, k in pairs]
    make = getattr(keras.layers, f"Conv{len(kernel_size)}DTranspose")
    layer = make(
        filters,
        kernel_size,
        output_padding=output_padding,
        use_bias=bias is not None,
        **hyperparameters,
    )
    return keras_through(layer, x, kernel, bias)


def keras_transposed_by_default(*, output_padding, **arguments):
    """Leave the output padding to Keras, which is to choose this one."""
    return keras_transposed(**arguments)


def keras_batchnorm(x, gamma=None, beta=None, statistics=None, *, epsilon):
    """Normalize by operations: in float64 the layer computes in float32."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = statistics.values() if statistics else keras.ops.moments(x, axes)
    return keras.ops.batch_normalization(x, mean, variance, -1, beta, gamma, epsilon)


def keras_moved(given, moving, **_):
    """Average the statistics in Keras's way: its momentum is the weight of the old ones."""
    layer = keras.layers.BatchNormalization(
        momentum=0.99, scale=False, center=False, dtype="float32"
    )
    layer.build(given["x"].shape)
    _, moved = layer.stateless_call([], list(moving.values()), given["x"], training=True)
    return dict(zip(moving, moved, strict=True))


def keras_relu(x):
    return keras.ops.relu(x)


def keras_pooling(kind, x, *, pool_size, **options):
    return getattr(keras.layers, f"{kind}Pooling{x.ndim - 2}D")(pool_size, **options)(x)


def run_keras(function, given, rng):
    """Return y, a random dy and the gradients."""

    def of(*leaves):  # positional, since JAX would sort a dictionary
        return function(**nested(dict(zip(given, leaves, strict=True))))

    y, pull_back = jax.vjp(of, *given.values())
    dy = draw(rng, "dy", y.shape)
    return {"y": y, "dy": dy, "gradient": dict(zip(given, pull_back(dy), strict=True))}


# ONNX Runtime has channels first; forward only, and float32 but for batch normalization.


def onnx_node(operator, *inputs, **attributes):
    """Run a model of one node."""
    names = [f"input{i}" for i in range(len(inputs))]
    given = dict(zip(names, inputs, strict=True))
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    value_info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        operator,
        [value_info(name, kind, array.shape) for name, array in given.items()],
        [value_info("y", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, given)[0]


def onnx_conv(x, kernel, bias=None, *, operator="Conv", padding, groups=1, **hyperparameters):
    rank = kernel.ndim - 2
    names = {"strides": "strides", "dilation_rate": "dilations", "output_padding": "output_padding"}
    attributes = {names[name]: value for name, value in hyperparameters.items()}
    if padding == "same":
        attributes["auto_pad"] = "SAME_UPPER"
    else:
        attributes["pads"] = [before for before, _ in padding] + [after for _, after in padding]
    y = onnx_node(
        operator,
        np.moveaxis(x, -1, 1),
        kernel.transpose(-1, -2, *range(rank)),
        *([] if bias is None else [bias]),
        group=groups,
        **attributes,
    )
    return np.moveaxis(y, 1, -1)


def onnx_depthwise(x, kernel, bias=None, **hyperparameters):
    kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return onnx_conv(x, kernel, bias, groups=x.shape[-1], **hyperparameters)


def onnx_batchnorm(x, gamma, beta, statistics, *, epsilon):
    weights = gamma, beta, *statistics.values()
    y = onnx_node("BatchNormalization", np.moveaxis(x, -1, 1), *weights, epsilon=epsilon)
    return np.moveaxis(y, 1, -1)


def onnx_pooling(operator, x, *, pool_size, strides, padding, dilation_rate=None, **counted):
    attributes = {"kernel_shape": pool_size, "strides": strides}
    if padding == "same":
        attributes["auto_pad"] = "SAME_UPPER"
    else:
        attributes["pads"] = [before for before, _ in padding] + [after for _, after in padding]
    if dilation_rate:
        attributes["dilations"] = dilation_rate
    if operator == "AveragePool":
        attributes["count_include_pad"] = int(counted["count_padding"])
    return np.moveaxis(onnx_node(operator, np.moveaxis(x, -1, 1), **attributes), 1, -1)


def run_onnx(function, given, rng):
    """Return y alone."""
    return {"y": function(**nested(given))}


# The residual block, out of any framework's convolution, batch normalization and ReLU.


def residual(
    conv, batchnorm, relu, x, parameters, statistics=None, *, variant, strides=1, epsilon=1e-3
):
    """Add a branch to a shortcut; strides act on the branch's first kernel larger than 1×1."""
    kernels = list(parameters["kernels"].values())
    norms = [tuple(norm.values()) for norm in parameters["norms"].values()]
    if "projection_norm" in parameters:
        norms.append(tuple(parameters["projection_norm"].values()))
    known = list(statistics.values()) if statistics else [None] * len(norms)
    strided = next(i for i, kernel in enumerate(kernels) if max(kernel.shape[:-2]) > 1)

    def normalize(z, i):
        return batchnorm(z, *norms[i], known[i], epsilon=epsilon)

    branch = x
    for i, kernel in enumerate(kernels):
        if variant == "preactivation":
            branch = relu(normalize(branch, i))
        branch = conv(branch, kernel, padding="same", strides=strides if i == strided else 1)
        if variant != "preactivation":
            branch = normalize(branch, i)
            if variant == "normalized_sum" or i + 1 < len(kernels):
                branch = relu(branch)
    shortcut = x
    if "projection" in parameters:
        shortcut = conv(x, parameters["projection"], padding="same", strides=strides)
    if "projection_norm" in parameters:
        shortcut = normalize(shortcut, -1)
    y = shortcut + branch
    if variant == "original":
        return relu(y)
    if variant == "normalized_sum":
        return relu(normalize(y, len(kernels)))
    return y


torch_residual = partial(residual, torch_conv, torch_batchnorm, torch_relu)
keras_residual = partial(residual, keras_conv, keras_batchnorm, keras_relu)


def keras_residual_moved(given, moving, **hyperparameters):
    """Average an original block's statistics, which it uses in the order they are listed in."""
    moving, moved = nested(moving), {}

    def batchnorm(x, gamma, beta, _, *, epsilon):
        i = str(len(moved))
        moved[i] = keras_moved({"x": x}, moving[i])
        return keras_batchnorm(x, gamma, beta, epsilon=epsilon)

    residual(keras_conv, batchnorm, keras_relu, **given, **hyperparameters)
    return {f"{i}/{name}": array for i, one in moved.items() for name, array in one.items()}


# What is recorded.

RUN = {"torch": run_torch, "keras": run_keras, "onnx": run_onnx}


def case(name, function, shapes, **hyperparameters):
    """Record what the function makes of random arrays of these shapes."""
    module, framework, _ = name.split("-", 2)
    rng = np.random.default_rng(list(name.encode()))
    given = {path: draw(rng, path, shape) for path, shape in shapes.items()}
    function = partial(function, **hyperparameters)
    record = CASES[name] = {"call": {"module": module, "hyperparameters": hyperparameters}}
    if framework == "onnx" and "pooling" in module:
        given["x"] = given["x"].astype(np.float32)
    if framework == "onnx" and "kernel" in given:
        given = {path: (array / 10).astype(np.float32) for path, array in given.items()}
        record["scale"] = function(**{path: abs(array) for path, array in given.items()})
    record |= {"given": given} | RUN[framework](function, given, rng)


def moved(name, average, shapes, **update):
    """Record moving statistics before and after they meet the batch of a recorded case."""
    rng = np.random.default_rng(list(name.encode()))
    moving = {path: draw(rng, path, shape) for path, shape in shapes.items()}
    record = CASES[name]
    given, hyperparameters = nested(record["given"]), record["call"]["hyperparameters"]
    after = average(given, moving, **hyperparameters)
    before = {path: np.asarray(moving[path], np.asarray(after[path]).dtype) for path in after}
    record |= {"moving": before, "moved": after}
    record["call"]["update"] = update


def linear(group, function, name, x, kernel, bias=None, **hyperparameters):
    shapes = {"x": x, "kernel": kernel} | ({"bias": bias} if bias else {})
    case(f"{group}-{name}", function, shapes, **hyperparameters)


def convolutions():
    torch = partial(linear, "conv-torch", torch_conv)
    torch("valid", (2, 7, 6, 3), (3, 2, 3, 4), 4)
    torch("strided-padded", (2, 7, 6, 3), (3, 2, 3, 4), strides=[2, 3], padding=1)
    torch("asymmetric", (2, 7, 6, 3), (2, 4, 3, 2), strides=[2, 1], padding=[[1, 2], [0, 3]])
    both = {"strides": [3, 2], "dilation_rate": [2, 3]}
    torch("strided-dilated", (2, 9, 8, 2), (3, 2, 2, 3), 3, padding=[[2, 0], 1], **both)
    torch("groups", (2, 6, 5, 6), (2, 3, 3, 4), 4, strides=[1, 2], padding=[2, 1], groups=2)
    torch("kernel-below-stride", (1, 8, 9, 2), (2, 1, 2, 3), strides=[3, 4])
    torch("1d", (2, 11, 3), (4, 3, 2), 2, strides=2, dilation_rate=3, padding=[[1, 2]])
    axes = {"strides": [1, 2, 2], "dilation_rate": [2, 1, 3], "padding": [1, [0, 2], [2, 1]]}
    torch("3d", (1, 5, 4, 6, 2), (2, 3, 2, 2, 3), 3, **axes)

    keras = partial(linear, "conv-keras", keras_conv, padding="same")
    keras("same-even", (2, 5, 6, 3), (2, 4, 3, 2), 2)
    keras("same-strided-even", (2, 7, 6, 3), (4, 2, 3, 2), 2, strides=[2, 3])
    keras("same-dilated-even", (2, 7, 6, 3), (2, 4, 3, 2), dilation_rate=[3, 2])
    keras("same-kernel-below-stride", (2, 7, 9, 2), (1, 2, 2, 3), strides=[3, 4])
    keras("same-kernel-beyond-image", (2, 4, 3, 2), (4, 3, 2, 3), dilation_rate=[2, 3])
    keras("same-groups", (2, 6, 5, 4), (3, 2, 2, 6), 6, strides=[1, 2], groups=2)
    keras("same-1d", (2, 10, 3), (4, 3, 2), strides=3)
    keras("same-3d", (1, 4, 5, 3, 2), (2, 3, 4, 2, 2), 2, strides=[2, 1, 3])
    operation = partial(linear, "conv-keras", keras_conv_operation, padding="same")
    operation("same-strided-dilated", (2, 9, 8, 2), (2, 4, 2, 3), **both)
    keras = partial(linear, "conv-keras", keras_conv, padding="causal")
    keras("causal", (2, 7, 3), (3, 3, 2), 2)
    keras("causal-strided", (2, 9, 3), (4, 3, 2), strides=2)
    keras("causal-dilated-groups", (2, 8, 4), (2, 2, 6), 6, dilation_rate=3, groups=2)

    onnx = partial(linear, "conv-onnx", onnx_conv)
    onnx("same-strided-even", (2, 7, 6, 3), (4, 2, 3, 2), 2, padding="same", strides=[2, 3])
    onnx("same-kernel-below-stride", (2, 7, 9, 2), (1, 2, 2, 3), padding="same", strides=[3, 4])
    onnx("same-3d", (1, 5, 4, 3, 2), (2, 4, 3, 2, 2), padding="same", strides=[2, 3, 1])
    axes = {"strides": [2, 1], "dilation_rate": [1, 2], "padding": [[0, 2], [3, 1]]}
    onnx("asymmetric-groups", (2, 6, 7, 4), (3, 2, 2, 6), 6, groups=2, **axes)
    onnx("1d", (2, 12, 3), (5, 3, 2), 2, strides=[2], padding=[[4, 1]])


def unary_convolutions():
    torch = partial(linear, "unary-torch", torch_unary)
    torch("strided", (2, 5, 6, 3), (1, 1, 3, 4), 4, strides=[2, 3])
    torch("matrix-3d", (1, 2, 4, 3, 3), (3, 2), 2)
    keras = partial(linear, "unary-keras", keras_conv)
    keras("1d-strided", (2, 7, 3), (1, 3, 4), strides=3)


def depthwise_convolutions():
    torch = partial(linear, "depthwise-torch", torch_depthwise)
    torch("asymmetric", (2, 6, 5, 3), (2, 3, 3, 1), 3, padding=[[2, 0], [1, 3]])
    both = {"strides": [2, 3], "dilation_rate": [3, 2]}
    torch("multiplier-strided-dilated", (2, 8, 9, 3), (2, 3, 3, 2), 6, padding=[1, 2], **both)
    torch("multiplier-3d", (1, 4, 3, 5, 2), (2, 1, 3, 2, 3), strides=[2, 1, 2])
    keras = partial(linear, "depthwise-keras", keras_depthwise, padding="same")
    keras("multiplier-same-strided", (2, 7, 6, 3), (4, 2, 3, 2), 6, strides=[2, 3])
    keras("same-dilated", (2, 6, 7, 3), (3, 2, 3, 1), dilation_rate=[2, 3])
    keras("multiplier-same-1d", (2, 9, 2), (4, 2, 3), 6, strides=2)
    onnx = partial(linear, "depthwise-onnx", onnx_depthwise, padding="same")
    onnx("multiplier-same-strided", (2, 6, 7, 3), (2, 4, 3, 2), 6, strides=[2, 3])


def depthwise_separable_convolutions():
    def separable(name, function, *shapes, **hyperparameters):
        names = "x", "depthwise_kernel", "pointwise_kernel", "bias"
        shapes = dict(zip(names, shapes, strict=False))
        case(f"depthwise_separable-{name}", function, shapes, **hyperparameters)

    torch, keras = torch_depthwise_separable, keras_depthwise_separable
    options = {"strides": [2, 1], "dilation_rate": [1, 2], "padding": [[0, 2], [1, 0]]}
    separable("torch-asymmetric", torch, (2, 7, 6, 3), (2, 3, 3, 2), (1, 1, 6, 4), 4, **options)
    options = {"strides": [2, 3], "padding": "same"}
    separable("keras-same-strided", keras, (2, 6, 7, 3), (4, 3, 3, 2), (1, 1, 6, 2), 2, **options)
    options = {"dilation_rate": 3, "padding": "same"}
    separable("keras-same-1d-dilated", keras, (2, 9, 3), (2, 3, 1), (1, 3, 4), **options)
    separable("keras-valid", keras, (2, 5, 6, 2), (2, 3, 2, 3), (1, 1, 6, 3))


def transposed_convolutions():
    torch = partial(linear, "transposed-torch", torch_transposed)
    for extra in itertools.product(range(2), range(3)):
        options = {"strides": [2, 3], "padding": [1, 0], "output_padding": extra}
        torch("output-padding-{}-{}".format(*extra), (2, 3, 2, 3), (3, 2, 2, 3), 2, **options)
    options = {"strides": 3, "padding": 2, "dilation_rate": 2, "groups": 2}
    for extra in range(3):
        name = f"groups-dilated-output-padding-{extra}"
        torch(name, (2, 4, 6), (4, 2, 6), 4, output_padding=extra, **options)
    options = {"strides": [2, 1, 3], "dilation_rate": [1, 3, 2], "output_padding": [1, 0, 2]}
    torch("3d-dilated", (1, 3, 2, 2, 2), (2, 2, 3, 3, 2), padding=[0, 1, 2], **options)

    keras = partial(linear, "transposed-keras", keras_transposed, padding="valid")
    keras("valid", (2, 4, 3, 3), (3, 4, 2, 3), 2, strides=[2, 3])
    keras("valid-dilated", (2, 4, 3, 3), (3, 2, 2, 3), dilation_rate=[2, 3])
    default = partial(linear, "transposed-keras", keras_transposed_by_default, padding="valid")
    below = {"strides": [3, 2], "output_padding": [1, 1]}
    default("valid-kernel-below-stride", (2, 3, 4, 2), (2, 1, 3, 2), **below)
    keras = partial(linear, "transposed-keras", keras_transposed, padding="same")
    keras("same-odd", (2, 4, 3, 3), (3, 5, 2, 3), 2, strides=[2, 3])
    keras("same-even", (2, 3, 4, 2), (4, 2, 3, 2), strides=[3, 2])
    keras("same-kernel-below-stride", (2, 3, 4, 2), (2, 1, 3, 2), strides=[3, 2])
    keras("same-output-padding", (2, 3, 4, 2), (4, 3, 3, 2), strides=[3, 2], output_padding=[1, 0])
    keras("same-1d-dilated", (2, 7, 3), (4, 2, 3), 2, dilation_rate=2)
    keras("same-3d", (1, 2, 3, 2, 2), (3, 2, 4, 3, 2), 3, strides=[2, 1, 3])

    onnx = partial(linear, "transposed-onnx", partial(onnx_conv, operator="ConvTranspose"))
    onnx("same", (2, 3, 4, 2), (3, 4, 2, 2), padding="same", strides=[2, 3])
    options = {"strides": [2, 3], "dilation_rate": [2, 1], "output_padding": [1, 2], "groups": 2}
    onnx("asymmetric-groups", (2, 3, 4, 4), (2, 4, 3, 4), 6, padding=[[0, 2], [1, 0]], **options)


def dilated_convolutions():
    torch = partial(linear, "dilated-torch", torch_conv)
    both = {"strides": [2, 1], "dilation_rate": [2, 3]}
    torch("groups", (2, 8, 7, 4), (3, 2, 2, 6), 6, padding=[[2, 1], 3], groups=2, **both)
    torch = partial(linear, "dilated-torch", torch_conv_same, padding="same")
    torch("same-even", (2, 7, 6, 3), (4, 2, 3, 2), 2, dilation_rate=[2, 3])
    keras = partial(linear, "dilated-keras", keras_conv)
    keras("same-even", (2, 6, 8, 3), (2, 4, 3, 2), 2, padding="same", dilation_rate=[3, 2])
    keras("causal", (2, 8, 3), (3, 3, 2), padding="causal", dilation_rate=4)
    # Recorded without hyperparameters: these are the defaults that `dilated` promises.
    by_default = partial(keras_conv, padding="same", dilation_rate=2)
    linear("dilated-keras", by_default, "defaults", (2, 5, 6, 2), (3, 2, 2, 3), 3)


def affine(path, channels):
    return {f"{path}gamma": channels, f"{path}beta": channels}


def statistics(path, channels):
    return {f"{path}mean": channels, f"{path}variance": channels}


def batch_normalizations():
    keras, torch, onnx = keras_batchnorm, torch_batchnorm, onnx_batchnorm
    training = {"x": (2, 4, 3, 3)} | affine("", 3)
    inference = training | statistics("statistics/", 3)
    case("batchnorm-torch-training", torch, training, epsilon=1e-5)
    moved("batchnorm-torch-training", torch_moved, statistics("", 3), momentum=0.9, sample_size=24)
    case("batchnorm-torch-training-plain", torch, {"x": (1, 2, 3, 2, 3)}, epsilon=1e-5)
    case("batchnorm-torch-inference", torch, inference, epsilon=1e-5)
    case("batchnorm-keras-training", keras, training, epsilon=1e-3)
    moved("batchnorm-keras-training", keras_moved, statistics("", 3), momentum=0.99)
    case("batchnorm-keras-training-no-gamma", keras, {"x": (7, 3), "beta": 3}, epsilon=0.5)
    case("batchnorm-keras-inference", keras, inference, epsilon=1e-3)
    no_beta = {"x": (2, 5, 3), "gamma": 3} | statistics("statistics/", 3)
    case("batchnorm-keras-inference-no-beta", keras, no_beta, epsilon=1e-3)
    case("batchnorm-onnx-inference", onnx, inference, epsilon=1e-5)


def activations():
    case("relu-torch-with-zeros", torch_relu, {"x": (2, 4, 3, 2)})
    case("relu-keras-with-zeros", keras_relu, {"x": (3, 5)})


def poolings():
    def pooling(name, function, x, **options):
        case(name, function, {"x": x}, **options)

    for kind, module in (("Max", "max_pooling"), ("Average", "average_pooling")):
        torch = torch_max_pooling if kind == "Max" else torch_average_pooling
        # Whole numbers from -4 to 4: in most windows several pixels are the largest.
        pooling(f"{module}-torch-2d", torch, (2, 7, 6, 3), pool_size=[3, 2], strides=2, padding=1)
        pooling(f"{module}-torch-default", torch, (2, 7, 9, 2), pool_size=[2, 3])
        pooling(f"{module}-torch-1d", torch, (2, 11, 3), pool_size=4, strides=3, padding=2)
        options = {"pool_size": [2, 3, 2], "strides": [1, 2, 3], "padding": [1, 0, 1]}
        pooling(f"{module}-torch-3d", torch, (1, 4, 5, 6, 2), **options)
        whole = partial(torch_global, "max" if kind == "Max" else "avg")
        pooling(f"{module}-torch-global", whole, (2, 5, 4, 3), pool_size=None)
        keras = partial(keras_pooling, kind)
        same = {"padding": "same"}
        pooling(f"{module}-keras-same", keras, (2, 7, 6, 2), pool_size=3, strides=2, **same)
        pooling(f"{module}-keras-same-even", keras, (2, 5, 8, 2), pool_size=[2, 4], **same)
        pooling(f"{module}-keras-valid-1d", keras, (2, 9, 3), pool_size=3, strides=2)
        options = {"pool_size": [2, 3, 1], "strides": [2, 1, 3], **same}
        pooling(f"{module}-keras-same-3d", keras, (1, 3, 4, 5, 2), **options)

    rates = {"pool_size": [3, 2], "strides": [1, 2], "padding": [1, 1], "dilation_rate": [2, 3]}
    pooling("max_pooling-torch-dilated", torch_max_pooling, (2, 7, 8, 3), **rates)
    counted = {"pool_size": 3, "strides": 2, "padding": 1, "count_padding": True}
    pooling("average_pooling-torch-counted", torch_average_pooling, (2, 7, 6, 3), **counted)

    sides = {"pool_size": [3, 2], "strides": [2, 2], "padding": [[0, 2], [1, 0]]}
    rates = {"pool_size": [2, 2], "strides": [1, 2], "padding": [[1, 0], [1, 1]]}
    onnx = partial(onnx_pooling, "MaxPool")
    pooling("max_pooling-onnx-asymmetric", onnx, (2, 7, 6, 3), **sides)
    pooling("max_pooling-onnx-dilated", onnx, (2, 7, 6, 3), **rates, dilation_rate=[2, 3])
    onnx = partial(onnx_pooling, "AveragePool")
    pooling("average_pooling-onnx-asymmetric", onnx, (2, 7, 6, 3), **sides, count_padding=False)
    pooling("average_pooling-onnx-counted", onnx, (2, 7, 6, 3), **sides, count_padding=True)
    options = {"pool_size": [3, 2], "strides": [2, 2], "padding": "same", "count_padding": False}
    pooling("average_pooling-onnx-same", onnx, (2, 7, 6, 3), **options)


def residual_blocks():
    def block(name, run, x, *kernels, projection=None, norm=False, known=False, **options):
        incoming, outgoing = ([kernel[i] for kernel in kernels] for i in (-2, -1))
        norms = {
            "original": outgoing,
            "preactivation": incoming,
            "normalized_sum": [*outgoing, outgoing[-1]],
        }[options["variant"]]
        shapes = {"x": x} | {f"parameters/kernels/{i}": k for i, k in enumerate(kernels)}
        for i, channels in enumerate(norms):
            shapes |= affine(f"parameters/norms/{i}/", channels)
        if projection:
            shapes["parameters/projection"] = projection
        if norm:
            shapes |= affine("parameters/projection_norm/", outgoing[-1])
        for i, channels in enumerate(norms + outgoing[-1:] * norm):
            shapes |= statistics(f"statistics/{i}/", channels) if known else {}
        case(f"residual-{name}", run, shapes, **options)

    torch, keras = torch_residual, keras_residual
    square = (2, 5, 4, 3), (3, 2, 3, 3), (2, 3, 3, 3)
    wider = (2, 5, 4, 2), (2, 3, 2, 3), (3, 2, 3, 3)
    narrow = (2, 4, 5, 4), (1, 1, 4, 2), (3, 2, 2, 2), (1, 1, 2, 4)
    projected = {"projection": (1, 1, 2, 3), "strides": [2, 3]}
    normed = projected | {"norm": True}
    original = {"variant": "original"}
    block("torch-original", torch, *square, **original)
    block("torch-original-projected", torch, *wider, **normed, **original)
    block("torch-original-inference", torch, *wider, **normed, **original, known=True)
    pool = {"projection": (1, 1, 4, 4), "norm": True, "strides": 2}
    block("torch-original-bottleneck", torch, *narrow, **pool, **original)
    block("keras-original-projected", keras, *wider, **normed, **original)
    shapes = {}
    for i in range(3):
        shapes |= statistics(f"{i}/", 3)
    moved("residual-keras-original-projected", keras_residual_moved, shapes, momentum=0.99)

    preactivation = {"variant": "preactivation"}
    block("torch-preactivation-1d", torch, (2, 6, 3), (3, 3, 4), (2, 4, 3), **preactivation)
    block("torch-preactivation-projected", torch, *wider, **projected, **preactivation)
    block("torch-preactivation-inference", torch, *square, **preactivation, known=True)
    block("keras-preactivation-bottleneck", keras, *narrow, **preactivation)

    total = {"variant": "normalized_sum"}
    block("torch-normalized_sum", torch, *square, **total)
    block("torch-normalized_sum-projected", torch, *wider, **normed, **total)
    block("torch-normalized_sum-inference", torch, *wider, **normed, **total, known=True)


# Whole blocks as PyTorch's users write them, with weights, padding and averages as it has them.


class Block(torch.nn.Module):
    """A block with a stride of 2 on its first 3×3 convolution, and a projection."""

    def __init__(self, in_channels, widths, kernel_sizes):
        super().__init__()
        strided = kernel_sizes.index(3)
        channels = in_channels
        for i, (width, k) in enumerate(zip(widths, kernel_sizes, strict=True)):
            stride = 2 if i == strided else 1
            conv = torch.nn.Conv2d(channels, width, k, stride, padding=k // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", torch.nn.BatchNorm2d(width))
            channels = width
        self.last = len(widths) - 1
        self.projection = torch.nn.Conv2d(in_channels, channels, 1, 2, bias=False)
        self.projection_norm = torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        a = x
        for i in range(self.last + 1):
            a = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(a))
            a = a.relu() if i < self.last else a
        return (a + self.projection_norm(self.projection(x))).relu()


def stacks():
    """Record two blocks in a row in training, and then what they infer by the moved averages."""
    for name, *blocks in (
        ("basic", (3, (4, 4), (3, 3)), (4, (5, 5), (3, 3))),
        ("bottleneck", (3, (2, 2, 6), (1, 3, 1)), (6, (3, 3, 7), (1, 3, 1))),
    ):
        name = f"stack-torch-{name}"
        rng = np.random.default_rng(list(name.encode()))
        net = torch.nn.Sequential(*(Block(*block) for block in blocks)).double()
        for path, array in net.state_dict().items():
            if array.ndim:  # not the number of batches
                renamed = path.replace(".", "/").replace("running_var", "variance")
                drawn = draw(rng, renamed, tuple(array.shape))
                array.copy_(torch.from_numpy(drawn / 2 + 1 if array.ndim == 1 else drawn))
        x = torch.from_numpy(draw(rng, "x", (2, 3, 8, 7))).requires_grad_()
        before = {key: value.clone() for key, value in net.state_dict().items() if value.ndim}
        y = net(x)
        dy = torch.from_numpy(rng.normal(size=tuple(y.shape)))
        (y * dy).sum().backward()
        after = {key: value for key, value in net.named_buffers() if value.ndim}
        with torch.no_grad():
            inferred = net.eval()(x)
        gradient = {"x": x.grad} | {key: value.grad for key, value in net.named_parameters()}
        CASES[name] = {
            "call": {"stack": "torch"},
            "x": x.detach().numpy(),
            "weights": {key: value.numpy() for key, value in before.items()},
            "y": y.detach().numpy(),
            "dy": dy.numpy(),
            "gradient": {key: value.numpy() for key, value in gradient.items()},
            "moved": {key: value.numpy() for key, value in after.items()},
            "inferred": inferred.numpy(),
        }


def packed(record):
    """Pack a case into one structured scalar: an entry of its own per array would cost far more."""
    fields = {"call": np.array(json.dumps(record.pop("call")))}
    for role, value in record.items():
        paths = value.items() if isinstance(value, dict) else [("", value)]
        fields |= {f"{role}/{path}".strip("/"): np.asarray(array) for path, array in paths}
    structured = np.zeros((), [(path, a.dtype, a.shape) for path, a in fields.items()])
    for path, array in fields.items():
        structured[path] = array
    return structured


def main():
    if keras.backend.backend() != "jax":
        raise SystemExit("set KERAS_BACKEND=jax")
    jax.config.update("jax_enable_x64", True)
    keras.config.set_dtype_policy("float64")
    for record in (
        convolutions,
        unary_convolutions,
        depthwise_convolutions,
        depthwise_separable_convolutions,
        transposed_convolutions,
        dilated_convolutions,
        batch_normalizations,
        activations,
        poolings,
        residual_blocks,
        stacks,
    ):
        record()
    file = Path(__file__).with_suffix(".npz")
    cases = {name: packed(record) for name, record in CASES.items()}
    np.savez_compressed(file, versions=json.dumps(VERSIONS), **cases)
    print(f"{len(CASES)} cases, {file.stat().st_size} bytes in {file}")
    for package, version in VERSIONS.items():
        print(f"{package} {version}")


if __name__ == "__main__":
    main()
