"""normalization: every image by itself, its channels in groups; batchnorm over other axes."""

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    arrays_in,
    close,
    dot,
    has_slope,
    inner,
    integers,
    like,
    loop_normalization,
    moved,
    normalization_cases,
    same_values,
    says,
    traced,
    untouched,
    variants,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import _normalize, _passes, _tiles, _wide, batchnorm, normalization
from convinsights._moments import Moments
from convinsights.normalization import ParameterCount

rng = np.random.default_rng(67)


def arguments_of(case):
    """The array arguments of a drawn case, in the forward's order."""
    return case.x, case.gamma, case.beta


def both_ways(case):
    """(y, dy, gradients) of a drawn case."""
    y, cache = normalization.forward(*arguments_of(case), groups=case.groups, epsilon=case.epsilon)
    dy = np.random.default_rng(y.size).normal(size=y.shape)
    return y, dy, normalization.backward(dy, cache)


# ---- by hand

# Pixels (2, 6, 10, 10) and (4, 8, 10, 26): the means and deviations below are those of its groups.
IMAGE = np.array([[[2, 6, 10, 10], [4, 8, 10, 26]]])


def test_groups_of_channels_are_centred_and_scaled():
    y, _ = normalization.forward(IMAGE, groups=2, epsilon=4)  # means 5, 14; variances 5, 48
    assert_array_equal(y[0, :, :2], np.array([[-3, 1], [-1, 3]]) / 3)
    close(y[0, :, 2:], np.array([[-4, -4], [-4, 12]]) / np.sqrt(52))


def test_one_group_is_the_whole_image():
    x = np.array([[[1, 3], [5, 7]], [[4, 4], [4, 4]]])  # means 4, 4; variances 5, 0
    y, _ = normalization.forward(x, groups=1, epsilon=4)
    assert_array_equal(y, np.array([[[-3, -1], [1, 3]], [[0, 0], [0, 0]]]) / 3)


def test_as_many_groups_as_channels_are_every_channel_of_every_image_by_itself():
    x = np.array([[[1, 30], [7, 10]], [[5, 5], [5, 21]]])
    y, _ = normalization.forward(x, groups=2, epsilon=0.0625)
    root = np.sqrt(np.array([[9, 100], [0, 64]]) + 0.0625)
    close(y, np.array([[[-3, 10], [3, -10]], [[0, -8], [0, 8]]]) / root[:, np.newaxis])


def test_gamma_scales_and_beta_shifts_channel_by_channel():
    gamma, beta = np.array([3, 6]), np.array([100, 200])
    y, _ = normalization.forward([[[1, 3], [5, 7]]], gamma, beta, groups=1, epsilon=4)
    assert_array_equal(y, [[[100 - 3, 200 - 2], [100 + 1, 200 + 6]]])


def test_gamma_or_beta_alone():
    x = np.array([[[1, 3], [5, 7]]])
    scaled, _ = normalization.forward(x, np.array([3, 6]), groups=1, epsilon=4)
    assert_array_equal(scaled, [[[-3, -2], [1, 6]]])
    shifted, _ = normalization.forward(x, None, np.array([1, 2]), groups=1, epsilon=4)
    close(shifted, np.array([[[1 - 1, 2 - 1 / 3], [1 + 1 / 3, 2 + 1]]]))


def test_epsilon_is_a_thousandth_by_default():
    y, _ = normalization.forward([[[-1.0], [1.0]]], groups=1)
    close(y, np.array([[[-1], [1]]]) / np.sqrt(1.001))


def test_the_gradient_by_hand():
    x, gamma = np.array([[[1, 3], [5, 7]]]), np.array([3, 6])  # x̂ = (-3, -1, 1, 3) / 3
    _, cache = normalization.forward(x, gamma, np.zeros(2), groups=1, epsilon=4)
    gradients = normalization.backward(np.array([[[9, 0], [0, 0]]]), cache)
    # r dy = (9, 0, 0, 0): its mean is 9/4, that of x̂ r dy is -9/4
    close(gradients.x, 9 / 4 * np.array([[[4 - 1 - 1, -1 - 1 / 3], [-1 + 1 / 3, -1 + 1]]]))
    assert_array_equal(gradients.gamma, [-9, 0])
    assert_array_equal(gradients.beta, [9, 0])


def test_gradients_are_named_after_the_arguments():
    _, cache = normalization.forward(np.ones((2, 1, 1)), groups=1)
    assert normalization.backward(np.ones((2, 1, 1)), cache)._fields == ("x", "gamma", "beta")


