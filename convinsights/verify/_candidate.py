"""Put one case before an implementation, and look at everything that comes back.

Whatever it does is a finding, never a crash: exceptions, things that are no arrays, wrong shapes,
wrong dtypes, NaN, changed arguments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights._concepts import name_of
from convinsights.verify._bounds import Precision, allowances
from convinsights.verify._cases import Case, Outcome, arranged

__all__ = ["Candidate", "Failure", "Trial"]


@dataclass(frozen=True)
class Failure:
    """One wrong result.

    `call` is the case as a call, `result` what of it is wrong (y, dx, …), `index` the worst element
    with what was `got`, `expected` and `allowed` as difference (None where no values can be
    compared), `message` all of that in words, `diagnosis` the slip that explains it, or None.
    """

    kind: str
    call: str
    result: str
    message: str
    size: int
    index: tuple[int, ...] | None = None
    got: float | None = None
    expected: float | None = None
    allowed: float | None = None
    diagnosis: str | None = None


@dataclass
class Trial:
    """A case as it went.

    `got` holds what came (None for what is no array of numbers), `wrong` the results with wrong
    values, `declined` what was not implemented, `worst` the largest error in units of the allowed.
    """

    case: Case
    allowed: Outcome = field(default_factory=dict)
    got: dict[str, Array | None] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    declined: str | None = None
    worst: float = 0.0

    def right(self, name: str) -> bool:
        """Tell whether a result came, and with the right values."""
        return name in self.got and name not in self.wrong

    def fail(self, result: str, message: str, *, values: bool = True, **fields: Any) -> None:
        """Note a failure, one of values unless the diagnosis is known."""
        if values:
            self.wrong.add(result)
            if "index" not in fields:  # nothing to compare
                self.worst = np.inf
        case = self.case
        self.failures.append(Failure(case.kind, str(case), result, message, case.size, **fields))


@dataclass(frozen=True)
class Candidate:
    """An implementation, the precision it claims, and which hyperparameters it is passed.

    Those are the ones that are `varied`, and those that the function's signature has `named`.
    """

    module: ModuleType
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    precision: Precision
    varied: frozenset[str]
    named: dict[str, frozenset[str]]

    @property
    def title(self) -> str:
        """What is verified, for headings."""
        stored, summed = self.precision.stored.name, self.precision.summed.name
        sums = "" if stored == summed else f" summed in {summed}"
        return f"{name_of(self.module)} in {stored}{sums}"

    def examine(self, case: Case) -> Trial:
        """Call the candidate, forward and backward, and compare with the truth."""
        trial = Trial(case)
        y = self._call(trial, "forward", self.forward, case.arrays)
        if trial.declined:
            return trial
        trial.allowed = allowances(case, self.precision, self.backward is not None)
        if "y" not in trial.got:
            self._compare(trial, "y", y)
        if self.backward is not None:
            gradients = self._call(trial, "backward", self.backward, (case.dy, *case.arrays))
            names = [name for name in case.names if name != "statistics"]
            if trial.declined or "dx" in trial.got:
                return trial
            if not isinstance(gradients, (tuple, list)) or len(gradients) != len(names):
                trial.got["dx"] = None
                expected = f"{len(names)} gradients ({', '.join(f'd{name}' for name in names)})"
                trial.fail("dx", f"backward returned {_described(gradients)}, expected {expected}")
                return trial
            for name, gradient in zip(names, gradients, strict=True):
                if f"d{name}" in case.truth:
                    self._compare(trial, f"d{name}", gradient)
        return trial

    def _call(
        self, trial: Trial, name: str, function: Callable[..., Any], arrays: Sequence[Any]
    ) -> Any:
        case = trial.case
        handed = [self._handed(a, case.layout) for a in arrays]
        passed = self.varied | self.named[name]
        settings = {k: v for k, v in case.settings.items() if k in passed}
        result = "y" if name == "forward" else "dx"
        try:
            returned = function(*handed, **settings)
        except NotImplementedError:
            trial.declined = name
            return None
        except Exception as error:
            trial.got[result] = None
            trial.fail(
                result, f"{name} raised {type(error).__name__}: {' '.join(str(error).split())}"
            )
            return None
        names = case.names if name == "forward" else ("dy", *case.names)
        for argument, before, after in zip(names, arrays, handed, strict=True):
            if before is not None and not np.array_equal(before, after):
                message = f"{name} modified its argument {argument}"
                trial.fail(argument, message, values=False, diagnosis="argument_modified")
        return returned

    def _handed(self, array: Any, layout: str) -> Any:
        # A copy of its own, in the dtype to verify.
        if array is None:
            return None
        if isinstance(array, tuple):
            return type(array)(*(self._handed(a, layout) for a in array))
        return arranged(self.precision.stored.rounded(array), layout)

    def _compare(self, trial: Trial, name: str, value: Any) -> None:
        expected, allowed = trial.case.truth[name], trial.allowed[name]
        trial.got[name] = None
        array = _as_numbers(value)
        if array is None:
            trial.fail(name, f"{name}: got {_described(value)}, expected an array {expected.shape}")
            return
        got = array.astype(np.float64)
        trial.got[name] = got
        if got.shape != expected.shape:
            trial.fail(name, f"{name}: got shape {got.shape}, expected {expected.shape}")
            return
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            error = np.abs(got - expected)
            ratio = np.where(error == 0, 0, error / allowed)
        ratio[~np.isfinite(got)] = np.inf
        worst = float(ratio.max(initial=0))
        trial.worst = max(trial.worst, worst)
        if worst > 1:
            index = tuple(int(i) for i in np.unravel_index(ratio.argmax(), ratio.shape))
            count = int((ratio > 1).sum())
            trial.fail(
                name,
                f"{name}{list(index)}: got {got[index]:.9g}, expected {expected[index]:.9g}, "
                f"allowed {allowed[index]:.2g} ({count} of {got.size} elements wrong)",
                index=index,
                got=float(got[index]),
                expected=float(expected[index]),
                allowed=float(allowed[index]),
            )
        elif array.dtype.type is not self.precision.result.carrier.type:
            message = f"{name}: got dtype {array.dtype}, expected {self.precision.result.carrier}"
            trial.fail(name, message, values=False, diagnosis="dtype_changed")


def _as_numbers(value: Any) -> Array | None:
    # Arrays of other libraries count if they convert themselves.
    if not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except Exception:
        return None
    return array if array.dtype.kind in "biuf" else None


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"{type(value).__name__}{dtype}"
