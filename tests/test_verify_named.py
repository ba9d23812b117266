"""Every slip by its name, in the ways that people make it; and none for what is no slip."""

import functools

import numpy as np
import pytest
import wrong_kernels as wrong
from helpers import first_of_each, thinned
from wrong_kernels import after, axes, before, gradient, rank_of, right, through, zeros_of

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    normalization,
    transposed,
    unary,
    verify,
)
from convinsights._concepts import defaults
from convinsights.verify import _candidate, _losses, _slips_gradients
from convinsights.verify._asked import asked
from convinsights.verify._captured import uncalled
from convinsights.verify._cases import Case
from convinsights.verify._diagnosis import diagnose
from convinsights.verify._hypotheses import hypotheses
from convinsights.verify._made import case_of
from convinsights.verify._moments import few_bits
from convinsights.verify._plan import multiply_adds
from convinsights.verify._precision import Precision
from convinsights.verify._trials import Answer, Trial

ALLOWANCES, KEPT = _candidate.allowances, {}


def plan_of(module, dtype, forward, backward, rank):
    changed = {"dtype": dtype, "ranks": (rank,), "forms": "all"}
    wanted = asked(module, forward, backward, **verify.verify.__kwdefaults__ | changed)
    return wanted.plan, wanted.candidate


@functools.cache
def cases(module, dtype, rank, count):
    plan, _ = plan_of(module, dtype, *right(module), rank)
    few = {f"{name}[{axis}]": (3, 1, 2) for name in ("kernel_size", "size") for axis in range(rank)}
    made, rows = [], sorted(plan.rows(rank, few if rank > 2 else None), key=multiply_adds)
    for row in rows[20::2] if count else ():
        form = row | {"form": "tuple"} if "form" in row else row
        case = case_of(module, rank, form, plan.precision, 0)
        made += [case] * (case.size < 20_000)
        if len(made) == count:
            break
    return made


def allowances(case, precision, gradients):
    key = id(case), precision, gradients
    if key not in KEPT:
        KEPT[key] = case, ALLOWANCES(case, precision, gradients)
    return KEPT[key][1]


@pytest.fixture(autouse=True)
def _bounds_are_made_once(monkeypatch):
    monkeypatch.setattr(_candidate, "allowances", allowances)


def told(module, forward, backward=None, dtype=np.float32, rank=2, count=45, own=()):
    """The diagnosis of a candidate from a few small cases, and from some of one's own."""
    _, candidate = plan_of(module, dtype, forward, backward, rank)
    trials = [candidate.examine(case) for case in [*cases(module, dtype, rank, count), *own]]
    assert any(trial.wrong for trial in trials)
    return diagnose(trials, candidate.examine, candidate.precision)


def fitted(module, change):
    """Other hyperparameters, the output being of the right size: what windows read beyond is 0."""

    def forward(*arrays, **hyper):
        shapes = [np.shape(a) for a in arrays[:-1]]
        size = module.output_shape(*shapes, **hyper)
        others, changed = change(list(arrays), dict(hyper))
        zeros, rank = zeros_of(others, changed), rank_of(others)
        steps, rates = (axes(changed[name], rank) for name in ("strides", "dilation_rate"))
        changed["padding"] = [
            (b, max(a, (n - 1) * s + (k - 1) * d + 1 - length - b))
            for (b, a), n, s, d, k, length in zip(
                zeros, size[1:], steps, rates, others[1].shape, others[0].shape[1:], strict=False
            )
        ]
        y = module.forward(*others, **changed)[0]
        return y[tuple(slice(n) for n in size)]

    return lambda: (forward, None)


def cut(module, change):
    """Other hyperparameters, the output cut off or filled up with zeros."""

    def forward(*arrays, **hyper):
        shapes = [np.shape(a) for a in arrays[:-1]]
        y = np.zeros(module.output_shape(*shapes, **hyper), arrays[0].dtype)
        others, changed = change(list(arrays), dict(hyper))
        other = module.forward(*others, **changed)[0]
        common = tuple(slice(min(sizes)) for sizes in zip(y.shape, other.shape, strict=True))
        y[common] = other[common]
        return y

    return lambda: (forward, None)


def several(*changes):
    def change(arrays, hyper):
        for one in changes:
            arrays, hyper = one(arrays, hyper)
        return arrays, hyper

    return change


