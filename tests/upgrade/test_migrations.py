"""Every migration can be undone, or says why not."""

from __future__ import annotations

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

PACKAGES = {"webapp", "tracer", "arena"}
OURS = sorted(config.label for config in apps.get_app_configs() if config.name.split(".")[0] in PACKAGES)


def test_every_migration_is_reversible_or_says_why_not() -> None:
    loader = MigrationLoader(None)
    stuck = [
        f"{label}.{name}"
        for (label, name), migration in sorted(loader.disk_migrations.items())
        if label in OURS
        for operation in migration.operations
        if not operation.reversible and not getattr(migration, "irreversible_because", "")
    ]
    assert stuck == []
