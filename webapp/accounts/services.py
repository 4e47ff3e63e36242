"""What changes tokens and accounts. Each service owns its transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.module_loading import import_string

from webapp.accounts.models import ApiToken, Scope
from webapp.errors import BadInputError, ConflictError, NotFoundError

MAX_TOKENS = 20
MAX_DAYS = 366

#: What each app keeps of a person: `export_personal(user) -> Iterator[dict]`, `erase_personal(user) -> None`.
PERSONAL = ("tracer.personal", "webapp.playground.personal", "arena.personal")


def create_token(*, user: User, name: str, scopes: Sequence[str], days: int) -> tuple[ApiToken, str]:
    """Make a token that ends after `days`; returns its row and the token, which is never shown again.

    Raises `BadInputError` naming the field, `ConflictError` above the number of tokens a person may have.
    """
    name = name.strip()
    if not name or len(name) > 100:
        raise BadInputError("Give the token a name of at most 100 characters.", field="name")
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if unknown or not scopes:
        raise BadInputError(f"Choose at least one of {', '.join(Scope.values)}.", field="scopes")
    if not 1 <= days <= MAX_DAYS:
        raise BadInputError(f"A token lasts 1 to {MAX_DAYS} days.", field="days")
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if ApiToken.objects.filter(user=user).count() >= MAX_TOKENS:
            raise ConflictError(f"You have {MAX_TOKENS} tokens. Revoke one first.")
        if ApiToken.objects.filter(user=user, name=name).exists():
            raise ConflictError(f"You have a token {name!r}. Choose another name, or revoke that one first.")
        made: tuple[ApiToken, str] = ApiToken.objects.create(
            user, expiry=timedelta(days=days), name=name, scopes=list(dict.fromkeys(scopes))
        )
    return made


def revoke_token(*, user: User, digest: str) -> None:
    """End one of the user's tokens at once. Raises `NotFoundError` for another's or none."""
    n_deleted, _ = ApiToken.objects.filter(user=user, digest=digest).delete()
    if not n_deleted:
        raise NotFoundError("You have no such token.")


def export_account(*, user: User) -> Iterator[dict[str, Any]]:
    """Yield everything that the site keeps of a person, one record at a time, each with its `kind`."""
    yield {
        "kind": "account",
        "username": user.username,
        "email": user.email,
        "date_joined": user.date_joined.isoformat(),
        "last_login": user.last_login.isoformat() if user.last_login else None,
        "roles": sorted(user.groups.values_list("name", flat=True)),
    }
    for token in ApiToken.objects.filter(user=user):
        yield {"kind": "token", "name": token.name, "scopes": token.scopes, "created": token.created.isoformat()}
    for module in PERSONAL:
        yield from import_string(f"{module}.export_personal")(user)


def delete_account(*, user: User, confirmation: str) -> None:
    """Delete a person's account and what they made. What the public log holds of them is a pseudonym and stays.

    Raises `BadInputError` unless `confirmation` is the user's name.
    """
    if confirmation != user.username:
        raise BadInputError("Type your user name to delete the account.", field="confirmation")
    with transaction.atomic():
        for module in PERSONAL:
            import_string(f"{module}.erase_personal")(user)
        user.delete()
