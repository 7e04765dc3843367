"""People who use the bus by name: let in with a key of their own, shown out when they are removed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from common.bus import Bus
from common.clock import ManualClock, SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.errors import InvalidName, InvalidSettings, InvalidToken
from services.identity import credentials, nkey, people
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.journal import Journal
from services.identity.people import People, Person
from services.identity.system import Connected, Connection, Server
from services.identity.turnout import Turnout
from tests.support.identity import Mesh, nats
from tests.support.nats import until

pytestmark = pytest.mark.anyio
ADA, BOB = nkey.generate(nkey.USER), nkey.generate(nkey.USER)


def person(name: str = "ada", key: nkey.KeyPair = ADA, expires: float | None = None) -> Person:
    return Person(name=name, role="reader", key=key.public, expires=expires)


def test_who_is_in_the_file_is_found_by_key_and_who_is_not_is_not(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    known = People(path)
    with pytest.raises(InvalidToken, match="of nobody known"):
        known.find(ADA.public, 5.0)

    people.write(path, (person(expires=10.0),))
    assert known.find(ADA.public, 5.0) == person(expires=10.0)
    with pytest.raises(InvalidToken, match="ada was admitted until 10"):
        known.find(ADA.public, 10.0)

    people.write(path, (person("bob", BOB),))
    with pytest.raises(InvalidToken, match="of nobody known"):
        known.find(ADA.public, 5.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "truncated"),
        ('{"people": [{"name": "ada"}]}', "missing required field `role`"),
        ('{"people": [{"name": "ada", "role": "king", "key": "U"}]}', "Invalid enum value 'king'"),
        ('{"people": [{"name": "Ada", "role": "reader", "key": "U"}]}', "name 'Ada'"),
        ('{"people": [{"name": "ada", "role": "reader", "key": "U"}]}', "public key of a user"),
        ('{"persons": []}', "unknown field `persons`"),
    ],
)
def test_a_file_with_a_mistake_names_nobody_and_says_so(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "people.json"
    people.write(path, (person(),))
    known = People(path)
    assert known.admitted_as() == {person().admitted_as}

    path.write_text(text)

    assert known.admitted_as() == frozenset()
    assert says in known.mistake
    with pytest.raises(InvalidToken, match=r"people\.json: "):
        known.find(ADA.public, 5.0)


def test_two_of_a_name_or_of_a_key_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    for two in ((person(), person(key=BOB)), (person(), person("bob"))):
        people.write(path, two)
        with pytest.raises(InvalidSettings, match=r"expected a different (name|key) for each"):
            people.read(path)


def test_a_person_s_folder_holds_their_key_and_the_mesh_only_its_public_half(
    tmp_path: Path,
) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    made = credentials.add(mesh, "ada", "operator", tmp_path / "ada")

    given = MeshDirectory(tmp_path / "ada")
    key = given.seed(given.seed_file("person"), nkey.USER)
    assert key.public == made.key
    assert given.seed_file("person").stat().st_mode & 0o077 == 0
    assert given.bus().person == "ada"
    assert given.anchors() == mesh.anchors()
    assert people.read(mesh.people_file) == (made,)
    everything = [path.read_text() for path in mesh.root.rglob("*") if path.is_file()]
    assert not [text for text in everything if key.seed in text]


def test_a_name_is_given_once_and_a_folder_is_not_written_over(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    credentials.add(mesh, "ada", "reader", tmp_path / "ada", expires=100.0)

    with pytest.raises(InvalidSettings, match="ada: may use the bus already"):
        credentials.add(mesh, "ada", "reader", tmp_path / "other")
    with pytest.raises(InvalidSettings, match="expected a new or an empty folder"):
        credentials.add(mesh, "bob", "reader", tmp_path / "ada")
    with pytest.raises(InvalidName, match=r"name '\.\./bob'"):
        credentials.add(mesh, "../bob", "reader", tmp_path / "bob")
    with pytest.raises(InvalidName, match="expected one of: ada"):
        credentials.remove(mesh, "bob")
    credentials.forget_expired(mesh, ManualClock(now=101.0))
    assert people.read(mesh.people_file) == ()


def test_of_many_who_are_added_at_once_none_is_lost(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    names = [f"person-{number}" for number in range(24)]

    with ThreadPoolExecutor(8) as pool:
        for name in names:
            pool.submit(credentials.add, mesh, name, "reader", tmp_path / name)

    assert {person.name for person in people.read(mesh.people_file)} == {*names}


async def connect(mesh: Mesh, folder: Path, errors: list[str] | None = None) -> Client:
    """A plain client with a person's key."""
    given = MeshDirectory(folder)
    seed = given.seed(given.seed_file("person"), nkey.USER).seed
    inbox = subjects.person_inbox(given.bus().person)
    return await mesh.client(seed=seed, inbox=inbox, errors=errors)


