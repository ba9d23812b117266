"""batchnorm: centred and scaled per channel; its Jacobian, its averages, its folding."""

import numpy as np
import pytest
from helpers import (
    LAYOUTS,
    batchnorm_cases,
    close,
    dot,
    has_slope,
    inner,
    integers,
    like,
    loop_batchnorm,
    moved,
    same_values,
    says,
    untouched,
    variants,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    dilated,
    normalization,
    relu,
    transposed,
    unary,
)
from convinsights.batchnorm import ParameterCount, Statistics

rng = np.random.default_rng(61)


def arguments_of(case):
    """The array arguments of a drawn case, in the forward's order."""
    return (
        case.x,
        case.gamma,
        case.beta,
        None if case.statistics is None else Statistics(*case.statistics),
    )


def both_ways(case):
    """(y, dy, cache, gradients) of a drawn case."""
    y, cache = batchnorm.forward(*arguments_of(case), epsilon=case.epsilon)
    dy = np.random.default_rng(y.size).normal(size=y.shape)
    return y, dy, cache, batchnorm.backward(dy, cache)


def some_statistics(channels):
    """Statistics like those of a trained network."""
    return Statistics(rng.normal(size=channels), rng.uniform(0.1, 3, channels))


# ---- by hand


def test_the_batch_is_centred_and_scaled_per_channel():
    x = np.array([[[1, 5]], [[7, 5]]])  # mean 4 and 5, variance 9 and 0
    y, cache = batchnorm.forward(x, epsilon=7)
    assert_array_equal(y, [[[-3 / 4, 0]], [[3 / 4, 0]]])
    assert_array_equal(cache.statistics.mean, [4, 5])
    assert_array_equal(cache.statistics.variance, [9, 0])


def test_gamma_scales_and_beta_shifts():
    x = np.array([[1, 1], [5, 5]])  # mean 3, variance 4
    y, _ = batchnorm.forward(x, np.array([2, 3]), np.array([100, 200]), epsilon=0)
    assert_array_equal(y, [[98, 197], [102, 203]])


def test_inference_normalizes_by_what_is_given():
    statistics = Statistics(np.array([3, 10]), np.array([3.75, 0]))
    y, cache = batchnorm.forward(np.array([[1, 11]]), statistics=statistics, epsilon=0.25)
    assert_array_equal(y, [[-2 / 2, 1 / 0.5]])
    same_values(cache.statistics.mean, np.array([3.0, 10.0]))
    same_values(cache.statistics.variance, np.array([3.75, 0.0]))


def test_gamma_or_beta_alone():
    x, statistics = np.array([[3, 5]]), Statistics(np.ones(2), np.full(2, 4))
    scaled, _ = batchnorm.forward(x, np.array([6, 7]), None, statistics, epsilon=0)
    assert_array_equal(scaled, [[6, 14]])
    shifted, _ = batchnorm.forward(x, None, np.array([6, 7]), statistics, epsilon=0)
    assert_array_equal(shifted, [[7, 9]])


def test_epsilon_is_a_thousandth_by_default():
    y, _ = batchnorm.forward(np.array([[5.0]]), statistics=Statistics(np.zeros(1), np.zeros(1)))
    close(y, np.array([[5 / np.sqrt(1e-3)]]))


def test_the_gradient_in_inference_by_hand():
    x, gamma = np.array([[3, 1], [7, 1]]), np.array([5, 7])
    statistics = Statistics(np.array([1, 2]), np.array([4, 16]))
    _, cache = batchnorm.forward(x, gamma, np.zeros(2), statistics, epsilon=0)
    gradients = batchnorm.backward(np.array([[1, 4], [10, 8]]), cache)
    assert_array_equal(gradients.x, [[5 / 2 * 1, 7 / 4 * 4], [5 / 2 * 10, 7 / 4 * 8]])
    assert_array_equal(gradients.gamma, [(2 * 1 + 6 * 10) / 2, (-1 * 4 - 1 * 8) / 4])
    assert_array_equal(gradients.beta, [11, 12])
    assert_array_equal(gradients.statistics.mean, [-5 / 2 * 11, -7 / 4 * 12])
    # d(variance + epsilon)^(-1/2) = -1/2 (variance + epsilon)^(-3/2), times gamma (x - mean) dy
    assert_array_equal(gradients.statistics.variance, [-5 * 62 / 16, 7 * 12 / 128])


def test_the_gradient_in_training_by_hand():
    x = np.array([[-1], [0], [1]]) * np.sqrt(1.5)  # mean 0, variance 1
    _, cache = batchnorm.forward(x, np.array([6.0]), epsilon=0)
    gradients = batchnorm.backward(np.array([[1], [5], [9]]), cache)
    close(gradients.x, np.zeros((3, 1)), scale=10)  # dy is 5 + a multiple of x: nothing is left
    gradients = batchnorm.backward(np.array([[1], [5], [0]]), cache)
    close(
        gradients.x, 6 * np.array([[-1.5], [3], [-1.5]])
    )  # less its mean 2, and half of (1, 0, -1)


def test_gradients_are_named_after_the_arguments():
    _, cache = batchnorm.forward(np.ones((2, 1)), np.ones(1), np.ones(1), Statistics([0], [1]))
    gradients = batchnorm.backward(np.array([[2.0], [3.0]]), cache)
    assert gradients._fields == ("x", "gamma", "beta", "statistics")
    assert gradients.statistics._fields == ("mean", "variance")


