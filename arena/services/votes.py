"""Votes: cast, corrected within the edit window, and described."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from arena import answers
from arena.models import Aspect, Verdict, Vote, VoteDetail, Voter
from arena.services.battles import is_closed, own_open_battle
from arena.services.first_votes import cast_first_vote, milliseconds_between, vote_body
from arena.services.seasons import rules_of
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.text import storable
from webapp.transparency.services import append_entry
from webapp.transparency.soundness import require_sound

MAX_COMMENT_CHARACTERS = 5_000
TAGS = (
    "correct",
    "wrong",
    "incomplete",
    "clear",
    "confusing",
    "too-long",
    "too-short",
    "well-laid-out",
    "off-topic",
    "unsafe",
)


def cast_vote(*, battle_id: uuid.UUID | str, voter: Voter | None, verdict: str) -> Vote:
    """Store a verdict with its log entry; within the edit window a second one supersedes the first.

    Raises `BadInputError` for an unknown verdict, `ConflictError` before both answers are there,
    after the reveal, and after the window; `LogUnsoundError` while the log is known to be damaged. Saying the same
    again changes nothing.
    """
    if verdict not in Verdict.values:
        raise BadInputError(f"verdict {verdict!r}: use one of {', '.join(Verdict.values)}.", field="verdict")
    require_sound()
    return cast_first_vote(battle_id, voter, verdict) or _cast_locked(battle_id, voter, verdict)


def _cast_locked(battle_id: uuid.UUID | str, voter: Voter | None, verdict: str) -> Vote:
    """Vote under the battle's lock: any vote, or the reason why there is none."""
    with transaction.atomic():
        battle = own_open_battle(battle_id, voter=voter)
        if not battle.voter.is_simulated and not answers.are_all_there(battle):
            raise ConflictError("An answer is still being made. Vote when both are there.", code="not-ready")
        votes = list(battle.votes.all())
        superseded = {vote.supersedes_id for vote in votes}
        before = next((vote for vote in votes if vote.pk not in superseded), None)
        if before is not None and before.verdict == verdict:
            return before
        first_at = min((vote.created_at for vote in votes), default=None)
        window_s = rules_of(battle.epoch.policy).edit_window_s
        now = timezone.now()
        if first_at is not None and (now - first_at).total_seconds() > window_s:
            raise ConflictError(f"A vote can be changed for {window_s} seconds; they are over.", code="window-over")
        body = vote_body(
            season=battle.season,
            epoch=battle.epoch.number,
            draw_index=battle.draw_index,
            battle_id=battle.pk,
            verdict=verdict,
            voter=battle.voter,
        )
        if before is not None:
            body["supersedes"] = str(before.entry_id)
        entry = append_entry(kind="vote", body=body)
        return Vote.objects.create(
            battle=battle,
            voter=battle.voter,
            verdict=verdict,
            supersedes=before,
            latency_ms=milliseconds_between(battle.created_at, now),
            entry=entry,
            created_at=now,
        )


def describe_vote(
    *,
    battle_id: uuid.UUID | str,
    voter: Voter | None,
    strength: int | None = None,
    confidence: int | None = None,
    aspects: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
    comment: str = "",
) -> VoteDetail:
    """Add what a voter wants to say about the own vote, once."""
    vote = Vote.objects.current().filter(battle_id=battle_id, voter=voter).first() if voter else None
    if vote is None:
        raise NotFoundError("There is no vote of yours on this battle.")
    _check_details(strength, confidence, aspects or {}, tags, comment)
    try:
        with transaction.atomic():
            detail: VoteDetail = VoteDetail.objects.create(
                vote=vote,
                strength=strength,
                confidence=confidence,
                aspects=dict(aspects or {}),
                tags=sorted(set(tags)),
                comment=storable(comment.strip()),
                after_reveal=is_closed(vote.battle),
            )
    except IntegrityError as error:
        raise ConflictError("You have described this vote already.", code="described") from error
    return detail


def _check_details(
    strength: int | None, confidence: int | None, aspects: Mapping[str, Any], tags: Sequence[str], comment: str
) -> None:
    for name, value in (("strength", strength), ("confidence", confidence)):
        if value is not None and not 1 <= value <= 5:
            raise BadInputError(f"{name} is {value}; it must be a whole number from 1 to 5.", field=name)
    for aspect, verdict in aspects.items():
        if aspect not in Aspect.values or verdict not in Verdict.values:
            raise BadInputError(
                f"aspects: {aspect}={verdict}; judge {', '.join(Aspect.values)} by {', '.join(Verdict.values)}.",
                field="aspects",
            )
    unknown = sorted(set(tags) - set(TAGS))
    if unknown:
        raise BadInputError(f"There is no tag {unknown[0]!r}. Tags: {', '.join(TAGS)}.", field="tags")
    if len(comment) > MAX_COMMENT_CHARACTERS:
        raise BadInputError(f"The comment is longer than {MAX_COMMENT_CHARACTERS} characters.", field="comment")
