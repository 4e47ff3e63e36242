"""Django's cache in Redis with one client, and so one pool of connections, in each process.

Django keeps a cache object for each context, and each request has a context of its own: its own backend would
connect anew in every request, which costs more than the counting that it is asked for.
"""

from __future__ import annotations

import threading
from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient

_clients: dict[tuple[str, ...], Any] = {}
_lock = threading.Lock()


class _KeptClient(RedisCacheClient):
    """Keeps a client for each pool, where Django makes one for each command: that costs as much as the command."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: dict[int, Any] = {}

    def get_client(self, key: Any = None, *, write: bool = False) -> Any:
        index = self._get_connection_pool_index(write)  # type: ignore[attr-defined]
        return self._kept.get(index) or self._kept.setdefault(index, super().get_client(key, write=write))


class SharedRedisCache(RedisCache):
    """All its objects with the same servers share a client, which threads may use at once."""

    _servers: list[str]
    _options: dict[str, Any]

    @property
    def _cache(self) -> Any:
        servers = tuple(self._servers)
        client = _clients.get(servers)
        if client is None:
            with _lock:
                client = _clients.setdefault(servers, _KeptClient(self._servers, **self._options))
        return client

    def count(self, key: str, timeout: int) -> int:
        """Add one to a number that starts at 0 and lives for `timeout` seconds, in one exchange, and return it."""
        full_key = self.make_and_validate_key(key)
        with self._cache.get_client(full_key, write=True).pipeline() as pipeline:
            pipeline.set(full_key, 0, ex=timeout, nx=True)
            pipeline.incr(full_key)
            number: int = pipeline.execute()[1]
        return number
