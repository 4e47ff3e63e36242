"""Tokens with which programs act for a person."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from knox.models import AbstractAuthToken, AuthTokenManager


class Scope(models.TextChoices):
    """What a token may do. Reading what its owner may read is part of every scope but `none`."""

    READ = "read", "read what I may read"
    TRACE = "trace", "trace texts"
    GENERATE = "generate", "ask models"
    ARENA = "arena", "act in the arena: battles, votes, contestants, judges"
    MANAGE = "manage", "manage my corpora and experts"


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A token by its digest; the token itself is shown once and never stored."""

    name = models.CharField(max_length=100)
    scopes = models.JSONField(default=list)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = AuthTokenManager()

    class Meta:
        ordering = ["-created"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="one_token_per_user_and_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key}…)"

    @property
    def is_expired(self) -> bool:
        """Tell whether it no longer works."""
        return self.expiry is not None and self.expiry <= timezone.now()

    def allows(self, scope: Scope) -> bool:
        """Tell whether the token may do what the scope names."""
        return scope.value in self.scopes or (scope is Scope.READ and bool(self.scopes))
