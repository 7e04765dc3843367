"""What Kubernetes asks when a pod is created, and the answer: AdmissionReview in, AdmissionReview out."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import msgspec

from common.errors import MeshError
from services.injector.decide import listing, mapping
from services.injector.patch import Operation

API = "admission.k8s.io/v1"
_WARNING_LENGTH = 250
_WARNINGS = 15
"""Of an answer: the API server cuts off longer ones, and shows about 4 kB of all."""


class InvalidReview(MeshError):
    """What was asked is no AdmissionReview of a pod's creation."""

    reason = "invalid-review"


class _Kind(msgspec.Struct, frozen=True):
    group: str
    version: str
    kind: str


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """The question: may this be created, and how?"""

    uid: str
    kind: _Kind
    namespace: str
    operation: str
    object: Any = None
    dry_run: bool = False

    @property
    def is_pod(self) -> bool:
        """True for the creation of a pod; nothing else is our business."""
        kind = (self.kind.group, self.kind.kind)
        return kind == ("", "Pod") and self.operation == "CREATE" and isinstance(self.object, dict)


class Owner(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What makes a pod, as an Event refers to it."""

    api_version: str
    kind: str
    name: str
    uid: str
    namespace: str = ""


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    request: Request


_decoder = msgspec.json.Decoder(_Review)


def read(body: bytes) -> Request:
    """The question in a body; raises InvalidReview."""
    try:
        review = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidReview(f"{error}; expected an AdmissionReview with a request") from None
    if review.api_version != API:
        raise InvalidReview(f"apiVersion {review.api_version!r}: expected {API}")
    return review.request


def answer(uid: str, operations: Sequence[Operation] = (), warnings: Sequence[str] = ()) -> bytes:
    """Yes, with a patch if there is one, and with warnings for whoever asked."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if operations:
        patch = b64encode(msgspec.json.encode(operations)).decode()
        response |= {"patchType": "JSONPatch", "patch": patch}
    if warnings:
        shown = [f"tulle: {text}"[:_WARNING_LENGTH] for text in warnings[:_WARNINGS]]
        response["warnings"] = shown
    return msgspec.json.encode({"apiVersion": API, "kind": "AdmissionReview", "response": response})


def owner(pod: Any, namespace: str) -> Owner | None:
    """What makes the pod; None if it stands alone."""
    references = listing(mapping(mapping(pod).get("metadata")).get("ownerReferences"))
    for reference in sorted(references, key=lambda r: r.get("controller") is not True)[:1]:
        try:
            return msgspec.convert({**reference, "namespace": namespace}, Owner)
        except msgspec.ValidationError:
            return None
    return None
