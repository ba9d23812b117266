"""Hypothesis profiles: the same examples every time where CI is set, fresh ones elsewhere."""

import os

from hypothesis import HealthCheck, settings

# No deadline and no complaint about slow drawing: a busy machine is not a fault of the library.
settings.register_profile(
    "local", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")
