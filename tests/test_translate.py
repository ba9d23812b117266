"""translate: the strings for other frameworks, and what they would compute."""

import ast
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import (
    batchnorm_cases,
    close,
    conv_cases,
    depthwise_cases,
    examples_run,
    pool_cases,
    same_values,
    says,
    separable_cases,
    transposed_cases,
    unary_cases,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convinsights import (
    average_pooling,
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    layouts,
    max_pooling,
    relu,
    residual,
    translate,
    transposed,
    unary,
)

FUNCTIONS = [translate.to_jax, translate.to_keras, translate.to_onnx, translate.to_torch]
FRAMEWORKS = {function: function.__name__.removeprefix("to_") for function in FUNCTIONS}
ARRAYS = {
    "x",
    "kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "bias",
    "gamma",
    "beta",
    "statistics",
}

# Function, module, shapes, hyperparameters, and the string that they make.
EXPECTED = [
    (
        translate.to_torch,
        conv,
        [(8, 28, 28, 3), (5, 5, 3, 16)],
        {"strides": 2, "padding": 2, "use_bias": True},
        """
torch.nn.functional.conv2d(
    x.movedim(-1, 1),
    kernel.permute(3, 2, 0, 1),
    bias,
    stride=(2, 2),
    padding=(2, 2),
    dilation=(1, 1),
    groups=1,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        conv,
        [(2, 9, 2), (3, 2, 4)],
        {"padding": "causal", "dilation_rate": 2},
        """
torch.nn.functional.conv1d(
    torch.nn.functional.pad(x.movedim(-1, 1), (4, 0)),
    kernel.permute(2, 1, 0),
    None,
    stride=(1,),
    padding=(0,),
    dilation=(2,),
    groups=1,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        conv,
        [(1, 8, 8, 6), (3, 4, 2, 9)],
        {"padding": "same", "strides": (2, 1), "groups": 3},
        """
torch.nn.functional.conv2d(
    torch.nn.functional.pad(x.movedim(-1, 1), (1, 2, 0, 1)),
    kernel.permute(3, 2, 0, 1),
    None,
    stride=(2, 1),
    padding=(0, 0),
    dilation=(1, 1),
    groups=3,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        conv,
        [(2, 8, 9, 1), (3, 2, 1, 3)],
        {"strides": (1, 3)},
        """
torch.nn.functional.conv2d(
    x.movedim(-1, 1).clone(memory_format=torch.contiguous_format),
    kernel.permute(3, 2, 0, 1),
    None,
    stride=(1, 3),
    padding=(0, 0),
    dilation=(1, 1),
    groups=1,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        depthwise,
        [(2, 4, 5, 6, 2), (2, 3, 1, 2, 3)],
        {"padding": [(1, 0), 1, (0, 2)]},
        """
torch.nn.functional.conv3d(
    torch.nn.functional.pad(x.movedim(-1, 1), (0, 2, 1, 1, 1, 0)),
    kernel.reshape(2, 3, 1, 1, 6).permute(4, 3, 0, 1, 2),
    None,
    stride=(1, 1, 1),
    padding=(0, 0, 0),
    dilation=(1, 1, 1),
    groups=2,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        depthwise_separable,
        [(2, 9, 9, 4), (3, 3, 4, 2), (8, 5)],
        {"padding": "same", "use_bias": True},
        """
torch.nn.functional.conv2d(
    torch.nn.functional.conv2d(
        x.movedim(-1, 1),
        depthwise_kernel.reshape(3, 3, 1, 8).permute(3, 2, 0, 1),
        None,
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=4,
    ),
    pointwise_kernel.reshape(1, 1, 8, 5).permute(3, 2, 0, 1),
    bias,
    stride=(1, 1),
    padding=(0, 0),
    dilation=(1, 1),
    groups=1,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        transposed,
        [(2, 7, 7, 8), (3, 3, 4, 8)],
        {"strides": 2, "padding": "same"},
        """
torch.nn.functional.conv_transpose2d(
    x.movedim(-1, 1),
    kernel.permute(3, 2, 0, 1),
    None,
    stride=(2, 2),
    padding=(0, 0),
    output_padding=(0, 0),
    dilation=(1, 1),
    groups=1,
)[:, :, :14, :14].movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        transposed,
        [(2, 5, 4), (3, 3, 4)],
        {"strides": 2, "padding": [(0, 2)], "groups": 2, "use_bias": True},
        """
torch.nn.functional.conv_transpose1d(
    x.movedim(-1, 1),
    kernel.permute(2, 1, 0),
    bias,
    stride=(2,),
    padding=(0,),
    output_padding=(0,),
    dilation=(1,),
    groups=2,
)[:, :, :9].movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        batchnorm,
        [(2, 6, 5, 3)],
        {"epsilon": 1e-05},
        """
torch.nn.functional.batch_norm(
    x.movedim(-1, 1),
    statistics.mean,
    statistics.variance,
    gamma,
    beta,
    training=False,
    eps=1e-05,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        batchnorm,
        [(2, 6, 5, 3)],
        {"training": True},
        """
torch.nn.functional.batch_norm(
    x.movedim(-1, 1),
    None,
    None,
    gamma,
    beta,
    # Moving averages: momentum=0.1 of torch.nn.BatchNorm is the weight of the new, and
    # its variance is unbiased. batchnorm.update does the same with momentum=0.9 and
    # sample_size=60.
    training=True,
    eps=0.001,
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        relu,
        [(2, 3)],
        {},
        """
torch.relu(x)
""",
    ),
    (
        translate.to_torch,
        max_pooling,
        [(8, 112, 112, 64)],
        {"pool_size": 3, "strides": 2, "padding": 1},
        """
torch.nn.functional.max_pool2d(
    x.movedim(-1, 1),
    kernel_size=(3, 3),
    stride=(2, 2),
    padding=(1, 1),
    dilation=(1, 1),
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        max_pooling,
        [(2, 9, 8, 3)],
        {"pool_size": (2, 3), "strides": 2, "padding": "same", "dilation_rate": (1, 2)},
        """
torch.nn.functional.max_pool2d(
    torch.nn.functional.pad(x.movedim(-1, 1), (1, 2, 0, 1), value=float("-inf")),
    kernel_size=(2, 3),
    stride=(2, 2),
    padding=(0, 0),
    dilation=(1, 2),
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        average_pooling,
        [(2, 9, 3)],
        {"pool_size": 3, "strides": 2, "padding": "causal"},
        """
(
    torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(x.movedim(-1, 1), (2, 0)),
        kernel_size=(3,),
        stride=(2,),
        padding=(0,),
        count_include_pad=True,
    )
    / torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(torch.ones_like(x[:1, ..., :1]).movedim(-1, 1), (2, 0)),
        kernel_size=(3,),
        stride=(2,),
        padding=(0,),
        count_include_pad=True,
    )
).movedim(1, -1)
""",
    ),
    (
        translate.to_torch,
        average_pooling,
        [(2, 9, 8, 3)],
        {"pool_size": None},
        """
torch.nn.functional.avg_pool2d(
    x.movedim(-1, 1),
    kernel_size=(9, 8),
    stride=(9, 8),
    padding=(0, 0),
    count_include_pad=False,
).movedim(1, -1)
""",
    ),
    (
        translate.to_keras,
        max_pooling,
        [(2, 9, 8, 3)],
        {"pool_size": 3, "strides": (2, 1), "dilation_rate": (1, 2)},
        """
keras.ops.max(
    keras.ops.stack(
        [x[:, i : i + 7 : 2, j : j + 4 : 1] for i in range(0, 3, 1) for j in range(0, 6, 2)],
    ),
    axis=0,
)
""",
    ),
    (
        translate.to_keras,
        average_pooling,
        [(2, 9, 8, 3)],
        {"pool_size": 2, "padding": "same"},
        """
(
    keras.ops.average_pool(
        keras.ops.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))),
        pool_size=(2, 2),
        strides=(2, 2),
        padding="valid",
        data_format="channels_last",
    )
    / keras.ops.average_pool(
        keras.ops.pad(keras.ops.ones_like(x[:1, ..., :1]), ((0, 0), (0, 1), (0, 0), (0, 0))),
        pool_size=(2, 2),
        strides=(2, 2),
        padding="valid",
        data_format="channels_last",
    )
)
""",
    ),
    (
        translate.to_jax,
        max_pooling,
        [(2, 9, 3)],
        {"pool_size": 2, "padding": ((1, 0),), "dilation_rate": 2},
        """
jax.lax.reduce_window(
    x,
    float("-inf"),
    jax.lax.max,
    window_dimensions=(1, 2, 1),
    window_strides=(1, 2, 1),
    padding=((0, 0), (1, 0), (0, 0)),
    window_dilation=(1, 2, 1),
)
""",
    ),
    (
        translate.to_jax,
        average_pooling,
        [(2, 9, 3)],
        {"pool_size": 2},
        """
jax.lax.reduce_window(
    x,
    0.0,
    jax.lax.add,
    window_dimensions=(1, 2, 1),
    window_strides=(1, 2, 1),
    padding=((0, 0), (0, 0), (0, 0)),
    window_dilation=(1, 1, 1),
) / 2
""",
    ),
    (
        translate.to_jax,
        average_pooling,
        [(2, 9, 3)],
        {"pool_size": 2, "padding": "same"},
        """
(
    jax.lax.reduce_window(
        x,
        0.0,
        jax.lax.add,
        window_dimensions=(1, 2, 1),
        window_strides=(1, 2, 1),
        padding=((0, 0), (0, 1), (0, 0)),
        window_dilation=(1, 1, 1),
    )
    / jax.lax.reduce_window(
        jax.numpy.ones_like(x[:1, ..., :1]),
        0.0,
        jax.lax.add,
        window_dimensions=(1, 2, 1),
        window_strides=(1, 2, 1),
        padding=((0, 0), (0, 1), (0, 0)),
        window_dilation=(1, 1, 1),
    )
)
""",
    ),
    (
        translate.to_onnx,
        average_pooling,
        [(2, 9, 8, 3)],
        {"pool_size": 2, "padding": 1},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 3, 1, 2]),
            onnx.helper.make_node(
                "AveragePool",
                ["x_first"],
                ["y_first"],
                kernel_shape=[2, 2],
                strides=[2, 2],
                pads=[1, 1, 0, 1],
                count_include_pad=0,
            ),
            onnx.helper.make_node("Transpose", ["y_first"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "average_pooling",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 9, 8, 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5, 5, 3])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_onnx,
        max_pooling,
        [(2, 9, 3)],
        {"pool_size": 2, "strides": 3, "padding": 2, "dilation_rate": 2},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 2, 1]),
            onnx.helper.make_node("Constant", [], ["pads"], value_ints=[0, 0, 2, 0, 0, 1]),
            onnx.helper.make_node("Constant", [], ["least"], value_float=float("-inf")),
            onnx.helper.make_node("Pad", ["x_first", "pads", "least"], ["x_padded"]),
            onnx.helper.make_node(
                "MaxPool",
                ["x_padded"],
                ["y_first"],
                kernel_shape=[2],
                strides=[3],
                pads=[0, 0],
                dilations=[2],
            ),
            onnx.helper.make_node("Transpose", ["y_first"], ["y"], perm=[0, 2, 1]),
        ],
        "max_pooling",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 9, 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4, 3])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_keras,
        dilated,
        [(2, 9, 8, 4), (3, 3, 2, 6)],
        {"strides": 2, "groups": 2},
        """
keras.ops.conv(
    keras.ops.pad(x, ((0, 0), (2, 2), (1, 2), (0, 0))),
    kernel,
    strides=(2, 2),
    padding="valid",
    data_format="channels_last",
    dilation_rate=(2, 2),
)
""",
    ),
    (
        translate.to_keras,
        unary,
        [(2, 9, 8, 3), (3, 4)],
        {"strides": 2, "use_bias": True},
        """
keras.ops.conv(
    x,
    keras.ops.reshape(kernel, (1, 1, 3, 4)),
    strides=(2, 2),
    padding="valid",
    data_format="channels_last",
    dilation_rate=(1, 1),
) + bias
""",
    ),
    (
        translate.to_keras,
        transposed,
        [(2, 7, 7, 8), (2, 2, 4, 8)],
        {"strides": 3, "padding": ((1, 0), 0), "output_padding": (0, 2)},
        """
keras.ops.pad(
    keras.ops.conv_transpose(
        x,
        kernel,
        strides=(3, 3),
        padding="valid",
        data_format="channels_last",
        dilation_rate=(1, 1),
    )[:, 1:20, :],
    ((0, 0), (0, 0), (0, 1), (0, 0)),
)
""",
    ),
    (
        translate.to_keras,
        transposed,
        [(2, 7, 4), (3, 3, 4)],
        {"strides": 2, "groups": 2, "use_bias": True},
        """
keras.ops.concatenate(
    [
        keras.ops.conv_transpose(
            *pair,
            strides=(2,),
            padding="valid",
            data_format="channels_last",
            dilation_rate=(1,),
        )
        for pair in zip(keras.ops.split(x, 2, axis=-1), keras.ops.split(kernel, 2, axis=-1))
    ],
    axis=-1,
) + bias
""",
    ),
    (
        translate.to_keras,
        batchnorm,
        [(2, 6, 5, 3)],
        {},
        """
keras.ops.batch_normalization(
    x,
    statistics.mean,
    statistics.variance,
    axis=-1,
    offset=beta,
    scale=gamma,
    epsilon=0.001,
)
""",
    ),
    (
        translate.to_keras,
        batchnorm,
        [(2, 3)],
        {"training": True},
        """
keras.ops.batch_normalization(
    x,
    keras.ops.mean(x, axis=(0,)),
    keras.ops.var(x, axis=(0,)),
    axis=-1,
    offset=beta,
    scale=gamma,
    epsilon=0.001,
)
""",
    ),
    (
        translate.to_jax,
        conv,
        [(2, 9, 2), (3, 2, 4)],
        {"padding": "same", "use_bias": True},
        """
jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,),
    padding=((1, 1),),
    lhs_dilation=(1,),
    rhs_dilation=(1,),
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=1,
) + bias
""",
    ),
    (
        translate.to_jax,
        depthwise_separable,
        [(2, 9, 9, 4), (3, 3, 4, 2), (1, 1, 8, 5)],
        {"strides": 2},
        """
jax.lax.conv_general_dilated(
    jax.lax.conv_general_dilated(
        x,
        depthwise_kernel.reshape(3, 3, 1, 8),
        window_strides=(2, 2),
        padding=((0, 0), (0, 0)),
        lhs_dilation=(1, 1),
        rhs_dilation=(1, 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    ),
    pointwise_kernel,
    window_strides=(1, 1),
    padding=((0, 0), (0, 0)),
    lhs_dilation=(1, 1),
    rhs_dilation=(1, 1),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=1,
)
""",
    ),
    (
        translate.to_jax,
        transposed,
        [(2, 5, 6, 7, 4), (3, 3, 3, 5, 4)],
        {"strides": 2, "padding": "same", "groups": 2},
        """
jax.lax.conv_general_dilated(
    x,
    kernel[::-1, ::-1, ::-1].reshape(3, 3, 3, 5, 2, 2).swapaxes(-1, -3).reshape(3, 3, 3, 2, 10),
    window_strides=(1, 1, 1),
    padding=((2, 1), (2, 1), (2, 1)),
    lhs_dilation=(2, 2, 2),
    rhs_dilation=(1, 1, 1),
    dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    feature_group_count=2,
)
""",
    ),
    (
        translate.to_jax,
        batchnorm,
        [(2, 6, 5, 3)],
        {},
        """
gamma * (x - statistics.mean) * jax.lax.rsqrt(statistics.variance + 0.001) + beta
""",
    ),
    (
        translate.to_jax,
        batchnorm,
        [(2, 6, 5, 3)],
        {"training": True},
        """
gamma * (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 0.001) + beta
""",
    ),
    (
        translate.to_onnx,
        conv,
        [(2, 28, 28, 3), (3, 3, 3, 8)],
        {"strides": 2, "padding": "same", "use_bias": True},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 3, 1, 2]),
            onnx.helper.make_node("Transpose", ["kernel"], ["kernel_first"], perm=[3, 2, 0, 1]),
            onnx.helper.make_node(
                "Conv",
                ["x_first", "kernel_first", "bias"],
                ["kernel_output"],
                strides=[2, 2],
                pads=[0, 0, 1, 1],
                dilations=[1, 1],
                group=1,
            ),
            onnx.helper.make_node("Transpose", ["kernel_output"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "conv",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 28, 28, 3]),
            onnx.helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, [3, 3, 3, 8]),
            onnx.helper.make_tensor_value_info("bias", onnx.TensorProto.FLOAT, [8]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 14, 14, 8])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_onnx,
        depthwise,
        [(2, 9, 4), (3, 4, 2)],
        {"dilation_rate": 2},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 2, 1]),
            onnx.helper.make_node("Constant", [], ["kernel_shape"], value_ints=[3, 1, 8]),
            onnx.helper.make_node("Reshape", ["kernel", "kernel_shape"], ["kernel_reshaped"]),
            onnx.helper.make_node(
                "Transpose",
                ["kernel_reshaped"],
                ["kernel_first"],
                perm=[2, 1, 0],
            ),
            onnx.helper.make_node(
                "Conv",
                ["x_first", "kernel_first"],
                ["kernel_output"],
                strides=[1],
                pads=[0, 0],
                dilations=[2],
                group=4,
            ),
            onnx.helper.make_node("Transpose", ["kernel_output"], ["y"], perm=[0, 2, 1]),
        ],
        "depthwise",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 9, 4]),
            onnx.helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, [3, 4, 2]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5, 8])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_onnx,
        transposed,
        [(2, 7, 6, 4), (3, 2, 3, 4)],
        {"strides": 2, "padding": [(0, 1), 0], "output_padding": 1},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 3, 1, 2]),
            onnx.helper.make_node("Transpose", ["kernel"], ["kernel_first"], perm=[3, 2, 0, 1]),
            onnx.helper.make_node(
                "ConvTranspose",
                ["x_first", "kernel_first"],
                ["kernel_output"],
                strides=[2, 2],
                pads=[0, 0, 1, 0],
                dilations=[1, 1],
                group=1,
                output_padding=[1, 1],
            ),
            onnx.helper.make_node("Transpose", ["kernel_output"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "transposed",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 7, 6, 4]),
            onnx.helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, [3, 2, 3, 4]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 15, 13, 3])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_onnx,
        batchnorm,
        [(2, 6, 5, 3)],
        {},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 3, 1, 2]),
            onnx.helper.make_node(
                "BatchNormalization",
                ["x_first", "gamma", "beta", "mean", "variance"],
                ["y_first"],
                epsilon=0.001,
            ),
            onnx.helper.make_node("Transpose", ["y_first"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "batchnorm",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 6, 5, 3]),
            onnx.helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, [3]),
            onnx.helper.make_tensor_value_info("beta", onnx.TensorProto.FLOAT, [3]),
            onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [3]),
            onnx.helper.make_tensor_value_info("variance", onnx.TensorProto.FLOAT, [3]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 6, 5, 3])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
    (
        translate.to_onnx,
        batchnorm,
        [(2, 6, 5, 3)],
        {"training": True},
        """
onnx.helper.make_model(
    onnx.helper.make_graph(
        [
            onnx.helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0, 1, 2]),
            onnx.helper.make_node("Sub", ["x", "mean"], ["centred"]),
            onnx.helper.make_node("Mul", ["centred", "centred"], ["squares"]),
            onnx.helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[0, 1, 2]),
            onnx.helper.make_node("Constant", [], ["epsilon"], value_float=0.001),
            onnx.helper.make_node("Add", ["variance", "epsilon"], ["raised"]),
            onnx.helper.make_node("Sqrt", ["raised"], ["root"]),
            onnx.helper.make_node("Div", ["centred", "root"], ["normalized"]),
            onnx.helper.make_node("Mul", ["normalized", "gamma"], ["scaled"]),
            onnx.helper.make_node("Add", ["scaled", "beta"], ["y"]),
        ],
        "batchnorm",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 6, 5, 3]),
            onnx.helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, [3]),
            onnx.helper.make_tensor_value_info("beta", onnx.TensorProto.FLOAT, [3]),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 6, 5, 3])],
    ),
    opset_imports=[onnx.helper.make_opsetid("", 17)],
    ir_version=8,
)
""",
    ),
]


