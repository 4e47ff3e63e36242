"""What the arena keeps of a person, for them to take along or to have deleted.

Votes stay: they are published under a number from which nobody can tell who voted. Deleting an
account cuts that number's tie to the person and erases the prompts and answers of their battles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from arena.models import Battle, CloseKind, Judge, Vote
from arena.services.battles import close_battle
from arena.services.reveal import erase_texts, first_prompts


def _battles(user: User) -> Any:
    return Battle.objects.filter(voter__user=user).select_related("season", "close")


def export_personal(user: User) -> Iterator[dict[str, Any]]:
    """Yield the person's battles with prompt and verdict, and the judges in their name."""
    for judge in Judge.objects.filter(owner=user):
        yield {
            "kind": "judge",
            "id": judge.slug,
            "title": judge.title,
            "description": judge.description,
            "created_at": judge.created_at.isoformat(),
            "n_verdicts": judge.verdicts.count(),
        }
    for battle in _battles(user).iterator(chunk_size=100):
        vote = Vote.objects.current().filter(battle=battle).first()
        yield {
            "kind": "battle",
            "id": str(battle.id),
            "season": battle.season.slug,
            "created_at": battle.created_at.isoformat(),
            "prompt": first_prompts([battle]).get(battle.pk, ""),
            "verdict": vote.verdict if vote else None,
            "voter_in_the_log": battle.voter.digest(battle.season),
        }


def erase_personal(user: User) -> None:
    """Close the person's open battles and erase the texts of all of them."""
    for battle in _battles(user):
        if not hasattr(battle, "close"):
            kind = CloseKind.VOTE if battle.votes.exists() else CloseKind.SKIP
            close_battle(battle_id=battle.pk, kind=kind)
        erase_texts(battle)
