"""explain: from the numbers of one call, the slip that verify tells from many."""

import functools

import numpy as np
import pytest
from definitions import MINE, NAMES
from helpers import first_of_each
from test_verify_named import NAMED, bytes_case
from test_verify_slips import BROKEN

from convinsights import batchnorm, conv, normalization, transposed, unary
from convinsights._concepts import defaults
from convinsights.verify import BFLOAT16, TFLOAT32, explain
from convinsights.verify._candidate import Candidate
from convinsights.verify._plan import Plan
from convinsights.verify._precision import Precision

pytestmark = pytest.mark.usefixtures("few_cases")


# What only calls tell: whether an image's result hangs on the others, or on the order of memory.
OF_CALLS = ("batch_mixed", "layout_ignored", "reads_outside", "shifted")


def one_of_each(slips):
    """One way of every slip and module that one result can tell."""
    some = {(slip, module): (slip, module, *way) for slip, module, *way in reversed(slips)}
    return [slip for slip in some.values() if not slip[0].startswith(OF_CALLS)]


def captured(slip, module, forward, backward, made):
    """The report of the first of a few large calls that tells the slip, or of the last."""
    precision = Precision.of(module, np.float32)
    varied = frozenset(made[0].settings)
    named = {"forward": varied, "backward": varied}
    candidate = Candidate(module, forward, backward, precision, varied, named)
    tried = 0
    for case in sorted(made, key=lambda case: case.size, reverse=True):
        answer = candidate.ask(case)
        if not candidate.judged(case, answer).wrong or "y" not in answer.copies:
            continue
        arrays = [answer.handed[name] for name in case.names]
        gradients = dy = None
        if backward is not None:
            gradients = [answer.copies.get(name) for name in candidate.gradients]
            dy = answer.handed["dy"]
        y = answer.copies["y"]
        report = explain(module, y, *arrays, dy=dy, gradients=gradients, **case.settings)
        tried += 1
        if report.diagnosis == slip or tried == TRIED:
            break
    return report


TRIED = 6


@functools.cache
def of_plan(module):
    """Cases with padding by name."""
    varied, precision = frozenset(defaults(module)), Precision.of(module, np.float32)
    plan = Plan(module, (2,), varied, precision, names="padding" in varied)
    made = list(plan.cases())
    if "padding" in varied:
        kept = {"padding": ("same by name",), "path": ("any",), "dilation_rate[0]": (1,)}
        made += plan.of_rows(2, plan.rows(2, kept))
    return [case for case in made if case.size < 1200 and len(case.x)]


SLIPS = one_of_each(BROKEN)
SLIPS_TOO = one_of_each(NAMED)


@pytest.mark.parametrize(
    ("slip", "module", "forward", "backward"),
    first_of_each(SLIPS, [f"{s[0]}-{NAMES[s[1]]}" for s in SLIPS]),
)
def test_one_call_is_told_its_slip(slip, module, forward, backward):
    report = captured(slip, module, forward or MINE[module][0], backward, of_plan(module))
    assert report.diagnosis == slip, str(report)
    assert (report.cases, report.when) == (1, None)


@pytest.mark.parametrize(
    ("slip", "module", "make"),
    first_of_each(SLIPS_TOO, [f"{s[0]}-{NAMES.get(s[1])}" for s in SLIPS_TOO]),
)
def test_one_call_is_told_its_slip_too(slip, module, make):
    report = captured(slip, module, *make(), of_plan(module))
    assert report.diagnosis == slip, str(report)


# ---- what else may be captured

X = np.arange(60.0).reshape(1, 5, 6, 2)
KERNEL = np.arange(36.0).reshape(3, 3, 2, 2) % 5 - 2


def test_a_right_result_passes():
    y, cache = conv.forward(X, KERNEL, strides=2, padding="same")
    dy = np.ones(y.shape)
    gradients = conv.backward(dy, cache)
    settings = {"dtype": np.float64, "strides": 2, "padding": "same"}
    report = explain(conv, y, X, KERNEL, dy=dy, gradients=gradients, **settings)
    assert report.passed
    assert report.cases == 1
    assert report.power == 1
    one = explain(conv, y, X, KERNEL, dy=dy, gradients=(None, gradients.kernel, None), **settings)
    assert one.passed


