"""Cases in files: written, answered by a program that knows nothing of the library, judged."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from itertools import chain, pairwise

import numpy as np
import pytest
from helpers import thinned

from convinsights import batchnorm, conv, depthwise_separable, normalization, transposed, unary
from convinsights.verify import BFLOAT16, TFLOAT32, Format, judge, write_cases
from convinsights.verify.__main__ import main

pytestmark = pytest.mark.usefixtures("fewest_cases")

# A 1×1 convolution in a program of its own: it reads cases.json, and writes y.npy and gradients.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np

for root, wrong in zip(map(Path, sys.argv[1::2]), sys.argv[2::2]):
    for case in json.loads((root / "cases.json").read_text())["cases"]:
        files = {n: f and np.load(root / f) for n, f in case["files"].items()}
        x, kernel, bias, dy = (files[n] for n in ("x", "kernel", "bias", "dy"))
        down, right = case["hyperparameters"]["strides"]
        read = x[:, ::down, ::right].astype(float)
        weights = kernel.reshape(kernel.shape[-2:]).astype(float)
        with np.errstate(all="ignore"):
            y = read @ weights
            if bias is not None and wrong != "forward":
                y = y + bias
            dx = np.zeros(x.shape)
            dx[:, ::down, ::right] = dy @ weights.T
            if wrong == "backward":
                dx = dx[:, ::-1]
            dkernel = np.einsum("nhwc,nhwo->co", read, dy.astype(float)).reshape(kernel.shape)
            made = {"y": y, "dx": dx, "dkernel": dkernel, "dbias": dy.astype(float).sum((0, 1, 2))}
            for name, file in case["results"].items():
                if name == "y" or wrong != "no gradients":
                    np.save(root / file, made[name].astype(np.float32))
"""


# What the program gets wrong.
FAULTS = ("nothing", "forward", "backward", "no gradients")


