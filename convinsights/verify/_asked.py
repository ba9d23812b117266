"""What `verify` is asked for, checked: the plan of the cases, and the candidate."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from convinsights._arguments import as_iterable, check_choice, check_flag, shown, to_integer
from convinsights._concepts import defaults, name_of
from convinsights.verify._calls import check_module
from convinsights.verify._candidate import Candidate
from convinsights.verify._plan import FORMS, Plan
from convinsights.verify._precision import Precision

__all__ = ["Asked", "asked"]

# Names of padding that `supports` may list beside hyperparameters.
NAMES = {"same", "causal", "valid"}


class Asked(NamedTuple):
    """The cases, the candidate that they are put to, and what else was asked for.

    `takes_names`: that the candidate is known to take padding by name. `spoil`: that it is to be
    given numbers that are not finite.
    """

    plan: Plan
    candidate: Candidate
    takes_names: bool
    spoil: bool


def asked(
    module: ModuleType,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    *,
    dtype: Any,
    operands: Any,
    accumulate: Any,
    algorithm: str,
    ranks: Iterable[int],
    supports: Collection[str] | None,
    cases: Sequence[Mapping[str, Any]],
    thorough: bool,
    forms: str,
    non_finite: bool,
    seed: int,
) -> Asked:
    """Check the arguments of `verify`."""
    check_module(module)
    precision = Precision.of(module, dtype, operands, accumulate, algorithm)
    check_choice("forms", forms, tuple(FORMS))
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function) and (name == "forward" or function is not None):
            raise TypeError(f"{name} must be callable, got {shown(function)}")
    parameters = _parameters(forward)
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if supports is None:
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters) or not parameters
        known = set(defaults(module))
        varied, listed = known if anything else named & known, set[str]()
    else:
        varied, listed = _supported(module, supports)
    # None where nothing says so: then a name that raises is no fault.
    by_name = True if listed or forms == "all" else _takes_names(parameters)
    numbers_of_axes = sorted({_rank(rank) for rank in as_iterable("ranks", ranks, "a sequence")})
    if not numbers_of_axes:
        raise ValueError("ranks must name one rank at least, got none")
    given = list(as_iterable("cases", cases, "a sequence"))
    for number, case in enumerate(given):
        if not isinstance(case, Mapping):
            raise TypeError(f"cases[{number}] must be a mapping, got {shown(case)}")
    plan = Plan(
        module,
        numbers_of_axes,
        frozenset(varied),
        precision,
        forms,
        by_name is not False and "padding" in varied,
        check_flag("thorough", thorough),
        given,
        to_integer("seed", seed, minimum=0),
    )
    backwards = {p.name for p in _parameters(backward)}
    passed = {"forward": frozenset(named), "backward": frozenset(backwards)}
    candidate = Candidate(module, forward, backward, precision, plan.varied, passed)
    return Asked(plan, candidate, by_name is True, check_flag("non_finite", non_finite))


def _supported(module: ModuleType, supports: Collection[str]) -> tuple[set[str], set[str]]:
    # Hyperparameters, and names of padding.
    listed, known = list(as_iterable("supports", supports, "a sequence")), set(defaults(module))
    words = (entry if isinstance(entry, str) else shown(entry) for entry in listed)
    if strange := sorted(set(words) - known - NAMES):
        raise ValueError(
            f"supports must name hyperparameters of {name_of(module)} "
            f"({', '.join(sorted(known))}), got {', '.join(strange)}"
        )
    return known & {*listed}, NAMES & {*listed}


def _parameters(function: Any) -> list[inspect.Parameter]:
    # Those of a function that can tell; none of others, which are taken to accept anything.
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _takes_names(parameters: Sequence[inspect.Parameter]) -> bool | None:
    # Whether padding may be a name: what the signature says, None where it says nothing.
    for parameter in parameters:
        if parameter.name == "padding":
            default, annotation = parameter.default, parameter.annotation
            if isinstance(default, str) or "str" in str(annotation):
                return True
            plain = default is parameter.empty and annotation is parameter.empty
            return None if plain else False
    return None


def _rank(value: Any) -> int:
    rank = to_integer("ranks", value)
    if rank > 3:
        raise ValueError(f"ranks must be from 1 to 3, got {shown(value)}")
    return rank
