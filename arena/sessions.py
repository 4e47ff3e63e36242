"""Who asks: the voter of a request, by account, signed cookie, or the Arena-Voter header of an API client."""

from __future__ import annotations

from typing import TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request

from arena.models import Policy, Season, Voter
from arena.services.seasons import current_policy, get_season, rules_of
from arena.services.voters import find_voter, get_or_add_voter, voter_token

COOKIE = "arena_voter"
HEADER = "Arena-Voter"
YEAR_S = 365 * 24 * 3600
R = TypeVar("R", bound=HttpResponseBase)


def _token(request: HttpRequest | Request) -> str:
    return request.headers.get(HEADER, "") or request.COOKIES.get(COOKIE, "")


def known_voter(request: HttpRequest | Request) -> Voter | None:
    """Return the asker's voter if there is one; makes nothing."""
    return find_voter(user=request.user, token=_token(request))


def voter_for(request: HttpRequest | Request, season: Season | None = None, policy: Policy | None = None) -> Voter:
    """Return the asker's voter, made now if need be. Raises `ForbiddenError` when the policy wants a sign-in.

    policy: the season's, where the caller has just read it.
    """
    rules = rules_of(policy or current_policy(season or get_season(None)))
    return get_or_add_voter(user=request.user, token=_token(request), rules=rules)


def remember_voter(response: R, voter: Voter) -> R:
    """Give an anonymous voter the cookie by which the next request is known."""
    if voter.user_id is None:
        response.set_cookie(
            COOKIE,
            voter_token(voter),
            max_age=YEAR_S,
            httponly=True,
            samesite="Lax",
            secure=settings.SESSION_COOKIE_SECURE,
        )
    return response
