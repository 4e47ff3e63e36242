"""New results of traces are compressed by LZ4 where PostgreSQL (14 or later) was built with it.

Its own method takes two to three times as long to store one (`python -m benchmarks.stored_results`), which is the most
that the database does for a trace.
"""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

SET = """
DO $$ BEGIN
    EXECUTE 'ALTER TABLE tracer_trace ALTER COLUMN result SET COMPRESSION {method}';
EXCEPTION WHEN feature_not_supported OR syntax_error OR invalid_parameter_value THEN
    RAISE NOTICE 'results of traces stay as this server compresses them';
END $$
"""


def compress_by_lz4(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Set the method for results that are stored from now on."""
    _set(editor, "lz4")


def compress_as_the_server_does(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """Undo it; what was stored stays readable."""
    _set(editor, "default")


def _set(editor: BaseDatabaseSchemaEditor, method: str) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(SET.format(method=method), params=None)


class Migration(migrations.Migration):
    dependencies = [("tracer", "0007_bulletins")]

    operations = [migrations.RunPython(compress_by_lz4, compress_as_the_server_does)]
