"""residual: a branch added to a short cut, in three orders of normalization and activation."""

import math

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
    line,
    loop_batchnorm,
    loop_conv,
    moved,
    residual_cases,
    same_values,
    says,
    untouched,
    variants,
)
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from convinsights import batchnorm, conv, relu, residual, unary
from convinsights.batchnorm import Statistics
from convinsights.residual import Parameters

rng = np.random.default_rng(91)
VARIANTS = ("original", "preactivation", "normalized_sum")


def norm(*gamma_and_beta):
    """(gamma, beta) of one channel."""
    return tuple(np.array([value], float) for value in gamma_and_beta)


def plain(count):
    """Statistics of one channel that normalize nothing, if epsilon is 0."""
    return (Statistics(np.zeros(1), np.ones(1)),) * count


def arguments_of(case):
    """(x, parameters, statistics) of a drawn case."""
    given = case.statistics and tuple(Statistics(*pair) for pair in case.statistics)
    return case.x, Parameters(**case.parameters), given


def both_ways(case):
    """(y, dy, cache, gradients) of a drawn case."""
    y, cache = residual.forward(*arguments_of(case), **case.options)
    dy = np.random.default_rng(y.size).normal(size=y.shape)
    return y, dy, cache, residual.backward(dy, cache)


def block(variant, *, bottleneck=False, projection=True, dtype=float):
    """Parameters from 4 channels to 6 with a projection, to 4 without; integers."""
    filters = 6 if projection else 4
    shapes = [(3, 2, 4, filters), (2, 3, filters, filters)]
    if bottleneck:
        shapes = [(1, 1, 4, 2), (3, 2, 2, 2), (1, 1, 2, filters)]
    channels = [shape[-2 if variant == "preactivation" else -1] for shape in shapes]
    channels += [filters] * (variant == "normalized_sum")
    kernels = tuple(integers(rng, shape).astype(dtype) for shape in shapes)
    norms = [tuple(integers(rng, (2, count)).astype(dtype)) for count in channels]
    if not projection:
        return Parameters(kernels, tuple(norms))
    matrix = integers(rng, (1, 1, 4, 6)).astype(dtype)
    return Parameters(kernels, tuple(norms), matrix, tuple(integers(rng, (2, 6)).astype(dtype)))


# ---- by hand

X = line(1, -2, 3)


def test_original_is_conv_and_norm_then_relu_after_the_sum():
    parameters = Parameters((line(2).reshape(1, 1, 1),), (norm(3, 1),))
    y, _ = residual.forward(X, parameters, plain(1), epsilon=0)
    assert_array_equal(y, line(1 + 7, 0, 3 + 19))  # of -2 comes -2 - 11


def test_original_has_a_relu_between_its_convolutions_and_none_after_the_last():
    parameters = Parameters(tuple(np.array([[[[2]]], [[[5]]]])), (norm(3, 1), norm(-1, 4)))
    y, _ = residual.forward(X, parameters, plain(2), variant="original", epsilon=0)
    assert_array_equal(y, line(0, -2 + 0 + 4, 0))  # 1 - 5·7 + 4; relu(-11) is 0; 3 - 5·19 + 4


def test_preactivation_is_norm_and_relu_then_conv_and_nothing_after_the_sum():
    parameters = Parameters(tuple(np.array([[[[2]]], [[[5]]]])), (norm(3, 1), norm(-1, 9)))
    y, _ = residual.forward(X, parameters, plain(2), variant="preactivation", epsilon=0)
    # norm: 4 -5 10; relu: 4 0 10; conv: 8 0 20; norm: 1 9 -11; relu: 1 9 0; conv: 5 45 0
    assert_array_equal(y, line(1 + 5, -2 + 45, 3 + 0))


def test_normalized_sum_is_conv_norm_relu_then_norm_and_relu_after_the_sum():
    parameters = Parameters((np.array([[[2]]]),), (norm(3, 1), norm(-1, 10)))
    y, _ = residual.forward(X, parameters, plain(2), variant="normalized_sum", epsilon=0)
    # conv: 2 -4 6; norm: 7 -11 19; relu: 7 0 19; sum: 8 -2 22; norm: 2 12 -12
    assert_array_equal(y, line(2, 12, 0))


def test_the_projection_and_its_norm_stand_on_the_short_cut():
    parameters = Parameters((np.array([[[2]]]),), (norm(1, 0),), np.array([[7]]), norm(10, 3))
    y, _ = residual.forward(X, parameters, plain(2), epsilon=0)
    assert_array_equal(y, line(2 + 73, 0, 6 + 213))


def test_without_a_norm_the_projection_is_all_there_is_on_the_short_cut():
    parameters = Parameters((np.array([[[2]]]),), (norm(1, 0),), np.array([[7]]))
    y, _ = residual.forward(X, parameters, plain(1), epsilon=0)
    assert_array_equal(y, line(2 + 7, 0, 6 + 21))


def test_the_strides_act_on_the_first_kernel_larger_than_one_tap():
    kernels = np.array([[[3], [1]]]), np.array([[[1]], [[10]]]), np.array([[[2]]])
    parameters = Parameters(kernels, (norm(1, 0),) * 3, np.array([[0], [0]]))
    x = np.array([[[1, 2], [3, 4], [5, 6], [7, 8]]])  # first made 5 13 21 29
    y, _ = residual.forward(x, parameters, plain(3), strides=2, epsilon=0)
    assert_array_equal(y, line(2 * (5 + 130), 2 * (21 + 290)))


def test_the_strides_act_on_the_first_kernel_where_all_have_one_tap():
    parameters = Parameters((np.array([[[2]]]),) * 2, (norm(1, 0),) * 2, np.array([[1]]))
    y, _ = residual.forward(line(1, 2, 3, 4, 5), parameters, plain(2), strides=3, epsilon=0)
    assert_array_equal(y, line(1 + 4, 4 + 16))


def test_convolutions_are_padded_same():
    parameters = Parameters((np.array([[[1]], [[10]]]),), (norm(1, 0),))
    y, _ = residual.forward(line(1, 2, 3), parameters, plain(1), epsilon=0)
    assert_array_equal(y, line(1 + 21, 2 + 32, 3 + 3))