@pytest.mark.parametrize("gamma", [None, np.ones(2)])
@pytest.mark.parametrize("beta", [None, np.ones(2)])
def test_what_was_not_given_has_no_gradient(gamma, beta):
    _, cache = normalization.forward(integers(rng, (3, 4, 2)), gamma, beta, groups=1)
    gradients = normalization.backward(integers(rng, (3, 4, 2)), cache)
    assert [gradient is not None for gradient in gradients[1:]] == [
        gamma is not None,
        beta is not None,
    ]


def test_counts_and_initial_values_by_hand():
    assert normalization.parameter_count(5) == (10, 0)
    assert normalization.parameter_count(np.int8(100)).total == 200
    assert ParameterCount is batchnorm.ParameterCount
    for array, value in zip(normalization.initialize(3), (1, 0), strict=True):
        same_values(array, np.full(3, float(value)))


# ---- against the definition


@given(normalization_cases())
def test_forward_is_its_definition(case):
    y, _ = normalization.forward(*arguments_of(case), groups=case.groups, epsilon=case.epsilon)
    close(y, loop_normalization(*arguments_of(case), groups=int(case.groups), epsilon=case.epsilon))


# ---- against a second derivation: batch normalization of the array with its axes regrouped


def regrouped(x, groups):
    """(N, …, C) as a batch whose channels are the groups of the images: (values, N * groups)."""
    rows = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    return rows.transpose(1, 3, 0, 2).reshape(-1, len(x) * groups)


def restored(rows, shape, groups):
    """The inverse of `regrouped`, for an x of this shape."""
    apart = rows.reshape(-1, shape[-1] // groups, shape[0], groups)
    return apart.transpose(2, 0, 3, 1).reshape(shape)


@given(normalization_cases())
def test_it_is_batch_normalization_of_regrouped_axes(case):
    x, gamma, beta = case.x, case.gamma, case.beta
    y, dy, gradients = both_ways(case)
    if not len(x):
        return
    rows, cache = batchnorm.forward(regrouped(x, case.groups), epsilon=case.epsilon)
    x_hat = restored(rows, x.shape, case.groups)
    close(y, x_hat * (1 if gamma is None else gamma) + (0 if beta is None else beta))
    scaled = dy if gamma is None else dy * gamma
    dx = batchnorm.backward(regrouped(scaled, case.groups), cache).x
    scale = np.abs(scaled).sum() / np.sqrt(case.epsilon)
    close(gradients.x, restored(dx, x.shape, case.groups), scale=scale, tolerance=1e-12)
    axes = tuple(range(x.ndim - 1))
    if gamma is not None:
        close(gradients.gamma, (dy * x_hat).sum(axes), scale=np.abs(dy * x_hat).sum() + 1e-3)
    if beta is not None:
        close(gradients.beta, dy.sum(axes), scale=np.abs(dy).sum())


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize(
    "shape", [(2, 90, 80, 6), (300, 5, 5, 6), (3, 20000, 6), (20000, 1, 6), (2, 3, 1, 2, 24000)]
)
def test_large_images_and_many_small_ones_are_done_block_by_block(shape, groups):
    x, dy = rng.normal(2, 3, shape), rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    gradients = normalization.backward(dy, cache)
    rows = regrouped(x, groups)
    root = np.sqrt(rows.var(axis=0) + 1e-3)
    x_hat = (rows - rows.mean(axis=0)) / root
    restored_hat = restored(x_hat, shape, groups)
    close(y, gamma * restored_hat + beta)
    axes = tuple(range(len(shape) - 1))
    close(gradients.gamma, (dy * restored_hat).sum(axes))
    close(gradients.beta, dy.sum(axes))
    g = regrouped(gamma * dy, groups)
    dx = (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0)) / root
    close(gradients.x, restored(dx, shape, groups))


