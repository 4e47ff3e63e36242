"""Loads models and indexes before the first job needs them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog
from django.db import connections
from django.utils.module_loading import import_string

log = structlog.get_logger(__name__)


def warm_up_beside(paths: Sequence[str]) -> threading.Thread:
    """Call each function in a thread of its own; a failure shows again, with its reason, at first use."""
    thread = threading.Thread(target=_warm_up, args=(paths,), name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            import_string(path)()
        except Exception:
            log.warning("warm-up failed", what=path, exc_info=True)
    connections.close_all()
