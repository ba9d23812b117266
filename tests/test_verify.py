"""verify: right implementations pass, whatever their way; whatever comes back is reported."""

import dataclasses
import functools
import io
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from definitions import (
    ALL,
    MINE,
    NAMES,
    layout_of,
    my_conv,
    my_conv_gradients,
    my_unary,
    parts,
    rounded,
)
from helpers import loop_padding, says, thinned

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    normalization,
    relu,
    transposed,
    unary,
    verify,
)
from convinsights.verify._calls import MODULES
from convinsights.verify._candidate import Candidate, same_bits
from convinsights.verify._diagnosis import _gradients_beside
from convinsights.verify._given import given_cases
from convinsights.verify._hypotheses import hypotheses
from convinsights.verify._made import case_of, most_terms
from convinsights.verify._meanings import meaning
from convinsights.verify._nonfinite import judged_finite, spoil
from convinsights.verify._plan import Plan, special_cases
from convinsights.verify._precision import Precision
from convinsights.verify._stale import Earlier, mark_stale, stale_arguments
from convinsights.verify._trials import Answer, Trial
from convinsights.verify._values import Draw

pytestmark = pytest.mark.usefixtures("fewest_cases")


SOME = thinned([(m,) for m in MODULES], map(str, range(len(MODULES))), {0, 2, 6})
EXTRA = Plan.extra  # before there are fewer cases
NEEDED = {normalization: ("groups",)}  # what has no default
SOME_OF_MINE = thinned([(m,) for m in MINE], NAMES.values(), {0, 6})


def by_library(module, change=lambda y: y):
    """The module's own forward and backward as a candidate, its y changed."""

    def forward(*arrays, **hyper):
        return change(module.forward(*arrays, **hyper)[0])

    def backward(dy, *arrays, **hyper):
        gradients = module.backward(dy, module.forward(*arrays, **hyper)[1])._asdict()
        gradients.pop("statistics", None)
        return tuple(gradients.values())

    return forward, backward


def failing(report):
    return [failure.message for failure in report.failures]


# ---- right implementations


def run(module, forward=None, backward=None, **options):
    mine = MINE[module]
    options = {"supports": ALL[module]} | options
    return verify.verify(module, forward or mine[0], backward or mine[1], **options)


@pytest.mark.parametrize("module", SOME_OF_MINE)
@pytest.mark.usefixtures("more_cases")
def test_the_definition_tap_by_tap_passes(module):
    report = run(module, ranks=(1,) if module is transposed else (2,))
    report.check()
    assert report.passed
    assert report.diagnosis is None
    assert all(kind.endswith("(vain)") for kind in report.declined)


PRECISIONS = (np.float16, np.float32), (np.float16, None), (np.float64, None)
EACH_IN_EACH = [(module, *precision) for module in MINE for precision in PRECISIONS]


@pytest.mark.parametrize(
    ("module", "dtype", "accumulate"),
    thinned(EACH_IN_EACH, map(str, range(99)), {0, 1, 2, 13, 20}),
)
def test_it_passes_in_every_precision(module, dtype, accumulate):
    run(module, dtype=dtype, accumulate=accumulate, ranks=(1,)).check()


@pytest.mark.parametrize("module", SOME)
def test_the_library_passes_in_float16(module):
    candidates = by_library(module)
    verify.verify(module, *candidates, dtype=np.float16, accumulate=np.float32).check()


def by_matrix(x, kernel, bias, **hyper):
    m = conv.matrix(kernel.astype(float), x.shape[1:], **hyper)
    shape = conv.output_shape(x.shape, kernel.shape, **hyper)
    y = (x.reshape(len(x), m.shape[1]).astype(float) @ m.T).reshape(shape)
    return rounded(x, y if bias is None else y + bias)


def by_fft(x, kernel, bias, *, strides, padding, groups):
    if np.max(strides) > 1 or groups > 1:
        raise NotImplementedError("FFT needs adjacent windows")
    taps = kernel.shape[:-2]
    zeros = loop_padding(x.shape[1:-1], taps, padding=padding)
    padded = np.pad(x.astype(float), [(0, 0), *zeros, (0, 0)])
    axes = tuple(range(1, 1 + len(taps)))
    size = padded.shape[1:-1]
    images = np.fft.rfftn(padded, axes=axes)
    kernels = np.fft.rfftn(kernel.astype(float), size, axes=range(len(taps)))
    y = np.fft.irfftn(np.einsum("n...c,...co->n...o", images, kernels.conj()), size, axes=axes)
    y = y[(slice(None), *(slice(n - k + 1) for n, k in zip(size, taps, strict=True)))]
    return rounded(x, y if bias is None else y + bias)


RANKS = [1, 2, pytest.param(3, marks=pytest.mark.thorough)]


@pytest.mark.parametrize("rank", RANKS)
def test_the_explicit_matrix_passes(rank):
    report = verify.verify(conv, by_matrix, ranks=(rank,), non_finite=False)  # 0 times nan
    report.check()
    assert not report.declined


@pytest.mark.parametrize("rank", thinned([(1,), (2,), (3,)], "123", {0}))
@pytest.mark.usefixtures("more_cases")
def test_an_fft_passes_where_it_does_not_decline(rank):
    report = verify.verify(conv, by_fft, ranks=(rank,), algorithm="fft")
    report.check()
    assert sum(report.declined.values()) > 5


def backwards_sum(x, kernel, bias, *, strides, padding, dilation_rate, groups):
    """Every sum in float32, one term after the other, the last tap first."""
    zeros, size, read = layout_of(x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation_rate)
    padded = np.pad(x, [(0, 0), *zeros, (0, 0)])
    y = np.zeros((len(x), *size, kernel.shape[-1]), np.float32)
    for tap in list(np.ndindex(kernel.shape[:-2]))[::-1]:
        pixels = padded[(slice(None), *read(tap))]
        ways = parts(groups, x.shape[-1]), parts(groups, kernel.shape[-1])
        for c, o in zip(*ways, strict=True):
            for i in range(kernel.shape[-2])[::-1]:
                y[..., o] += pixels[..., c][..., i, None] * kernel[tap][i, o]
    return y if bias is None else y + bias


def test_float32_sums_in_another_order_pass():
    report = verify.verify(conv, backwards_sum)
    report.check()
    assert 0 < max(row.worst for row in report.rows) < 1


# ---- what else may come back


def test_an_exception_is_a_failure_and_ends_nothing():
    def broken(x, kernel, bias, *, groups):
        if groups > 1:
            raise KeyError("groups")
        return my_conv(x, kernel, bias, groups=groups)

    report = verify.verify(conv, broken)
    assert set(failing(report)) == {"forward raised KeyError: 'groups'"}
    assert all((f.index, f.got, f.diagnosis) == (None, None, None) for f in report.failures)
    assert report.cases > len(report.failures) > 0
    assert report.when == "groups > 1"


