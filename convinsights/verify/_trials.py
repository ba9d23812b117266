"""What came of one call: the answer as it was given, and the trial that was made of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convinsights._arguments import Array
from convinsights.verify._agreement import beyond
from convinsights.verify._calls import Outcome
from convinsights.verify._cases import Case

__all__ = ["FIRST_RESULT", "Answer", "Failure", "Marks", "Trial", "as_real_array"]


@dataclass(frozen=True, eq=False)
class Failure:
    """One wrong result.

    `kind` is the case's geometry, `call` the case as a call, `size` how many numbers it has,
    `empty` whether none of them is an output, `arrays` what it was given by name, `result` what of
    it is wrong (y, dx, …), `index` the worst element with what was `got`, `expected` and `allowed`
    as difference (None where no values can be compared), `message` all of that in words,
    `diagnosis` the slip that explains it, or None.
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
    empty: bool = field(default=False, repr=False)
    arrays: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Arrays(Mapping[str, Any]):
    """The arrays of a case by name, drawn again when they are first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case.outline()

    def __getitem__(self, name: str) -> Any:
        """Return an array, or None where the case has none."""
        self.case = self.case.drawn()
        return self.case.given[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self.case.given)

    def __len__(self) -> int:
        """Count the names."""
        return len(self.case.given)


# The result that stands for a function that gave none.
FIRST_RESULT = {"forward": "y", "backward": "dx"}


class Marks:
    """Which elements of a result are wrong, in a bit each."""

    def __init__(self, wrong: Array) -> None:
        self.shape, self.size, self.bits = wrong.shape, wrong.size, np.packbits(wrong)

    def any(self) -> bool:
        """Tell whether one is."""
        return bool(self.bits.any())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return them as bools."""
        marks: Array = np.unpackbits(self.bits, count=self.size).astype(bool)
        return marks.reshape(self.shape)


@dataclass
class Answer:
    """What a candidate made of one call: its results by name, and what it did besides.

    `handed` are the very arrays it was given, `copies` what the results were when they came,
    `error` what it raised, by the function's name, `declined` the function that was not
    implemented, or "names" where padding by name was refused, `modified` which arguments were
    changed.
    """

    handed: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)
    copies: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] = field(default_factory=dict)
    declined: str | None = None
    modified: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, results: dict[str, Any]) -> None:
        """Note results as they come."""
        self.results |= results
        for name, value in results.items():
            array = as_real_array(value)
            self.copies[name] = value if array is None else array.copy()


@dataclass
class Trial:
    """A case as it went.

    By result: `got` is what came (None for what is no array of numbers), `allowed` how far each
    element may be off, `wrong` names those with wrong values, `marks` which elements these are,
    `errors` how far they are off, as a share of the result's size. `telling` names those whose
    bounds could refute them (`says_something`), with the share that they may be off by. `declined`
    is as of the answer, `worst` the largest error in units of the allowed. One forgotten product
    would be `seen` in so many of its `outputs`. It is `vain` if results came, none failed, and none
    is telling.
    """

    case: Case
    allowed: Outcome = field(default_factory=dict)
    got: dict[str, Array | None] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    marks: dict[str, Marks] = field(default_factory=dict)
    telling: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    declined: str | None = None
    worst: float = 0.0
    outputs: int = 0
    seen: int = 0
    vain: bool = False

    @property
    def answered(self) -> bool:
        """Whether the forward did not decline."""
        return self.declined in (None, "backward")

    def right(self, name: str) -> bool:
        """Tell whether a result came, and with the right values."""
        return name in self.got and name not in self.wrong

    def came(self, name: str) -> Array | None:
        """Return a result that came in its shape, None for any other."""
        got, truth = self.got.get(name), self.case.truth.get(name)
        return None if got is None or truth is None or got.shape != truth.shape else got

    def off(self, name: str, values: Array) -> Array:
        """Tell which elements of these values of a result would be wrong."""
        return beyond(values, self.case.truth[name], self.allowed[name])

    def allows(self, name: str, values: Array) -> bool:
        """Tell whether a result of these values would be right."""
        same = values.shape == self.case.truth[name].shape
        return same and not self.off(name, values).any()

    def forget(self, result: str) -> None:
        """Take back what was said of a result's values, which are not the same at every call."""
        self.wrong.discard(result)
        for said in (self.got, self.marks, self.telling, self.errors):
            said.pop(result, None)
        # What has a diagnosis by now (dtype, arguments) is not about values, and stays.
        self.failures = [f for f in self.failures if f.result != result or f.diagnosis]

    def fail(self, result: str, message: str, *, values: bool = True, **fields: Any) -> None:
        """Note a failure.

        With `values` the result counts as wrong, and infinitely so unless an `index` says where.
        """
        if values:
            self.wrong.add(result)
            if "index" not in fields:  # nothing to compare
                self.worst = np.inf
        case = self.case
        shown = case.kind, str(case), result, message, case.size
        failure = Failure(*shown, **fields, empty=case.empty, arrays=Arrays(case))
        self.failures.append(failure)

    @property
    def whole(self) -> bool:
        """Whether it still has its numbers."""
        return bool(self.allowed)

    def let_go(self) -> None:
        """Keep the case's outline, and of what came whether it was an array."""
        self.case, self.allowed = self.case.outline(), {}
        self.got = {name: None if a is None else np.zeros(0) for name, a in self.got.items()}


def as_real_array(value: Any) -> Array | None:
    """Return an array of real numbers, or None for anything else.

    Arrays of other libraries count if they convert themselves.
    """
    if not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except Exception:
        return None
    return array if array.dtype.kind in "biuf" else None
