"""What the arena does every minute, each step on its own so that one failure stops no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from django.utils import timezone

from arena.models import RetirementRun, Season
from arena.services.battles import close_left_battles
from arena.services.boards import latest_leaderboard, publish_leaderboard
from arena.services.optouts import pause_and_resume
from arena.services.quality import judge_season
from arena.services.recompute import catch_up, publish_controlled_when_due
from arena.services.releases import release_when_due
from arena.services.retirement import apply_removal_rule
from arena.services.variants import expire_terms
from webapp.transparency.services import sequence_entries

log = structlog.get_logger(__name__)
REMOVAL_EVERY_H = 24


def keep_house() -> None:
    """Close what was left, end terms, judge voters, apply the removal rule, release. May run at any time, twice too."""
    _each_season(close_left_battles, expire_terms, pause_and_resume)
    catch_up()
    _each_season(judge_and_publish, publish_controlled_when_due, run_removal_rule, release_when_due)


def _each_season(*steps: Callable[[Season], object]) -> None:
    for season in Season.objects.filter(is_simulated=False):
        for step in steps:
            try:
                step(season)
            except Exception:
                log.exception("housekeeping step failed", step=step.__name__, season=season.slug)


def judge_and_publish(season: Season) -> int:
    """Judge voters and answers; what that sets aside leaves the leaderboard at once. Return how much changed."""
    n_changed = judge_season(season)
    if n_changed:
        sequence_entries()
        publish_leaderboard(season)
    return n_changed


def run_removal_rule(season: Season) -> bool:
    """Apply the removal rule once a day, when there are votes that the last run did not see; tell whether it ran."""
    board = latest_leaderboard(season)
    last = RetirementRun.objects.filter(policy__season=season).select_related("leaderboard").first()
    if board is None or not board.n_votes:
        return False
    if last is not None and (
        last.leaderboard_id == board.pk or last.created_at > timezone.now() - timedelta(hours=REMOVAL_EVERY_H)
    ):
        return False
    apply_removal_rule(season)
    return True
