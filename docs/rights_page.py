"""docs/rights.md: what each part of the control plane may do in a cluster and why, as k8s/ has it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parent.parent / "k8s"
_PIECE = re.compile(r"^---$", re.M)
_RULE = re.compile(r"((?:^  # .*\n)+)  - apiGroups:", re.M)

HEAD = """# What the control plane may do in a cluster

*Written by `make docs` from `k8s/`; do not edit.*

Each part has an account of its own with just these rights. `tests/kube/test_rights.py` compares them with what
a real API server says that each account may do, and tries what a thief of it would try. Names after a colon are
the only objects that a right is for; Kubernetes cannot bind `create` to a name.
"""


def page() -> str:
    """The page."""
    return HEAD + "".join(f"\n## `{name}`\n\n{text}" for name, text in _accounts())


def _accounts() -> Iterator[tuple[str, str]]:
    for file in sorted(K8S.glob("*.yaml")):
        pieces = [piece for piece in _PIECE.split(file.read_text()) if "kind:" in piece]
        items = [(piece, yaml.safe_load(piece)) for piece in pieces]
        rows = [row for piece, item in items for row in _rows(piece, item)]
        for _, item in items:
            if item["kind"] == "ServiceAccount":
                table = "| where | may | on | why |\n|---|---|---|---|\n" + "".join(rows)
                nothing = "Nothing: its pods have no token to ask with.\n"
                yield item["metadata"]["name"], table if rows else nothing


def _rows(piece: str, item: dict[str, Any]) -> Iterator[str]:
    if item["kind"] not in ("Role", "ClusterRole"):
        return
    where = f"in `{item['metadata']['namespace']}`" if item["kind"] == "Role" else "everywhere"
    reasons = [" ".join(re.findall(r"# (.*)", text)) for text in _RULE.findall(piece)]
    for rule, why in zip(item["rules"], reasons, strict=True):
        verbs = ", ".join(rule["verbs"])
        yield f"| {where} | {verbs} | {_things(rule)} | {why} |\n"


def _things(rule: dict[str, Any]) -> str:
    (group,) = rule["apiGroups"]
    kinds = ", ".join(f"{kind}.{group}" if group else kind for kind in rule["resources"])
    names = ", ".join(f"`{name}`" for name in rule.get("resourceNames", ()))
    return f"{kinds}: {names}" if names else kinds
