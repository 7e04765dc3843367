"""Another trust anchor in the middle of a run: `tulle demo --rotate`."""

import anyio
import msgspec

from common.bus import Bus
from common.contract import subjects
from common.contract.identity import Rotation, TrustChange, TrustQuestion
from common.errors import BusUnavailable, Refused

PATIENCE_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_LOOK_SECONDS = 0.3


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of its rotation."""

    completed: bool
    acknowledged: int
    """Workloads and services that had the new anchor, and no other, in force."""
    failed_requests: int = 0
    """Answered by proxies themselves from the rotation's beginning on, because of what is between them."""
    why: str | msgspec.UnsetType = msgspec.UNSET
    """Why it was not completed."""


async def rotate(bus: Bus) -> Rotated:
    """Rotate the mesh's trust anchor, and wait until that is done; never raises MeshError."""
    last = Rotation(trust_domain="")
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            before = await _ask(bus)
            change = TrustChange(step="rotate")
            await bus.request(subjects.trust_change(), change, timeout=_ANSWER_SECONDS)
            while True:
                last = await _ask(bus)
                # Who has acknowledged the last step says so again, now that nothing is under way.
                if last.completed > before.completed and not last.waiting:
                    return Rotated(completed=True, acknowledged=last.acknowledged)
                await anyio.sleep(_LOOK_SECONDS)
    except (BusUnavailable, Refused) as error:
        why = str(error)
    except TimeoutError:
        waiting = ", ".join(f"{one.name} ({one.why})" for one in last.waiting)
        why = f"phase {last.phase!r} after {PATIENCE_SECONDS:g} s: {waiting or last.trouble}"
    return Rotated(completed=False, acknowledged=last.acknowledged, why=why)


async def _ask(bus: Bus) -> Rotation:
    return await bus.request(subjects.trust_status(), TrustQuestion(), timeout=_ANSWER_SECONDS)
