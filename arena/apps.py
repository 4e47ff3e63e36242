"""Blind battles, fair draws and ratings."""

from __future__ import annotations

from django.apps import AppConfig


class ArenaConfig(AppConfig):
    """Blind battles, fair draws and ratings."""

    name = "arena"
    label = "arena"
    verbose_name = "Arena"