@pytest.mark.parametrize(
    "error", [ArithmeticError("lost"), SystemExit(3), pytest.fail.Exception("x")]
)
def test_an_exception_in_the_backward(error):
    def broken(dy, x, kernel, bias):
        raise error

    report = verify.verify(unary, my_unary, broken, supports=())
    assert set(failing(report)) == {f"backward raised {type(error).__name__}: {error}"}


def test_an_interrupt_gives_the_report_so_far():
    calls = []

    def slow(x, kernel, bias):
        calls.append(x)
        if len(calls) == 9:
            signal.raise_signal(signal.SIGINT)
        return my_conv(x, kernel, bias)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # which may be off
    try:
        report = verify.verify(conv, slow)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert report.interrupted
    assert report.cases == 8
    assert str(report).startswith("conv in float32: passed all 8 cases (interrupted)\n")


def test_what_is_not_implemented_is_declined():
    def partial(x, kernel, bias, *, groups):
        if groups > 1:
            raise NotImplementedError
        return my_conv(x, kernel, bias)

    def backward(dy, x, kernel, bias, *, groups):
        if bias is None:
            raise NotImplementedError
        return my_conv_gradients(dy, x, kernel, bias)

    report = verify.verify(conv, partial, backward)
    report.check()
    kinds = report.declined.keys()
    assert any("groups (forward)" in kind for kind in kinds)
    assert any("(backward)" in kind for kind in kinds)
    line = next(f"  {kind}: {count}" for kind, count in report.declined.items())
    assert line in str(report).splitlines()


@pytest.mark.parametrize("module", [conv, unary, depthwise])
def test_nothing_verified_is_no_pass(module):
    def no(*arrays):
        raise NotImplementedError

    report = verify.verify(module, no)
    assert (report.cases, report.failures, report.passed) == (0, (), False)
    said = f"{module.__name__.rpartition('.')[2]} in float32: nothing was verified, for no case ran"
    assert str(report).startswith(f"{said}\n")
    with pytest.raises(AssertionError, match="nothing was verified"):
        report.check()


@pytest.mark.usefixtures("more_cases")
def test_a_specialised_kernel_is_tried_on_what_it_takes():
    def three_by_three(x, kernel, bias, *, strides, padding, dilation_rate, groups):
        if (kernel.shape[:2], padding) != ((3, 3), ((1, 1), (1, 1))) or groups > 1:
            raise NotImplementedError
        if (strides, dilation_rate) != ((1, 1), (1, 1)) or kernel.shape[-1] % 2:
            raise NotImplementedError
        return my_conv(x, kernel, bias, padding=1)

    report = verify.verify(conv, three_by_three)
    report.check()
    assert report.cases >= 20
    verdict = f"conv in float32: passed {report.cases} cases, but declined "
    assert str(report).startswith(verdict)


class Convertible:
    """An array of another library, that converts itself."""

    dtype = "strange"

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise RuntimeError("lies on another device")
        return self.array


def test_arrays_that_convert_themselves_will_do():
    verify.verify(conv, lambda x, k, b: Convertible(my_conv(x, k, b))).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: None, "y: got NoneType, expected an array ("),
        (lambda y: y.tolist(), "y: got a list of "),
        (lambda y: (y, None), "y: got a tuple of 2, expected an array ("),
        (lambda y: Convertible(None), "y: got Convertible of strange, expected an array ("),
        (lambda y: y.astype(complex), "y: got ndarray of complex128, expected an array ("),
        (lambda y: y[..., 0], "y: got shape ("),
        (lambda y: y[:, :-1], "y: got shape ("),
        (lambda y: y * np.nan, "y[0, 0, 0, 0]: got nan, expected "),
        (lambda y: 0.0, "y: got float, expected an array ("),
        (lambda y: np.float32(0), "y: got shape (), expected ("),
    ],
)
def test_whatever_comes_back_is_reported(change, message):
    report = verify.verify(conv, lambda x, k, b: change(my_conv(x, k, b)))
    assert report.failures[0].message.startswith(message)
    assert report.rows[0].worst == np.inf
    assert report.diagnosis is None or "nan" in message
    assert str(report)


@pytest.mark.parametrize(
    ("gradients", "came"),
    [(None, "NoneType"), ((1, 2), "a tuple of 2"), (np.zeros(3), "ndarray of float64")],
)
def test_gradients_must_be_one_for_each_array(gradients, came):
    report = verify.verify(conv, my_conv, lambda dy, x, k, b: gradients, supports=())
    expected = f"backward returned {came}, expected 3 gradients (dx, dkernel, dbias)"
    assert set(failing(report)) == {expected}


def test_another_dtype_is_a_failure_of_its_own():
    report = verify.verify(conv, lambda x, k, b: my_conv(x, k, b).astype(float))
    assert report.diagnosis == "dtype_changed"
    assert set(failing(report)) == {"y: got dtype float64, expected float32"}


def test_a_modified_argument_is_a_failure():
    def broken(x, kernel, bias):
        y = my_conv(x, kernel, bias)
        kernel *= 2
        return y

    def broken_gradients(dy, x, kernel, bias):
        gradients = my_conv_gradients(dy, x, kernel / 2, bias)
        dy[...] = 0
        return gradients

    report = verify.verify(conv, broken, broken_gradients)
    assert {"forward modified its argument kernel", "backward modified its argument dy"} <= set(
        failing(report)
    )


def test_changed_moving_statistics_are_a_modified_argument():
    def broken(x, gamma, beta, statistics, *, epsilon):
        y = batchnorm.forward(x, gamma, beta, statistics, epsilon=epsilon)[0]
        if statistics is not None:
            statistics.mean[:] = 0
        return y

    report = verify.verify(batchnorm, broken)
    assert "forward modified its argument statistics" in failing(report)


# ---- what depends on the order of the calls

first_words = "y: a second call on the same arrays gave other bits (first "


def counting(wrong):
    """The right y, but 1 more in those calls, counted from 1, that are wrong."""
    calls = []

    def forward(x, kernel, bias, **hyper):
        calls.append(len(calls) + 1)
        return my_conv(x, kernel, bias, **hyper) + np.float32(wrong(calls[-1]))

    return forward


def test_the_first_call_is_compared_with_a_later_one():
    report = verify.verify(conv, counting(lambda call: call == 1), supports=())
    assert (report.diagnosis, report.when) == ("first_call_differs", "first call")
    assert failing(report) == [first_words + "wrong, then right)"] * len(report.failures)


def test_the_first_call_of_every_shape_is_told_from_chance():
    """As where a kernel tunes itself on its first arguments, and adds to y each time."""
    known = set()

    def forward(x, kernel, bias, **hyper):
        y = my_conv(x, kernel, bias, **hyper)
        first = (x.shape, kernel.shape) not in known
        known.add((x.shape, kernel.shape))
        return y + y if first else y

    report = verify.verify(conv, forward, supports=())
    assert (report.diagnosis, report.when) == ("first_call_differs", "first call of its kind")
    assert set(failing(report)) == {first_words + "wrong, then right)"}


