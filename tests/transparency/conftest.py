"""Entries to fill a log with."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from webapp.transparency import services
from webapp.transparency.models import Entry

Append = Callable[..., list[Entry]]


def takedown(number: int = 0) -> dict[str, Any]:
    """Return the body of a small entry."""
    return {
        "corpus": "wiki",
        "takedown": str(uuid.UUID(int=number)),
        "document": f"{number:064x}",
        "reason": "0" * 64,
    }


@pytest.fixture
def append(db: None) -> Append:
    """Append `n` entries in a transaction of their own."""

    def append_entries(n: int = 1) -> list[Entry]:
        with transaction.atomic():
            return [services.append_entry(kind="takedown", body=takedown(i)) for i in range(n)]

    return append_entries
