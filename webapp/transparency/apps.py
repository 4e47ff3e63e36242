"""The append-only transparency log."""

from __future__ import annotations

from django.apps import AppConfig


class TransparencyConfig(AppConfig):
    """The append-only transparency log."""

    name = "webapp.transparency"
    label = "transparency"
    verbose_name = "Transparency log"
