"""The steps of a rotation, taken on the files of the mesh directory; whether it is time is asked elsewhere.

The progress is written before the files in force are: whoever comes after a crash lays them out again. A
rotation that ends is settled first, because afterwards nothing says what was to be in force.
"""

from collections.abc import Collection

import msgspec

from common.clock import Clock
from common.contract.identity import RotationPhase
from common.errors import Refused
from common.x509 import chain_pem
from services.identity import material
from services.identity import progress as progresses
from services.identity.directory import MeshDirectory
from services.identity.progress import TRANSITIONS, Progress, Retired, Step


class Steps:
    """The progress of one mesh directory. Methods raise InvalidSettings (the files) or OSError."""

    def __init__(
        self, mesh: MeshDirectory, trust_domain: str, leaf_seconds: float, clock: Clock
    ) -> None:
        self.progress = Progress()
        self.mesh = mesh
        self._trust_domain = trust_domain
        self._leaf_seconds = leaf_seconds
        self._clock = clock

    def resume(self) -> None:
        """Go on where whoever was here before has stopped."""
        self.progress = progresses.load(self.mesh)
        material.lay_out(self.mesh, self.progress)
        self._forget()

    def check(self, step: Step) -> None:
        """Raise Refused if there is no such step from here."""
        if (self.progress.phase, step) not in TRANSITIONS:
            known = [s for phase, s in TRANSITIONS if phase == self.progress.phase]
            raise Refused(
                f"{step}: not from phase {self.progress.phase!r}; expected {' or '.join(known)}"
            )

    def take(self, step: Step, present: Collection[str] = (), *, distrust: bool = False) -> None:
        """Take a step; raises Refused if there is no such step from here.

        `present` are those who are there as a rotation begins, `distrust`: the old anchor's key may be
        known to others.
        """
        self.check(step)
        before = self.progress
        phase = TRANSITIONS[before.phase, step]
        now = self._clock.now()
        if step == "add":
            self._begin(present, now, distrust=distrust)
        elif phase == "steady":
            self._end(now, completed=step == "finish")
        else:
            retired = self._retired(phase, now)
            self._save(msgspec.structs.replace(before, phase=phase, since=now, retired=retired))
        material.lay_out(self.mesh, self.progress)

    def renew_issuer(self) -> bool:
        """Another issuer below the same anchor, in time, if no rotation is under way; says whether."""
        return self.progress.phase == "steady" and material.renew_issuer(
            self.mesh, self._trust_domain, self._clock.now()
        )

    def note(
        self,
        *,
        automatic: bool | None = None,
        left_behind: Collection[str] = (),
        members: Collection[str] = (),
    ) -> None:
        """Remember who is not waited for, who is there, and whether it goes on by itself."""
        before = self.progress
        noted = msgspec.structs.replace(
            before,
            automatic=before.automatic if automatic is None else automatic,
            left_behind=tuple(sorted({*before.left_behind, *left_behind})),
            members=tuple(sorted({*before.members, *members})),
        )
        if noted != before:
            self._save(noted)

    def _begin(self, present: Collection[str], now: float, *, distrust: bool) -> None:
        if self.mesh.foreign:
            raise Refused(
                f"the issuer comes from elsewhere ({self.mesh.issuer_file}): it is rotated there."
                f" Put its new anchor into {self.mesh.anchors_file} before, and take the old one"
                " out after"
            )
        before = self.progress
        old, new = material.make(self.mesh, self._trust_domain, now, vouched=not distrust)
        began = Progress(phase="added", since=now, old=old, new=new, members=tuple(sorted(present)))
        self._save(_carried(began, before, distrusts=distrust))

    def _end(self, now: float, *, completed: bool) -> None:
        before = self.progress
        material.settle(self.mesh, "new" if completed else "old", now, forget=before.distrusts)
        ended = _carried(Progress(since=now), before)
        number = before.completed + (1 if completed else 0)
        self._save(msgspec.structs.replace(ended, completed=number))

    def _retired(self, phase: RotationPhase, now: float) -> tuple[Retired, ...]:
        """With the old anchor from when it is trusted no more; not with one that is in force, or distrusted."""
        before = self.progress
        path, _ = self.mesh.anchor_files("old")
        pem = chain_pem(self.mesh.certificates(path)).decode()
        others = tuple(one for one in before.retired if one.pem != pem)
        if phase != "removed":
            return others
        until = now + self._leaf_seconds
        return () if before.distrusts else (*others, Retired(pem=pem, until=until))

    def _forget(self) -> None:
        """Anchors below which no leaf can be valid any more."""
        now = self._clock.now()
        kept = tuple(one for one in self.progress.retired if now < one.until)
        if kept != self.progress.retired:
            self._save(msgspec.structs.replace(self.progress, retired=kept))

    def _save(self, progress: Progress) -> None:
        progresses.save(self.mesh, progress)
        self.progress = progress


def _carried(progress: Progress, before: Progress, *, distrusts: bool = False) -> Progress:
    """With what outlasts a rotation."""
    return msgspec.structs.replace(
        progress,
        distrusts=distrusts,
        retired=before.retired,
        completed=before.completed,
    )
