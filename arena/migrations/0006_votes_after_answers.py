"""The database refuses a vote on a battle whose answers are not all there."""

from __future__ import annotations

from django.db import migrations

from arena.guards import install_answer_guards, remove_answer_guards


class Migration(migrations.Migration):
    dependencies = [("arena", "0005_judges")]
    operations = [migrations.RunPython(install_answer_guards, remove_answer_guards)]
