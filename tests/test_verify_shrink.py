"""How a failing case is made smaller, and with which features it is tried again."""

import time
from dataclasses import replace

import numpy as np
import pytest
from wrong_kernels import right

from convinsights import batchnorm, conv, normalization, transposed, verify
from convinsights._concepts import defaults
from convinsights.verify import _shrink
from convinsights.verify._asked import asked
from convinsights.verify._calls import MODULES
from convinsights.verify._levels import with_count, with_feature
from convinsights.verify._made import case_of
from convinsights.verify._plan import Plan
from convinsights.verify._precision import Precision
from convinsights.verify._shrink import Shrinker, _simpler

ROW = {"in_channels": 12, "groups": 3, "bias": True, "layout": "negative", "batch": 2}
ROW |= {"size[0]": 5, "size[1]": 6, "strides[0]": 1, "strides[1]": 2, "padding": "same"}
ROW |= {"epsilon": 0.5}


@pytest.mark.parametrize(
    ("feature", "value", "changes"),
    [
        ("height", 7, {"size[0]": 7}),
        ("width", 7, {"size[1]": 7}),
        ("strides", 3, {"strides[0]": 3, "strides[1]": 3}),
        ("kernel_size", (1, 3), {"kernel_size[0]": 1, "kernel_size[1]": 3}),
        ("strides[1]", 1, {"strides[1]": 1}),
        ("bias", "given", {"bias": True}),
        ("bias", "not given", {"bias": False}),
        ("mode", "training", {"training": True}),
        ("mode", "inference", {"training": False}),
        ("batch", 4, {"batch": 4}),
        ("padding by name", "zeros", {"padding": "same"}),
        ("padding by name", "causal", {"padding": "causal by name"}),
        ("epsilon", "1e-05", {"epsilon": 1e-5}),
        ("layout", "C", {"layout": "C"}),
        ("padding", 0, {"padding": "valid"}),
        ("padding", 3, {"padding": "3"}),
        ("padding", 2, None),
        ("in_channels", 6, {"in_channels": 2}),
        ("in_channels", 7, None),
        ("in_channels // groups", 7, {"in_channels": 7}),
        ("in_channels * depth_multiplier", 6, {"in_channels": 6, "depth_multiplier": 1}),
        ("terms", 9, None),
    ],
)
def test_the_levels_that_give_a_case_a_feature(feature, value, changes):
    assert with_feature(2, ROW, feature, value) == changes


@pytest.mark.parametrize(
    ("module", "feature", "value", "changes"),
    [
        (conv, "output height", 4, {"size[0]": 9}),
        (conv, "output width", 4, {"size[1]": 9}),
        (transposed, "output height", 9, {"size[0]": 4}),
        (transposed, "output height", 8, None),
        (conv, "terms", 54, {"in_channels": 6}),
        (conv, "terms", 5, {"kernel_size[0]": 1, "kernel_size[1]": 1, "in_channels": 5}),
        (conv, "taps", 5, None),
        (batchnorm, "terms", 36, {"batch": 4}),
        (batchnorm, "terms", 7, {"size[0]": 1, "size[1]": 1, "batch": 7}),
        (normalization, "terms", 7, {"size[0]": 7, "size[1]": 1, "channels": 1}),
    ],
)
def test_the_sizes_that_give_a_case_a_feature(module, feature, value, changes):
    precision = Precision.of(module, np.float32)
    plan = Plan(module, (2,), frozenset(defaults(module)), precision)
    row = plan.plain(2) | {"size[0]": 3, "size[1]": 3}
    if module not in (batchnorm, normalization):
        row |= {"strides[0]": 2, "strides[1]": 2, "size[0]": 5, "size[1]": 5}
        if module is transposed:
            row |= {"size[0]": 3, "size[1]": 3}
    case = case_of(module, 2, row, precision, 0)
    assert with_count(2, row, feature, value, case) == changes


@pytest.mark.parametrize("module", MODULES)
def test_no_number_of_products_or_pixels_comes_of_no_images(module):
    plan = Plan(module, (1,), frozenset(), Precision.of(module, np.float32))
    row = next(plan.extra(1))
    case = case_of(module, 1, row, plan.precision, 0)
    for feature in ("terms", "output pixels", "output length"):
        assert with_count(1, row, feature, 6, case) is None


def test_simpler_levels_come_from_the_simplest_on():
    assert list(_simpler((3, 1, 4, 6), 4)) == [1, 3]
    assert list(_simpler(("C", "Fortran", "negative"), "negative")) == ["C", "Fortran"]
    assert list(_simpler(("C", "Fortran"), "as it came")) == []
    assert list(_simpler((True, False), True)) == []


def test_trying_ends_when_calls_or_time_are_used_up(monkeypatch):
    plan, candidate, *_ = asked(conv, *right(conv), **verify.verify.__kwdefaults__)
    shrinker = Shrinker(candidate, plan)
    row = plan.plain(2)
    assert shrinker.tried(row, 2).case.row == row
    assert shrinker.tried(row | {"kernel_size[0]": 33}, 2) is None  # larger than its image
    assert shrinker.calls == 2
    monkeypatch.setattr(_shrink, "CALLS", 2)
    assert shrinker.tried(row, 2) is None
    late = time.process_time() - _shrink.SECONDS - 1
    assert Shrinker(candidate, plan, start=late).tried(row, 2) is None
    late = time.monotonic() - _shrink.WAIT - 1
    assert Shrinker(candidate, plan, begun=late).tried(row, 2) is None


def test_a_case_of_ones_own_is_not_tried_again():
    """It has no row whose levels could be changed."""
    plan, candidate, *_ = asked(conv, *right(conv), **verify.verify.__kwdefaults__)
    shrinker = Shrinker(candidate, plan)
    case = replace(case_of(conv, 2, plan.plain(2), plan.precision, 0), row=None)
    trial = candidate.examine(case)
    assert shrinker.shrunk(trial) is trial
    assert shrinker.retry([trial], "batch", 3) is None
    assert not shrinker.again(frozenset({"y"}), case)
    assert shrinker.calls == 0


def test_output_pixels_come_of_images_or_of_images_of_one_pixel():
    plan = Plan(conv, (2,), frozenset(defaults(conv)), Precision.of(conv, np.float32))
    row = plan.plain(2) | {"size[0]": 4}  # under a kernel of 3
    case = case_of(conv, 2, row, plan.precision, 0)
    assert with_count(2, row, "output pixels", 10, case) == {"batch": 5}
    alone = {"size[0]": 1, "size[1]": 1, "batch": 11}
    assert with_count(2, row, "output pixels", 11, case) == alone
