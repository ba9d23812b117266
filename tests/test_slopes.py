"""verify: gradients of one's own functions, against differences in float64."""

import re

import numpy as np
import pytest
from helpers import examples_run, says, traced

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    dilated,
    relu,
    residual,
    transposed,
    verify,
)
from convinsights.parameters import mapped


def both(module, **hyper):
    def forward(*arrays):
        return module.forward(*arrays, **hyper)[0]

    def backward(dy, *arrays):
        return module.backward(dy, module.forward(*arrays, **hyper)[1])[: len(arrays)]

    return forward, backward


def arrays_for(module):
    draw = np.random.default_rng(0)
    if module is relu:
        return (draw.normal(size=(3, 4, 5)),)
    if module is batchnorm:
        return draw.normal(size=(3, 4, 5)), draw.normal(size=5), draw.normal(size=5)
    channels = {depthwise: (2, 2), transposed: (3, 2)}.get(module, (2, 3))
    kernel = draw.normal(size=(3, 2, *channels))
    return draw.normal(size=(2, 5, 4, 2)), kernel, None


@pytest.mark.parametrize("module", [conv, depthwise, transposed, dilated, batchnorm, relu])
def test_right_gradients_pass(module):
    assert verify.check_gradients(*both(module), *arrays_for(module)) < 1e-8


def test_a_wrong_gradient_names_the_argument_and_the_worst_element():
    forward, backward = both(conv)
    x, kernel, _ = arrays_for(conv)

    def broken(dy, x, kernel):
        dx, dkernel = backward(dy, x, kernel)
        dkernel[2, 1, 0, 1] *= 3
        return dx, dkernel

    def named(x, kernel):
        return forward(x, kernel)

    with pytest.raises(AssertionError) as caught:
        verify.check_gradients(named, broken, x, kernel)
    right = verify.check_gradients(named, backward, x, kernel)
    message = str(caught.value)
    assert right < 1e-8
    assert message.startswith("the gradient of kernel is wrong: along random direction ")
    numbers = re.search(r"element kernel\[2, 1, 0, 1\]: got (\S+), expected (\S+)$", message)
    got, expected = map(float, numbers.groups())
    assert got == pytest.approx(3 * expected, rel=1e-6)
    slopes = re.search(r"of 4 it foretells a slope of (\S+), the difference is (\S+);", message)
    assert float(slopes[1]) != pytest.approx(float(slopes[2]), rel=1e-3)


def test_kinks_within_a_step_are_no_error():
    x = np.full(50, 1e-9)
    relu_like = (lambda x: np.maximum(x, 0), lambda dy, x: dy * (x > 0))
    verify.check_gradients(*relu_like, x * 1e9 * np.arange(50))
    assert verify.check_gradients(lambda x: np.abs(x - x), lambda dy, x: 0 * x, x) == 0


def test_an_argument_without_effect_has_gradient_0():
    x, bias = np.random.default_rng(0).normal(size=(6, 3)), np.array([1.0, 2.0, 3.0])

    def forward(x, bias):
        return batchnorm.forward(x + bias)[0]

    def backward(dy, x, bias):
        dx = batchnorm.backward(dy, batchnorm.forward(x + bias)[1]).x
        return dx, np.zeros(3)

    verify.check_gradients(forward, backward, x, bias)
    message = (
        "the gradient of bias is wrong: along random direction ... of 4 it foretells a slope of "
        "..., the difference is ...; element bias[...]: got 1, expected ..."
    )
    with pytest.raises(AssertionError, match=says(message)):
        verify.check_gradients(forward, lambda dy, *a: (backward(dy, *a)[0], np.ones(3)), x, bias)


def test_zeros_may_be_differentiated_at():
    square = (lambda x: x**2 + x, lambda dy, x: 2 * x * dy + dy)
    assert verify.check_gradients(*square, np.zeros(4)) < 1e-6


