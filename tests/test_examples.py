"""The example scripts: their gradients, what they print, and how they end."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers import arrays_in, inner

import convinsights
from convinsights.parameters import mapped

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.append(str(EXAMPLES))
with mock.patch.dict(os.environ):  # the scripts ask for one thread, the tests need not
    import autoencoder
    import digits
    import terminal

SCRIPTS = pytest.mark.parametrize("script", [digits, autoencoder], ids=["digits", "autoencoder"])
# What the scripts must find is the very package that is tested.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(convinsights.__file__).parents[1])}


@pytest.fixture
def few(monkeypatch):
    """Let the scripts load 64 digits to learn from and 40 to be tested on."""
    (x, labels), (test_x, test_labels) = digits.load()
    data = (x[:64], labels[:64]), (test_x[:40], test_labels[:40])
    monkeypatch.setattr(digits, "load", lambda: data)
    monkeypatch.setattr(autoencoder, "load", lambda: (data[0][0], data[1][0]))


class Terminal(io.StringIO):
    """A terminal that cannot show more than ASCII."""

    encoding = "ascii"

    def isatty(self):
        return True


def random_parameters(script, rng):
    # Not the initial values: a gamma of 1 and a beta of 0 would forgive too much.
    p = script.initialize(rng, dtype=np.float64)
    return mapped(lambda a: a + 0.3 * rng.standard_normal(a.shape), p)


def check_direction(p, field, loss, gradients, rng):
    there = getattr(p, field)
    direction = mapped(lambda a: rng.standard_normal(a.shape), there)
    slope = inner(getattr(gradients, field), direction)
    h = 1e-6
    right, left = (
        loss(p._replace(**{field: mapped(lambda a, d, s=s: a + s * d, there, direction)}))
        for s in (h, -h)
    )
    assert abs(slope) > 1e-4
    assert (right - left) / (2 * h) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("field", digits.Parameters._fields)
def test_backward_of_digits_is_the_slope_of_the_loss(field):
    rng = np.random.default_rng(1)
    p = random_parameters(digits, rng)
    x, labels = rng.random((3, 8, 8, 1)), np.array([7, 0, 7])

    def loss(p):
        return digits.cross_entropy(digits.forward(x, p)[0], labels)[0]

    scores, _, caches = digits.forward(x, p)
    gradients = digits.backward(digits.cross_entropy(scores, labels)[1], caches)
    check_direction(p, field, loss, gradients, rng)


@pytest.mark.parametrize("field", autoencoder.Parameters._fields)
def test_backward_of_the_autoencoder_is_the_slope_of_the_error(field):
    rng = np.random.default_rng(2)
    p = random_parameters(autoencoder, rng)
    x = rng.random((3, 8, 8, 1))

    def loss(p):
        return autoencoder.squared_error(autoencoder.forward(x, p)[0], x)[0]

    y, _, caches = autoencoder.forward(x, p)
    gradients = autoencoder.backward(autoencoder.squared_error(y, x)[1], caches)
    check_direction(p, field, loss, gradients, rng)


def test_all_of_a_network_stays_float32():
    rng = np.random.default_rng(0)
    p, x = digits.initialize(rng), digits.load()[0][0][:4]
    scores, _, caches = digits.forward(digits.moved(x, rng), p)
    _, dscores = digits.cross_entropy(scores, np.arange(4))
    used = [x, scores, dscores, *arrays_in((p, digits.backward(dscores, caches)))]
    assert {a.dtype for a in used} == {np.dtype(np.float32)}


def test_the_data_are_as_many_digits_as_they_should_be():
    (x, labels), (test_x, test_labels) = digits.load()
    assert (x.shape, labels.shape) == ((1437, 8, 8, 1), (1437,))
    assert (test_x.shape, test_labels.shape) == ((360, 8, 8, 1), (360,))
    assert (x.min(), x.max(), set(labels)) == (0, 1, set(range(10)))


def test_moved_shares_a_pixel_with_one_of_its_neighbours():
    x = np.zeros((200, 8, 8, 1), np.float32)
    x[:, 3, 4] = 1
    y = digits.moved(x, np.random.default_rng(0))[..., 0]
    np.testing.assert_allclose(y.sum(axis=(1, 2)), 1, rtol=1e-6)
    assert ((y > 0).sum(axis=(1, 2)) <= 2).all()
    assert np.argwhere((y > 0).any(axis=0)).tolist() == [
        [row, column] for row in (2, 3, 4) for column in (3, 4, 5)
    ]


def test_cross_entropy_by_hand(monkeypatch):
    monkeypatch.setattr(digits, "SMOOTHING", 0)
    loss, dscores = digits.cross_entropy(np.zeros((2, 10)), np.array([3, 5]))
    assert loss == pytest.approx(np.log(10))
    assert dscores[1] == pytest.approx(np.where(np.arange(10) == 5, -0.45, 0.05))


def test_cross_entropy_does_not_overflow():
    scores = np.zeros((1, 10), np.float32)
    scores[0, 3] = 1e4
    loss, dscores = digits.cross_entropy(scores, np.array([3]))
    assert loss == pytest.approx(900)  # 0.09 of the weight is on digits that are 1e4 less likely
    assert np.isfinite(dscores).all()


def test_the_loss_is_least_where_the_scores_are_the_smoothed_labels():
    wanted = np.full((1, 10), 0.01)
    wanted[0, 2] = 0.91
    loss, dscores = digits.cross_entropy(np.log(wanted), np.array([2]))
    assert loss > 0.5
    assert dscores == pytest.approx(np.zeros((1, 10)))


def test_components_leave_the_discarded_singular_values():
    x = np.random.default_rng(0).random((100, 8, 8, 1))
    values = np.linalg.svd(x.reshape(100, 64) - x.reshape(100, 64).mean(axis=0))[1]
    error, _ = autoencoder.squared_error(autoencoder.principal_components(x, x), x)
    assert error == pytest.approx((values[autoencoder.CODE :] ** 2).sum() / x.size)


def test_the_table_of_digits_counts_every_parameter():
    p = digits.initialize(np.random.default_rng(0))
    rows = digits.layers(p)
    assert sum(row[2] for row in rows) == sum(a.size for a in arrays_in(p))
    assert rows[0] == ("convolution", "8x8x16", 9 * 16, 64 * 9 * 16)
    assert rows[-1] == ("unary", "4x4x10", 32 * 10, 16 * 32 * 10)
    assert ("separable", "4x4x32", 9 * 16 + 16 * 32, 16 * 16 * (9 + 32)) in rows


def test_the_decoder_costs_what_the_encoder_does():
    rows = autoencoder.layers(autoencoder.initialize(np.random.default_rng(0)))
    sizes = ["4x4x32", "2x2x64", "1x1x8", "2x2x64", "4x4x32", "8x8x1"]
    assert [row[1] for row in rows] == sizes
    assert [row[2:] for row in rows[:3]] == [row[2:] for row in rows[:2:-1]]


@SCRIPTS
def test_training_goes_downhill(script, few, capsys):
    script.main(["--epochs", "8"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[:8]]
    assert {line[2] for line in lines} <= {"loss", "error"}
    assert float(lines[7][3]) < 0.9 * float(lines[0][3])


@SCRIPTS
def test_the_same_seed_gives_the_same_result_and_another_another(script, few, capsys):
    def result(seed):
        script.main(["--epochs", "1", "--seed", seed])
        return capsys.readouterr().out

    assert result("3") == result("3") != result("4")


@SCRIPTS
def test_what_was_learnt_is_saved_and_loaded(script, few, capsys, tmp_path):
    file = str(tmp_path / "learnt")
    script.main(["--epochs", "1", "--save", file])
    trained = capsys.readouterr().out.splitlines()
    script.main(["--load", file])
    assert capsys.readouterr().out.splitlines() == trained[1:]
    assert [path.name for path in tmp_path.iterdir()] == ["learnt"]


@SCRIPTS
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "No data left in file"),
        (b"no archive", ".*pickled"),
        (np.ones(3), "named must be a dict of arrays or an open .npz file"),
        ({"0.stem": np.ones(3)}, "named must have the entries of like, got missing: "),
    ],
)
def test_what_is_no_file_of_the_script_is_refused(script, content, message, few, tmp_path):
    file = tmp_path / "learnt"
    with open(file, "wb") if content is not None else contextlib.nullcontext() as opened:
        if isinstance(content, bytes):
            opened.write(content)
        elif isinstance(content, dict):
            np.savez(opened, **content)
        elif content is not None:
            np.save(opened, content)
    with pytest.raises(SystemExit, match=f"cannot load .*{message}"):
        script.main(["--load", str(file)])


def test_where_nothing_can_be_saved_is_said_before_the_training(capsys, tmp_path):
    with pytest.raises(SystemExit):
        digits.main(["--save", str(tmp_path / "no folder" / "digits.npz")])
    assert "--save: must be in a folder that exists, got" in capsys.readouterr().err


@SCRIPTS
def test_a_pipe_gets_plain_lines(script, few, capsys):
    script.main(["--epochs", "2"])
    text = capsys.readouterr().out
    assert "\r" not in text
    assert [line[:9] for line in text.splitlines()[:2]] == ["epoch 1/2", "epoch 2/2"]


@SCRIPTS
def test_a_terminal_gets_a_bar_and_an_ascii_one_only_ascii(script, few, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    script.main(["--epochs", "2"])
    text = sys.stdout.getvalue()
    bar, _, rest = text.partition("\n")
    assert text.isascii()
    assert [line[:31] for line in bar.split("\r")] == [
        "",
        "##########.......... epoch 1/2 ",
        "#################### epoch 2/2 ",
    ]
    assert "\r" not in rest


def test_digits_reports_accuracy_table_savings_and_misread_digits(few, capsys):
    digits.main(["--epochs", "1"])
    text = capsys.readouterr().out
    for part in (
        "test accuracy ",
        " of 40 digits",
        "layer                   output  parameters  multiply-adds",
        "all                                 15,168        467,200",
        "takes 7.0 times as many",
        ", read as ",
        "█",
    ):
        assert part in text


def test_digits_draws_nothing_where_all_is_read(few, monkeypatch, capsys):
    (x, labels), (test_x, _) = digits.load()
    p, moving = digits.train(x, labels, 1, np.random.default_rng(0))
    read = digits.forward(test_x, p, moving)[0].argmax(axis=1)
    monkeypatch.setattr(digits, "load", lambda: ((x, labels), (test_x, read)))
    digits.main(["--epochs", "1"])
    text = capsys.readouterr().out
    assert "test accuracy 100.0%: 40 of 40 digits" in text
    assert "misread" not in text


def test_the_autoencoder_reports_both_errors_and_two_rows_of_digits(few, capsys):
    autoencoder.main(["--epochs", "1"])
    text = capsys.readouterr().out
    errors = {line[:22].strip(): line[22:] for line in text.splitlines() if " 0." in line}
    assert {"autoencoder", "PCA", "PCA, cut off at 0, 1"} <= set(errors)
    assert 0 < float(errors["PCA, cut off at 0, 1"]) < float(errors["PCA"])
    assert len(text.partition("codes give:\n\n")[2].splitlines()) == 2 * (8 + 1)


@SCRIPTS
def test_help_names_the_options(script, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        script.main(["--help"])
    text = capsys.readouterr().out
    assert "--epochs" in text
    assert "--seed" in text
    assert f"(default: {script.EPOCHS})" in text


@SCRIPTS
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be an integer from 1 on, got '0'"),
        (["--epochs", "-1"], "argument --epochs: must be an integer from 1 on, got '-1'"),
        (["--epochs", "many"], "argument --epochs: must be an integer from 1 on, got 'many'"),
        (["--epochs", "1.5"], "argument --epochs: must be an integer from 1 on, got '1.5'"),
        (["--seed", "-1"], "argument --seed: must be an integer from 0 on, got '-1'"),
        (["--seed"], "argument --seed: expected one argument"),
        (["--rate", "1"], "unrecognized arguments: --rate 1"),
    ],
)
def test_bad_arguments_are_refused(script, arguments, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        script.main(arguments)
    assert message in capsys.readouterr().err


@SCRIPTS
@pytest.mark.parametrize("batches", [0, 1, 3])
def test_interrupted_training_goes_on_with_what_is_learnt(
    script, batches, few, monkeypatch, capsys
):
    backward, calls = script.backward, iter(range(batches))

    def interrupted(*arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return backward(*arguments)

    monkeypatch.setattr(script, "backward", interrupted)
    script.main([])
    _, _, text = capsys.readouterr().out.partition("stopped early")
    assert "test" in text
    assert "layer" in text


def test_an_interruption_elsewhere_ends_the_script_quietly(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match=r"^130$"):
        terminal.run(interrupted)
    assert capsys.readouterr() == ("", "")


@SCRIPTS
def test_a_script_runs_from_anywhere_without_utf8(script, tmp_path):
    done = subprocess.run(
        [sys.executable, script.__file__, "--epochs", "1"],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("epoch 1/1  ")
    assert done.stdout.isascii()


def started(script):
    return subprocess.Popen(
        [sys.executable, script.__file__, "--epochs", "5000"],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="a background job inherits no Ctrl-C"
)
def test_ctrl_c_ends_in_the_report():
    with started(digits) as process:
        try:
            assert process.stdout.readline().startswith("epoch    1/5000  loss")
            process.send_signal(signal.SIGINT)
            text, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")
    assert "stopped early" in text
    assert "test accuracy" in text


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_closed_pipe_ends_the_script_without_a_traceback():
    with started(autoencoder) as process:
        try:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            code = process.wait(timeout=100)
        finally:
            process.kill()
    assert (code, errors) == (1, "")
