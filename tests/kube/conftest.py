"""One real API server for all tests of this folder; without its programs they skip and say how to get them."""

from collections.abc import Iterator
from itertools import count

import pytest
from click.testing import CliRunner

from cli.install import uninstall
from cli.manifests import FOLDER
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


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[dict[str, str]]:
    """What `kubectl apply -f k8s/` said of each object. Afterwards what `tulle uninstall` says is deleted.

    Nothing of it runs; pods that a test makes meanwhile are not injected, as the webhook lets them pass.
    """
    made = cluster.kubectl("apply", "--warnings-as-errors", "-f", str(FOLDER))
    try:
        yield dict(line.split(" ", 1) for line in made.splitlines())
    finally:
        printed = CliRunner().invoke(uninstall).stdout
        cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=printed)