@pytest.mark.parametrize("level", [0, [3, 0, 0, 1000, 0, 0]], ids=["near 0", "far from it"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize(("tile", "run", "size"), [(2, 1, 1), (6, 6, 100), (13, 12, 500)])
def test_large_arrays_are_cut_in_any_way(monkeypatch, level, groups, tile, run, size):
    """In groups' channels, groups, images and rows; and taken about 0 where the mean is near."""
    x, dy = rng.normal(size=(2, 5, 3, 4, 6))
    x += level
    gamma, beta = rng.normal(size=(2, 6))
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    expected = y, *normalization.backward(dy, cache)
    monkeypatch.setattr(_normalize, "FEW", 0)
    monkeypatch.setattr(_tiles, "TILE", tile)
    monkeypatch.setattr(_passes, "RUN", run)
    monkeypatch.setattr(_passes, "PASS", size)
    with monkeypatch.context() as patch:
        patch.setattr(np, "setbufsize", lambda _: None)  # which only takes multiples of 16
        y, cache = normalization.forward(x, gamma, beta, groups=groups)
        actual = y, *normalization.backward(dy, cache)
    for a, b in zip(actual, expected, strict=True):
        close(a, b, tolerance=1e-9)


@pytest.mark.parametrize("level", [0, [3, 0, 0, 1000, 0, 0]], ids=["near 0", "far from it"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(
    ("size", "piece", "run"), [(1, 1, 1), (10**6, 100, 99), (500, 2, 3), (10**6, 5, 72)]
)
def test_wide_groups_are_cut_in_any_way(monkeypatch, level, groups, given, size, piece, run):
    """In images, rows and channels; images of one group taken as one row, or row by row."""
    x, dy = rng.normal(size=(2, 5, 3, 4, 6))
    x += level
    parameters = rng.normal(size=(2, 6)) if given else (None, None)
    y, cache = normalization.forward(x, *parameters, groups=groups)
    expected = y, *normalization.backward(dy, cache)
    monkeypatch.setattr(_normalize, "FEW", 0)
    monkeypatch.setattr(_passes, "PASS", size)
    for name, value in {"WIDE": 0, "PASS": size, "TILE": piece, "RUN": run}.items():
        monkeypatch.setattr(_wide, name, value)
    y, cache = normalization.forward(x, *parameters, groups=groups)
    for a, b in zip((y, *normalization.backward(dy, cache)), expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b, tolerance=1e-9)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("level", [0, 1000])
def test_groups_of_constant_moments_have_the_gradients_of_their_law(given, level):
    x, dy = rng.normal(level, 1, (5, 3, 12)), integers(rng, (5, 3, 12)).astype(float)
    gamma = rng.normal(size=12) if given else None
    mean, variance = rng.normal(level, 1, (5, 2)), rng.uniform(1, 2, (5, 2))
    moments = Moments(mean, variance, np.sqrt(variance))
    centre, root = (np.repeat(a, 6, axis=1)[:, np.newaxis] for a in (mean, moments.root))
    dx = np.empty(x.shape)
    dgamma, dbeta = _tiles.gradients(dy, x, moments, gamma, dx, constant=True)
    close(dx, (gamma if given else 1) * dy / root)
    close(dgamma, (dy * (x - centre) / root).sum(axis=(0, 1)), tolerance=1e-11)
    assert_array_equal(dbeta, dy.sum(axis=(0, 1)))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("deviations", [0, 300])
def test_words_in_float32_are_normalized_as_in_float64(groups, deviations):
    """Rows of many channels, each with a mean of its own."""
    x, dy = rng.normal(deviations, 1, (2, 300, 1, 512)).astype(np.float32)
    gamma, beta = rng.normal(size=(2, 512)).astype(np.float32)
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    gradients = normalization.backward(dy, cache)
    exact, exact_cache = normalization.forward(x.astype(float), gamma, beta, groups=groups)
    wanted = normalization.backward(dy, exact_cache)
    close(y.astype(float), exact, scale=(deviations + 1) * np.abs(exact).max(), tolerance=2**-22)
    for a, b in zip(gradients, wanted, strict=True):
        close(a.astype(float), b, scale=(deviations + 1) * np.abs(b).max(), tolerance=2**-20)


@pytest.mark.parametrize("deviations", [0, 3.9, 4.1, 300])
def test_a_variance_is_that_of_float64_wherever_the_mean_is(deviations):
    x = rng.normal(deviations, 1, (2, 100, 90, 3)).astype(np.float32)
    _, cache = normalization.forward(x, groups=3)
    exact = x.astype(float)
    close(cache.mean.astype(float), exact.mean((1, 2)), scale=deviations + 1, tolerance=2**-23)
    close(cache.variance.astype(float), exact.var((1, 2)), tolerance=2e-6)


@pytest.mark.parametrize("count", [3, 7, 50_000])
def test_what_is_constant_has_that_mean_and_no_variance(count):
    """However the sum of its values is rounded."""
    for value in rng.normal(size=20):
        _, cache = normalization.forward(np.full((1, count, 1), value), groups=1)
        assert (cache.mean.item(), cache.variance.item()) == (value, 0)


@pytest.mark.parametrize("shape", [(1, 20_000, 2), (1, 1, 40_000)])
def test_squares_that_overflow_are_no_variance(shape):
    x, wanted = (np.tile(np.float32(pair), 20_000) for pair in ([1e22, 1e22 + 2e17], [-1, 1]))
    with np.errstate(all="raise"):
        y, _ = normalization.forward(x.reshape(shape), groups=1)
    close(y, wanted.reshape(shape), tolerance=0.02)


@pytest.mark.parametrize("shape", [(2, 5, 1), (2, 30_000, 1), (2, 1, 30_000)])
@pytest.mark.parametrize("size", [1e160, 1e200, 1e300])
def test_a_variance_that_overflows_is_infinite(shape, size):
    """And what is divided by its root is 0."""
    x = size * rng.choice([-1.0, 0.0, 1.0, 2.0], shape)
    x[1] = rng.normal(size=shape[1:])
    with np.errstate(over="ignore"):
        y, cache = normalization.forward(x, groups=1)
    assert cache.variance[0] == np.inf
    assert not y[0].any()
    close(y[1], normalization.forward(x[1:], groups=1)[0][0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_image(value):
    x, dy = rng.normal(size=(2, 600, 1, 64))
    gamma, beta = rng.normal(size=(2, 64))
    y, cache = normalization.forward(x, gamma, beta, groups=1)
    dx = normalization.backward(dy, cache).x
    x[7, 0, 5] = value
    with np.errstate(invalid="ignore"):
        other, cache = normalization.forward(x, gamma, beta, groups=1)
        gradients = normalization.backward(dy, cache)
    for actual, expected in ((other, y), (gradients.x, dx)):
        assert not np.isfinite(actual[7]).any()
        close(np.delete(actual, 7, axis=0), np.delete(expected, 7, axis=0), tolerance=1e-9)
    assert np.isnan(gradients.gamma).all()
    close(gradients.beta, dy.sum(axis=(0, 1)))


# ---- differences


@given(normalization_cases())
def test_gradients_are_the_slopes_along_any_direction(case):
    arguments = arguments_of(case)
    _, dy, gradients = both_ways(case)
    direction = like(rng, arguments)

    def loss(step):
        y, _ = normalization.forward(
            *moved(arguments, direction, step), groups=case.groups, epsilon=case.epsilon
        )
        return dot(dy, y)

    assert has_slope(loss, inner(gradients, direction))


# ---- invariants


@given(normalization_cases())
@settings(max_examples=30)
def test_the_gradient_sums_to_nothing_in_every_group(case):
    _, _, gradients = both_ways(case)
    sums = regrouped(gradients.x, case.groups).sum(axis=0) if len(case.x) else np.zeros(1)
    close(sums, np.zeros(len(sums)), scale=max(np.abs(gradients.x).sum(), 1))


@given(normalization_cases())
@settings(max_examples=30)
def test_a_larger_image_is_one_with_a_smaller_epsilon(case):
    large, _ = normalization.forward(
        4 * case.x, case.gamma, case.beta, groups=case.groups, epsilon=case.epsilon
    )
    small, _ = normalization.forward(
        case.x, case.gamma, case.beta, groups=case.groups, epsilon=case.epsilon / 16
    )
    close(large, small)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_batch_is_its_images_one_by_one(groups):
    x, dy = rng.normal(size=(2, 5, 3, 6, 4))
    gamma, beta = rng.normal(size=(2, 4))
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    gradients, total = normalization.backward(dy, cache), np.zeros(4)
    for n in range(len(x)):
        one = slice(n, n + 1)
        y_n, cache_n = normalization.forward(x[one], gamma, beta, groups=groups)
        back = normalization.backward(dy[one], cache_n)
        close(y[one], y_n)
        close(gradients.x[one], back.x)
        total += back.gamma
    close(gradients.gamma, total)


def test_the_groups_of_an_image_are_images_of_their_own():
    x, gamma = rng.normal(size=(3, 7, 6)), rng.normal(size=6)
    whole, _ = normalization.forward(x, gamma, groups=2)
    for part in (slice(0, 3), slice(3, 6)):
        close(whole[..., part], normalization.forward(x[..., part], gamma[part], groups=1)[0])


def test_pixels_as_images_are_normalized_over_their_channels_alone():
    x = rng.normal(size=(2, 4, 3, 5))
    y, _ = normalization.forward(x.reshape(-1, 1, 5), groups=1, epsilon=1e-5)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    close(y.reshape(x.shape), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_value_per_group_is_beta_and_has_no_gradient(dtype):
    x, dy = (rng.normal(size=(4, 1, 1, 3)).astype(dtype) for _ in range(2))
    gamma, beta = (rng.normal(size=3).astype(dtype) for _ in range(2))
    y, cache = normalization.forward(x, gamma, beta, groups=3)
    same_values(y, np.broadcast_to(beta, x.shape))
    gradients = normalization.backward(dy, cache)
    same_values(gradients.x, np.zeros(x.shape, dtype))
    same_values(gradients.gamma, np.zeros(3, dtype))


def test_float32_at_a_mean_of_10000_is_that_of_float64():
    rng = np.random.default_rng(7)
    x, dy = rng.normal(size=(2, 3, 40, 50, 4)).astype(np.float32)
    x += np.float32(1e4)
    y, cache = normalization.forward(x, groups=2)
    exact, exact_cache = normalization.forward(x.astype(float), groups=2)
    close(y.astype(float), exact, scale=3 * 1e4, tolerance=2 * 2**-24)
    gradients, wanted = normalization.backward(dy, cache), normalization.backward(dy, exact_cache)
    close(gradients.x.astype(float), wanted.x, tolerance=1e-4)


# ---- manners

X, GAMMA, BETA = integers(rng, (4, 3, 2, 6)), integers(rng, 6), integers(rng, 6)
DY = integers(rng, (4, 3, 2, 6))


def results_of(x, gamma, beta, dy, groups=2):
    """(y, gradients) as nested tuples."""
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    return y, normalization.backward(dy, cache)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout):
    arrays = [variants(array)[layout] for array in (X, GAMMA, BETA, DY)]
    for a, b in zip(
        arrays_in(results_of(*arrays)), arrays_in(results_of(X, GAMMA, BETA, DY)), strict=True
    ):
        same_values(a, b)


def test_nothing_is_modified_and_nothing_shared():
    with untouched(X, GAMMA, BETA, DY) as results:
        results.append(results_of(X, GAMMA, BETA, DY))
        results.append(results_of(X, None, None, DY))


def test_the_cache_serves_twice_whatever_became_of_the_results():
    y, cache = normalization.forward(X, GAMMA, BETA, groups=3)
    first = normalization.backward(DY, cache)
    expected = [array.copy() for array in first]
    for array in (y, *first):
        array[...] = np.nan
    for a, b in zip(normalization.backward(DY, cache), expected, strict=True):
        same_values(a, b)


@pytest.mark.parametrize("wide", range(3))
def test_the_widest_of_x_gamma_and_beta_decides_the_type(wide):
    arrays = [a.astype("f4" if i == wide else "f2") for i, a in enumerate((X, GAMMA, BETA))]
    assert {array.dtype for array in arrays_in(results_of(*arrays, DY))} == {np.dtype("f4")}


@pytest.mark.parametrize("dtype", ["int16", "bool"])
def test_integers_count_as_float64(dtype):
    arrays = [np.abs(array).astype(dtype) for array in (X, GAMMA, BETA)]
    floats = [array.astype(float) for array in arrays]
    actual = arrays_in(results_of(*arrays, DY.astype(int)))
    for a, b in zip(actual, arrays_in(results_of(*floats, DY)), strict=True):
        same_values(a, b)


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_float16_is_computed_in_float32_and_rounded_once(groups):
    halves = [(array / 7).astype("f2") for array in (X, GAMMA, BETA, DY)]
    exact = arrays_in(results_of(*(array.astype("f4") for array in halves), groups))
    for a, b in zip(arrays_in(results_of(*halves, groups)), exact, strict=True):
        same_values(a, b.astype("f2"))


def test_the_square_of_a_large_float16_does_not_overflow():
    y, _ = normalization.forward(np.float16([[[-60000], [60000]]]), groups=1)
    same_values(y, np.float16([[[-1], [1]]]))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_an_empty_batch_gives_empty_results_and_zero_gradients(dtype):
    x, gamma, beta, dy = (a.astype(dtype) for a in (X[:0], GAMMA, BETA, DY[:0]))
    y, gradients = results_of(x, gamma, beta, dy)
    same_values(y, x)
    same_values(gradients.x, x)
    for gradient in gradients[1:]:
        same_values(gradient, np.zeros(6, dtype))


def test_nested_lists_work():
    y, gradients = results_of([[[1, 7]]], [2, 2], [100, 200], [[[1, 2]]], groups=1)
    close(y, np.array([[[98.0, 202.0]]]), tolerance=1e-4)
    same_values(gradients.beta, np.array([1.0, 2.0]))


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
def test_initialize_takes_a_type(dtype):
    gamma, beta = normalization.initialize(4, dtype=dtype)
    native = np.dtype(dtype).newbyteorder("=")
    same_values(gamma, np.ones(4, native))
    same_values(beta, np.zeros(4, native))


@pytest.mark.parametrize("shape", [(4, 224, 224, 16), (50000, 1, 64)])
def test_it_takes_no_copies_of_the_image(shape):
    x = rng.standard_normal(shape, np.float32)

    (y, cache), most, _ = traced(normalization.forward, x, groups=1)
    assert most < y.nbytes + 8 * 2**20
    _, most, _ = traced(normalization.backward, y, cache)
    assert most < x.nbytes + 8 * 2**20


# ---- refusals

GOOD = {"x": np.zeros((4, 3, 6)), "gamma": np.ones(6), "beta": np.ones(6), "groups": 2}
REAL = "must hold real numbers (float16, float32, float64, integers or bools), got dtype "
AXES = "x must be (N, *spatial, C) with one, two or three spatial axes, got shape "
ZERO = "x must have no spatial size and no channel count of 0, got shape "
SPLIT_IMAGES = np.array([[[1, 2, 3, 3], [1, 2, 3, 3]], [[1, 2, 3, 4], [5, 5, 5, 5]]])


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"x": np.zeros((4, 6))}, ValueError, AXES + "(4, 6)"),
        ({"x": np.zeros((4, 1, 1, 1, 1, 6))}, ValueError, AXES + "(4, 1, 1, 1, 1, 6)"),
        ({"x": np.zeros((4, 0, 6))}, ValueError, ZERO + "(4, 0, 6)"),
        ({"x": np.zeros((4, 3, 0))}, ValueError, ZERO + "(4, 3, 0)"),
        ({"x": np.zeros((4, 3, 6), complex)}, TypeError, f"x {REAL}complex128"),
        ({"gamma": np.ones(2)}, ValueError, "gamma must be (6,), one number per channel, got sh"),
        ({"gamma": 1.0}, ValueError, "gamma must be (6,), one number per channel, got shape ()"),
        ({"beta": np.ones((1, 6))}, ValueError, "beta must be (6,), one number per channel, got"),
        ({"beta": np.ones(6, object)}, TypeError, "beta must hold real numbers (...), got array("),
        ({"groups": 4}, ValueError, "groups must divide C = 6, got 4"),
        ({"groups": 12}, ValueError, "groups must divide C = 6, got 12"),
        ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
        ({"groups": 2.0}, TypeError, "groups must be an integer, got 2.0"),
        ({"groups": None}, TypeError, "groups must be an integer, got None"),
        ({"epsilon": -1e-9}, ValueError, "epsilon must be finite and at least 0, got -1e-09"),
        ({"epsilon": "1"}, TypeError, "epsilon must be a real number, got '1'"),
        (
            {"x": np.zeros((4, 3, 6)), "epsilon": 0},
            ValueError,
            "variance + epsilon must be positive, got 0 for image 0, group 0 and epsilon = 0.0",
        ),
        (
            {"x": SPLIT_IMAGES[::-1], "gamma": None, "beta": None, "epsilon": 0},
            ValueError,
            "variance + epsilon must be positive, got 0 for image 1, group 1 and epsilon = 0.0",
        ),
    ],
)
def test_forward_refuses(bad, exception, message):
    assert normalization.forward(**GOOD)[0].shape == (4, 3, 6)
    with pytest.raises(exception, match=says(message)):
        normalization.forward(**{**GOOD, **bad})


def test_how_many_groups_must_be_said():
    with pytest.raises(TypeError, match="groups"):
        normalization.forward(np.zeros((4, 3, 6)))


@pytest.mark.parametrize("function", [normalization.parameter_count, normalization.initialize])
def test_channels_must_be_a_positive_integer(function):
    with pytest.raises(ValueError, match=says("channels must be at least 1, got 0")):
        function(0)
    with pytest.raises(TypeError, match=says("channels must be an integer, got 2.5")):
        function(2.5)
