"""Join tokens and proofs: what is issued attests, and nothing else does."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common import jwt
from common.contract.identity import PROOF_AUDIENCE, Proof
from common.errors import InvalidCertificate, InvalidName, InvalidToken
from common.names import Identity, WorkloadName
from common.x509 import generate_key, key_pem
from services.identity.attest import Attest, Attested
from services.identity.proofs import Proofs
from services.identity.tokens import JoinTokens, issue
from tests.support.pki import Leaf, Pki

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
KEY, OLD_KEY = generate_key(), generate_key()
WEB = WorkloadName("shop", "web.1")
PKI = Pki(NOW)
LEAF = PKI.leaf("web", "web.1")
ATTEST = Attest(
    join=JoinTokens([KEY.public_key(), OLD_KEY.public_key()], "cluster.local"),
    proof=Proofs(lambda: PKI.anchor.chain, "cluster.local"),
)


def token(account: str = "web", domain: str = "cluster.local", **changes: float) -> str:
    return issue(key_pem(KEY), WEB, account, trust_domain=domain, now=NOW, **changes)


def proof(leaf: Leaf = LEAF, workload: str = str(WEB), at: float = NOW) -> str:
    claims = Proof(aud=PROOF_AUDIENCE, iat=at, exp=at + 60, workload=workload)
    return jwt.sign(claims, leaf.key, x5c=[one.public_bytes(Encoding.DER) for one in leaf.chain])


async def test_a_join_token_names_workload_and_identity() -> None:
    attested = await ATTEST(token(), NOW + 3600)

    assert attested.workload == WEB
    assert attested.identity == Identity("shop", "web")
    assert attested.by == "join-token"


async def test_a_token_of_an_older_key_still_attests() -> None:
    old = issue(key_pem(OLD_KEY), WEB, "web", trust_domain="cluster.local", now=NOW)

    assert (await ATTEST(old, NOW)).workload == WEB


async def test_two_tokens_for_the_same_are_told_apart() -> None:
    first, second = await ATTEST(token(), NOW), await ATTEST(token(), NOW)

    assert first.evidence != second.evidence


async def test_a_proof_names_what_its_leaf_names() -> None:
    attested = await ATTEST(proof(), NOW)

    assert attested == Attested(
        identity=Identity("shop", "web"),
        workload=WEB,
        by="proof",
        evidence=f"{LEAF.chain[0].serial_number:x}",
    )


@pytest.mark.parametrize(
    ("shown", "now", "says"),
    [
        ("", NOW, "no token"),
        (token(), NOW + 3621, "expired"),
        (token(domain="other.example"), NOW, "for trust domain 'other.example'"),
        (proof(), NOW + 81, "expired"),
        (proof(at=NOW + 100), NOW, "from the future"),
        (proof(workload="shop/web.2"), NOW, "claims workload 'shop/web.2'"),
        (proof(workload="store/web.1"), NOW, "claims workload 'store/web.1'"),
        (proof(Leaf(KEY, LEAF.chain)), NOW, "does not match the key"),
        (proof(Pki(NOW).leaf("web", "web.1")), NOW, "does not lead to an anchor"),
        (proof(at=NOW + 7200), NOW + 7200, "does not lead to an anchor"),
        (proof(Leaf(LEAF.key, LEAF.chain + PKI.anchor.chain * 3)), NOW, "4 at most"),
        (proof(Leaf(PKI.issuer.key, PKI.issuer.chain)), NOW, "does not lead to an anchor"),
        (proof(Leaf(PKI.anchor.key, PKI.anchor.chain)), NOW, "does not lead to an anchor"),
        (jwt.sign(jwt.Claims(aud="x", iat=NOW, exp=NOW), KEY, x5c=[b"junk"]), NOW, "X.509 in DER"),
    ],
)
async def test_what_shows_nobody_is_refused_with_the_reason(
    shown: str, now: float, says: str
) -> None:
    with pytest.raises(InvalidToken, match=says):
        await ATTEST(shown, now)


async def test_a_leaf_of_another_trust_domain_proves_nothing_here() -> None:
    # The same anchors, another mesh: a federation is not a membership.
    foreign = Pki(NOW, "other.example")
    attest = Proofs(lambda: foreign.anchor.chain, "cluster.local")

    with pytest.raises(InvalidToken, match="not of trust domain 'cluster\\.local'"):
        await attest.attest(jwt.parse(proof(foreign.leaf("web", "web.1"))), NOW)


@pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf"), 367 * 86_400])
def test_no_token_lives_for_ever(lifetime: float) -> None:
    with pytest.raises(InvalidToken, match="lifetime"):
        token(lifetime=lifetime)


def test_no_token_is_issued_for_a_name_that_is_none() -> None:
    with pytest.raises(InvalidName, match="service account 'Web'"):
        token(account="Web")


def test_a_key_that_is_none_is_named() -> None:
    with pytest.raises(InvalidCertificate, match="private key in PEM"):
        issue(b"nothing", WEB, "web", trust_domain="cluster.local", now=NOW)
