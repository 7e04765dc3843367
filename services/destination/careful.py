"""What stays on the bus while part of the source is not known. Pure.

After a start with a broken file, nobody can tell an object that was deleted from one that stands in that
file. So nothing is taken away that was published before, until every file has been understood once.
"""

import msgspec

from common.contract.discovery import Endpoint, EndpointSlice, Service
from common.contract.topic import Document
from common.names import WorkloadName
from services.destination.index import Index


def keep(index: Index, document: Document, published: Document) -> Document:
    """`document`, and what `published` says beyond it that may only be missing because it is not known."""
    match document, published:
        case Service(), Service():
            names = {*document.slices, *published.slices}
            return msgspec.structs.replace(document, slices=tuple(sorted(names)))
        case EndpointSlice(), EndpointSlice():
            before = {(e.address, e.workload, e.uid): e for e in published.endpoints}
            endpoints = (_keep(index, e, before) for e in document.endpoints)
            return msgspec.structs.replace(document, endpoints=tuple(endpoints))
    return document


def _keep(
    index: Index, endpoint: Endpoint, before: dict[tuple[str, str, str], Endpoint]
) -> Endpoint:
    """An endpoint whose pod is not known stays as it was, rather than not ready."""
    if not endpoint.workload or WorkloadName(endpoint.namespace, endpoint.workload) in index.pods:
        return endpoint
    return before.get((endpoint.address, endpoint.workload, endpoint.uid), endpoint)
