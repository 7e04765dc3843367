"""`tulle check`: every check on a mesh that is well, and on one that is not in just that respect."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from cli.checks.context import Context
from cli.checks.directory import DIRECTORY
from cli.checks.frame import PAGE, Check, Doubtful, Finding, Group, Result, Wrong, findings
from cli.checks.lives import DAY, living
from cli.checks.plan import EVERYTHING
from cli.checks.show import lines, summary
from cli.root import tulle
from common.clock import ManualClock, SystemClock
from common.contract import subjects
from common.contract.events import Ack, ShownLeaf
from common.names import WorkloadName
from common.x509 import chain_pem, key_id, key_pem
from services.identity import credentials
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.roots import make_anchor, make_issuer, make_server
from tests.support.command import tulle as run_tulle
from tests.support.identity import Mesh, nats
from tests.support.nats import until_told

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
DAYS = 86_400.0
ROOT = Path(__file__).parents[2]
WEB = WorkloadName("shop", "web-1")


@pytest.mark.parametrize(
    ("left", "error"),
    [(61 * DAY, None), (59 * DAY, Doubtful), (1, Doubtful), (0, Wrong), (-DAY, Wrong)],
)
def test_sixty_days_before_an_end_there_is_a_warning(
    left: float, error: type[Exception] | None
) -> None:
    def look() -> str:
        return living("issuer", NOW - DAY, NOW + left, NOW)

    if error is None:
        assert look().startswith("issuer: until 20")
    else:
        with pytest.raises(error, match="issuer: end"):
            look()


def test_what_has_not_begun_is_wrong() -> None:
    with pytest.raises(Wrong, match="begins in 1h"):
        living("issuer", NOW + 3600, NOW + 9e9, NOW)


@pytest.fixture
def mesh(tmp_path: Path) -> MeshDirectory:
    return bootstrap(tmp_path / "mesh", clock=ManualClock(NOW))


async def found(mesh: MeshDirectory, at: float = NOW) -> dict[str, Finding]:
    """What the checks of the directory find at a time, by the first word or two of each."""
    async with Context(mesh, ManualClock(at)) as context:
        return {f.check: f async for f in findings([DIRECTORY], context)}


def result(of: dict[str, Finding], check: str) -> tuple[Result, str]:
    (finding,) = [f for name, f in of.items() if check in name]
    return finding.result, finding.message


async def test_a_fresh_directory_is_well(mesh: MeshDirectory) -> None:
    assert {f.result for f in (await found(mesh)).values()} == {"ok"}


async def test_a_directory_that_is_none_ends_the_search(tmp_path: Path) -> None:
    of = await found(MeshDirectory(tmp_path))

    (finding,) = of.values()
    assert finding.result == "failure"
    assert "bus.json" in finding.message
    assert "bootstrap" in finding.hint


async def test_part_of_a_directory_is_enough_to_operate(mesh: MeshDirectory) -> None:
    for folder in ("issuer", "nats", "tokens"):
        shutil.rmtree(mesh.root / folder)

    assert {f.result for f in (await found(mesh)).values()} == {"ok"}


async def test_a_key_that_others_may_read_is_named(mesh: MeshDirectory) -> None:
    mesh.anchor_key_file.chmod(0o640)

    assert result(await found(mesh), "owner only") == (
        "failure",
        "trust/anchor.key: others may read it; expected mode 0600",
    )


async def test_an_issuer_and_an_anchor_that_end_soon_are_warned_of(mesh: MeshDirectory) -> None:
    issuer = mesh.issuer().certificate.not_valid_after_utc.timestamp()
    anchor = mesh.anchor().certificate.not_valid_after_utc.timestamp()

    assert result(await found(mesh, issuer - 61 * DAYS), "issuer")[0] == "ok"
    assert result(await found(mesh, issuer - 59 * DAYS), "issuer")[0] == "warning"
    assert "issuer: ends in 59d" in result(await found(mesh, issuer - 59 * DAYS), "issuer")[1]
    assert result(await found(mesh, issuer + 1), "issuer")[0] == "failure"
    assert result(await found(mesh, anchor - 59 * DAYS), "trust anchors")[0] == "warning"
    assert result(await found(mesh, anchor + 1), "trust anchors")[0] == "failure"


async def test_an_issuer_of_another_anchor_is_wrong(mesh: MeshDirectory) -> None:
    other = make_issuer(make_anchor("cluster.local", NOW), "cluster.local", NOW)
    mesh.issuer_file.write_bytes(chain_pem(other.chain))
    mesh.issuer_key_file.write_bytes(key_pem(other.key))

    assert "does not lead to an anchor" in result(await found(mesh), "issuer")[1]


async def test_a_certificate_of_nats_that_was_not_renewed_is_warned_of(mesh: MeshDirectory) -> None:
    server = make_server(mesh.issuer(), ["127.0.0.1"], NOW, 100 * DAYS)
    mesh.server_file.write_bytes(chain_pem(server.chain))

    assert result(await found(mesh, NOW + 70 * DAYS), "NATS")[0] == "ok"
    assert result(await found(mesh, NOW + 85 * DAYS), "NATS")[0] == "warning"
    assert result(await found(mesh, NOW + 101 * DAYS), "NATS")[0] == "failure"


async def test_a_person_s_folder_is_enough_to_look(mesh: MeshDirectory, tmp_path: Path) -> None:
    credentials.add(mesh, "ada", "reader", tmp_path / "ada")

    assert {f.result for f in (await found(MeshDirectory(tmp_path / "ada"))).values()} == {"ok"}


async def _fine(_context: Context) -> str:
    return "well"


async def _doubtful(_context: Context) -> str:
    raise Doubtful("soon")


async def _wrong(_context: Context) -> str:
    raise Wrong("not \x1b[2J so")


async def test_after_a_vital_failure_nothing_more_is_looked_at(mesh: MeshDirectory) -> None:
    groups = [
        Group("one", (Check("a", _fine, "A"), Check("b", _doubtful, "B"))),
        Group("two", (Check("c", _wrong, "C", vital=True), Check("d", _fine, "D"))),
        Group("three", (Check("e", _fine, "E"),)),
    ]
    async with Context(mesh) as context:
        found = [finding async for finding in findings(groups, context)]

    assert [(f.check, f.result, f.message, f.hint) for f in found] == [
        ("a", "ok", "well", ""),
        ("b", "warning", "soon", "B"),
        ("c", "failure", "not \x1b[2J so", "C"),
    ]
    text = "\n".join(line for finding in found for line in lines(finding))
    assert "\\u001b[2J so" in text
    assert summary(found).endswith("1 as they should be, 1 warning, 1 failure")


def test_names_and_hints_are_there_and_unlike() -> None:
    names = [(group.name, check.name) for group in EVERYTHING for check in group.checks]

    assert len(names) == len(set(names))
    assert all(check.hint for group in EVERYTHING for check in group.checks)


def test_without_a_bus_the_search_ends_there_with_status_1(mesh: MeshDirectory) -> None:
    bus = '{"servers":["tls://127.0.0.1:1"],"trust_domain":"cluster.local"}'
    mesh.bus_file.write_text(bus)
    arguments = ("--mesh", str(mesh.root), "check", "-o", "json")

    done = CliRunner().invoke(tulle, arguments, prog_name="tulle")

    report = json.loads(done.stdout)
    assert (done.exit_code, report["success"]) == (1, False)
    last = report["findings"][-1]
    assert (last["group"], last["result"]) == ("bus", "failure")
    assert "127.0.0.1:1" in last["message"]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose bus.json tells where its NATS happens to listen, with identity."""
    async with nats(tmp_path) as mesh:
        bootstrap(mesh.directory.root, nats_port=mesh.server.port, store_dir=tmp_path / "store")
        async with mesh.identity():
            yield mesh


