"""Contestants whose experts' owners have opted out: paused by the published rule, resumed when they opt in."""

from __future__ import annotations

import json

from django.db import transaction

from arena.models import Contestant, RosterKind, Season
from arena.services.roster import change_roster
from arena.services.seasons import current_policy, lock_season, rules_of, write_policy
from webapp.playground.availability import withdrawn_slugs

OUT, IN = "owner-opt-out", "owner-opt-in"


def follow_opt_outs() -> None:
    """Bring the rosters of all seasons whose contestants answer to what owners have said."""
    for season in Season.objects.filter(is_simulated=False):
        pause_and_resume(season)


def pause_and_resume(season: Season) -> int:
    """Pause contestants that need a withdrawn expert and resume those that no longer do; return how many changed."""
    n_changed = 0
    with transaction.atomic():
        lock_season(season)
        withdrawn: dict[int, frozenset[str]] = {}
        for contestant in Contestant.objects.active().filter(season=season).select_related("checkpoint"):
            if contestant.checkpoint_id not in withdrawn:
                withdrawn[contestant.checkpoint_id] = withdrawn_slugs(contestant.checkpoint)
            missing = sorted(withdrawn[contestant.checkpoint_id].intersection(contestant.experts))
            last = contestant.changes.filter(kind__in=[RosterKind.PAUSED, RosterKind.RESUMED]).last()
            is_paused = last is not None and last.kind == RosterKind.PAUSED
            if missing and not is_paused:
                _change(contestant, RosterKind.PAUSED, OUT, {"experts": missing})
            elif not missing and is_paused and last is not None and last.rule == OUT:
                _change(contestant, RosterKind.RESUMED, IN, {})
            else:
                continue
            n_changed += 1
    return n_changed


def _change(contestant: Contestant, kind: str, rule: str, numbers: dict[str, list[str]]) -> None:
    _cite(contestant.season, rule)
    change_roster(contestant=contestant, kind=kind, rule=rule, numbers=numbers)


def _cite(season: Season, rule: str) -> None:
    """Publish the policy anew when the one in force is older than the rule that is to be cited."""
    policy = current_policy(season)
    if rule not in json.loads(policy.entry.leaf)["body"]["roster_rules"]:
        write_policy(season, rules_of(policy))
