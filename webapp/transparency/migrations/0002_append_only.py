"""Triggers: the log can only grow. There is no way back, on purpose."""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from webapp.transparency.triggers import CREATE


def create_triggers(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in CREATE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    #: Read by people and by a test: an upgrade past this point cannot be undone.
    irreversible_because = "a way back would let an operator drop the guard, change the past and put the guard back"
    dependencies = [("transparency", "0001_entries_nodes_checkpoints")]
    operations = [migrations.RunPython(create_triggers)]
