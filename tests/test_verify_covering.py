"""verify's cases: every combination of settings that is possible, and why others are not."""

import itertools
import math

import numpy as np
import pytest
from helpers import thinned
from hypothesis import given
from hypothesis import strategies as st

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    dilated,
    normalization,
    transposed,
)
from convinsights._concepts import defaults, name_of
from convinsights.verify import _covering
from convinsights.verify._calls import MODULES
from convinsights.verify._covering import Covering, Factor, Rule
from convinsights.verify._factors import Space, covering, rows
from convinsights.verify._made import case_of
from convinsights.verify._plan import Plan, multiply_adds
from convinsights.verify._precision import Precision

EVERY = [(module, rank) for module in MODULES for rank in (1, 2, 3)]
NAMED = [f"{name_of(module)}-{rank}-D" for module, rank in EVERY]


# Those of up to two axes, but what is made as conv's or depthwise's are.
SMALL = [
    number
    for number, (module, rank) in enumerate(EVERY)
    if rank < 3 and module not in (dilated, depthwise_separable)
]


def combinations(row, strength):
    return set(itertools.combinations(row.items(), strength))


def all_combinations(array, strength):
    for some in itertools.combinations(array.factors, strength):
        for levels in itertools.product(*(factor.levels for factor in some)):
            yield tuple(zip((factor.name for factor in some), levels, strict=True))


# ---- covering arrays


def test_two_factors_need_every_row_by_hand():
    array = Covering([Factor("s", (1, 2)), Factor("bias", (True, False))])
    made = array.rows(2, np.random.default_rng(0))
    assert sorted(map(str, made)) == sorted(
        str({"s": s, "bias": bias}) for s in (1, 2) for bias in (True, False)
    )


def test_seven_yes_or_no_questions_need_few_of_128_rows():
    array = Covering([Factor(name, (0, 1)) for name in "abcdefg"])
    assert len(array.rows(2, np.random.default_rng(0))) <= 10


@st.composite
def spaces(draw):
    """Some factors, and rules that forbid some of the pairs of neighbouring factors."""
    counts = draw(st.lists(st.integers(1, 4), min_size=3, max_size=5))
    names = "abcde"[: len(counts)]
    factors = [Factor(n, tuple(range(c))) for n, c in zip(names, counts, strict=True)]
    forbidden = draw(st.sets(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=4))
    pair = (names[0], names[1])
    rule = Rule(pair, lambda one, other: (one, other) not in forbidden, "never together")
    return Covering(factors, [rule]), pair, forbidden


@given(spaces(), st.integers(2, 3))
def test_every_possible_combination_meets_in_a_row_that_obeys(space, strength):
    array, (one, other), forbidden = space
    made = array.rows(strength, np.random.default_rng(1))
    have = set().union(*(combinations(row, strength) for row in made))
    impossible = array.impossible(strength)
    assert set(all_combinations(array, strength)) == have | impossible.keys()
    assert not have & impossible.keys()
    assert all((row[one], row[other]) not in forbidden for row in made)
    assert set(impossible.values()) <= {"never together"}


def test_rules_forbid_together_what_none_does_alone():
    # a == 1 needs b == c == 0, and d == 1 needs b == c == 1
    factors = [Factor(name, (0, 1)) for name in "abcd"]
    rules = [
        Rule(tuple("abc"), lambda a, b, c: not a or b == c == 0, "of a"),
        Rule(tuple("bcd"), lambda b, c, d: not d or b == c == 1, "of d"),
    ]
    array = Covering(factors, rules)
    assert array.rules.possible((0, 3)).tolist() == [[True, True], [True, False]]
    made = array.rows(2, np.random.default_rng(0))
    have = set().union(*(combinations(row, 2) for row in made))
    left = set(all_combinations(array, 2)) - have - array.impossible(2).keys()
    assert left == {(("a", 1), ("d", 1))}
    assert all(row["b"] == row["c"] for row in made if row["a"] or row["d"])


