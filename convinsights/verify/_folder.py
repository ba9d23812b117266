"""Cases for kernels that do not live in Python: written to a folder, judged when results are there.

    cases.json          what was asked for, and for each case its hyperparameters, shapes and files
    0001/x.npy, …       the arrays of a case, in C order
    0001/y.npy, …       its results (y, and dx, dkernel, … from dy), written by the kernel's author

Nothing is unpickled, and no name may lead out of the folder.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from itertools import count
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import shown
from convinsights._concepts import name_of
from convinsights.verify._asked import asked
from convinsights.verify._calls import NAMED
from convinsights.verify._candidate import Candidate
from convinsights.verify._captured import absent, uncalled
from convinsights.verify._explain import explained
from convinsights.verify._files import (
    INDEX,
    checked_entry,
    read_answer,
    read_case,
    write_case,
)
from convinsights.verify._formats import BFLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, TFLOAT32, Format
from convinsights.verify._kept import Kept
from convinsights.verify._nonfinite import Spoilt, judged_finite, spoil
from convinsights.verify._plan import special_cases
from convinsights.verify._precision import Precision
from convinsights.verify._report import Report
from convinsights.verify._trials import Trial

__all__ = ["FORMATS", "judge", "write_cases"]

FORMATS = {f.name: f for f in (BFLOAT16, TFLOAT32, FLOAT8_E4M3, FLOAT8_E5M2)}


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
        Where to; a folder that is empty, or does not exist yet.
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
    # Nothing tells whether names are taken: only where asked for.
    plan, precision = replace(wanted.plan, names=wanted.takes_names), wanted.plan.precision
    root = _as_path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise ValueError(f"folder must be empty, got {root}")
    names = (f"{number:04}" for number in count(1))
    entries, made = [], []
    for case in plan.cases():
        entries.append(write_case(root, next(names), case, precision.stored))
        made.append(case.outline())
    some = special_cases(made) if wanted.spoil else []
    others = list(spoil(some, precision.not_finite, gradients=True))
    with np.errstate(all="ignore"):  # of what is not finite
        entries += [
            write_case(root, next(names), one.case, precision.stored, one.name) for one in others
        ]
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
        Without what only calls can tell: whether the same call gives the same result again. The
        arrays of its failures are read from the folder when they are asked for.

    Raises
    ------
    ValueError
        If cases.json is not what `write_cases` wrote, or names a file outside the folder.
    FileNotFoundError
        If it, or an array that it names, is not there.
    """
    root = _as_path(folder)
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
        module = NAMED[index["module"]]
        names = "dtype", "operands", "accumulate"
        dtype, operands, accumulate = (_kind(index[name]) for name in names)
        precision = Precision.of(module, dtype, operands, accumulate, index["algorithm"])
        entries = [checked_entry(entry) for entry in index["cases"]]
    except (
        KeyError,
        RecursionError,
        TypeError,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"{INDEX} must be as write_cases wrote it: {error!r}") from error
    candidates = [uncalled(module, precision, gradients) for gradients in (False, True)]
    trials, kept = [], Kept()
    for entry in entries:
        try:
            trial = _judged(root, entry, candidates)
        except (KeyError, TypeError) as error:  # of a call that the library refuses
            raise ValueError(
                f"{INDEX} must be as write_cases wrote it, but {entry['name']} is not: {error!r}"
            ) from error
        trials.append(trial)
        if entry["spoilt"] is None:
            kept.add(trial)  # lets the numbers of large trials go
    gradients = any(trial.got.keys() - {"y"} for trial in trials)
    return explained(candidates[gradients], None, trials, None)


def _judged(root: Path, entry: dict[str, Any], candidates: Sequence[Candidate]) -> Trial:
    read = partial(read_case, root, candidates[0].module, entry)
    case, answer = read(), read_answer(root, entry)
    if entry["spoilt"] is not None:
        local = candidates[0].precision.algorithm == "direct"
        with np.errstate(all="ignore"):
            return judged_finite(Spoilt(case, entry["spoilt"]), answer, local)
    # By the candidate without gradients or by the one with them
    both = bool(answer.results.keys() - {"y"} or "backward" in answer.error)
    return candidates[both].judged(case.drawn_by(read), answer)


def _as_path(folder: object) -> Path:
    if not isinstance(folder, (str, PathLike)):
        raise TypeError(f"folder must be a str or Path, got {shown(folder)}")
    return Path(folder)


def _spelled(kind: Any) -> Any:
    if isinstance(kind, Format):
        return astuple(kind)
    return None if kind is None else np.dtype(kind).name


def _kind(spelled: Any) -> Any:
    return Format(*spelled) if isinstance(spelled, list) else spelled
