"""Cases for kernels that do not live in Python: written to a folder, judged when results are there.

    cases.json          what was asked for, and for each case its hyperparameters, shapes and files
    0001/x.npy, …       the arrays of a case, in C order
    0001/y.npy, …       its results (y, and dx, dkernel, … from dy), written by the kernel's author

Nothing is unpickled, and no name may lead out of the folder.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from itertools import count, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array, shown
from convinsights._concepts import name_of
from convinsights.verify._asked import asked
from convinsights.verify._captured import absent, uncalled
from convinsights.verify._cases import Case
from convinsights.verify._explain import explained
from convinsights.verify._factors import MODULES
from convinsights.verify._formats import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, TFLOAT32, Format
from convinsights.verify._nonfinite import Spoilt, judged, spoilt
from convinsights.verify._plan import OTHERS, telling
from convinsights.verify._precision import Precision
from convinsights.verify._report import Report
from convinsights.verify._trials import Answer

__all__ = ["FORMATS", "judge", "write_cases"]

FORMATS = {f.name: f for f in (BFLOAT16, TFLOAT32, FLOAT8_E4M3, FLOAT8_E5M2)}
INDEX = "cases.json"
# What is said of a case there, as far as it is read again.
ENTRY = ("name", "kind", "values", "integers", "spoilt", "hyperparameters", "files", "results")


def write_cases(
    folder: str | Path,
    module: ModuleType,
    *,
    dtype: Any = np.float32,
    operands: Any = None,
    accumulate: Any = None,
    algorithm: str = "direct",
    ranks: Iterable[int] = (2,),
    supports: Collection[str] | None = None,
    cases: Sequence[Mapping[str, Any]] = (),
    thorough: bool = False,
    forms: str = "canonical",
    non_finite: bool = True,
    seed: int = 0,
) -> int:
    """Write the cases of `verify` as files, for a program in any language to read.

    Parameters
    ----------
    folder : str or Path
        Where to; it must not exist or be empty.
    module, dtype, operands, accumulate, algorithm, ranks, supports, cases, thorough, forms, …
        As in `verify`; `supports` are all hyperparameters unless given.

    Returns
    -------
    int
        How many cases there are.

    Raises
    ------
    ValueError
        If the folder is not empty, or as `verify` does.
    TypeError
        As `verify` does.

    Examples
    --------
    >>> import tempfile
    >>> from convinsights import unary, verify
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     count = verify.write_cases(folder, unary)
    ...     report = verify.judge(folder)  # no results yet
    >>> count > 100, report.cases, sum(report.declined.values()) == count
    (True, 0, True)
    """
    wanted = asked(
        module,
        absent,
        None,
        dtype=dtype,
        operands=operands,
        accumulate=accumulate,
        algorithm=algorithm,
        ranks=ranks,
        supports=supports,
        cases=cases,
        thorough=thorough,
        forms=forms,
        non_finite=non_finite,
        seed=seed,
    )
    plan, precision = replace(wanted.plan, names=wanted.by_name), wanted.plan.precision
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise ValueError(f"folder must be empty, got {root}")
    made = list(plan.cases())
    some = list(islice(telling(made), OTHERS)) if wanted.spoil else []
    others = list(spoilt(some, precision.not_finite, gradients=True))
    names = (f"{number:04}" for number in count(1))
    entries = [_written(root, next(names), case, precision, None) for case in made]
    with np.errstate(all="ignore"):  # of what is not finite
        entries += [_written(root, next(names), one.case, precision, one.name) for one in others]
    claimed = {"dtype": dtype, "operands": operands, "accumulate": accumulate}
    index = {
        "module": name_of(module),
        **{name: _spelled(kind) for name, kind in claimed.items()},
        "algorithm": algorithm,
        "cases": entries,
    }
    (root / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return len(entries)


def judge(folder: str | Path) -> Report:
    """Read the results that stand beside the cases of a folder, and report as `verify` does.

    Cases without a y are declined; gradients are judged where they are there.

    Parameters
    ----------
    folder : str or Path
        What `write_cases` wrote.

    Returns
    -------
    Report
        Without what only calls can tell: whether the same call gives the same result again.

    Raises
    ------
    ValueError
        If cases.json is not what `write_cases` wrote, or names a file outside the folder.
    FileNotFoundError
        If it is not there.
    """
    root = Path(folder)
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
        module = {name_of(m): m for m in MODULES}[index["module"]]
        algorithm = index["algorithm"]
        dtype, *kinds = (_kind(index[name]) for name in ("dtype", "operands", "accumulate"))
        precision = Precision.of(module, dtype, kinds[0], kinds[1], algorithm)
        entries = [_checked(entry) for entry in index["cases"]]
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{INDEX} must be as write_cases wrote it: {error!r}") from error
    candidates = [uncalled(module, precision, gradients) for gradients in (False, True)]
    trials = []
    for entry in entries:
        case = _read_case(root, module, entry)
        answer = _read_answer(root, module, entry)
        if entry["spoilt"] is not None:
            with np.errstate(all="ignore"):
                trials.append(judged(Spoilt(case, entry["spoilt"]), answer, algorithm == "direct"))
            continue
        both = bool(answer.results.keys() - {"y"} or "backward" in answer.error)
        trials.append(candidates[both].judged(case, answer))
    gradients = any(trial.got.keys() - {"y"} for trial in trials)
    return explained(candidates[gradients], None, trials, None)


def _written(
    root: Path, name: str, case: Case, precision: Precision, spoilt_array: str | None
) -> dict[str, Any]:
    (root / name).mkdir()
    files: dict[str, str | None] = {}
    shapes, dtypes = {}, {}
    for argument, array in _flat(case).items():
        if array is None:
            files[argument] = None
            continue
        stored = np.ascontiguousarray(precision.stored.rounded(array))
        file = files[argument] = f"{name}/{argument}.npy"
        shapes[argument], dtypes[argument] = stored.shape, str(stored.dtype)
        np.save(root / file, stored, allow_pickle=False)
    given = zip(case.names, case.arrays, strict=True)
    results = ["y", *(f"d{n}" for n, a in given if a is not None and n != "statistics")]
    return {
        "name": name,
        "kind": case.kind,
        "values": case.values,
        "integers": case.integers,
        "spoilt": spoilt_array,
        "hyperparameters": case.settings,
        "files": files,
        "shapes": shapes,
        "dtypes": dtypes,
        "results": {result: f"{name}/{result}.npy" for result in results},
    }


def _flat(case: Case) -> dict[str, Any]:
    # Statistics are two arrays.
    flat: dict[str, Any] = {}
    for name, array in case.given.items():
        if name == "statistics":
            mean, variance = (None, None) if array is None else array
            flat |= {"mean": mean, "variance": variance}
        else:
            flat[name] = array
    return flat


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    checked = {key: entry[key] for key in ENTRY}
    for name, file in [*checked["files"].items(), *checked["results"].items()]:
        if file is not None and not isinstance(file, str):
            raise TypeError(f"the file of {name} must be a string, got {shown(file)}")
    settings = checked["hyperparameters"].items()
    return checked | {"hyperparameters": {name: _tuples(value) for name, value in settings}}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _read_case(root: Path, module: ModuleType, entry: dict[str, Any]) -> Case:
    arrays: dict[str, Any] = {
        name: None if file is None else _load(root, file).astype(np.float64)
        for name, file in entry["files"].items()
    }
    if "mean" in arrays:
        mean, variance = arrays.pop("mean"), arrays.pop("variance")
        arrays["statistics"] = None if mean is None else batchnorm.Statistics(mean, variance)
    names = module.Gradients._fields
    if not arrays.keys() >= {*names, "dy"}:
        raise ValueError(f"{INDEX} must name files of {', '.join(names)} and dy in {entry['name']}")
    return Case(
        module,
        tuple(arrays[name] for name in names),
        entry["hyperparameters"],
        arrays["dy"],
        entry["kind"],
        bool(entry["integers"]),
        values=str(entry["values"]),
    )


def _read_answer(root: Path, module: ModuleType, entry: dict[str, Any]) -> Answer:
    answer = Answer({})
    for name, file in entry["results"].items():
        if not _inside(root, file).exists():
            continue
        try:
            answer.keep({name: _load(root, file)})
        except (ValueError, OSError, EOFError) as error:
            function = "forward" if name == "y" else "backward"
            answer.error[function] = f"{name}: {file} cannot be read: {error}"
    if "y" not in answer.results and "forward" not in answer.error:
        answer.declined = "forward"
    return answer


def _inside(root: Path, file: str) -> Path:
    path = (root / file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{INDEX} must name files in its folder, got {file!r}")
    return path


def _load(root: Path, file: str) -> Array:
    # By a map, so that a header cannot ask for more than the file has.
    array: Array = np.load(_inside(root, file), mmap_mode="r", allow_pickle=False)
    return np.array(array)


def _spelled(kind: Any) -> Any:
    if isinstance(kind, Format):
        return astuple(kind)
    return None if kind is None else np.dtype(kind).name


def _kind(spelled: Any) -> Any:
    if isinstance(spelled, list):
        return Format(*spelled)
    return None if spelled is None else np.dtype(spelled)
