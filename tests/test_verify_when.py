"""When and where a kernel fails: conditions on the cases, and regions of the results."""

import numpy as np
import pytest
from helpers import thinned

from convinsights import (
    batchnorm,
    conv,
    depthwise,
    depthwise_separable,
    normalization,
    transposed,
    unary,
)
from convinsights._concepts import defaults
from convinsights.verify import _explain, _when, _where
from convinsights.verify._cases import Case
from convinsights.verify._clauses import Clause, Condition
from convinsights.verify._coordinates import coordinates
from convinsights.verify._features import features
from convinsights.verify._parts import _of_rests
from convinsights.verify._table import Table
from convinsights.verify._thresholds import further, sharpened
from convinsights.verify._trials import Trial
from convinsights.verify._when import condition
from convinsights.verify._where import region
from convinsights.verify._words import in_words


def drawn(module, count=160, rank=2, seed=0):
    """Cases with every factor at random."""
    draw = np.random.default_rng(seed)
    cases = []

    def one(*values):
        return values[draw.integers(len(values))]

    def several(*values):
        return tuple(one(*values) for _ in range(rank))

    while len(cases) < count:
        groups = one(1, 1, 2, 3) if "groups" in defaults(module) else 1
        ins, outs = one(1, 2, 3, 4, 5, 7, 8, 9, 16, 17), one(1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
        x_shape = (one(1, 2, 3, 4, 5, 7), *several(1, 3, 4, 5, 8, 9, 16, 17, 20), groups * ins)
        settings = defaults(module)
        chosen = {
            "strides": several(1, 1, 1, 2, 3),
            "dilation_rate": several(1, 1, 1, 2, 3),
            "padding": one("valid", "same", several((1, 1), (0, 1), (2, 1), (0, 0)), (1,) * rank),
            "groups": groups,
            "output_padding": one(None, None, 0),
            "epsilon": one(1e-3, 1e-5),
        }
        settings |= {name: value for name, value in chosen.items() if name in settings}
        taps = (1,) * rank if module is unary else one((1,) * rank, several(1, 2, 3, 3, 4))
        given = one(True, True, False)
        try:
            shapes = [x_shape, *shapes_of(module, taps, ins, outs, groups)]
            if module in (batchnorm, normalization):
                y_shape = x_shape
                others = [np.ones(x_shape[-1]) if given else None, None]
            else:
                y_shape = module.output_shape(*shapes, **settings)
                others = [np.ones(y_shape[-1]) if given else None]
        except ValueError:
            continue
        if np.prod(y_shape) < 12_000:
            if module is batchnorm:
                others.append(one(None, batchnorm.initial_statistics(x_shape[-1])))
            arrays = (*map(np.ones, shapes), *others)
            whole = one(True, False)
            layout = one("C", "C", "C", "Fortran", "slice of channels")
            values = "integers" if whole else "normal"
            cases.append(
                Case(module, arrays, settings, np.ones(y_shape), "drawn", whole, layout, values)
            )
    return cases


def shapes_of(module, taps, ins, outs, groups):
    if module in (batchnorm, normalization):
        return []
    if module is depthwise:
        return [(*taps, ins, min(outs, 3))]
    if module is depthwise_separable:
        multiplier = min(outs, 3)
        return [(*taps, ins, multiplier), (1,) * len(taps) + (ins * multiplier, groups * outs)]
    if module is transposed:
        return [(*taps, outs, groups * ins)]
    return [(*taps, ins, groups * outs)]


CASES = {
    module: drawn(module)
    for module in (
        conv,
        depthwise,
        depthwise_separable,
        transposed,
        unary,
        batchnorm,
        normalization,
    )
}

KNOWN = {}


@pytest.fixture(autouse=True)
def _features_once(monkeypatch):
    """The features of a case are the same in every test."""

    def known(case):
        if id(case) not in KNOWN:
            KNOWN[id(case)] = case, features(case)
        return KNOWN[id(case)][1]

    monkeypatch.setattr(_when, "features", known)


CONDITIONS = [
    (conv, "in_channels >= 8", lambda f: f["in_channels"] >= 8),
    (conv, "out_channels >= 8", lambda f: f["out_channels"] >= 8),
    (conv, "out_channels > 16", lambda f: f["out_channels"] > 16),
    (conv, "in_channels // groups >= 8", lambda f: f["in_channels // groups"] >= 8),
    (conv, "out_channels // groups >= 4", lambda f: f["out_channels // groups"] >= 4),
    (conv, "in_channels <= 3", lambda f: f["in_channels"] <= 3),
    (conv, "out_channels not a multiple of 8", lambda f: f["out_channels"] % 8),
    (conv, "width not a multiple of 4", lambda f: f["width"] % 4),
    (conv, "output height > 16", lambda f: f["output height"] > 16),
    (conv, "batch >= 4", lambda f: f["batch"] >= 4),
    (conv, "batch > 1", lambda f: f["batch"] > 1),
    (conv, "strides > 1", lambda f: f["strides"] > 1),
    (conv, "strides > 1 and groups > 1", lambda f: f["strides"] > 1 and f["groups"] > 1),
    (
        conv,
        "strides > 1 and dilation_rate > 1",
        lambda f: f["strides"] > 1 and f["dilation_rate"] > 1,
    ),
    (
        conv,
        "strides > 1 and dilation_rate > 1 and groups > 1",
        lambda f: f["strides"] > 1 and f["dilation_rate"] > 1 and f["groups"] > 1,
    ),
    (
        conv,
        "kernel_size == (1, 1) and (strides > 1 or padding > 0 or groups > 1)",
        lambda f: (
            f["kernel_size"] == (1, 1) and (f["strides"] > 1 or f["padding"] > 0 or f["groups"] > 1)
        ),
    ),
    (conv, "strides > 1 or groups > 1", lambda f: f["strides"] > 1 or f["groups"] > 1),
    (conv, "strides[1] > 1", lambda f: f["strides[1]"] > 1),
    (conv, "kernel_size[0] even", lambda f: f["kernel_size[0]"] % 2 == 0),
    (conv, "strides of the axes differ", lambda f: f["strides[0]"] != f["strides[1]"]),
    (
        conv,
        'strides > 1 and padding == "same"',
        lambda f: f["strides"] > 1 and f["padding by name"] == "same",
    ),
    (
        conv,
        "padding before and after differ",
        lambda f: f["padding before and after"] == "differ",
    ),
    (conv, "groups > 1 and bias given", lambda f: f["groups"] > 1 and f["bias"] == "given"),
    (conv, "bias not given", lambda f: f["bias"] == "not given"),
    (conv, "arrays in Fortran order", lambda f: f["layout"] == "Fortran"),
    (conv, "arrays that are a slice of channels", lambda f: f["layout"] == "slice of channels"),
    (conv, "not arrays in C order", lambda f: f["layout"] != "C"),
    (conv, "values: normal", lambda f: f["values"] == "normal"),
    (conv, "y.size > 2^12", lambda f: f["y.size"] > 4096),
    (conv, "terms >= 64", lambda f: f["terms"] >= 64),
    (
        conv,
        "in_channels a multiple of 4 and strides > 1",
        lambda f: f["in_channels"] % 4 == 0 and f["strides"] > 1,
    ),
    (depthwise, "depth_multiplier > 1", lambda f: f["depth_multiplier"] > 1),
    (
        depthwise,
        "depth_multiplier == 1 and strides > 1",
        lambda f: f["depth_multiplier"] == 1 and f["strides"] > 1,
    ),
    (
        depthwise_separable,
        "in_channels * depth_multiplier >= 8",
        lambda f: f["in_channels * depth_multiplier"] >= 8,
    ),
    (
        depthwise_separable,
        "in_channels * depth_multiplier and out_channels equal",
        lambda f: f["in_channels * depth_multiplier and out_channels"] == "equal",
    ),
    (
        transposed,
        "last axes of the kernel equal and groups > 1",
        lambda f: f["last axes of the kernel"] == "equal" and f["groups"] > 1,
    ),
    (transposed, "strides > kernel_size", lambda f: "> " in f["strides and kernel_size"]),
    (unary, "in_channels >= 8 and strides > 1", lambda f: f["in_channels"] >= 8 < 7 + f["strides"]),
    (batchnorm, "training", lambda f: f["mode"] == "training"),
    (batchnorm, "channels >= 4", lambda f: f["channels"] >= 4),
    (batchnorm, "batch >= 4 and training", lambda f: f["batch"] > 3 and f["mode"] == "training"),
    (
        normalization,
        "groups > 1 and gamma given",
        lambda f: f["groups"] > 1 and f["gamma"][0] == "g",
    ),
    (normalization, "channels // groups >= 4", lambda f: f["channels // groups"] >= 4),
    (normalization, "output pixels >= 64", lambda f: f["output pixels"] >= 64),
]


@pytest.mark.parametrize(
    ("module", "text", "holds"),
    thinned(CONDITIONS, [c[1] for c in CONDITIONS], {*range(0, 99, 2), 15}),
)
def test_what_failing_cases_share_is_said(module, text, holds):
    cases = CASES[module]
    failed = [bool(holds(_when.features(case))) for case in cases]
    assert condition(cases, failed) == text


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_nothing_is_said_of_failures_by_chance(count):
    draw, cases = np.random.default_rng(count), CASES[conv]
    for _ in range(2):
        chosen = draw.permutation(len(cases)) < count
        assert condition(cases, chosen) is None


def test_empty_cases_show_nothing():
    case = CASES[conv][0]
    empty = Case(conv, (case.x[:0], *case.arrays[1:]), case.settings, case.dy[:0], "empty", True)
    assert condition([*CASES[conv], *[empty] * 40], [True] * 160 + [False] * 40) is None


def test_what_no_passing_case_has_is_said_to_be_given():
    cases = CASES[transposed]
    given = [case.settings["output_padding"] is not None for case in cases]
    assert condition(cases, given) == "output_padding given"
    assert condition(cases, given, lambda feature, value: True) == "output_padding given"
    either = [one or case.settings["groups"] > 1 for one, case in zip(given, cases, strict=True)]
    assert condition(cases, either) == "groups > 1 or output_padding given"


@pytest.mark.parametrize(
    ("clause", "text"),
    [
        (("layout", "==", "slice of channels"), "arrays that are a slice of channels"),
        (("layout", "==", "negative"), "arrays of negative strides"),
        (("layout", "!=", "C"), "not arrays in C order"),
        (("padding by name", "==", "zeros"), "padding given in zeros"),
        (("padding by name", "==", "same"), 'padding == "same"'),
        (("in_channels and out_channels", "==", "equal"), "in_channels and out_channels equal"),
        (("bias", "==", "not given"), "bias not given"),
        (("epsilon", "!=", "1e-05"), "epsilon != 1e-05"),
        (
            ("strides and dilation_rate", "==", "both > 1 on an axis"),
            "strides and dilation_rate both > 1 on an axis",
        ),
        (("kernel_size", "==", (1, 1)), "kernel_size == (1, 1)"),
        (("kernel_size[0]", "multiple", 2), "kernel_size[0] even"),
        (("width", "no multiple", 4), "width not a multiple of 4"),
        (("effective strides", ">=", 2), "strides > 1"),
        (("height", ">=", 5), "height > 4"),
        (("height", ">=", 6), "height >= 6"),
        (("y.size", ">=", 4097), "y.size > 2^12"),
        (("in_channels", "<=", 3), "in_channels <= 3"),
        (("terms", "power", 2), "terms a power of 2"),
        (("terms", "no power", 2), "terms no power of 2"),
        (
            ("strides[0] and kernel_size", "==", "strides[0] < kernel_size[0]"),
            "strides[0] < kernel_size[0]",
        ),
        (
            ("effective strides and kernel_size", "!=", "strides > kernel_size"),
            "strides <= kernel_size",
        ),
    ],
)
def test_a_clause_in_words(clause, text):
    assert in_words(*clause) == text


def test_the_axes_are_called_by_their_rank():
    line, body = drawn(conv, 1, rank=1)[0], drawn(conv, 1, rank=3)[0]
    assert {"length", "kernel_size"} <= features(line).keys()
    assert {"depth", "height", "width", "strides[2]"} <= features(body).keys()
    mixed = drawn(conv, 60, rank=1) + CASES[conv]
    assert condition(mixed, [case.rank == 1 for case in mixed]) == "rank == 1"
    wide = [case.rank == 2 and case.x.shape[2] > 4 for case in mixed]
    assert condition(mixed, wide) == "width > 4"


def fails_from(name, least):
    """The hook: whether a case with the feature set so fails; channels of 11 are impossible."""
    asked = []

    def retry(feature, value):
        asked.append((feature, value))
        if feature != name or value == 11:
            return None
        return value >= least

    return retry, asked


@pytest.mark.parametrize(
    ("least", "text"),
    [(least, f"in_channels >= {least}") for least in (10, 12, 13, 16)],
)
def test_further_cases_find_the_exact_threshold(least, text):
    cases = CASES[conv]
    few = [case for case in cases if not 9 < case.x.shape[-1] < 16]
    failed = [case.x.shape[-1] >= least for case in few]
    retry, asked = fails_from("in_channels", least)
    assert condition(few, failed, retry) == text
    assert len(asked) < 12


def test_further_cases_refute_a_condition():
    cases = CASES[conv]
    failed = [case.x.shape[-1] >= 8 for case in cases]
    assert condition(cases, failed, lambda feature, value: True) is None
    assert condition(cases, failed, lambda feature, value: None) == "in_channels >= 8"


def test_odd_numbers_are_not_taken_for_all_that_are_no_powers_of_2():
    cases = CASES[conv]
    odd = [len(case.x) in (3, 5, 7) for case in cases]  # as many images as no case has: 6
    assert condition(cases, odd) == "batch no power of 2"
    assert condition(cases, odd, lambda feature, n: n & (n - 1) > 0) == "batch no power of 2"
    assert (
        condition(cases, odd, lambda feature, n: n > 1 and n % 2 > 0) == "batch >= 3 and batch odd"
    )


def test_odd_numbers_and_multiples_of_4_are_told_apart_by_another_width():
    cases = CASES[conv]
    odd = [case.x.shape[2] % 2 > 0 for case in cases]  # all others are multiples of 4
    assert condition(cases, odd) == "width not a multiple of 4"
    assert condition(cases, odd, lambda feature, n: n % 4 > 0) == "width not a multiple of 4"
    assert condition(cases, odd, lambda feature, n: n % 2 > 0) == "width odd"


def test_multiples_of_8_and_of_16_are_told_apart_beyond_the_limit_alone():
    table = Table(
        [{"batch": n} for n in (1, 8, 16, 17, 32, 37)], np.array([0, 0, 0, 1, 0, 1], bool)
    )
    limit = table.clause("batch", ">=", 17)
    asked = []

    def of_16(feature, n):
        asked.append(n)
        return n >= 12 and n % 16 > 0

    for width, refuted in ((8, True), (16, False)):
        clause = table.clause("batch", "no multiple", width)
        assert (sharpened(table, clause, [limit], of_16) is None) is refuted
    assert 24 in asked
    assert 12 not in asked


def test_what_another_clause_implies_is_not_said():
    def said(*clauses):
        return str(Condition(tuple(Clause(*clause, np.ones(1), 0.0) for clause in clauses)))

    largest, of_axis = ("effective strides", ">=", 3), ("strides[0]", ">=", 3)
    assert said(largest, of_axis) == said(of_axis, largest) == "strides[0] >= 3"
    assert said(largest, ("strides", ">=", 3)) == "strides >= 3"
    assert said(("strides", ">=", 4), of_axis) == "strides >= 4 and strides[0] >= 3"
    assert said(("depth", ">=", 3), ("depth_multiplier", ">=", 3)).count(" and ") == 1


def test_cases_that_pass_by_chance_are_tried_with_other_numbers():
    cases = CASES[conv]
    wide = [case.x.shape[-1] >= 8 for case in cases]
    lucky = np.flatnonzero(wide)[[3, 9]].tolist()
    failed = [bad and i not in lucky for i, bad in enumerate(wide)]
    assert condition(cases, failed) != "in_channels >= 8"
    assert condition(cases, failed, None, lambda case: case.x.shape[-1] >= 8) == "in_channels >= 8"


def test_cases_whose_values_were_taken_back_have_not_passed():
    trials = [Trial(case, got={"y": case.dy}, telling={"y": 0.1}) for case in CASES[conv]]
    wide = [trial for trial in trials if trial.case.x.shape[-1] >= 8]
    for trial in wide:
        trial.errors["y"] = 0.2
        trial.fail("y", "", index=(0,))
    for trial in (wide[3], wide[9]):
        trial.forget("y")
        assert not trial.errors
    failing = [trial for trial in trials if trial.wrong]
    assert _explain._when(trials, failing, None, None) == "in_channels >= 8"


def test_thresholds_alone_foretell_further_values():
    rows = [{"batch": n} for n in (1, 2, 3, 4)]
    table = Table(rows, np.array([False, False, True, True]))
    assert further(table, table.clause("batch", ">=", 3)) == [5, 8]  # 4 has failed
    assert further(table, table.clause("batch", "==", 3)) == []


def test_each_alternative_has_failing_cases_of_its_own():
    draw = np.random.default_rng(0)
    names = ("in_channels", "strides", "dilation_rate")
    rows = [dict(zip(names, draw.integers(1, 5, 3).tolist(), strict=True)) for _ in range(99)]
    for count in (1, 2, 3):  # how many of them make a case fail, together
        wrong = np.array([all(row[name] > 2 for name in names[:count]) for row in rows])
        assert list(Table(rows, wrong).alternatives()) == []
    wrong = np.array([row["in_channels"] > 2 and max(list(row.values())[1:]) > 2 for row in rows])
    (found, *_) = Table(rows, wrong).alternatives()
    assert str(found) == "in_channels >= 3 and (strides >= 3 or dilation_rate >= 3)"


def test_two_failing_cases_are_believed_once_more_of_them_fail():
    plain = [case for case in CASES[conv] if len(case.x) < 3]
    large = [case for case in CASES[conv] if len(case.x) == 7][:1]
    cases, failed = plain + large, [False] * len(plain) + [True] * len(large)
    assert condition(cases, failed) is None
    retry, _ = fails_from("batch", 3)
    assert condition(cases, failed, retry) == "batch >= 3"
    assert (
        condition(cases, failed, lambda feature, value: feature == "batch" and value == 7) is None
    )
    assert condition(cases, failed, lambda feature, value: feature == "batch" or None) is None


# ---- regions


def part(index):
    """A mask of that part."""

    def mask(case, shape):
        wrong = np.zeros(shape, bool)
        wrong[index] = True
        return wrong

    return mask


def channels_of(rule):
    def mask(case, shape):
        chosen = [rule(c, shape[-1], case.settings.get("groups", 1)) for c in range(shape[-1])]
        return np.broadcast_to(chosen, shape)

    return mask


def flat_from(least):
    return lambda case, shape: (np.arange(np.prod(shape)) >= least).reshape(shape)


def touching(case, shape):
    """Outputs to which a padding of ones contributes."""
    ones = np.ones((1, *case.x.shape[1:-1], 1))
    kernel = np.ones((*case.arrays[1].shape[:-2], 1, 1))
    settings = {**case.settings, "groups": 1}
    inside = conv.forward(ones, kernel, **settings)[0]
    return np.broadcast_to(inside < kernel.size, shape)


def borders(all_of):
    def mask(case, shape):
        rows, columns = np.ogrid[: shape[1], : shape[2]]
        ends = np.isin(rows, (0, shape[1] - 1)), np.isin(columns, (0, shape[2] - 1))
        inside = ends[0] & ends[1] if all_of else ends[0] | ends[1]
        return np.broadcast_to(inside[..., np.newaxis], shape)

    return mask


def between_strides(case, shape):
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    s = case.axes("strides")
    return np.broadcast_to(((rows % s[0] > 0) | (columns % s[1] > 0))[..., np.newaxis], shape)


REGIONS = [
    (conv, "y", "rows from 16 on", part(np.s_[:, 16:])),
    (conv, "y", "columns from 4 on", part(np.s_[:, :, 4:])),
    (conv, "y", "rows from 4 on and columns from 4 on", part(np.s_[:, 4:, 4:])),
    (conv, "y", "last column", part(np.s_[:, :, -1:])),
    (conv, "y", "last 2 rows", part(np.s_[:, -2:])),
    (conv, "y", "first row", part(np.s_[:, :1])),
    (conv, "y", "rows other than the first", part(np.s_[:, 1:])),
    (conv, "y", "row 2", part(np.s_[:, 2:3])),
    (conv, "y", "rows before 3", part(np.s_[:, :3])),
    (conv, "y", "odd rows", part(np.s_[:, 1::2])),
    (conv, "y", "even columns", part(np.s_[:, :, ::2])),
    (conv, "y", "channels from 8 on", part(np.s_[..., 8:])),
    (conv, "y", "channels 8 … 15 of each 16", channels_of(lambda c, n, g: c % 16 >= 8)),
    (conv, "y", "channel 3 of each 4", channels_of(lambda c, n, g: c % 4 == 3)),
    (conv, "y", "channels other than 1 of each 4", channels_of(lambda c, n, g: c % 4 != 1)),
    (
        conv,
        "y",
        "the last channels that do not fill 8",
        channels_of(lambda c, n, g: c >= n - n % 8),
    ),
    (conv, "y", "channels that fill blocks of 8", channels_of(lambda c, n, g: c < n - n % 8)),
    (conv, "y", "second half of the channels", channels_of(lambda c, n, g: c >= n - n // 2)),
    (conv, "y", "groups other than the first", channels_of(lambda c, n, g: c >= n // g)),
    (conv, "y", "channels from 2 on of each group", channels_of(lambda c, n, g: c % (n // g) > 1)),
    (conv, "y", "images from 4 on", part(np.s_[4:])),
    (conv, "y", "images other than the first", part(np.s_[1:])),
    (conv, "y", "last image", part(np.s_[-1:])),
    (conv, "y", "elements from 2^12 on (flat index)", flat_from(4096)),
    (conv, "y", "pixels whose window touches the padding", touching),
    (conv, "y", "pixels at the border", borders(all_of=False)),
    (conv, "y", "corners", borders(all_of=True)),
    (conv, "dx", "last column of dx", part(np.s_[:, :, -1:])),
    (conv, "dx", "pixels between the strides of dx", between_strides),
    (conv, "dkernel", "last kernel column of dkernel", part(np.s_[:, -1:])),
    (conv, "dkernel", "input channels from 8 on of dkernel", part(np.s_[..., 8:, :])),
    (conv, "dkernel", "taps other than the first of dkernel", None),
    (conv, "dkernel", "output channels from 4 on of dkernel", part(np.s_[..., 4:])),
    (conv, "dbias", "channels from 4 on of dbias", part(np.s_[4:])),
    (transposed, "y", "pixels between the strides", between_strides),
    (depthwise, "y", "first channel of each input channel", None),
    (depthwise, "dkernel", "input channels from 4 on of dkernel", part(np.s_[..., 4:, :])),
    (batchnorm, "y", "channels from 4 on", part(np.s_[..., 4:])),
    (batchnorm, "dgamma", "channels from 8 on of dgamma", part(np.s_[8:])),
    (normalization, "y", "groups other than the first", channels_of(lambda c, n, g: c >= n // g)),
]


def other_taps(case, shape):
    wrong = np.ones(shape, bool)
    wrong[0, 0] = False
    return wrong


def first_copies(case, shape):
    return np.broadcast_to(np.arange(shape[-1]) % case.arrays[1].shape[-1] == 0, shape)


SPECIAL = {
    "taps other than the first of dkernel": other_taps,
    "first channel of each input channel": first_copies,
}


def findings(module, name, mask, share=0.85, count=80):
    """Of so many cases, the elements of a region that come out wrong, most of them."""
    draw, found = np.random.default_rng(0), []
    for case in CASES[module][:count]:
        arrays = dict(zip(case.names, case.arrays, strict=True)) | {"y": None}
        shape = case.dy.shape if name == "y" else np.shape(arrays[name.removeprefix("d")])
        if shape:
            found.append((case, name, mask(case, shape) & (draw.random(shape) < share)))
    return [finding for finding in found if finding[2].any()]


@pytest.mark.parametrize(
    ("module", "name", "text", "mask"),
    thinned(REGIONS, [f"{r[2]}-{r[1]}" for r in REGIONS], range(0, 99, 2)),
)
def test_the_part_that_is_wrong_is_said(module, name, text, mask):
    assert region(findings(module, name, mask or SPECIAL[text])) == text


def test_all_blocks_are_said_that_leave_the_same_rests():
    texts = [text for text, *_ in _of_rests([37, 130])]
    assert texts == [f"the last #s that do not fill {m}" for m in ("3", "4", "8 or 16 or 32")]


@pytest.mark.parametrize("share", [1.0, 0.85, 0.3, 0.01])
def test_no_part_is_said_where_everything_is_wrong_or_anything(share):
    assert region(findings(conv, "y", part(np.s_[...]), share)) is None


def test_the_part_is_the_same_in_every_case():
    found = findings(conv, "y", part(np.s_[:, 4:]))
    case, name, wrong = next(f for f in found if f[2].shape[1] > 6)
    assert region(found) == "rows from 4 on"
    assert region([*found, (case, name, ~wrong)]) is None


def test_nothing_wrong_is_nowhere():
    assert region([]) is None
    assert region([(CASES[conv][0], "y", np.zeros(CASES[conv][0].dy.shape, bool))]) is None


def test_every_result_has_its_part():
    found = [f for name in ("y", "dx") for f in findings(conv, name, part(np.s_[:, :1]))]
    assert region(found) == "first row; first row of dx"


@pytest.mark.parametrize(("rank", "noun"), [(1, "pixel"), (3, "plane")])
def test_parts_are_called_by_the_rank(rank, noun):
    found = []
    for case in drawn(conv, 40, rank=rank):
        kernel = np.zeros(case.arrays[1].shape, bool)
        y = np.zeros(case.dy.shape, bool)
        y[:, -1:] = kernel[-1:] = True
        found += [(case, "y", y), (case, "dkernel", kernel)]
    assert region(found) == f"last {noun}; last kernel {noun} of dkernel"


def test_of_many_large_results_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(_where, "ELEMENTS", 20_000)
    assert region(findings(conv, "y", part(np.s_[:, :1]), count=160)) == "first row"


def test_the_output_padding_is_a_region():
    settings = defaults(transposed) | {"strides": 2, "padding": 1, "output_padding": 1}
    found = []
    for rows, columns in ((3, 4), (4, 3), (5, 7)):
        x, kernel = np.ones((2, rows, columns, 3)), np.ones((3, 3, 4, 3))
        dy = np.ones((2, 2 * rows, 2 * columns, 4))
        wrong = np.zeros(dy.shape, bool)
        wrong[:, -1] = wrong[:, :, -1] = True
        found.append((Case(transposed, (x, kernel, None), settings, dy, "drawn", True), "y", wrong))
    assert region(found) == "pixels of the output padding"


@pytest.mark.parametrize(("padding", "spoken"), [("valid", False), ("same", True)])
def test_of_padding_nothing_is_said_where_there_is_none(padding, spoken):
    settings = defaults(conv) | {"padding": padding}
    x, kernel = np.ones((2, 5, 6, 3)), np.ones((3, 3, 3, 4))
    dy = np.ones(conv.output_shape(x.shape, kernel.shape, padding=padding))
    case = Case(conv, (x, kernel, None), settings, dy, "drawn", True)
    assert any("padding" in name for name, _ in coordinates(case, "y", dy.shape)) is spoken