def test_padding_is_that_of_kernels_larger_than_one_tap():
    kernels = np.array([[[1], [10], [100]]], float).reshape(3, 1, 1), np.array([[[2.0]]])
    parameters = Parameters(kernels, (norm(1, 0),) * 2, np.array([[0]]))
    x = line(1, 2, 3, 4)
    y, _ = residual.forward(x, parameters, plain(2), strides=2, epsilon=0)
    assert_array_equal(y, line(2 * 321, 2 * 43))
    y, cache = residual.forward(x, parameters, plain(2), strides=2, padding=1, epsilon=0)
    assert_array_equal(y, line(2 * 210, 2 * 432))
    dx, gradients = residual.backward(line(1, 10), cache)
    assert_array_equal(dx, line(20, 200 + 20, 200, 2000))
    assert_array_equal(gradients.kernels[0].ravel(), [2 * 20, 2 * 31, 2 * 42])


def test_sizes_of_samples_are_those_of_batchnorm():
    moving = (Statistics([0], [0]), Statistics([1, 2], [3, 4]))
    batch = (Statistics([4], [6]), Statistics([8, 0], [6, 9]))
    updated = residual.update(moving, batch, momentum=0.5, sample_sizes=[3, 4])
    for actual, expected in zip(arrays_in(updated), ([2], [4.5], [4.5, 1], [5.5, 8]), strict=True):
        same_values(actual, np.array(expected, float))
    alike = residual.update(moving, batch, sample_sizes=3)
    assert repr(alike) == repr(residual.update(moving, batch, sample_sizes=(3, 3)))


def test_gradients_in_inference_by_hand():
    parameters = Parameters((np.array([[[2]]]),), (norm(3, 1),), np.array([[7]]), norm(10, -3))
    y, cache = residual.forward(X, parameters, plain(2), epsilon=0)
    assert_array_equal(y, line(7 + 67, 0, 19 + 207))  # the relu stops the pixel in the middle
    dx, gradients = residual.backward(line(1, 10, 100), cache)
    assert_array_equal(dx, line(2 * 3 + 7 * 10, 0, 7600))
    assert_array_equal(gradients.kernels[0], [[[3 * (1 * 1 + 3 * 100)]]])
    assert_array_equal(gradients.norms[0], [[2 * 1 + 6 * 100], [101]])
    assert_array_equal(gradients.projection, [[10 * (1 * 1 + 3 * 100)]])
    assert_array_equal(gradients.projection_norm, [[7 * 1 + 21 * 100], [101]])


def test_gradients_are_named_after_the_arguments_and_none_where_there_was_no_array():
    _, cache = residual.forward(X, Parameters((np.array([[[2]]]),), (norm(3, 1),)))
    gradients = residual.backward(line(1, 2, 4), cache)
    assert gradients._fields == ("x", "parameters")
    assert isinstance(gradients.parameters, Parameters)
    assert gradients.parameters.projection is None
    assert gradients.parameters.projection_norm is None


def test_update_and_counts_by_hand():
    moving = (Statistics([1], [2]), Statistics([3, 4], [5, 6]))
    batch = (Statistics([5], [10]), Statistics([7, 0], [1, 2]))
    updated = residual.update(moving, batch, momentum=0.75)
    assert isinstance(updated, tuple)
    for actual, expected in zip(arrays_in(updated), ([2], [4], [4, 3], [4, 5]), strict=True):
        same_values(actual, np.array(expected, float))
    count = residual.parameter_count(block("original", bottleneck=True))
    trainable = (4 * 2 + 6 * 2 * 2 + 2 * 6) + 2 * (2 + 2 + 6) + 4 * 6 + 2 * 6
    assert count == (trainable, 2 * (2 + 2 + 6 + 6))
    assert count.total == sum(count)


# ---- against the definitions, step by step


def composed(case, epsilon=1e-3):
    """The block written out; the output, and (mean, variance) of every normalization in order."""
    parameters = Parameters(**case.parameters)
    norms, used = list(parameters.norms), {}
    sizes = [math.prod(kernel.shape[:-2]) for kernel in parameters.kernels]
    striding = next((i for i, size in enumerate(sizes) if size > 1), 0)

    strides, padding, variant = (case.options[name] for name in ("strides", "padding", "variant"))

    def conv_of(a, i):
        zeros = padding if sizes[i] > 1 else 0
        steps = strides if i == striding else 1
        return loop_conv(a, parameters.kernels[i], padding=zeros, strides=steps)

    def norm_of(a, i, pair=None):
        statistics = case.statistics and case.statistics[i]
        y, *used[i] = loop_batchnorm(a, *(pair or norms[i]), statistics, epsilon=epsilon)
        return y

    def relu_of(a):
        return np.where(a > 0, a, 0)

    a, last = case.x, len(sizes) - 1
    for i in range(len(sizes)):
        if variant == "preactivation":
            a = conv_of(relu_of(norm_of(a, i)), i)
        else:
            a = norm_of(conv_of(a, i), i)
            a = a if i == last and variant == "original" else relu_of(a)
    shortcut = case.x
    if parameters.projection is not None:
        shortcut = loop_conv(shortcut, parameters.projection, strides=strides)
    if parameters.projection_norm is not None:
        shortcut = norm_of(shortcut, len(norms), parameters.projection_norm)
    a = a + shortcut
    if variant == "original":
        a = relu_of(a)
    elif variant == "normalized_sum":
        a = relu_of(norm_of(a, last + 1))
    return a, [used[i] for i in sorted(used)]


@given(residual_cases())
def test_forward_is_its_steps_and_the_cache_has_the_statistics_in_order(case):
    y, _, cache, _ = both_ways(case)
    expected, statistics = composed(case)
    close(y, expected, scale=100)
    assert isinstance(cache.statistics, tuple)
    for actual, wanted in zip(cache.statistics, statistics, strict=True):
        close(actual.mean, wanted[0], scale=100)
        close(actual.variance, wanted[1], scale=100)


