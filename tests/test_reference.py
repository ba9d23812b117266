"""Against values computed elsewhere: by PyTorch, Keras and ONNX Runtime (see reference.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import arrays_in, close

import convinsights
from convinsights import batchnorm, layouts, residual


def unpacked(record):
    """The fields of a case, `a/b` under ["a"]["b"]."""
    case = {}
    for path in record.dtype.names:
        *branches, leaf = path.split("/")
        node = case
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = record[path].copy()
    return case | {"call": json.loads(str(record["call"]))}


with np.load(Path(__file__).with_name("reference.npz")) as file:
    CASES = {name: unpacked(file[name]) for name in file.files if name != "versions"}
STACKS = {name: CASES.pop(name) for name in list(CASES) if "stack" in CASES[name]["call"]}

GRADIENTS = [name for name, case in CASES.items() if "gradient" in case]
MOVED = [name for name, case in CASES.items() if "moved" in case]


def argument(part):
    """An array as it is, a branch as the tuple that the library takes."""
    if not isinstance(part, dict):
        return part
    parts = {name: argument(inner) for name, inner in part.items()}
    if "mean" in parts:
        return batchnorm.Statistics(**parts)
    if "kernels" in parts:
        return residual.Parameters(**parts)
    return tuple(parts.values())


def agrees(actual, expected, scale=None):
    """Compare every recorded array with the one at the same place of a result."""
    if isinstance(expected, dict):
        for i, (name, part) in enumerate(expected.items()):
            agrees(getattr(actual, name) if hasattr(actual, name) else actual[i], part)
    else:
        # float32: a few roundings of |x| * |kernel|, which is what the recorded scale holds.
        tolerance = 1e-10 if expected.dtype == np.float64 else 8 * 2**-24
        assert close(actual, expected, scale=scale, tolerance=tolerance)


def forward(case):
    """The module that a case calls, and what its forward returns."""
    module = getattr(convinsights, case["call"]["module"])
    arrays = {name: argument(part) for name, part in case["given"].items()}
    return module, *module.forward(**arrays, **case["call"]["hyperparameters"])


def test_covers_every_concept_and_framework():
    concepts = "conv unary depthwise depthwise_separable batchnorm relu residual transposed dilated"
    concepts += " max_pooling average_pooling"
    assert {case["call"]["module"] for case in CASES.values()} == set(concepts.split())
    assert {name.split("-")[1] for name in CASES} == {"torch", "keras", "onnx"}


@pytest.mark.parametrize("name", CASES)
def test_forward(name):
    case = CASES[name]
    _, y, _ = forward(case)
    agrees(y, case["y"], case.get("scale"))


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    case = CASES[name]
    module, _, cache = forward(case)
    agrees(module.backward(case["dy"], cache), case["gradient"])


@pytest.mark.parametrize("name", MOVED)
def test_moving_statistics(name):
    case = CASES[name]
    module, _, cache = forward(case)
    moving = argument(case["moving"])
    agrees(module.update(moving, cache.statistics, **case["call"]["update"]), case["moved"])


def block_of(weights, place):
    """The parameters of a block of a stack, from what PyTorch calls weights and bias."""

    def norm(layer):
        return weights[f"{place}.{layer}.weight"], weights[f"{place}.{layer}.bias"]

    def kernel(layer):
        return layouts.kernel_from_torch(weights[f"{place}.{layer}.weight"])

    convs = range(sum(name.startswith(f"{place}.conv") for name in weights))
    return residual.Parameters(
        tuple(kernel(f"conv{i}") for i in convs),
        tuple(norm(f"bn{i}") for i in convs),
        kernel("projection"),
        norm("projection_norm"),
    )


def statistics_of(weights, place):
    """The running averages of a block of a stack."""
    names = sorted(name for name in weights if name.startswith(f"{place}.bn"))
    layers = [*dict.fromkeys(name.rpartition(".")[0] for name in names), f"{place}.projection_norm"]
    return tuple(
        batchnorm.Statistics(weights[f"{name}.running_mean"], weights[f"{name}.running_var"])
        for name in layers
    )


def agree(actual, expected):
    """Compare all arrays of two trees."""
    for a, b in zip(arrays_in(actual), arrays_in(expected), strict=True):
        assert close(a, b)


def pixels(image):
    """The values per channel that a normalization sees."""
    return image.size // image.shape[-1]


@pytest.mark.parametrize("name", STACKS)
def test_two_blocks_with_the_weights_of_pytorch(name):
    case, how = STACKS[name], {"strides": 2, "padding": 1, "epsilon": 1e-5}
    blocks = [block_of(case["weights"], place) for place in range(2)]
    moving = [statistics_of(case["weights"], place) for place in range(2)]
    a, caches, moved = layouts.to_channels_last(case["x"]), [], []
    for block, old in zip(blocks, moving, strict=True):
        x, (a, cache) = a, residual.forward(a, block, **how)
        caches.append(cache)
        # The first of three kernels has one tap and no strides: its norm sees the pixels of x.
        sizes = [pixels(x)] * (len(block.kernels) == 3) + [pixels(a)] * 3
        moved.append(residual.update(old, cache.statistics, momentum=0.9, sample_sizes=sizes))
    agree(a, layouts.to_channels_last(case["y"]))
    agree(moved, [statistics_of(case["moved"], place) for place in range(2)])

    da = layouts.to_channels_last(case["dy"])
    for place in (1, 0):
        da, gradients = residual.backward(da, caches[place])
        agree(gradients, block_of(case["gradient"], place))
    agree(da, layouts.to_channels_last(case["gradient"]["x"]))

    a = layouts.to_channels_last(case["x"])
    for block, known in zip(blocks, moved, strict=True):
        a, _ = residual.forward(a, block, known, **how)
    agree(a, layouts.to_channels_last(case["inferred"]))
