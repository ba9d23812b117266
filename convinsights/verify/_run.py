"""Check your own kernel: whether it is right, where it is not, and what is wrong with it.

An implementation offered as a plain function is a candidate. It is given calls on which slips show
(every axis with its own size, kernel, stride, rate and padding), first on integers, where every sum
is exact, then on normal deviates, where each element may be off by what rounding can do to it and
no more. The truth is the library's, in float64. What comes out wrong is compared with what known
slips would give.

    allowed[i] = gamma_n (|x| * |kernel|)[i] + u |y[i]|     n products summed, the result rounded

A fixed tolerance cannot do that: a correct float32 sum of 2,304 terms may be off by a thousandth of
a value in which they cancel, and a forgotten pixel among them may be no more than that.

References
----------
Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1.
Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from convinsights._arguments import (
    to_integer,
)
from convinsights._concepts import defaults, name_of
from convinsights.verify._bounds import Precision, check_module
from convinsights.verify._candidate import Candidate, Failure, Trial
from convinsights.verify._cases import adversarial
from convinsights.verify._diagnosis import Diagnosis, diagnose
from convinsights.verify._formats import Kind
from convinsights.verify._slopes import adjoint_gap, check_gradients, generator

__all__ = ["Failure", "Report", "Row", "adjoint_gap", "check_gradients", "verify"]


class Row(NamedTuple):
    """A geometry: cases run, cases that failed, and the largest error in units of the allowed."""

    kind: str
    cases: int
    failed: int
    worst: float


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    `cases` is how many ran, `failures` every wrong result, `declined` how many cases of each kind
    the candidate does not support, `diagnosis` the one slip that explains every wrong value, or
    None, `rows` the table by geometry.
    """

    title: str
    cases: int
    failures: tuple[Failure, ...]
    declined: dict[str, int]
    diagnosis: str | None
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether cases ran and none failed."""
        return self.cases > 0 and not self.failures

    def check(self) -> None:
        """Raise an AssertionError with the whole report unless all is right."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        """Write the verdict, the diagnosis, the smallest failing case and a table."""
        failed = sum(row.failed for row in self.rows)
        lines = [f"{self.title}: {self._verdict(failed)}"]
        if self.failures:
            lines += self._explanation()
            least = min(self.failures, key=lambda failure: failure.size)
            lines += ["", "smallest failing case:", f"  {least.call}", f"  {least.message}"]
        if self.rows:
            width = max(len(row.kind) for row in self.rows)
            lines += ["", f"{'geometry':<{width}}  cases  failed  error / allowed"]
        for row in self.rows:
            line = f"{row.kind:<{width}}  {row.cases:5}  {row.failed:6}  {row.worst:15.2g}"
            worst = [f for f in self.failures if f.kind == row.kind]
            lines.append(f"{line}  {worst[0].message}" if worst else line)
        if self.declined:
            lines += ["", "declined:"]
            lines += [f"  {kind}: {count}" for kind, count in self.declined.items()]
        return "\n".join(lines)

    def _verdict(self, failed: int) -> str:
        if not self.cases:
            return "nothing was verified, for no case ran"
        if failed:
            return f"{failed} of {self.cases} cases failed"
        return f"passed all {self.cases} cases"

    def _explanation(self) -> list[str]:
        if self.diagnosis is not None:
            return [f"diagnosis: {self.diagnosis}"]
        single = [failure.diagnosis for failure in self.failures if failure.diagnosis]
        lines = ["diagnosis: none, no single slip explains all failures"]
        for name in dict.fromkeys(single):
            count = single.count(name)
            lines.append(f"  {name} would explain {count} of {len(self.failures)} wrong results")
        return lines


def verify(
    module: ModuleType,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    *,
    dtype: Kind = np.float32,
    operands: Kind | None = None,
    accumulate: Kind | None = None,
    algorithm: str = "direct",
    ranks: Iterable[int] = (2,),
    supports: Collection[str] | None = None,
    seed: int = 0,
) -> Report:
    """Put an implementation through every geometry on which slips show, and name the slip.

    Every result must have the right shape, the dtype of the inputs and, element by element, be no
    further from the truth than `error_bound` allows with `probabilistic=True`; sums of integers
    must be exact, unless a transform sums them. Arguments must be left as they are.

    Parameters
    ----------
    module : module of convinsights
        conv, transposed, depthwise, dilated, unary, depthwise_separable or batchnorm.
    forward : callable
        forward(x, kernel, bias, **hyperparameters) -> y, with the shapes and names of
        `module.forward`; forward(x, depthwise_kernel, pointwise_kernel, bias, **hyperparameters)
        for depthwise_separable, and forward(x, gamma, beta, statistics, *, epsilon) for batchnorm.
        Hyperparameters come in every form of `module.forward`: ints, tuples, pairs, names.
        NotImplementedError declines a case. Channels-first code is wrapped with `layouts`.
    backward : callable, optional
        backward(dy, x, kernel, bias, **hyperparameters) -> (dx, dkernel, dbias), likewise;
        backward(dy, x, gamma, beta, statistics, *, epsilon) -> (dx, dgamma, dbeta) for batchnorm.
        Gradients of arrays that are None are not looked at.
    dtype, operands, accumulate, algorithm
        What the arrays are given in, rounded to before they are multiplied, and summed in, and how
        the products are summed, as in `error_bound`.
    ranks : iterable of int
        Numbers of spatial axes, each from 1 to 3.
    supports : collection of str, optional
        Hyperparameters to vary. By default those that the forward's signature names, and all of
        `module.forward` where it takes `**hyperparameters`. The others are passed, with their
        defaults, to functions whose signature names them.
    seed : int
        Of the arrays' values.

    Returns
    -------
    Report
        Its `diagnosis` is one of "padding_symmetric" (PyTorch's zeros where "same" was asked),
        "padding_before" (the odd zero in front), "padding_ignored", "kernel_flipped",
        "axes_swapped" (strides, rates or padding of two axes exchanged), "strides_ignored",
        "dilation_ignored", "dilation_off_by_one" (taken for the zeros in between),
        "groups_interleaved" (channel c in group c mod G), "multiplier_major" (depthwise channels
        m C + c), "bias_ignored", "bias_of_first_group", "output_padding_ignored",
        "unbiased_variance", "epsilon_outside_root", "epsilon_ignored",
        "moving_statistics_in_training", "batch_statistics_in_inference"; of gradients
        "gradient_averaged", "kernel_gradient_flipped", "overlaps_overwritten" (= where += was due),
        "statistics_constant" (batch normalization's gradient without that of mean and variance),
        "bias_gradient_missing_batch"; or of both "batch_mixed" (an image's result depends on its
        neighbours), "layout_ignored" (right in C order only) and "shifted by (1, 0)", with the
        pixels by which the results are displaced. Where there are no wrong values it may be
        "dtype_changed" or "argument_modified".

    Raises
    ------
    ValueError
        If ranks, supports or seed are out of range.
    TypeError
        If an argument is of the wrong type, or no module that can be verified.

    References
    ----------
    Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019.

    Examples
    --------
    A 1×1 convolution that forgets its bias:

    >>> from convinsights import unary, verify
    >>> def mine(x, kernel, bias, *, strides):
    ...     steps = strides if isinstance(strides, tuple) else (strides, strides)
    ...     return x[:, :: steps[0], :: steps[1]] @ kernel.reshape(kernel.shape[-2:])
    >>> report = verify.verify(unary, mine)
    >>> report.passed, report.diagnosis
    (False, 'bias_ignored')
    """
    check_module(module)
    precision = Precision.of(module, dtype, operands, accumulate, algorithm)
    candidate = _candidate(module, forward, backward, precision, supports)
    sizes = sorted({_rank(rank) for rank in _sequence("ranks", ranks)})
    if not sizes:
        raise ValueError("ranks must name one rank at least, got none")
    varied = sorted(candidate.varied)
    rng = generator(seed)
    cases = list(adversarial(module, sizes, varied, candidate.precision.stored.carrier, rng))
    trials = []
    progress = _Progress(candidate.title)
    try:
        for number, case in enumerate(cases, start=1):
            progress.show(f"case {number} of {len(cases)}, {case.kind}")
            trials.append(candidate.examine(case))
        progress.show("looking for what is wrong")
        return _report(candidate, trials)
    finally:
        progress.clear()


# -- of implementations --------------------------------------------------------------------------


def _candidate(
    module: ModuleType,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    precision: Precision,
    supports: Collection[str] | None,
) -> Candidate:
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function) and (name == "forward" or function is not None):
            raise TypeError(f"{name} must be callable, got {function!r}")
    known = list(defaults(module))
    named, anything = _keywords(forward)
    if supports is None:
        varied = set(known) if anything else named & set(known)
    else:
        varied = set(_sequence("supports", supports))
        if not varied <= set(known):
            strange = sorted(map(str, varied - set(known)))
            raise ValueError(
                f"supports must name hyperparameters of {name_of(module)} ({', '.join(known)}), "
                f"got {', '.join(strange)}"
            )
    passed = {"forward": frozenset(named), "backward": frozenset(_keywords(backward)[0])}
    return Candidate(module, forward, backward, precision, frozenset(varied), passed)


def _keywords(function: Any) -> tuple[set[str], bool]:
    # The arguments that can be passed by name, and whether any others can.
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _report(candidate: Candidate, trials: Sequence[Trial]) -> Report:
    ran = [trial for trial in trials if trial.declined != "forward"]
    declined: dict[str, int] = {}
    for trial in trials:
        if trial.declined:
            kind = f"{trial.case.kind} ({trial.declined})"
            declined[kind] = declined.get(kind, 0) + 1
    name, single = Diagnosis(None, {})
    if any(trial.wrong for trial in ran):
        unit = 1 / candidate.precision.exact_integers
        name, single = diagnose(ran, candidate.examine, unit)
    failures = []
    for index, trial in enumerate(ran):
        for failure in trial.failures:
            found = failure.diagnosis or name or single.get((index, failure.result))
            failures.append(replace(failure, diagnosis=found))
    known = {failure.diagnosis for failure in failures}
    if name is None and len(known) == 1:  # what needs no hypothesis, such as a dtype
        (name,) = known
    rows = []
    for kind in dict.fromkeys(trial.case.kind for trial in ran):
        same = [trial for trial in ran if trial.case.kind == kind]
        failed = sum(bool(trial.failures) for trial in same)
        rows.append(Row(kind, len(same), failed, max(trial.worst for trial in same)))
    return Report(candidate.title, len(ran), tuple(failures), declined, name, tuple(rows))


def _sequence(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence, got {value!r}")
    return list(value)


def _rank(value: Any) -> int:
    rank = to_integer("ranks", value)
    if rank > 3:
        raise ValueError(f"ranks must be from 1 to 3, got {value!r}")
    return rank


class _Progress:
    # One line on a terminal, overwritten as it goes on.
    def __init__(self, title: str) -> None:
        self.title, self.shown = title, sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self.shown:
            print(f"\r{f'{self.title}: {text}':79.79}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown:
            print(f"\r{'':79}\r", end="", file=sys.stderr, flush=True)
