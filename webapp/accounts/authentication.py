"""Lets programs in by token, each within its scopes. Browsers come with a session and have every scope."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from webapp.accounts.models import ApiToken, Scope
from webapp.errors import FairgroundError

if TYPE_CHECKING:
    from rest_framework.views import APIView

USE_NOTED_EVERY = timedelta(minutes=5)

#: The scope that writing needs, by the package of the view; a view's attribute `scope` says otherwise.
WRITE_SCOPES = (
    ("tracer", Scope.TRACE),
    ("webapp.playground", Scope.GENERATE),
    ("arena", Scope.ARENA),
)


class BearerTokenAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """`Authorization: Bearer …`; notes now and then that the token is in use."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, ApiToken]:
        """Return the token's user and the token. Raises `AuthenticationFailed`."""
        user, row = super().authenticate_credentials(token)
        now = timezone.now()
        if row.last_used_at is None or row.last_used_at < now - USE_NOTED_EVERY:
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
        return user, row


def token_user(request: HttpRequest) -> User | None:
    """Return the user of the token that a plain Django request brings, None for a request without one.

    Raises `UnknownTokenError` for one that is not valid.
    """
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return None
    try:
        found = BearerTokenAuthentication().authenticate(request)
    except AuthenticationFailed as error:
        raise UnknownTokenError(str(error.detail)) from error
    return cast(User, found[0]) if found is not None else None


class UnknownTokenError(FairgroundError):
    """A token that is not known, or has ended."""

    status = 401
    code = "authentication-failed"


class WithinScope(BasePermission):
    """A token reads with any scope and writes with the one that the view names."""

    message = "This token may not do this. Make one with the scope that the documentation names."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether the request's token, if it came with one, allows its method here."""
        if not isinstance(request.auth, ApiToken):
            return True
        return request.auth.allows(Scope.READ if request.method in SAFE_METHODS else write_scope(view))


def write_scope(view: APIView) -> Scope:
    """Return the scope that changing anything through this view needs."""
    named = getattr(view, "scope", None)
    if named is not None:
        return Scope(named)
    module = type(view).__module__
    for package, scope in WRITE_SCOPES:
        if module == package or module.startswith(f"{package}."):
            return scope
    return Scope.MANAGE
