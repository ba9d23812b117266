"""Check your own kernel: whether it is right, and if not, what is wrong, when, and where."""

from convinsights.verify._candidate import Failure
from convinsights.verify._run import Report, Row, error_bound, verify
from convinsights.verify._slopes import adjoint_gap, check_gradients

__all__ = ["Failure", "Report", "Row", "adjoint_gap", "check_gradients", "error_bound", "verify"]