@pytest.mark.parametrize("gamma", [None, np.ones(2)])
@pytest.mark.parametrize("beta", [None, np.ones(2)])
@pytest.mark.parametrize("statistics", [None, Statistics(np.zeros(2), np.ones(2))])
def test_what_was_not_given_has_no_gradient(gamma, beta, statistics):
    _, cache = batchnorm.forward(integers(rng, (3, 2)), gamma, beta, statistics)
    gradients = batchnorm.backward(integers(rng, (3, 2)), cache)
    given = [argument is not None for argument in (gamma, beta, statistics)]
    assert [gradient is not None for gradient in gradients[1:]] == given


def test_update_by_hand():
    moving, batch = Statistics([1, 2], [3, 4]), Statistics([10, 20], [30, 40])
    mean, variance = batchnorm.update(moving, batch, momentum=0.75)
    same_values(mean, np.array([3.25, 6.5]))
    same_values(variance, np.array([9.75, 13.0]))


def test_update_by_the_rule_of_pytorch_by_hand():
    moving, batch = Statistics([1], [3]), Statistics([10], [30])
    mean, variance = batchnorm.update(moving, batch, momentum=0.5, sample_size=5)
    same_values(mean, np.array([5.5]))
    same_values(variance, np.array([1.5 + 0.5 * 37.5]))


def test_counts_and_initial_values_by_hand():
    count = batchnorm.parameter_count(5)
    assert count == (10, 10)
    assert count.total == 20
    assert ParameterCount(trainable=3, non_trainable=4).total == 7
    for array, value in zip(batchnorm.initialize(3), (1, 0), strict=True):
        same_values(array, np.full(3, float(value)))
    for array, value in zip(batchnorm.initial_statistics(3), (0, 1), strict=True):
        same_values(array, np.full(3, float(value)))


def test_fold_by_hand():
    kernel, statistics = np.array([[3, 5], [7, 9]]), Statistics([10, 20], [4, 16])
    folded, bias = batchnorm.fold(
        kernel, np.array([1, 2]), np.array([6, 8]), np.array([100, 200]), statistics, epsilon=0
    )
    same_values(folded, np.array([[3.0 * 3, 5 * 2], [7 * 3, 9 * 2]]))
    same_values(bias, np.array([(1 - 10) * 3.0 + 100, (2 - 20) * 2 + 200]))


def test_fold_without_bias_gamma_and_beta_by_hand():
    folded, bias = batchnorm.fold(
        np.array([[3, 5]]), None, None, None, Statistics([10, 20], [1, 13]), epsilon=3
    )
    same_values(folded, np.array([[1.5, 1.25]]))
    same_values(bias, np.array([-5.0, -5.0]))


# ---- against the definition


@given(batchnorm_cases())
def test_forward_is_its_definition(case):
    y, cache = batchnorm.forward(*arguments_of(case), epsilon=case.epsilon)
    expected, mean, variance = loop_batchnorm(
        case.x, case.gamma, case.beta, case.statistics, epsilon=case.epsilon
    )
    close(y, expected)
    close(cache.statistics.mean, mean)
    close(cache.statistics.variance, variance)


# ---- against a second derivation


def jacobian(x, gamma, variance, epsilon):
    """The matrix r (I - 1 1ᵀ/m - x̂ x̂ᵀ/m) of one channel in training."""
    m, normalized = len(x), (x - x.mean()) / np.sqrt(variance + epsilon)
    projection = np.ones((m, m)) / m + np.outer(normalized, normalized) / m
    return gamma / np.sqrt(variance + epsilon) * (np.eye(m) - projection)


@given(batchnorm_cases(statistics=(False,)))
def test_the_gradient_in_training_is_the_product_with_the_jacobian(case):
    _, dy, cache, gradients = both_ways(case)
    for c, variance in enumerate(cache.statistics.variance):
        gamma = 1.0 if case.gamma is None else case.gamma[c]
        matrix = jacobian(case.x[..., c].ravel(), gamma, variance, case.epsilon)
        expected = matrix.T @ dy[..., c].ravel()
        scale = abs(gamma) / np.sqrt(variance + case.epsilon) * np.abs(dy).sum()
        close(gradients.x[..., c].ravel(), expected, scale=scale + 1e-300)


@given(batchnorm_cases(statistics=(True,)))
def test_inference_is_a_depthwise_convolution_of_one_tap(case):
    y, dy, _, gradients = both_ways(case)
    channels = case.x.shape[-1]
    kernel, bias = batchnorm.fold(
        np.ones((1, channels, 1)),
        None,
        case.gamma,
        case.beta,
        Statistics(*case.statistics),
        epsilon=case.epsilon,
    )
    image = case.x.reshape(len(case.x), -1, channels)
    expected, cache = depthwise.forward(image, kernel, bias)
    scale = np.abs(case.x).max() * np.abs(kernel).max() + np.abs(bias).max()
    close(y, expected.reshape(y.shape), scale=scale)
    dx = depthwise.backward(dy.reshape(expected.shape), cache).x
    close(gradients.x, dx.reshape(y.shape))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(70, 30, 20, 3), (2, 50000, 1), (40000, 2), (3, 40000), (1, 70, 80, 7)],
)
def test_large_images_are_done_block_by_block(shape, training):
    x, dy = rng.normal(2, 3, shape), rng.normal(size=shape)
    gamma, beta = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
    axes = tuple(range(len(shape) - 1))
    statistics = Statistics(x.mean(axes), x.var(axes))
    y, cache = batchnorm.forward(x, gamma, beta, None if training else statistics)
    root = np.sqrt(statistics.variance + 1e-3)
    normalized = (x - statistics.mean) / root
    close(y, gamma * normalized + beta)
    gradients = batchnorm.backward(dy, cache)
    close(gradients.gamma, (dy * normalized).sum(axes))
    close(gradients.beta, dy.sum(axes))
    along = dy.mean(axes) + normalized * (dy * normalized).mean(axes)
    close(gradients.x, gamma / root * (dy - along if training else dy))


