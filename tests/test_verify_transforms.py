import numpy as np
import pytest
from right_kernels import MATRICES

from convinsights import conv, depthwise_separable, normalization, transposed, verify
from convinsights.verify import _bounds as bounds
from convinsights.verify._calls import Call
from convinsights.verify._cases import Case
from convinsights.verify._power import average_products, says_something, seen
from convinsights.verify._precision import Precision
from convinsights.verify._transforms import OUTPUT, PASSES, PIXELS, SPREAD, TAPS, lost

U = 2.0**-24


def case_of(module, arrays, dy, *, integers=False, **settings):
    usual = dict(module.forward.__kwdefaults__ or {})
    return Case(module, tuple(arrays), usual | settings, dy, "", integers)


@pytest.mark.parametrize("m", [2, 4])
def test_what_a_tap_and_a_pixel_weigh_covers_both_transforms(m):
    output, taps, pixels = MATRICES[m]
    weights = np.einsum("ij,jp,jq->ipq", output, taps, pixels)
    sizes = np.einsum("ij,jp,jq->ipq", abs(output), abs(taps), abs(pixels))
    for i, p, q in np.ndindex(sizes.shape):  # output i sees tap p on pixel i + p, and nothing else
        assert weights[i, p, q] == pytest.approx(float(q == i + p))
        offset = q - i
        assert sizes[i, p, q] <= (SPREAD[offset + 2, p] if -2 <= offset <= 4 else 0) + 1e-12
    np.testing.assert_array_equal(SPREAD, SPREAD[::-1, ::-1])
    assert (OUTPUT.shape, TAPS.shape, PIXELS.shape, SPREAD.max()) == (
        (4, 6),
        (6, 3),
        (6, 6),
        32 / 3,
    )


def claimed(algorithm, **options):
    return Precision.of(conv, np.float32, algorithm=algorithm, probabilistic=False, **options)


def test_the_bound_of_winograd_by_hand():
    # One pixel of 2 under a kernel whose second tap is -3: 32 / 3 is the most that it weighs, at
    # 4 + 4 + 5 roundings of the transforms, one product and one channel.
    x, kernel = np.zeros((1, 9, 1)), np.zeros((3, 1, 1))
    x[0, 4], kernel[1] = 2, -3
    settings = {"strides": (1,), "padding": ((1, 1),), "dilation_rate": (1,), "groups": 1}
    found = lost(Call(conv, (x, kernel, None), settings, x), claimed("winograd"))
    most = SPREAD[:, 1].max() * 6
    n = PASSES + 1 + 1
    assert found["y"] == pytest.approx(most * n * U / (1 - n * U))
    assert found["dx"] == pytest.approx(most * (PASSES + 1) * U, rel=1e-5)
    both = SPREAD.sum(axis=0).max() * 4
    assert found["dkernel"] == pytest.approx(both * (PASSES + 5) * U, rel=1e-5)  # 5 tiles of two
    # Along an axis of a single tap nothing is transformed: each of its 4 windows is a term.
    wide = np.concatenate([x[:, :, np.newaxis], np.zeros((1, 9, 3, 1))], axis=2)
    flat = {"strides": (1, 1), "padding": ((1, 1), (0, 0)), "dilation_rate": (1, 1), "groups": 1}
    of_wide = lost(Call(conv, (wide, kernel[:, np.newaxis], None), flat, wide), claimed("winograd"))
    assert of_wide["dkernel"] == pytest.approx(both * (PASSES + 5 * 4) * U, rel=1e-5)
    half = claimed("winograd", operands=np.float16)
    coarse = lost(Call(conv, (x, kernel, None), settings, None), half)
    assert coarse == {"y": pytest.approx(most * 2 * 2.0**-11, rel=2e-3)}


