"""The steps of a rotation of the bus's own keys, taken on the files; whether it is time is asked elsewhere.

The progress is written before the files in force are: whoever comes after a crash lays them out again.
"""

from collections.abc import Collection

import msgspec

from common.clock import Clock
from common.contract.identity import KeyAge, KeyKind
from common.errors import Refused
from services.identity import key_files, key_progress
from services.identity.directory import MeshDirectory
from services.identity.key_progress import LIVE, KeyProgress
from services.identity.progress import FORWARD, TRANSITIONS, Retired
from services.identity.tokens import LONGEST


class KeySteps:
    """The progress of one mesh directory. Methods raise InvalidSettings (the files) or OSError."""

    def __init__(self, mesh: MeshDirectory, clock: Clock) -> None:
        self.progress = KeyProgress()
        self.mesh = mesh
        self._clock = clock

    def resume(self) -> None:
        """Go on where whoever was here before has stopped."""
        self.progress = key_progress.load(self.mesh)
        key_files.lay_out(self.mesh, self.progress)
        self.forget()

    def begin(self, what: tuple[KeyKind, ...], *, distrust: bool) -> None:
        """Lay new keys beside those in force; by default of all kinds that need no restart of NATS.

        `distrust`: the old ones may be known to others. Raises Refused if a rotation is under way, or there
        are no such keys.
        """
        before = self.progress
        if before.phase != "steady":
            raise Refused(f"another rotation is under way: of {', '.join(before.what)}")
        if not self.mesh.servers_file.exists():
            raise Refused(f"{self.mesh.servers_file}: not there; expected what bootstrap writes")
        known = key_files.kinds(self.mesh)
        if missing := sorted({*what} - {*known}):
            raise Refused(f"{', '.join(missing)}: this mesh has no such keys")
        chosen = tuple(kind for kind in known if kind in (what or LIVE))
        key_files.make(self.mesh, chosen)
        began = KeyProgress(phase="added", since=self._clock.now(), what=chosen, distrusts=distrust)
        self._go_to(_carried(began, before))

    def take(self) -> None:
        """Take the next step of those that have begun; raises Refused if none has."""
        before, now = self.progress, self._clock.now()
        if before.phase == "steady":
            raise Refused("no rotation is under way")
        phase = TRANSITIONS[before.phase, FORWARD[before.phase]]
        if phase == "steady":
            self._go_to(self._ended(now))
        else:
            self._go_to(msgspec.structs.replace(before, phase=phase, since=now))

    def turn_back(self) -> None:
        """From here on the old keys are those to be in force in the end, or else the new ones again."""
        before, now = self.progress, self._clock.now()
        if before.phase == "steady":
            raise Refused("back: no rotation is under way")
        turned = {"coming": before.going, "phase": "added", "since": now}
        self._go_to(msgspec.structs.replace(before, **turned))

    def note(self, *, left_behind: Collection[str] = (), members: Collection[str] = ()) -> None:
        """Remember who is not waited for, and who was there."""
        before = self.progress
        noted = msgspec.structs.replace(
            before,
            left_behind=tuple(sorted({*before.left_behind, *left_behind})),
            members=tuple(sorted({*before.members, *members})),
        )
        if noted != before:
            self._save(noted)

    def forget(self) -> None:
        """Public keys of which no join token can be valid any more."""
        now = self._clock.now()
        ended = [one for one in self.progress.retired if one.until <= now]
        if ended:
            key_files.forget(self.mesh, [one.pem for one in ended])
            kept = tuple(one for one in self.progress.retired if one not in ended)
            self._save(msgspec.structs.replace(self.progress, retired=kept))

    def ages(self) -> tuple[KeyAge, ...]:
        """Since when there are the keys in force."""
        return tuple(
            KeyAge(kind=kind, since=self._since(kind)) for kind in key_files.kinds(self.mesh)
        )

    def _since(self, kind: KeyKind) -> float:
        files = key_files.used(self.mesh, kind)
        known = self.progress.changed.get(kind)
        return min(path.stat().st_mtime for path in files) if known is None else known

    def _ended(self, now: float) -> KeyProgress:
        before = self.progress
        ended = _carried(KeyProgress(since=now), before)
        if "tokens" in before.what and not before.distrusts:
            pem = key_files.going_tokens(self.mesh, before)
            retired = (*before.retired, Retired(pem=pem, until=now + LONGEST))
            ended = msgspec.structs.replace(ended, retired=retired)
        if before.coming == "old":
            return ended
        changed = before.changed | dict.fromkeys(before.what, now)
        return msgspec.structs.replace(ended, changed=changed, completed=before.completed + 1)

    def _go_to(self, progress: KeyProgress) -> None:
        self._save(progress)
        key_files.lay_out(self.mesh, progress)

    def _save(self, progress: KeyProgress) -> None:
        key_progress.save(self.mesh, progress)
        self.progress = progress


def _carried(progress: KeyProgress, before: KeyProgress) -> KeyProgress:
    """With what outlasts a rotation."""
    return msgspec.structs.replace(
        progress, retired=before.retired, changed=before.changed, completed=before.completed
    )
