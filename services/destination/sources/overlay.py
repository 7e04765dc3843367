"""Objects from several files: where one stands in two, the file whose path sorts first is believed.

Law: what is shown follows from what the files say now, not from the order in which they said it.
"""

from collections.abc import Iterable, Iterator

from services.destination.resources import Change, Put, Ref, Removed, Resource


class Overlay:
    """What each file says of each object."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Ref, ...]] = {}
        self._said: dict[Ref, dict[str, Resource]] = {}
        self._doubled: set[Ref] = set()

    def __len__(self) -> int:
        return len(self._said)

    def replace(self, path: str, resources: Iterable[Resource]) -> list[Change]:
        """A file says this now, and nothing else (nothing at all: it is gone); returns what changed."""
        new = {resource.ref: resource for resource in resources}
        touched = dict.fromkeys((*self._files.pop(path, ()), *new))
        if new:
            self._files[path] = tuple(new)
        changes = (self._say(path, ref, new.get(ref)) for ref in touched)
        return [change for change in changes if change is not None]

    def doubles(self) -> Iterator[tuple[Ref, str, str]]:
        """Each object that several files have: who says it in vain, and who is believed."""
        for ref in self._doubled:
            believed, *others = sorted(self._said[ref])
            yield from ((ref, other, believed) for other in others)

    def _say(self, path: str, ref: Ref, resource: Resource | None) -> Change | None:
        said = self._said.setdefault(ref, {})
        before = _shown(said)
        if resource is None:
            said.pop(path, None)
        else:
            said[path] = resource
        after = _shown(said)
        (self._doubled.add if len(said) > 1 else self._doubled.discard)(ref)
        if not said:
            del self._said[ref]
        if after == before:
            return None
        return Removed(ref) if after is None else Put(after)


def _shown(said: dict[str, Resource]) -> Resource | None:
    return said[min(said)] if said else None