@pytest.mark.parametrize("every", [2, 7, 25])
def test_calls_that_are_wrong_now_and_then_are_no_slip_of_geometry(every):
    report = verify.verify(conv, counting(lambda call: call % every == 0))
    assert report.diagnosis == "not_deterministic"
    assert report.when is None
    assert len({failure.call for failure in report.failures}) == len(report.failures), "once each"


@pytest.mark.usefixtures("more_cases")
def test_every_second_call_of_some_is_wrong():
    """The others are called again before it is said which those are."""
    calls = [0]

    def forward(x, kernel, bias, *, strides):
        calls[0] += 1
        y = my_unary(x, kernel, bias, strides=strides)
        return 2 * y + 1 if bias is not None and calls[0] % 2 else y

    report = verify.verify(unary, forward)
    assert (report.diagnosis, report.when) == ("not_deterministic", "bias given")
    assert len(report.failures) < report.cases


@pytest.mark.usefixtures("more_cases")
def test_whether_few_bits_are_seen_is_a_matter_of_chance():
    def forward(x, kernel, bias, *, strides):
        y = my_unary(x, kernel, bias, strides=strides)
        few = max(strides) > 1 and bias is not None
        return y.astype(np.float16).astype(y.dtype) if few else y

    report = verify.verify(unary, forward)
    assert (report.diagnosis, report.when) == ("low_precision (11 bits)", None)


@pytest.mark.usefixtures("more_cases")
def test_what_is_wrong_besides_is_no_slip_of_its_own():
    calls = []

    def forward(x, kernel, bias):
        calls.append(x)
        some = np.float32(1e-7 * (len(calls) % 2) if len(x) > 1 else 1)
        return my_conv(x, kernel, bias) + some

    report = verify.verify(conv, forward)
    told = {failure.diagnosis for failure in report.failures}
    assert report.diagnosis == "not_deterministic"
    assert len(told) == 2


def test_the_sign_of_0_is_a_bit_and_what_is_no_part_of_a_number_is_none():
    zero, nan = np.zeros((2, 3)), np.full(3, np.nan)
    assert same_bits(zero[:, ::-1], zero)
    assert not same_bits(zero, -zero)
    assert same_bits((nan, None), (nan.copy(), None))
    assert not same_bits(nan, -nan)
    long = np.array([1.5, np.nan], np.longdouble)
    padded = long.copy()
    part = 10 if np.finfo(long.dtype).nmant == 63 else long.itemsize
    padded.view(np.uint8).reshape(2, -1)[:, part:] = 255
    assert same_bits(padded, long)
    assert not same_bits(padded, -long)
    assert not same_bits(long, long.astype(float))


def test_results_that_differ_within_the_bound_are_not_deterministic_either():
    report = verify.verify(conv, counting(lambda call: 1e-9 * call), dtype=np.float32)
    assert report.diagnosis == "not_deterministic"
    draws = np.random.default_rng(0)

    def rounded_at_random(x, kernel, bias):
        y = my_conv(x.astype(float), kernel.astype(float), bias)
        return (y * (1 + draws.uniform(-1, 1, y.shape) * 2.0**-24)).astype(np.float32)

    report = verify.verify(conv, rounded_at_random)
    assert report.diagnosis == "not_deterministic"


def test_a_second_call_on_the_same_array():
    seen = []

    def forward(x, kernel, bias):
        again = any(one is x for one in seen)
        seen.append(x)
        return my_conv(x, kernel, bias) * np.float32(1 + again)

    report = verify.verify(conv, forward, supports=())
    assert report.diagnosis == "not_deterministic"
    assert report.when == "second call on the same array"


def test_a_buffer_that_is_handed_out_again():
    buffers = {}

    def by_shape(x, kernel, bias):
        y = my_conv(x, kernel, bias)
        buffer = buffers.setdefault(y.shape, np.empty_like(y))
        buffer[...] = y
        return buffer

    assert verify.verify(conv, by_shape).diagnosis == "output_reused"


def test_a_gradient_that_lies_in_the_memory_of_y():
    memory = np.empty(10**6, np.float32)

    def in_memory(array):
        room = memory[: array.size].reshape(array.shape)
        room[...] = array
        return room

    def backward(dy, x, kernel, bias):
        dx, *others = my_conv_gradients(dy, x, kernel, bias)
        return in_memory(dx), *others

    report = verify.verify(conv, lambda x, k, b: in_memory(my_conv(x, k, b)), backward)
    assert report.diagnosis == "output_reused"


def ends(array):
    """The first and the last number."""
    return array.ravel()[[0, -1]].tobytes() if array.size else None


KEYS = [
    (key, place)
    for key in (lambda a: a.ctypes.data, id, lambda a: a.shape, ends)
    for place in (0, 1)
]


@pytest.mark.parametrize(("key", "place"), thinned(KEYS, map(str, range(8)), {0, 3, 4, 7}))
@pytest.mark.usefixtures("more_cases")
def test_an_argument_that_is_remembered(key, place):
    kept = {}

    def forward(*arrays):
        arrays = [*arrays]
        array = arrays[place]
        arrays[place] = kept.setdefault((key(array), array.shape), (array.copy(), array))[0]
        return my_conv(*arrays)

    report = verify.verify(conv, forward, supports=())
    assert report.diagnosis == "stale_argument"
    name = ("x", "kernel")[place]
    assert f"y: earlier values of {name} were used, though they had changed" in failing(report)


def test_gradients_that_are_remembered():
    kept = {}

    def backward(dy, x, kernel, bias):
        key = x.tobytes(), kernel.tobytes()
        if key not in kept:
            kept[key] = my_conv_gradients(dy, x, kernel, bias)
        return tuple(None if a is None else a.copy() for a in kept[key])

    report = verify.verify(conv, lambda x, k, b: my_conv(x, k, b), backward, supports=())
    assert report.diagnosis == "stale_argument"
    assert "dkernel: earlier values of dy were used, though they had changed" in failing(report)


def test_statistics_that_are_remembered():
    kept = {}

    def forward(x, gamma, beta, statistics, *, epsilon):
        if statistics is not None:
            statistics = kept.setdefault(x.shape[-1], statistics)
        return batchnorm.forward(x, gamma, beta, statistics, epsilon=epsilon)[0]

    report = verify.verify(batchnorm, forward)
    assert report.diagnosis == "stale_argument"
    assert "y: earlier values of statistics were used, though they had changed" in failing(report)


def test_a_padding_by_name_that_is_refused_hides_no_remembered_kernel():
    kept = {}

    def forward(x, kernel, bias, *, padding):
        if isinstance(padding, str):
            raise TypeError("no names")
        return my_conv(x, kept.setdefault(kernel.shape, kernel.copy()), bias, padding=padding)

    assert verify.verify(conv, forward).diagnosis == "stale_argument"


