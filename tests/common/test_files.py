"""Files that are whole or not there."""

from pathlib import Path

import pytest

from common.files import private_folder, replace


def test_a_file_is_replaced_whole_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)

    replace(path, b"new")

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_public_file_is_readable_by_all(tmp_path: Path) -> None:
    replace(tmp_path / "anchor", b"", 0o644)

    assert (tmp_path / "anchor").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_written_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()

    with pytest.raises(OSError, match="folder"):
        replace(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="No such file"):
        replace(tmp_path / "missing" / "key", b"new")


def test_a_private_folder_is_made_or_closed(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)

    for path in (open_to_all, tmp_path / "new" / "folder"):
        assert private_folder(path).stat().st_mode & 0o777 == 0o700
