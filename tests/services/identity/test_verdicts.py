"""Verdicts: what was found out a moment ago is not found out again."""

import pytest

from common.errors import BusUnavailable, InvalidToken
from common.names import Identity, WorkloadName
from services.identity.attest import Attested
from services.identity.verdicts import SECONDS, Verdicts

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
HOST = "10.1.2.3"


class Judge:
    """Says of each token what its first letter stands for."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, token: str, host: str, now: float) -> Attested:
        self.asked += 1
        if token.startswith("bad"):
            raise InvalidToken("bad")
        if token.startswith("later"):
            raise BusUnavailable("nobody knows")
        return Attested(
            identity=Identity("shop", "web"),
            workload=WorkloadName("shop", "web-1"),
            by="proof" if token.startswith("proof") else "join-token",
            evidence=token,
        )


@pytest.mark.parametrize(
    ("token", "host", "later", "asked"),
    [
        ("good", HOST, 1.0, 1),
        ("bad", HOST, 1.0, 1),
        ("good", HOST, SECONDS, 2),
        ("bad", HOST, SECONDS, 2),
        ("good", "10.1.2.4", 0.0, 2),
        ("bad", "10.1.2.4", 0.0, 2),
        ("proof", HOST, 0.0, 2),
        ("later", HOST, 0.0, 2),
    ],
)
async def test_a_verdict_holds_for_a_moment_for_one_host_and_never_for_a_proof(
    token: str, host: str, later: float, asked: int
) -> None:
    judge = Judge()
    verdicts = Verdicts(judge)

    for at_host, now in ((HOST, NOW), (host, NOW + later)):
        if token in ("bad", "later"):
            with pytest.raises(InvalidToken if token == "bad" else BusUnavailable):
                await verdicts(token, at_host, now)
        else:
            assert (await verdicts(token, at_host, now)).evidence == token

    assert judge.asked == asked


async def test_of_many_verdicts_the_oldest_are_forgotten() -> None:
    judge = Judge()
    verdicts = Verdicts(judge, most=2)

    for token in ("one", "two", "three", "three", "two", "one"):
        await verdicts(token, HOST, NOW)

    assert judge.asked == 4
