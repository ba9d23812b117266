"""verify: of thousands of cases few keep their numbers, and what is told is the same."""

import weakref

import numpy as np
import pytest
from wrong_kernels import right

from convinsights import conv, verify
from convinsights._concepts import defaults
from convinsights.verify import _kept
from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._features import features, tells
from convinsights.verify._kept import Kept
from convinsights.verify._memory import BETWEEN, Memory
from convinsights.verify._plan import Plan
from convinsights.verify._precision import Precision
from convinsights.verify._trials import Marks, Trial

PLAN = Plan(conv, (2,), frozenset(defaults(conv)), Precision.of(conv, np.float32))
PASSED = {"forward": PLAN.varied, "backward": PLAN.varied}


def small_case(**changes):
    plain = dict(PLAN.plain(2)) | {"in_channels": 1, "out_channels": 1, "batch": 1}
    (case,) = PLAN.of_rows(2, [plain | changes])
    return case


def trial_of(case, wrong=()):
    return Trial(case, {"y": np.zeros(case.dy.shape)}, {"y": case.dy}, set(wrong))


def test_an_outline_has_the_shapes_and_no_numbers():
    case = small_case(padding="uneven")
    outline = case.outline()
    assert [a.strides for a in (outline.x, outline.dy)] == [(0, 0, 0, 0)] * 2
    assert np.isnan(outline.x).all()
    assert (features(outline), tells(outline)) == (features(case), tells(case))
    assert (str(outline), outline.size) == (str(case), case.size)


def test_a_case_is_drawn_again_as_it_was():
    case = small_case(values="normal", bias=True)
    again = case.outline().drawn()
    for name, array in case.given.items():
        np.testing.assert_array_equal(again.given[name], array)
    assert case.drawn() is case


def test_a_case_that_nobody_drew_stays_whole():
    drawn = small_case()
    own = Case(conv, drawn.arrays, drawn.settings, drawn.dy, "own", True)
    assert own.outline() is own
    changed = drawn.image(0)  # and one that was made from another
    assert changed.outline() is changed


@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 3), (0, 4)])
def test_marks_are_what_they_were_made_of(shape):
    wrong = np.random.default_rng(0).random(shape) < 0.3
    marks = Marks(wrong)
    np.testing.assert_array_equal(np.asarray(marks), wrong)
    assert (marks.any(), marks.size) == (bool(wrong.any()), wrong.size)


def test_the_smallest_of_every_kind_keep_their_numbers(monkeypatch):
    monkeypatch.setattr(_kept, "FEWEST", 2)
    cases = [small_case(batch=batch) for batch in (16, 1, 8, 2, 4)]
    monkeypatch.setattr(_kept, "NUMBERS", sum(case.size for case in cases[3:]))
    for wrong in ((), ("y",)):
        trials, kept = [trial_of(case, wrong) for case in cases], Kept()
        for trial in trials:
            kept.add(trial)
        assert [trial.whole for trial in trials] == [False, True, False, True, False]
        assert [trial.wrong for trial in trials] == [set(wrong)] * 5
        assert [trial.got["y"] is not None for trial in trials] == [True] * 5


def test_a_case_without_outputs_is_let_go_before_larger_ones(monkeypatch):
    monkeypatch.setattr(_kept, "FEWEST", 2)
    cases = [small_case(batch=batch) for batch in (2, 0, 1)]
    monkeypatch.setattr(_kept, "NUMBERS", cases[0].size + cases[2].size)
    trials, kept = [trial_of(case) for case in cases], Kept()
    for trial in trials:
        kept.add(trial)
    assert [trial.whole for trial in trials] == [True, False, True]
    assert sorted(cases, key=lambda case: case.order) == [cases[2], cases[0], cases[1]]
    assert cases[1].size == sum(a.size for a in cases[1].arrays if a is not None)


def test_what_was_declined_keeps_none():
    trial = Trial(small_case(), declined="forward")
    Kept().add(trial)
    assert np.isnan(trial.case.x).all()


@pytest.mark.usefixtures("fewest_cases")
def test_results_are_held_for_a_few_cases_only(monkeypatch):
    monkeypatch.setattr(_kept, "NUMBERS", 0)
    results, alive = [], []
    forward, _ = right(conv)

    def watched(*arrays, **hyper):
        y = forward(*arrays, **hyper)
        alive.append(sum(result() is not None for result in results))
        results.append(weakref.ref(y))
        return y

    verify.verify(conv, watched).check()
    assert len(alive) > 4 * BETWEEN
    assert BETWEEN < max(alive) <= BETWEEN + 2


def test_of_large_cases_fewer_are_held():
    candidate = Candidate(conv, *right(conv), PLAN.precision, PLAN.varied, PASSED)
    memory = Memory(candidate)
    for size in (21, 21, 21, 21, 3, 3):
        case = small_case(**{"size[0]": size, "size[1]": size, "in_channels": 37, "batch": 32})
        answer = candidate.ask(case)
        memory.add(candidate.judged(case, answer), answer)
    held = [trial.case.size for _, trial, _ in memory.waiting]
    assert len(held) == 5
    assert sum(held) <= 2_000_000 < sum(held) + max(held)
    memory.finish()
    assert not memory.waiting


@pytest.mark.usefixtures("few_cases")
def test_the_report_is_the_same_where_few_numbers_are_kept(monkeypatch):
    forward, _ = right(conv)

    def broken(x, kernel, bias, **hyper):
        y = forward(x, kernel[::-1], bias, **hyper)
        y[:, :, -1:] += 1
        return y

    def told(report):
        return str(report), [failure.message for failure in report.failures]

    before = verify.verify(conv, broken)
    monkeypatch.setattr(_kept, "NUMBERS", 0)
    after = verify.verify(conv, broken)
    assert told(after) == told(before)
    for failure in after.failures[::7]:
        x, kernel, bias = (failure.arrays[name] for name in ("x", "kernel", "bias"))
        assert failure.arrays["x"] is x
        assert (len(failure.arrays), [*failure.arrays][-1]) == (4, "dy")
        assert all(str(array.shape) in failure.call for array in (x, kernel))
        assert (bias is None) == ("bias=None" in failure.call)
