import numpy as np
import pytest
import wrong_kernels as wrong
from helpers import traced
from right_kernels import MODULES as LINEAR
from right_kernels import RIGHT, kernel_of

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
from convinsights.verify import _bounds as bounds
from convinsights.verify._calls import Call
from convinsights.verify._cases import Case
from convinsights.verify._precision import Precision
from convinsights.verify._terms import peaks, roundings

rng = np.random.default_rng(15)


def test_the_bound_by_hand():
    x, kernel = np.array([[[1.0], [2.0], [1.0]]]), np.array([1.0, -1.0, 1.0]).reshape(3, 1, 1)
    u = 2.0**-24
    bound = verify.error_bound(conv, x, kernel, dtype=np.float32)
    gamma = 3 * u / (1 - 3 * u)
    np.testing.assert_allclose(bound, [[[gamma * 4]]], rtol=1e-12)
    with_bias = verify.error_bound(conv, x, kernel, np.array([-5.0]), dtype=np.float32)
    np.testing.assert_allclose(with_bias, [[[4 * u / (1 - 4 * u) * 9]]], rtol=1e-12)


def test_the_bound_in_float16_adds_the_final_rounding():
    x, kernel = np.full((1, 3, 1), 0.5), np.ones((3, 1, 1))
    u, half = 2.0**-24, 2.0**-11
    gamma = 3 * u / (1 - 3 * u)
    bound = verify.error_bound(conv, x, kernel, dtype=np.float16, accumulate=np.float32)
    np.testing.assert_allclose(bound, [[[1.5 * (gamma + half * (1 + gamma)) + 2.0**-25]]])
    alone = verify.error_bound(conv, x, kernel, dtype=np.float16)
    np.testing.assert_allclose(
        alone, [[[3 * half / (1 - 3 * half) * 1.5 + 3 * 2.0**-24]]], rtol=1e-12
    )


def test_sums_coarser_than_the_inputs_round_those_too():
    x, kernel = np.full((1, 3, 1), 0.5), np.ones((3, 1, 1))
    bound = verify.error_bound(conv, x, kernel, dtype=np.float64, accumulate=np.float32)
    u = 2.0**-24
    np.testing.assert_allclose(bound, [[[5 * u / (1 - 5 * u) * 1.5]]], rtol=1e-12)


def test_the_probabilistic_bound_has_the_factor_8():
    x, kernel = np.ones((1, 2304, 1)), np.ones((2304, 1, 1))
    u = 2.0**-24
    bound = verify.error_bound(conv, x, kernel, dtype=np.float32, probabilistic=True)
    np.testing.assert_allclose(bound, [[[8 * 48 * u * 2304]]], rtol=1e-4)
    short = x[:, :9], kernel[:9]
    few = [
        verify.error_bound(conv, *short, dtype=np.float32, probabilistic=p) for p in (True, False)
    ]
    np.testing.assert_array_equal(*few)


def test_what_many_roundings_do_by_the_formulas():
    u, n = 2.0**-11, 1000
    rigorous, random = (
        Precision.of(conv, np.float16, probabilistic=p).growth(n) for p in (False, True)
    )
    np.testing.assert_allclose(rigorous, n * u / (1 - n * u), rtol=1e-12)
    exponent = 8 * np.sqrt(n) * u + n * u**2 / (1 - u)
    np.testing.assert_allclose(random, np.exp(exponent) - 1, rtol=1e-12)


def test_the_rigorous_bound_of_too_many_terms_is_infinite():
    x, kernel = np.ones((1, 2304, 1)), np.ones((2304, 1, 1))
    assert verify.error_bound(conv, x, kernel, dtype=np.float16) == np.inf
    assert verify.error_bound(conv, 0 * x, kernel, dtype=np.float16) < 1
    assert verify.error_bound(conv, x, kernel, dtype=np.float16, probabilistic=True) < np.inf


def test_the_bound_counts_the_terms_of_each_element():
    x, kernel = np.ones((1, 3, 1)), np.ones((3, 1, 1))
    bound = verify.error_bound(conv, x, kernel, dtype=np.float32, padding="same")
    np.testing.assert_allclose(bound.ravel() * 2**24, [4, 9, 4], rtol=1e-6)


