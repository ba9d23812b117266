"""verify from end to end: when and where a kernel fails, said of the cases of the full plan.

In any run the page on gradients asks for both.
"""

import numpy as np
import pytest
from wrong_kernels import right

from convinsights import batchnorm, conv, depthwise, unary, verify


def off(module, holds, index=np.s_[...]):
    """A kernel that is wrong in a part of its output where a condition holds."""
    forward, _ = right(module)

    def broken(x, *arrays, **hyper):
        y = forward(x, *arrays, **hyper)
        if holds(x, *arrays, **hyper):
            y[index] = 2 * y[index] + 1
        return y

    return broken


def always(*arrays, **hyper):
    return True


CONDITIONS = [
    (batchnorm, "training", lambda x, g, b, s, **h: s is None),
    (conv, "bias given", lambda x, k, b, **h: b is not None),
    (conv, "batch >= 4", lambda x, k, b, **h: len(x) >= 4),
    (conv, "in_channels >= 8", lambda x, k, b, **h: x.shape[-1] >= 8),
    (conv, "out_channels not a multiple of 4", lambda x, k, b, **h: k.shape[-1] % 4),
    (
        conv,
        "strides > 1 and groups > 1",
        lambda x, k, b, **h: max(h["strides"]) > 1 and h["groups"] > 1,
    ),
    (depthwise, "depth_multiplier > 1", lambda x, k, b, **h: k.shape[-1] > 1),
]
REGIONS = [
    (batchnorm, "images other than the first", np.s_[1:]),
    (conv, "rows from 16 on", np.s_[:, 16:]),
    (conv, "last column", np.s_[:, :, -1:]),
    (conv, "channels from 8 on", np.s_[..., 8:]),
]


@pytest.mark.thorough
def test_both_are_said_of_the_whole_plan():
    broken = off(unary, lambda x, k, b, **h: b is not None, np.s_[:, :, -1:])
    report = verify.verify(unary, broken)
    assert (report.when, report.where) == ("bias given", "last column")


@pytest.mark.thorough
@pytest.mark.parametrize(("module", "text", "holds"), CONDITIONS)
def test_when_is_said_of_the_whole_plan(module, text, holds):
    report = verify.verify(module, off(module, holds))
    assert (report.when, report.diagnosis) == (text, None)
    assert f"when: {text}" in str(report)


@pytest.mark.thorough
@pytest.mark.parametrize(("module", "text", "index"), REGIONS)
def test_where_is_said_of_the_whole_plan(module, text, index):
    report = verify.verify(module, off(module, always, index))
    assert (report.where, report.diagnosis) == (text, None)
    assert f"where: {text}" in str(report)
