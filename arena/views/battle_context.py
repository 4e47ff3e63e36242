"""What the battle's page shows in each of its states. Before the close it holds nothing of who answers."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from django.utils import timezone

from arena.answers import SIDES, are_ready, has_failed, plain_style, turns_of
from arena.models import Aspect, Battle, Verdict, Vote, Voter
from arena.services.reveal import how_others_voted, side_facts
from arena.services.seasons import rules_of
from arena.services.votes import TAGS
from tracer.models import Trace

KEYS = {Verdict.A: "1", Verdict.TIE: "2", Verdict.BOTH_BAD: "3", Verdict.B: "4"}
SCALE = range(1, 6)


def battle_context(battle: Battle, voter: Voter | None, query: QueryDict) -> dict[str, Any]:
    """Return the page's context. `?plain=1` takes the marks of layout out of both answers."""
    turns = turns_of(battle)
    closed, ready = hasattr(battle, "close"), are_ready(turns)
    vote = Vote.objects.current().filter(battle=battle).select_related("entry").first()
    is_plain = query.get("plain") == "1"
    rules = rules_of(battle.epoch.policy)
    context: dict[str, Any] = {
        "battle": battle,
        "season": battle.season,
        "turns": [
            {
                "number": turn.number,
                "prompt": getattr(getattr(turn, "text", None), "prompt", None),
                "sides": [
                    {
                        "side": side,
                        "text": _text(turn, side, is_plain) if closed or ready or turn is not turns[-1] else "",
                    }
                    for side in SIDES
                ],
            }
            for turn in turns
        ],
        "is_own": voter is not None and battle.voter_id == voter.pk,
        "is_closed": closed,
        "is_ready": ready,
        "has_failed": has_failed(turns),
        "is_plain": is_plain,
        "vote": vote,
        "verdicts": [{"value": v.value, "label": v.label, "key": KEYS[v]} for v in Verdict.__members__.values()],
        "may_ask_again": not closed and vote is None and ready and len(turns) < rules.max_turns,
        "edit_s": _edit_seconds(battle, rules.edit_window_s) if vote and not closed else 0,
        "detail": getattr(vote, "detail", None) if vote else None,
        "tags": TAGS,
        "aspects": Aspect.choices,
        "scale": SCALE,
    }
    if closed:
        context |= _revealed(battle, query)
    return context


def _text(turn: Any, side: str, is_plain: bool) -> str:
    generation = getattr(turn, f"generation_{side}")
    text: str = generation.text if generation is not None else ""
    return plain_style(text) if is_plain else text


def _edit_seconds(battle: Battle, window_s: int) -> int:
    first = battle.votes.order_by("created_at").first()
    return max(0, int(window_s - (timezone.now() - first.created_at).total_seconds())) if first else 0


def _revealed(battle: Battle, query: QueryDict) -> dict[str, Any]:
    facts = [
        {
            **fact,
            "overlap_percent": None if fact["overlap"] is None else 100 * fact["overlap"],
            "has_no_shares": all(row["percent"] is None for row in fact["experts"]),
        }
        for fact in side_facts(battle)
    ]
    others = how_others_voted(battle)
    chosen = query.get("matches", "")
    traces: list[Trace] = next((fact["traces"] for fact in facts if fact["side"] == chosen), [])
    return {
        "facts": facts,
        "others": [(label, others[value]) for value, label in Verdict.choices],
        "n_others": sum(others.values()),
        "probability": f"{battle.p_numerator}/{battle.p_denominator}",
        "probability_percent": 100 * int(battle.p_numerator) / int(battle.p_denominator),
        "has_matches": any(fact["traces"] for fact in facts),
        "matches": chosen,
        "trace": traces[-1] if traces else None,
        "reference": battle.pool_prompt.reference if battle.pool_prompt else "",
    }