# ---- against a second derivation


def test_an_original_block_is_the_composition_of_its_modules():
    p, x = block("original"), rng.normal(size=(3, 6, 5, 4))
    y, cache = residual.forward(x, p, strides=2)
    caches, a = {}, x
    a, caches["conv 0"] = conv.forward(a, p.kernels[0], strides=2, padding="same")
    a, caches["norm 0"] = batchnorm.forward(a, *p.norms[0])
    a, caches["relu"] = relu.forward(a)
    a, caches["conv 1"] = conv.forward(a, p.kernels[1], padding="same")
    a, caches["norm 1"] = batchnorm.forward(a, *p.norms[1])
    b, caches["projection"] = unary.forward(x, p.projection, strides=2)
    b, caches["norm 2"] = batchnorm.forward(b, *p.projection_norm)
    expected, caches["end"] = relu.forward(a + b)
    close(y, expected)
    dy = rng.normal(size=y.shape)
    dsum = relu.backward(dy, caches["end"]).x
    norm_1 = batchnorm.backward(dsum, caches["norm 1"])
    conv_1 = conv.backward(norm_1.x, caches["conv 1"])
    norm_0 = batchnorm.backward(relu.backward(conv_1.x, caches["relu"]).x, caches["norm 0"])
    conv_0 = conv.backward(norm_0.x, caches["conv 0"])
    norm_2 = batchnorm.backward(dsum, caches["norm 2"])
    projection = unary.backward(norm_2.x, caches["projection"])
    wanted = (
        conv_0.x + projection.x,
        *(conv_0.kernel, conv_1.kernel),
        *(norm_0.gamma, norm_0.beta, norm_1.gamma, norm_1.beta),
        *(projection.kernel, norm_2.gamma, norm_2.beta),
    )
    for actual, array in zip(arrays_in(residual.backward(dy, cache)), wanted, strict=True):
        close(actual, array)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_plain_matrix_projects_as_the_kernel_of_one_tap(variant):
    p, x = block(variant), rng.normal(size=(2, 5, 4, 4))
    flat = p._replace(projection=p.projection[0, 0])
    y, cache = residual.forward(x, p, strides=(2, 1), variant=variant)
    again, flat_cache = residual.forward(x, flat, strides=(2, 1), variant=variant)
    same_values(again, y)
    dy = rng.normal(size=y.shape)
    gradient = residual.backward(dy, flat_cache).parameters.projection
    same_values(gradient, residual.backward(dy, cache).parameters.projection[0, 0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_identity_is_a_projection_with_ones_on_the_diagonal(variant):
    p, x = block(variant, projection=False), rng.normal(size=(2, 5, 4, 4))
    y, cache = residual.forward(x, p, variant=variant)
    projected, projected_cache = residual.forward(
        x, p._replace(projection=np.eye(4)), variant=variant
    )
    close(y, projected)
    dy = rng.normal(size=y.shape)
    close(residual.backward(dy, cache).x, residual.backward(dy, projected_cache).x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_spatial_axes_of_which_two_have_length_1_are_one(variant):
    p, x = block(variant, bottleneck=True), rng.normal(size=(2, 7, 6, 4))
    deep = p._replace(
        kernels=tuple(kernel[np.newaxis] for kernel in p.kernels), projection=p.projection[0, 0]
    )
    y, _ = residual.forward(x, p, strides=(2, 3), variant=variant)
    z, _ = residual.forward(x[:, np.newaxis], deep, strides=(1, 2, 3), variant=variant)
    close(z[:, 0], y)


# ---- differences


@given(residual_cases())
def test_gradients_are_the_slopes_along_any_direction(case):
    x, parameters, statistics = arguments_of(case)
    y, dy, _, gradients = both_ways(case)
    direction = like(np.random.default_rng(y.size), (x, parameters))

    def loss(step):
        there = moved((x, parameters), direction, step)
        y, _ = residual.forward(*there, statistics, **case.options)
        return dot(dy, y)

    assert has_slope(loss, inner(gradients, direction), tolerance=1e-5)


def ways_in(p):
    """How to get to each of the arrays of a block that projects."""
    kernels = [("kernels", i) for i in range(len(p.kernels))]
    norms = [("norms", i, j) for i in range(len(p.norms)) for j in range(2)]
    return [*kernels, *norms, ("projection",), ("projection_norm", 0), ("projection_norm", 1)]


def changed(value, way, change):
    """The same structure with one array changed, the one at the end of the way."""
    if not way:
        return change(value)
    first, *rest = way
    if isinstance(first, str):
        return value._replace(**{first: changed(getattr(value, first), rest, change)})
    return tuple(
        changed(part, rest, change) if i == first else part for i, part in enumerate(value)
    )


def end_of(way, p):
    """The array at the end of the way."""
    for step in way:
        p = getattr(p, step) if isinstance(step, str) else p[step]
    return p


@pytest.mark.parametrize("given", [False, True], ids=["training", "inference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_has_its_own_slope(variant, given):
    p, local = block(variant, bottleneck=True), np.random.default_rng(5)
    x, options = local.normal(size=(2, 5, 4, 4)), {"strides": 2, "variant": variant}
    y, cache = residual.forward(x, p, **options)
    statistics = cache.statistics if given else None
    dy, (_, cache) = local.normal(size=y.shape), residual.forward(x, p, statistics, **options)
    gradients = residual.backward(dy, cache).parameters
    for way in ways_in(p):
        direction = local.normal(size=end_of(way, p).shape)

        def loss(step, way=way, direction=direction):
            there = changed(p, way, lambda array: array + step * direction)
            return dot(dy, residual.forward(x, there, statistics, **options)[0])

        assert has_slope(loss, dot(end_of(way, gradients), direction), tolerance=1e-5), way


# ---- a silent branch


def silent(variant, projection=False):
    """A block whose last normalization on the branch has gamma and beta 0."""
    p = block(variant, projection=projection)
    zeros = tuple(np.zeros_like(array) for array in p.norms[1])
    return p._replace(norms=(p.norms[0], zeros, *p.norms[2:]))


SEEN = rng.normal(size=(3, 5, 4, 4))


def test_a_silent_preactivation_block_is_the_identity():
    p, dy = silent("preactivation"), rng.normal(size=SEEN.shape)
    y, cache = residual.forward(SEEN, p, variant="preactivation")
    same_values(y, SEEN)
    same_values(residual.backward(dy, cache).x, dy)


def test_a_silent_original_block_is_a_relu():
    p, dy = silent("original"), rng.normal(size=SEEN.shape)
    y, cache = residual.forward(SEEN, p)
    same_values(y, np.where(SEEN > 0, SEEN, 0))
    same_values(residual.backward(dy, cache).x, np.where(SEEN > 0, dy, 0))


def test_a_silent_normalized_sum_is_a_norm_and_a_relu():
    p = silent("normalized_sum")
    y, _ = residual.forward(SEEN, p, variant="normalized_sum")
    same_values(y, relu.forward(batchnorm.forward(SEEN, *p.norms[2])[0])[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_a_silent_block_the_convolutions_have_gradient_0(variant):
    y, cache = residual.forward(SEEN, silent(variant), variant=variant)
    gradients = residual.backward(rng.normal(size=y.shape), cache).parameters
    for array in arrays_in((gradients.kernels, gradients.norms[0])):
        assert not array.any()


def test_in_a_silent_original_block_the_last_gamma_and_beta_move():
    y, cache = residual.forward(SEEN, silent("original"))
    gradients = residual.backward(rng.normal(size=y.shape), cache).parameters
    assert np.abs(gradients.norms[1]).min() > 1e-3


def test_the_gradient_reaches_the_input_of_a_preactivation_block_whole_plus_a_sum():
    p, x = block("preactivation", projection=False), rng.normal(size=(2, 5, 4, 4))
    y, cache = residual.forward(x, p, variant="preactivation")
    doubled = p._replace(kernels=(p.kernels[0], 2 * p.kernels[1]))
    _, doubled_cache = residual.forward(x, doubled, variant="preactivation")
    dy = rng.normal(size=y.shape)
    through = residual.backward(dy, cache).x - dy
    close(residual.backward(dy, doubled_cache).x, dy + 2 * through)


# ---- manners

IMAGE, DY = integers(rng, (2, 5, 4, 4)), integers(rng, (2, 3, 4, 6))
OPTIONS = {"strides": (2, 1)}
BLOCKS = {variant: block(variant, bottleneck=True) for variant in VARIANTS}


def statistics_of(parameters):
    """Some statistics for a block, in float64."""
    local = np.random.default_rng(3)
    return tuple(
        Statistics(integers(local, mean.shape), local.uniform(1, 2, mean.shape))
        for mean, _ in residual.initial_statistics(parameters)
    )


def transformed(value, change):
    """The change made to every array of nested tuples."""
    if isinstance(value, tuple):
        parts = [transformed(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return None if value is None else change(value)


def results_of(x, parameters, statistics, dy, variant):
    """All arrays that come back: y, the statistics and every gradient."""
    y, cache = residual.forward(x, parameters, statistics, **OPTIONS, variant=variant)
    return list(arrays_in((y, cache.statistics, residual.backward(dy, cache))))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_works(layout, variant):
    p = BLOCKS[variant]
    arguments = IMAGE, p, statistics_of(p), DY
    changed = transformed(arguments, lambda array: variants(array)[layout])
    for a, b in zip(results_of(*changed, variant), results_of(*arguments, variant), strict=True):
        close(a, b)


@pytest.mark.parametrize("given", [False, True], ids=["training", "inference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_modified_and_nothing_shared(variant, given):
    p = BLOCKS[variant]
    statistics = statistics_of(p) if given else None
    with untouched(IMAGE, p, statistics, DY) as results:
        results.append(results_of(IMAGE, p, statistics, DY, variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_shared_by_kernels_of_one_tap(variant):
    kernels = (np.eye(4)[None],) * 2
    norms = ((np.ones(4), np.zeros(4)),) * (3 if variant == "normalized_sum" else 2)
    x, p = integers(rng, (2, 3, 4)), Parameters(kernels, norms)
    with untouched(x, p) as results:
        y, cache = residual.forward(x, p, variant=variant)
        with untouched(dy := integers(rng, y.shape)) as gradients:
            gradients.append(residual.backward(dy, cache))
        results += [y, gradients]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cache_serves_twice_whatever_became_of_the_results(variant):
    y, cache = residual.forward(IMAGE, BLOCKS[variant], **OPTIONS, variant=variant)
    first = list(arrays_in(residual.backward(DY, cache)))
    expected = [array.copy() for array in first]
    for array in (y, *first):
        array[...] = np.nan
    for a, b in zip(arrays_in(residual.backward(DY, cache)), expected, strict=True):
        same_values(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_moving_statistics_in_float64_do_not_widen_a_result(variant):
    p = BLOCKS[variant]
    for dtype in ("f2", "f4"):
        x, narrow = transformed((IMAGE, p), lambda array, dtype=dtype: (array / 9).astype(dtype))
        y, cache = residual.forward(x, narrow, statistics_of(p), **OPTIONS, variant=variant)
        arrays = [y, *arrays_in(residual.backward(DY, cache))]
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}
        assert {array.dtype for array in arrays_in(cache.statistics)} == {np.dtype("f4")}


def test_every_parameter_counts_in_the_type():
    p = transformed(BLOCKS["original"], lambda array: array.astype("f2"))
    for way in ways_in(p):
        wide = changed(p, way, lambda array: array.astype("f4"))
        y, cache = residual.forward(IMAGE.astype("f2"), wide, **OPTIONS)
        arrays = [y, *arrays_in(residual.backward(DY, cache))]
        assert {array.dtype for array in arrays} == {np.dtype("f4")}, way


@pytest.mark.parametrize("variant", VARIANTS)
def test_integers_count_as_float64(variant):
    p = BLOCKS[variant]
    whole = transformed((IMAGE, p), lambda array: array.astype("i2"))
    actual = results_of(*whole, None, DY.astype(int), variant)
    for a, b in zip(actual, results_of(IMAGE, p, None, DY, variant), strict=True):
        same_values(a, b)


@pytest.mark.parametrize("given", [False, True], ids=["training", "inference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_float16_is_computed_in_float32_throughout_and_rounded_once(variant, given):
    p = BLOCKS[variant]
    halves = transformed((IMAGE, p, DY), lambda array: (array / 7).astype("f2"))
    x, wide, dy = transformed(halves, lambda array: array.astype("f4"))
    statistics = statistics_of(p) if given else None
    y, cache = residual.forward(*halves[:2], statistics, **OPTIONS, variant=variant)
    exact, wide_cache = residual.forward(x, wide, statistics, **OPTIONS, variant=variant)
    same_values(y, exact.astype("f2"))
    for a, b in zip(
        arrays_in(residual.backward(halves[2], cache)),
        arrays_in(residual.backward(dy, wide_cache)),
        strict=True,
    ):
        same_values(a, b.astype("f2"))
    for a, b in zip(arrays_in(cache.statistics), arrays_in(wide_cache.statistics), strict=True):
        same_values(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_empty_batch_is_inferred_and_has_zero_gradients(variant):
    p = BLOCKS[variant]
    y, cache = residual.forward(IMAGE[:0], p, statistics_of(p), **OPTIONS, variant=variant)
    same_values(y, DY[:0])
    gradients = residual.backward(DY[:0], cache)
    same_values(gradients.x, IMAGE[:0])
    for gradient, array in zip(arrays_in(gradients.parameters), arrays_in(p), strict=True):
        same_values(np.abs(gradient), np.zeros(array.shape))


def test_an_empty_batch_has_nothing_to_train_on():
    for variant in VARIANTS:
        with pytest.raises(
            ValueError, match=says("x must not be an empty batch in training, got shape")
        ):
            residual.forward(IMAGE[:0], BLOCKS[variant], **OPTIONS, variant=variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_inference_a_batch_is_its_images_one_by_one(variant):
    p, statistics = BLOCKS[variant], statistics_of(BLOCKS[variant])
    y, cache = residual.forward(IMAGE, p, statistics, **OPTIONS, variant=variant)
    dx = residual.backward(DY, cache).x
    for n in range(2):
        one = slice(n, n + 1)
        y_n, cache = residual.forward(IMAGE[one], p, statistics, **OPTIONS, variant=variant)
        close(y_n, y[one])
        close(residual.backward(DY[one], cache).x, dx[one])


def test_lists_do_for_tuples_and_for_arrays():
    lists = [[[[[2]]]], [[[3], [1]]]]
    statistics = [([0], [1])]
    y, cache = residual.forward([[[1], [-2], [3]]], lists, statistics, epsilon=0)
    same_values(y, line(8, 0, 22))
    same_values(residual.backward([[[1], [2], [4]]], cache).x, line(7, 0, 28))
    assert residual.parameter_count(lists) == (3, 2)
    assert len(residual.initial_statistics(lists)) == 1


# ---- averages


@given(residual_cases(statistics=(False,)))
@settings(max_examples=20)
def test_update_is_that_of_batchnorm_for_all_of_them(case):
    _, _, cache, _ = both_ways(case)
    moving = residual.initial_statistics(Parameters(**case.parameters))
    assert [len(s.mean) for s in moving] == [len(s.mean) for s in cache.statistics]
    updated = residual.update(moving, cache.statistics)
    for old, new, actual in zip(moving, cache.statistics, updated, strict=True):
        expected = batchnorm.update(old, new, momentum=0.99)
        same_values(actual.mean, expected.mean)
        same_values(actual.variance, expected.variance)


def test_moving_statistics_start_at_mean_0_and_variance_1():
    for mean, variance in residual.initial_statistics(BLOCKS["original"]):
        same_values(mean, np.zeros(len(mean)))
        same_values(variance, np.ones(len(mean)))
    assert [len(mean) for mean, _ in residual.initial_statistics(BLOCKS["original"])] == [
        2,
        2,
        6,
        6,
    ]


# ---- initial values


@pytest.mark.parametrize(
    ("variant", "norms"),
    [("original", [7, 5]), ("preactivation", [4, 7]), ("normalized_sum", [7, 5, 5])],
)
def test_initialize_makes_what_the_variant_takes(variant, norms):
    p = residual.initialize(rng, [(3, 2), (1, 2)], 4, (7, 5), variant=variant)
    assert [kernel.shape for kernel in p.kernels] == [(3, 2, 4, 7), (1, 2, 7, 5)]
    assert [gamma.shape for gamma, _ in p.norms] == [(count,) for count in norms]
    assert p.projection.shape == (1, 1, 4, 5)
    if variant == "preactivation":
        assert p.projection_norm is None
    else:
        assert [array.tolist() for array in p.projection_norm] == [[1] * 5, [0] * 5]
    for gamma, beta in p.norms:
        assert (set(gamma), set(beta)) == ({1.0}, {0.0})
    assert residual.forward(SEEN, p, variant=variant)[0].shape == (3, 5, 4, 5)


def test_a_block_may_have_more_convolutions_than_an_array_has_axes():
    p = residual.initialize(rng, [(1,)] * 65, 1, (1,) * 65)
    assert len(p.kernels) == 65
    start = residual.initial_statistics(p)
    assert len(residual.update(start, start, sample_sizes=(5,) * len(start))) == len(start)


@pytest.mark.parametrize(
    ("filters", "strides", "needed"),
    [
        *((4, 1, False), (4, (1, 1), False), (4, 2, True), (4, (1, 2), True)),
        *((5, 1, True), ((4, 5), 1, True), ((5, 4), 1, False)),
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_initialize_projects_where_strides_or_channels_change_the_shape(
    variant, filters, strides, needed
):
    options = {"strides": strides, "variant": variant}
    p = residual.initialize(rng, [(3, 3), (3, 3)], 4, filters, **options)
    assert (p.projection is not None) == needed
    assert (p.projection_norm is not None) == (needed and variant != "preactivation")
    assert residual.forward(SEEN, p, **options)[0].shape[-1] == p.kernels[-1].shape[-1]


def test_initialize_draws_he_normal_kernels():
    p = residual.initialize(np.random.default_rng(0), [1, 3, 1], 128, (100, 60, 250), strides=2)
    assert [kernel.shape for kernel in p.kernels] == [(1, 128, 100), (3, 100, 60), (1, 60, 250)]
    for kernel in (*p.kernels, p.projection):
        fan_in = kernel.size // kernel.shape[-1]
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.04)


def test_one_convolution_makes_a_block():
    p = residual.initialize(rng, [(3, 3)], 4, 4, variant="preactivation")
    assert [array.shape for array in arrays_in(p)] == [(3, 3, 4, 4), (4,), (4,)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_initialize_takes_a_type_and_repeats_with_the_seed(dtype):
    p, again = (
        residual.initialize(np.random.default_rng(0), [3, 3], 4, 5, dtype=dtype) for _ in "12"
    )
    assert {array.dtype for array in arrays_in(p)} == {np.dtype(dtype)}
    for array, repeated in zip(arrays_in(p), arrays_in(again), strict=True):
        same_values(array, repeated)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_counts_every_array(variant):
    for projection in (False, True):
        p = block(variant, projection=projection)
        count = residual.parameter_count(p)
        statistics = residual.initial_statistics(p)
        assert count.trainable == sum(array.size for array in arrays_in(p))
        assert count.non_trainable == sum(array.size for array in arrays_in(statistics))


# ---- refusals

SMALL = block("original", projection=False)
WIDE = block("original")
GOOD = {"x": np.zeros((2, 5, 4, 4)), "parameters": SMALL}
REAL = "must hold real numbers (float16, float32, float64, integers or bools), got dtype "
FORM = "Parameters(kernels, norms, projection, projection_norm)"
PAIRS = "a sequence of pairs (gamma, beta)"
TWO = (np.zeros(4), np.ones(4))


def small(**fields):
    """The small block with other fields."""
    return {"parameters": SMALL._replace(**fields)}


def wide(**fields):
    """The projecting block with other fields."""
    return {"parameters": WIDE._replace(**fields)}


def kernels(*shapes):
    """Kernels of zeros."""
    return tuple(np.zeros(shape) for shape in shapes)


REFUSED = [
    (
        {"x": np.zeros((2, 4))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2, 4)",
    ),
    (
        {"x": np.zeros((2, 0, 4, 4))},
        ValueError,
        "x must have no spatial size and no channel count of 0, got shape (2, 0, 4, 4)",
    ),
    ({"x": np.zeros((2, 5, 4, 4), complex)}, TypeError, f"x {REAL}complex128"),
    (
        {"x": np.zeros((2, 5, 4))},
        ValueError,
        "x must be (N, *spatial, C) with the kernel's 2 spatial axes, got shape (2, 5, 4)",
    ),
    ({"parameters": 5}, TypeError, f"parameters must be a {FORM}, got 5"),
    ({"parameters": ((),)}, TypeError, f"parameters must be a {FORM}, got ((),)"),
    ({"parameters": (1, 2, 3, 4, 5)}, TypeError, f"parameters must be a {FORM}, got (1, 2, 3, 4"),
    (
        {"x": np.zeros((2, 5, 4, 3))},
        ValueError,
        (
            "parameters.kernels[0] must be (*kernel_size, 3, C_out) for x of shape (2, 5, 4, 3), "
            "got (3, 2, 4, 4)"
        ),
    ),
    (
        small(kernels=kernels((4, 4), (3, 3, 4, 4))),
        ValueError,
        (
            "parameters.kernels[0] must be (*kernel_size, C_in // groups, C_out) with one, two or "
            "three spatial axes and no size of 0, got shape (4, 4)"
        ),
    ),
    (small(kernels=5), TypeError, "parameters.kernels must be a sequence of arrays, got 5"),
    (small(kernels="ab"), TypeError, "parameters.kernels must be a sequence of arrays, got 'ab'"),
    (small(kernels=()), ValueError, "parameters.kernels must be a sequence of arrays, got 0 ent"),
    (small(norms=None), TypeError, f"parameters.norms must be {PAIRS}, got None"),
    (small(norms=()), ValueError, f"parameters.norms must be {PAIRS}, got 0 entries"),
    (small(kernels=(1j,)), TypeError, f"parameters.kernels[0] {REAL}complex128"),
    (
        small(kernels=kernels((3, 3, 4, 5), (3, 3, 4, 4))),
        ValueError,
        (
            "parameters.kernels[1] must be (*kernel_size, 5, C_out) for the input of "
            "parameters.kernels[1] of shape (2, 5, 4, 5), got (3, 3, 4, 4)"
        ),
    ),
    (
        small(kernels=kernels((3, 3, 4, 4), (3, 4, 4))),
        ValueError,
        "the input of parameters.kernels[1] must be (N, *spatial, C) with the kernel's 1 spatial",
    ),
    (
        small(kernels=kernels((3, 3, 4, 4), (3, 0, 4, 4))),
        ValueError,
        "parameters.kernels[1] must be (*kernel_size, C_in // groups, C_out) with one, two or",
    ),
    (
        small(kernels=kernels((3, 3, 4, 4))),
        ValueError,
        "parameters.norms must be a sequence of 1 pairs (gamma, beta), got 2 entries",
    ),
    (
        small(norms=(TWO,)),
        ValueError,
        "parameters.norms must be a sequence of 2 pairs (gamma, beta), got 1 entries",
    ),
    (
        {"variant": "normalized_sum"},
        ValueError,
        "parameters.norms must be a sequence of 3 pairs (gamma, beta), got 2 entries",
    ),
    (
        small(norms=(TWO, 7)),
        TypeError,
        "parameters.norms[1] must be a pair (gamma, beta), got 7",
    ),
    (
        small(norms=((np.ones(4),), TWO)),
        ValueError,
        "parameters.norms[0] must be a pair (gamma, beta), got 1 entries",
    ),
    (
        small(norms=((np.ones(4), np.ones(3)), TWO)),
        ValueError,
        "beta of parameters.norms[0] must be (4,), one number per channel, got shape (3,)",
    ),
    (
        small(norms=(TWO, (np.ones((1, 4)), np.ones((1, 4))))),
        ValueError,
        "gamma of parameters.norms[1] must be (4,), one number per channel, got shape (1, 4)",
    ),
    (
        small(norms=(([], []), TWO)),
        ValueError,
        "gamma of parameters.norms[0] must be (1,), one number per channel, got shape (0,)",
    ),
    (small(norms=(TWO, (["a"], TWO[1]))), TypeError, f"gamma of parameters.norms[1] {REAL}<U1"),
    (small(norms=(TWO, (TWO[0], ["a"]))), TypeError, f"beta of parameters.norms[1] {REAL}<U1"),
    (
        small(norms=(TWO, (np.ones(3), np.ones(3)))),
        ValueError,
        "gamma of parameters.norms[1] must be (4,), one number per channel, got shape (3,)",
    ),
    (
        {"strides": (1, 2)},
        ValueError,
        (
            "parameters.projection must be given where strides (1, 2) are not 1 or the "
            "channels change (4 to 4)"
        ),
    ),
    (
        wide(projection=None, projection_norm=None),
        ValueError,
        (
            "parameters.projection must be given where strides (1, 1) are not 1 or the "
            "channels change (4 to 6)"
        ),
    ),
    (
        {
            "parameters": Parameters(
                kernels((3, 3, 4, 6), (3, 3, 6, 5)), tuple((np.ones(n),) * 2 for n in (6, 5))
            )
        },
        ValueError,
        (
            "parameters.projection must be given where strides (1, 1) are not 1 or the "
            "channels change (4 to 5)"
        ),
    ),
    (
        {"x": np.zeros((2, 0, 4, 4)), "variant": "preactivation"},
        ValueError,
        "x must have no spatial size and no channel count of 0, got shape (2, 0, 4, 4)",
    ),
    (
        wide(projection=None),
        ValueError,
        "parameters.projection_norm must be None where there is no projection",
    ),
    (
        wide(projection=np.zeros((6, 4))),
        ValueError,
        (
            "parameters.projection must be (4, 6), or that behind a 1 for each spatial axis, for "
            "kernels from 4 to 6 channels, got (6, 4)"
        ),
    ),
    (
        wide(projection=np.zeros((1, 4, 6))),
        ValueError,
        "parameters.projection must be (4, 6), or that behind a 1 for each spatial axis",
    ),
    (
        wide(projection=np.zeros((3, 1, 4, 6))),
        ValueError,
        "parameters.projection must be (4, 6), or that behind a 1 for each spatial axis",
    ),
    (wide(projection=["a"]), TypeError, f"parameters.projection {REAL}<U1"),
    (
        wide(projection_norm=TWO),
        ValueError,
        "gamma of parameters.projection_norm must be (6,), one number per channel, got shape (4,)",
    ),
    (
        wide(projection_norm=5),
        TypeError,
        "parameters.projection_norm must be a pair (gamma, beta), got 5",
    ),
    ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
    ({"strides": 1.0}, TypeError, "strides must be an integer, got 1.0"),
    (
        {"strides": (1,)},
        ValueError,
        "strides must be an int or have one entry per spatial axis (2), got (1,)",
    ),
    (
        {"variant": "post"},
        ValueError,
        ("variant must be one of ('original', 'preactivation', 'normalized_sum'), got 'post'"),
    ),
    (
        {"variant": None},
        TypeError,
        (
            "variant must be a string, one of ('original', 'preactivation', 'normalized_sum'), "
            "got None"
        ),
    ),
    ({"padding": "full"}, ValueError, 'padding must be "valid", "same", "causal", an int, or one'),
    ({"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ({"padding": None}, TypeError, 'padding must be "valid", "same"...got None'),
    (
        {"padding": "valid"},
        ValueError,
        "padding must give the branch the short cut's size (5, 4), got (2, 1) by 'valid'",
    ),
    (
        {"padding": 1},
        ValueError,
        "padding must give the branch the short cut's size (5, 4), got (6, 5) by 1",
    ),
    (
        {"padding": 1, "parameters": Parameters(kernels((6, 3, 4, 4)), (TWO,))},
        ValueError,
        "padding must give the branch the short cut's size (5, 4), got (2, 4) by 1",
    ),
    (
        {"padding": 5j, "parameters": Parameters(kernels((1, 1, 4, 4)), (TWO,))},
        TypeError,
        'padding must be "valid", "same"...got 5j',
    ),
    ({"epsilon": -1}, ValueError, "epsilon must be finite and at least 0, got -1"),
    ({"epsilon": "0"}, TypeError, "epsilon must be a real number, got '0'"),
    (
        {"statistics": 5},
        TypeError,
        "statistics must be a sequence of 2 Statistics, got 5",
    ),
    (
        {"statistics": ()},
        ValueError,
        "statistics must be a sequence of 2 Statistics, got 0 entries",
    ),
    (
        {"statistics": plain(3)},
        ValueError,
        "statistics must be a sequence of 2 Statistics, got 3 entries",
    ),
    (
        {"statistics": plain(2)},
        ValueError,
        "statistics[0].mean must be (4,), one number per channel, got shape (1,)",
    ),
    (
        {"statistics": (TWO, 5)},
        TypeError,
        "statistics[1] must be a Statistics(mean, variance), got 5",
    ),
    (
        {"statistics": (TWO, None)},
        TypeError,
        "statistics[1] must be a Statistics(mean, variance), got None",
    ),
]


@pytest.mark.parametrize(("bad", "exception", "message"), REFUSED)
def test_forward_refuses(bad, exception, message):
    assert residual.forward(**GOOD)[0].shape == (2, 5, 4, 4)
    with pytest.raises(exception, match=says(message)):
        residual.forward(**{**GOOD, **bad})


@pytest.mark.parametrize(
    ("moving", "batch", "exception", "message"),
    [
        (5, plain(1), TypeError, "moving must be a sequence of some Statistics, got 5"),
        (plain(1), 5, TypeError, "batch must be a sequence of 1 Statistics, got 5"),
        (plain(2), plain(1), ValueError, "batch must be a sequence of 2 Statistics, got 1 entries"),
        (plain(1), plain(2), ValueError, "batch must be a sequence of 1 Statistics, got 2 entries"),
        ((5,), plain(1), TypeError, "moving[0] must be a Statistics(mean, variance), got 5"),
        (plain(1), (TWO,), ValueError, "batch[0].mean must be (1,), one number per channel, got "),
    ],
)
def test_update_refuses(moving, batch, exception, message):
    with pytest.raises(exception, match=says(message)):
        residual.update(moving, batch)


@pytest.mark.parametrize(
    ("sizes", "exception", "message"),
    [
        ((5,), ValueError, "sample_sizes must be an int or have one entry per normalization (2), "),
        (1, ValueError, "sample_sizes must be at least 2, got 1"),
        ((5, 1), ValueError, "sample_sizes[1] must be at least 2, got 1"),
        ((5, 2.0), TypeError, "sample_sizes[1] must be an integer, got 2.0"),
    ],
)
def test_update_refuses_wrong_sizes_of_samples(sizes, exception, message):
    with pytest.raises(exception, match=says(message)):
        residual.update(plain(2), plain(2), sample_sizes=sizes)


def test_update_refuses_a_wrong_momentum():
    with pytest.raises(ValueError, match=says("momentum must be from 0 to 1, got 1.5")):
        residual.update(plain(1), plain(1), momentum=1.5)


@pytest.mark.parametrize("function", [residual.initial_statistics, residual.parameter_count])
def test_what_is_no_block_has_no_counts(function):
    with pytest.raises(TypeError, match=says(f"parameters must be a {FORM}, got 5")):
        function(5)
    with pytest.raises(
        ValueError, match=says("parameters.kernels must be a sequence of arrays, got 0 entries")
    ):
        function(SMALL._replace(kernels=()))


@pytest.mark.parametrize("function", [residual.initial_statistics, residual.parameter_count])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norms": ((np.ones((2, 3)),) * 2, TWO)}, "gamma of parameters.norms[0] must be (6,), "),
        ({"norms": (TWO, (TWO[0], np.ones(7)))}, "beta of parameters.norms[1] must be (4,), one "),
        (
            {"norms": (TWO, (np.ones(()), np.ones(1)))},
            "gamma of parameters.norms[1] must be (1,)",
        ),
        ({"kernels": kernels((3, 3, 4, 6), 3)}, "parameters.kernels[1] must be (*kernel_size, C_"),
        ({"projection": np.ones((4, 5))}, "parameters.projection must be (4, 6), or that behind"),
        ({"projection_norm": TWO}, "gamma of parameters.projection_norm must be (6,), one number"),
        ({"projection": None}, "parameters.projection_norm must be None where there is no pro"),
    ],
)
def test_what_fits_no_image_is_not_counted(function, fields, message):
    with pytest.raises(ValueError, match=says(message)):
        function(WIDE._replace(**fields))


@pytest.mark.parametrize(
    ("bad", "exception", "message"),
    [
        ({"rng": 7}, TypeError, "rng must be a numpy.random.Generator, got 7"),
        ({"kernel_sizes": 3}, TypeError, "kernel_sizes must be a sequence of kernel sizes, got 3"),
        (
            {"kernel_sizes": "33"},
            TypeError,
            "kernel_sizes must be a sequence of kernel sizes, got '33'",
        ),
        (
            {"kernel_sizes": []},
            ValueError,
            "kernel_sizes must be a sequence of kernel sizes, got 0 entr",
        ),
        ({"kernel_sizes": [(3, 3), 0]}, ValueError, "kernel_sizes[1] must be at least 1, got 0"),
        (
            {"kernel_sizes": [(3, 3), 3]},
            ValueError,
            "kernel_sizes must all have as many axes, got [(3, 3), 3]",
        ),
        (
            {"kernel_sizes": [()]},
            ValueError,
            "kernel_sizes[0] must be one, two or three ints, got ()",
        ),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        ({"in_channels": 4.0}, TypeError, "in_channels must be an integer, got 4.0"),
        ({"filters": 0}, ValueError, "filters must be at least 1, got 0"),
        ({"filters": (4, True)}, TypeError, "filters[1] must be an integer, got True"),
        (
            {"filters": (4,)},
            ValueError,
            "filters must be an int or have one entry per convolution (2), got (4,)",
        ),
        ({"strides": 0}, ValueError, "strides must be at least 1, got 0"),
        (
            {"strides": (1, 1, 1)},
            ValueError,
            "strides must be an int or have one entry per spatial axis (2), got (1, 1, 1)",
        ),
        (
            {"variant": "post"},
            ValueError,
            "variant must be one of ('original', 'preactivation', 'normalized_sum'), got 'post'",
        ),
        ({"variant": 1}, TypeError, "variant must be a string, one of ('original', 'preactivatio"),
        ({"dtype": int}, TypeError, "dtype must be float16, float32 or float64, got int64"),
        (
            {"filters": (1, 2**62)},
            ValueError,
            "kernel_sizes, in_channels and filters must make arrays that fit in memory",
        ),
        (
            {"kernel_sizes": [1, 1], "in_channels": 2**40, "filters": (1, 2**39)},
            ValueError,
            "kernel_sizes, in_channels and filters must make ..., got one of shape (1, 10995116277",
        ),
    ],
)
def test_initialize_refuses(bad, exception, message):
    generator = np.random.default_rng(0)
    good = {"rng": generator, "kernel_sizes": [(3, 3), (3, 3)], "in_channels": 4, "filters": 4}
    with pytest.raises(exception, match=says(message)):
        residual.initialize(**{**good, **bad})
    assert generator.random() == np.random.default_rng(0).random(), "refused, but drawn from"