def test_arrays_are_changed_for_those_alone_that_still_answer():
    def forward(x, kernel, bias, **hyper):
        raise MemoryError

    case = own_case(unary, x_shape=(2, 5, 3), kernel_shape=(1, 3, 4))
    passed = {"forward": frozenset(), "backward": frozenset()}
    precision = Precision.of(unary, np.float16)
    candidate = Candidate(unary, forward, None, precision, frozenset(), passed)
    assert list(stale_arguments(candidate, [(case, case)])) == []


def remembered(*trials):
    earlier = Earlier()
    for trial in trials:
        earlier.add(trial)
    return list(earlier.told())


def test_what_is_the_same_in_two_cases_is_not_taken_for_earlier_values():
    before = own_case(unary, x_shape=(2, 5, 3), kernel_shape=(1, 3, 4))
    x, kernel, bias = before.arrays
    case = dataclasses.replace(before, arrays=(x.copy(), kernel + 1, bias))
    allowed = {"y": np.full(case.dy.shape, 0.1)}

    def trial(y):
        return Trial(case, allowed, {"y": y}, {"y"})

    right, coarse, stale = Trial(before), trial(case.truth["y"] + 0.15), trial(before.truth["y"])
    assert remembered(right, coarse) == []
    assert remembered(right, stale) == [(stale, "kernel")]
    assert remembered(right, stale, coarse) == remembered(right, coarse, stale) == []


@pytest.mark.parametrize(("wrong", "told"), [("dbias y", "y"), ("dx dkernel", "dkernel")])
def test_a_remembered_array_is_told_by_y_where_that_is_wrong(wrong, told):
    case = own_case(unary, x_shape=(2, 5, 3), kernel_shape=(1, 3, 4))
    (failure,) = mark_stale(Trial(case, wrong={*wrong.split()}), "kernel").failures
    assert failure.message == f"{told}: earlier values of kernel were used, though they had changed"


def test_earlier_hyperparameters_are_told_by_what_they_give():
    def strided(step):
        return own_case(unary, x_shape=(2, 5, 3), kernel_shape=(1, 3, 4), strides=(step,))

    before = strided(3)
    case, wider = (dataclasses.replace(strided(s), arrays=before.arrays) for s in (4, 1))
    stale = Trial(case, {"y": np.full(case.dy.shape, 0.1)}, {"y": before.truth["y"]}, {"y"})
    assert remembered(Trial(before), stale) == [(stale, "the hyperparameters")]
    assert remembered(Trial(wider), stale) == []


# ---- numbers that are not finite


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda y: np.fmax(y, np.finfo(y.dtype).min), "non_finite_swallowed"),
        (lambda y: np.nan_to_num(y), "non_finite_swallowed"),
        (lambda y: np.clip(y, -1e30, 1e30), "non_finite_swallowed"),
        (lambda y: y + 0 * y.sum(), "non_finite_spread"),
        (lambda y: y + 0 * y[..., ::-1], "non_finite_spread"),
        (lambda y: y + 0 * y[-1:], "non_finite_spread"),
    ],
)
@pytest.mark.parametrize(
    "module", thinned([(conv,), (batchnorm,), (transposed,), (normalization,)], "cbtn", {0, 1})
)
@pytest.mark.filterwarnings("ignore:.*(invalid|overflow):RuntimeWarning")
@pytest.mark.usefixtures("more_cases")
def test_what_is_not_finite_is_neither_swallowed_nor_spread(module, change, name):
    if module in (batchnorm, normalization) and "spread" in name:
        change = functools.partial(lambda y: y + 0 * y[..., ::-1])
    forward = by_library(module, change)[0]
    report = verify.verify(module, forward, supports=NEEDED.get(module, ()))
    assert report.diagnosis == name
    spoilt = {row.kind for row in report.rows if row.failed}
    assert all(re.search(r" (nan|inf) in \w+$", kind) for kind in spoilt), "else all is right"


def test_what_is_not_finite_is_not_tried_unless_it_is_wanted():
    forward = by_library(conv, np.nan_to_num)[0]
    assert verify.verify(conv, forward, supports=(), non_finite=False).passed


def test_a_nan_in_a_neighbour_is_told_by_the_element_that_it_comes_from():
    def paired(x, kernel, bias):
        # Two columns are multiplied together, the second by 0 where it is not wanted.
        y = my_conv(x, kernel, bias)
        y[:, :, :-1] += 0 * y[:, :, 1:]
        return y

    report = verify.verify(conv, paired)
    lines = str(report).splitlines()
    assert report.diagnosis == "non_finite_spread"
    assert lines[3] == "  all is right without such numbers (non_finite=False)"
    assert any("though it does not read x[" in failure.message for failure in report.failures)
    assert any(re.search(r"\], which is nan \(", failure.message) for failure in report.failures)
    assert verify.verify(conv, paired, non_finite=False).passed


def test_a_mask_of_the_border_spreads_what_is_infinite():
    def masked(x, kernel, bias, *, padding):
        # The whole padded image times 0 or 1: right unless a pixel beside the mask is infinite.
        zeros = [(0, 0), *padding, (0, 0)]
        wide = np.pad(x, zeros, mode="edge") * np.pad(np.ones_like(x), zeros)
        return my_conv(wide, kernel, bias)

    report = verify.verify(conv, masked)
    assert report.diagnosis == "non_finite_spread"


@pytest.mark.filterwarnings("ignore:.*invalid:RuntimeWarning")
@pytest.mark.usefixtures("more_cases")
def test_a_depthwise_gradient_may_be_cut_out_of_that_of_one_large_kernel():
    forward, backward = by_library(depthwise)

    def cut(*arrays, **hyper):
        dx, dkernel, dbias = backward(*arrays, **hyper)
        return dx, dkernel + 0 * dkernel.sum(axis=-2, keepdims=True), dbias

    assert verify.verify(depthwise, forward, cut).passed