@pytest.mark.parametrize("beyond", [np.inf, np.nan])
def test_what_overflows_its_format_may_be_infinite_or_nan(beyond):
    """As in float16, and in float8 without infinities."""
    x, kernel = np.full((1, 2, 1), 300.0), np.ones((1, 1, 2))
    kernel[..., 0] = 300
    y = np.array([[[beyond, 300.0]] * 2], np.float16)
    assert explain(conv, y, x, kernel, dtype=np.float16).passed
    y[0, 0, 1] = beyond
    assert not explain(conv, y, x, kernel, dtype=np.float16).passed


def test_sums_of_zeros_have_no_few_bits():
    rng = np.random.default_rng(0)
    x, kernel = np.zeros((2, 5, 3)), rng.normal(size=(2, 3, 4))
    y = rng.normal(size=conv.output_shape(x.shape, kernel.shape))
    report = explain(conv, y, x, kernel, dtype=np.float64)
    assert not report.passed
    assert "low_precision" not in str(report)


@pytest.mark.filterwarnings("ignore:invalid value")  # of the candidate's own sums
@pytest.mark.parametrize(
    ("module", "arrays"),
    [(conv, (KERNEL,)), (unary, (KERNEL[0, 0],)), (batchnorm, ()), (transposed, (KERNEL,))],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_may_hold_what_is_not_finite(module, arrays, value):
    """And then results must; one that swallows it, or spreads it, is wrong."""
    x = X.astype(float)
    x[0, 1, 2, 1] = value
    y, cache = module.forward(x, *arrays)
    dy = np.arange(y.size).reshape(y.shape) % 7.0
    given = {"dtype": np.float64, "dy": dy}
    gradients = module.backward(dy, cache)[:3]  # but for those of statistics
    assert explain(module, y, x, *arrays, gradients=gradients, **given).passed
    swallowed = explain(module, np.nan_to_num(y), x, *arrays, **given)
    assert (swallowed.passed, swallowed.diagnosis) == (False, "non_finite_swallowed")
    assert "without such numbers" not in str(swallowed)  # there was nothing else
    if module is not batchnorm:
        y[-1, -1, -1, 0] = value
        assert not explain(module, y, x, *arrays, **given).passed


@pytest.mark.parametrize("statistics", [None, batchnorm.Statistics(np.zeros(2), np.ones(2))])
def test_bits_are_read_off_no_given_moments_and_off_no_integers(statistics):
    y, _ = batchnorm.forward(X, None, None, statistics)
    noise = np.random.default_rng(0).normal(size=y.shape)
    report = explain(batchnorm, (y + noise).astype(np.float32), X, None, None, statistics)
    assert (report.passed, report.diagnosis) == (False, None)


def test_a_wrong_gradient_is_told_from_a_right_one():
    y, cache = conv.forward(X, KERNEL)
    dy = np.arange(y.size).reshape(y.shape) % 7.0
    dx, dkernel, _ = conv.backward(dy, cache)
    given = {"dtype": np.float64, "dy": dy}
    report = explain(conv, y, X, KERNEL, gradients=(dx, dkernel[::-1, ::-1], None), **given)
    assert report.diagnosis == "kernel_gradient_flipped"
    assert {failure.result for failure in report.failures} == {"dkernel"}
    assert report.where is None or "dkernel" in report.where


def test_where_is_said_of_one_result():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 20, 20, 3)).astype(np.float32)
    kernel = draw.normal(size=(3, 3, 3, 4)).astype(np.float32)
    y = conv.forward(x, kernel)[0].copy()
    y[:, :, 8:] = 7
    report = explain(conv, y, x, kernel)
    assert (report.where, report.when) == ("columns from 8 on", None)


def test_results_of_formats_are_judged_in_their_precision():
    draw = np.random.default_rng(1)
    x, kernel = draw.normal(size=(2, 6, 6, 8)), draw.normal(size=(1, 1, 8, 4))
    y = unary.forward(BFLOAT16.round(x), BFLOAT16.round(kernel))[0]
    assert explain(unary, BFLOAT16.round(y), x, kernel, dtype=BFLOAT16).passed
    assert not explain(unary, y.astype(np.float32), BFLOAT16.round(x), kernel).passed
    units = unary.forward(TFLOAT32.round(x), TFLOAT32.round(kernel))[0]
    single = x.astype(np.float32), kernel.astype(np.float32)
    assert explain(unary, units, *single, operands=TFLOAT32).passed
    assert not explain(unary, units, *single).passed


