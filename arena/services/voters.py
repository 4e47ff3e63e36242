"""Voters: accounts and anonymous sessions, what the policy asks of them, and what they answered to it."""

from __future__ import annotations

import uuid
from typing import Any

from django.core import signing
from django.db import transaction

from arena.models import OnboardingAnswer, Voter
from arena.onboarding import BY_ID, CHECKS, MAX_TRIES
from arena.policy import Rules
from webapp.errors import BadInputError, ForbiddenError

SIGNER_SALT = "arena.voter"


def voter_token(voter: Voter) -> str:
    """Return the signed text that stands for an anonymous voter in a cookie or a header."""
    return signing.dumps(str(voter.id), salt=SIGNER_SALT)


def find_voter(*, user: Any, token: str) -> Voter | None:
    """Return the voter of a signed-in user or of a token; a token with a broken signature is none."""
    if user is not None and user.is_authenticated:
        return Voter.objects.filter(user=user).first()
    try:
        identifier = uuid.UUID(signing.loads(token, salt=SIGNER_SALT)) if token else None
    except (signing.BadSignature, ValueError):
        return None
    return Voter.objects.filter(pk=identifier, user__isnull=True).first() if identifier else None


def get_or_add_voter(*, user: Any, token: str, rules: Rules) -> Voter:
    """Return the asker's voter, made at the first question. Raises `ForbiddenError` when the policy wants a sign-in."""
    is_signed_in = user is not None and user.is_authenticated
    if not is_signed_in and not rules.allow_anonymous:
        raise ForbiddenError("The policy lets only signed-in people vote. Sign in first.")
    found = find_voter(user=user, token=token)
    if found is not None:
        return found
    if is_signed_in:
        return Voter.objects.get_or_create(user=user)[0]
    return Voter.objects.create()


def answer_checks(*, voter: Voter, answers: dict[str, str]) -> list[str]:
    """Store answers to the introduction's checks; return the ids of those that are wrong.

    Raises `BadInputError` for a check or an option that does not exist, `ForbiddenError` after too many tries.
    """
    for check_id, option in answers.items():
        check = BY_ID.get(check_id)
        if check is None or option not in dict(check.options):
            known = ", ".join(BY_ID)
            raise BadInputError(f"{check_id}={option!r} is no answer to a check. Checks: {known}.", field=check_id)
    missing = [check.id for check in CHECKS if check.id not in answers]
    if missing:
        raise BadInputError("Answer every check, then send again.", field=missing[0])
    if OnboardingAnswer.objects.filter(voter=voter).count() >= MAX_TRIES * len(CHECKS):
        raise ForbiddenError("Too many tries. Read the guidelines and write to the operator.")
    with transaction.atomic():
        for check in CHECKS:
            OnboardingAnswer.objects.create(voter=voter, check_id=check.id, is_right=answers[check.id] == check.right)
    return [check.id for check in CHECKS if answers[check.id] != check.right]


def has_passed_checks(voter: Voter) -> bool:
    """Tell whether the last answer to each check is right."""
    rows = OnboardingAnswer.objects.filter(voter=voter).order_by("pk").values_list("check_id", "is_right")
    latest = dict(rows)
    return all(latest.get(check.id, False) for check in CHECKS)


def check_eligible(voter: Voter, rules: Rules) -> None:
    """Raise `ForbiddenError`, with the way out, when the policy keeps this voter from battles."""
    if voter.user_id is None and not rules.allow_anonymous and not voter.is_simulated:
        raise ForbiddenError("The policy lets only signed-in people vote. Sign in first.")
    if rules.require_onboarding and not voter.is_simulated and not has_passed_checks(voter):
        raise ForbiddenError("Two short checks come before the first battle. Answer them on the guidelines page.")
