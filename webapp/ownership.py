"""Who made a trace or an answer, and who may read it. Knows nothing of tracing or inference.

A signed-in person owns what they make. So does a browser that is not signed in, by a random
secret in its session, of which only the digest is stored. What a client without either makes
belongs to nobody: anyone with its address may read it, nobody may change or delete it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from rest_framework.request import Request

from webapp.errors import BadInputError, ForbiddenError, NotFoundError
from webapp.jobs import JobQuerySet
from webapp.roles import Role, has_role

SESSION_SECRET = "owner_secret"  # noqa: S105 (the name under which a session keeps it)


class Visibility(models.TextChoices):
    """Who may read a thing besides its owner."""

    LINK = "link", "anyone who has the link"
    PRIVATE = "private", "only me"
    PUBLIC = "public", "everyone; it is listed"


@dataclass(frozen=True)
class Author:
    """Who asks: a user, an anonymous browser, both after signing in, or neither."""

    user_id: int | None = None
    session_digest: str = ""
    is_operator: bool = False


NOBODY = Author()


def author_of(request: HttpRequest | Request, *, remember: bool = False) -> Author:
    """Return who asks. `remember` gives an anonymous browser a secret, so that what it makes is its own."""
    user = getattr(request, "user", None)
    session = getattr(request, "session", None)
    user_id = user.pk if isinstance(user, AbstractBaseUser) and user.is_authenticated else None
    secret = session.get(SESSION_SECRET, "") if session is not None else ""
    if remember and not secret and user_id is None and session is not None:
        secret = session[SESSION_SECRET] = secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest() if secret else ""
    return Author(user_id, digest, has_role(user, Role.OPERATOR))


class OwnedQuerySet(JobQuerySet):
    """Reads by owner and visibility; everything that people own is made by a job."""

    def owned_by(self, author: Author) -> Self:
        """Return what this person or browser made."""
        return self.filter(_owns(author)) if author.user_id or author.session_digest else self.none()

    def readable_by(self, author: Author) -> Self:
        """Return what may be read by someone who knows its address."""
        if author.is_operator:
            return self
        return self.filter(~Q(visibility=Visibility.PRIVATE) | _owns(author))

    def listed(self) -> Self:
        """Return what its owners show to everyone."""
        return self.filter(visibility=Visibility.PUBLIC)


OwnedManager = models.Manager.from_queryset(OwnedQuerySet)


def _owns(author: Author) -> Q:
    mine = Q(pk__in=[])
    if author.user_id is not None:
        mine |= Q(created_by_id=author.user_id)
    if author.session_digest:
        mine |= Q(session_digest=author.session_digest)
    return mine


class Owned(models.Model):
    """Fields of everything that a person makes and may hide, share or delete."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    session_digest = models.CharField(max_length=64, blank=True, default="", db_index=True)
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.LINK)

    class Meta:
        abstract = True

    @property
    def owner(self) -> Author:
        """Return whose it is."""
        return Author(self.created_by_id, self.session_digest)

    @property
    def has_owner(self) -> bool:
        """Tell whether anybody can prove to have made it."""
        return self.created_by_id is not None or bool(self.session_digest)

    def is_owned_by(self, author: Author) -> bool:
        """Tell whether this person or browser made it."""
        if author.user_id is not None and self.created_by_id == author.user_id:
            return True
        return bool(author.session_digest) and self.session_digest == author.session_digest

    def is_readable_by(self, author: Author) -> bool:
        """Tell whether it may be shown to someone who knows its address."""
        return self.visibility != Visibility.PRIVATE or author.is_operator or self.is_owned_by(author)


OwnedThing = TypeVar("OwnedThing", bound=Owned)


def find_readable(rows: QuerySet[OwnedThing], pk: object, *, author: Author, name: str) -> OwnedThing:
    """Return the one of `rows` with this key, called `name` to people, if the author may read it.

    Raises `NotFoundError` alike for none and for another's private one.
    """
    found = next(iter(rows.filter(pk=pk).order_by()), None)  # `first` would have its one row put in order
    if found is None or not found.is_readable_by(author):
        raise NotFoundError(f"There is no such {name}, or it is private.")
    return found


def find_own(
    rows: QuerySet[OwnedThing], pk: object, *, author: Author, name: str, or_operator: bool = False
) -> OwnedThing:
    """Return one's own, locked in the caller's transaction; `or_operator`: or anybody's for an operator.

    Raises `NotFoundError` as `find_readable`, `ForbiddenError` for what can be read and is another's or nobody's.
    """
    found = find_readable(rows, pk, author=author, name=name)
    if not (or_operator and author.is_operator):
        check_own(found, author=author, name=name)
    return rows.select_for_update(of=("self",)).get(pk=found.pk)


def check_own(thing: Owned, *, author: Author, name: str) -> None:
    """Raise `ForbiddenError` unless the author made it."""
    if not thing.is_owned_by(author):
        raise ForbiddenError(f"This {name} is not yours. Only who made it may change, stop or delete it.")


def share_own(rows: QuerySet[OwnedThing], pk: object, *, author: Author, name: str, visibility: str) -> OwnedThing:
    """Change who may read one's own, and return it. Raises `BadInputError` for an unknown visibility."""
    chosen = check_visibility(visibility)
    with transaction.atomic():
        found = find_own(rows, pk, author=author, name=name)
        found.visibility = chosen
        found.save(update_fields=["visibility"])
    return found


def check_visibility(value: str) -> Visibility:
    """Return the visibility; raises `BadInputError` that lists the choices."""
    if value not in Visibility.values:
        raise BadInputError(
            f"visibility {value!r} is unknown. Use one of {', '.join(Visibility.values)}.", field="visibility"
        )
    return Visibility(value)


def ownership(author: Author, visibility: str) -> dict[str, Any]:
    """Return the fields of a new thing that this author makes.

    Raises `BadInputError` for an unknown visibility, and for `private` where nobody could read it ever after.
    """
    chosen = check_visibility(visibility)
    if chosen is Visibility.PRIVATE and author.user_id is None and not author.session_digest:
        raise BadInputError("Sign in or send a token to make something private.", field="visibility")
    session_digest = author.session_digest if author.user_id is None else ""
    return {"created_by_id": author.user_id, "session_digest": session_digest, "visibility": chosen}
