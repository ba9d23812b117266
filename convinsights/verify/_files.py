"""One case in files: its arrays, what is said of it in cases.json, and its results."""

from pathlib import Path
from tokenize import TokenError
from types import ModuleType, NoneType
from typing import Any

import numpy as np

from convinsights import batchnorm
from convinsights._arguments import Array, shown
from convinsights.verify._cases import Case
from convinsights.verify._formats import Numbers
from convinsights.verify._trials import Answer

__all__ = ["INDEX", "checked_entry", "read_answer", "read_case", "write_case"]

INDEX = "cases.json"
# What is said of a case there, as far as it is read again.
ENTRY: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "values": str,
    "integers": bool,
    "spoilt": (str, NoneType),
    "hyperparameters": dict,
    "files": dict,
    "results": dict,
}


def write_case(
    root: Path, name: str, case: Case, stored: Numbers, not_finite: str | None = None
) -> dict[str, Any]:
    """Write the arrays of a case, and return its entry; `not_finite` is not finite among them."""
    (root / name).mkdir()
    files: dict[str, str | None] = {}
    shapes, dtypes = {}, {}
    for argument, array in _flat(case).items():
        if array is None:
            files[argument] = None
            continue
        held = np.ascontiguousarray(stored.rounded(array))
        file = files[argument] = f"{name}/{argument}.npy"
        shapes[argument], dtypes[argument] = held.shape, str(held.dtype)
        np.save(root / file, held, allow_pickle=False)
    given = zip(case.names, case.arrays, strict=True)
    results = ["y", *(f"d{n}" for n, a in given if a is not None and n != "statistics")]
    return {
        "name": name,
        "kind": case.kind,
        "values": case.values,
        "integers": case.integers,
        "spoilt": not_finite,
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


def checked_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what is read of an entry; KeyError or TypeError if it is none."""
    checked = {key: entry[key] for key in ENTRY}
    for key, kind in ENTRY.items():
        if not isinstance(checked[key], kind):
            raise TypeError(f"{key} must be as it was written, got {shown(checked[key])}")
    given = [pair for pair in checked["files"].items() if pair[1] is not None]
    for name, file in (*given, *checked["results"].items()):
        if not isinstance(file, str):
            raise TypeError(f"the file of {name} must be a string, got {shown(file)}")
    settings = checked["hyperparameters"].items()
    return checked | {"hyperparameters": {name: _tuples(value) for name, value in settings}}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def read_case(root: Path, module: ModuleType, entry: dict[str, Any]) -> Case:
    """Read the arrays of a case."""
    arrays: dict[str, Any] = {
        name: None if file is None else _load(root, file).astype(np.float64)
        for name, file in entry["files"].items()
    }
    if "mean" in arrays:
        mean, variance = arrays.pop("mean"), arrays.pop("variance")
        arrays["statistics"] = None if mean is None else batchnorm.Statistics(mean, variance)
    names = module.Gradients._fields
    if not arrays.keys() >= {*names, "dy"} or arrays["dy"] is None:
        raise ValueError(f"{INDEX} must name files of {', '.join(names)} and dy in {entry['name']}")
    return Case(
        module,
        tuple(arrays[name] for name in names),
        entry["hyperparameters"],
        arrays["dy"],
        entry["kind"],
        entry["integers"],
        values=entry["values"],
    )


def read_answer(root: Path, entry: dict[str, Any]) -> Answer:
    """Read what results there are of a case."""
    answer = Answer({})
    for name, file in entry["results"].items():
        if not _inside(root, file).exists():
            continue
        try:
            answer.keep({name: _load(root, file)})
        except ValueError as error:
            answer.error["forward" if name == "y" else "backward"] = f"{name}: {error}"
    if "y" not in answer.results and "forward" not in answer.error:
        answer.declined = "forward"
    return answer


def _inside(root: Path, file: str) -> Path:
    path = (root / file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{INDEX} must name files in its folder, got {file!r}")
    return path


def _load(root: Path, file: str) -> Array:
    path = _inside(root, file)
    try:
        # By a map, so that a header cannot ask for more than the file has.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise
    except (EOFError, OSError, OverflowError, SyntaxError, TokenError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
