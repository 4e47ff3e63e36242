"""Ids in addresses: UUID version 7 (RFC 9562, sections 5.7 and 6.2), which sorts by time, and slugs of names."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid

from django.utils.text import slugify

_RANDOM_BITS = 62
_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7: 48 bits of Unix milliseconds, 12 bits that count, 62 random bits.

    Ids of one process ascend strictly, also when the clock steps back: time then stands still here until the
    clock has caught up. The count begins anywhere in the lower half of its range in each millisecond; one that
    is used up takes from the next.
    """
    global _last
    fresh = (time.time_ns() // 1_000_000) << 12 | int.from_bytes(os.urandom(2), "big") & 0x7FF
    with _lock:
        _last = max(fresh, _last + 1)
        stamp = _last
    milliseconds, count = stamp >> 12, stamp & 0xFFF
    random = int.from_bytes(os.urandom(8), "big") & (1 << _RANDOM_BITS) - 1
    return uuid.UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | count << 64 | 0x2 << 62 | random)


def slug_of_name(name: str) -> str:
    """Return a slug for a name that is nobody's key, such as an owner's: its letters and a piece of its digest."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{slugify(name)[:50]}-{digest}".lstrip("-")
