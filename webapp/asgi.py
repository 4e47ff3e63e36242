"""ASGI entry point: Django, and the embedded worker for the life of the process."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

import django
from django.conf import settings
from django.urls import get_resolver

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

django.setup(set_prefix=False)

from webapp.one_hop import OneHopHandler  # noqa: E402 (imports models, which are there only now)

django_application = OneHopHandler()
get_resolver().url_patterns  # noqa: B018 (loads all views now, not while the first visitor waits)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve HTTP through Django; on the lifespan protocol start and stop the embedded worker."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    else:
        await django_application(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    worker = None
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await sync_to_async(_check_log)()
            if settings.EMBEDDED:
                worker = await sync_to_async(_start_worker)()
            await send({"type": "lifespan.startup.complete"})
        else:
            if worker is not None:
                await sync_to_async(worker.stop)()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _check_log() -> None:
    from django.db import connection

    from webapp.transparency.soundness import check_at_start

    check_at_start()
    connection.close()


def _start_worker() -> Any:
    from webapp.embedded import EmbeddedWorker

    worker = EmbeddedWorker()
    worker.start()
    return worker
