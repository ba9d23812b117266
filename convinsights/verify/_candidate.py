"""Put one case before an implementation, and look at everything that comes back.

Whatever it does is a finding, never a crash: exceptions, things that are no arrays, wrong shapes,
wrong dtypes, NaN, changed arguments.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights._concepts import name_of
from convinsights.verify._bounds import allowances
from convinsights.verify._cases import Case
from convinsights.verify._power import says_something, seen
from convinsights.verify._precision import Precision
from convinsights.verify._trials import FIRST_RESULT, Answer, Marks, Trial, as_real_array
from convinsights.verify._values import arranged

__all__ = ["Candidate", "same_bits"]


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
        return f"{name_of(self.module)} in {self.precision}"

    @property
    def gradients(self) -> tuple[str, ...]:
        """The names of the gradients that a backward returns, in order."""
        names = self.module.Gradients._fields if self.backward is not None else ()
        return tuple(f"d{name}" for name in names if name != "statistics")

    def examine(self, case: Case) -> Trial:
        """Call the candidate, forward and backward, and compare with the truth."""
        return self.judged(case, self.ask(case))

    def ask(self, case: Case, handed: dict[str, Any] | None = None) -> Answer:
        """Call the candidate, with arrays of its own unless they are handed over."""
        if handed is None:
            handed = {name: self._handed(a, case.layout) for name, a in case.given.items()}
        answer = Answer(handed)
        y = self._call(answer, case, "forward", self.forward, case.names)
        if not (answer.declined or answer.error):
            answer.keep({"y": y})
        if self.backward is not None and not answer.declined:
            gradients = self._call(answer, case, "backward", self.backward, ("dy", *case.names))
            if answer.declined or "backward" in answer.error:
                return answer
            names = self.gradients
            if not isinstance(gradients, (tuple, list)) or len(gradients) != len(names):
                answer.error["backward"] = (
                    f"backward returned {_described(gradients)}, "
                    f"expected {len(names)} gradients ({', '.join(names)})"
                )
                return answer
            answer.keep(dict(zip(names, gradients, strict=True)))
        return answer

    def judged(self, case: Case, answer: Answer) -> Trial:
        """Compare what came with the truth."""
        trial = Trial(case, declined=answer.declined)
        if not trial.answered:
            return trial
        trial.allowed = allowances(case, self.precision, self.backward is not None)
        for name, message in answer.error.items():
            result = FIRST_RESULT[name]
            trial.got[result] = None
            trial.fail(result, message)
        for name, argument in answer.modified:
            message = f"{name} modified its argument {argument}"
            trial.fail(argument, message, values=False, diagnosis="argument_modified")
        # Gradients of arrays that are None have no truth, and are not looked at.
        came = {name: value for name, value in answer.copies.items() if name in case.truth}
        for name, value in came.items():
            _compare(trial, name, value, self.precision)
            allowed = trial.allowed[name]
            trial.outputs += allowed.size
            trial.seen += seen(case, name, allowed)
            if says_something(case, name, allowed):
                trial.telling[name] = _share(allowed, case.truth[name])
        trial.vain = bool(came) and not trial.failures and not trial.telling
        return trial

    def _call(
        self,
        answer: Answer,
        case: Case,
        name: str,
        function: Callable[..., Any],
        names: Sequence[str],
    ) -> Any:
        passed = self.varied | self.named[name]
        settings = {k: v for k, v in case.settings.items() if k in passed}
        before = {n: _copied(answer.handed[n]) for n in names}
        try:
            returned = function(*(answer.handed[n] for n in names), **settings)
        except NotImplementedError:
            answer.declined = name
            return None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = " ".join(str(error).split())
            answer.error[name] = f"{name} raised {type(error).__name__}: {text}"
            return None
        for argument in names:
            if not same_bits(before[argument], answer.handed[argument]):
                answer.modified.append((name, argument))
        return returned

    def _handed(self, array: Any, layout: str) -> Any:
        # A copy of its own, in the dtype to verify.
        if array is None:
            return None
        if isinstance(array, tuple):
            return type(array)(*(self._handed(a, layout) for a in array))
        return arranged(self.precision.stored.rounded(array), layout)


def _copied(value: Any) -> Any:
    # An array, or a tuple of them.
    if isinstance(value, tuple):
        return tuple(map(_copied, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def same_bits(one: Any, other: Any) -> bool:
    """Tell whether two arrays, or tuples of them, are the same bit by bit."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    if not isinstance(one, np.ndarray):
        return one is None and other is None
    if not isinstance(other, np.ndarray) or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.type is np.longdouble:  # of which some bytes may be no part of the number
        signs = np.signbit(one), np.signbit(other)
        return np.array_equal(one, other, equal_nan=True) and np.array_equal(*signs)
    bits = f"u{one.itemsize}"
    return np.array_equal(one.view(bits), other.view(bits))


def _compare(trial: Trial, name: str, value: Any, precision: Precision) -> None:
    # One result with the truth, noting what is wrong in the trial.
    expected = trial.case.truth[name]
    trial.got[name] = None
    array = as_real_array(value)
    if array is None:
        trial.fail(name, f"{name}: got {_described(value)}, expected an array {expected.shape}")
        return
    got = array.astype(np.float64)
    trial.got[name] = got
    if got.shape != expected.shape:
        trial.fail(name, f"{name}: got shape {got.shape}, expected {expected.shape}")
        return
    if not np.array_equal(got, expected):  # as exact sums are
        _measure(trial, name, got)
    if name not in trial.wrong and array.dtype.type is not precision.result.carrier.type:
        message = f"{name}: got dtype {array.dtype}, expected {precision.result.carrier}"
        trial.fail(name, message, values=False, diagnosis="dtype_changed")


def _measure(trial: Trial, name: str, got: Array) -> None:
    # How far values are from the truth, and which of them too far.
    expected, allowed = trial.case.truth[name], trial.allowed[name]
    wrong = trial.off(name, got)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        ratio = np.abs(got - expected)
        ratio /= allowed
    ratio[wrong & ~np.isfinite(got)] = np.inf
    # 0 / 0, of a result that must be exact and is, is nan, as inf / inf is: fmax passes over it.
    trial.worst = max(trial.worst, float(np.fmax.reduce(ratio, axis=None, initial=0)))
    if wrong.any():
        trial.marks[name] = Marks(wrong)
        trial.errors[name] = _share(np.abs(got[wrong] - expected[wrong]), expected)
        worst = np.where(wrong, ratio, 0).argmax()
        index = tuple(int(i) for i in np.unravel_index(worst, ratio.shape))
        trial.fail(
            name,
            f"{name}{list(index)}: got {got[index]:.9g}, expected {expected[index]:.9g}, "
            f"allowed {allowed[index]:.2g} ({int(wrong.sum())} of {got.size} elements wrong)",
            index=index,
            got=float(got[index]),
            expected=float(expected[index]),
            allowed=float(allowed[index]),
        )


def _share(errors: Array, truth: Array) -> float:
    # Of the size of a result, on the average
    size = math.sqrt(np.vdot(truth, truth) / max(1, truth.size))
    share = np.mean(errors) / size if errors.size and size else 0.0
    return float(share) if share < math.inf else math.inf


def _described(value: Any) -> str:
    # What came in place of arrays.
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"{type(value).__name__}{dtype}"
