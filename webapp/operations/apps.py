"""What the operator of a site needs: doctor, health, metrics, a page. Stands on top: may know every app."""

from __future__ import annotations

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """The app's place in the project."""

    name = "webapp.operations"
    label = "operations"
