"""An expression that makes an ONNX model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from convinsights._geometry import Geometry
from convinsights.translate._task import Shape, Step, Task, task_of
from convinsights.translate._write import LEAST, axes, bracketed, call

__all__ = ["to_onnx"]

Shapes: TypeAlias = Mapping[str, Sequence[object]]


def to_onnx(
    module: ModuleType,
    x_shape: Shape,
    kernel_shape: Shape | None = None,
    pointwise_kernel_shape: Shape | None = None,
    **hyperparameters: Any,
) -> str:
    """Write an operation as an ONNX model, between nodes that move the channels.

    Of opset 17. Its inputs are float32 arrays named as the arguments of `forward` are, the
    statistics as `mean` and `variance`; its output is `y`.

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
    task = task_of(module, x_shape, kernel_shape, pointwise_kernel_shape, hyperparameters)
    if task.name == "relu":
        shape = task.x_shape
        return _model(task.name, [_node("Relu", ["x"], "y")], {"x": shape}, {"y": shape})
    image = ("N", *task.x_shape[1:])
    if task.name == "batchnorm":
        names = ("gamma", "beta") if task.training else ("gamma", "beta", "mean", "variance")
        inputs = {"x": image, **dict.fromkeys(names, task.x_shape[-1:])}
        return _model(task.name, _normalization(task), inputs, {"y": image})
    if task.geometry is not None:
        nodes = _channels_first(task, _pooling(task, task.geometry), "y_first")
        return _model(task.name, nodes, {"x": image}, {"y": ("N", *task.y_shape[1:])})
    inputs = {"x": image, **{step.kernel: step.given for step in task.steps}}
    if task.steps[-1].use_bias:
        inputs["bias"] = task.y_shape[-1:]
    nodes, name = [], "x_first"
    for step in task.steps:
        nodes += _convolution(name, step)
        name = f"{step.kernel}_output"
    nodes = _channels_first(task, nodes, name)
    return _model(task.name, nodes, inputs, {"y": ("N", *task.y_shape[1:])})


def _convolution(x: str, step: Step) -> list[str]:
    geometry, groups, shape, _ = step.plan
    s, d, _, padding, _, _, spare = axes(geometry)
    rank, kernel, nodes = len(s), step.kernel, []
    if step.given != shape:
        kernel = f"{step.kernel}_reshaped"
        nodes = [
            _node("Constant", [], f"{step.kernel}_shape", value_ints=shape),
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
        group=groups,
        **added,
    )
    return [*nodes, operator]


def _normalization(task: Task) -> list[str]:
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


def _pooling(task: Task, geometry: Geometry) -> list[str]:
    s, d, _, padding, _, _, spare = axes(geometry)
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


def _model(name: str, nodes: list[str], inputs: Shapes, outputs: Shapes) -> str:
    def infos(shapes: Shapes) -> str:
        function, kind = "onnx.helper.make_tensor_value_info", "onnx.TensorProto.FLOAT"
        written = [call(function, json.dumps(a), kind, json.dumps(shapes[a])) for a in shapes]
        return bracketed("[", written, "]")

    parts = (bracketed("[", nodes, "]"), json.dumps(name), infos(inputs), infos(outputs))
    graph, opset = call("onnx.helper.make_graph", *parts), '[onnx.helper.make_opsetid("", 17)]'
    return call("onnx.helper.make_model", graph, opset_imports=opset, ir_version=8)


def _node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
    names = (json.dumps(operator), json.dumps(inputs), json.dumps([output]))
    written = {
        key: json.dumps(value, default=np.ndarray.tolist).replace("-Infinity", LEAST)
        for key, value in attributes.items()
    }
    return call("onnx.helper.make_node", *names, **written)
