"""The registry of leaf kinds and its documentation say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from webapp.errors import BadInputError
from webapp.transparency.kinds import KINDS, check_body

DOCS = Path(__file__).resolve().parents[2] / "docs" / "log-format.md"
VOTER = "ab" * 32
BATTLE = "01936500-0000-7000-8000-000000000001"
VOTE: dict[str, Any] = {
    "season": "s1",
    "epoch": 0,
    "draw_index": 3,
    "battle": BATTLE,
    "verdict": "tie",
    "voter": VOTER,
}


def _documented() -> dict[str, dict[str, tuple[str, bool]]]:
    sections = re.split(r"^### ", DOCS.read_text(encoding="utf-8").split("## Kinds")[1], flags=re.MULTILINE)[1:]
    rows = r"^\| `(\w+)`(\*?) \| (.+?) \| "
    return {
        section.split("\n", 1)[0].strip(): {
            name: (kind, bool(star)) for name, star, kind in re.findall(rows, section, flags=re.MULTILINE)
        }
        for section in sections
    }


def test_documentation_lists_exactly_the_registered_kinds_and_fields() -> None:
    registered = {
        kind: {name: (t.name, False) for name, t in record.required.items()}
        | {name: (t.name, True) for name, t in record.optional.items()}
        for kind, record in KINDS.items()
    }
    assert _documented() == registered


def test_check_passes_when_a_body_fits() -> None:
    check_body("vote", VOTE)
    check_body("vote", VOTE | {"supersedes": BATTLE})


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("verdict", VOTE, "no kind of log entry 'verdict'"),
        ("vote", {k: v for k, v in VOTE.items() if k != "voter"}, "lacks voter"),
        ("vote", VOTE | {"colour": "red"}, "unknown fields colour"),
        ("vote", VOTE | {"verdict": "left"}, "verdict is not one of a, b, tie, both_bad"),
        ("vote", VOTE | {"epoch": True}, "epoch is not a whole number"),
        ("vote", VOTE | {"epoch": 2**53}, "epoch is not a whole number"),
        ("vote", VOTE | {"battle": BATTLE.upper() + "A"}, "battle is not a UUID"),
        ("vote", "text", "is not a map"),
        ("reveal", {"season": "s1", "epoch": 0, "seed": "00", "n_draws": 1}, "seed is not 64 lower-case"),
        ("release", {"season": "s1", "tree_size": 1, "files": {"a": 0.5}}, "files holds a float"),
    ],
)
def test_check_names_the_fault_when_a_body_does_not_fit(kind: str, body: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        check_body(kind, body)


@pytest.mark.parametrize("value", ["2/4", "5/4", "1", "1/0", 0.5, "01/2"])
def test_fraction_is_refused_when_it_is_not_in_lowest_terms(value: Any) -> None:
    assert KINDS["close"].required["probability"].fault(value)


@pytest.mark.parametrize("value", ["0/1", "1/1", "3/4096"])
def test_fraction_is_accepted_when_it_is_in_lowest_terms(value: str) -> None:
    assert not KINDS["close"].required["probability"].fault(value)