def test_gradients_of_integers_and_of_functions_without_names():
    assert (
        verify.check_gradients(np.multiply, lambda dz, x, y: (dz * y, dz * x), [1, 2], [3, 4])
        < 1e-8
    )
    with pytest.raises(AssertionError, match="the gradient of argument 1 is wrong"):
        verify.check_gradients(
            lambda *a: a[0] * a[1], lambda dz, x, y: (dz * y, dz * y), [1, 2], [3, 5]
        )


class Unsigned:
    __signature__ = "none"

    def __call__(self, x):
        return x**2


# ---- kinks


def many_kinks(seed, constant, count=2**17):
    """Four sums of many ReLUs of fifty numbers, and the gradients."""
    draw = np.random.default_rng(seed)
    slopes, places = draw.normal(size=(2, count))
    weights, which = draw.normal(size=(4, count)), np.arange(count) % 50

    def forward(x, kernel):
        y = np.maximum(slopes * x[which] + places, 0) @ (weights * kernel[which]).T
        return y + constant  # a large one leaves few digits

    def backward(dy, x, kernel):
        z = slopes * x[which] + places
        da = dy @ weights
        dx = np.bincount(which, da * kernel[which] * slopes * (z > 0), 50)
        return dx, np.bincount(which, da * np.maximum(z, 0), 50)

    return forward, backward, draw.normal(size=(2, 50))


@pytest.mark.parametrize(("seed", "constant"), [(0, 0), (1, 0), (2, 1e4)])
def test_a_right_gradient_passes_amid_many_kinks_and_one_off_by_a_hair_does_not(seed, constant):
    forward, backward, arrays = many_kinks(seed, constant)
    assert verify.check_gradients(forward, backward, *arrays) <= 1e-6
    for wrong, name in enumerate(("x", "kernel")):

        def off(dy, *arrays, wrong=wrong):
            return [g * (1.0001 if i == wrong else 1) for i, g in enumerate(backward(dy, *arrays))]

        with pytest.raises(AssertionError, match=f"^the gradient of {name} is wrong: "):
            verify.check_gradients(forward, off, *arrays, directions=1)


def test_a_million_kinks_under_one_mean_hide_neither_a_right_nor_a_wrong_gradient():
    draw = np.random.default_rng(0)
    x, kernel, bias = draw.normal(size=(2**18, 3)), draw.normal(size=(3, 4)), draw.normal(size=4)

    def forward(kernel, bias):
        return np.maximum(x @ kernel + bias, 0).mean(axis=0)

    def backward(dy, kernel, bias):
        dz = dy / len(x) * (x @ kernel + bias > 0)
        return x.T @ dz, dz.sum(axis=0)

    assert verify.check_gradients(forward, backward, kernel, bias, directions=1) <= 1e-6
    with pytest.raises(AssertionError, match="gradient of bias is wrong"):
        verify.check_gradients(
            forward,
            lambda *a: (backward(*a)[0], 1.0001 * backward(*a)[1]),
            kernel,
            bias,
            directions=1,
        )


def test_kinks_on_both_sides_within_a_step_are_no_error():
    for d in (3e-6, 2e-7):
        error = verify.check_gradients(
            lambda x, d=d: np.maximum(x - d, 0) - np.maximum(-x - d, 0),
            lambda dy, x, d=d: dy * (abs(x) > d),
            np.zeros(4),
        )
        assert error <= 1e-6


def test_a_kink_hard_by_hides_neither_a_right_nor_a_wrong_gradient():
    x, bias = np.random.default_rng(0).normal(size=(100, 100)), np.ones(1)
    x[0, 0] = -1 + 1e-10

    def forward(x, bias):
        return np.maximum(x + bias, 0)

    def backward(dy, x, bias):
        dx = dy * (x + bias > 0)
        return dx, dx.sum(keepdims=True)[0]

    verify.check_gradients(forward, backward, x, bias)
    with pytest.raises(AssertionError, match="gradient of bias is wrong: along the gradient"):
        verify.check_gradients(
            forward, lambda dy, *a: (backward(dy, *a)[0], 1.0001 * backward(dy, *a)[1]), x, bias
        )


