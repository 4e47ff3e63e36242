"""What programs are told of a battle. Before the close it holds nothing of who answers, as the page does."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from arena.answers import SIDES, are_ready, has_failed, turns_of
from arena.models import Battle, Contestant, Verdict, Vote, Voter
from arena.services.reveal import how_others_voted, side_facts
from arena.services.seasons import rules_of
from webapp.transparency.services import format_time


def present_battle(battle: Battle, voter: Voter | None) -> dict[str, Any]:
    """Return a battle as it stands for its reader."""
    turns = turns_of(battle)
    closed, ready, failed = hasattr(battle, "close"), are_ready(turns), has_failed(turns)
    vote = Vote.objects.current().filter(battle=battle).first()
    is_own = voter is not None and battle.voter_id == voter.pk
    shown: dict[str, Any] = {
        "id": str(battle.pk),
        "season": battle.season.slug,
        "is_simulated": battle.season.is_simulated,
        "status": _status(battle, closed=closed, ready=ready, failed=failed, voted=vote is not None),
        "is_own": is_own,
        "created_at": format_time(battle.created_at),
        "category": battle.category,
        "turns": [
            {
                "number": turn.number,
                "prompt": getattr(getattr(turn, "text", None), "prompt", None),
                **{f"answer_{s}": _text(turn, s, closed or ready or turn is not turns[-1]) for s in SIDES},
            }
            for turn in turns
        ],
        "max_turns": rules_of(battle.epoch.policy).max_turns,
        "vote": {"verdict": vote.verdict, "created_at": format_time(vote.created_at)} if vote else None,
        "receipt": battle.receipt,
        "stream": reverse("api-arena-battle-stream", args=[battle.pk]),
        "reveal": _reveal(battle) if closed else None,
    }
    return shown


def _status(battle: Battle, *, closed: bool, ready: bool, failed: bool, voted: bool) -> str:
    if closed:
        return "closed"
    if voted:
        return "voted"
    if failed:
        return "failed"
    return "ready" if ready else "answering"


def _text(turn: Any, side: str, may_show: bool) -> str | None:
    generation = getattr(turn, f"generation_{side}")
    return generation.text if generation is not None and may_show else None


def _reveal(battle: Battle) -> dict[str, Any]:
    close = battle.close
    return {
        "outcome": close.kind,
        "reason": close.reason,
        "draw_index": battle.draw_index,
        "epoch": battle.epoch.number,
        "is_swapped": battle.is_swapped,
        "p_pair": f"{battle.p_numerator}/{battle.p_denominator}",
        "is_pre_release": battle.is_pre_release,
        "sides": {fact["side"]: _side(fact) for fact in side_facts(battle)},
        "others": {str(Verdict(v)): n for v, n in how_others_voted(battle).items()},
    }


def _side(fact: dict[str, Any]) -> dict[str, Any]:
    contestant: Contestant = fact["contestant"]
    rating = fact["rating"]
    return {
        "contestant": str(contestant.pk),
        "title": contestant.shown_title,
        "provider": contestant.provider.slug,
        "licence_group": contestant.licence_group,
        "rating": {k: rating[k] for k in ("rating", "lower", "upper")} if rating else None,
        "experts": [
            {"expert": row["expert"].slug, "is_on": row["is_on"], "share_percent": row["percent"]}
            for row in fact["experts"]
        ],
        "traces": [str(trace.pk) for trace in fact["traces"]],
        "n_characters": fact["n_characters"] if fact["generations"] else None,
        "overlap": None if fact["overlap"] is None else round(fact["overlap"], 4),
    }
