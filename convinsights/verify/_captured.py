"""One example that came from elsewhere: a kernel that cannot be called here, only its numbers."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from convinsights._arguments import as_sequence
from convinsights._concepts import defaults
from convinsights.verify._bounds import as_stored, with_those_left_out
from convinsights.verify._calls import check_module, plain
from convinsights.verify._candidate import Candidate
from convinsights.verify._cases import Case
from convinsights.verify._explain import explained
from convinsights.verify._nonfinite import find_swallowed
from convinsights.verify._precision import Precision
from convinsights.verify._report import Report
from convinsights.verify._trials import Answer

__all__ = ["absent", "explain", "uncalled"]


@np.errstate(over="ignore", invalid="ignore")  # of arrays that are not finite
def explain(
    module: ModuleType,
    y: Any,
    *arrays: Any,
    dy: Any = None,
    gradients: Sequence[Any] | None = None,
    dtype: Any = np.float32,
    operands: Any = None,
    accumulate: Any = None,
    algorithm: str = "direct",
    **hyperparameters: Any,
) -> Report:
    """Say what is wrong with one result that was captured, as far as one example can tell.

    Parameters
    ----------
    module : module of convinsights
        One that `verify` takes.
    y : array
        What the kernel gave for these arrays.
    *arrays : arrays
        Those of `module.forward`, in its order.
    dy : array like y, optional
        The cotangent from which gradients were made.
    gradients : sequence of arrays, optional
        What a backward gave, in the order of `module.backward`; None for what there is none of.
    dtype, operands, accumulate, algorithm
        As in `verify`.
    **hyperparameters
        Those of `module.forward`.

    Returns
    -------
    Report
        Of one case; `when` is None, for there is no other to compare with.

    Raises
    ------
    ValueError
        As `module.forward` does, or if gradients come without dy or not one for each array.
    TypeError
        As `module.forward` does, or if it is no module that can be verified.

    Examples
    --------
    >>> import numpy as np
    >>> from convinsights import conv, verify
    >>> x, kernel = np.arange(30.0).reshape(1, 5, 6, 1), np.arange(6.0).reshape(2, 3, 1, 1)
    >>> y, _ = conv.forward(x, kernel[::-1, ::-1])
    >>> verify.explain(conv, y.astype(np.float32), x, kernel).diagnosis
    'kernel_flipped'
    """
    check_module(module)
    precision = Precision.of(module, dtype, operands, accumulate, algorithm)
    fields, settings = module.Gradients._fields, defaults(module) | plain(hyperparameters)
    every = with_those_left_out(module, arrays)
    given = [as_stored(n, a, precision.stored) for n, a in zip(fields, every, strict=True)]
    right, _ = module.forward(*given, **settings)
    names = [f"d{name}" for name in fields if name != "statistics"]
    answer = Answer({})
    answer.keep({"y": y})
    if gradients is not None:
        if dy is None:
            raise ValueError("dy must be given with gradients, got None")
        what = f"{len(names)} arrays ({', '.join(names)})"
        gradients = as_sequence("gradients", gradients, what, len(names))
        answer.keep({n: g for n, g in zip(names, gradients, strict=True) if g is not None})
    if dy is None:
        cotangent = np.zeros(right.shape)
    else:
        cotangent = as_stored("dy", dy, precision.stored)
        if cotangent.shape != right.shape:
            raise ValueError(
                f"dy must be of the output's shape {right.shape}, got shape {cotangent.shape}"
            )
    whole = all((a == np.rint(a)).all() for a in (*given, cotangent) if isinstance(a, np.ndarray))
    case = Case(
        module,
        tuple(given),
        settings,
        cotangent,
        f"{given[0].ndim - 2}-D captured",
        integers=whole,
        values="captured",
    )
    candidate = uncalled(module, precision, gradients is not None)
    trial = candidate.judged(case, answer)
    find_swallowed(trial, answer)
    return explained(candidate, None, [trial], None)


def absent(*arguments: Any, **settings: Any) -> Any:
    """Stand for a kernel that cannot be called here."""
    raise NotImplementedError


def uncalled(module: ModuleType, precision: Precision, gradients: bool) -> Candidate:
    """Return a candidate that declines every call."""
    none: frozenset[str] = frozenset()
    named = {"forward": none, "backward": none}
    return Candidate(module, absent, absent if gradients else None, precision, none, named)