def test_short_steps_do_not_hide_a_wrong_gradient_in_rounding():
    x = np.random.default_rng(0).normal(size=50)
    verify.check_gradients(lambda x: 1e8 + x, lambda dy, x: dy, x)
    with pytest.raises(AssertionError, match="the gradient of x is wrong"):
        verify.check_gradients(lambda x: 1e8 + x, lambda dy, x: 1.1 * dy, x)


@pytest.mark.parametrize("seed", range(5))
def test_at_a_kink_all_between_both_slopes_is_right(seed):
    draw = np.random.default_rng(seed)
    x = np.where(draw.random(60) < 0.5, 0, draw.normal(size=60))
    for chosen in (0, 0.5, 1):
        verify.check_gradients(
            lambda x: np.maximum(x, 0), lambda dy, x, c=chosen: dy * np.heaviside(x, c), x
        )
    with pytest.raises(AssertionError, match=r"^the gradient of x is wrong: along "):
        verify.check_gradients(lambda x: np.maximum(x, 0), lambda dy, x: dy * np.heaviside(x, 3), x)


@pytest.mark.parametrize("module", [conv, depthwise, transposed, dilated, batchnorm, relu])
def test_a_factor_of_a_hair_in_one_gradient_is_wrong(module):
    forward, backward = both(module)
    arrays = [a for a in arrays_for(module) if a is not None]
    for wrong in range(len(arrays)):

        def off(dy, *arrays, wrong=wrong):
            return [g * (1.0001 if i == wrong else 1) for i, g in enumerate(backward(dy, *arrays))]

        with pytest.raises(AssertionError, match=r"is wrong: .*, expected "):
            verify.check_gradients(forward, off, *arrays, directions=1)


def test_so_it_is_where_the_slope_is_small_beside_its_terms():
    x, bias = np.random.default_rng(0).normal(size=(300, 300)), np.ones(1)
    verify.check_gradients(np.add, lambda dy, x, b: (dy, dy.sum(keepdims=True)[0]), x, bias)
    with pytest.raises(AssertionError, match="along the gradient itself it foretells") as caught:
        verify.check_gradients(
            np.add, lambda dy, x, b: (dy, 1.0001 * dy.sum(keepdims=True)[0]), x, bias
        )
    slopes = re.search(r"a slope of (\S+), the difference is (\S+); element", str(caught.value))
    assert float(slopes[1]) == pytest.approx(1.0001 * float(slopes[2]), rel=1e-7)


def test_the_wrong_element_is_found_in_a_large_array():
    x = np.random.default_rng(0).normal(size=(40, 50, 60))

    def backward(dy, x):
        dx = 2 * dy * x
        dx[7, 40, 20] *= 3
        return dx

    with pytest.raises(AssertionError, match=r"element argument 0\[7, 40, 20\]: got "):
        verify.check_gradients(lambda *x: x[0] ** 2, backward, x)


def test_an_empty_batch_has_nothing_wrong():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 3))
    assert verify.check_gradients(*both(conv), np.zeros((0, 5, 5, 2)), kernel, None) == 0


def test_steep_curvature_is_no_error():
    x = np.random.default_rng(0).normal(size=30)
    forward = (lambda x: np.sin(1e3 * x), lambda dy, x: 1e3 * dy * np.cos(1e3 * x))
    assert verify.check_gradients(*forward, x) < 1e-6


# ---- trees


def block_and_image():
    draw = np.random.default_rng(0)
    block = residual.initialize(draw, [(1, 1), (3, 2), (1, 1)], 3, (2, 2, 4), strides=2)
    return draw.normal(size=(2, 5, 6, 3)), mapped(lambda a: a + draw.normal(size=a.shape), block)