def layers():
    """(name, convolution, x, kernel) of every kind of convolution that is folded as it is."""
    x = rng.normal(size=(2, 7, 6, 4))
    mixed = {"strides": (2, 1), "padding": ((0, 2), 1), "groups": 2}
    same = {"strides": 2, "padding": "same"}
    return {
        "conv": (conv, x, rng.normal(size=(3, 2, 4, 6)), {}),
        "strided, padded, grouped conv": (conv, x, rng.normal(size=(3, 2, 2, 6)), mixed),
        "strided same conv": (conv, x, rng.normal(size=(3, 3, 4, 6)), same),
        "conv of one axis": (conv, x[:, 0], rng.normal(size=(3, 4, 6)), {"padding": "causal"}),
        "dilated": (dilated, x, rng.normal(size=(3, 2, 4, 6)), {"dilation_rate": (2, 3)}),
        "unary": (unary, x, rng.normal(size=(1, 1, 4, 6)), {"strides": 2}),
        "plain unary": (unary, x, rng.normal(size=(4, 6)), {}),
        "depthwise": (depthwise, x[..., :3], rng.normal(size=(3, 2, 3, 2)), {"padding": 1}),
        "depthwise of one channel": (depthwise, x[..., :1], rng.normal(size=(3, 3, 1, 6)), same),
    }


LAYERS = layers()


