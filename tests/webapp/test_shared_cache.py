"""The cache in Redis: one client for all requests of a process, and numbers counted in one exchange."""

from __future__ import annotations

import contextvars
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.cache import caches

from tests.conftest import REQUIRED
from tests.redis_databases import own_database
from webapp.shared_cache import SharedRedisCache

REDIS = own_database(os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15"))


@pytest.fixture
def shared() -> Iterator[SharedRedisCache]:
    """Return a cache whose keys nobody else has."""
    server = redis.Redis.from_url(REDIS, socket_connect_timeout=2)
    try:
        server.ping()
    except redis.ConnectionError:
        if "services" in REQUIRED:
            pytest.fail("Redis is required here and does not answer")
        pytest.skip("Redis does not answer")
    prefix = uuid.uuid4().hex
    yield SharedRedisCache(REDIS, {"KEY_PREFIX": prefix})
    if keys := list(server.scan_iter(f"{prefix}:*")):
        server.delete(*keys)


def test_contexts_share_a_client(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "webapp.shared_cache.SharedRedisCache", "LOCATION": REDIS}}

    found = [contextvars.Context().run(caches.__getitem__, "default") for _ in range(2)]
    assert found[0] is not found[1], "Django keeps an object for each context"
    pools = [cache._cache._get_connection_pool(write=True) for cache in found]
    assert pools[0] is pools[1]


def test_other_servers_have_a_client_of_their_own() -> None:
    here, there = SharedRedisCache(REDIS, {}), SharedRedisCache("redis://127.0.0.1:1/0", {})
    assert here._cache is SharedRedisCache(REDIS, {})._cache
    assert here._cache is not there._cache


@pytest.mark.redis
def test_counts_each_once_from_many_threads(shared: SharedRedisCache) -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(shared.count("n", 60) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 201))
    assert shared.get("n") == 200


@pytest.mark.redis
def test_life_begins_with_the_first_and_is_not_prolonged(shared: SharedRedisCache) -> None:
    client = shared._cache.get_client(write=True)
    shared.count("n", 100)
    client.expire(shared.make_key("n"), 50)
    assert shared.count("n", 100) == 2
    assert 0 < client.ttl(shared.make_key("n")) <= 50