def test_the_bound_of_two_steps_counts_the_roundings_of_both():
    x, spatial, pointwise = np.ones((1, 3, 2)), np.ones((3, 2, 1)), np.ones((2, 1))
    arrays = (depthwise_separable, x, spatial, pointwise)
    bound = verify.error_bound(*arrays, dtype=np.float32)
    np.testing.assert_allclose(bound * 2**24, [[[6 * (3 + 2)]]], rtol=1e-6)
    between = verify.error_bound(*arrays, np.ones(1), dtype=np.float16, accumulate=np.float32)
    half, sums = 2.0**-11, 6 * 2.0**-24  # stored twice in float16, once between the steps
    np.testing.assert_allclose(between, [[[7 * (half + sums) + 7 * half]]], rtol=1e-3)


def every_bound(module, arrays, dy, **settings):
    """The rigorous bounds of y and of all gradients in float32, in units of 2^-24."""
    precision = Precision.of(module, np.float32, probabilistic=False)
    found = bounds.bounds(Call(module, arrays, settings, dy), precision)
    return {name: bound.ravel() * 2**24 for name, bound in found.items()}


def test_the_bounds_of_the_gradients_of_two_steps_count_the_roundings_of_both():
    arrays = np.ones((1, 4, 2)), np.ones((3, 2, 1)), np.ones((2, 3)), np.ones(3)
    settings = {"strides": 1, "padding": "valid", "dilation_rate": 1}
    found = every_bound(depthwise_separable, arrays, np.ones((1, 2, 3)), **settings)
    wanted = {  # roundings times magnitude
        "y": (3 + 2 + 1) * 7,
        "dx": np.repeat([(1 + 3) * 3, (2 + 3) * 6, (2 + 3) * 6, (1 + 3) * 3], 2),
        "ddepthwise_kernel": (2 + 3) * 6,
        "dpointwise_kernel": (3 + 2) * 6,
        "dbias": 2 * 2,
    }
    assert found.keys() == wanted.keys()
    for name, bound in wanted.items():
        np.testing.assert_allclose(found[name], bound, rtol=1e-5)


def test_the_bounds_of_batch_normalization_by_hand():
    # mean 2, d = x - mean = ±1, variance 1, root 2, x̂ = ±1/2. The mean is off by 2 roundings of a
    # sum of 4 over 2, d by that and 6 of x and of the mean, the variance by 4 and by 2 d off_d.
    off_d = np.array([4 + 6 * (1 + 2), 4 + 6 * (3 + 2)])
    off_variance = 4 + (2 * off_d).sum() / 2
    off_root = off_variance / 4 / 2 + 6
    off_normal = (off_d + off_root) / 2
    dy = np.array([1, 2])
    off_sum, off_along = 2 * 3, 4 * 3 / 2 + (dy * off_normal).sum()
    part = dy + 3 / 2 + 1 / 2 * (3 / 2) / 2
    off_part = (off_sum + off_normal * 3 / 2 + off_along / 2) / 2
    wanted = {
        "y": 2 * off_normal + 4 * (2 / 2 + 1),
        "dx": off_part + (off_root + 6) * part,
        "dgamma": off_along,
        "dbeta": off_sum,
    }
    arrays = np.array([[1.0], [3.0]]), np.array([2.0]), np.array([-1.0]), None
    found = every_bound(batchnorm, arrays, dy[:, np.newaxis], epsilon=3)
    assert found.keys() == wanted.keys()
    for name, bound in wanted.items():
        np.testing.assert_allclose(found[name], bound, rtol=1e-5)


def test_the_bounds_of_batch_normalization_by_what_is_given_by_hand():
    # d = 3 - 1, off by 6 roundings of 3 + 1; the root 2 by 6 roundings, and x̂ = 1 by both.
    moving = batchnorm.Statistics(np.array([1.0]), np.array([3.5]))
    arrays = np.array([[3.0]]), np.array([-2.0]), np.array([1.0]), moving
    found = every_bound(batchnorm, arrays, np.array([[-5.0]]), epsilon=0.5)
    off_normal = (6 * (3 + 1) + 2 * 6) / 2
    wanted = {
        "y": 2 * off_normal + 4 * (2 * 1 + 1),
        "dx": 2 / 2 * (6 + 6) * 5,
        "dgamma": 3 * 5 + 5 * off_normal,
        "dbeta": 1 * 5,
    }
    for name, bound in wanted.items():
        np.testing.assert_allclose(found[name], bound, rtol=1e-5)