async def test_a_reader_hears_the_mesh_and_is_shown_out_when_removed(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        folder = tmp_path / "ada"
        credentials.add(mesh.directory, "ada", "reader", folder)
        credentials.add(mesh.directory, "bob", "operator", tmp_path / "bob")
        errors: list[str] = []
        ada, bob = await connect(mesh, folder, errors), await connect(mesh, tmp_path / "bob")
        heard: list[str] = []

        async def hear(message: object) -> None:
            heard.append(str(getattr(message, "subject", "")))

        await ada.subscribe(subjects.EVERYTHING, cb=hear)
        await ada.flush()
        async with mesh.role("telemetry") as telemetry:
            topic = subjects.event("telemetry", "said")
            said = Event(component="telemetry", what="said", message="", time=0.0)
            await telemetry.publish(topic, said)
            await until(lambda: topic.subject in heard)

            credentials.remove(mesh.directory, "ada")
            await until(lambda: ada.is_closed)
            with pytest.raises(NatsError, match="Authorization Violation"):
                await connect(mesh, folder)
        assert bob.is_connected
        assert "what=removed" in mesh.identity_log()
        await bob.close()


async def test_a_person_s_time_ends_by_itself(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        folder = tmp_path / "ada"
        ends = SystemClock.now() + 3
        credentials.add(mesh.directory, "ada", "reader", folder, ends)
        ada = await connect(mesh, folder)

        await until(lambda: ada.is_closed)
        assert SystemClock.now() >= ends - 1
        with pytest.raises(NatsError, match="Authorization Violation"), anyio.fail_after(10):
            await connect(mesh, folder)


async def test_who_signs_with_another_key_or_shows_a_token_as_well_stays_outside(
    tmp_path: Path,
) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        credentials.add(mesh.directory, "ada", "reader", tmp_path / "ada")
        given = MeshDirectory(tmp_path / "ada")
        seed = given.seed(given.seed_file("person"), nkey.USER).seed

        with pytest.raises(NatsError, match="Authorization Violation"):
            await mesh.client(seed=BOB.seed)
        with pytest.raises(NatsError, match="Authorization Violation"):
            await mesh.client(seed=seed, token="x")
        assert "of nobody known" in mesh.identity_log()
        assert "a key and a token" in mesh.identity_log()


class _Slow:
    """Servers that take their time; meanwhile the file changes."""

    def __init__(self, path: Path, connected: Person) -> None:
        self._path = path
        self._connected = connected
        self.kicked: list[str] = []

    async def connections(self) -> list[Connection]:
        people.write(self._path, (self._connected,))
        user = self._connected.admitted_as
        return [Connection(server=Server(id="N"), connected=Connected(cid=1, user=user))]

    async def kick(self, connection: Connection) -> None:
        self.kicked.append(connection.connected.user)


async def test_who_was_added_while_connections_were_listed_is_not_shown_out(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    people.write(path, (person("bob", BOB),))
    slow, clock = _Slow(path, person()), SystemClock()
    turnout = Turnout(People(path), slow, Journal(Bus([], name="test"), clock), clock)

    with anyio.move_on_after(0.1):
        await turnout.run()

    assert slow.kicked == []
