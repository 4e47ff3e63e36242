"""Private variants: launched, withdrawn, or at the end of their term; each time their rating is published first."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from arena.models import Contestant, Leaderboard, Provider, RosterChange, RosterKind, Season, Visibility
from arena.services.boards import publish_leaderboard
from arena.services.roster import change_roster
from arena.services.seasons import current_policy, rules_of
from arena.services.slices import Slice
from webapp.errors import ConflictError, ForbiddenError, NotFoundError
from webapp.ownership import Author
from webapp.transparency.services import sequence_entries


def is_member(provider: Provider, author: Author) -> bool:
    """Tell whether somebody acts for a provider: its members, and operators."""
    if author.is_operator:
        return True
    return author.user_id is not None and provider.members.filter(pk=author.user_id).exists()


def check_may_act(provider: Provider, author: Author) -> None:
    """Raise `ForbiddenError` unless somebody acts for the provider."""
    if not is_member(provider, author):
        raise ForbiddenError(f"Only members of {provider.name} may do this. Sign in as one.")


def find_contestant(contestant_id: uuid.UUID | str, *, author: Author) -> Contestant:
    """Return a contestant; a private variant under test only to those who act for its provider.

    Raises `NotFoundError` alike for none and for one that is not disclosed.
    """
    found = (
        Contestant.objects.select_related("provider", "checkpoint", "season", "entry").filter(pk=contestant_id).first()
    )
    if found is None or (found.is_secret and not is_member(found.provider, author)):
        raise NotFoundError("There is no such contestant, or it is a private variant under test.")
    return found


def launch(contestant: Contestant) -> RosterChange:
    """Make a private variant public. Its early votes are published and never count in its public rating."""
    return _end_secrecy(contestant, RosterKind.LAUNCHED, "provider-launch", {})


def withdraw(contestant: Contestant) -> RosterChange:
    """Take a private variant out of new battles; its rating is published and it stays listed for ever."""
    return _end_secrecy(contestant, RosterKind.WITHDRAWN, "provider-withdrawal", {})


def expire_terms(season: Season) -> int:
    """Publish the ratings of variants whose term is over; return how many."""
    days = rules_of(current_policy(season)).variant_days
    limit = timezone.now() - timedelta(days=days)
    over = season.contestants.filter(visibility=Visibility.PRIVATE, created_at__lte=limit).exclude(
        changes__kind__in=[RosterKind.LAUNCHED, RosterKind.WITHDRAWN, RosterKind.EXPIRED, RosterKind.RETIRED]
    )
    for contestant in over:
        _end_secrecy(contestant, RosterKind.EXPIRED, "variant-term", {"days": days})
    return len(over)


def _end_secrecy(contestant: Contestant, kind: str, rule: str, numbers: dict[str, Any]) -> RosterChange:
    if contestant.visibility != Visibility.PRIVATE:
        raise ConflictError("A public contestant is never withdrawn or launched; only the removal rule retires it.")
    board = publish_variant_rating(contestant)
    change = change_roster(
        contestant=contestant,
        kind=kind,
        rule=rule,
        numbers={**numbers, **rating_numbers(board, contestant)},
        board=board,
    )
    sequence_entries()
    return change


def publish_variant_rating(contestant: Contestant) -> Leaderboard:
    """Publish a board on which this variant's early votes count; it is no leaderboard."""
    sequence_entries()
    return publish_leaderboard(contestant.season, Slice(pre_release=(str(contestant.pk),)))


def rating_numbers(board: Leaderboard, contestant: Contestant) -> dict[str, Any]:
    """Return a contestant's rating on a board as a log entry can hold it."""
    for row in board.result["ratings"]:
        if row["contestant"] == str(contestant.pk):
            numbers = {name: f"{row[name]:.2f}" for name in ("rating", "lower", "upper")}
            return {**numbers, "n_votes": row["n_votes"]}
    return {"rating": "none"}
