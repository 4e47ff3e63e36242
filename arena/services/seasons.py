"""Seasons and their policies."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from arena.models import Policy, Season
from arena.policy import Rules
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.text import storable
from webapp.transparency.services import append_entry

MAIN = "main"
SIMULATED = "simulated"


def open_season(*, slug: str, title: str, is_simulated: bool = False, rules: Rules | None = None) -> Season:
    """Return the season of that slug, made with its first policy if there is none.

    Raises `ConflictError` when it exists with the other kind of votes.
    """
    with transaction.atomic():
        season, is_new = Season.objects.get_or_create(
            slug=slug, defaults={"title": title, "is_simulated": is_simulated}
        )
        if season.is_simulated != is_simulated:
            raise ConflictError(f"Season {slug} exists, with {'simulated' if season.is_simulated else 'real'} votes.")
        if is_new:
            write_policy(season, rules or Rules())
    return season


def change_policy(*, season: Season, rules: Rules) -> Policy:
    """Put new rules in force from now on; the next draw begins a new epoch under them."""
    with transaction.atomic():
        lock_season(season)
        current = current_policy(season)
        if current.rules == rules.to_json():
            raise BadInputError("These rules are in force already. Change at least one.")
        try:
            return write_policy(season, rules)
        except IntegrityError as error:
            raise ConflictError("The policy was changed at the same time. Look at the new one first.") from error


def write_policy(season: Season, rules: Rules) -> Policy:
    """Publish the next version of a season's policy, in the caller's transaction."""
    version = 1 + season.policies.count()
    document = rules.document(title=season.title, version=version)
    entry = append_entry(
        kind="policy",
        body=rules.log_fields(season=season.slug, version=version, simulated=season.is_simulated, document=document),
    )
    return Policy.objects.create(
        season=season,
        version=version,
        document=document,
        rules=rules.to_json(),
        private_cap=rules.variant_cap,
        edit_window_s=rules.edit_window_s,
        entry=entry,
    )


def current_policy(season: Season) -> Policy:
    """Return the policy in force."""
    policy = season.policies.order_by("-version").first()
    if policy is None:
        raise NotFoundError(f"Season {season.slug} has no policy.")
    return policy


def rules_of(policy: Policy) -> Rules:
    """Return a policy's rules as a value."""
    return Rules.from_json(policy.rules)


def get_season(slug: str | None) -> Season:
    """Return the named season, or the main one. Raises `NotFoundError` with what to do."""
    season = Season.objects.filter(slug=storable(slug or MAIN)).first()
    if season is None and slug in (None, "", MAIN):
        raise NotFoundError("The arena is not open yet. The operator opens it with manage.py add_contestant.")
    if season is None:
        raise NotFoundError(f"There is no season {slug!r}.")
    return season


def lock_season(season: Season) -> None:
    """Make other writers of this season's rules and draws wait until the transaction ends."""
    Season.objects.select_for_update().get(pk=season.pk)