# ---- by hand


@pytest.mark.parametrize(("function", "module", "shapes", "hyperparameters", "expected"), EXPECTED)
def test_the_whole_string(function, module, shapes, hyperparameters, expected):
    assert function(module, *shapes, **hyperparameters) == expected.strip()


@pytest.mark.parametrize(("function", "module", "shapes", "hyperparameters", "expected"), EXPECTED)
def test_it_is_an_expression_over_the_framework_and_the_arguments(
    function, module, shapes, hyperparameters, expected
):
    tree = ast.parse(function(module, *shapes, **hyperparameters), mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names - {"zip", "pair", "float", "range", *"ijk"} <= {FRAMEWORKS[function], *ARRAYS}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_examples_in_the_docstrings_run(function):
    assert examples_run(function)


def test_no_framework_is_imported():
    assert not {"torch", "keras", "jax", "onnx"} & set(sys.modules)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_may_be_given_by_name_and_as_lists(function):
    by_name = function(
        depthwise_separable,
        x_shape=[2, 9, 4],
        kernel_shape=[3, 4, 2],
        pointwise_kernel_shape=np.array([8, 5]),
        strides=np.int64(2),
    )
    assert by_name == function(depthwise_separable, (2, 9, 4), (3, 4, 2), (8, 5), strides=2)


def test_a_rectifier_takes_any_shape():
    for shape in [(), (4,), (2, 3, 4, 5, 6, 7)]:
        assert translate.to_torch(relu, shape) == "torch.relu(x)"
        string = translate.to_onnx(relu, shape)
        assert string.count(f"onnx.TensorProto.FLOAT, {list(shape)})") == 2
        assert 'onnx.helper.make_node("Relu", ["x"], ["y"])' in string


def test_onnx_pads_before_a_pooling_only_what_its_node_refuses():
    """Behind the last window no padding is left, and the rest is less than the window."""
    plain = translate.to_onnx(max_pooling, (2, 9, 8, 3), pool_size=3, strides=2, padding=(1, 2))
    assert "pads=[1, 2, 1, 1]" in plain
    assert "Pad" not in plain.replace("pads", "")
    apart = translate.to_onnx(max_pooling, (2, 9, 8, 3), pool_size=2, dilation_rate=3, padding=2)
    assert '"Pad"' in apart


@pytest.mark.parametrize("function", FUNCTIONS)
def test_dilated_is_conv_with_defaults_of_its_own(function):
    x_shape, kernel_shape = (2, 9, 8, 3), (3, 3, 3, 4)
    as_conv = function(conv, x_shape, kernel_shape, padding="same", dilation_rate=2)
    as_dilated = function(dilated, x_shape, kernel_shape)
    assert as_dilated.replace('"dilated"', '"conv"') == as_conv


@pytest.mark.parametrize("function", [translate.to_jax, translate.to_keras, translate.to_torch])
def test_the_batch_may_be_of_any_size(function):
    strings = {function(conv, (n, 9, 8, 3), (3, 3, 3, 4), padding="same") for n in (0, 1, 7)}
    assert len(strings) == 1


# ---- against stand-ins for the frameworks, after their documentation


class Tensor(np.ndarray):
    """What the strings ask of a tensor of PyTorch."""

    def movedim(self, source, destination):
        return np.moveaxis(self, source, destination)

    def permute(self, *axes):
        return self.transpose(axes)

    def clone(self, *, memory_format):
        assert memory_format == "contiguous"
        return self.copy()


def torch_conv(x, weight, bias, *, stride, padding, dilation, groups):
    y, _ = conv.forward(
        layouts.to_channels_last(x),
        layouts.kernel_from_torch(weight),
        bias,
        strides=stride,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
    )
    return layouts.to_channels_first(y).view(Tensor)


def torch_transposed(x, weight, bias, *, stride, padding, output_padding, dilation, groups):
    # Whatever its size is, the padding is cut off an image that holds every stamp.
    y, _ = transposed.forward(
        layouts.to_channels_last(x),
        layouts.transposed_kernel_from_torch(weight),
        bias,
        strides=stride,
        output_padding=output_padding,
        dilation_rate=dilation,
        groups=groups,
    )
    inside = (slice(p, size - p) for p, size in zip(padding, y.shape[1:-1], strict=True))
    return layouts.to_channels_first(y[:, *inside]).view(Tensor)


def torch_pad(x, zeros, value=0):
    pairs = np.array(zeros).reshape(-1, 2)[::-1]
    return np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=value).view(Tensor)