def right(folder, module, change=lambda results: results):
    """Answer every case by the library, the results changed before they are written."""
    index = json.loads((folder / "cases.json").read_text())
    for case in index["cases"]:
        given = {n: f and np.load(folder / f) for n, f in case["files"].items()}
        dtype = given["x"].dtype
        arrays = {n: a if a is None else a.astype(float) for n, a in given.items()}
        dy = arrays.pop("dy")
        if "mean" in arrays:
            mean, variance = arrays.pop("mean"), arrays.pop("variance")
            arrays["statistics"] = mean if mean is None else batchnorm.Statistics(mean, variance)
        with np.errstate(all="ignore"):
            y, cache = module.forward(*arrays.values(), **case["hyperparameters"])
            gradients = module.backward(dy, cache)._asdict()
        results = {"y": y} | {
            f"d{n}": g for n, g in gradients.items() if f"d{n}" in case["results"]
        }
        for name, array in change(results).items():
            result = np.int32 if dtype.kind in "iu" else dtype
            with np.errstate(all="ignore"):
                np.save(folder / case["results"][name], array.astype(result))
    return judge(folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where cases of a 1×1 convolution are kept, and what the program made of copies of them."""
    return tmp_path_factory.mktemp("kept")


def copied(kept, folder, **options):
    if not (kept / "cases").exists():
        write_cases(kept / "cases", unary)
    return shutil.copytree(kept / "cases", folder, **options)


@pytest.fixture
def folder(tmp_path, kept):
    """The cases of a 1×1 convolution, without results."""
    return copied(kept, tmp_path / "cases")


@pytest.fixture
def two(tmp_path, kept):
    """The first two of them, for what is refused before any is judged."""

    def others(_, names):
        return [name for name in names if name.isdigit() and name > "0002"]

    folder = copied(kept, tmp_path / "cases", ignore=others)
    return rewritten(folder, lambda index: index.update(cases=index["cases"][:2]))


@pytest.fixture
def answered(folder, kept):
    """Puts the program's results into that folder; the program runs once for all tests."""
    if not (kept / "nothing").exists():
        words = [(str(shutil.copytree(folder, kept / fault)), fault) for fault in FAULTS]
        subprocess.run([sys.executable, "-c", PROGRAM, *chain(*words)], check=True)

    cases = shutil.ignore_patterns("cases.json", "x.npy", "kernel.npy", "bias.npy", "dy.npy")

    def answer(wrong="nothing"):
        shutil.copytree(kept / wrong, folder, dirs_exist_ok=True, ignore=cases)

    return answer


def rewritten(folder, change):
    """cases.json with something changed in it."""
    path = folder / "cases.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    return folder


# ---- a program in place of the one in C


def test_a_right_kernel_passes(folder, answered):
    answered()
    report = judge(folder)
    assert report.passed, str(report)
    assert not report.declined
    assert report.cases == len(json.loads((folder / "cases.json").read_text())["cases"])
    assert report.power > 0.9


def test_a_kernel_without_gradients_passes(folder, answered):
    answered("no gradients")
    report = judge(folder)
    assert report.passed
    assert not report.declined


def test_a_wrong_kernel_is_told_its_slip(folder, answered):
    answered("forward")
    report = judge(folder)
    assert not report.passed
    assert report.diagnosis == "bias_ignored"
    assert report.when == "bias given"
    assert {failure.result for failure in report.failures} == {"y"}


def test_a_wrong_gradient_fails(folder, answered):
    answered("backward")
    report = judge(folder)
    assert {failure.result for failure in report.failures} == {"dx"}
    assert not report.passed


def test_what_is_missing_is_declined(folder, answered):
    report = judge(folder)
    count = len(json.loads((folder / "cases.json").read_text())["cases"])
    assert (report.cases, sum(report.declined.values())) == (0, count)
    assert not report.passed
    answered()
    (folder / "0001" / "y.npy").unlink()
    report = judge(folder)
    assert report.passed
    assert (report.cases, sum(report.declined.values())) == (count - 1, 1)


# ---- what else may stand there


def put(path, array, **options):
    np.save(path, array, **options)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


class Harm:
    """An object that, unpickled, leaves a file."""

    def __reduce__(self):
        return open, ("harmed", "w")


UNREADABLE = [
    (lambda path: put(path, np.array([Harm()]), allow_pickle=True), "y: 0001/y.npy cannot be read"),
    (truncated, "y: 0001/y.npy cannot be read"),
    (lambda path: path.write_bytes(b""), "y: 0001/y.npy cannot be read"),
    (lambda path: path.write_bytes(b"no array"), "y: 0001/y.npy cannot be read"),
    (lambda path: path.write_bytes(header("(1000000000000,)")), "y: 0001/y.npy cannot be read"),
    (lambda path: path.write_bytes(header("(10000000000000000000000,)")), "cannot be read"),
    (lambda path: path.write_bytes(header("((1, 2)")), "y: 0001/y.npy cannot be read"),
    (lambda path: path.write_bytes(header("(1,)", descr="(2,")), "y: 0001/y.npy cannot be read"),
    (lambda path: (path.unlink(), path.mkdir()), "y: 0001/y.npy cannot be read"),
    (lambda path: put(path, np.ones(3, np.float32)), "y: got shape (3,), expected"),
    (lambda path: put(path, np.array(["word"])), "y: got ndarray of <U4, expected an array"),
    (lambda path: put(path, np.load(path) * np.float32("nan")), "got nan"),
    (lambda path: put(path, np.load(path).astype(float)), "y: got dtype float64, expected float32"),
]


def header(shape, descr="<f4"):
    """A header, of more than there is or none at all, and nothing behind it."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("spoil", "message"), thinned(UNREADABLE, map(str, range(99)), range(0, 99, 3))
)
def test_a_result_that_is_no_array_of_the_right_kind_fails_alone(
    folder, answered, tmp_path, monkeypatch, spoil, message
):
    monkeypatch.chdir(tmp_path)
    answered()
    spoil(folder / "0001" / "y.npy")
    report = judge(folder)
    assert [message in failure.message for failure in report.failures] == [True]
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("text", ["(1000000000000,)", "((1, 2)"])
def test_a_case_that_cannot_be_read_is_refused(two, text):
    (two / "0001" / "x.npy").write_bytes(header(text))
    with pytest.raises(ValueError, match=r"0001/x\.npy cannot be read"):
        judge(two)


def test_a_gradient_that_cannot_be_read_fails(folder, answered):
    answered()
    truncated(folder / "0002" / "dx.npy")
    (failure,) = judge(folder).failures
    assert "dx: 0002/dx.npy cannot be read" in failure.message


def test_results_in_fortran_order_are_as_good(folder, answered):
    answered()
    for path in folder.glob("*/y.npy"):
        put(path, np.asfortranarray(np.load(path)))
    assert judge(folder).passed


def outside(file):
    return lambda folder: rewritten(folder, lambda i: i["cases"][0]["results"].update(y=file))


def linked(folder):
    (folder.parent / "elsewhere.npy").write_bytes(b"")
    os.symlink(folder.parent / "elsewhere.npy", folder / "0001" / "y.npy")


OUTSIDE = [
    outside("../elsewhere.npy"),
    outside("0001/../../elsewhere.npy"),
    outside("/etc/passwd"),
    linked,
    lambda folder: rewritten(folder, lambda i: i["cases"][0]["files"].update(x="../x.npy")),
]


@pytest.mark.parametrize("lead", OUTSIDE, ids=range(len(OUTSIDE)))
def test_names_that_leave_the_folder_are_refused(two, lead):
    lead(two)
    with pytest.raises(ValueError, match="must name files in its folder, got"):
        judge(two)


def removed(*names):
    def change(index):
        for name in names[:-1]:
            index = index[name]
        del index[names[-1]]

    return change


BAD = [
    removed("module"),
    removed("algorithm"),
    removed("cases"),
    removed("cases", 0, "files"),
    removed("cases", 0, "files", "kernel"),
    lambda index: index.update(module="pooling"),
    lambda index: index.update(module=3),
    lambda index: index.update(dtype="float33"),
    lambda index: index.update(dtype=["bfloat16", 8]),
    lambda index: index.update(operands="(2,"),
    lambda index: index.update(algorithm="by hand"),
    lambda index: index["cases"][0]["results"].update(y=7),
    lambda index: index["cases"].append("case"),
    lambda index: index["cases"][0].update(files=["x.npy"]),
    lambda index: index["cases"][0].update(hyperparameters=[]),
    lambda index: index["cases"][0].update(kind=None),
    lambda index: index["cases"][0]["results"].update(dx=None),
    lambda index: index["cases"][0]["files"].update(dy=None),
]


@pytest.mark.parametrize("change", BAD, ids=range(len(BAD)))
def test_another_index_is_refused(two, change):
    rewritten(two, change)
    with pytest.raises(ValueError, match="must"):
        judge(two)


REFUSED = [
    lambda case: case["hyperparameters"].update(odd=1),
    lambda case: case["hyperparameters"].clear(),
    lambda case: case["files"].update(x=None),
    lambda case: case.update(spoilt="mean"),
]


@pytest.mark.parametrize("change", REFUSED, ids=range(len(REFUSED)))
def test_a_case_that_is_no_call_is_refused_by_its_name(folder, answered, change):
    answered()
    rewritten(folder, lambda index: change(index["cases"][1]))
    with pytest.raises(ValueError, match=r"cases\.json must be .*, but 0002 is not: .*Error"):
        judge(folder)


def test_a_case_whose_arrays_are_gone_is_not_there(two):
    (two / "0001" / "x.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.npy"):
        judge(two)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe"], ids=len)
def test_what_is_no_index_is_refused(two, text):
    (two / "cases.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"cases\.json must be as write_cases wrote it"):
        judge(two)


def test_a_folder_is_named_by_a_path():
    for call in (judge, lambda folder: write_cases(folder, unary)):
        with pytest.raises(TypeError, match="folder must be a str or Path, got 5"):
            call(5)


def test_hyperparameters_of_ones_own_may_be_numpys(tmp_path):
    mine = {"x_shape": (2, 5, 4), "groups": np.int64(2), "epsilon": np.float32(0.5)}
    count = write_cases(tmp_path, normalization, cases=[mine])
    assert sum(judge(tmp_path).declined.values()) == count
    entry = json.loads((tmp_path / "cases.json").read_text())["cases"][0]
    assert entry["hyperparameters"] == {"groups": 2, "epsilon": 0.5}


def test_a_folder_without_an_index_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        judge(tmp_path)


def test_only_an_empty_folder_is_written_to(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ValueError, match="folder must be empty"):
        write_cases(tmp_path, unary)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# ---- numbers that are not finite


def spoilt(folder):
    index = json.loads((folder / "cases.json").read_text())
    return {case["spoilt"]: case for case in index["cases"] if case["spoilt"]}


def test_numbers_that_are_not_finite_are_tried(folder, answered):
    assert spoilt(folder).keys() == {"x", "kernel", "bias", "dy"}
    answered()
    for case in spoilt(folder).values():
        for name, file in case["results"].items():
            if name != "dbias":
                put(folder / file, np.nan_to_num(np.load(folder / file)))
    report = judge(folder)
    assert report.diagnosis == "non_finite_swallowed"


def test_they_are_read_with_care_too(folder, answered):
    answered()
    truncated(folder / spoilt(folder)["x"]["results"]["y"])
    (failure,) = judge(folder).failures
    assert "cannot be read" in failure.message


def test_unless_they_are_not_wanted(tmp_path):
    write_cases(tmp_path, unary, non_finite=False)
    assert not spoilt(tmp_path)


# ---- what is written


def test_cases_are_the_same_every_time_and_others_with_another_seed(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    counts = [write_cases(f, unary, seed=s) for f, s in zip(folders, (0, 0, 1), strict=True)]
    assert len(set(counts)) == 1
    arrays = [[np.load(p) for p in sorted(f.glob("*/x.npy"))] for f in folders]
    same = [
        all(map(np.array_equal, one, other, [True] * len(one))) for one, other in pairwise(arrays)
    ]
    assert same == [True, False]


def test_shapes_and_dtypes_are_said(folder):
    for case in json.loads((folder / "cases.json").read_text())["cases"]:
        for name, file in case["files"].items():
            if file is not None:
                array = np.load(folder / file)
                assert list(array.shape) == case["shapes"][name]
                assert str(array.dtype) == case["dtypes"][name] == "float32"
                assert array.flags.c_contiguous


MODULES = [conv, transposed, depthwise_separable, batchnorm, normalization]


@pytest.mark.parametrize("module", thinned([(m,) for m in MODULES], map(str, range(9)), {1, 3}))
def test_every_module_comes_back_as_it_went(tmp_path, module):
    write_cases(tmp_path, module, ranks=(1,))
    report = right(tmp_path, module)
    assert report.passed, str(report)
    assert all("(vain)" in kind for kind in report.declined)


KINDS = [
    {"dtype": np.int8},
    {"dtype": "uint8"},
    {"dtype": BFLOAT16},
    {"dtype": Format("mine", 6, -10, 63 * 2.0**10)},
    {"dtype": np.float16, "accumulate": np.float32},
    {"dtype": np.float32, "operands": TFLOAT32},
    {"dtype": np.float32, "algorithm": "fft"},
]


@pytest.mark.parametrize("kinds", thinned([(k,) for k in KINDS], map(str, range(99)), {3, 5}))
def test_precisions_come_back_as_they_went(tmp_path, kinds):
    write_cases(tmp_path, unary, ranks=(1,), **kinds)

    def change(results):
        if isinstance(kinds["dtype"], Format):
            with np.errstate(all="ignore"):
                return {n: kinds["dtype"].round(a) for n, a in results.items()}
        return results

    report = right(tmp_path, unary, change)
    assert report.passed, str(report)
    dropped = right(tmp_path, unary, lambda r: {"y": np.zeros_like(change(r)["y"])})
    assert not dropped.passed


# ---- the command line


def test_the_commands(folder, answered, capsys):
    shutil.rmtree(folder)
    assert main(["write", str(folder), "unary", "--rank", "2", "--supports", "strides"]) == 0
    count = len(json.loads((folder / "cases.json").read_text())["cases"])
    assert capsys.readouterr().out == f"{count} cases\n"
    assert main(["judge", str(folder)]) == 1
    assert "nothing was verified" in capsys.readouterr().out
    answered()
    assert main(["judge", str(folder)]) == 0
    assert f"passed all {count} cases" in capsys.readouterr().out
    answered("forward")
    assert main(["judge", str(folder)]) == 1
    assert "diagnosis: bias_ignored" in capsys.readouterr().out


def test_formats_are_called_by_their_names(tmp_path):
    words = ["--dtype", "bfloat16", "--accumulate", "float32", "--rank", "1", "--rank", "2"]
    assert main(["write", str(tmp_path), "unary", *words]) == 0
    index = json.loads((tmp_path / "cases.json").read_text())
    assert index["dtype"][0] == "bfloat16"
    assert index["accumulate"] == "float32"
    assert {case["kind"][:3] for case in index["cases"]} == {"1-D", "2-D"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge", "nowhere"], "nowhere"),
        (["write", "cases", "unary", "--dtype", "float33"], "float33"),
        (["write", "cases", "unary", "--rank", "4"], "ranks must be from 1 to 3, got 4"),
        (["write", "cases", "unary", "--supports", "taps"], "supports must name hyperparameters"),
    ],
)
def test_bad_input_is_said_in_a_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["judges", "folder"])
    assert refused.value.code == 2
    assert "usage: python -m convinsights.verify" in capsys.readouterr().err


def test_it_runs_as_a_program(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["verify", "judge", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(sys.modules[main.__module__].__file__, run_name="__main__")
    assert ended.value.code == 2
    assert "cases.json" in capsys.readouterr().err
