"""Accounts: sign-in, roles, tokens. A leaf: knows neither tracing nor inference nor the arena."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The app's place in the project."""

    name = "webapp.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the schema's description of tokens."""
        from webapp.accounts import schema  # noqa: F401
