"""The usual vote, the first one on an open battle, in two statements of PostgreSQL instead of seven.

One statement reads what the log entry names, one writes vote and entry and is its own transaction. Nothing is
locked between them: what crosses a vote (a close, another vote, a further question) the database refuses by its
guards, and then `arena.services.votes` decides under the battle's lock, as it does wherever this is no usual vote.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection
from django.utils import timezone

from arena.models import Season, Vote, Voter
from webapp.identifiers import uuid7
from webapp.transparency.services import append_entry_with

_READ = """
SELECT s.slug, e.number, b.draw_index, b.created_at
FROM arena_battle AS b JOIN arena_season AS s ON s.id = b.season_id JOIN arena_epoch AS e ON e.id = b.epoch_id
WHERE b.id = %s AND b.voter_id = %s AND (SELECT count(*) FROM arena_vote WHERE battle_id = b.id) = 0
"""
_WRITE = """
INSERT INTO arena_vote (id, battle_id, voter_id, verdict, latency_ms, entry_id, created_at)
SELECT %s, %s, %s, %s, %s, entry.id, %s FROM entry
"""


def cast_first_vote(battle_id: uuid.UUID | str, voter: Voter | None, verdict: str) -> Vote | None:
    """Store a first vote with its log entry; None where there is more to decide, or SQLite, or a transaction."""
    is_here = connection.vendor == "postgresql" and not connection.in_atomic_block
    if not is_here or voter is None or not isinstance(battle_id, uuid.UUID):
        return None
    with connection.cursor() as cursor:
        cursor.execute(_READ, [battle_id, voter.pk])
        found = cursor.fetchone()
    if found is None:
        return None
    slug, epoch, draw_index, drawn_at = found
    body = vote_body(
        season=Season(slug=slug), epoch=epoch, draw_index=draw_index, battle_id=battle_id, verdict=verdict, voter=voter
    )
    vote = Vote(id=uuid7(), battle_id=battle_id, voter=voter, verdict=verdict, created_at=timezone.now())
    vote.latency_ms = milliseconds_between(drawn_at, vote.created_at)
    row = [vote.pk, battle_id, voter.pk, verdict, vote.latency_ms, vote.created_at]
    try:
        vote.entry_id = append_entry_with(_WRITE, row, kind="vote", body=body)
    except IntegrityError:
        return None
    vote._state.adding = False
    return vote


def vote_body(
    *, season: Season, epoch: int, draw_index: int, battle_id: uuid.UUID, verdict: str, voter: Voter
) -> dict[str, Any]:
    """Return the fields of a vote's log entry."""
    return {
        "season": season.slug,
        "epoch": epoch,
        "draw_index": draw_index,
        "battle": str(battle_id),
        "verdict": verdict,
        "voter": voter.digest(season),
    }


def milliseconds_between(begin: datetime, end: datetime) -> int:
    """Return the time between two moments as its column holds it."""
    return max(0, min(int((end - begin).total_seconds() * 1000), 2**31 - 1))
