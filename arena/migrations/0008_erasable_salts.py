"""The salt of a battle's answers can be forgotten when they are erased."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from arena.guards import install_erasable_guards, remove_erasable_guards


def forget_salts(apps: Any, schema_editor: Any) -> None:
    """Forget those whose texts were erased before."""
    closes = apps.get_model("arena", "BattleClose").objects.exclude(salt="").filter(battle__turns__isnull=False)
    closes.exclude(battle__turns__text__isnull=False).update(salt="")


class Migration(migrations.Migration):
    dependencies = [("arena", "0007_overlaps")]
    operations = [
        migrations.RunPython(install_erasable_guards, remove_erasable_guards),
        migrations.RunPython(forget_salts, migrations.RunPython.noop),
    ]
