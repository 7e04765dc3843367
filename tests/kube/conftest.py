"""One real API server for all tests of this folder; without its programs they skip and say how to get them."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.cluster import HOW, Cluster, assets


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    programs = assets()
    if programs is None:
        pytest.skip(HOW)
    running = Cluster(programs)
    try:
        running.start()
        yield running
    finally:
        running.close()


_numbers = count(1)


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    return name
