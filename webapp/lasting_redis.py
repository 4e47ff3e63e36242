"""Kombu's Redis transport, with channels that outlive their connection.

When Redis goes while jobs run, Celery closes the lost connection twice. The second time it gives messages back over a
channel that has no server any more, and so do jobs that end later; kombu then stumbles over an attribute of None, and
the whole worker ended. Such a channel says here that its connection is lost, which Celery knows to live with: it
connects anew and goes on. The jobs are rows, so what becomes of their messages does not matter.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as LostError


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that may be used when its connection was closed: all that needs the server fails as if it were away."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise LostError("The connection of this channel was closed.")
        return super()._connparams(asynchronous=asynchronous)


class Transport(redis.Transport):  # type: ignore[misc]
    """Makes such channels."""

    Channel = Channel
