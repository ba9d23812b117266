"""Nested parameters as names and back, and a function of all of them at once.

A network's parameters, its gradients and its moving statistics are trees: arrays in NamedTuples,
tuples, lists and dicts. The way to an array, by fields, keys and places, is its name:

    Network(stem=a, block=Parameters(kernels=(b, c), …))      "stem", "block.kernels.0", …

So `np.savez(path, **named(p))` saves a network, `restore(np.load(path), like)` loads it, and a step
downhill is `mapped(lambda a, da: a - rate * da, p, gradients)`. None stands for no array: it has no
name, and stays None.

References
----------
Bradbury et al., "JAX: composable transformations of Python+NumPy programs", 2018 (its pytrees).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from convinsights._arguments import Array, as_array, check_callable, shown

__all__ = ["mapped", "named", "restore"]


def __dir__() -> list[str]:
    return __all__


def named(tree: Any) -> dict[str, Array]:
    """Give every array of a tree a name, the way to it.

    Parameters
    ----------
    tree : NamedTuple, tuple, list or dict of arrays, or of such trees
        The keys of dicts are strings or ints. A number is an array without axes.

    Returns
    -------
    dict
        Copies of the arrays in their order, by fields, keys and places joined with dots. An array
        that is the whole tree has the name "".

    Raises
    ------
    ValueError
        If two arrays have one name, as in {"a.b": …, "a": {"b": …}}, or the tree is nested more
        than 100 deep.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import parameters
    >>> parameters.named({"kernels": (np.ones(2), np.zeros(1)), "bias": None})
    {'kernels.0': array([1., 1.]), 'kernels.1': array([0.])}
    """
    return {name: array.copy() for name, array in _by_name("tree", tree).items()}


def restore(named: Mapping[str, Array], like: Any) -> Any:
    """Put named arrays in their places: the inverse of `named`.

    Parameters
    ----------
    named : dict or open .npz file
        Arrays by their names.
    like : tree
        Of the structure and the shapes wanted, for instance what `initialize` returns.

    Returns
    -------
    tree
        In the structure of `like`; copies of the arrays, in their own dtypes.

    Raises
    ------
    ValueError
        If an entry is missing, unknown or misshapen; the message names them.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import parameters
    >>> like = {"kernels": (np.zeros(2), np.zeros(1)), "bias": None}
    >>> parameters.restore({"kernels.0": [3, 4], "kernels.1": [5]}, like)
    {'kernels': (array([3, 4]), array([5])), 'bias': None}
    """
    if not isinstance(named, Mapping):
        raise TypeError(f"named must be a dict of arrays or an open .npz file, got {shown(named)}")
    wanted = _by_name("like", like)
    entries = {name: as_array(f"named[{name!r}]", named[name]) for name in wanted if name in named}
    faults = {
        "missing": [name for name in wanted if name not in entries],
        "unknown": [name for name in named if name not in wanted],
        "misshapen": [
            f"{name} {array.shape} in place of {wanted[name].shape}"
            for name, array in entries.items()
            if array.shape != wanted[name].shape
        ],
    }
    if any(faults.values()):
        said = [f"{kind}: {', '.join(map(str, names))}" for kind, names in faults.items() if names]
        raise ValueError(f"named must have the entries of like, got {'; '.join(said)}")
    return filled(like, (array.copy() for array in entries.values()))


def mapped(function: Callable[..., Any], tree: Any, *trees: Any) -> Any:
    """Call function(a, b, …) with the arrays at every place, and put the results there.

    Parameters
    ----------
    function : callable
        Of as many arrays as there are trees. What it returns need be no array.
    tree, *trees : trees of one structure
        A list does for a tuple or a NamedTuple; places then go by order.

    Returns
    -------
    tree
        In the structure of the first.

    Raises
    ------
    ValueError
        If the trees differ in structure, also by a None; the message names the place.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import parameters
    >>> p, gradients = (np.ones(2), None), (np.arange(2), None)
    >>> parameters.mapped(lambda a, da: a - da / 2, p, gradients)
    (array([1. , 0.5]), None)
    """
    check_callable("function", function)
    results = [function(*arrays) for _, arrays in walk("tree", tree, *trees)]
    return filled(tree, iter(results))


Way = tuple[str | int, ...]

# How deep trees may be nested: a tenth of Python's own limit of recursion.
DEPTH = 100


def walk(
    name: str, tree: Any, *trees: Any, depth: int = DEPTH
) -> Iterator[tuple[Way, tuple[Array, ...]]]:
    """Yield the way to every place of a tree, and the arrays that are there in all of the trees.

    Messages call the tree by its name.
    """
    if depth < 0:
        raise ValueError(f"{name[:40]}… must be nested at most {DEPTH} deep")
    branches, others = _branches(tree), [aligned(tree, other) for other in trees]
    if None in others:
        kinds = " and ".join(map(_kind, (tree, *trees)))
        raise ValueError(f"{name} must be of one structure in all trees, got {kinds}")
    if branches is None:
        yield (), tuple(as_array(name, array) for array in (tree, *trees))
        return
    for place, (key, branch) in enumerate(branches.items()):
        there = (other[place] for other in others if other is not None)  # for mypy: refused above
        for way, arrays in walk(name + written((key,)), branch, *there, depth=depth - 1):
            yield (key, *way), arrays


def arrays(tree: Any) -> list[Array]:
    """Return the arrays of a tree in their order."""
    return [array for _, (array,) in walk("tree", tree)]


def written(way: Way) -> str:
    """Write a way as `.block.kernels[0]`: fields and strings behind a dot, ints in brackets."""
    return "".join([f".{key}" if isinstance(key, str) else f"[{key}]" for key in way])


def filled(tree: Any, values: Iterator[Any]) -> Any:
    """Return a tree of this structure with other values in place of its arrays."""
    branches = _branches(tree)
    if branches is None:
        return next(values)
    entries = [filled(branch, values) for branch in branches.values()]
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return dict(zip(tree, entries, strict=True))
    if hasattr(tree, "_fields"):
        return type(tree)(*entries)
    return entries if isinstance(tree, list) else tuple(entries)


def aligned(tree: Any, other: Any) -> list[Any] | None:
    """Return the branches of the other in the order of the tree's; None where they do not match."""
    ours, theirs = _branches(tree), _branches(other)
    if ours is None or theirs is None:
        # One at least is an array: it matches only another array, and has no branches.
        return [] if ours is theirs else None
    by_key = isinstance(tree, Mapping)
    if isinstance(other, Mapping) != by_key or (tree is None) != (other is None):
        return None
    if set(ours) == set(theirs):
        return [theirs[key] for key in ours]
    by_field = hasattr(tree, "_fields") and hasattr(other, "_fields")
    return None if by_key or by_field or len(ours) != len(theirs) else list(theirs.values())


def _by_name(name: str, tree: Any) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for way, (array,) in walk(name, tree):
        joined = ".".join(map(str, way))
        if joined in found:
            raise ValueError(f"{name} must have one array for each name, got two for {joined!r}")
        found[joined] = array
    return found


def _branches(tree: Any) -> dict[Any, Any] | None:
    # The branches by field, key or place: {} of None, and None of an array.
    if tree is None:
        return {}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, (tuple, list)):
        return dict(enumerate(tree))
    if not isinstance(tree, Mapping):
        return None
    for key in tree:
        if not isinstance(key, (str, int)):
            raise TypeError(f"the keys of a dict must be strings or ints, got {shown(key)}")
    return dict(tree)


def _kind(tree: Any) -> str:
    name, branches = type(tree).__name__, _branches(tree)
    if branches is None:
        return "an array"
    if isinstance(tree, Mapping) or hasattr(tree, "_fields"):
        return f"{name}({', '.join(map(str, branches))})"
    return "None" if tree is None else f"{name} of {len(tree)}"
