"""Every slip that a candidate for a module may have made, most specific first.

Slips come in variants under one name.
"""

from collections.abc import Iterator
from types import ModuleType

from convinsights.verify._calls import NORMALIZATIONS
from convinsights.verify._slips import Hypothesis
from convinsights.verify._slips_channels import of_channels, of_kernel
from convinsights.verify._slips_gradients import of_gradients
from convinsights.verify._slips_normalization import of_normalization
from convinsights.verify._slips_values import of_values
from convinsights.verify._slips_windows import of_windows

__all__ = ["hypotheses"]


def hypotheses(module: ModuleType) -> Iterator[Hypothesis]:
    """Yield the slips that a candidate for this module may have made, most specific first."""
    if module in NORMALIZATIONS:
        yield from of_normalization(module)
    else:
        yield from of_windows(module)
        yield from of_kernel(module)
        yield from of_channels(module)
    yield from of_gradients(module)
    yield from of_values(module)