def test_of_a_normalization_x_gamma_and_dy_are_rounded_as_they_are_read_by_hand():
    # The values of the first test, in units of the operands, of which nothing else is rounded: x is
    # off by itself, the mean by 2, d by both, the variance by the mean of 2 d off_d, the root by
    # half of what it divides by 4.
    claims = {"operands": np.float32, "probabilistic": False}
    moved = 1 + 2.0**-30  # or all would be held
    off_normal = np.array([1 + 2, 3 + 2]) / 2 + (2 * 3 + 2 * 5) / 2 / 4 / 2 * 1 / 2
    dy = np.array([1, 2])
    off_g = 2 * dy + dy * 2
    off_along = (2 * dy * off_normal + off_g / 2).mean()
    part = 2 * dy + 3 + 3 / 2 / 2
    off_part = off_g + off_g.mean() + 3 / 2 * off_normal + off_along / 2
    wanted = {
        "y": 2 * off_normal + 2 * 1 / 2,
        "dx": off_part / 2 + part / 2 * (2 * 3 + 2 * 5) / 2 / 4 / 2,
        "dgamma": (dy * off_normal + dy / 2).sum(),
        "dbeta": 3,
    }
    arrays = np.array([[1.0], [3.0]]), np.array([2.0]), np.array([-1.0]), None
    given = *(None if a is None else moved * a for a in arrays), {"epsilon": 3}
    found = bounds.bounds(
        Call(batchnorm, given[:4], given[4], moved * dy[:, np.newaxis]),
        Precision.of(batchnorm, np.float64, **claims),
    )
    for name, bound in wanted.items():
        np.testing.assert_allclose(found[name].ravel() * 2.0**24, bound, rtol=1e-5)
    held, plain = (
        verify.error_bound(batchnorm, *arrays, dtype=np.float64, **some)
        for some in ({"operands": np.float32}, {})
    )
    np.testing.assert_array_equal(held, plain)


@pytest.mark.parametrize("kind", [np.float16, verify.BFLOAT16])
def test_normalizations_that_round_once_stay_within_the_bound_of_their_format(kind):
    # All in float32 from what is given, mean and root as well; those of the format lose too much.
    precision = Precision.of(normalization, kind, accumulate=np.float32)
    bits = -int(np.log2(precision.stored.unit))
    draw = np.random.default_rng(1)
    x, dy = (precision.held(draw.normal(size=(3, 5, 4, 6)) + m) for m in (2, 0))
    gamma, beta = (precision.held(draw.normal(size=6)) for _ in range(2))
    case = case_of(normalization, (x, gamma, beta), False, dy, groups=2)
    allowed = bounds.allowances(case, precision, gradients=True)
    coarse = bounds.allowances(case, Precision.of(normalization, kind, accumulate=kind), True)
    for keep, within in ((lambda a: a, True), (lambda a: wrong.rounded_to(a, bits), False)):
        arrays = [a.astype(np.float32) for a in (dy, x, gamma)]
        results = wrong.kept(keep)(*arrays, beta, groups=2, epsilon=1e-3)
        for name, got in zip(("dx", "dgamma", "dbeta"), results, strict=True):
            off = np.abs(precision.stored.rounded(got).astype(float) - case.truth[name])
            assert (off <= allowed[name]).all() == (within or name == "dbeta"), name
            assert (off <= coarse[name]).all()


def case_of(module, arrays, integers, dy=None, **settings):
    settings = dict(module.forward.__kwdefaults__ or {}) | settings
    dy = module.forward(*arrays, **settings)[0] if dy is None else dy
    return Case(module, tuple(arrays), settings, dy, "", integers)


