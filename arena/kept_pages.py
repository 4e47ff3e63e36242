"""What pages would make at their first view, made beforehand by the worker that publishes."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from arena.models import Season
from arena.services.audit.recount import recount_when_due
from arena.services.audit.report import self_audit
from arena.services.quality import quality_report
from arena.services.transparency.report import transparency_report
from arena.services.transparency.scope import scope_of
from arena.views.boards import keep_newest_board

log = structlog.get_logger(__name__)


def keep_board(season: Season) -> None:
    """Render what is heavy on the page of the newest leaderboard, unless it is there."""
    keep_newest_board(season)


def keep_reports(season: Season) -> None:
    """Bring the sums of the reports up to date; the reports of a large season stand until they are made here."""
    scope = scope_of(season)
    transparency_report(scope)
    quality_report(season, renew=True)
    self_audit(scope, renew=True)


def keep_pages() -> None:
    """Do all of it for every season; a failure costs the first reader some time and stops nothing."""
    for season in Season.objects.all():
        _try(keep_board, season)
        _try(recount_when_due, season)
        _try(keep_reports, season)


def _try(step: Callable[[Season], object], season: Season) -> None:
    try:
        step(season)
    except Exception:
        log.exception("a page could not be made beforehand", step=step.__name__, season=season.slug)
