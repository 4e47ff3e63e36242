"""Masking by signs against trying the patterns at every character."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracer.engine.privacy import EMAIL, MASK, NUMBER, mask_personal_data

SIGNS = tuple("@.-+ ()_é٣\na7")
NUMBERS = ("12", "555", "0199", "255", "192.168.0.17", "+1 555 010 9999", "+49 (30) 1234 5678", "(555) 010-9999")
PIECES = st.sampled_from((*SIGNS, *NUMBERS, "555-010-9999", "me@x.org", "a.b-c@d.e.f", "x" * 70))


def masked_slowly(text: str) -> str:
    """Mask every match of either pattern."""
    characters = list(text)
    for pattern in (EMAIL, NUMBER):
        for match in pattern.finditer(text):
            characters[match.start() : match.end()] = MASK * (match.end() - match.start())
    return "".join(characters)


@given(st.lists(PIECES, max_size=30).map("".join))
@example("1.2.3.4-5555 1.2.3.415-555-1234 +1+12 34 56@7.8.9.10")
@example("x" * 100 + "@" + "y" * 63 + ".z" * 4 + "@" + "w.v" * 30)
@example("@" * 200 + "a@b.c" * 3)
@example("\n@a.b é@é.é -@-.- .@.a +@a.b @a@b.c@")
def test_masks_what_the_patterns_match_anywhere(text: str) -> None:
    masked = mask_personal_data(text)
    assert masked == masked_slowly(text)
    assert len(masked) == len(text)


@pytest.mark.parametrize(
    "secret",
    ["ring.master+fair@carousel.example", "192.168.0.17", "+1 555 010 9999", "+49 (30) 1234-5678", "(555) 010-9999"],
)
def test_masks_each_kind_amid_words(secret: str) -> None:
    assert mask_personal_data(f"Ask {secret}, today.") == f"Ask {MASK * len(secret)}, today."


@pytest.mark.parametrize("text", ["version 1.2.3", "@property", "2 + 2 = 4", "1999-2024", "a @ b", "3.14159", ""])
def test_leaves_what_is_no_personal_data(text: str) -> None:
    assert mask_personal_data(text) == text
