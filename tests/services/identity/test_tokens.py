"""Join tokens and proofs: what is issued attests, and nothing else does."""

import base64

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
from tests.support.ledger import Memory
from tests.support.pki import Leaf, Pki

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
KEY, OLD_KEY = generate_key(), generate_key()
WEB = WorkloadName("shop", "web.1")
PKI = Pki(NOW)
LEAF = PKI.leaf("web", "web.1")
HOST = "10.1.2.3"


@pytest.fixture
def attest() -> Attest:
    """Attestors that have seen nothing yet."""
    keys = [KEY.public_key(), OLD_KEY.public_key()]
    return Attest(
        join=JoinTokens(lambda: keys, "cluster.local", Memory()),
        proof=Proofs(lambda: PKI.anchor.chain, "cluster.local"),
    )


def token(account: str = "web", domain: str = "cluster.local", **changes: float) -> str:
    return issue(key_pem(KEY), WEB, account, trust_domain=domain, now=NOW, **changes)


def proof(leaf: Leaf = LEAF, workload: str = str(WEB), at: float = NOW) -> str:
    claims = Proof(aud=PROOF_AUDIENCE, iat=at, exp=at + 60, workload=workload)
    return jwt.sign(claims, leaf.key, x5c=[one.public_bytes(Encoding.DER) for one in leaf.chain])


async def test_a_join_token_names_workload_and_identity(attest: Attest) -> None:
    attested = await attest(token(), HOST, NOW + 3600)

    assert attested.workload == WEB
    assert attested.identity == Identity("shop", "web")
    assert attested.by == "join-token"


async def test_a_token_of_an_older_key_still_attests(attest: Attest) -> None:
    old = issue(key_pem(OLD_KEY), WEB, "web", trust_domain="cluster.local", now=NOW)

    assert (await attest(old, HOST, NOW)).workload == WEB


async def test_two_tokens_for_the_same_are_told_apart(attest: Attest) -> None:
    first, second = await attest(token(), HOST, NOW), await attest(token(), HOST, NOW)

    assert first.evidence != second.evidence


async def test_a_proof_names_what_its_leaf_names(attest: Attest) -> None:
    attested = await attest(proof(), HOST, NOW)

    assert attested == Attested(
        identity=Identity("shop", "web"),
        workload=WEB,
        by="proof",
        evidence=f"{LEAF.chain[0].serial_number:x}",
        issued=NOW,
    )


async def test_a_join_token_attests_once(attest: Attest) -> None:
    shown = token(lifetime=86_400)
    await attest(shown, HOST, NOW)

    with pytest.raises(InvalidToken, match="was used 121 s ago; it attests once"):
        await attest(shown, HOST, NOW + 121)
    with pytest.raises(InvalidToken, match="was used 1 s ago, by another host"):
        await attest(shown, "10.1.2.4", NOW + 1)


async def test_who_was_cut_off_before_the_certificate_came_may_show_the_token_again(
    attest: Attest,
) -> None:
    shown = token()
    await attest(shown, HOST, NOW)

    assert (await attest(shown, HOST, NOW + 119)).workload == WEB


async def test_a_token_that_is_refused_is_not_used_up(attest: Attest) -> None:
    shown = token()
    with pytest.raises(InvalidToken, match="from the future"):
        await attest(shown, "10.1.2.4", NOW - 60)

    assert (await attest(shown, HOST, NOW)).workload == WEB


async def test_a_proof_is_good_for_one_connection(attest: Attest) -> None:
    shown, fresh = proof(), proof(at=NOW + 0.001)
    await attest(shown, HOST, NOW)

    with pytest.raises(InvalidToken, match="was shown before"):
        await attest(shown, HOST, NOW + 79)
    assert (await attest(fresh, HOST, NOW)).workload == WEB


async def test_the_other_spelling_of_a_proof_s_signature_is_the_same_proof(attest: Attest) -> None:
    shown = proof()
    head, claims, signature = shown.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    # ECDSA on P-256: where (r, s) fits, (r, order - s) fits as well.
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    s = order - int.from_bytes(raw[32:], "big")
    other = base64.urlsafe_b64encode(raw[:32] + s.to_bytes(32, "big")).rstrip(b"=").decode()
    await attest(shown, HOST, NOW)

    with pytest.raises(InvalidToken, match="was shown before"):
        await attest(f"{head}.{claims}.{other}", HOST, NOW)


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
    attest: Attest, shown: str, now: float, says: str
) -> None:
    with pytest.raises(InvalidToken, match=says):
        await attest(shown, HOST, now)


async def test_a_leaf_of_another_trust_domain_proves_nothing_here() -> None:
    # The same anchors, another mesh: a federation is not a membership.
    foreign = Pki(NOW, "other.example")
    proofs = Proofs(lambda: foreign.anchor.chain, "cluster.local")

    with pytest.raises(InvalidToken, match="not of trust domain 'cluster\\.local'"):
        await proofs.attest(jwt.parse(proof(foreign.leaf("web", "web.1"))), HOST, NOW)


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
