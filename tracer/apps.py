"""Corpora, indexes and traces."""

from __future__ import annotations

from django.apps import AppConfig


class TracerConfig(AppConfig):
    """Corpora, indexes and traces."""

    name = "tracer"
    label = "tracer"
    verbose_name = "Tracer"