def torch_pool(module, x, kernel_size, stride, padding, options):
    assert all(p <= k // 2 for p, k in zip(padding, kernel_size, strict=True))
    options |= {"strides": stride, "padding": padding}
    y, _ = module.forward(layouts.to_channels_last(x), kernel_size, **options)
    return layouts.to_channels_first(y).view(Tensor)


def torch_max_pool(x, *, dilation, **geometry):
    return torch_pool(max_pooling, x, options={"dilation_rate": dilation}, **geometry)


def torch_avg_pool(x, *, count_include_pad, **geometry):
    return torch_pool(average_pooling, x, options={"count_padding": count_include_pad}, **geometry)


def torch_batch_norm(x, mean, variance, gamma, beta, *, training, eps):
    statistics = None if training else (mean, variance)
    y, _ = batchnorm.forward(np.moveaxis(x, 1, -1), gamma, beta, statistics, epsilon=eps)
    return np.moveaxis(y, -1, 1).view(Tensor)


def keras_conv(x, kernel, *, strides, padding, data_format, dilation_rate):
    assert (padding, data_format) == ("valid", "channels_last")
    groups = x.shape[-1] // kernel.shape[-2]
    return conv.forward(x, kernel, strides=strides, dilation_rate=dilation_rate, groups=groups)[0]


def keras_conv_transpose(x, kernel, *, strides, padding, data_format, dilation_rate):
    assert (padding, data_format) == ("valid", "channels_last")
    size = [
        (n - 1) * s + max((k - 1) * d + 1, s)
        for n, k, s, d in zip(x.shape[1:-1], kernel.shape, strides, dilation_rate, strict=False)
    ]
    return transposed.forward(
        x, kernel, strides=strides, dilation_rate=dilation_rate, output_size=size
    )[0]


def keras_batch_normalization(x, mean, variance, *, axis, offset, scale, epsilon):
    assert axis == -1
    return batchnorm.forward(x, scale, offset, (mean, variance), epsilon=epsilon)[0]


def keras_pool(module):
    def pool(x, *, pool_size, strides, padding, data_format):
        assert (padding, data_format) == ("valid", "channels_last")
        return module.forward(x, pool_size, strides=strides)[0]

    return pool


def jax_reduce_window(
    x, start, operation, *, window_dimensions, window_strides, padding, window_dilation
):
    x = np.pad(x, padding, constant_values=start)
    for axis, (k, s, d) in enumerate(
        zip(window_dimensions, window_strides, window_dilation, strict=True)
    ):
        n = (x.shape[axis] - (k - 1) * d - 1) // s + 1
        taps = [np.take(x, range(u * d, u * d + (n - 1) * s + 1, s), axis) for u in range(k)]
        x = operation.reduce(taps)
    return x


def jax_conv(
    x, kernel, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, **groups
):
    assert (
        "".join(dimension_numbers)
        == {
            1: "NWCWIONWC",
            2: "NHWCHWIONHWC",
            3: "NDHWCDHWIONDHWC",
        }[x.ndim - 2]
    )
    x = transposed.inflate(x, lhs_dilation)
    x = np.pad(x, [(0, 0), *np.maximum(padding, 0), (0, 0)])
    kept = (
        slice(max(0, -a), size + min(0, b))
        for (a, b), size in zip(padding, x.shape[1:-1], strict=True)
    )
    (count,) = groups.values()
    return conv.forward(
        x[:, *kept], kernel, strides=window_strides, dilation_rate=rhs_dilation, groups=count
    )[0]


FUNCTIONAL = SimpleNamespace(
    pad=torch_pad,
    batch_norm=torch_batch_norm,
    **{f"max_pool{rank}d": torch_max_pool for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": torch_avg_pool for rank in (1, 2, 3)},
    **{f"conv{rank}d": torch_conv for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": torch_transposed for rank in (1, 2, 3)},
)
STAND_INS = {
    "torch": SimpleNamespace(
        nn=SimpleNamespace(functional=FUNCTIONAL),
        contiguous_format="contiguous",
        ones_like=np.ones_like,
        relu=lambda x: relu.forward(x)[0],
    ),
    "keras": SimpleNamespace(
        ops=SimpleNamespace(
            pad=np.pad,
            reshape=np.reshape,
            split=np.split,
            concatenate=np.concatenate,
            mean=np.mean,
            var=np.var,
            relu=lambda x: relu.forward(x)[0],
            ones_like=np.ones_like,
            stack=np.stack,
            max=np.max,
            max_pool=keras_pool(max_pooling),
            average_pool=keras_pool(average_pooling),
            conv=keras_conv,
            conv_transpose=keras_conv_transpose,
            batch_normalization=keras_batch_normalization,
        )
    ),
    "jax": SimpleNamespace(
        lax=SimpleNamespace(
            conv_general_dilated=jax_conv,
            rsqrt=lambda v: 1 / np.sqrt(v),
            reduce_window=jax_reduce_window,
            max=np.maximum,
            add=np.add,
        ),
        numpy=SimpleNamespace(ones_like=np.ones_like),
        nn=SimpleNamespace(relu=lambda x: relu.forward(x)[0]),
    ),
}
COMPUTED = [translate.to_jax, translate.to_keras, translate.to_torch]


def computed(function, module, shapes, arrays, **hyperparameters):
    """What the stand-in makes of the string."""
    string = function(module, *shapes, **hyperparameters)
    if function is translate.to_torch:
        arrays = {
            name: a.view(Tensor) if isinstance(a, np.ndarray) else a for name, a in arrays.items()
        }
    return np.asarray(eval(string, {**STAND_INS, **arrays}))


def agrees(function, module, case):
    """Whether the string computes what forward does, on integers, exactly."""
    names = ("kernel",) if case.pointwise is None else ("depthwise_kernel", "pointwise_kernel")
    arrays = dict(zip(("x", *names, "bias"), case.arrays, strict=True))
    shapes = [a.shape for a in case.arrays[:-1]]
    expected, _ = module.forward(*case.arrays, **case.hyperparameters)
    use_bias = case.bias is not None
    y = computed(function, module, shapes, arrays, use_bias=use_bias, **case.hyperparameters)
    return same_values(y, expected)


CASES = {
    conv: conv_cases(),
    dilated: conv_cases(),
    unary: unary_cases(),
    depthwise: depthwise_cases(),
    depthwise_separable: separable_cases(),
    transposed: transposed_cases(),
}


@pytest.mark.parametrize("function", COMPUTED)
@pytest.mark.parametrize("module", CASES)
@settings(max_examples=10)
@given(data=st.data())
def test_convolutions(function, module, data):
    assert agrees(function, module, data.draw(CASES[module]))


@pytest.mark.parametrize("function", COMPUTED)
@settings(max_examples=8)
@given(case=batchnorm_cases())
def test_batch_normalizations(function, case):
    c = case.x.shape[-1]
    gamma = np.ones(c) if case.gamma is None else case.gamma
    beta = np.zeros(c) if case.beta is None else case.beta
    training = case.statistics is None
    statistics = None if training else batchnorm.Statistics(*case.statistics)
    arrays = {"x": case.x, "gamma": gamma, "beta": beta, "statistics": statistics}
    expected, _ = batchnorm.forward(*arrays.values(), epsilon=case.epsilon)
    y = computed(
        function, batchnorm, [case.x.shape], arrays, epsilon=case.epsilon, training=training
    )
    assert close(y, expected)


@pytest.mark.parametrize("function", COMPUTED)
@pytest.mark.parametrize("module", [max_pooling, average_pooling])
@settings(max_examples=15)
@given(data=st.data())
def test_poolings(function, module, data):
    case = data.draw(pool_cases(dilated=module is max_pooling))
    expected, _ = module.forward(case.x, case.pool_size, **case.hyperparameters)
    options = {"pool_size": case.pool_size} | case.hyperparameters
    y = computed(function, module, [case.x.shape], {"x": case.x}, **options)
    assert close(y, expected)


@pytest.mark.parametrize("function", COMPUTED)
def test_rectifiers(function):
    x = np.arange(-4.0, 4).reshape(2, 4)
    assert same_values(computed(function, relu, [x.shape], {"x": x}), np.maximum(x, 0))


# ---- refusals

IMAGE, KERNEL = (2, 9, 8, 3), (3, 3, 3, 4)
REFUSED = [
    (conv, [(2, 9, 8, 5), KERNEL], {}, "kernel_shape must be (*kernel_size, 5, C_out) for x_shape"),
    (conv, [(2, 2, 8, 3), KERNEL], {}, "kernel does not fit its padded input: "),
    (conv, [IMAGE, KERNEL], {"padding": "full"}, 'padding must be "valid", "same", "causal", '),
    (conv, [IMAGE, KERNEL], {"groups": 2}, "groups must divide C_in = 3, got 2"),
    (unary, [IMAGE, (4, 3)], {}, "kernel_shape must be (3, C_out)"),
    (depthwise, [IMAGE, (3, 3, 2, 1)], {}, "kernel_shape must be (*kernel_size, 3, depth_multipl"),
    (
        depthwise_separable,
        [IMAGE, (3, 3, 3, 2), (3, 4)],
        {},
        "pointwise_kernel_shape must be (6, C_out), ...for kernel_shape (3, 3, 3, 2), got (3, 4)",
    ),
    (transposed, [IMAGE, (3, 3, 4, 3)], {"output_padding": 1}, "output_padding must be 0 … 0, "),
    (batchnorm, [(4,)], {}, "x_shape must be (N, …, C) with no size of 0 behind N, got shape"),
    (batchnorm, [(4, 0)], {}, "x_shape must be (N, …, C) with no size of 0 behind N, got shape"),
    (batchnorm, [(0, 3)], {"training": True}, "x_shape must not be an empty batch in training"),
    (batchnorm, [(4, 3)], {"epsilon": -1}, "epsilon must be finite and at least 0, got -1"),
    (max_pooling, [(4, 3)], {"pool_size": 2}, "x_shape must be (N, *spatial, C) with one, two or"),
    (average_pooling, [IMAGE], {"pool_size": 2, "padding": 2}, "padding must leave every window a"),
    (max_pooling, [IMAGE], {"pool_size": 0}, "pool_size must be at least 1, got 0"),
    (relu, [(4, -3)], {}, "x_shape[1] must be at least 0, got -3"),
    (
        layouts,
        [IMAGE],
        {},
        "module must be one of conv, unary, ..., relu, got convin",
    ),
    (residual, [IMAGE], {}, "module must be one operation, and residual is several, "),
]
MISTYPED = [
    ("conv", [IMAGE, KERNEL], {}, "module must be a module of convinsights, got 'conv'"),
    (conv.forward, [IMAGE, KERNEL], {}, "module must be a module of convinsights, got <function"),
    (conv, [IMAGE], {}, "kernel_shape must be a sequence of ints, got None"),
    (conv, [9, KERNEL], {}, "x_shape must be a sequence of ints, got 9"),
    (conv, [IMAGE, KERNEL, (3, 4)], {}, "pointwise_kernel_shape must be left out for conv, got (3"),
    (relu, [IMAGE, KERNEL], {}, "kernel_shape must be left out for relu, got (3, 3, 3, 4)"),
    (depthwise_separable, [IMAGE, (3, 3, 3, 1)], {}, "pointwise_kernel_shape must be a sequence"),
    (conv, [IMAGE, KERNEL], {"strides": 1.5}, "strides must be an integer, got 1.5"),
    (conv, [IMAGE, KERNEL], {"use_bias": 1}, "use_bias must be a bool, got 1"),
    (batchnorm, [IMAGE], {"training": 1}, "training must be a bool, got 1"),
    (
        conv,
        [IMAGE, KERNEL],
        {"stride": 2},
        "hyperparameters of conv must be strides, padding, dilation_rate, groups, use_bias, got st",
    ),
    (max_pooling, [IMAGE], {}, "pool_size must be given for max_pooling (None: the whole image)"),
    (
        max_pooling,
        [IMAGE, KERNEL],
        {"pool_size": 2},
        "kernel_shape must be left out for max_pooling",
    ),
    (
        average_pooling,
        [IMAGE],
        {"pool_size": 2, "count_padding": 1},
        "count_padding must be a bool",
    ),
    (
        average_pooling,
        [IMAGE],
        {"pool_size": 2, "dilation_rate": 2},
        "hyperparameters of average_pooling must be strides, padding, count_padding, pool_size,",
    ),
    (
        relu,
        [IMAGE],
        {"use_bias": True},
        "hyperparameters of relu must be none at all, got use_b",
    ),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("module", "shapes", "hyperparameters", "message"), REFUSED)
def test_refuses_what_forward_would_refuse(function, module, shapes, hyperparameters, message):
    with pytest.raises(ValueError, match=says(message)):
        function(module, *shapes, **hyperparameters)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("module", "shapes", "hyperparameters", "message"), MISTYPED)
def test_refuses_what_is_of_the_wrong_type(function, module, shapes, hyperparameters, message):
    with pytest.raises(TypeError, match=says(message)):
        function(module, *shapes, **hyperparameters)


def test_refuses_what_torch_would_refuse():
    message = "x_shape must have more than one value per channel for training in PyTorch, "
    with pytest.raises(ValueError, match=says(message)):
        translate.to_torch(batchnorm, (1, 1, 1, 3), training=True)
    assert translate.to_torch(batchnorm, (1, 1, 1, 3))
    assert translate.to_jax(batchnorm, (1, 1, 1, 3), training=True)


def test_the_way_round_for_a_residual_block():
    rng = np.random.default_rng(0)
    block = residual.initialize(rng, [(3, 3), (3, 3)], 2, 4, strides=2)
    x = rng.normal(size=(3, 6, 5, 2))

    def step(module, a, kernel=None, **hyperparameters):
        channels = a.shape[-1]
        arrays = {"x": a, "kernel": kernel, "gamma": np.ones(channels), "beta": np.zeros(channels)}
        shapes = [a.shape, None if kernel is None else kernel.shape]
        return computed(translate.to_keras, module, shapes, arrays, **hyperparameters)

    y = step(conv, x, block.kernels[0], strides=2, padding="same")
    y = step(relu, step(batchnorm, y, training=True))
    y = step(batchnorm, step(conv, y, block.kernels[1], padding="same"), training=True)
    shortcut = step(unary, x, block.projection, strides=2)
    if block.projection_norm is not None:
        shortcut = step(batchnorm, shortcut, training=True)
    expected, _ = residual.forward(x, block, strides=2)
    assert close(step(relu, y + shortcut), expected)


@pytest.mark.parametrize(
    ("module", "x_shape", "kernel_shape", "groups", "copied"),
    [
        (conv, (1, 5, 5, 1), (3, 3, 1, 4), 1, True),
        (conv, (1, 5, 5, 2), (3, 3, 2, 1), 1, False),
        (conv, (1, 5, 5, 2), (3, 3, 1, 4), 2, False),
        (conv, (1, 1, 1, 2), (1, 1, 2, 4), 1, True),
        (conv, (1, 3, 3, 2), (3, 3, 2, 4), 1, False),  # of the output's pixels there is one
        (conv, (1, 5, 1), (3, 1, 4), 1, True),
        (conv, (1, 5, 2), (3, 2, 1), 1, False),
        (transposed, (1, 5, 5, 1), (3, 3, 4, 1), 1, True),
        (transposed, (1, 5, 5, 2), (3, 3, 1, 2), 1, False),
        (transposed, (1, 1, 1, 2), (3, 3, 4, 2), 1, True),
    ],
)
def test_pytorch_gets_a_copy_where_it_would_mistake_the_layout(
    module, x_shape, kernel_shape, groups, copied
):
    written = translate.to_torch(module, x_shape, kernel_shape, groups=groups)
    assert (".clone(" in written) == copied
