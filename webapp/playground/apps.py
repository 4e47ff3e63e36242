"""Checkpoints, experts and generations."""

from __future__ import annotations

from django.apps import AppConfig


class PlaygroundConfig(AppConfig):
    """Checkpoints, experts and generations."""

    name = "webapp.playground"
    label = "playground"
    verbose_name = "Playground"
