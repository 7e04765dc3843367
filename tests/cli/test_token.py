"""`tulle token`: what it prints is what identity takes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.root import tulle
from common import jwt
from common.clock import SystemClock
from common.names import Identity, WorkloadName
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import JoinTokens
from tests.support.ledger import Memory


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh", trust_domain="example.org")


def run(mesh: MeshDirectory, *arguments: str) -> Result:
    words = ("--mesh", str(mesh.root), "token", *arguments)
    return CliRunner().invoke(tulle, words, prog_name="tulle")


@pytest.mark.anyio
async def test_a_token_says_which_workload_may_join_as_whom(mesh: MeshDirectory) -> None:
    result = run(mesh, "shop/web-1", "--service-account", "web")

    assert (result.exit_code, result.stderr) == (0, "")
    token = jwt.parse(result.stdout.rstrip("\n"))
    tokens = JoinTokens(mesh.token_keys, "example.org", Memory())
    attested = await tokens.attest(token, "10.1.2.3", SystemClock.now())
    assert attested.workload == WorkloadName("shop", "web-1")
    assert attested.identity == Identity("shop", "web", "example.org")


def test_a_token_lives_as_long_as_it_was_told(mesh: MeshDirectory) -> None:
    result = run(mesh, "shop/web-1", "--service-account", "web", "--lifetime", "5m", "-o", "json")

    answer = json.loads(result.stdout)
    (key,) = mesh.token_keys()
    claims = jwt.parse(answer["token"]).verify(key, jwt.Claims)
    assert (claims.exp - claims.iat, answer["lifetime_seconds"]) == (300, 300)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("web-1", "--service-account", "web"), "expected NAMESPACE/NAME"),
        (("shop/Web", "--service-account", "web"), "workload 'Web'"),
        (("shop/web-1", "--service-account", "w b"), "service account 'w b'"),
        (("shop/web-1", "--service-account", "web", "--lifetime", "99d"), "between 1s and"),
    ],
)
def test_a_name_that_is_none_is_a_mistake(
    mesh: MeshDirectory, arguments: tuple[str, ...], told: str
) -> None:
    result = run(mesh, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_without_the_tokens_key_its_path_is_told_and_what_that_means(mesh: MeshDirectory) -> None:
    mesh.tokens_key_file.unlink()

    result = run(mesh, "shop/web-1", "--service-account", "web")

    assert (result.exit_code, result.stdout) == (2, "")
    assert str(mesh.tokens_key_file) in result.stderr
    assert "this mesh knows no join tokens" in result.stderr
