"""Documents on disk: what was kept is there after a restart, whatever happened to the file meanwhile."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.contract import subjects
from common.contract.discovery import Service, Workload
from common.names import ServiceName, WorkloadName
from proxy.control.kept import FILE, Kept

BOOKS = subjects.service(ServiceName("shop", "books"))
WEB = subjects.workload(WorkloadName("shop", "web-1"))


def books(*slices: str) -> Service:
    return Service(namespace="shop", name="books", slices=slices)


def kept(folder: Path) -> Kept:
    """What a proxy that starts now has kept."""
    return Kept(folder)


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    before = kept(tmp_path)
    before.put(BOOKS, books("a", "b"), 7)
    before.put(WEB, Workload(namespace="shop", name="web-1", default_policy="deny"), 9)
    before.save()
    after = kept(tmp_path)

    assert after.get(BOOKS) == (books("a", "b"), 7)
    found = after.get(WEB)
    assert found is not None
    assert found[0].default_policy == "deny"


def test_a_later_revision_replaces_and_a_drop_removes(tmp_path: Path) -> None:
    before = kept(tmp_path)
    before.put(BOOKS, books("a"), 7)
    before.put(BOOKS, books("b"), 8)
    before.put(WEB, Workload(namespace="shop", name="web-1"), 9)
    before.save()
    before.drop(WEB)
    before.drop(WEB)
    before.save()
    after = kept(tmp_path)

    assert after.get(BOOKS) == (books("b"), 8)
    assert after.get(WEB) is None


def test_a_beginning_without_a_file_is_empty(tmp_path: Path) -> None:
    assert kept(tmp_path).get(BOOKS) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"a": 1}',
        b'{"tulle.v1.discovery.service.shop.books": {"revision": "x", "document": {}}}',
        b'{"tulle.v1.discovery.service.shop.books": {"revision": 1}}',
        b"\0" * 100,
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_damaged_is_a_beginning_without_one(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    begun = kept(tmp_path)
    assert begun.get(BOOKS) is None

    begun.put(BOOKS, books("a"), 1)
    begun.save()
    assert kept(tmp_path).get(BOOKS) == (books("a"), 1)


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_no_damage_to_a_byte_keeps_a_proxy_from_starting(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    before = kept(folder)
    before.put(BOOKS, books("a", "b"), 7)
    before.put(WEB, Workload(namespace="shop", name="web-1"), 9)
    before.save()
    data = bytearray((folder / FILE).read_bytes())
    data[at % len(data)] = byte
    (folder / FILE).write_bytes(data)
    after = kept(folder)

    after.get(BOOKS)
    after.get(WEB)


def test_one_document_that_is_not_what_its_subject_promises_costs_only_itself(
    tmp_path: Path,
) -> None:
    before = kept(tmp_path)
    before.put(BOOKS, books("a"), 7)
    before.put(WEB, Workload(namespace="shop", name="web-1"), 9)
    before.save()
    text = (tmp_path / FILE).read_text().replace('"slices":["a"]', '"slices":7')
    (tmp_path / FILE).write_text(text)
    after = kept(tmp_path)

    assert after.get(BOOKS) is None
    assert after.get(WEB) is not None


def test_a_file_that_was_half_written_never_takes_the_place_of_a_good_one(tmp_path: Path) -> None:
    before = kept(tmp_path)
    before.put(BOOKS, books("a"), 7)
    before.save()
    # As after a power cut: the next version was being written.
    (tmp_path / FILE).with_suffix(".new").write_bytes(b'{"tulle.v1.disc')

    assert kept(tmp_path).get(BOOKS) == (books("a"), 7)
    before.put(BOOKS, books("b"), 8)
    before.save()
    assert kept(tmp_path).get(BOOKS) == (books("b"), 8)


def test_only_the_proxy_may_read_the_file(tmp_path: Path) -> None:
    before = kept(tmp_path)
    before.put(BOOKS, books(), 1)
    before.save()

    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_survived_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    begun = kept(folder)
    begun.put(BOOKS, books("a"), 1)
    begun.save()
    assert "documents not kept" in caplog.text
    assert begun.get(BOOKS) == (books("a"), 1)

    folder.mkdir()
    begun.save()
    assert kept(folder).get(BOOKS) == (books("a"), 1)


def test_a_file_that_is_a_folder_is_survived(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    begun = kept(tmp_path)
    begun.put(BOOKS, books("a"), 1)
    begun.save()

    assert begun.get(BOOKS) == (books("a"), 1)


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    begun = kept(tmp_path)
    begun.put(BOOKS, books("a"), 1)
    begun.save()
    (tmp_path / FILE).unlink()
    begun.put(BOOKS, books("a"), 1)
    begun.save()

    assert not os.listdir(tmp_path)