def test_the_bound_of_fourier_transforms_by_hand():
    # 7 and 3 go into 16 = 2^4; one transform is off by 4 eta, eta = u + 4 u (1.414… + u)
    x, kernel = np.zeros((1, 7, 1)), np.array([3.0, 0, 4]).reshape(3, 1, 1)
    x[0, 2] = 2
    settings = {"strides": (1,), "padding": ((0, 0),), "dilation_rate": (1,), "groups": 1}
    dy = np.full((1, 5, 1), 2.0)
    found = lost(Call(conv, (x, kernel, None), settings, dy), claimed("fft"))
    off = 4 * (1 + 4 * np.sqrt(2))
    assert found["y"] == pytest.approx(10 * ((2 + np.sqrt(3)) * off + 3) * U, rel=1e-5)
    assert found["dx"] == pytest.approx(
        5 * np.sqrt(20) * ((2 + np.sqrt(3)) * off + 3) * U, rel=1e-5
    )
    assert found["dkernel"] == pytest.approx(
        2 * np.sqrt(20) * ((2 + np.sqrt(5)) * off + 3) * U, rel=1e-5
    )
    hopeless = Precision.of(conv, np.float16, algorithm="fft", accumulate=verify.FLOAT8_E5M2)
    assert lost(Call(conv, (x, kernel, None), settings, None), hopeless)["y"] == np.inf


def test_a_transform_adds_to_the_bound_of_the_direct_sum():
    draw = np.random.default_rng(0)
    x, kernel = draw.normal(size=(2, 6, 7, 3)), draw.normal(size=(3, 3, 3, 2))
    direct = verify.error_bound(conv, x, kernel, dtype=np.float32, padding=1)
    for algorithm in ("winograd", "fft"):
        more = verify.error_bound(conv, x, kernel, dtype=np.float32, padding=1, algorithm=algorithm)
        np.testing.assert_allclose(np.ptp((more - direct).reshape(2, -1), axis=1), 0, atol=1e-12)
        assert (direct < more).all()
        assert more.max() < 0.1
    # A kernel of one tap is transformed by Fourier alone.
    one = kernel[:1, :1]
    by = [
        verify.error_bound(conv, x, one, dtype=np.float32, algorithm=a)
        for a in ("direct", "winograd")
    ]
    np.testing.assert_array_equal(*by)


@pytest.mark.parametrize("algorithm", ["winograd", "fft"])
def test_of_two_steps_the_first_is_transformed(algorithm):
    draw = np.random.default_rng(0)
    x, spatial, pointwise = (draw.normal(size=shape) for shape in ((2, 8, 3), (3, 3, 2), (6, 4)))
    dy = draw.normal(size=(2, 8, 4))
    settings = {"strides": 1, "padding": "same", "dilation_rate": 1}
    precision = Precision.of(depthwise_separable, np.float32, algorithm=algorithm)
    case = case_of(depthwise_separable, (x, spatial, pointwise, None), dy, **settings)
    allowed = bounds.allowances(case, precision, gradients=True)
    direct = bounds.allowances(case, Precision.of(depthwise_separable, np.float32), True)
    of_y = bounds.allowances(case, precision, gradients=False)
    assert of_y.keys() == {"y"}
    np.testing.assert_allclose(of_y["y"], allowed["y"], rtol=1e-12)
    assert allowed.keys() == direct.keys() == case.truth.keys()
    for name, allowance in allowed.items():
        assert (allowance > direct[name]).all()
        assert seen(case, name, allowance) == allowance.size


# ---- normalizations in groups


def test_normalization_of_every_channel_of_one_image_is_that_of_the_batch():
    draw = np.random.default_rng(0)
    x, dy = draw.normal(size=(2, 1, 5, 4, 3))
    gamma, beta = draw.normal(size=(2, 3))
    single = Precision.of(normalization, np.float32, probabilistic=False)
    of_group = bounds.bounds(
        Call(normalization, (x, gamma, beta), {"groups": 3, "epsilon": 1e-3}, dy), single
    )
    of_batch = bounds.bounds(
        Call(bounds.batchnorm, (x, gamma, beta, None), {"epsilon": 1e-3}, dy), single
    )
    assert of_group.keys() == of_batch.keys() == {"y", "dx", "dgamma", "dbeta"}
    for name, bound in of_group.items():  # but for the products with gamma, rounded one by one
        assert (bound >= of_batch[name]).all()
        np.testing.assert_allclose(bound, of_batch[name], rtol=0.1)
    bare = bounds.bounds(
        Call(normalization, (x, None, None), {"groups": 1, "epsilon": 1e-3}, dy), single
    )
    assert bare.keys() == {"y", "dx"}


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_normalization_in_float32_stays_within_its_bound(groups, mean):
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(4, 5, 5, 6)) * draw.uniform(0.1, 2, 6) + mean).astype(np.float32)
    gamma, beta = draw.normal(size=(2, 6)).astype(np.float32)
    dy = draw.normal(size=x.shape).astype(np.float32)
    exact = [a.astype(float) for a in (x, gamma, beta)]
    case = case_of(normalization, exact, dy.astype(float), groups=groups)
    allowed = bounds.allowances(case, Precision.of(normalization, np.float32), gradients=True)
    y, cache = normalization.forward(x, gamma, beta, groups=groups)
    got = normalization.backward(dy, cache)
    for name, array in {"y": y, "dx": got.x, "dgamma": got.gamma, "dbeta": got.beta}.items():
        assert (abs(array - case.truth[name]) <= allowed[name]).all()
        assert allowed[name].max() < (2e-3 if mean == 0 else 0.2)
    whole = verify.error_bound(
        normalization, x, gamma, beta, dtype=np.float32, groups=groups, probabilistic=True
    )
    np.testing.assert_allclose(whole, allowed["y"], rtol=1e-6)


