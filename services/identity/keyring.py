"""The keys with which identity answers NATS, as they are now: while they are replaced, the old and the new.

A server asks with the keys of the configuration that it has read, and understands an answer that is made
with the same. So whichever server has read which configuration, each is answered.
"""

from services.identity import nkey
from services.identity.directory import MeshDirectory, beside
from services.identity.live import Live
from services.identity.nkey import KeyPair
from services.identity.xkey import BoxKey


class Keyring:
    """What signs who is admitted, and what opens the questions, by their public halves."""

    def __init__(self, mesh: MeshDirectory) -> None:
        """Raises InvalidSettings if one of them is missing or malformed."""
        accounts, boxes = (
            (path, beside(path, "new"), beside(path, "old"))
            for path in (mesh.account_file, mesh.callout_file)
        )
        self._accounts = Live(
            accounts,
            lambda: {
                key.public: key
                for path in accounts
                if path == mesh.account_file or path.exists()
                for key in [mesh.seed(path, nkey.ACCOUNT)]
            },
        )
        self._boxes = Live(
            boxes,
            lambda: {
                box.public: box
                for path in boxes
                if path == mesh.callout_file or path.exists()
                for box in [mesh.box(path)]
            },
        )

    @property
    def accounts(self) -> dict[str, KeyPair]:
        """What signs who is admitted."""
        return self._accounts()

    @property
    def boxes(self) -> dict[str, BoxKey]:
        """What opens the questions."""
        return self._boxes()
