"""Check your own kernel: whether it is right, and if not, what is wrong, when, and where."""

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
