"""While keys are replaced each server is answered with those that it asks with, the old or the new."""

from pathlib import Path

import pytest

from common.bus import Bus
from common.clock import ManualClock
from common.errors import InvalidToken
from services.identity import nkey
from services.identity.admission import Admission
from services.identity.attest import Attested
from services.identity.bootstrap import bootstrap
from services.identity.callout import SERVER_KEY
from services.identity.directory import Side, beside
from services.identity.journal import Journal
from services.identity.key_steps import KeySteps
from services.identity.keyring import Keyring
from services.identity.people import People
from tests.services.identity.test_callout import NOW, THEIRS, claims_of, question

pytestmark = pytest.mark.anyio


async def refuse(_token: str, _host: str, _now: float) -> Attested:
    """Nobody's token is good."""
    raise InvalidToken("no good")


@pytest.mark.parametrize("side", ["old", "new"])
async def test_a_server_is_answered_with_the_keys_that_it_asks_with(
    tmp_path: Path, side: Side
) -> None:
    mesh, clock = bootstrap(tmp_path / "mesh"), ManualClock(NOW)
    journal = Journal(Bus(["nats://127.0.0.1:1"], name="nowhere"), clock)
    admission = Admission(refuse, People(mesh.people_file), Keyring(mesh), journal, clock)
    steps = KeySteps(mesh, clock)
    steps.begin(("account", "callout"), distrust=False)
    account = mesh.seed(beside(mesh.account_file, side), nkey.ACCOUNT)
    box = mesh.box(beside(mesh.callout_file, side))

    asked = THEIRS.seal(question(sub=account.public), box.public)
    answer = await admission(asked, {SERVER_KEY: THEIRS.public})

    told = claims_of(THEIRS.open(answer, box.public).decode(), account)
    assert told["iss"] == account.public

    for _ in range(3):
        steps.take()
    answered = await admission(asked, {SERVER_KEY: THEIRS.public})
    assert bool(answered) is (side == "new"), "then it is over with the old ones"
