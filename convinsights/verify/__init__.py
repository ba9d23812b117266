"""Check your own kernel: whether it is right, and if not, what is wrong, when, and where.

The modules behind it, in the order in which they are best read:

    what a kernel claims    _calls, _formats, _precision
    what it is asked        _rules, _covering, _cases, _values, _padding, _paths, _factors,
                            _made, _given, _plan
    how far it may be off   _terms, _sums, _transforms, _grouped, _normalized, _bounds, _power,
                            _agreement
    what it answers         _trials, _kept, _candidate, _narrowing, _memory, _stale, _nonfinite
    what is wrong           _meanings, _slips, _slips_padding, _slips_windows, _slips_channels,
                            _slips_normalization, _slips_gradients, _slips_values, _hypotheses,
                            _explanations, _moments, _losses, _remarks, _shifts, _diagnosis
    when                    _words, _features, _clauses, _table, _thresholds, _levels, _shrink,
                            _when
    where                   _coordinates, _parts, _where
    the report              _report, _explain
    the whole               _asked, _run
    without calling it      _captured, _files, _folder, __main__
    its gradients alone     _point, _lines, _slopes
"""

from convinsights.verify._bounds import error_bound
from convinsights.verify._captured import explain
from convinsights.verify._folder import judge, write_cases
from convinsights.verify._formats import (
    BFLOAT16,
    FLOAT8_E4M3,
    FLOAT8_E5M2,
    TFLOAT32,
    Format,
)
from convinsights.verify._meanings import SLIPS
from convinsights.verify._report import Report, Row
from convinsights.verify._run import verify
from convinsights.verify._slopes import adjoint_gap, check_gradients
from convinsights.verify._trials import Failure

__all__ = [
    "BFLOAT16",
    "FLOAT8_E4M3",
    "FLOAT8_E5M2",
    "SLIPS",
    "TFLOAT32",
    "Failure",
    "Format",
    "Report",
    "Row",
    "adjoint_gap",
    "check_gradients",
    "error_bound",
    "explain",
    "judge",
    "verify",
    "write_cases",
]


def __dir__() -> list[str]:
    return __all__