def test_sums_of_bytes_are_exact():
    case = bytes_case(-100, 100)
    arrays = [array.astype(np.int8) for array in case.arrays]
    y = case.truth["y"].astype(np.int32)
    assert explain(conv, y, *arrays, dtype=np.int8, **case.settings).passed
    narrow = y.clip(-(2**15), 2**15 - 1)
    report = explain(conv, narrow, *arrays, dtype=np.int8, **case.settings)
    assert report.diagnosis == "saturated (16 bits)"
    assert not explain(conv, y + (y == y.max()), *arrays, dtype=np.int8, **case.settings).passed


def test_normalizations_have_their_own_arrays():
    x = np.random.default_rng(2).normal(size=(2, 5, 6))
    moving = batchnorm.Statistics(np.zeros(6), np.ones(6))
    y = batchnorm.forward(x, None, None, moving)[0]
    assert explain(batchnorm, y, x, None, None, moving, dtype=float).passed
    assert explain(batchnorm, y, x, dtype=float).diagnosis == "moving_statistics_in_training"
    y = normalization.forward(x, groups=3)[0]
    assert explain(normalization, y, x, dtype=float, groups=3).passed
    assert not explain(normalization, y, x, dtype=float, groups=2).passed


def test_what_is_no_array_fails():
    (failure,) = explain(conv, "word", X, KERNEL).failures
    assert failure.message == "y: got str, expected an array (1, 3, 4, 2)"
    (failure,) = explain(conv, np.ones(3, np.float32), X, KERNEL).failures
    assert failure.message == "y: got shape (3,), expected (1, 3, 4, 2)"


def test_arguments_stay_as_they_are():
    y = conv.forward(X, KERNEL)[0]
    given = [y.copy(), X.copy(), KERNEL.copy()]
    for array in given:
        array.flags.writeable = False
    assert explain(conv, *given, dtype=float).passed


def test_arguments_come_in_every_form():
    y, _ = conv.forward(X, KERNEL, padding=1)
    forms = {"padding": np.ones((2, 2), int), "strides": np.array([1, 1]), "groups": np.int8(1)}
    assert explain(conv, y, X, KERNEL, dtype=float, **forms).passed
    moments = np.zeros(X.shape[-1]), np.ones(X.shape[-1])
    y, _ = batchnorm.forward(X, statistics=moments)
    assert explain(batchnorm, y, X, None, None, list(moments), dtype=float).passed


def test_an_image_of_which_nothing_is_finite_says_nothing():
    assert explain(conv, Y * np.nan, X * np.nan, KERNEL).declined == {"2-D captured (vain)": 1}


Y = np.ones((1, 3, 4, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: explain(np, Y, X, KERNEL), TypeError, "module must be one of"),
        (lambda: explain(conv, Y), TypeError, "arrays must be x, kernel, bias, got 0 of them"),
        (lambda: explain(conv, Y, X, KERNEL, None, X), TypeError, "got 4 of them"),
        (lambda: explain(conv, Y, X, X), ValueError, "kernel must be"),
        (lambda: explain(conv, Y, X, KERNEL, stride=2), TypeError, "stride"),
        (lambda: explain(conv, Y, X, KERNEL, gradients=(X,)), ValueError, "dy must be given"),
        (
            lambda: explain(conv, Y, X, KERNEL, dy=Y, gradients=(X,)),
            ValueError,
            r"gradients must be 3 arrays \(dx, dkernel, dbias\), got 1 entries",
        ),
        (lambda: explain(conv, Y, X, KERNEL, dy=Y, gradients=5), TypeError, "gradients must be 3"),
        (lambda: explain(conv, Y, X, KERNEL, dy=(1, (2, 3))), ValueError, "dy must be a rect"),
        (lambda: explain(conv, Y, X, ("a", "b")), TypeError, "kernel must hold real numbers"),
        (lambda: explain(batchnorm, X, X, None, None, (1,)), ValueError, "statistics must be a S"),
        (lambda: explain(conv, Y, X, KERNEL, dy=X), ValueError, "dy must be of the output's shape"),
        (lambda: explain(conv, Y, X, KERNEL, dtype=complex), TypeError, "dtype must be"),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
