"""What the arena does every minute, each step on its own so that one failure stops no other."""

from __future__ import annotations

import structlog

from arena.models import Season
from arena.services.battles import close_left_battles
from arena.services.optouts import pause_and_resume
from arena.services.recompute import catch_up
from arena.services.variants import expire_terms

log = structlog.get_logger(__name__)


def keep_house() -> None:
    """Close what was left, reveal seeds, end terms, catch up with leaderboards. May run at any time, twice too."""
    for season in Season.objects.filter(is_simulated=False):
        for step in (close_left_battles, expire_terms, pause_and_resume):
            try:
                step(season)
            except Exception:
                log.exception("housekeeping step failed", step=step.__name__, season=season.slug)
    catch_up()