def test_with_care_a_row_is_found_at_once(monkeypatch):
    """The budget holds the cheapest kernel and image of a path alone, which chance may miss."""
    monkeypatch.setattr(_covering, "HASTY", 0)
    monkeypatch.setattr(_covering, "CAREFUL", 1)
    levels = (1, 2, 4, 8)
    counted = [Factor(name, levels, tuple(map(math.log, levels))) for name in "abcd"]
    rules = [
        Rule(("path", *pair), lambda path, a, b: not path or a * b >= 32, "too small")
        for pair in ("ab", "cd")
    ]
    array = Covering([Factor("path", (0, 1)), *counted], rules, math.log(1024) + 1e-9)
    made = array.rows(2, np.random.default_rng(0))
    have = set().union(*(combinations(row, 2) for row in made))
    assert have | array.impossible(2).keys() == set(all_combinations(array, 2))
    with_path = [row for row in made if row["path"]]
    assert with_path
    assert all(row["a"] * row["b"] == row["c"] * row["d"] == 32 for row in with_path)


def test_what_rules_forbid_in_a_circle_is_given_up():
    factors = [Factor(name, (0, 1)) for name in "abc"]
    rules = [
        Rule(("a", "b"), lambda a, b: a == b, "alike"),
        Rule(("b", "c"), lambda b, c: b == c, "alike"),
        Rule(("a", "c"), lambda a, c: a != c, "not alike"),
    ]
    assert Covering(factors, rules).rows(2, np.random.default_rng(0)) == []


def test_rows_of_few_numbers_are_preferred():
    factors = [Factor(name, (1, 2, 10)) for name in "abcd"]

    def product(row):
        return math.prod(row.values())

    arrays = [Covering(factors), Covering(factors, numbers=product, few=10)]
    plain, small = ([*map(product, a.rows(3, np.random.default_rng(0)))] for a in arrays)
    assert sum(small) < 0.7 * sum(plain)
    have = set().union(
        *(combinations(row, 3) for row in arrays[1].rows(3, np.random.default_rng(0)))
    )
    assert have == set(all_combinations(arrays[1], 3))


def test_a_row_is_never_beyond_the_budget():
    counts = (1, 4, 16, 64)
    weights = tuple(map(math.log, counts))
    factors = [Factor(name, counts, weights) for name in "abc"]
    array = Covering(factors, budget=math.log(256))
    made = array.rows(2, np.random.default_rng(0))
    assert max(math.prod(row.values()) for row in made) <= 256
    assert array.impossible(2) == {
        pair: "too large"
        for pair in all_combinations(array, 2)
        if math.prod(dict(pair).values()) > 256
    }


# ---- those of the modules


def space_of(module, rank, **options):
    return Space(module, rank, frozenset(defaults(module)), ("integers", "normal"), **options)


@pytest.mark.parametrize(("module", "rank"), thinned(EVERY, NAMED, SMALL))
def test_all_pairs_meet_but_those_that_cannot(module, rank):
    space = space_of(module, rank)
    have = set().union(*(combinations(row, 2) for row in rows(space, 2)))
    impossible = covering(space).impossible(2)
    assert have | impossible.keys() == set(all_combinations(covering(space), 2))
    assert not have & impossible.keys()
    # The rest cannot meet, and these are all the reasons.
    assert set(impossible.values()) <= {
        "the kernel does not fit its padded image",
        "the path fixes kernel, strides and rates",
        "the path's kernel is as large as its image",
        "the path's kernel does not fit its padded image",
        "the path fixes the padding",
        "the path fixes the depth_multiplier",
        "the path fixes the output",
        "so much padding makes large images",
        "too large",
    }
    plain = [pair for pair in impossible if "path" not in dict(pair)]
    assert len(plain) <= 12


@pytest.mark.parametrize("module", [m for m in MODULES if m is not dilated])
def test_a_row_tells_how_many_numbers_its_case_has(module):
    space = space_of(module, 2, thorough=True)
    numbers, precision = covering(space).numbers, Precision.of(module, np.float32)
    for row in rows(space_of(module, 2), 2)[::9]:
        case = case_of(module, 2, row, precision, 0)
        if row.get("output", "least") == "least":
            assert numbers(row) == case.x.size + case.dy.size