def block_forward(x, parameters):
    return residual.forward(x, parameters, strides=2)[0]


def block_backward(dy, x, parameters):
    return residual.backward(dy, residual.forward(x, parameters, strides=2)[1])


def test_trees_of_arrays_are_checked_array_by_array():
    x, block = block_and_image()
    assert verify.check_gradients(block_forward, block_backward, x, block) < 1e-6
    names = {2: "parameters.kernels[1]", 5: "parameters.norms[0][1]", 10: "parameters.projection"}
    for place, name in names.items():

        def wrong(dy, x, parameters, place=place):
            numbers, gradients = iter(range(99)), tuple(block_backward(dy, x, parameters))
            return mapped(lambda g: g * (1.0001 if next(numbers) == place else 1), gradients)

        with pytest.raises(AssertionError, match=says(f"the gradient of {name} is wrong: ")):
            verify.check_gradients(block_forward, wrong, x, block, directions=1)


def test_a_single_tree_may_have_a_single_gradient():
    x, block = block_and_image()

    def forward(parameters):
        return block_forward(x, parameters)

    def backward(dy, parameters):
        return block_backward(dy, x, parameters).parameters

    assert verify.check_gradients(forward, backward, block, directions=1) < 1e-6
    assert verify.check_gradients(forward, lambda *a: [backward(*a)], block, directions=1) < 1e-6


def test_the_gradients_of_forward_itself_will_do():
    x, kernel, _ = arrays_for(conv)

    def backward(dy, x, kernel):
        return conv.backward(dy, conv.forward(x, kernel)[1])  # its bias is None

    assert verify.check_gradients(lambda *a: conv.forward(*a)[0], backward, x, kernel) < 1e-6


def test_numbers_are_arrays_without_axes():
    tree = {"scale": np.array(2.0), "shift": 3.0, "none": None}
    assert (
        verify.check_gradients(
            lambda p: p["scale"] ** 2 + np.array([1.0, 2.0]) * p["shift"],
            lambda dy, p: {"scale": 2 * dy.sum() * p["scale"], "shift": dy @ [1, 2], "none": None},
            tree,
        )
        < 1e-6
    )
    with pytest.raises(AssertionError, match=r"element p\.scale: got 1, expected "):
        verify.check_gradients(
            lambda p: p["scale"] * np.ones(2),
            lambda dy, p: {"scale": 1.0},
            {"scale": np.array(2.0)},
        )


def test_the_gap_of_trees():
    def forward(p):
        return np.cumsum(p["a"]) + 2 * p["b"][0]

    def backward(dy):
        return {"a": np.cumsum(dy[::-1])[::-1], "b": (2 * dy,)}

    x = {"a": np.array([3.0, 1.0, 2.0]), "b": (np.array([1.0, -1.0, 4.0]),)}
    assert verify.adjoint_gap(forward, backward, x) < 1e-15
    assert verify.adjoint_gap(forward, lambda dy: {"a": dy, "b": (2 * dy,)}, x) > 0.01


def test_a_missing_signature_is_no_hindrance():
    message = "the gradient of argument 0 must be of shape (3,), got ()"
    with pytest.raises(AssertionError, match=says(message)):
        verify.check_gradients(Unsigned(), lambda dy, x: dy[0], np.ones(3))


@pytest.mark.parametrize("scale", [1, 1e-13])
@pytest.mark.parametrize("along", ["constant", "per channel", "x̂"])
def test_cotangents_that_are_annihilated_are_refused(along, scale):
    x = np.random.default_rng(0).normal(size=(4, 5, 3))

    def forward(x):
        return scale * batchnorm.forward(x, epsilon=0)[0]

    def backward(dy, x):
        return np.zeros_like(x)

    dy = {
        "constant": np.ones(x.shape),
        "per channel": np.ones(x.shape) * [1, 2, 3],
        "x̂": forward(x),
    }[along]
    message = (
        "dy must not be annihilated, but it is orthogonal to every change that x makes: any "
        "gradient that is orthogonal too would pass, right or wrong; take a random dy"
    )
    if along == "constant":
        message = "dy must not be constant: there are operations, such as batch normalization"
    with pytest.raises(ValueError, match=says(message)):
        verify.check_gradients(forward, backward, x, dy=dy)
    with pytest.raises(AssertionError, match="the gradient of x is wrong"):
        verify.check_gradients(forward, backward, x)