def test_what_underflows_in_a_normalization_is_off_by_the_smallest_number():
    x, gamma = np.full((1, 1, 1), 2.0**-14), np.full(1, 2.0**-14)
    given = batchnorm.Statistics(np.zeros(1), np.ones(1))
    bound = verify.error_bound(batchnorm, x, gamma, None, given, dtype=np.float16)
    assert 2.0**-24 <= bound.item() <= 2.0**-21  # y is 2^-28


def test_a_verdict_allows_the_bound_of_the_truth_too_and_sums_of_integers_nothing():
    precision = Precision.of(conv, np.float32)
    real = rng.normal(size=(2, 5, 3)), rng.normal(size=(3, 3, 2)), None
    case = case_of(conv, real, integers=False)
    bound = bounds.bounds(Call(conv, tuple(real), case.settings, None), precision)["y"]
    allowed = bounds.allowances(case, precision, gradients=False)["y"]
    np.testing.assert_allclose(allowed, bound * (1 + 2.0**-29), rtol=1e-12)
    whole = [np.rint(3 * a) for a in real[:2]]
    allowed = bounds.allowances(case_of(conv, [*whole, None], integers=True), precision, False)
    np.testing.assert_array_equal(allowed["y"], np.zeros(case.dy.shape))


def test_the_bound_rounds_the_arrays_first():
    x, kernel = np.full((1, 1, 1), 1 + 2.0**-30), np.ones((1, 1, 1))
    one = verify.error_bound(conv, np.ones((1, 1, 1)), kernel, dtype=np.float32)
    assert verify.error_bound(conv, x, kernel, dtype=np.float32) == one


def sums(products, rng):
    """The products of every output summed in float32: forwards, backwards, shuffled, in pairs."""
    yield np.cumsum(products, axis=0, dtype=np.float32)[-1]
    yield np.cumsum(products[::-1], axis=0, dtype=np.float32)[-1]
    yield np.cumsum(rng.permutation(products), axis=0, dtype=np.float32)[-1]
    yield products.sum(axis=0)
    yield np.cumsum(np.sort(products, axis=0), axis=0, dtype=np.float32)[-1]


def test_sums_of_2304_terms_in_any_order_pass_and_a_dropped_tap_fails():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(32, 1, 2304)).astype(np.float32)
    kernel = draw.normal(size=(1, 2304, 4)).astype(np.float32)
    truth = conv.forward(x.astype(float), kernel.astype(float))[0][:, 0]
    arrays = (conv, x, kernel)
    rigorous = verify.error_bound(*arrays, dtype=np.float32)[:, 0]
    bound = verify.error_bound(*arrays, dtype=np.float32, probabilistic=True)[:, 0]
    assert (bound < rigorous / 5).all()
    products = x[:, 0].T[:, :, None] * kernel[0][:, None]
    for y in sums(products, draw):
        assert (abs(y - truth) <= bound).all()
    average = np.abs(products).mean(axis=0)
    dropped = products.sum(axis=0) - average
    assert (abs(dropped - truth) > 10 * bound).all()


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_in_float32_stays_within_its_bound(epsilon, mean, training):
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(8, 5, 5, 6)) * draw.uniform(0.1, 2, 6) + mean).astype(np.float32)
    gamma, beta = draw.normal(size=(2, 6)).astype(np.float32)
    moving = batchnorm.Statistics(*np.abs(draw.normal(size=(2, 6))).astype(np.float32))
    statistics = None if training else moving
    m, v = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if training else moving
    scale = gamma / np.sqrt(v + np.float32(epsilon))
    truth = batchnorm.forward(
        *(a.astype(float) for a in (x, gamma, beta)), statistics, epsilon=epsilon
    )[0]
    arrays, options = (x, gamma, beta, statistics), {"dtype": np.float32, "epsilon": epsilon}
    rigorous = verify.error_bound(batchnorm, *arrays, **options)
    bound = verify.error_bound(batchnorm, *arrays, probabilistic=True, **options)
    assert (bound <= rigorous).all()
    for y in ((x - m) * scale + beta, x * scale + (beta - m * scale)):
        assert y.dtype == np.float32
        assert (abs(y - truth) <= bound).all()
    if mean == 0:
        assert (bound < 1e-3 * (1 + np.abs(gamma))).all()