@pytest.mark.parametrize(("module", "rank"), EVERY, ids=NAMED)
def test_levels_lie_below_at_and_above_the_widths_of_vectors_and_tiles(module, rank):
    levels = {factor.name: factor.levels for factor in covering(space_of(module, rank)).factors}
    counted = [name for name in levels if "channels" in name or "size[" in name or name == "batch"]
    for name in counted:
        if "kernel" in name:
            continue
        for width in (4, 8, 16, 32):
            assert width in levels[name]
            assert any(width < n and n % width for n in levels[name])
            assert any(width / 2 < n < width for n in levels[name])
        assert 1 in levels[name]
    assert max(levels["batch"]) > 128


@pytest.mark.parametrize("module", MODULES)
def test_rows_besides_have_the_factors_that_there_are(module):
    plan = Plan(module, (2,), frozenset(defaults(module)), Precision.of(module, np.float32))
    made = list(plan.extra(2))
    assert {frozenset(row) for row in made} == {frozenset(plan.plain(2))}
    sizes = [case_of(module, 2, row, plan.precision, 0).x.size for row in made[:3]]
    assert sizes[0] == 0
    assert min(sizes[1:]) > 2**15


def test_a_row_weighs_its_multiply_adds_and_one_without_images_the_most():
    row = {"batch": 2, "in_channels": 3, "strides[0]": 5, "dilation_rate[1]": 7, "bias": True}
    assert multiply_adds(row) == 6
    assert multiply_adds(row | {"batch": 0}) == math.inf


@pytest.mark.thorough
@pytest.mark.parametrize(("module", "rank"), EVERY, ids=NAMED)
def test_all_triples_meet_but_those_that_cannot(module, rank):
    array, made = covering(space := space_of(module, rank, thorough=True)), rows(space, 3)
    table = np.array([[f.levels.index(row[f.name]) for f in array.factors] for row in made])
    assert all(array.rules.forbidden(dict(enumerate(row))) is None for row in table.tolist())
    left, count = [], 0
    for which in itertools.combinations(range(len(array.factors)), 3):
        met = np.zeros([array.counts[i] for i in which], bool)
        met[tuple(table[:, which].T)] = True
        count += np.count_nonzero(met)
        for levels in np.argwhere(~met).tolist():
            if array.rules.forbidden(dict(zip(which, levels, strict=True))) is None:
                factors = (array.factors[i] for i in which)
                left.append({f.name: f.levels[k] for f, k in zip(factors, levels, strict=True)})
    # No rule alone forbids these; together they do, on a path that fixes kernel and padding, or
    # of kernels so long that images as large are too large.
    assert all("path" in some or [*some.values()].count(33) > 1 for some in left)
    assert len(left) < 0.002 * count


@pytest.mark.parametrize("module", [batchnorm, normalization])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("varied", "epsilon"), [({"epsilon"}, 1e-5), ((), 1e-3)])
def test_some_channels_or_groups_have_variance_0_and_others_have_not(module, rank, varied, epsilon):
    plan = Plan(module, (rank,), frozenset(varied), Precision.of(module, np.float32))
    rows = [row for row in plan.extra(rank) if row["values"] == "variance 0"]
    cases = list(plan.of_rows(rank, rows))
    for case in cases:
        assert case.settings["epsilon"] == epsilon
        groups = case.settings.get("groups", case.x.shape[-1])
        parts = case.x.reshape(len(case.x), -1, groups, case.x.shape[-1] // groups)
        axes = (0, 1) if module is batchnorm else (1, 3)
        equal = np.ptp(parts, axis=axes) == 0
        assert 0 < equal.sum() < equal.size


@pytest.mark.parametrize(
    ("module", "rank"),
    [(conv, 1), (conv, 2), (conv, 3), (depthwise, 2), (dilated, 1), (transposed, 1)],
)
def test_plain_kernels_of_one_tap_and_of_two_are_tried(module, rank):
    plan = Plan(module, (rank,), frozenset(defaults(module)), Precision.of(module, np.float32))
    tried = set()
    for row in plan.rows(rank):
        around = {row["padding"], *(row[f"dilation_rate[{a}]"] for a in range(rank))}
        if around == {"valid", 1} and row.get("groups", 1) == 1:
            steps = tuple((row[f"kernel_size[{a}]"], row[f"strides[{a}]"]) for a in range(rank))
            tried.add(steps)
    wanted = [(1, 1), (2, 1)] if module is dilated else [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert tried >= {(step,) * rank for step in wanted}
