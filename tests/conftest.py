"""What every test may lean on: asyncio on uvloop for async tests, and no example that fails by being slow."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine may be doing something else: how long one example takes says nothing.
settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("shared machine")

_TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file share what it has set up, and those of tests/kube one API server: each stay together."""
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        group = folder if folder == "kube" else item.location[0]
        item.add_marker(pytest.mark.xdist_group(group))