def test_optional_arrays_may_be_left_out():
    x = np.array([[1.0], [3.0]])
    alone = verify.error_bound(batchnorm, x, dtype=np.float32)
    given = verify.error_bound(batchnorm, x, None, None, None, dtype=np.float32)
    np.testing.assert_array_equal(alone, given)
    assert (alone > 0).all()


# ---- how many products, and how large at most


CALLS = {  # module: shapes of the arrays and settings, per case
    "conv": (
        conv,
        [
            (
                [(2, 7, 6, 4), (3, 2, 2, 6), (6,)],
                {"groups": 2, "strides": (2, 1), "padding": "same"},
            ),
            ([(2, 5, 3), (4, 3, 2), None], {"padding": [(3, 0)], "dilation_rate": 2, "strides": 3}),
            ([(1, 3, 4, 3, 2), (1, 5, 3, 2, 2), (2,)], {"padding": (0, 2, 1)}),
            ([(0, 3, 2), (3, 2, 2), None], {"padding": "causal"}),
        ],
    ),
    "depthwise": (
        depthwise,
        [
            ([(2, 7, 6, 3), (3, 2, 3, 2), (6,)], {"strides": 2, "padding": 1}),
            ([(2, 9, 3), (2, 3, 1), None], {"dilation_rate": 3, "strides": 2}),
        ],
    ),
    "dilated": (dilated, [([(2, 9, 8, 3), (3, 2, 3, 4), (4,)], {"dilation_rate": (1, 3)})]),
    "unary": (
        unary,
        [
            ([(2, 4, 5, 3), (3, 2), (2,)], {"strides": (1, 2)}),
            ([(2, 4, 3), (1, 3, 2), None], {"strides": 3}),
        ],
    ),
    "transposed": (
        transposed,
        [
            (
                [(2, 4, 3, 4), (3, 2, 3, 4), (6,)],
                {"groups": 2, "strides": (2, 3), "padding": "same"},
            ),
            ([(2, 4, 3), (2, 4, 3), None], {"strides": 3, "padding": 1, "output_padding": 2}),
            ([(1, 5, 3), (4, 2, 3), (2,)], {"dilation_rate": 2, "padding": ((2, 0),)}),
        ],
    ),
    "depthwise_separable": (
        depthwise_separable,
        [
            ([(2, 6, 5, 3), (3, 2, 3, 2), (1, 1, 6, 4), (4,)], {"padding": "same", "strides": 2}),
            ([(1, 6, 3), (3, 3, 1), (3, 2), None], {}),
        ],
    ),
}
EVERY = [(module, *call) for module, calls in CALLS.values() for call in calls]


@pytest.mark.parametrize(("module", "shapes", "settings"), EVERY)
def test_products_are_counted_as_the_operation_on_ones_counts_them(module, shapes, settings):
    settings = defaults(module) | settings
    ones = [None if shape is None else np.ones(shape) for shape in shapes]
    dy = np.ones(module.forward(*ones, **settings)[0].shape)
    call = Call(module, tuple(ones), settings, dy)
    counts = roundings(call)
    if module is not depthwise_separable:
        found = call.outcome()
    else:  # the roundings of the first step, and as many as the second has terms
        x, spatial, pointwise, bias = ones
        middle = depthwise.forward(x, spatial, **settings)[0]
        first = Call(depthwise, (x, spatial, None), settings, np.ones(middle.shape)).outcome()
        channels, filters = pointwise.shape[-2:]
        pixels = dy.size / filters
        found = {
            "y": first["y"][..., :1] + np.zeros(filters) + channels + (bias is not None),
            "dx": first["dx"] + filters,
            "ddepthwise_kernel": first["dkernel"] + filters,
            "dpointwise_kernel": np.full(pointwise.shape, first["y"].max() + pixels),
            "dbias": np.full(filters, pixels),
        }
    for name, array in found.items():
        np.testing.assert_array_equal(np.broadcast_to(counts[name], array.shape), array)