def test_one_of_the_special_cases_has_a_bias_in_groups():
    def case(kind, groups, bias):
        one = own_case(conv, x_shape=(2, 5, 6), kernel_shape=(1, 6 // groups, 6), groups=groups)
        arrays = one.arrays if bias else (*one.arrays[:2], None)
        return dataclasses.replace(one, kind=kind, row={}, arrays=arrays)

    def chosen(*cases):
        return [
            (c.kind, c.settings["groups"], c.arrays[2] is not None) for c in special_cases(cases)
        ]

    plain = [case(kind, 2, bias=False) for kind in "abcde"]
    first = [(kind, 2, False) for kind in "abcd"]
    assert chosen(*plain) == first
    biased, grouped = case("a", 1, bias=True), case("a", 3, bias=True)
    assert chosen(*plain, biased) == [*first, ("a", 1, True)]
    assert chosen(*plain, biased, grouped) == [*first, ("a", 3, True)]
    assert chosen(grouped, *plain, biased) == [("a", 3, True), *first[1:]]


def test_a_nan_of_dy_spreads_over_no_gradient_of_the_bias_not_even_in_groups():
    case = own_case(conv, x_shape=(2, 5, 4), kernel_shape=(3, 2, 6), groups=2)
    spoilt = next(one for one in spoil([case], [np.nan], gradients=True) if one.name == "dy")
    dbias = spoilt.case.truth["dbias"]
    for came, told in ((dbias, []), (dbias + dbias[-1], ["non_finite_spread"])):
        trial = judged_finite(spoilt, Answer({}, copies={"dbias": came}), local=True)
        assert [failure.diagnosis for failure in trial.failures] == told


def test_a_nan_of_a_kernel_of_which_no_tap_meets_a_pixel_may_meet_zeros():
    """The pixel's stamp lies on odd pixels, of which padding leaves the even ones."""
    settings = {"strides": 1, "dilation_rate": 2, "padding": 3}
    case = own_case(transposed, x_shape=(2, 1, 4), kernel_shape=(4, 3, 4), **settings)
    spoilt = next(one for one in spoil([case], [np.nan], gradients=False) if one.name == "kernel")
    y = spoilt.case.truth["y"]
    assert (y == y[0, 0]).all()  # the bias alone
    trial = judged_finite(spoilt, Answer({}, copies={"y": y + np.nan}), local=True)
    assert not trial.failures


def test_a_backward_that_declines_everything_leaves_the_forward_to_be_tried_on():
    def declines(*arrays, **hyper):
        raise NotImplementedError

    kept = {}

    def remembers(x, kernel, *bias, **hyper):
        kernel = kept.setdefault((x.shape, x.tobytes(), kernel.shape), kernel.copy())
        return conv.forward(x, kernel, *bias, **hyper)[0]

    swallows = by_library(conv, np.nan_to_num)[0]
    tried = functools.partial(verify.verify, conv, backward=declines, ranks=(1,))
    assert tried(swallows).diagnosis == "non_finite_swallowed"
    assert tried(remembers).diagnosis == "stale_argument"
    assert tried(by_library(conv)[0]).passed


def test_gradients_that_swallow_what_is_not_finite():
    forward, backward = by_library(conv)

    def broken(*arrays, **hyper):
        dx, dkernel, dbias = backward(*arrays, **hyper)
        return dx, np.nan_to_num(dkernel), dbias

    report = verify.verify(conv, forward, broken)
    assert report.diagnosis == "non_finite_swallowed"
    assert {failure.result for failure in report.failures} == {"dkernel"}


# ---- which cases


def signature(forward, **options):
    """Which hyperparameters the candidate is passed, and which of them are varied."""
    seen = {}

    def spy(x, kernel, bias, **hyper):
        for name, value in hyper.items():
            seen.setdefault(name, set()).add(str(value))
        return forward(x, kernel, bias, **hyper)

    if "supports" not in options:
        spy.__signature__ = __import__("inspect").signature(forward)
    verify.verify(conv, spy, **options).check()
    return {name: len(values) > 1 for name, values in seen.items()}


def test_the_signature_says_what_is_varied():
    def some(x, kernel, bias, strides, *, padding):
        return my_conv(x, kernel, bias, strides=strides, padding=padding)

    assert signature(some) == {"strides": True, "padding": True}
    every = dict.fromkeys(ALL[conv], True)
    assert signature(lambda x, k, b, **hyper: my_conv(x, k, b, **hyper)) == every
    assert signature(lambda x, k, b: my_conv(x, k, b)) == {}


def test_supports_says_what_is_varied_and_the_named_rest_is_passed():
    assert signature(my_conv, supports=["groups"]) == {"groups": True}

    def named(x, kernel, bias, *, strides, groups):
        assert strides == (1, 1)
        return my_conv(x, kernel, bias, groups=groups)

    verify.verify(conv, named, supports=("groups",)).check()


def test_what_has_no_signature_is_passed_everything():
    class Hidden:
        __signature__ = "none"

        def __call__(self, x, kernel, bias, **hyper):
            assert set(hyper) == set(ALL[conv])
            return my_conv(x, kernel, bias, **hyper)

    verify.verify(conv, Hidden()).check()


def handed(forward, **options):
    """Every hyperparameter as it is handed over."""
    seen = {}

    def spy(x, kernel, bias, **hyper):
        for name, value in hyper.items():
            seen.setdefault(name, []).append(value)
        return forward(x, kernel, bias, **hyper)

    spy.__signature__ = __import__("inspect").signature(forward)
    verify.verify(conv, spy, **options).check()
    return seen


def test_canonical_forms_are_tuples_and_pairs():
    def forward(x, kernel, bias, *, strides, padding: tuple, dilation_rate, groups):
        hyper = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
        return my_conv(x, kernel, bias, groups=groups, **hyper)

    seen = handed(forward)
    assert all(type(g) is int for g in seen["groups"])
    for value in seen["strides"] + seen["dilation_rate"]:
        assert type(value) is tuple
        assert [type(entry) for entry in value] == [int, int]
    for pairs in seen["padding"]:
        assert type(pairs) is tuple
        assert all(type(pair) is tuple and len(pair) == 2 for pair in pairs)


def test_names_are_handed_over_to_those_that_take_them():
    def by_default(x, kernel, bias, *, padding="valid"):
        return my_conv(x, kernel, bias, padding=padding)

    def by_annotation(x, kernel, bias, *, padding: "str | tuple"):
        return my_conv(x, kernel, bias, padding=padding)

    def bare(x, kernel, bias, *, padding):
        return my_conv(x, kernel, bias, padding=padding)

    def pairs_only(x, kernel, bias, *, padding):
        if isinstance(padding, str):
            raise TypeError("no names")
        return my_conv(x, kernel, bias, padding=padding)

    def pairs_by_default(x, kernel, bias, *, padding=((0, 0), (0, 0))):
        return my_conv(x, kernel, bias, padding=padding)

    for taking in (by_default, by_annotation, bare, pairs_only):
        assert "same" in [p for p in handed(taking)["padding"] if isinstance(p, str)]
    assert not [p for p in handed(pairs_by_default)["padding"] if isinstance(p, str)]
    seen = verify.verify(conv, pairs_only, supports=("padding", "same"))
    assert "forward raised TypeError: no names" in failing(seen)


def test_all_forms_are_tried_if_asked_for():
    seen = handed(lambda x, k, b, **hyper: my_conv(x, k, b, **hyper), forms="all")
    assert {type(value) for value in seen["strides"]} == {int, tuple, list}
    said = {type(value) for value in seen["padding"]}
    assert said == {int, tuple, list, str}


def test_cases_of_the_authors_own_come_in_addition():
    seen = []

    def spy(x, kernel, bias, **hyper):
        seen.append((x.shape, kernel.shape, hyper["strides"], hyper["padding"]))
        return my_conv(x, kernel, bias, **hyper)

    own = {"x_shape": (1, 9, 10, 4), "kernel_shape": (3, 4, 4, 5), "strides": 2, "padding": "same"}
    report = verify.verify(conv, spy, cases=[own])
    report.check()
    wanted = ((1, 9, 10, 4), (3, 4, 4, 5), (2, 2), ((1, 1), (1, 1)))
    assert seen[:2] == [wanted] * 2
    assert next(row for row in report.rows if row.kind == "cases[0]").cases == 2


@pytest.mark.parametrize("module", SOME)
def test_own_cases_of_every_module(module):
    shapes = {
        "conv": [(3, 3, 2, 4)],
        "dilated": [(3, 3, 2, 4)],
        "transposed": [(3, 3, 4, 2)],
        "unary": [(1, 1, 2, 4)],
        "depthwise": [(3, 3, 2, 4)],
        "depthwise_separable": [(3, 3, 2, 4), (1, 1, 8, 3)],
    }.get(NAMES.get(module, ""), [])
    own = dict(zip((f"{n}_shape" for n in module.Gradients._fields[1:-1]), shapes, strict=False))
    own |= {"x_shape": (2, 7, 8, 2)} | ({"groups": 2} if module is normalization else {})
    needed = NEEDED.get(module, ())
    report = verify.verify(module, *by_library(module), supports=needed, cases=[own])
    report.check()
    assert "cases[0]" in {row.kind for row in report.rows}


@pytest.mark.parametrize(
    ("module", "own", "words"),
    [
        (normalization, {"x_shape": (2, 3, 3, 4), "groups": 3}, "groups"),
        (normalization, {"x_shape": (2, 3, 3, 4), "groups": 0}, "groups"),
        (normalization, {"x_shape": (2, 3, 3, 4), "epsilon": -1}, "epsilon"),
        (normalization, {"x_shape": (2,)}, "x"),
        (normalization, {"x_shape": ()}, "x"),
        (batchnorm, {"x_shape": (0, 3, 3, 4)}, "x"),
        (batchnorm, {"x_shape": ()}, "x"),
        (batchnorm, {"x_shape": (2, 3, 3, 4), "epsilon": -1.0}, "epsilon"),
    ],
)
def test_own_cases_that_do_not_go_together_are_refused_at_once(module, own, words):
    def never(*arrays, **hyper):
        raise AssertionError

    with pytest.raises(ValueError, match=rf"^cases\[0\]: {words} must "):
        verify.verify(module, never, supports=NEEDED.get(module, ()), cases=[own])


def own_case(module, **given):
    precision = Precision.of(module, np.float16)
    integers, normal = given_cases(module, 0, given, precision, 0)
    assert (integers.values, normal.values) == ("integers", "normal")
    return integers


def test_own_cases_are_written_as_a_kernel_gets_them():
    case = own_case(unary, x_shape=(2, 5, 6, 3), kernel_shape=(3, 4), strides=2)
    assert [array.shape for array in case.arrays] == [(2, 5, 6, 3), (3, 4), (4,)]
    assert case.settings == {"strides": (2, 2)}
    assert case.dy.shape == (2, 3, 3, 4)
    shapes = {"kernel_shape": (3, 3, 2, 2), "pointwise_kernel_shape": (1, 1, 4, 3)}
    case = own_case(depthwise_separable, x_shape=(2, 7, 8, 2), padding="same", **shapes)
    assert [array.shape for array in case.arrays] == [(2, 7, 8, 2), *shapes.values(), (3,)]
    assert case.settings["padding"] == ((1, 1), (1, 1))
    assert case.settings["strides"] == case.settings["dilation_rate"] == (1, 1)


@pytest.mark.parametrize(
    ("batch", "taps", "filters", "most"),
    [
        (64, 3, 1, 64 * 9 * 3),  # of a tap's gradient: every pixel, by every filter
        (1, 2, 40, 2 * 6 * 40),  # of a pixel's: the taps, mixed channels and filters
        (64, 1, 2, 64 * 9 * 2),
        (64, 3, 2, 64 * 9 * 3),
    ],
)
def test_a_sum_over_two_steps_has_so_many_products_at_most(batch, taps, filters, most):
    kernels = [(taps, 3, 2), (1, 6, filters)]
    assert most_terms((batch, 9, 3), kernels, (batch, 9, filters), 1) == most


def test_a_sum_of_one_channel_is_short_however_many_there_are():
    """So float16 still holds it, and no integer has to be 0."""
    case = own_case(depthwise, x_shape=(2, 4, 4, 300), kernel_shape=(3, 3, 300, 1))
    assert case.x.all()
    assert case.arrays[1].all()


@pytest.mark.parametrize("factors", [2, 3])
def test_sums_of_integers_are_small_however_many_numbers_a_product_has(factors):
    precision = Precision.of(conv, verify.BFLOAT16)  # integers up to 256
    for terms in range(1, 65):
        drawn = Draw([0], "integers", precision, terms, factors)((500,))
        assert terms * np.abs(drawn).max() ** factors <= 256
        assert drawn.all()
    draw = Draw([0], "integers", precision, 4096, factors)
    products = np.prod([draw((64, 4096)) for _ in range(factors)], axis=0)
    assert 60 < np.count_nonzero(products) / 64 < 68, "a quarter of 256"


def test_a_row_gives_two_kernels_their_shapes():
    simple = {"path": "", "values": "integers", "layout": "C", "bias": True, "padding": "same"}
    row = {**simple, "batch": 2, "size[0]": 9, "strides[0]": 1, "dilation_rate[0]": 1}
    row |= {"kernel_size[0]": 4, "in_channels": 3, "depth_multiplier": 2, "out_channels": 5}
    precision = Precision.of(depthwise_separable, np.float16)
    case = case_of(depthwise_separable, 1, row, precision, 0)
    assert [array.shape for array in case.arrays] == [(2, 9, 3), (4, 3, 2), (1, 6, 5), (5,)]


@pytest.mark.usefixtures("more_cases")
def test_memory_is_arranged_as_in_life():
    seen = set()

    def spy(x, kernel, bias):
        seen.add((x.flags.c_contiguous, x.flags.f_contiguous, x.flags.aligned, min(x.strides) < 0))
        seen.add(("broadcast", len(x) > 1 and x.strides[0] == 0))
        if not x.flags.owndata and x.base is not None and isinstance(x.base, np.ndarray):
            seen.add(("in a larger array", x.base.size > x.size))
        return my_conv(x, kernel, bias)

    verify.verify(conv, spy).check()
    assert ("broadcast", True) in seen
    assert ("in a larger array", True) in seen
    assert any(len(one) == 4 and not one[2] for one in seen)
    assert any(len(one) == 4 and one[3] for one in seen)


def test_the_same_seed_gives_the_same_report():
    def off(x, kernel, bias):
        return my_unary(x, kernel, bias) + np.float32(1)

    first, again, other = (verify.verify(unary, off, seed=seed) for seed in (3, 3, 4))
    assert str(first) == str(again)
    assert str(first) != str(other)


# ---- the report


def test_the_report_in_words():
    def broken(x, kernel, bias, *, strides):
        return my_conv(x, kernel[::-1, ::-1], bias, strides=strides)

    report = verify.verify(conv, broken, seed=1)
    lines = str(report).splitlines()
    failed = sum(row.failed for row in report.rows)
    assert lines[0] == f"conv in float32: {failed} of {report.cases} cases failed"
    assert lines[1] == "diagnosis: kernel_flipped"
    assert lines[2] == "  the taps are read from the last to the first"
    start = lines.index("smallest failing case:")
    assert re.match(r"  forward\(x=\w+ \(.*\), kernel=\w+ \(.*\)", lines[start + 1])
    assert re.search(r"y.*: got .*, expected .*", lines[start + 2])
    assert re.fullmatch("geometry +cases  failed  error / allowed", lines[start + 4])
    assert any(line.startswith("power: one forgotten product is seen in ") for line in lines)
    with pytest.raises(AssertionError) as caught:
        report.check()
    assert str(caught.value) == str(report)


@pytest.mark.usefixtures("more_cases")
def test_the_smallest_failing_case_is_as_small_as_can_be():
    def broken(x, kernel, bias, *, strides):
        y = my_conv(x, kernel, bias, strides=strides)
        return y + np.float32(x.shape[-1] >= 6 and max(strides) > 1)

    report = verify.verify(conv, broken)
    least = min(report.failures, key=lambda failure: failure.size)
    assert least.arrays["x"].shape == (1, 1, 1, 6)
    assert least.arrays["kernel"].shape == (1, 1, 6, 1)
    assert report.when == "in_channels >= 6 and strides > 1"


def test_the_smallest_failing_case_raises_what_the_others_raise():
    """Though what is still smaller raises something else."""

    def broken(x, kernel, bias):
        if x.size == 1:
            raise ValueError("an image of one number")
        if min(x.strides) < 0:
            raise ValueError(f"negative strides at 0x7f{x.size:x} of {x.shape}")
        return my_conv(x, kernel, bias)

    report = verify.verify(conv, broken)
    assert all(": negative strides at 0x7f" in failure.message for failure in report.failures)
    assert report.failures[-1].arrays["x"].size == 3  # made smaller


def test_every_wrong_result_is_told_once_and_one_that_has_outputs_is_shown():
    def broken(x, kernel, bias):
        return np.append(my_conv(x, kernel, bias), np.float32(0))

    own = [{"x_shape": (0, 3, 3, 1), "kernel_shape": (2, 2, 1, 1)}]
    report = verify.verify(conv, broken, cases=own)
    told = [(f.call, f.result, f.message, id(f.arrays["x"])) for f in report.failures]
    assert len(set(told)) == len(told)
    assert {f.size for f in report.failures if f.empty} == {4 + 1}  # a kernel and a bias
    shown = str(report).split("smallest failing case:\n  ")[1].split("\n")[0]
    assert {f.empty for f in report.failures if f.call == shown} == {False}


def test_an_own_case_of_no_images_in_integers():
    def integer(x, kernel, bias, **hyper):
        wide = (None if a is None else a.astype(np.int32) for a in (x, kernel, bias))
        return conv.forward(*wide, **hyper)[0].astype(np.int32)

    own = [{"x_shape": (0, 5, 3), "kernel_shape": (3, 3, 4)}]
    verify.verify(conv, integer, dtype=np.int8, ranks=(1,), cases=own).check()


@pytest.mark.parametrize("module", SOME)
def test_a_kernel_that_takes_no_empty_batch(module, monkeypatch):
    monkeypatch.setattr(Plan, "extra", lambda plan, rank: [next(EXTRA(plan, rank))])
    forward, _ = by_library(module)

    def broken(*arrays, **hyper):
        if not len(arrays[0]):
            raise ValueError("no images")
        return forward(*arrays, **hyper)

    report = verify.verify(module, broken, ranks=(1, 2), supports=NEEDED.get(module, ()))
    assert failing(report) == ["forward raised ValueError: no images"] * 2
    assert (report.diagnosis, report.when, report.where) == (None, "batch == 0", None)


def test_the_package_says_where_to_read_what():
    modules = {path.stem for path in Path(verify.__file__).parent.glob("_*.py")} - {"__init__"}
    assert sorted(re.findall(r"_[a-z_]+", verify.__doc__)) == sorted(modules)


def test_beside_the_gradient_of_a_bias_the_other_gradients_count():
    case = own_case(unary, x_shape=(2, 5, 3), kernel_shape=(1, 3, 4))
    trial = Trial(case, got=dict.fromkeys(("y", "dx", "dkernel", "dbias")))
    assert _gradients_beside((0, "dbias"), [trial]) == [(0, "dx"), (0, "dkernel")]
    assert _gradients_beside((0, "dx"), [trial]) == []


def test_every_name_of_a_slip_has_a_meaning():
    slips = {slip.name for module in MODULES for slip in hypotheses(module)}
    sources = (path.read_text() for path in Path(verify.__file__).parent.glob("*.py"))
    written = set(re.findall(r'(?:diagnosis=|name = f?)"([a-z_]{3,})', "".join(sources)))
    assert len(slips) > 30
    assert {"one_pass_variance", "shifted", "stale_argument"} <= written
    assert {meaning(name) for name in slips | written} <= set(verify.SLIPS.values())
    for name in ("shifted by (0, -1)", "saturated (8 bits)", "first_axis_for_all (strides)"):
        assert meaning(name) == verify.SLIPS[re.match("[a-z_]+[a-z]", name)[0]]


def test_a_passing_report_in_words():
    report = verify.verify(
        conv, my_conv, dtype=np.float16, accumulate="float32", supports=("groups",)
    )
    text = str(report)
    title = f"conv in float16 summed in float32: passed all {report.cases} cases"
    assert text.startswith(title)
    assert "diagnosis" not in text
    assert "failing" not in text
    assert "declined" not in text
    report.check()


def test_a_failure_says_where_and_by_how_much():
    def broken(x, kernel, bias):
        y = my_conv(x, kernel, bias)
        if y.size:
            y[-1, -1, 0, -1] += 7
        return y

    failure = verify.verify(conv, broken).failures[0]
    assert failure.result == "y"
    assert failure.got - failure.expected == pytest.approx(7, abs=1e-4)
    assert 0 <= failure.allowed < 1e-4
    y = my_conv(*(failure.arrays[name] for name in ("x", "kernel", "bias")))
    assert y[failure.index] == pytest.approx(failure.expected)
    assert f"(1 of {y.size} elements wrong)" in failure.message


def test_power_is_what_one_forgotten_product_would_show():
    full = verify.verify(conv, my_conv)
    assert full.power > 0.99
    coarse = verify.Format("coarse", 2, -126, 3 * 2.0**126)

    def in_two_bits(x, kernel, bias):
        return coarse.round(my_conv(x.astype(float), kernel.astype(float), bias))

    weak = verify.verify(conv, in_two_bits, dtype=coarse)
    assert weak.passed
    assert weak.power < 0.9
    little = dataclasses.replace(weak, power=0.1)
    words = f"passed all {weak.cases} cases, but of little power: one forgotten product would be "
    assert f"{words}seen in 10% of the outputs\n" in str(little)


class Terminal(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def test_progress_shows_on_a_terminal_and_goes_away(monkeypatch):
    for terminal in (True, False):
        stream = Terminal(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        verify.verify(unary, lambda x, k, b: my_unary(x, k, b))
        text = stream.getvalue()
        if not terminal:
            assert text == ""
            continue
        assert "\runary in float32: case 1, 2-D " in text
        assert "calling again" in text
        assert "looking for what is wrong" in text
        assert "\n" not in text
        assert text.endswith("\r" + " " * 79 + "\r")
        assert {len(part) for part in text.split("\r")} == {0, 79}


# ---- refusals

ONE, IMAGE, KERNEL = np.ones(3), np.ones((1, 4, 4, 1)), np.ones((1, 1, 1, 1))


def same(x):
    return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: verify.verify(relu, same),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, normalization, transposed, unary, got <module 'conv...>"
            ),
        ),
        (
            lambda: verify.verify("conv", same),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, normalization, transposed, unary, got 'conv'"
            ),
        ),
        (lambda: verify.verify(conv, 3), TypeError, "forward must be callable, got 3"),
        (lambda: verify.verify(conv, None), TypeError, "forward must be callable, got None"),
        (lambda: verify.verify(conv, same, 3), TypeError, "backward must be callable, got 3"),
        (
            lambda: verify.verify(conv, same, dtype=np.int64),
            TypeError,
            "dtype must be float16, float32, float64, int8, int16, uint8, uint16 or a Format, "
            "got int64",
        ),
        (
            lambda: verify.verify(conv, same, accumulate=np.int64),
            TypeError,
            "accumulate must be float16, float32, float64 or a Format, got int64",
        ),
        (lambda: verify.verify(conv, same, ranks=2), TypeError, "ranks must be a sequence, got 2"),
        (
            lambda: verify.verify(conv, same, ranks=np.array(2)),
            TypeError,
            "ranks must be a sequence, got array(2)",
        ),
        (
            lambda: verify.verify(conv, same, ranks="2"),
            TypeError,
            "ranks must be a sequence, got '2'",
        ),
        (
            lambda: verify.verify(conv, same, ranks=()),
            ValueError,
            "ranks must name one rank at least, got none",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(4,)),
            ValueError,
            "ranks must be from 1 to 3, got 4",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(0,)),
            ValueError,
            "ranks must be at least 1, got 0",
        ),
        (
            lambda: verify.verify(conv, same, ranks=(1.5,)),
            TypeError,
            "ranks must be an integer, got 1.5",
        ),
        (lambda: verify.verify(conv, same, seed=-1), ValueError, "seed must be at least 0, got -1"),
        (
            lambda: verify.verify(conv, same, supports="groups"),
            TypeError,
            "supports must be a sequence, got 'groups'",
        ),
        (
            lambda: verify.verify(conv, same, supports=3),
            TypeError,
            "supports must be a sequence, got 3",
        ),
        (
            lambda: verify.verify(unary, same, supports=["strides", "groups", 3, [1]]),
            ValueError,
            "supports must name hyperparameters of unary (strides), got 3, [1], groups",
        ),
        (
            lambda: verify.error_bound(relu, ONE, dtype="float32"),
            TypeError,
            (
                "module must be one of batchnorm, conv, depthwise, depthwise_separable, "
                "dilated, normalization, transposed, unary, got <module 'conv...>"
            ),
        ),
        (
            lambda: verify.error_bound(conv, ONE, KERNEL, dtype=np.float32),
            ValueError,
            "x must be (N, …, C), got shape (3,)",
        ),
        (
            lambda: verify.error_bound(conv, IMAGE, ONE, dtype=np.float32),
            ValueError,
            (
                "kernel must be (*kernel_size, C_in // groups, C_out) with one, two or three "
                "spatial axes and no size of 0, got shape (3,)"
            ),
        ),
        (
            lambda: verify.error_bound(conv, [1j], ONE, dtype=np.float32),
            TypeError,
            (
                "x must hold real numbers (float16, float32, float64, integers or bools), got "
                "dtype complex128"
            ),
        ),
        (
            lambda: verify.error_bound(conv, IMAGE, dtype="f4"),
            TypeError,
            (
                "kernel must hold real numbers (float16, float32, float64, integers or bools), "
                "got None"
            ),
        ),
        (
            lambda: verify.error_bound(conv, *[ONE] * 4, dtype="f4"),
            TypeError,
            "arrays must be x, kernel, bias, got 4 of them",
        ),
        (
            lambda: verify.verify(conv, same, forms=ONE),
            TypeError,
            "forms must be a string, one of ('canonical', 'all'), got array([1., 1., 1.])",
        ),
        (
            lambda: verify.verify(conv, same, forms="some"),
            ValueError,
            "forms must be one of ('canonical', 'all'), got 'some'",
        ),
        (
            lambda: verify.verify(conv, same, algorithm="fast"),
            ValueError,
            "algorithm must be one of ('direct', 'winograd', 'fft'), got 'fast'",
        ),
        (
            lambda: verify.verify(conv, same, thorough=1),
            TypeError,
            "thorough must be a bool, got 1",
        ),
        (
            lambda: verify.verify(conv, same, non_finite=None),
            TypeError,
            "non_finite must be a bool, got None",
        ),
        (
            lambda: verify.verify(conv, same, cases=[3]),
            TypeError,
            "cases[0] must be a mapping, got 3",
        ),
        (
            lambda: verify.verify(conv, same, cases={}),
            TypeError,
            "cases must be a sequence, got {}",
        ),
        (
            lambda: verify.verify(conv, same, cases=[{"x_shape": (1, 4, 4, 1)}]),
            ValueError,
            "cases[0]: it must have x_shape, kernel_shape and hyperparameters of conv, got x_shape",
        ),
        (
            lambda: verify.verify(
                conv, same, cases=[{"x_shape": (1, 4, 4, 1), "kernel_shape": (5, 5, 1, 1)}]
            ),
            ValueError,
            "cases[0]: kernel does not fit its padded input: effective kernel size (5, 5), padded "
            "input size (4, 4) (input (4, 4), padding ((0, 0), (0, 0)))",
        ),
        (
            lambda: verify.explain(conv, ONE),
            TypeError,
            "arrays must be x, kernel, bias, got 0 of them",
        ),
        (
            lambda: verify.explain(conv, ONE, IMAGE, KERNEL, gradients=(ONE, ONE, None)),
            ValueError,
            "dy must be given with gradients, got None",
        ),
        (
            lambda: verify.explain(conv, ONE, IMAGE, KERNEL, dy=IMAGE, gradients=(ONE,)),
            ValueError,
            "gradients must be 3 arrays (dx, dkernel, dbias), got 1 entries",
        ),
        (
            lambda: verify.explain(conv, ONE, IMAGE, KERNEL, dy=ONE),
            ValueError,
            "dy must be of the output's shape (1, 4, 4, 1), got shape (3,)",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=says(message) + "$"):
        call()
