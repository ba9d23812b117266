"""Against values computed elsewhere: by PyTorch, Keras and ONNX Runtime (see reference.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import close

import convinsights
from convinsights import batchnorm, residual


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
