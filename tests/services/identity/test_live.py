"""What files say, read again whenever they have changed."""

from pathlib import Path

from common.errors import InvalidSettings
from services.identity.live import Live


def test_what_could_not_be_read_for_a_moment_is_read_at_the_next(tmp_path: Path) -> None:
    file, troubles = tmp_path / "keys", list[str]()
    file.write_text("old")

    def read() -> str:
        if troubles:
            raise InvalidSettings(troubles.pop())
        return file.read_text()

    live = Live([file], read)
    file.write_text("another")
    troubles.append("too many open files")

    assert live() == "old"
    assert live() == "another"
