from __future__ import annotations

import time

from webapp.identifiers import uuid7


def test_uuid7_has_version_variant_and_time() -> None:
    before = time.time_ns() // 1_000_000
    value = uuid7()
    after = time.time_ns() // 1_000_000
    assert value.version == 7
    assert value.variant == "specified in RFC 4122"
    assert before <= value.int >> 80 <= after


def test_uuid7_does_not_repeat() -> None:
    assert len({uuid7() for _ in range(2000)}) == 2000