@pytest.mark.parametrize("bias", [None, rng.normal(size=6)], ids=["no bias", "bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_folding_changes_nothing(name, bias):
    layer, x, kernel, options = LAYERS[name]
    gamma, beta, statistics = rng.normal(size=6), rng.normal(size=6), some_statistics(6)
    y, _ = layer.forward(x, kernel, bias, **options)
    expected, _ = batchnorm.forward(y, gamma, beta, statistics, epsilon=0.1)
    folded = batchnorm.fold(kernel, bias, gamma, beta, statistics, epsilon=0.1)
    assert folded[0].shape == kernel.shape
    close(layer.forward(x, *folded, **options)[0], expected)


def test_folding_after_a_transposed_convolution_takes_its_kernel_swapped():
    x, kernel = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(3, 2, 6, 5))
    gamma, beta, statistics = rng.normal(size=6), rng.normal(size=6), some_statistics(6)
    y, _ = transposed.forward(x, kernel, strides=2)
    expected, _ = batchnorm.forward(y, gamma, beta, statistics)
    folded, bias = batchnorm.fold(kernel.swapaxes(-1, -2), None, gamma, beta, statistics)
    close(transposed.forward(x, folded.swapaxes(-1, -2), bias, strides=2)[0], expected)


# ---- differences


@given(batchnorm_cases())
def test_gradients_are_the_slopes_along_any_direction(case):
    arguments = arguments_of(case)
    _, dy, _, gradients = both_ways(case)
    direction = like(rng, arguments)

    def loss(step):
        y, _ = batchnorm.forward(*moved(arguments, direction, step), epsilon=case.epsilon)
        return dot(dy, y)

    assert has_slope(loss, inner(gradients, direction))


@pytest.mark.parametrize("field", ["mean", "variance"])
def test_gradients_for_the_given_statistics_are_slopes(field):
    x, gamma, statistics = rng.normal(size=(5, 3)), rng.normal(size=3), some_statistics(3)
    y, cache = batchnorm.forward(x, gamma, None, statistics)
    dy, direction = rng.normal(size=y.shape), rng.normal(size=3)

    def loss(step):
        shifted = statistics._replace(**{field: getattr(statistics, field) + step * direction})
        return dot(dy, batchnorm.forward(x, gamma, None, shifted)[0])

    gradient = getattr(batchnorm.backward(dy, cache).statistics, field)
    assert has_slope(loss, dot(gradient, direction))


# ---- invariants


@given(batchnorm_cases(statistics=(False,)))
@settings(max_examples=30)
def test_the_gradient_in_training_sums_to_nothing_in_every_channel(case):
    _, _, _, gradients = both_ways(case)
    sums = gradients.x.reshape(-1, case.x.shape[-1]).sum(axis=0)
    close(sums, np.zeros(len(sums)), scale=max(np.abs(gradients.x).sum(), 1))


@given(batchnorm_cases(statistics=(False,)))
@settings(max_examples=30)
def test_the_gradient_in_training_keeps_of_the_part_along_x_only_the_share_of_epsilon(case):
    _, dy, cache, gradients = both_ways(case)
    mean, variance = cache.statistics
    raised = variance + case.epsilon
    normalized = (case.x - mean) / np.sqrt(raised)
    axes = tuple(range(dy.ndim - 1))
    r = (1 if case.gamma is None else case.gamma) / np.sqrt(raised)
    expected = r * (normalized * dy).sum(axes) * case.epsilon / raised
    scale = np.abs(r) * np.abs(normalized * dy).sum(axes) + 1
    close((normalized * gradients.x).sum(axes), expected, scale=scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_one_value_per_channel_is_beta_and_has_no_gradient(shape, dtype):
    x, gamma, beta, dy = (
        array.astype(dtype) for array in (rng.normal(size=shape), *rng.normal(size=(3, 3)))
    )
    y, cache = batchnorm.forward(x, gamma, beta)
    same_values(y, beta.reshape(shape))
    gradients = batchnorm.backward(dy.reshape(shape), cache)
    same_values(gradients.x, np.zeros(shape, dtype))
    same_values(gradients.gamma, np.zeros(3, dtype))
    same_values(gradients.beta, dy)


@given(batchnorm_cases(statistics=(False,)))
@settings(max_examples=30)
def test_a_larger_image_is_one_with_a_smaller_epsilon(case):
    x, gamma, beta, _ = arguments_of(case)
    large, _ = batchnorm.forward(4 * x, gamma, beta, epsilon=case.epsilon)
    small, _ = batchnorm.forward(x, gamma, beta, epsilon=case.epsilon / 16)
    close(large, small)


def test_gamma_and_beta_may_undo_the_normalization():
    x = rng.normal(3, 2, (5, 4, 3))
    _, cache = batchnorm.forward(x)
    mean, variance = cache.statistics
    close(batchnorm.forward(x, np.sqrt(variance + 1e-3), mean)[0], x)


def test_a_bias_before_it_has_gradient_0():
    x, kernel, bias = rng.normal(size=(3, 6, 2)), rng.normal(size=(3, 2, 4)), rng.normal(size=4)
    between, first = conv.forward(x, kernel, bias)
    y, second = batchnorm.forward(between, rng.normal(size=4))
    gradients = conv.backward(batchnorm.backward(rng.normal(size=y.shape), second).x, first)
    assert np.abs(gradients.kernel).max() > 0.1
    close(gradients.bias, np.zeros(4), scale=1)


def test_float32_at_a_mean_of_10000_is_that_of_float64():
    rng, roundings = np.random.default_rng(7), 4 * np.sqrt(2000) * 2**-24
    x, dy = rng.normal(size=(2, 40, 50, 3)).astype(np.float32) + np.float32([[[[1e4]]], [[[0]]]])
    y, cache = batchnorm.forward(x, gamma := np.float32([1, 2, -3]))
    exact, exact_cache = batchnorm.forward(x.astype(float), gamma.astype(float))
    close(y.astype(float), exact, scale=3 * 1e4, tolerance=2 * 2**-24)  # the mean itself is rounded
    variance, expected = cache.statistics.variance, exact_cache.statistics.variance
    close(variance.astype(float), expected, tolerance=roundings)
    gradients, wanted = batchnorm.backward(dy, cache), batchnorm.backward(dy, exact_cache)
    close(gradients.x.astype(float), wanted.x, tolerance=1e-4)
    close(gradients.gamma.astype(float), wanted.gamma, scale=1e4, tolerance=roundings)


@pytest.mark.parametrize("shape", [(99991, 1), (3000, 700)])
def test_the_mean_of_float32_is_rounded_once(shape):
    x = np.float32(1) + np.random.default_rng(0).random(shape, np.float32)
    exact = x.mean(axis=0, dtype=float)
    mean = batchnorm.forward(x)[1].statistics.mean.astype(float)
    assert np.abs(mean - exact).max() <= 0.55 * 2**-23


def test_the_rounding_of_the_mean_is_taken_out_of_the_variance():
    x = np.array([[0], [0], [0], [2]], np.float32) + np.float32(2**24)  # the mean is no float32
    _, cache = batchnorm.forward(x)
    assert cache.statistics == (2**24, 0.75)


@pytest.mark.parametrize("pixels", [2**16, 65537])  # with many divisors, and none
@pytest.mark.parametrize(("module", "options"), [(batchnorm, {}), (normalization, {"groups": 2})])
def test_sums_over_many_pixels_are_as_exact_as_over_few(module, options, pixels):
    """In float32 alone, 65537 terms would lose 1e-4."""
    x = np.full((1, pixels, 2), 0.33, np.float32)
    x[:, 1::2] *= -1
    gamma = np.ones(2, np.float32)
    y, cache = module.forward(x, gamma, gamma, **options)
    exact, _ = module.forward(x.astype(float), gamma, gamma, **options)
    close(y.astype(float), exact, tolerance=2**-20)
    dy = np.full(x.shape, 0.1, np.float32)
    dy[:, ::3] *= 3
    actual = module.backward(dy, cache)
    wanted = dy.astype(float).sum(axis=(0, 1)), (dy * (exact - 1)).sum(axis=(0, 1))
    for array, sums in zip((actual.beta, actual.gamma), wanted, strict=True):
        close(array.astype(float), sums, tolerance=2**-18, scale=np.abs(dy).sum() / 2)


def test_the_channel_that_is_refused_is_the_constant_one_not_one_that_is_nan():
    x = np.array([[np.nan, 5, 1], [1, 5, 2]])
    with pytest.raises(ValueError, match=says("...got 0 for channel 1 and epsilon = 0.0")):
        batchnorm.forward(x, epsilon=0)


def test_a_constant_channel_has_variance_0_whatever_its_mean():
    x = np.full((7, 9, 2), [0.1, 1e4 + 0.1], np.float32)
    y, cache = batchnorm.forward(x, None, np.float32([3, 4]))
    close(cache.statistics.variance, np.zeros(2, np.float32), scale=[1, 1e8], tolerance=2**-48)
    close(y, np.full(x.shape, [3, 4], np.float32), scale=[1, 1e4], tolerance=40 * 2**-24)


# ---- averages


def test_update_keeps_0_99_of_the_old_by_default():
    mean, variance = batchnorm.update(Statistics([100], [200]), Statistics([0], [1000]))
    close(mean, np.array([99.0]))
    close(variance, np.array([198.0 + 10]))


def test_updates_follow_keras():
    """Averages of the biased variance, 0.99 of the old."""
    moving, mean, variance = batchnorm.initial_statistics(2), np.zeros(2), np.ones(2)
    for x in rng.normal(3, 2, (5, 4, 6, 2)):
        _, cache = batchnorm.forward(x)
        moving = batchnorm.update(moving, cache.statistics)
        mean += 0.01 * (x.mean((0, 1)) - mean)
        variance += 0.01 * (x.var((0, 1)) - variance)
    close(moving.mean, mean)
    close(moving.variance, variance)


def test_updates_follow_pytorch():
    """Averages of the unbiased variance, 0.1 of the new."""
    moving, mean, variance = batchnorm.initial_statistics(2), np.zeros(2), np.ones(2)
    for x in rng.normal(3, 2, (5, 4, 6, 2)):
        _, cache = batchnorm.forward(x, epsilon=1e-5)
        moving = batchnorm.update(moving, cache.statistics, momentum=0.9, sample_size=4 * 6)
        mean += 0.1 * (x.mean((0, 1)) - mean)
        variance += 0.1 * (x.var((0, 1), ddof=1) - variance)
    close(moving.mean, mean)
    close(moving.variance, variance)


@pytest.mark.parametrize(("momentum", "kept"), [(0, 1), (1, 0), (0.0, 1), (np.float32(1), 0)])
def test_momentum_0_keeps_the_batch_and_1_the_old(momentum, kept):
    both = some_statistics(3), some_statistics(3)
    for actual, expected in zip(
        batchnorm.update(*both, momentum=momentum), both[kept], strict=True
    ):
        same_values(actual, expected)


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), (">f4", "f4")]
)
@pytest.mark.parametrize("batch", ["f2", "f8", "i2"])
def test_update_keeps_the_type_of_the_moving_statistics(dtype, wanted, batch):
    moving = Statistics(np.array([3], dtype), np.array([5], dtype))
    with untouched(moving) as results:
        results.append(
            batchnorm.update(moving, Statistics(np.array([7], batch), np.array([9], batch)))
        )
    close(results[0].mean, np.array([3.04], wanted))
    assert [array.dtype for array in results[0]] == [wanted, wanted]


