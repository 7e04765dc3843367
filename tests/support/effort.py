"""How long properties are searched for a counterexample: briefly in `make test`, thoroughly in `make soak`."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("TULLE_EFFORT", "1"))
"""So many times the examples of a short run."""


def effort(examples: int, *, steps: int = 50) -> settings:
    """Settings for a property that is looked at with so many examples (and steps) in a short run."""
    return settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
