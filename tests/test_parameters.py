"""parameters: names of arrays in nested tuples, lists and dicts, and back."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import LAYOUTS, arrays_in, integers, same_values, says, untouched, variants
from hypothesis import given
from hypothesis import strategies as st

from convinsights import batchnorm, parameters, residual, verify

RNG = np.random.default_rng(0)


class Network(NamedTuple):
    stem: Any
    block: Any
    head: Any = None


BLOCK = residual.initialize(RNG, [(3, 3), (1, 1)], 2, 3)
NETWORK = Network(RNG.normal(size=(3, 3, 1, 2)), BLOCK, {"kernel": np.eye(3), "bias": None})
NAMES = [
    *("stem", "block.kernels.0", "block.kernels.1"),
    *("block.norms.0.0", "block.norms.0.1", "block.norms.1.0", "block.norms.1.1"),
    *("block.projection", "block.projection_norm.0", "block.projection_norm.1"),
    "head.kernel",
]


def trees():
    """Trees of arrays, None and numbers in dicts, lists, tuples and NamedTuples."""
    leaf = st.none() | st.integers(0, 3).map(np.arange) | st.floats(-2, 2)
    key = st.text("ab", max_size=2) | st.integers(0, 3)

    def grown(tree):
        return (
            st.lists(tree, max_size=3)
            | st.lists(tree, max_size=3).map(tuple)
            | st.dictionaries(key, tree, max_size=3)
            | st.builds(Network, tree, tree, tree)
        )

    return st.recursive(leaf, grown, max_leaves=8)


def same_trees(actual, expected):
    """The same containers, the same keys in the same order, the same arrays."""
    if expected is None or isinstance(expected, (np.ndarray, float)):
        if expected is None:
            assert actual is None
        else:
            same_values(actual, np.asarray(expected))
        return
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        same_trees(a, b)


# ---- by hand


def test_names_are_fields_keys_and_places():
    named = parameters.named(NETWORK)
    assert list(named) == NAMES
    same_values(named["block.kernels.1"], BLOCK.kernels[1])
    same_values(named["block.projection_norm.1"], BLOCK.projection_norm[1])


def test_an_array_is_a_tree_without_a_name():
    assert list(parameters.named(np.ones(3))) == [""]
    same_values(parameters.restore({"": [1, 2]}, np.ones(2)), np.array([1, 2]))
    same_values(parameters.mapped(np.negative, np.ones(2)), -np.ones(2))


def test_none_and_empty_trees_have_no_names_and_stay():
    tree = [None, (), {}, [], {"a": ()}]
    assert parameters.named(tree) == {}
    assert parameters.restore({}, tree) == tree
    assert parameters.mapped(np.negative, tree, tree) == tree


def test_mapped_takes_arrays_at_the_same_place():
    a, b = {"x": 1, "y": np.array(2)}, {"y": 30, "x": np.array(10)}
    assert parameters.mapped(lambda *arrays: sum(arrays), a, b, a) == {"x": 12, "y": 34}


def test_lists_do_for_tuples_and_both_for_named_ones():
    p = Network([np.ones(1)], np.ones(2))
    gradients = [(np.array([3]),), np.array([4, 5]), None]
    stepped = parameters.mapped(np.subtract, p, gradients)
    same_trees(stepped, Network([np.array([-2.0])], np.array([-3.0, -4.0])))
    assert isinstance(parameters.mapped(np.add, gradients, p), list)


def test_mapped_may_work_in_place_and_return_anything():
    p = (np.ones(2), None)
    assert parameters.mapped(lambda a: a.fill(7), p) == (None, None)
    same_values(p[0], np.full(2, 7.0))


# ---- there and back


@given(trees())
def test_restore_is_the_inverse_of_named(tree):
    try:
        named = parameters.named(tree)
    except ValueError as error:
        assert "must have one array for each name" in str(error)  # noqa: PT017
        return
    same_trees(parameters.restore(named, tree), tree)
    shuffled = dict(reversed(named.items()))
    same_trees(parameters.restore(shuffled, tree), tree)


@given(trees())
def test_mapped_keeps_the_structure(tree):
    same_trees(parameters.mapped(lambda a: a, tree), tree)
    same_trees(parameters.mapped(lambda a, b, c: np.array(a + b - c), tree, tree, tree), tree)


def test_a_network_is_saved_and_loaded(tmp_path):
    np.savez(tmp_path / "network.npz", **parameters.named(NETWORK))
    like = parameters.mapped(np.zeros_like, NETWORK)
    with np.load(tmp_path / "network.npz") as saved:
        same_trees(parameters.restore(saved, like), NETWORK)


def test_statistics_are_a_tree_too():
    moving = (batchnorm.initial_statistics(3), residual.initial_statistics(BLOCK))
    named = parameters.named(moving)
    assert list(named)[:3] == ["0.mean", "0.variance", "1.0.mean"]
    same_trees(parameters.restore(named, moving), moving)


# ---- manners


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_in_any_layout_are_copied(layout):
    array = variants(integers(RNG, (3, 2)))[layout]
    with untouched(array) as results:
        results.append(parameters.named([array]))
        results.append(parameters.restore({"0": array}, [np.zeros((3, 2))]))
    for copied in arrays_in(results):
        same_values(copied, array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "bool"])
def test_arrays_keep_their_types(dtype):
    named = parameters.named({"a": np.ones(2, dtype)})
    assert named["a"].dtype == dtype
    assert parameters.restore(named, {"a": np.zeros(2)})["a"].dtype == dtype


# ---- refusals


@pytest.mark.parametrize(
    ("tree", "exception", "message"),
    [
        ({"a": {"b": "c"}}, TypeError, "tree.a.b must hold real numbers"),
        (Network((1, 1j), None), TypeError, "tree.stem[1] must hold real numbers"),
        ({"a": 1, (1, 2): 3}, TypeError, "the keys of a dict must be strings or ints, got (1, 2)"),
        (
            {"a.b": 1, "a": {"b": 1}},
            ValueError,
            "tree must have one array for each name, got two for 'a.b'",
        ),
        ({"1": 1, 1: 2}, ValueError, "tree must have one array for each name, got two for '1'"),
    ],
)
def test_named_refuses(tree, exception, message):
    with pytest.raises(exception, match=says(message)):
        parameters.named(tree)


@pytest.mark.parametrize(
    ("named", "exception", "message"),
    [
        ({"a": 1, "b.0": [1]}, ValueError, "missing: b.1"),
        ({"b.0": [1]}, ValueError, "missing: a, b.1"),
        ({"a": 1, "b.0": [1], "b.1": 2, "c": 3}, ValueError, "unknown: c"),
        (
            {"a": 1, "b.0": 1, "b.1": [2]},
            ValueError,
            "misshapen: b.0 () in place of (1,), b",
        ),
        ({"arr_0": 1}, ValueError, "missing: a, b.0, b.1; unknown: arr_0"),
        (5, TypeError, "named must be a dict of arrays or an open .npz file, got 5"),
        ([("a", 1)], TypeError, "named must be a dict of arrays or an open .npz file, got [("),
        ({"a": "1", "b.0": [1], "b.1": 2}, TypeError, "named['a'] must hold real numbers"),
    ],
)
def test_restore_refuses(named, exception, message):
    if exception is ValueError:
        message = f"named must have the entries of like, got {message}"
    with pytest.raises(exception, match=says(message)):
        parameters.restore(named, {"a": 0.0, "b": [np.zeros(1), 0.0], "c": None})


def test_restore_refuses_a_like_with_two_arrays_of_one_name():
    with pytest.raises(ValueError, match=says("like must have one array for each name")):
        parameters.restore({}, {"1": 1, 1: 2})


@pytest.mark.parametrize(
    ("other", "place", "kinds"),
    [
        ((1, {"b": (1,)}), "tree", "Network(stem, block, head) and tuple of 2"),
        (Network(1, 2), "tree.block", "dict(b) and an array"),
        (Network(1, None), "tree.block", "dict(b) and None"),
        (Network(1, {"c": 1}), "tree.block", "dict(b) and dict(c)"),
        (Network(1, [(1, 2)]), "tree.block", "dict(b) and list of 1"),
        (Network(1, {"b": [1]}), "tree.block.b", "tuple of 2 and list of 1"),
        (Network(1, {"b": 1}), "tree.block.b", "tuple of 2 and an array"),
        (Network((1,), {"b": (1, 2)}), "tree.stem", "an array and tuple of 1"),
        (Network(1, {"b": (1, None)}), "tree.block.b[1]", "an array and None"),
        (Network(1, {"b": (1, 2)}, 3), "tree.head", "None and an array"),
        (batchnorm.Gradients(1, {"b": (1, 2)}, None, None), "tree", "Network(stem, block, head)"),
    ],
)
def test_mapped_refuses_trees_of_other_structure(other, place, kinds):
    tree = Network(1, {"b": (1, 2)})
    message = f"{place} must be of one structure in all trees, got {kinds}"
    with pytest.raises(ValueError, match=says(message)):
        parameters.mapped(np.add, tree, other)


@pytest.mark.parametrize(("tree", "other"), [(None, ()), ([], None), ([1, 2], {0: 1, 1: 2})])
def test_none_is_no_empty_tuple_and_a_dict_no_list(tree, other):
    with pytest.raises(ValueError, match="tree must be of one structure in all trees"):
        parameters.mapped(np.add, tree, other)


def test_trees_that_are_nested_too_deep_are_refused():
    deep: Any = np.ones(2)
    for _ in range(3000):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for tree in (deep, endless):
        for call in (
            lambda tree: parameters.named(tree),
            lambda tree: parameters.mapped(np.negative, tree),
            lambda tree: parameters.restore({}, tree),
            lambda tree: verify.check_gradients(lambda x: x, lambda dy, x: dy, tree),
            lambda tree: verify.adjoint_gap(lambda x: x, lambda dy: dy, {"a": tree}),
        ):
            with pytest.raises(ValueError, match="must be nested at most 100 deep"):
                call(tree)


def test_a_tree_may_be_nested_a_hundred_deep():
    deep: Any = np.ones(2)
    for _ in range(100):
        deep = (deep,)
    assert list(parameters.named(deep)) == [".".join("0" * 100)]
    same_values(
        parameters.named(parameters.mapped(np.negative, deep))[".".join("0" * 100)], -np.ones(2)
    )