def test_update_computes_in_float64():
    moving = Statistics(np.float32([1]), np.float16([2048]))
    mean, variance = batchnorm.update(moving, Statistics([1 + 2**-22], [2052]), momentum=0.5)
    same_values(mean, np.float32([1 + 2**-23]))
    same_values(variance, np.float16([2050]))
    third = Statistics(np.float32([0]), np.float32([1]))
    _, variance = batchnorm.update(([0.0], [0.0]), third, momentum=0, sample_size=4)
    same_values(variance, np.array([4 / 3]))


# ---- manners

X, GAMMA, BETA = integers(rng, (4, 3, 2, 5)), integers(rng, 5), integers(rng, 5)
GIVEN = Statistics(integers(rng, 5), np.abs(integers(rng, 5)))
DY = integers(rng, (4, 3, 2, 5))
WAYS = {"training": None, "inference": GIVEN}


def results_of(x, gamma, beta, statistics, dy):
    """(y, statistics, gradients) as nested tuples."""
    y, cache = batchnorm.forward(x, gamma, beta, statistics)
    return y, cache.statistics, batchnorm.backward(dy, cache)


def flat(value):
    """The arrays of nested tuples, None left out."""
    if isinstance(value, tuple):
        return [array for part in value for array in flat(part)]
    return [] if value is None else [value]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout, way):
    x, gamma, beta, dy = (variants(array)[layout] for array in (X, GAMMA, BETA, DY))
    statistics = WAYS[way] and Statistics(*(variants(array)[layout] for array in WAYS[way]))
    actual = flat(results_of(x, gamma, beta, statistics, dy))
    expected = flat(results_of(X, GAMMA, BETA, WAYS[way], DY))
    for a, b in zip(actual, expected, strict=True):
        same_values(a, b)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_modified_and_nothing_shared(way):
    with untouched(X, GAMMA, BETA, GIVEN, DY) as results:
        results.append(results_of(X, GAMMA, BETA, WAYS[way], DY))
        results.append(batchnorm.fold(X, BETA, GAMMA, BETA, GIVEN))
        results.append(batchnorm.fold(X, None, None, None, GIVEN))
        results.append(batchnorm.update(GIVEN, GIVEN, momentum=1))


def test_the_statistics_of_the_cache_are_copies():
    with untouched(GIVEN) as results:
        _, cache = batchnorm.forward(X, GAMMA, BETA, GIVEN)
        results.append(cache.statistics)


@pytest.mark.parametrize("way", WAYS)
def test_the_cache_serves_twice_whatever_became_of_the_results(way):
    y, cache = batchnorm.forward(X, GAMMA, BETA, WAYS[way])
    first = batchnorm.backward(DY, cache)
    expected = [array.copy() for array in flat(first)]
    for array in (y, *flat(first)):
        array[...] = np.nan
    for a, b in zip(flat(batchnorm.backward(DY, cache)), expected, strict=True):
        same_values(a, b)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wide", range(3))
def test_the_widest_of_x_gamma_and_beta_decides_the_type(wide, way):
    arrays = [a.astype("f4" if i == wide else "f2") for i, a in enumerate((X, GAMMA, BETA))]
    y, statistics, gradients = results_of(*arrays, WAYS[way], DY)
    assert {array.dtype for array in flat((y, statistics, gradients))} == {np.dtype("f4")}


@pytest.mark.parametrize("dtype", ["int16", "bool"])
@pytest.mark.parametrize("way", WAYS)
def test_integers_count_as_float64(dtype, way):
    arrays = [np.abs(array).astype(dtype) for array in (X, GAMMA, BETA)]
    floats = [array.astype(float) for array in arrays]
    actual = flat(results_of(*arrays, WAYS[way], DY.astype(int)))
    expected = flat(results_of(*floats, WAYS[way], DY))
    for a, b in zip(actual, expected, strict=True):
        same_values(a, b)