def ack(mesh: Mesh, revision: int, ends_in: float, signed_by: tuple[str, ...]) -> Ack:
    now = SystemClock.now()
    leaf = ShownLeaf(
        serial="ab" * 20,
        identity="spiffe://cluster.local/ns/shop/sa/web",
        not_after=now + ends_in,
        signed_by=signed_by,
    )
    revisions = {subjects.trust().subject: revision}
    return Ack(namespace="shop", workload="web-1", uid="", revisions=revisions, time=now, leaf=leaf)


async def test_a_running_mesh_is_looked_at_and_its_certificates_are_shown(running: Mesh) -> None:
    root = running.directory.root
    chain = tuple(
        key_id(pair.certificate)
        for pair in (running.directory.issuer(), running.directory.anchor())
    )
    async with running.workload_bus(WEB, running.token(WEB, "web")) as proxy:
        with anyio.fail_after(15):
            await proxy.wait_connected()

        async def checked(said: Ack, wanted: int) -> "dict[str, dict[str, str]]":
            told: dict[str, dict[str, str]] = {}

            async def is_told() -> bool:
                await proxy.publish(subjects.ack(WEB), said)
                done = await run_tulle("check", "-o", "json", mesh=root)
                assert done.returncode in (0, 1), done.stderr
                told.update({f["check"]: f for f in json.loads(done.stdout)["findings"]})
                return done.returncode == wanted and "1 workload'" in str(told)

            await until_told(is_told, 20)
            return told

        well = await checked(ack(running, 10**15, 3600, chain), 0)
        credentials.add(running.directory, "ada", "reader", running.work / "ada")
        as_reader = await run_tulle("check", "-o", "short", mesh=running.work / "ada")
        shown = await run_tulle("identity", "web-1", mesh=root)
        as_json = await run_tulle("identity", "shop/web-1", "-n", "shop", "-o", "json", mesh=root)
        absent = await run_tulle("identity", "web-2", mesh=root)
        ended = await checked(ack(running, 0, -3600, chain), 1)
        after = await run_tulle("identity", mesh=root)
        foreign = await checked(ack(running, 10**15, 3600, ("77" * 20,)), 1)
        short = await run_tulle("check", "-o", "short", mesh=root)

    assert {finding["result"] for finding in well.values()} == {"ok"}
    assert as_reader.returncode == 0, as_reader.stdout
    assert "shop/web-1, in 59m" in well["every workload shows a valid certificate"]["message"]
    header, row = shown.stdout.splitlines()
    assert header.split() == ["NAMESPACE", "WORKLOAD", "IDENTITY", "SERIAL", "ENDS", "CHAIN"]
    assert row.split()[:4] == [
        *("shop", "web-1", "spiffe://cluster.local/ns/shop/sa/web", "ab" * 8),
    ]
    assert "in 59m" in row
    assert f"issuer {chain[0][:8]} → anchor {chain[1][:8]}" in row
    (found,) = json.loads(as_json.stdout)["rows"]
    assert [link["role"] for link in found["chain"]] == ["issuer", "anchor"]
    assert found["state"] == "valid"
    assert found["chain"][1]["not_after"] > SystemClock.now() + 365 * DAYS
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "web-2: no workload of that name" in absent.stderr
    assert "shop/web-1 (expired)" in ended["every workload shows a valid certificate"]["message"]
    bundle = ended["every workload believes the trust bundle that is published"]
    assert (bundle["result"], bundle["message"]) == ("warning", "not yet: shop/web-1")
    assert "1h ago" in after.stdout
    assert "(untrusted)" in foreign["every workload shows a valid certificate"]["message"]
    assert short.returncode == 1
    assert "√" not in short.stdout
    assert "× every workload shows a valid certificate" in short.stdout