def resolved_first(change):
    """Zeros by the right numbers, then the slip."""

    def changed(arrays, hyper):
        hyper["padding"] = zeros_of(arrays, hyper)
        return change(arrays, hyper)

    return changed


def first_zeros_for_all(arrays, hyper):
    hyper["padding"] = zeros_of(arrays, hyper)[0][0]
    return arrays, hyper


def taps_dropped(*places):
    def change(arrays, hyper):
        kernel = arrays[1].copy()
        for place in places:
            kernel[place] = 0
        return [arrays[0], kernel, *arrays[2:]], hyper

    return change


def both_ways(module, function, slope):
    """An activation behind the module, forward and backward."""
    forward, backward = right(module)

    def active(*arrays, **hyper):
        y = forward(*arrays, **hyper)
        return function(y).astype(y.dtype)

    def broken(dy, *arrays, **hyper):
        y = forward(*arrays, **hyper)
        return backward((dy * slope(y)).astype(dy.dtype), *arrays, **hyper)

    return lambda: (active, broken)


def statistics_constant(dy, x, gamma, beta, *, groups, epsilon):
    """Group normalization's gradient without those of mean and variance."""
    _, dgamma, dbeta = right(normalization)[1](dy, x, gamma, beta, groups=groups, epsilon=epsilon)
    parts = x.astype(float).reshape(len(x), -1, groups, x.shape[-1] // groups)
    root = np.sqrt(parts.var((1, 3), keepdims=True) + epsilon)
    scaled = (dy * (1 if gamma is None else gamma)).reshape(parts.shape)
    return (scaled / root).reshape(x.shape).astype(x.dtype), dgamma, dbeta


def normalized_interleaved(x, gamma, beta, *, groups, epsilon):
    """Channel c in group c mod G."""
    order = np.arange(x.shape[-1]).reshape(-1, groups).T.ravel()
    y = normalization.forward(x[..., order], groups=groups, epsilon=epsilon)[0]
    y = y[..., np.argsort(order)] * (1 if gamma is None else gamma)
    return (y + (0 if beta is None else beta)).astype(x.dtype)


def kernel_of(module):
    return before(module, wrong.bias_by(lambda c, n, g: c // (n // g)))


def depthwise_bias(arrays, hyper):
    x, kernel, bias = arrays
    if bias is not None:
        bias = bias[np.arange(bias.size) // kernel.shape[-1]]
    return [x, kernel, bias], hyper


ALL_FIRST = several(wrong.one_axis("strides"), wrong.one_axis("dilation_rate"), first_zeros_for_all)
EACH = "first_axis_for_all (strides, dilation_rate, padding)"
FIRST = "first_axis_for_all"


def output_padding_of_first(arrays, hyper):
    if isinstance(hyper["output_padding"], tuple):
        hyper["output_padding"] = hyper["output_padding"][0]
    return arrays, hyper


NAMED = [
    (f"{FIRST} (strides)", conv, before(conv, wrong.one_axis("strides"))),
    (f"{FIRST} (strides)", conv, before(conv, resolved_first(wrong.one_axis("strides")))),
    (f"{FIRST} (strides)", conv, fitted(conv, resolved_first(wrong.one_axis("strides")))),
    (f"{FIRST} (strides)", depthwise, cut(depthwise, wrong.one_axis("strides"))),
    (f"{FIRST} (strides)", unary, before(unary, wrong.one_axis("strides"))),
    (f"{FIRST} (dilation_rate)", conv, before(conv, wrong.one_axis("dilation_rate"))),
    (f"{FIRST} (dilation_rate)", dilated, fitted(dilated, wrong.one_axis("dilation_rate"))),
    (f"{FIRST} (padding)", conv, before(conv, wrong.first_padding)),
    (f"{FIRST} (padding)", conv, before(conv, first_zeros_for_all)),
    (f"{FIRST} (padding before)", conv, before(conv, wrong.padding_before_behind)),
    (f"{FIRST} (padding before)", conv, cut(conv, wrong.padding_before_behind)),
    (EACH, conv, before(conv, ALL_FIRST)),
    (f"{FIRST} (output_padding)", transposed, before(transposed, output_padding_of_first)),
    ("strides_and_dilation_exchanged", conv, before(conv, wrong.exchanged)),
    ("strides_and_dilation_exchanged", conv, fitted(conv, resolved_first(wrong.exchanged))),
    ("dilation_applied_twice", conv, before(conv, wrong.dilated_twice)),
    ("dilation_applied_twice", depthwise, before(depthwise, wrong.dilated_twice)),
    ("size_from_other_axis", conv, before(conv, wrong.same_by(strides=wrong.backwards))),
    ("size_from_other_axis", conv, before(conv, wrong.same_by(rates=wrong.first))),
    ("last_tap_ignored", conv, before(conv, taps_dropped(-1))),
    ("last_tap_ignored", conv, before(conv, taps_dropped((slice(None), -1)))),
    ("last_tap_ignored", conv, before(conv, taps_dropped(-1, (slice(None), -1)))),
    ("last_tap_ignored", conv, before(conv, taps_dropped((-1, -1)))),
    ("last_tap_ignored", depthwise, before(depthwise, taps_dropped((-1, -1)))),
    ("last_tap_ignored", transposed, before(transposed, taps_dropped(-1))),
    ("bias_per_group", conv, kernel_of(conv)),
    ("bias_per_group", transposed, kernel_of(transposed)),
    ("bias_per_group", conv, before(conv, wrong.bias_by(lambda c, n, g: c % g))),
    ("bias_per_group", conv, before(conv, wrong.bias_times(lambda h: h["groups"]))),
    ("bias_per_group", depthwise, before(depthwise, depthwise_bias)),
    ("activation_left_on", conv, after(conv, through(lambda y: np.maximum(y, 0)))),
    ("activation_left_on", conv, both_ways(conv, lambda y: np.maximum(y, 0), lambda y: y > 0)),
    ("activation_left_on", batchnorm, after(batchnorm, through(lambda y: np.maximum(y, 0)))),
    ("activation_left_on", conv, after(conv, through(lambda y: np.clip(y, 0, 6)))),
    ("activation_left_on", conv, after(conv, through(lambda y: np.where(y > 0, y, y / 10)))),
    ("activation_left_on", unary, after(unary, through(lambda y: y * (1 + np.tanh(y / 2)) / 2))),
    ("activation_left_on", unary, after(unary, through(np.tanh))),
    ("clamped (-4, 4)", conv, after(conv, through(lambda y: np.clip(y, -4, 4)))),
    ("clamped (-inf, 4)", conv, after(conv, through(lambda y: np.minimum(y, 4)))),
    (
        "one_pass_variance",
        normalization,
        wrong.grouped_normalized(moments=wrong.grouped_one_pass),
    ),
    (
        "unbiased_variance",
        normalization,
        wrong.grouped_normalized(moments=wrong.grouped_unbiased),
    ),
    (
        "epsilon_outside_root",
        normalization,
        wrong.grouped_normalized(root=lambda v, e: np.sqrt(v) + e),
    ),
    (
        "epsilon_ignored",
        normalization,
        wrong.grouped_normalized(root=lambda v, e: np.sqrt(v + 1e-5)),
    ),
    ("groups_interleaved", normalization, lambda: (normalized_interleaved, None)),
    (
        "statistics_constant",
        normalization,
        lambda: (right(normalization)[0], statistics_constant),
    ),
    (
        "training_gradient_in_inference",
        batchnorm,
        lambda: (right(batchnorm)[0], wrong.training_gradient),
    ),
    ("reads_outside", conv, before(conv, wrong.wrapped_rows)),
    ("reads_outside", conv, before(conv, wrong.read_packed(0))),
    ("reads_outside", unary, before(unary, wrong.read_packed(1))),
    ("layout_ignored", conv, before(conv, wrong.odd_address)),
    ("unwritten", conv, after(conv, wrong.set_to(np.s_[:, :, -1:]))),
    ("unwritten", conv, after(conv, wrong.set_to(np.s_[:, :, -1:], np.nan))),
    ("unwritten", conv, gradient(conv, wrong.gradient_of(0, wrong.only_one_phase))),
    ("low_precision (8 bits)", conv, before(conv, wrong.bits(8))),
    ("low_precision (8 bits)", transposed, before(transposed, wrong.bits(8))),
    ("low_precision (11 bits)", conv, before(conv, wrong.bits(11))),
    ("low_precision (11 bits)", depthwise, before(depthwise, wrong.bits(11, slice(1, 2)))),
    ("low_precision (11 bits)", conv, wrong.declining_groups(wrong.summed_in_half)),
    ("low_precision (8 bits)", batchnorm, wrong.normalized(moments=wrong.mean_of_few_bits)),
    (
        "low_precision (11 bits)",
        normalization,
        wrong.grouped_normalized(root=lambda v, e: 1 / wrong.rounded_to((v + e) ** -0.5, 11)),
    ),
    (
        "low_precision (8 bits)",
        normalization,
        lambda: (right(normalization)[0], wrong.kept(lambda a: wrong.rounded_to(a, 8))),
    ),
    (
        "low_precision (8 bits)",
        normalization,
        lambda: (right(normalization)[0], wrong.sums_of_few_bits(8)),
    ),
    (
        "dilation_ignored",
        conv,
        before(conv, wrong.when(wrong.grouped, wrong.forget("dilation_rate"))),
    ),
]


@pytest.mark.parametrize(
    ("name", "module", "make"),
    first_of_each(
        NAMED, [f"{n}-{module.__name__.rpartition('.')[2]}" for n, module, _ in NAMED], 2
    ),
)
def test_a_slip_is_told_by_its_name(name, module, make):
    few = "size_from_other_axis", "dilation_ignored"  # have padding by name, or rates and groups
    count = 90 if name in few else 45
    assert told(module, *make(), count=count).name == name


def sliced(strides):
    """Pixels in a slice of 4 of 8 channels: read as packed, every second one has no nan."""
    draw, settings = np.random.default_rng(0), defaults(conv) | {"strides": strides}
    arrays = draw.integers(-9, 9, (2, 6, 4, 4)), draw.integers(-9, 9, (1, 1, 4, 2))
    dy = np.ones(conv.output_shape(*map(np.shape, arrays), strides=strides))
    floats = (a.astype(float) for a in arrays)
    return Case(
        conv, (*floats, None), settings, dy, "sliced", True, "slice of channels", "integers"
    )


def test_what_is_read_outside_need_not_show_in_every_result():
    packed = before(conv, wrong.read_packed(0))()
    nan, finite = sliced((1, 1)), sliced((1, 2))
    assert told(conv, *packed, count=0, own=[nan]).name == "reads_outside"
    assert told(conv, *packed, count=0, own=[finite]).name == "layout_ignored"
    assert told(conv, *packed, count=0, own=[finite, nan]).name == "reads_outside"


def same(size, taps, strides=(1, 1)):
    """A transposed convolution whose padding is "same"."""
    settings = defaults(transposed) | {"strides": strides, "padding": "same"}
    arrays = np.ones((1, *size, 1)), np.ones((*taps, 1, 1))
    dy = np.ones(transposed.output_shape(*map(np.shape, arrays), strides=strides, padding="same"))
    return Case(transposed, (*arrays, None), settings, dy, "same", True, values="integers")


def symmetric(x, kernel, bias, **hyper):
    """As many zeros behind as in front: for an even kernel the output is of another size."""
    size = transposed.output_shape(x.shape, kernel.shape, **hyper)[1:-1]
    if hyper["padding"] == "same":
        zeros = tuple((k - 1) // 2 for k in kernel.shape[:-2])
        hyper |= {"padding": zeros, "output_size": size, "output_padding": None}
    return transposed.forward(x, kernel, bias, **hyper)[0]


def test_a_slip_is_named_if_all_that_fails_are_the_calls_it_makes_impossible():
    fitting = [same((3, 4), (3, 1)), same((3, 3), (2, 2), (2, 2))]
    raising = [same((1, 1), (1, 2)), same((3, 3), (2, 2)), same((4, 2), (2, 3))]
    found = told(transposed, symmetric, count=0, own=fitting + raising)
    assert found.name == "padding_symmetric"
    assert told(transposed, symmetric, count=0, own=fitting + raising[1:]).name is None  # too few

    def odd_taps(x, kernel, bias, **hyper):
        if kernel.shape[0] % 2:
            raise ValueError
        return transposed.forward(x, kernel, bias, **hyper)[0]

    other = [same((3, 3), (1, 2)), same((3, 3), (3, 3)), same((3, 3), (3, 1)), *fitting]
    assert told(transposed, odd_taps, count=0, own=other).name is None


def test_sums_of_doubles_in_single_precision():
    found = told(conv, *before(conv, wrong.bits(24))(), dtype=np.float64, count=20)
    assert found.name == "low_precision (24 bits)"


@pytest.mark.parametrize("of", ["y", "dx", "sums"])
def test_in_formats_of_few_bits_that_slip_is_told_that_leaves_hardly_an_element_wrong(of):
    # All else that changes results by a few thousandths agrees as well: an unbiased variance, say.
    kind, (forward, backward) = verify.BFLOAT16, right(normalization)
    few = functools.partial(wrong.rounded_to, count=8)
    if of == "y":
        forward, _ = wrong.grouped_normalized(root=lambda v, e: 1 / few((v + e) ** -0.5))()
    kept = {"y": backward, "dx": wrong.kept(few), "sums": wrong.sums_of_few_bits(8)}[of]

    def rounded(function):
        def way(*arrays, **hyper):
            results = function(*arrays, **hyper)
            if isinstance(results, np.ndarray):
                return kind.round(results)
            return [None if a is None else kind.round(a) for a in results]

        return way

    found = told(normalization, rounded(forward), rounded(kept), dtype=kind)
    assert found.name == "low_precision (8 bits)"


@pytest.mark.parametrize(
    ("bits", "verdicts"), [(8, [True, False]), (11, [False, True]), (24, [None, None])]
)
def test_y_alone_tells_few_bits_of_the_root(bits, verdicts):
    def root(variance, epsilon):
        return 1 / wrong.rounded_to((variance + epsilon) ** -0.5, bits)

    x = np.random.default_rng(0).normal(size=(2, 9, 8, 6)).astype(np.float32).astype(float)
    settings, answer = defaults(normalization) | {"groups": 3}, Answer({})
    forward, _ = wrong.grouped_normalized(root=root)()
    answer.keep({"y": forward(x, None, None, **settings).astype(np.float32)})
    case = Case(normalization, (x, None, None), settings, np.zeros(x.shape), "moments", False)
    precision = Precision.of(normalization, np.float32)
    trial = uncalled(normalization, precision, False).judged(case, answer)
    assert [few_bits(trial, trial.got["y"], precision, b) for b in (8, 11)] == verdicts


def test_a_channel_that_was_never_written_has_not_few_bits():
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 8)).astype(np.float32).astype(float)
    settings, answer = defaults(normalization) | {"groups": 8}, Answer({})
    y = normalization.forward(x, **settings)[0].astype(np.float32)
    y[..., -1] = 0
    answer.keep({"y": y})
    case = Case(normalization, (x, None, None), settings, np.zeros(x.shape), "moments", False)
    precision = Precision.of(normalization, np.float32)
    trial = uncalled(normalization, precision, False).judged(case, answer)
    assert few_bits(trial, trial.got["y"], precision, 8) is None


@pytest.mark.parametrize("bits", [8, 11, 24])
@pytest.mark.parametrize("name", ["dgamma", "dbeta"])
def test_errors_of_a_sum_tell_how_many_bits_its_terms_have(name, bits):
    draw = np.random.default_rng(0)
    x, dy = draw.normal(size=(2, 8, 9, 8, 6))
    settings = {"groups": 3, "epsilon": 1e-5}
    case = Case(normalization, (x, np.ones(6), np.ones(6)), settings, dy, "sums", False)
    terms = dy * (normalization.forward(x, **settings)[0] if name == "dgamma" else 1)
    got = wrong.rounded_to(terms, bits).sum((0, 1, 2))
    assert bits < _losses._bits(Trial(case), name, got)[0] < bits + _losses.MORE


def test_given_statistics_tell_nothing_of_a_variance():
    x, statistics = np.ones((2, 3, 3, 4)), batchnorm.Statistics(np.ones(4), np.ones(4))
    arrays, settings = (x, None, None, statistics), defaults(batchnorm)
    case = Case(batchnorm, arrays, settings, x, "inference", False)
    one_pass = _losses._OnePass([], None, Precision.of(batchnorm, np.float32))
    assert one_pass.holds(Trial(case), "y", x) is False


def test_an_empty_batch_comes_out_right_with_every_slip_of_a_normalization():
    x, ones = np.ones((0, 3, 3, 6)), np.ones(6)
    settings = {"groups": 3, "epsilon": 1e-5}
    case = Case(normalization, (x, ones, ones), settings, x, "empty", False)
    for slip in hypotheses(normalization):
        outcome = slip.outcome(case)
        assert all(np.array_equal(a, case.truth[name]) for name, a in outcome.items()), slip.name


@pytest.mark.parametrize("module", [conv, transposed])
def test_a_kernels_gradient_by_exchanged_steps_against_a_second_derivation(module):
    draw = np.random.default_rng(0)
    x, kernel = draw.integers(-3, 4, (2, 7, 6, 4)), draw.integers(-3, 4, (3, 2, 2, 4))
    settings = defaults(module) | {"strides": (2, 3), "dilation_rate": (3, 1), "groups": 2}
    settings |= {"padding": ((1, 2), (0, 1))}
    x, kernel = x.astype(float), kernel.astype(float)
    dy = draw.integers(-3, 4, module.output_shape(x.shape, kernel.shape, **settings)).astype(float)
    case = Case(module, (x, kernel, None), settings, dy, "steps", True)
    images = (dy, x) if module is conv else (x, dy)
    gradient = np.zeros(kernel.shape)
    wrong.taps_by_strides(gradient, images[0], (images[1], kernel, None), settings)
    found = _slips_gradients._kernel_gradient_exchanged(case)
    np.testing.assert_array_equal(found["dkernel"], gradient)
    assert (gradient != case.truth["dkernel"]).any()


def bytes_case(low, high, dtype=np.int8):
    draw = np.random.default_rng(0)
    x, kernel = draw.integers(low, high, (2, 6, 5, 8)), draw.integers(low, high, (3, 3, 8, 4))
    settings = {
        "strides": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "dilation_rate": (1, 1),
        "groups": 1,
    }
    arrays = x.astype(float), kernel.astype(float), np.array([1.0, -2, 3, 4])
    return Case(conv, arrays, settings, np.ones((2, 6, 5, 4)), "bytes", True, values="integers")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bias_after", [False, True])
@pytest.mark.parametrize("way", ["saturated", "wrapped"])
def test_integers_beyond_the_bits_of_a_result(way, bits, bias_after):
    half = 1 << bits - 1

    def forward(x, kernel, bias, **hyper):
        wide = [a.astype(float) for a in (x, kernel)]
        added = 0 if bias is None else bias.astype(np.int64)
        y = conv.forward(*wide, **hyper)[0].astype(np.int64) + (0 if bias_after else added)
        y = y.clip(-half, half - 1) if way == "saturated" else (y + half) % (2 * half) - half
        return (y + (added if bias_after else 0)).astype(np.int32)

    own = [bytes_case(-100, 100), bytes_case(-3, 4)]
    found = told(conv, forward, dtype=np.int8, count=4, own=own)
    assert found.name == f"{way} ({bits} bits)"


def test_sums_that_saturate_on_the_way():
    def forward(x, kernel, bias, **hyper):
        left = kernel.astype(float)
        left[1:] = 0
        first = conv.forward(x.astype(float), left, **hyper)[0].clip(-(2**15), 2**15 - 1)
        rest = conv.forward(x.astype(float), kernel - left, bias, **hyper)[0]
        return (first + rest).clip(-(2**15), 2**15 - 1).astype(np.int32)

    own = [bytes_case(-100, 100)]
    assert told(conv, forward, dtype=np.int8, count=4, own=own).name == "saturated (16 bits)"


def test_bytes_that_are_read_as_signed():
    def forward(x, kernel, bias, **hyper):
        arrays = (x.view(np.int8).astype(float), kernel.astype(float), bias)
        return conv.forward(*arrays, **hyper)[0].astype(np.int32)

    own = [bytes_case(0, 255)]
    own = [Case(c.module, (c.x, c.arrays[1], None), c.settings, c.dy, c.kind, True) for c in own]
    own += [
        Case(c.module, (c.x, c.arrays[1] % 9, None), c.settings, c.dy, c.kind, True) for c in own
    ]
    assert told(conv, forward, dtype=np.uint8, count=0, own=own[1:]).name == "wrapped (8 bits)"


# ---- what is no slip


def flipped_in(index):
    """A part of the output by another kernel."""

    def change(y, arrays, hyper):
        x, kernel, bias = arrays
        other = conv.forward(x, kernel[::-1, ::-1], bias, **hyper)[0]
        y[index] = other[index]

    return change


def neighbours_mixed(y, arrays, hyper):
    y[...] = (y + y.mean(axis=0, keepdims=True, dtype=float)) / 2


NOT_NAMED = [
    ("chance", conv, wrong.chance),
    ("race", conv, wrong.race),
    ("every 25th call", conv, wrong.every_25th_call_wrong),
    ("first call", conv, wrong.first_call_wrong),
    (
        "another kernel from 4 images on",
        conv,
        before(conv, wrong.when(lambda a, h: len(a[0]) >= 4, wrong.flip_first_axis)),
    ),
    (
        "another kernel from 8 channels on",
        conv,
        before(conv, wrong.when(lambda a, h: a[0].shape[-1] >= 8, wrong.flip_channels)),
    ),
    ("another kernel in a region", conv, after(conv, flipped_in(np.s_[:, 2:]))),
    ("another kernel in some channels", conv, after(conv, flipped_in(np.s_[..., 4:]))),
    ("edge", conv, before(conv, wrong.padded_by("edge"))),
    ("bias twice", conv, before(conv, wrong.bias_times(lambda h: 2))),
    ("one more", depthwise_separable, after(depthwise_separable, lambda y, a, h: y + 1)),
    ("scaled", batchnorm, after(batchnorm, lambda y, a, h: y * y.dtype.type(1.001))),
    ("no numbers", conv, after(conv, lambda y, a, h: y * np.nan)),
]


@pytest.mark.parametrize(
    ("name", "module", "make"), thinned(NOT_NAMED, [n[0] for n in NOT_NAMED], range(0, 99, 4))
)
def test_no_slip_is_told_where_none_was_made(name, module, make):
    found = told(module, *make())
    assert found.name is None
    assert "batch_mixed" not in found.single.values()


def test_images_that_mix_are_told_so_and_may_spoil_the_gradients_of_the_kernel():
    forward, _ = after(conv, neighbours_mixed)()
    backward = gradient(conv, wrong.gradient_of(1, lambda g, *_: np.cos(g)))()[1]
    assert told(conv, forward, backward).name == "batch_mixed"


def test_a_variance_in_one_pass_has_gradients_of_its_own():
    forward, _ = wrong.normalized(moments=wrong.one_pass)()

    def backward(dy, x, gamma, beta, statistics, *, epsilon):
        if statistics is None:
            over = tuple(range(x.ndim - 1))
            moments = wrong.one_pass(x, x.mean(over, dtype=float), None)
            statistics = batchnorm.Statistics(*moments)
        return wrong.training_gradient(dy, x, gamma, beta, statistics, epsilon=epsilon)

    def constant(dy, *arrays, **hyper):
        dx, dgamma, dbeta = backward(dy, *arrays, **hyper)
        return dx, dgamma, dbeta + 1

    assert told(batchnorm, forward, training(backward)).name == "one_pass_variance"
    assert told(batchnorm, forward, training(constant)).name is None


def training(broken):
    """The right gradients where statistics are given."""

    def backward(dy, *arrays, **hyper):
        way = broken if arrays[-1] is None else right(batchnorm)[1]
        return way(dy, *arrays, **hyper)

    return backward


def test_of_values_that_are_all_alike_a_slip_that_divides_by_their_variance_says_nothing():
    epsilon = {"epsilon": 1e-3}
    flat, single = (
        Case(batchnorm, (x, None, None, None), epsilon, np.ones(x.shape), "flat", False)
        for x in (np.ones((2, 3, 4)), np.arange(4.0).reshape(1, 1, 4))
    )
    for name in ("unbiased_variance", "epsilon_outside_root"):
        for slip in (slip for slip in hypotheses(batchnorm) if slip.name == name):
            for case in (flat, single):
                with pytest.raises(ValueError, match="divides by 0"):
                    slip.outcome(case)
    unbiased = wrong.normalized(moments=wrong.unbiased)()
    assert told(batchnorm, *unbiased, own=[flat, single]).name == "unbiased_variance"


def test_of_no_images_a_slip_of_their_number_makes_nothing():
    arrays = np.ones((0, 4, 4, 1)), np.ones((3, 3, 1, 1)), np.ones(1)
    settings = {"strides": (1, 1), "padding": "valid", "dilation_rate": (1, 1), "groups": 1}
    empty = Case(conv, arrays, settings, np.ones((0, 2, 2, 1)), "empty", True)
    for slip in hypotheses(conv):
        if slip.name in ("gradient_averaged", "bias_gradient_missing_batch"):
            assert not any(result.any() for result in slip.outcome(empty).values())


@pytest.mark.parametrize("rank", [1, 3])
def test_slips_are_told_in_other_ranks(rank):
    make = before(conv, taps_dropped(-1))
    assert told(conv, *make(), rank=rank, count=20).name == "last_tap_ignored"
    assert (
        told(conv, *before(conv, wrong.wrapped_rows)(), rank=rank, count=20).name == "reads_outside"
    )