@pytest.mark.parametrize(("dtype", "computed"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_moving_statistics_in_float64_do_not_widen_a_result(dtype, computed):
    x, gamma, beta = (array.astype(dtype) for array in (X, GAMMA, BETA))
    y, statistics, gradients = results_of(x, gamma, beta, GIVEN, DY)
    assert {array.dtype for array in flat((y, gradients))} == {np.dtype(dtype)}
    assert {array.dtype for array in statistics} == {np.dtype(computed)}
    folded = batchnorm.fold(gamma.reshape(1, 5), beta, gamma, beta, GIVEN)
    assert [array.dtype for array in folded] == [dtype, dtype]


@pytest.mark.parametrize("wide", range(4))
def test_the_widest_argument_decides_the_type_of_a_fold(wide):
    arrays = (KERNEL := integers(rng, (2, 5))), BETA, GAMMA, BETA
    arrays = [array.astype("f4" if i == wide else "f2") for i, array in enumerate(arrays)]
    folded, bias = batchnorm.fold(*arrays, GIVEN)
    assert (folded.shape, folded.dtype, bias.dtype) == (KERNEL.shape, np.float32, np.float32)


@pytest.mark.parametrize("way", WAYS)
def test_float16_is_computed_in_float32_and_rounded_once(way):
    halves = [(array / 7).astype("f2") for array in (X, GAMMA, BETA, DY)]
    x, gamma, beta, dy = (array.astype("f4") for array in halves)
    y, statistics, gradients = results_of(*halves[:3], WAYS[way], halves[3])
    exact, wide, wide_gradients = results_of(x, gamma, beta, WAYS[way], dy)
    for a, b in zip(flat((y, gradients)), flat((exact, wide_gradients)), strict=True):
        same_values(a, b.astype("f2"))
    for a, b in zip(statistics, wide, strict=True):
        same_values(a, b)


def test_the_square_of_a_large_float16_does_not_overflow():
    y, cache = batchnorm.forward(np.float16([[-60000], [60000]]))
    same_values(y, np.float16([[-1], [1]]))
    same_values(cache.statistics.variance, np.float32([3.6e9]))


def test_a_fold_of_float16_is_rounded_once():
    kernel, bias, gamma, beta = ((array / 7).astype("f2") for array in (X, BETA, GAMMA, BETA))
    wide = (array.astype("f4") for array in (kernel, bias, gamma, beta))
    exact = batchnorm.fold(*wide, GIVEN)
    for a, b in zip(batchnorm.fold(kernel, bias, gamma, beta, GIVEN), exact, strict=True):
        same_values(a, b.astype("f2"))


def test_a_fold_is_computed_in_the_type_of_its_result():
    narrow = Statistics(np.float16([-1]), np.float16([1]))  # 2048 + 1 is 2048 in it
    kernel, bias = batchnorm.fold(
        np.float32([[1]]), np.float16([2048]), None, None, narrow, epsilon=2**-12
    )
    root = np.sqrt(np.float32([1 + 2**-12]))
    same_values(kernel, 1 / root[np.newaxis])
    same_values(bias, 2049 * (1 / root))


def test_an_empty_batch_is_normalized_by_what_is_given():
    y, cache = batchnorm.forward(X[:0], GAMMA, BETA, GIVEN)
    same_values(y, X[:0])
    gradients = batchnorm.backward(DY[:0], cache)
    same_values(gradients.x, X[:0])
    for gradient in flat(gradients[1:]):
        same_values(np.abs(gradient), np.zeros(5))


def test_an_empty_batch_has_no_statistics_of_its_own():
    message = "x must not be an empty batch in training, got shape (0, 3, 2, 5)"
    with pytest.raises(ValueError, match=says(message)):
        batchnorm.forward(X[:0], GAMMA, BETA)


def test_nested_lists_work():
    y, cache = batchnorm.forward([[1], [7]], [2], [100], [[3], [4]], epsilon=0)
    same_values(y, np.array([[98.0], [104.0]]))
    same_values(batchnorm.backward([[1], [2]], cache).x, np.array([[1.0], [2.0]]))
    folded = batchnorm.fold([[3]], [5], [2], [100], ([3], [4]), epsilon=0)
    assert [array.tolist() for array in folded] == [[[3.0]], [102.0]]


def test_in_inference_a_batch_is_its_images_one_by_one():
    y, _, gradients = results_of(X, GAMMA, BETA, GIVEN, DY)
    for n in range(len(X)):
        one = slice(n, n + 1)
        y_n, _, back = results_of(X[one], GAMMA, BETA, GIVEN, DY[one])
        same_values(y_n, y[one])
        same_values(back.x, gradients.x[one])


def test_in_training_the_order_of_the_batch_does_not_matter():
    y, cache = batchnorm.forward(X, GAMMA, BETA)
    turned, turned_cache = batchnorm.forward(X[::-1], GAMMA, BETA)
    close(turned[::-1], y)
    close(batchnorm.backward(DY[::-1], turned_cache).x[::-1], batchnorm.backward(DY, cache).x)


def test_after_a_relu_it_is_differentiable_where_the_relu_is():
    x, direction, dy = rng.normal(size=(3, 20, 4, 2))
    between, first = relu.forward(x)
    _, second = batchnorm.forward(between)
    slope = dot(relu.backward(batchnorm.backward(dy, second).x, first).x, direction)
    assert has_slope(
        lambda step: dot(dy, batchnorm.forward(relu.forward(x + step * direction)[0])[0]), slope
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_initialize_takes_a_type(dtype):
    gamma, beta = batchnorm.initialize(np.int8(4), dtype=dtype)
    native = np.dtype(dtype).newbyteorder("=")
    same_values(gamma, np.ones(4, native))
    same_values(beta, np.zeros(4, native))


def test_counts_are_plain_ints():
    count = batchnorm.parameter_count(np.int8(100))
    assert (count, count.total) == ((200, 200), 400)
    assert {type(number) for number in (*count, count.total)} == {int}


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16])
def test_epsilon_may_be_any_real_number(kind):
    x = np.array([[1.0], [3.0]])
    y, _ = batchnorm.forward(x, epsilon=kind(0.25))
    close(y, np.array([[-1.0], [1.0]]) / np.sqrt(1.25))


# ---- refusals

GOOD = {"x": np.zeros((4, 3, 5)), "gamma": np.ones(5), "beta": np.ones(5), "epsilon": 1}
REAL = "must hold real numbers (float16, float32, float64, integers or bools), got dtype "
PAIR = "statistics must be a Statistics(mean, variance), got "
REFUSED = [
    (
        {"x": np.zeros(5)},
        ValueError,
        "x must be (N, …, C) with no size of 0 behind N, got shape (5,)",
    ),
    ({"x": 5.0}, ValueError, "x must be (N, …, C) with no size of 0 behind N, got shape ()"),
    (
        {"x": np.zeros((4, 0, 5))},
        ValueError,
        "x must be (N, …, C) with no size of 0 behind N, got shape (4, 0, 5)",
    ),
    (
        {"x": np.zeros((4, 0))},
        ValueError,
        "x must be (N, …, C) with no size of 0 behind N, got shape (4, 0)",
    ),
    ({"x": np.zeros((4, 5), complex)}, TypeError, f"x {REAL}complex128"),
    ({"gamma": np.ones(3)}, ValueError, "gamma must be (5,), one number per channel, got shape (3"),
    ({"gamma": 1.0}, ValueError, "gamma must be (5,), one number per channel, got shape ()"),
    ({"gamma": np.ones((1, 5))}, ValueError, "gamma must be (5,), one number per channel, got sha"),
    ({"gamma": list("abcde")}, TypeError, f"gamma {REAL}<U1"),
    ({"beta": np.ones(1)}, ValueError, "beta must be (5,), one number per channel, got shape (1,)"),
    ({"beta": [None] * 5}, TypeError, f"beta {REAL[:-6]}[None, None, None, None, None]"),
    ({"epsilon": -1e-9}, ValueError, "epsilon must be finite and at least 0, got -1e-09"),
    ({"epsilon": np.inf}, ValueError, "epsilon must be finite and at least 0, got inf"),
    ({"epsilon": 10**400}, ValueError, "epsilon must be finite and at least 0, got 1000"),
    ({"epsilon": np.nan}, ValueError, "epsilon must be finite and at least 0, got nan"),
    ({"epsilon": True}, TypeError, "epsilon must be a real number, got True"),
    ({"epsilon": np.True_}, TypeError, "epsilon must be a real number, got ...True"),
    ({"epsilon": "1"}, TypeError, "epsilon must be a real number, got '1'"),
    ({"epsilon": None}, TypeError, "epsilon must be a real number, got None"),
    ({"epsilon": 1j}, TypeError, "epsilon must be a real number, got 1j"),
    (
        {"epsilon": 0},
        ValueError,
        "variance + epsilon must be positive, got 0 for channel 0 and epsilon = 0.0",
    ),
    (
        {"epsilon": 0, "statistics": Statistics(np.zeros(5), np.array([1, 1, 0, 1, 0]))},
        ValueError,
        "variance + epsilon must be positive, got 0 for channel 2 and epsilon = 0.0",
    ),
    ({"statistics": 5}, TypeError, PAIR + "5"),
    ({"statistics": (np.zeros(5),)}, ValueError, PAIR + "1 entries"),
    ({"statistics": [1, 2, 3]}, ValueError, PAIR + "3 entries"),
    ({"statistics": np.ones((2, 5))}, TypeError, PAIR + "array([[1., 1..."),
    (
        {"statistics": Statistics(np.zeros(3), np.ones(5))},
        ValueError,
        "statistics.mean must be (5,), one number per channel, got shape (3,)",
    ),
    (
        {"statistics": Statistics(np.zeros(5), np.ones(3))},
        ValueError,
        "statistics.variance must be (5,), one number per channel, got shape (3,)",
    ),
    ({"statistics": Statistics(0.0, 1.0)}, ValueError, "statistics.mean must be (5,), one number"),
    (
        {"statistics": Statistics(np.zeros(5), np.array([1, -0.5, 1, -2, 1]))},
        ValueError,
        "statistics.variance must not be negative, got -2.0",
    ),
    ({"statistics": Statistics(["a"], [1])}, TypeError, f"statistics.mean {REAL}<U1"),
    ({"statistics": Statistics([1], [1j])}, TypeError, f"statistics.variance {REAL}complex128"),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert batchnorm.forward(**GOOD)[0].shape == (4, 3, 5)
    with pytest.raises(exception, match=says(message)):
        batchnorm.forward(**{**GOOD, **bad})


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"moving": 5}, TypeError, "moving must be a Statistics(mean, variance), got 5"),
        ({"batch": None}, TypeError, "batch must be a Statistics(mean, variance), got None"),
        (
            {"moving": Statistics(np.zeros(3), np.ones(2))},
            ValueError,
            "moving.variance must be (3,), one number per channel, got shape (2,)",
        ),
        (
            {"batch": Statistics(np.zeros(1), np.ones(3))},
            ValueError,
            "batch.mean must be (3,), one number per channel, got shape (1,)",
        ),
        (
            {"batch": Statistics(np.zeros(3), np.ones(1))},
            ValueError,
            "batch.variance must be (3,), one number per channel, got shape (1,)",
        ),
        ({"moving": Statistics([], [])}, ValueError, "moving.mean must be (1,), one number per"),
        ({"moving": Statistics(0.0, 1.0)}, ValueError, "moving.mean must be (1,), one number per"),
        (
            {"moving": Statistics(np.zeros((3, 1)), np.ones((3, 1)))},
            ValueError,
            "moving.mean must be (3,), one number per channel, got shape (3, 1)",
        ),
        (
            {"moving": Statistics(np.zeros(3), -np.ones(3))},
            ValueError,
            "moving.variance must not be negative, got -1.0",
        ),
        (
            {"batch": Statistics(np.zeros(3), -np.ones(3))},
            ValueError,
            "batch.variance must not be negative, got -1.0",
        ),
        ({"batch": Statistics([1j], [1])}, TypeError, f"batch.mean {REAL}complex128"),
        ({"momentum": 1.01}, ValueError, "momentum must be from 0 to 1, got 1.01"),
        ({"momentum": -0.01}, ValueError, "momentum must be from 0 to 1, got -0.01"),
        ({"momentum": np.inf}, ValueError, "momentum must be from 0 to 1, got inf"),
        ({"momentum": False}, TypeError, "momentum must be a real number, got False"),
        ({"momentum": "0.9"}, TypeError, "momentum must be a real number, got '0.9'"),
        ({"sample_size": 1}, ValueError, "sample_size must be at least 2, got 1"),
        ({"sample_size": 8.0}, TypeError, "sample_size must be an integer, got 8.0"),
        ({"sample_size": True}, TypeError, "sample_size must be an integer, got True"),
    ],
)
def test_update_refuses(bad, exception, message):
    good = {"moving": some_statistics(3), "batch": some_statistics(3), "sample_size": 2}
    assert batchnorm.update(**good).mean.shape == (3,)
    with pytest.raises(exception, match=says(message)):
        batchnorm.update(**{**good, **bad})


