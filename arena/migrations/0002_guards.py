"""The rules that the database keeps itself."""

from django.db import migrations

from arena.guards import install_guards, remove_guards


class Migration(migrations.Migration):
    dependencies = [("arena", "0001_arena_tables")]
    operations = [migrations.RunPython(install_guards, remove_guards)]
