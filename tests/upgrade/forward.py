"""Takes the first release's rows to today's tables and back, in a database of its own, and compares every value.

    python -m tests.upgrade.forward           # the database of the environment, which must be empty

Run by test_forward in a process of its own, since migrations belong to no test's database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.management.color import no_style  # noqa: E402
from django.db import DatabaseError, connection, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.migrations.state import StateApps  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = json.loads(Path(__file__).with_name("first-release.json").read_text(encoding="utf-8"))
FIRST = [
    ("auth", "0012_alter_user_first_name_max_length"),
    ("webapp", "0001_initial"),
    ("transparency", "0002_append_only"),
    ("tracer", "0002_ownership"),
    ("playground", "0003_other_checkpoints_and_conversations"),
    ("arena", "0002_guards"),
]
#: Apps that the first release did not have.
LATER = [("accounts", None)]
#: Columns that are gone or changed, each with the reason. None so far.
GONE: dict[str, str] = {}


def models_at(targets: list[tuple[str, str]]) -> StateApps:
    """Return the models as migrations know them at the targets."""
    return MigrationExecutor(connection).loader.project_state(targets).apps


def columns(model: Any) -> dict[str, Any]:
    return {field.attname: field for field in model._meta.local_concrete_fields if field.column}


@contextmanager
def without_triggers() -> Iterator[None]:
    """Write rows as a restored backup does: in any order, past the rules for new rows."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield
            return
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f'DROP TRIGGER "{name}"')
        yield
        for _, sql in triggers:
            cursor.execute(sql)


def load() -> None:
    """Write the fixture's rows into the tables of the first release."""
    models = {m._meta.label_lower: m for m in models_at(FIRST).get_models(include_auto_created=True)}
    with without_triggers():
        for label, rows in FIXTURE["rows"].items():
            fields = columns(models[label])
            made = [models[label](**{name: fields[name].to_python(value) for name, value in r.items()}) for r in rows]
            models[label]._base_manager.bulk_create(made)
    loaded = [models[label] for label in FIXTURE["rows"]]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), loaded):
            cursor.execute(statement)
    connection.check_constraints()


def compare(apps: StateApps, when: str) -> int:
    """Compare every stored value with the fixture's; return how many there were."""
    models = {model._meta.label_lower: model for model in apps.get_models(include_auto_created=True)}
    n_values = 0
    for label, rows in FIXTURE["rows"].items():
        fields = columns(models[label])
        stored = {str(row.pk): row for row in models[label]._base_manager.all()}
        key = [f.attname for f in models[label]._meta.pk_fields]
        for row in rows:
            name = str(tuple(fields[k].to_python(row[k]) for k in key) if len(key) > 1 else row[key[0]])
            assert name in stored, f"{when}: {label} {name} is gone"
            for column, value in row.items():
                if f"{label}.{column}" in GONE:
                    continue
                found = fields[column].value_from_object(stored[name])
                shown = None if found is None else fields[column].value_to_string(stored[name])
                assert shown == value, f"{when}: {label} {name}: {column} is {shown!r}, was {value!r}"
                n_values += 1
    return n_values


def triggers() -> set[str]:
    """Return the names of all triggers of ours that are in force."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {name for (name,) in cursor.fetchall()}


def migrate_to(targets: list[tuple[str, str | None]]) -> None:
    MigrationExecutor(connection).migrate(targets)


def check_log() -> None:
    """Check the log as the doctor does, then as a stranger does with the export."""
    from webapp.operations.check_log import check_log as examine

    (finding,) = examine()
    assert finding.level == "ok", finding
    with tempfile.TemporaryDirectory() as folder:
        call_command("export_log", f"{folder}/log", verbosity=0)
        command = [sys.executable, "-m", "webapp.transparency.verify", f"{folder}/log"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def go_on() -> None:
    """Use the site as it is today: another entry, which today's code writes into the old log."""
    from arena.models import Season, Vote
    from arena.policy import Rules
    from arena.services import seasons
    from webapp.transparency.models import Checkpoint
    from webapp.transparency.services import sequence_entries

    with transaction.atomic():
        seasons.change_policy(season=Season.objects.get(slug="main"), rules=Rules())
    sequence_entries()
    newest = Checkpoint.objects.order_by("number").last()
    assert newest is not None
    assert newest.tree_size == len(FIXTURE["rows"]["transparency.entry"]) + 1
    try:
        with transaction.atomic():
            Vote.objects.update(verdict="a")
    except DatabaseError:
        return
    raise AssertionError("after the upgrade a vote can be changed")


def main() -> None:
    (Path(settings.DATA_DIR) / "log_key").write_text(FIXTURE["log_key"] + "\n", encoding="ascii")
    migrate_to(list(FIRST))
    at_first = triggers()
    load()
    n_values = compare(models_at(FIRST), "loaded")
    call_command("migrate", verbosity=0)
    head = MigrationExecutor(connection).loader.graph.leaf_nodes()
    assert compare(models_at(head), "upgraded") == n_values
    check_log()
    go_on()
    check_log()
    migrate_to([*FIRST, *LATER])
    assert compare(models_at(FIRST), "taken back") == n_values
    assert triggers() == at_first, f"taken back: without {at_first - triggers()}"
    call_command("migrate", verbosity=0)
    assert compare(models_at(head), "upgraded again") == n_values
    check_log()
    print(f"{n_values} values of {len(FIXTURE['rows'])} tables on {connection.vendor}")


if __name__ == "__main__":
    main()
