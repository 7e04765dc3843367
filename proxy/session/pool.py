"""Idle connections to endpoints, kept warm for the next request."""

import asyncio
from collections.abc import Hashable

from proxy.session.http1_client import Http1Client

IDLE_LIMIT = 1024
"""Idle connections in one pool at most; one more is closed instead of kept."""


class Pool:
    """Idle HTTP/1.1 connections by endpoint; the one used last is used next, so that the rest can age."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._idle: dict[Hashable, list[Http1Client]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def take(self, key: Hashable) -> Http1Client | None:
        """A connection that can begin an exchange now, or None."""
        idle = self._idle.get(key)
        while idle:
            client = idle.pop()
            self._size -= 1
            if client.usable:
                return client
        return None

    def give(self, key: Hashable, client: Http1Client) -> None:
        """Keep a connection for a while."""
        if self._size >= IDLE_LIMIT:
            client.close()
            return
        client.deadline = asyncio.get_running_loop().time() + self._idle_seconds
        self._idle.setdefault(key, []).append(client)
        self._size += 1

    def forget(self, key: Hashable, client: Http1Client) -> None:
        """The connection is gone."""
        idle = self._idle.get(key, [])
        if client in idle:
            idle.remove(client)
            self._size -= 1
        if not idle:
            self._idle.pop(key, None)
