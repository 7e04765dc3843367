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

_KUBE = Path(__file__).parent / "kube"


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file share what it has set up, and many of tests/kube one API server: each stay together."""
    for item in items:
        shared = "cluster" in getattr(item, "fixturenames", ()) and _KUBE in item.path.parents
        item.add_marker(pytest.mark.xdist_group("kube" if shared else item.location[0]))