def test_the_gap_of_adjoints_is_rounding():
    x, kernel, _ = arrays_for(conv)
    y, cache = conv.forward(x, kernel)

    def forward(v):
        return conv.forward(v, kernel)[0]

    assert verify.adjoint_gap(forward, lambda dy: conv.backward(dy, cache).x, x) < 1e-14
    broken = conv.forward(x, kernel[::-1, ::-1])[1]
    assert verify.adjoint_gap(forward, lambda dy: conv.backward(dy, broken).x, x) > 0.01
    given = np.cos(np.arange(y.size)).reshape(y.shape)
    assert verify.adjoint_gap(forward, lambda dy: conv.backward(dy, cache).x, x, dy=given) < 1e-14


def test_the_gap_is_that_of_the_worst_probe():
    def backward(dy):
        return np.where(np.arange(4) == 0, 2, 1) * dy

    x = np.array([0.0, 1.0, 2.0, 3.0])
    assert verify.adjoint_gap(lambda x: x, backward, x) > 1e-3
    assert verify.adjoint_gap(lambda x: 0 * x, lambda dy: 0 * dy, x) == 0
    assert verify.adjoint_gap(lambda x: 0 * x, lambda dy: dy, x) > 0.1


def test_the_gap_of_what_is_not_finite_is_none():
    gap = verify.adjoint_gap(lambda x: np.where(x == 0, 0, np.nan), lambda dy: dy, np.ones(3))
    assert np.isnan(gap)


def test_a_gap_takes_a_few_copies_of_the_arrays():
    x = np.ones(10**5)
    _, peak, _ = traced(verify.adjoint_gap, np.copy, np.copy, x)
    assert peak <= 9 * x.nbytes


def test_small_changes_are_changes():
    x, dy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    assert verify.adjoint_gap(lambda x: 1e-9 * x, lambda dy: 1e-9 * dy, x, dy=dy) < 1e-15


def test_functions_may_modify_what_they_are_given():
    x = np.array([1.0, 2.0, 3.0])

    def forward(x):
        x *= 2
        return x

    def backward(dy, *x):
        dy *= 2
        return dy

    assert verify.adjoint_gap(forward, backward, x) < 1e-15
    assert verify.check_gradients(forward, backward, x) < 1e-8
    np.testing.assert_array_equal(x, [1, 2, 3])


@pytest.mark.parametrize("function", [verify.adjoint_gap, verify.check_gradients])
def test_the_examples_in_the_docstrings_run(function):
    assert examples_run(function)


# ---- refusals

ONE = np.ones(3)


def same(x):
    return x


