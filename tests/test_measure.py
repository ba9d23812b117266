"""The script that trains for the pages, and the file of its results."""

import json
import os
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers import arrays_in

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.append(str(EXAMPLES))
with mock.patch.dict(os.environ):  # the script asks for one thread, the tests need not
    import digits
    import measure

RESULTS = json.loads((EXAMPLES / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("normalization", (measure.EPOCHS,)),
        ("depth", (measure.EPOCHS, 2)),
        ("checkerboard", (measure.EPOCHS + 1, 2)),
    ],
)
def test_every_curve_has_all_its_epochs_and_starts(kind, points):
    for runs in RESULTS[kind].values():
        assert np.shape(runs) == (len(measure.SEEDS), *points)


def test_the_results_are_those_of_the_script():
    assert set(RESULTS) == set(measure.KINDS)
    assert {f"{kind}, {n} layers" for kind in ("plain", "residual") for n in measure.DEPTHS} == set(
        RESULTS["depth"]
    )
    assert all(f"normalized, rate {rate}" in RESULTS["normalization"] for rate in measure.RATES)


def test_an_epoch_has_every_digit_once():
    seen = list(measure.batches(10, 4, 2, np.random.default_rng(0)))
    for epoch in 0, 1:
        indices = np.concatenate([batch for e, batch, _ in seen if e == epoch])
        assert sorted(indices) == list(range(10))
    assert [done for _, _, done in seen] == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6])


def test_patterns_of_period_two_are_found_and_nothing_else_is():
    sign = (-1) ** np.arange(8)
    board = np.multiply.outer(sign, sign).reshape(1, 8, 8, 1)
    stripes = np.broadcast_to(sign, (8, 8)).reshape(1, 8, 8, 1)
    assert measure.period_two(0.5 * board) == 0.5
    assert measure.period_two(3 * stripes + 4 * board) == 5
    assert measure.period_two(np.concatenate([board, 7 * board])) == 4
    assert measure.period_two(np.concatenate([board, -board])) == 0  # nothing in common
    slow = np.broadcast_to(np.arange(8) // 2 - 1.5, (1, 8, 8))[..., None]
    assert measure.period_two(slow) == 0


@pytest.mark.parametrize("shortcut", [False, True])
def test_backward_of_the_stack_is_the_slope_of_the_loss(shortcut):
    rng = np.random.default_rng(4)
    p, moving = measure.initialize_stack(rng, 2, np.float64)
    x, labels = rng.random((3, 8, 8, 1)), np.array([7, 0, 7])

    def loss():
        scores, _, caches = measure.stack_forward(x, p, [None] * len(moving), shortcut)
        return *digits.cross_entropy(scores, labels), caches

    _, dscores, caches = loss()
    gradients = measure.stack_backward(dscores, caches, shortcut)
    pairs = zip(arrays_in(p), arrays_in(gradients), strict=True)
    for a, da in pairs:
        direction = rng.standard_normal(a.shape)
        a += 1e-6 * direction
        above = loss()[0]
        a -= 2e-6 * direction
        below = loss()[0]
        a += 1e-6 * direction
        assert (above - below) / 2e-6 == pytest.approx(np.vdot(direction, da), rel=1e-5, abs=1e-8)


def test_a_kind_that_is_not_named_keeps_its_results(tmp_path, monkeypatch, capsys):
    (x, labels), (test_x, test_labels) = digits.load()
    monkeypatch.setattr(
        digits, "load", lambda: ((x[:64], labels[:64]), (test_x[:9], test_labels[:9]))
    )
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(measure, "SEEDS", range(2))
    monkeypatch.setattr(measure, "EPOCHS", 2)
    monkeypatch.setattr(measure, "DEPTHS", (1,))
    measure.RESULTS.write_text('{"separable": 1}', encoding="utf-8")
    measure.main(["depth"])
    results = json.loads(measure.RESULTS.read_text(encoding="utf-8"))
    assert results["separable"] == 1
    assert np.shape(list(results["depth"].values())) == (2, 2, 2, 2)
    assert "residual, 1 layers: " in capsys.readouterr().out
