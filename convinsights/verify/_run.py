"""Try an implementation on the cases of a covering array, and explain what comes out wrong.

It is called for every case twice, with others in between. One that is right so far is then given
arrays and hyperparameters that change between calls, and numbers that are not finite; at last what
was wrong is compared with what known slips would give.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from convinsights.verify._asked import asked
from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._explain import explained
from convinsights.verify._made import case_of
from convinsights.verify._memory import Memory
from convinsights.verify._narrowing import narrowed
from convinsights.verify._nonfinite import judged_finite, spoil
from convinsights.verify._plan import Plan, special_cases
from convinsights.verify._report import Report
from convinsights.verify._stale import Earlier, mark_stale, stale_arguments, stale_settings
from convinsights.verify._trials import Trial

__all__ = ["verify"]

# How often the factors are narrowed to what a candidate takes that declines most of them.
NARROWINGS = 3
# Levels that change a call but not its arrays' shapes.
OF_THE_CALL = ("strides", "dilation_rate", "padding", "output", "epsilon")
# How many other levels of each are tried.
OTHER_LEVELS = 2


def verify(
    module: ModuleType,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
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
) -> Report:
    """Put an implementation through every pair of settings, and say what is wrong, when, and where.

    Every result must have the right shape, the dtype that `dtype` asks for and, element by element,
    be no further from the truth than `error_bound` allows with `probabilistic=True`; sums of
    integers must be exact. The same call must give the same bits again, and leave its arguments and
    earlier results as they are.

    Parameters
    ----------
    module : module of convinsights
        conv, transposed, depthwise, dilated, unary, depthwise_separable, batchnorm or
        normalization.
    forward : callable
        forward(x, kernel, bias, **hyperparameters) -> y, with the shapes and names of
        `module.forward`; forward(x, depthwise_kernel, pointwise_kernel, bias, **hyperparameters)
        for depthwise_separable, forward(x, gamma, beta, statistics, *, epsilon) for batchnorm and
        forward(x, gamma, beta, *, groups, epsilon) for normalization. NotImplementedError declines
        a case. Channels-first code is wrapped with `layouts`.
    backward : callable, optional
        backward(dy, x, kernel, bias, **hyperparameters) -> (dx, dkernel, dbias), likewise.
        Gradients of arrays that are None are not looked at.
    dtype : NumPy float, NumPy integer of 8 or 16 bits, or Format
        In which the arrays are given. Results have the same dtype; the exact int32 sums for
        integers, and float32 that holds numbers of the format for a `Format`.
    operands : NumPy float or Format, optional
        To what the candidate rounds its operands before it multiplies (of a normalization x, gamma
        and dy, as they are read); the arrays' own unless given.
    accumulate : NumPy float or Format, optional
        In which it sums; dtype unless given, float32 for a `Format`, int32 for integers.
    algorithm : "direct", "winograd" or "fft"
        Direct is any order of the sum of products; transforms are allowed what they lose.
    ranks : iterable of int
        Numbers of spatial axes, each from 1 to 3.
    supports : collection of str, optional
        Hyperparameters to vary, and "same" or "causal" if padding may be such a name. By default
        those that the forward's signature names, and all of `module.forward` where it takes
        `**hyperparameters`. The others are passed, with their defaults, to functions whose
        signature names them.
    cases : sequence of mappings, optional
        Geometries of your own that come in addition: x_shape, kernel_shape and hyperparameters.
    thorough : bool
        All triples of settings in place of all pairs, more channels and larger images: thousands of
        cases, which take about a minute, and less than a gigabyte, for each rank.
    forms : "canonical" or "all"
        Canonical: every hyperparameter is a tuple with one entry per axis, padding (before, after)
        pairs, or a name where the signature or `supports` takes one. (Where neither says whether,
        names are tried too, and declined if they raise.) All: every form that `module.forward`
        takes.
    non_finite : bool
        Whether to try a nan and an inf among the pixels, the taps and dy: exactly those results
        that read it must not be finite.
    seed : int
        Of the arrays' values.

    Returns
    -------
    Report
        Its `diagnosis` is one of `verify.SLIPS`, which says what each name means.

    Raises
    ------
    ValueError
        If ranks, supports, cases, forms, algorithm or seed are out of range.
    TypeError
        If an argument is of the wrong type, or no module that can be verified.

    References
    ----------
    Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019.
    Kuhn, Wallace and Gallo, "Software Fault Interactions and Implications for Software Testing",
    2004 (nearly all faults need two or three settings at once).

    Examples
    --------
    A 1×1 convolution that forgets its bias:

    >>> from convinsights import unary, verify
    >>> def mine(x, kernel, bias, *, strides):
    ...     return x[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    >>> report = verify.verify(unary, mine)
    >>> report.passed, report.diagnosis
    (False, 'bias_ignored')
    """
    wanted = asked(
        module,
        forward,
        backward,
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
    return _Run(*wanted).report()


@dataclass
class _Run:
    # One candidate on its way through a plan, the fields as in `Asked`.
    plan: Plan
    candidate: Candidate
    takes_names: bool
    spoil: bool
    trials: list[Trial] = field(default_factory=list)

    def report(self) -> Report:
        progress, memory = _Progress(self.candidate.title), Memory(self.candidate)
        earlier, interrupted = Earlier(), False
        try:
            for number, case in enumerate(self._cases(), start=1):
                progress.show(f"case {number}, {case.kind}")
                self._try(case, memory, earlier)
            progress.show("calling again")
            memory.finish()
            for trial, name in earlier.told():
                mark_stale(trial, name)
            progress.show("arrays that change, numbers that are not finite")
            self.trials += self._others()
            progress.show("looking for what is wrong")
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.clear()
        report = explained(self.candidate, self.plan, self.trials, memory.when)
        return replace(report, interrupted=interrupted)

    def _cases(self) -> Iterator[Case]:
        # Those of the plan, then of the calls that the candidate takes, where those are few.
        yield from self.plan.cases()
        for rank in self.plan.ranks:
            for _ in range(NARROWINGS):
                yield from narrowed(self.plan, rank, self.trials)

    def _try(self, case: Case, memory: Memory, earlier: Earlier) -> None:
        answer = self.candidate.ask(case)
        named = isinstance(case.settings.get("padding"), str)
        if named and answer.error and not self.takes_names:  # it may take no names
            answer.declined = "names"
        self.takes_names = self.takes_names or (named and not answer.declined)
        trial = self.candidate.judged(case, answer)
        self.trials.append(trial)
        earlier.add(trial)
        if trial.answered:
            memory.add(trial, answer)
        else:
            memory.kept.add(trial)

    def _others(self) -> Iterator[Trial]:
        # Of a candidate that is right so far: what is neither geometry nor precision.
        answered = [trial for trial in self.trials if trial.answered]
        right = [trial for trial in answered if not trial.failures]
        if len(right) < len(answered):
            return
        some = special_cases(t.case for t in right)
        precision, again = self.plan.precision, self.plan.seed + 1
        pairs = [
            (case, case_of(case.module, case.rank, case.row or {}, precision, again))
            for case in some
        ]
        remembering = [mark_stale(*found) for found in stale_arguments(self.candidate, pairs)]
        others = [(case, other) for case in some for other in self._other_settings(case)]
        remembering += [mark_stale(*found) for found in stale_settings(self.candidate, others)]
        yield from remembering
        local = precision.algorithm == "direct"
        if self.spoil and not remembering:
            for one in spoil(some, precision.not_finite, self.candidate.backward is not None):
                with np.errstate(all="ignore"):
                    answer = self.candidate.ask(one.case)
                yield judged_finite(one, answer, local)

    def _other_settings(self, case: Case) -> Iterator[Case]:
        # The same arrays, under other hyperparameters, one at a time.
        row = dict(case.row or {})
        for name, levels in self.plan.levels(case.rank).items():
            if not name.startswith(OF_THE_CALL):
                continue
            for level in [level for level in levels if level != row[name]][:OTHER_LEVELS]:
                changed, plan = {**row, name: level}, self.plan
                try:
                    yield case_of(case.module, case.rank, changed, plan.precision, plan.seed)
                except ValueError:
                    continue


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
