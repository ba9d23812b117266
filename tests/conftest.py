"""Hypothesis profiles, the same examples every time where CI is set; fewer cases of verify."""

import gc
import os

# Before NumPy is imported: on products so small, threads cost more than they gain.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from convinsights.verify import _candidate, _factors, _plan, _shrink

# No deadline and no complaint about slow drawing: a busy machine is not a fault of the library.
settings.register_profile(
    "local", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


# What is loaded stays: it need not be looked through for garbage again and again.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)  # a twelfth less time than with Python's own


MADE, ROWS, ALLOWANCES = _plan.case_of, _plan.rows, _candidate.allowances
CASES, ALLOWED = {}, {}
SMALL = {
    **dict.fromkeys(("in_channels", "out_channels", "channels"), (3, 1, 4, 6)),
    **{f"size[{axis}]": (3, 1, 6, 8) for axis in range(3)},
    **{f"kernel_size[{axis}]": (3, 1, 2, 4, 7) for axis in range(3)},
    "batch": (2, 1, 3),
    "groups": (1, 2, 3),
    "layout": ("C", "Fortran", "negative", "slice of channels", "odd address", "broadcast"),
}
FEWEST = {
    **SMALL,
    **dict.fromkeys(("in_channels", "out_channels", "channels"), (3, 1, 4)),
    **{f"size[{axis}]": (3, 1, 6) for axis in range(3)},
    **{f"kernel_size[{axis}]": (3, 1, 2) for axis in range(3)},
    **{f"strides[{axis}]": (1, 2) for axis in range(3)},
    **{f"dilation_rate[{axis}]": (1, 2) for axis in range(3)},
    "batch": (2, 1),
    "groups": (1, 2),
    "layout": ("C", "negative", "slice of channels"),
    "padding": ("valid", "same", "uneven", "same by name"),
    "path": ("any", "3×3, strides 1"),
}
LEVELS = [SMALL]


def uneven(plan, rank):
    """Where padding may be a name: "same" with other zeros before than behind."""
    levels, simple = plan.levels(rank), plan.plain(rank)
    for kernel in ((4, 2, 4), (2, 7, 3), (7, 4, 2)) if plan.names else ():
        for place in (0, -1):
            row = {**simple, "padding": "same by name", "in_channels": 4}
            row["values"] = levels["values"][-1]
            for axis in range(rank):
                row |= {f"size[{axis}]": (8, 6, 3)[axis], f"kernel_size[{axis}]": kernel[axis]}
                for name in (f"strides[{axis}]", f"dilation_rate[{axis}]"):
                    row[name] = levels[name][place]
            yield row


@pytest.fixture
def few_cases(monkeypatch):
    """Let verify take small arrays of a few sizes, and make each case once for all tests."""

    def case_of(module, rank, row, precision, seed):
        key = module, rank, tuple(sorted(row.items())), precision, seed
        if key not in CASES:
            CASES[key] = MADE(module, rank, row, precision, seed)
        return CASES[key]

    def allowances(case, precision, gradients):
        key = id(case), precision, gradients
        if key not in ALLOWED:
            ALLOWED[key] = case, ALLOWANCES(case, precision, gradients)
        return ALLOWED[key][1]

    def rows(space, strength):
        levels = {factor.name: factor.levels for factor in _factors.covering(space).factors}
        small = {
            name: tuple(level for level in some if level in levels[name])
            for name, some in LEVELS[-1].items()
            if name in levels
        }
        kept = {**small, **dict(space.kept)}
        return ROWS(space._replace(kept=tuple(sorted(kept.items()))), strength)

    monkeypatch.setattr(_plan, "case_of", case_of)
    monkeypatch.setattr(_plan, "rows", rows)
    monkeypatch.setattr(_plan.Plan, "extra", uneven)
    monkeypatch.setattr(_candidate, "allowances", allowances)
    for limit in ("SECONDS", "WAIT"):  # so that a busy machine finds the same
        monkeypatch.setattr(_shrink, limit, 60)


@pytest.fixture
def fewest_cases(few_cases):
    """Let it take some twenty of them, for what shows in nearly every case."""
    LEVELS.append(FEWEST)
    yield
    LEVELS.pop()


@pytest.fixture
def more_cases(fewest_cases):
    """Let it take as many as few_cases does all the same."""
    LEVELS.append(SMALL)
    yield
    LEVELS.pop()
