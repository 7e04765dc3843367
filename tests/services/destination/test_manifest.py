"""A file's bytes → resources or mistakes with lines; and objects that stand in several files."""

from hypothesis import given
from hypothesis import strategies as st

from services.destination.resources import Pod, Put, Ref, Removed, Resource
from services.destination.sources.files import FILE_LIMIT
from services.destination.sources.manifest import read_manifest
from services.destination.sources.overlay import Overlay

TWO_PODS = b"""\
apiVersion: v1
kind: Pod
metadata: {name: a}
---
# a remark, and nothing else
---
apiVersion: v1
kind: Pod
metadata:
  name: %s
status: {podIP: %s}
"""


def test_several_documents_of_a_file_are_read() -> None:
    manifest = read_manifest(b"\xef\xbb\xbf" + TWO_PODS % (b"b", b"10.0.0.1"))

    assert manifest.resources == (
        Pod(namespace="default", name="a"),
        Pod(namespace="default", name="b", addresses=("10.0.0.1",)),
    )


def test_a_mistake_is_told_with_its_line_and_the_file_says_nothing() -> None:
    manifest = read_manifest(TWO_PODS % (b"B", b"x"))

    assert manifest.resources == ()
    assert [str(m).partition(": expected")[0] for m in manifest.mistakes] == [
        "line 10: metadata.name: pod 'B'",
        "line 11: status.podIP",
    ]


def test_one_object_twice_in_a_file_is_a_mistake() -> None:
    (mistake,) = read_manifest(TWO_PODS % (b"a", b"10.0.0.1")).mistakes

    assert str(mistake) == "line 10: metadata.name: Pod default/a is there twice"


def test_an_empty_file_says_nothing_and_that_is_no_mistake() -> None:
    for content in (b"", b"\n\n", b"# later\n", b"---\n"):
        assert read_manifest(content) == read_manifest(b"")
        assert not read_manifest(content).mistakes


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    (mistake,) = read_manifest(b"a: 1\nb: \xff\n").mistakes

    assert (mistake.line, mistake.message) == (2, "not UTF-8: invalid start byte")


def test_a_file_that_is_too_large_is_not_read() -> None:
    (mistake,) = read_manifest(b"#" * (FILE_LIMIT + 1)).mistakes

    assert "use several files" in mistake.message


def test_kinds_that_are_not_for_the_mesh_are_named_once() -> None:
    manifest = read_manifest(b"{apiVersion: v1, kind: Secret}\n---\n{apiVersion: v1, kind: Secret}")

    assert manifest.ignored == ("v1/Secret",)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    manifest = read_manifest(content)

    assert not (manifest.mistakes and manifest.resources)


pods: st.SearchStrategy[Resource] = st.builds(
    Pod, namespace=st.just("shop"), name=st.sampled_from("ab"), uid=st.sampled_from("12")
)
sayings = st.lists(
    st.tuples(st.sampled_from("xyz"), st.lists(pods, max_size=2, unique_by=lambda p: p.ref)),
    max_size=8,
)


@given(sayings)
def test_what_is_shown_follows_from_what_the_files_say_last(
    history: list[tuple[str, list[Resource]]],
) -> None:
    overlay = Overlay()
    shown: dict[Ref, Resource] = {}
    for path, resources in history:
        for change in overlay.replace(path, resources):
            match change:
                case Put(resource):
                    shown[resource.ref] = resource
                case Removed(ref):
                    del shown[ref]

    last = dict(history)
    expected: dict[Ref, Resource] = {}
    for path in sorted(last, reverse=True):
        expected.update({resource.ref: resource for resource in last[path]})
    assert shown == expected
    doubled = {ref for ref in expected if sum(r.ref == ref for p in last.values() for r in p) > 1}
    assert {ref for ref, _, _ in overlay.doubles()} == doubled