SIX = "kernel must be (…, 6), or depthwise with C * depth_multiplier = 6, for statistics of 6 chan"


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"kernel": np.zeros((3, 2))}, ValueError, SIX + "nels, got (3, 2)"),
        ({"kernel": np.zeros((6, 3))}, ValueError, SIX + "nels, got (6, 3)"),
        ({"kernel": np.zeros((2, 6, 3))}, ValueError, SIX + "nels, got (2, 6, 3)"),
        ({"kernel": np.zeros((2, 6, 1, 3))}, ValueError, SIX),
        ({"kernel": 1.0}, ValueError, SIX + "nels, got ()"),
        ({"kernel": np.zeros((0, 6))}, ValueError, SIX + "nels, got (0, 6)"),
        ({"kernel": np.zeros(6)}, ValueError, SIX + "nels, got (6,)"),
        ({"kernel": np.zeros((2, 6), complex)}, TypeError, f"kernel {REAL}complex128"),
        ({"bias": np.zeros(2)}, ValueError, "bias must be (6,), one number per channel, got shape"),
        ({"gamma": np.zeros(1)}, ValueError, "gamma must be (6,), one number per channel, got sha"),
        ({"beta": 1}, ValueError, "beta must be (6,), one number per channel, got shape ()"),
        ({"bias": ["a"]}, TypeError, f"bias {REAL}<U1"),
        ({"gamma": ["a"]}, TypeError, f"gamma {REAL}<U1"),
        ({"beta": ["a"]}, TypeError, f"beta {REAL}<U1"),
        ({"statistics": None}, TypeError, PAIR + "None"),
        (
            {"statistics": Statistics(np.zeros(6), np.ones(5))},
            ValueError,
            "statistics.variance must be (6,), one number per channel, got shape (5,)",
        ),
        (
            {"statistics": Statistics(np.zeros(6), -np.ones(6))},
            ValueError,
            "statistics.variance must not be negative, got -1.0",
        ),
        ({"epsilon": -1}, ValueError, "epsilon must be finite and at least 0, got -1"),
        (
            {"epsilon": 0, "statistics": Statistics(np.zeros(6), np.arange(6)[::-1])},
            ValueError,
            "variance + epsilon must be positive, got 0 for channel 5 and epsilon = 0.0",
        ),
    ],
)
def test_fold_refuses(bad, exception, message):
    good = {"kernel": np.zeros((2, 3, 2)), "bias": None, "gamma": None, "beta": None}
    good["statistics"] = some_statistics(6)
    assert batchnorm.fold(**good)[0].shape == (2, 3, 2)
    with pytest.raises(exception, match=says(message)):
        batchnorm.fold(**{**good, **bad})


@pytest.mark.parametrize(
    "function", [batchnorm.parameter_count, batchnorm.initialize, batchnorm.initial_statistics]
)
def test_channels_are_checked(function):
    with pytest.raises(ValueError, match=says("channels must be at least 1, got 0")):
        function(0)
    with pytest.raises(TypeError, match=says("channels must be an integer, got 2.0")):
        function(2.0)


@pytest.mark.parametrize(
    ("dtype", "got"), [(int, "int64"), ("complex64", "complex64"), ("none", "'none'")]
)
def test_initialize_refuses_a_type_that_is_no_float(dtype, got):
    message = f"dtype must be float16, float32 or float64, got {got}"
    with pytest.raises(TypeError, match=says(message)):
        batchnorm.initialize(3, dtype=dtype)
