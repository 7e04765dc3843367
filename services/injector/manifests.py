"""`tulle inject` and `tulle uninject`: manifests in, manifests out.

Every kind that makes pods is known, alone, in a List and among other documents. What is not changed
comes out as it went in, to the byte.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from services.injector.annotations import ENABLED
from services.injector.decide import annotations, mapping
from services.injector.inject import inject, uninject
from services.injector.options import Mesh
from services.injector.patch import Operation, Pointer, apply
from services.injector.yaml_text import InvalidManifest, dump, parse

_TEMPLATE: Pointer = ("spec", "template")
# Kind: the API group that has it, and where its pods' template lies.
KINDS: Mapping[str, tuple[str, Pointer]] = {
    "Pod": ("", ()),
    "ReplicationController": ("", _TEMPLATE),
    "Deployment": ("apps", _TEMPLATE),
    "ReplicaSet": ("apps", _TEMPLATE),
    "StatefulSet": ("apps", _TEMPLATE),
    "DaemonSet": ("apps", _TEMPLATE),
    "Job": ("batch", _TEMPLATE),
    "CronJob": ("batch", ("spec", "jobTemplate", "spec", "template")),
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one workload."""

    kind: str
    name: str
    result: Literal["injected", "skipped", "uninjected", "unchanged"]
    reason: str = ""
    warnings: tuple[str, ...] = ()


Change = Callable[[dict[str, Any]], tuple[tuple[Operation, ...], Outcome | None]]


def inject_text(text: str, mesh: Mesh) -> tuple[str, list[Outcome]]:
    """Inject every workload of a file that does not refuse; raises InvalidManifest.

    Annotations of a Namespace count for the workloads in it, if it is in the same file.
    """
    namespaces: dict[str, Mapping[str, str]] = {}

    def remember(item: dict[str, Any]) -> tuple[tuple[Operation, ...], None]:
        if item.get("kind") == "Namespace" and item.get("apiVersion") == "v1":
            namespaces[_metadata(item, "name")] = annotations(item)
        return (), None

    _changed(text, remember)
    return _changed(text, lambda item: _inject(item, mesh, namespaces))


def uninject_text(text: str) -> tuple[str, list[Outcome]]:
    """Take away what `inject_text` adds; raises InvalidManifest."""
    return _changed(text, _uninject)


def _inject(
    item: dict[str, Any], mesh: Mesh, namespaces: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[Operation, ...], Outcome | None]:
    at = _where(item)
    if at is None:
        return (), None
    name = _metadata(item, "name")
    found = inject(
        item,
        mesh,
        namespaces.get(_metadata(item, "namespace") or "default", {}),
        at=at,
        owner=name if at else "",
        otherwise=ENABLED,
    )
    return found.operations, Outcome(
        kind=str(item["kind"]),
        name=name,
        result="skipped" if found.verdict.skip else "injected",
        reason=found.verdict.skip or "",
        warnings=found.warnings,
    )


def _uninject(item: dict[str, Any]) -> tuple[tuple[Operation, ...], Outcome | None]:
    at = _where(item)
    if at is None:
        return (), None
    operations = uninject(item, at=at)
    result: Literal["uninjected", "unchanged"] = "uninjected" if operations else "unchanged"
    return operations, Outcome(kind=str(item["kind"]), name=_metadata(item, "name"), result=result)


def _where(item: Mapping[str, Any]) -> Pointer | None:
    """Where a workload's pod lies; None if it is no workload."""
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    known = KINDS.get(str(item.get("kind")))
    return known[1] if known and known[0] == group else None


def _metadata(item: Mapping[str, Any], field: str) -> str:
    metadata = mapping(item.get("metadata"))
    return str(metadata.get(field) or (metadata.get("generateName", "") if field == "name" else ""))


def _changed(text: str, change: Change) -> tuple[str, list[Outcome]]:
    outcomes: list[Outcome] = []
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except ValueError:
            pass  # YAML may begin so as well
        else:
            differs = _change(document, change, outcomes)
            return (
                json.dumps(document, indent=2, ensure_ascii=False) + "\n" if differs else text
            ), outcomes
    pieces = []
    for number, part in enumerate(parse(text)):
        if not _change(part.value, change, outcomes):
            pieces.append(part.text)
            continue
        mark = "---\n" if number or part.text.lstrip().startswith("---") else ""
        pieces.append(mark + dump(part.value))
    return _joined(pieces), outcomes


def _change(document: Any, change: Change, outcomes: list[Outcome]) -> bool:
    """Change what is to be changed, in place; True if anything was."""
    differs = False
    for item in _items(document):
        operations, outcome = change(item)
        outcomes += [outcome] if outcome else []
        apply(item, list(operations))
        differs |= bool(operations)
    return differs


def _items(document: Any) -> Iterator[dict[str, Any]]:
    """The objects of a document, in order; a List is what it holds."""
    if document is None or document == "":
        return
    if not isinstance(document, dict):
        raise InvalidManifest("a document is no mapping; expected objects of Kubernetes")
    if document.get("kind") != "List" or document.get("apiVersion") != "v1":
        yield document
        return
    items = document.get("items")
    for item in items if isinstance(items, list) else ():
        yield from _items(item)


def _joined(pieces: list[str]) -> str:
    """Documents one after another; each but the last ends its line."""
    ended = [p if p.endswith("\n") else p + "\n" for p in pieces[:-1]]
    return "".join([*ended, *pieces[-1:]])