@pytest.mark.parametrize(("module", "shapes", "settings"), EVERY)
def test_no_sum_of_magnitudes_exceeds_its_peak(module, shapes, settings):
    settings = defaults(module) | settings
    arrays = [None if shape is None else rng.normal(size=shape) for shape in shapes]
    dy = rng.normal(size=module.forward(*arrays, **settings)[0].shape)
    call = Call(module, tuple(arrays), settings, dy)
    magnitudes, most = call.each(np.abs).outcome(), peaks(call)
    assert most.keys() >= magnitudes.keys()
    for name, magnitude in magnitudes.items():
        assert magnitude.max(initial=0) <= most[name] * (1 + 1e-12)
        if dy.size:  # and it is one that is reached, or nearly
            assert most[name] < 25 * magnitude.max()
    assert peaks(Call(module, call.arrays, settings, None)) == {"y": most["y"]}


# ---- kernels that are right in what they claim, and the same with one tap forgotten


GEOMETRIES = [  # x, the taps of the kernel, hyperparameters
    ((2, 9), (3,), {"padding": "same"}),
    ((2, 11), (4,), {"strides": 2, "padding": ((2, 1),), "dilation_rate": 2}),
    ((2, 6, 7), (3, 3), {"padding": 1}),
    ((2, 5, 9), (3, 1), {"padding": "same"}),
    ((1, 8, 7), (3, 2), {"strides": (2, 1), "padding": ((0, 1), (1, 0)), "dilation_rate": (1, 2)}),
    ((1, 4, 5, 3), (3, 3, 3), {"padding": "same"}),
]


