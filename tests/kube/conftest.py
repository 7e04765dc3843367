"""One real API server for all tests of this folder; without its programs they skip and say how to get them."""

from collections.abc import Iterator
from itertools import count

import pytest

from cli.manifests import FOLDER
from tests.support.cluster import APART, HOW, Cluster, assets


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
    cluster.kubectl("label", "namespace", name, f"{APART}=disabled")
    return name


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> dict[str, str]:
    """What `kubectl apply -f k8s/` said of each object. Nothing of it runs.

    So the API server waits in vain for the injector, for each pod in a namespace that is not labelled APART.
    """
    made = cluster.kubectl("apply", "--warnings-as-errors", "-f", str(FOLDER))
    return dict(line.split(" ", 1) for line in made.splitlines())
