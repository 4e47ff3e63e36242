"""Providers, contestants, and what happens to them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import rfc8785
from django.db import IntegrityError, transaction

from arena.models import (
    Contestant,
    Leaderboard,
    LicenceGroup,
    Provider,
    RetirementRun,
    RosterChange,
    Season,
    Visibility,
)
from arena.services.seasons import current_policy, lock_season
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.playground.availability import available_slugs, why_unavailable
from webapp.playground.models import Checkpoint
from webapp.playground.services import default_checkpoint
from webapp.roles import Role, has_role
from webapp.transparency.services import append_entry

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
DECODING = {"max_tokens": 160, "temperature": "0.7", "top_p": "0.95"}


def add_provider(*, slug: str, name: str, url: str = "", members: Sequence[Any] = ()) -> Provider:
    """Register who enters contestants. Raises `BadInputError`, or `ConflictError` for a known slug."""
    if not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    if not name.strip():
        raise BadInputError("The name is empty: say who the provider is.", field="name")
    if url and not url.startswith(("https://", "http://")):
        raise BadInputError("The address must begin with https:// or http://.", field="url")
    if Provider.objects.filter(slug=slug).exists():
        raise ConflictError(f"There is a provider {slug!r} already. Choose another slug.")
    with transaction.atomic():
        provider = Provider.objects.create(slug=slug, name=name.strip(), url=url)
        provider.members.set(members)
    return provider


def register_provider(*, user: Any, slug: str, name: str, url: str = "") -> Provider:
    """Register a provider of which the asker becomes a member. Raises `ForbiddenError` without the role."""
    if not (has_role(user, Role.PROVIDER) or has_role(user, Role.OPERATOR)):
        raise ForbiddenError("Only people with the role provider may register one. Ask the operator for the role.")
    return add_provider(slug=slug, name=name, url=url, members=[user])


def get_provider(slug: str) -> Provider:
    """Return a provider by its slug."""
    provider = Provider.objects.filter(slug=slug).first()
    if provider is None:
        raise NotFoundError(f"There is no provider {slug!r}.")
    return provider


def add_contestant(
    *,
    season: Season,
    provider: Provider,
    slug: str,
    title: str,
    licence_group: str,
    visibility: str = Visibility.PUBLIC,
    checkpoint: str | None = None,
    experts: Sequence[str] | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    system_prompt: str = "",
    licence: str = "",
) -> Contestant:
    """Enter a contestant. Its digest is computed here, from what it is; nobody can give one.

    Raises `BadInputError` naming the field, `ConflictError` for a slug or digest that the season
    knows, and for a private variant above the provider's cap.
    """
    if not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    if not title.strip():
        raise BadInputError("The title is empty: it is shown after a vote and on the leaderboard.", field="title")
    if licence_group not in LicenceGroup.values:
        raise BadInputError(f"licence_group: use one of {', '.join(LicenceGroup.values)}.", field="licence_group")
    if visibility not in Visibility.values:
        raise BadInputError(f"visibility: use one of {', '.join(Visibility.values)}.", field="visibility")
    model = default_checkpoint(checkpoint)
    mask = _mask(model, experts)
    decoding = _decoding(max_tokens, temperature, top_p)
    artifact = describe_artifact(model, mask, decoding, system_prompt)
    digest = hashlib.sha256(rfc8785.dumps(artifact)).hexdigest()
    same = season.contestants.filter(digest=digest).first()
    if same is not None:
        raise ConflictError("The season has a contestant of exactly these weights, experts and parameters already.")
    if season.contestants.filter(slug=slug).exists():
        raise ConflictError(f"The season has a contestant {slug!r} already. Choose another slug.")
    contestant = Contestant(
        season=season,
        slug=slug,
        title=title.strip(),
        provider=provider,
        checkpoint=model,
        checkpoint_digest=model.digest,
        experts=mask,
        decoding=decoding,
        system_prompt=system_prompt,
        artifact=artifact,
        digest=digest,
        licence_group=licence_group,
        licence=licence,
        visibility=visibility,
    )
    return _save(contestant)


def _save(contestant: Contestant) -> Contestant:
    body = {
        "season": contestant.season.slug,
        "contestant": str(contestant.id),
        "provider": contestant.provider.slug,
        "licence_group": str(contestant.licence_group),
        "visibility": str(contestant.visibility),
        "artifact": contestant.artifact,
        "artifact_digest": contestant.digest,
    }
    if contestant.visibility == Visibility.PUBLIC:
        body["name"] = contestant.title
    try:
        with transaction.atomic():
            contestant.entry = append_entry(kind="contestant", body=body)
            contestant.save(force_insert=True)
    except IntegrityError as error:
        if "private variants" in str(error):
            raise ConflictError(
                f"{contestant.provider.name} has as many private variants as the policy allows. "
                "Launch or withdraw one first."
            ) from error
        raise ConflictError("The season has this contestant already.") from error
    return contestant


def _mask(checkpoint: Checkpoint, experts: Sequence[str] | None) -> list[str]:
    known = available_slugs(checkpoint)
    if not known and checkpoint.experts.exists():
        raise ConflictError(f"No expert of checkpoint {checkpoint.slug!r} is left to answer. Choose another one.")
    if experts is None:
        return known
    unknown = [slug for slug in experts if slug not in known]
    if unknown:
        raise BadInputError(why_unavailable(checkpoint, unknown[0]), field="experts")
    if known and not experts:
        raise BadInputError("All experts are off. Switch at least one on.", field="experts")
    return [slug for slug in known if slug in experts]


def _decoding(max_tokens: int | None, temperature: float | None, top_p: float | None) -> dict[str, Any]:
    decoding = dict(DECODING)
    if max_tokens is not None:
        if not 1 <= max_tokens <= 8192:
            raise BadInputError("max_tokens must lie between 1 and 8192.", field="max_tokens")
        decoding["max_tokens"] = max_tokens
    for name, value, high in (("temperature", temperature, 10), ("top_p", top_p, 1)):
        if value is not None:
            if not 0 <= value <= high:
                raise BadInputError(f"{name} must lie between 0 and {high}.", field=name)
            decoding[name] = f"{value:g}"
    return decoding


def describe_artifact(
    checkpoint: Checkpoint, experts: Sequence[str], decoding: dict[str, Any], system_prompt: str
) -> dict[str, Any]:
    """Return the digests that name a contestant; the log holds this and its SHA-256."""
    return {
        "weights": checkpoint.digest,
        "experts": list(experts),
        "template": "chat" if checkpoint.is_chat else "continuation",
        "decoding": {name: str(value) for name, value in decoding.items()},
        "system_prompt": hashlib.sha256(system_prompt.encode()).hexdigest(),
    }


def change_roster(
    *,
    contestant: Contestant,
    kind: str,
    rule: str,
    numbers: dict[str, Any],
    board: Leaderboard | None = None,
    retirement_run: RetirementRun | None = None,
) -> RosterChange:
    """Write down what happened to a contestant. The database refuses what the state does not allow."""
    season = contestant.season
    try:
        with transaction.atomic():
            lock_season(season)
            body = {
                "season": season.slug,
                "contestant": str(contestant.id),
                "change": kind,
                "policy": current_policy(season).version,
                "rule": rule,
                "numbers": numbers,
            }
            if board is not None:
                body["board"] = str(board.id)
            entry = append_entry(kind="roster_change", body=body)
            return RosterChange.objects.create(
                contestant=contestant,
                kind=kind,
                rule=rule,
                numbers=numbers,
                board=board,
                retirement_run=retirement_run,
                entry=entry,
            )
    except IntegrityError as error:
        raise ConflictError(
            f"{contestant.title} cannot be {kind} now: a public contestant is never withdrawn, and what was "
            "withdrawn, launched or retired stays so."
        ) from error