def layer_cases(module, precision):
    """Small integers first, then normal deviates that can be held, in every geometry."""
    draw = np.random.default_rng(3)
    for (images, *size), taps, given in GEOMETRIES:
        groups = 1 if module in (depthwise, unary) else 2
        kernel = {
            depthwise: (*taps, 4, 2),
            unary: (4, 6),
            transposed: (*taps, 3, 4),
        }.get(module, (*taps, 4 // groups, 6))
        settings = defaults(module) | given
        settings |= {"groups": groups} if "groups" in settings else {}
        if module is unary:
            settings = {"strides": given.get("strides", 1)}
        x_shape = (images, *size, 4)
        y_shape = module.output_shape(x_shape, kernel, **settings)
        shapes = x_shape, kernel, y_shape[-1:], y_shape
        for integers in (True, False):
            if integers:
                arrays = [draw.integers(-2, 3, shape).astype(float) for shape in shapes]
            elif precision.stored.integers:
                continue
            else:
                arrays = [precision.stored.rounded(draw.normal(size=s)) for s in shapes]
                arrays = [a.astype(float) for a in arrays]
            yield Case(module, tuple(arrays[:3]), settings, arrays[3], "", integers)


def results(kernel, case, precision):
    """y and the gradients, called with what carries the numbers."""
    forward, backward = kernel
    arrays = [precision.stored.rounded(a) for a in case.arrays]
    y = forward(*arrays, **case.settings)
    gradients = backward(precision.stored.rounded(case.dy), *arrays, **case.settings)
    return dict(zip(("y", "dx", "dkernel", "dbias"), (y, *gradients), strict=True))


def may_miss(name, result, integers, rank):
    """Where a product of average size is less than what may come of so many roundings."""
    if name.startswith("winograd"):
        return rank == 3 and result != "y"
    few_bits = name == "float8 operands" or (name == "float16 sums" and result == "dkernel")
    return few_bits and not integers


TRIED = [(conv, name) for name in RIGHT] + [
    (module, name) for module in LINEAR[1:] for name in ("float32", "winograd of 4", "fft")
]


@pytest.mark.parametrize(("module", "name"), TRIED)
def test_right_kernels_stay_within_and_forgetful_ones_do_not(module, name):
    claims, arithmetic, store = RIGHT[name]
    precision = Precision.of(module, **({"dtype": np.float32} | claims))
    right, forgetful = (kernel_of(module, arithmetic, store, dropped=d) for d in (False, True))
    for case in layer_cases(module, precision):
        allowed = bounds.allowances(case, precision, gradients=True)
        for result, got in results(right, case, precision).items():
            assert got.dtype == precision.result.carrier
            assert (abs(got - case.truth[result]) <= allowed[result]).all(), (result, case)
        for result, got in results(forgetful, case, precision).items():
            off = abs(got.astype(float) - case.truth[result])
            if result != "dbias" and not may_miss(name, result, case.integers, case.rank):
                assert (off > allowed[result]).any(), (result, case)


# ---- large arrays, and what is rounded in between


@pytest.mark.parametrize("training", [True, False])
def test_the_bound_of_many_images_is_that_of_its_parts(monkeypatch, training):
    x, kernel = rng.normal(size=(7, 9, 8, 3)), rng.normal(size=(3, 3, 3, 2))
    gamma, beta = rng.normal(size=(2, 3))
    moving = None if training else batchnorm.Statistics(gamma, beta**2)
    calls = [
        lambda: verify.error_bound(conv, x, kernel, beta[:2], dtype=np.float16, padding="same"),
        lambda: verify.error_bound(batchnorm, x, gamma, beta, moving, dtype=np.float32),
        lambda: verify.error_bound(batchnorm, x, dtype=np.float32),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(bounds, "BLOCK", 2 * x.size // 7)
    for call, expected in zip(calls, whole, strict=True):
        np.testing.assert_allclose(call(), expected, rtol=1e-12)


def test_the_bound_of_many_images_takes_a_few_copies_of_one():
    x = rng.standard_normal((96, 32, 32, 16), np.float32)
    kernel = np.ones((3, 3, 16, 16), np.float32)
    bound, peak, _ = traced(verify.error_bound, conv, x, kernel, dtype=np.float32)
    assert peak - bound.nbytes < 32 * 2**20
    bound, peak, _ = traced(verify.error_bound, batchnorm, x, dtype=np.float32)
    assert peak - bound.nbytes < 3 * x.nbytes


def allowed_for(module, arrays, dtype, dy=None, *, integers=True, gradients=True, **claims):
    settings = {}
    for name in ("padding", "dilation_rate", "strides"):
        if name in claims:
            settings[name] = claims.pop(name)
    case = case_of(module, arrays, integers, dy, **settings)
    return case, bounds.allowances(case, Precision.of(module, dtype, **claims), gradients)


def test_exact_sums_are_rounded_once_when_they_are_stored():
    x, kernel = np.full((1, 9, 1), 3.0), np.full((3, 1, 1), 7.0)
    x[0, 0] = 500  # 500 * 7 + 21 + 21 is no float16
    case, allowed = allowed_for(conv, [x, kernel, None], np.float16, accumulate=np.float32)
    expected = np.where(case.truth["y"] > 2048, case.truth["y"] * 2.0**-11 + 2.0**-25, 0)
    np.testing.assert_array_equal(allowed["y"], expected)
    assert expected[0, 0, 0] > 0
    assert (expected[0, 1:] == 0).all()


def test_of_integers_only_those_sums_are_exact_that_can_be_held():
    x, kernel = np.array([[[2.0], [3.0], [2000.0]]]), np.full((2, 1, 1), 3.0)
    dy = np.array([[[1.0], [1.0]]])
    allowed = allowed_for(conv, [x, kernel, None], np.float16, dy)[1]
    assert allowed["y"][0, 0, 0] == 0 < allowed["y"][0, 1, 0] < 2 * 6009 * 2.0**-11 * 1.01
    np.testing.assert_array_equal(allowed["dx"], np.zeros((1, 3, 1)))
    # and no operand is rounded: 17 is none of float8's
    x[0] = [[4.0], [2.0], [17.0]]
    for operands, exact in ((verify.BFLOAT16, True), (verify.FLOAT8_E4M3, False)):
        found = allowed_for(conv, [x, kernel, None], np.float32, dy, operands=operands)[1]
        assert (found["y"] == 0).all() == exact
        assert (found["y"] > 1).all() != exact


def test_operands_that_can_be_held_are_not_rounded():
    x, kernel = np.full((1, 3, 1), 0.375), np.full((3, 1, 1), 1.25)
    plain = verify.error_bound(conv, x, kernel, dtype=np.float32)
    coarse = {"dtype": np.float32, "operands": verify.FLOAT8_E4M3}
    np.testing.assert_array_equal(verify.error_bound(conv, x, kernel, **coarse), plain)
    # 2 u + u² of the magnitude, u = 2^-4, and what underflows: half of 2^-9 in either, thrice
    bound = verify.error_bound(conv, 1.01 * x, kernel, **coarse)
    magnitude = 3 * 1.01 * 0.375 * 1.25
    wanted = ((1 + 2.0**-4) ** 2 - 1) * magnitude + 2 * 2.0**-9 * 3 * 1.25
    np.testing.assert_allclose(bound, [[[wanted]]], rtol=1e-5)
    # Of two steps the result of the first is an operand all the same.
    arrays = depthwise_separable, x, kernel, np.ones((1, 1))
    two = [verify.error_bound(*arrays, **claims) for claims in (coarse, {"dtype": np.float32})]
    assert two[0] - two[1] > 2.0**-4 * 3 * 0.375 * 1.25


def test_random_errors_of_many_operands_add_up_by_their_squares():
    x, kernel = rng.normal(size=(1, 1000, 1)), rng.normal(size=(1000, 1, 1))
    claims = {"dtype": np.float32, "operands": verify.TFLOAT32}
    rigorous = verify.error_bound(conv, x, kernel, **claims)
    random = verify.error_bound(conv, x, kernel, probabilistic=True, **claims)
    products = x.astype(np.float32).astype(float).ravel() * kernel.astype(np.float32).ravel()
    off = 8 * ((1 + 2.0**-11) ** 2 - 1) * np.sqrt((products**2).sum())
    np.testing.assert_allclose(random, [[[off]]], rtol=0.05)
    assert random < rigorous / 2
    # A value that comes again and again is off by the same.
    same = np.full_like(x, 1 + 2.0**-12)
    both = [
        verify.error_bound(conv, same, kernel, probabilistic=p, **claims) for p in (True, False)
    ]
    assert both[0] > 0.9 * both[1]


def test_nothing_is_said_of_what_overflows_or_is_not_finite():
    x, kernel = np.array([[[200.0], [100.0], [1.0], [np.inf]]]), np.full((1, 1, 1), 400.0)
    for integers in (True, False):
        allowed = allowed_for(
            conv, [x, kernel, None], np.float16, accumulate=np.float32, integers=integers
        )[1]["y"].ravel()
        assert allowed[0] == allowed[3] == np.inf
        assert (allowed[1:3] < np.array([40, 1])).all()
    x[0, 3] = np.nan
    allowed = allowed_for(conv, [x, kernel, None], np.float32)[1]["y"].ravel()
    assert (allowed[:3] == 0).all()
    assert allowed[3] == np.inf


def test_integers_are_summed_exactly_by_any_algorithm():
    x, kernel = (rng.integers(-128, 128, shape).astype(float) for shape in ((1, 9, 4), (3, 4, 2)))
    for algorithm in ("direct", "winograd", "fft"):
        found = allowed_for(conv, [x, kernel, None], np.int8, algorithm=algorithm)[1]
        assert found.keys() == {"y", "dx", "dkernel"}
        assert not any(bound.any() for bound in found.values())
    assert not verify.error_bound(conv, x, kernel, dtype=np.int8).any()
    large = [np.full((1, 3, 1), 32767.0), np.full((3, 1, 1), 32767.0), None]
    dy = np.ones((1, 1, 1))
    assert allowed_for(conv, large, np.int16, dy)[1]["y"] == np.inf  # more than an int32 holds


def test_integers_of_two_steps_must_be_held_between_them():
    x, spatial, pointwise = np.full((1, 3, 1), 20.0), np.ones((3, 1, 1)), np.ones((1, 1))
    arrays, dy = [x, spatial, pointwise, None], np.ones((1, 1, 1))
    for dtype, exact in ((np.float32, True), (verify.BFLOAT16, True), (verify.FLOAT8_E4M3, False)):
        allowed = allowed_for(depthwise_separable, arrays, dtype, dy)[1]
        assert (allowed["y"] == 0).all() == exact
        assert (allowed["ddepthwise_kernel"] == 0).all() == exact


def test_more_arrays_than_there_are_arguments_are_refused():
    with pytest.raises(TypeError, match="arrays must be x, kernel, bias, got 4 of them"):
        verify.error_bound(conv, *[np.ones((1, 1, 1))] * 4, dtype=np.float32)