def test_every_check_has_a_place_of_its_own_in_the_documentation() -> None:
    checks = [check for group in EVERYTHING for check in group.checks]
    headings = re.findall(r"^### (\S+)$", (ROOT / PAGE).read_text(), re.M)

    assert [check.anchor for check in checks] == headings
    assert len(headings) == len(set(headings))


async def test_where_no_proxy_is_heard_of_that_is_said(running: Mesh) -> None:
    everywhere = await run_tulle("check", "--proxy", mesh=running.directory.root)
    in_shop = await run_tulle("check", "--proxy", "-n", "shop", mesh=running.directory.root)

    assert (everywhere.returncode, in_shop.returncode) == (0, 0), everywhere.stdout
    assert "‼ some namespace is meshed" in everywhere.stdout
    assert "no proxy was heard of" in in_shop.stdout


async def test_what_fails_is_looked_at_again_until_it_does_not(mesh: MeshDirectory) -> None:
    looks = 0

    async def at_last(_context: Context) -> str:
        nonlocal looks
        looks += 1
        if looks < 2:
            raise Wrong("not yet")
        return "well"

    async def look(patience: float) -> Result:
        group = Group("one", (Check("a", at_last, "A"),))
        async with Context(mesh) as context:
            (found,) = [f async for f in findings([group], context, patience=patience)]
        return found.result

    assert await look(0.0) == "failure"
    looks = 0
    assert await look(30.0) == "ok"
