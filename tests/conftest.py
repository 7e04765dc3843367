"""What every test may lean on: asyncio on uvloop for async tests, and no example that fails by being slow."""

import pytest
from hypothesis import HealthCheck, settings

# The machine may be doing something else: how long one example takes says nothing.
settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