def gradient(dy, *x):
    return dy


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: verify.adjoint_gap(same, same, ONE.astype(np.float32)),
            TypeError,
            (
                "x must be float64, got float32: differences in float32 keep too few digits to "
                "tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.adjoint_gap(lambda x: x.astype(np.float32), same, ONE),
            TypeError,
            (
                "forward(0) must be float64, got float32: differences in float32 keep too few "
                "digits to tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.adjoint_gap(lambda x: x + 1, same, ONE),
            ValueError,
            "forward must be linear, but forward(0) is not 0: leave out the bias",
        ),
        (
            lambda: verify.adjoint_gap(same, lambda dy: dy[:2], ONE),
            ValueError,
            "backward must return dx of x's shape (3,), got shape (2,)",
        ),
        (
            lambda: verify.adjoint_gap(same, same, ONE, dy=ONE),
            ValueError,
            (
                "dy must not be constant: there are operations, such as batch normalization, "
                "that annihilate constants, and any gradient would pass; take a random dy"
            ),
        ),
        (
            lambda: verify.adjoint_gap(lambda x: x - x.mean(), same, ONE, dy=ONE),
            ValueError,
            (
                "dy must not be constant: there are operations, such as batch normalization, "
                "that annihilate constants, and any gradient would pass; take a random dy"
            ),
        ),
        (
            lambda: verify.adjoint_gap(lambda x: x * [1, 0, 0], same, ONE, dy=[0.0, 1, 2]),
            ValueError,
            (
                "dy must not be annihilated, but it is orthogonal to every forward(x): any "
                "gradient that is orthogonal too would pass, right or wrong; take a random dy"
            ),
        ),
        (
            lambda: verify.adjoint_gap(same, same, ONE, dy=[1.0, 2]),
            ValueError,
            "dy must be of the output's shape (3,), got shape (2,)",
        ),
        (
            lambda: verify.check_gradients(same, gradient, ONE.astype(np.float16)),
            TypeError,
            (
                "x must be float64, got float16: differences in float16 keep too few digits to "
                "tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.check_gradients(lambda x: x.astype(np.float32), gradient, ONE),
            TypeError,
            (
                "forward(…) must be float64, got float32: differences in float32 keep too few "
                "digits to tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.check_gradients(same, lambda dy, x: dy.astype(np.float32), ONE),
            TypeError,
            (
                "the gradient of x must be float64, got float32: differences in float32 keep "
                "too few digits to tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.check_gradients(same, lambda dy, x: (dy, dy), ONE),
            ValueError,
            "backward must return 1 gradients, one for each array, got 2",
        ),
        (
            lambda: verify.check_gradients(same, gradient, ONE, dy=ONE.astype(np.float32)),
            TypeError,
            (
                "dy must be float64, got float32: differences in float32 keep too few digits to"
                " tell a right gradient from a wrong one"
            ),
        ),
        (
            lambda: verify.check_gradients(same, gradient, ONE, directions=0),
            ValueError,
            "directions must be at least 1, got 0",
        ),
        (
            lambda: verify.check_gradients(same, gradient, ONE, tolerance="1"),
            TypeError,
            "tolerance must be a real number, got '1'",
        ),
        (
            lambda: verify.check_gradients(same, lambda dy, x: dy * [1, np.nan, 1], ONE),
            AssertionError,
            "the gradient of x is wrong: it is not finite",
        ),
        (
            lambda: verify.check_gradients(lambda x: x * [1, np.inf, 1], gradient, ONE),
            ValueError,
            "forward(…) must be finite, got inf",
        ),
        (
            lambda: verify.check_gradients(same, lambda dy, x: {"a": dy}, ONE),
            ValueError,
            "the gradient of x must be of one structure in all trees, got an array and dict(a)",
        ),
        (
            lambda: verify.check_gradients(
                lambda x, y: x + y["b"][0], lambda dy, x, y: (dy, {"b": (None,)}), ONE, {"b": [ONE]}
            ),
            ValueError,
            "the gradient of y.b[0] must be of one structure in all trees, got an array and None",
        ),
        (
            lambda: verify.adjoint_gap(lambda p: p[0] + p[1], lambda dy: (dy, dy[:2]), (ONE, ONE)),
            ValueError,
            "backward must return dx of x[1]'s shape (3,), got shape (2,)",
        ),
        (
            lambda: verify.check_gradients(
                lambda x: x * np.random.default_rng().normal(), same, ONE
            ),
            ValueError,
            "forward must give the same result again, got another for the same arrays",
        ),
        (
            lambda: verify.check_gradients(same, gradient),
            ValueError,
            "give one array at least: there is nothing to differentiate by",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=says(message) + "$"):
        call()