# ---- what is seen


def test_an_average_product_is_the_product_of_the_averages():
    x, kernel = np.array([[[2.0], [-4.0], [0.0]]]), np.array([1.0, -3.0]).reshape(2, 1, 1)
    dy = np.array([[[5.0], [-6.0]]])
    case = case_of(conv, (x, kernel, np.ones(1)), dy)
    assert average_products(case) == {"y": 4, "dx": 11, "dkernel": 11, "dbias": 5.5}
    allowed = np.array([3.9, 4.0, 4.1, np.inf])
    assert seen(case, "y", allowed) == 1
    two = case_of(depthwise_separable, (x, kernel, np.full((1, 1), -0.5), None), dy)
    wanted = {"y": 2, "dx": 5.5, "ddepthwise_kernel": 5.5, "dpointwise_kernel": 22, "dbias": 5.5}
    assert average_products(two) == wanted
    spoilt = case_of(conv, (np.where(x == 0, np.nan, x), kernel, None), dy)
    assert average_products(spoilt)["y"] == 6


def test_of_a_normalization_it_is_one_value_of_a_mean():
    x, dy = np.array([[1.0], [3.0]])[None], np.array([[1.0], [2.0]])[None]
    arrays = x, np.array([4.0]), np.array([7.0])
    case = case_of(normalization, arrays, dy, groups=1, epsilon=0.0)  # y = 7 ± 4, dx = 0
    assert average_products(case) == {"y": 2, "dx": 0, "dgamma": 1.5, "dbeta": 1.5}
    batch = case_of(bounds.batchnorm, (*arrays, None), dy, epsilon=0.0)
    assert average_products(batch) == average_products(case)
    moving = bounds.batchnorm.Statistics(np.array([2.0]), np.array([1.0]))
    inference = case_of(bounds.batchnorm, (x, None, None, moving), dy, epsilon=0.0)
    assert average_products(inference) == {"y": 1, "dx": 1.5, "dgamma": 1.5, "dbeta": 1.5}
    flat = case_of(bounds.batchnorm, (x, np.zeros(1), None, None), dy, epsilon=0.0)
    assert average_products(flat)["dgamma"] == 0


def test_a_bound_above_the_values_says_nothing():
    x, kernel = np.ones((1, 4, 1)), np.ones((1, 1, 1))
    case = case_of(conv, (x, kernel, None), np.ones((1, 4, 1)))
    y = np.ones((1, 4, 1))
    assert says_something(case, "y", 0.9 * y)
    assert not says_something(case, "y", y)
    half = np.array([0, 0.5, 2, 2]).reshape(y.shape)
    assert says_something(case, "y", half)
    assert not says_something(case, "y", half + 0.6)
    zero = case_of(conv, (0 * x, kernel, None), 0 * y)
    assert says_something(zero, "y", 0 * y)
    assert not says_something(zero, "y", 1e-9 * y)
    none = case_of(transposed, (np.ones((0, 4, 1)), kernel, None), np.ones((0, 4, 1)))
    assert says_something(none, "y", np.ones((0, 4, 1)))
    assert average_products(none)["y"] == 0
