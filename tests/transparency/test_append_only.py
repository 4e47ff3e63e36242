"""Raw SQL finds no way to change or delete what the log holds."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from tests.transparency.conftest import Append
from webapp.transparency import services
from webapp.transparency.models import Checkpoint, Entry, Node

pytestmark = pytest.mark.django_db
FORBIDDEN = [
    "DELETE FROM transparency_entry",
    'DELETE FROM transparency_entry WHERE "index" IS NULL',
    "DELETE FROM transparency_node",
    "DELETE FROM transparency_checkpoint",
    "UPDATE transparency_entry SET leaf = 'x'",
    "UPDATE transparency_entry SET kind = 'x' WHERE \"index\" IS NULL",
    'UPDATE transparency_entry SET leaf = \'x\', "index" = 3 WHERE "index" IS NULL',
    'UPDATE transparency_entry SET "index" = NULL WHERE "index" = 2',
    'UPDATE transparency_entry SET "index" = 7 WHERE "index" = 2',
    'UPDATE transparency_entry SET "index" = 4 WHERE "index" IS NULL',
    'UPDATE transparency_entry SET "index" = 1 WHERE "index" IS NULL',
    'UPDATE transparency_entry SET "index" = -1 WHERE "index" IS NULL',
    "UPDATE transparency_node SET level = 9",
    "UPDATE transparency_checkpoint SET tree_size = 9",
    "INSERT INTO transparency_checkpoint SELECT 1, tree_size, root_hash, note, created_at FROM transparency_checkpoint",
]
ONLY = {
    "sqlite": [
        "INSERT OR REPLACE INTO transparency_checkpoint SELECT * FROM transparency_checkpoint",
        "INSERT OR REPLACE INTO transparency_node SELECT * FROM transparency_node",
        "INSERT OR REPLACE INTO transparency_entry SELECT * FROM transparency_entry",
        "INSERT OR REPLACE INTO transparency_entry (serial, id, kind, at, leaf, leaf_hash) "
        "SELECT serial, 'x', kind, at, leaf, leaf_hash FROM transparency_entry",
        'UPDATE OR REPLACE transparency_entry SET "index" = 1 WHERE "index" IS NULL',
    ],
    "postgresql": [
        "TRUNCATE transparency_entry CASCADE",
        "TRUNCATE transparency_node",
        "TRUNCATE transparency_checkpoint",
        "UPDATE transparency_entry SET leaf_hash = sha256('x') WHERE \"index\" IS NULL",
        "INSERT INTO transparency_entry (id, kind, at, leaf, leaf_hash) "
        "SELECT gen_random_uuid(), kind, at, 'other', leaf_hash FROM transparency_entry LIMIT 1",
    ],
}


@pytest.fixture
def rows(append: Append) -> list[list[object]]:
    append(3)
    services.sequence_entries()
    append()
    return snapshot()


def snapshot() -> list[list[object]]:
    found: list[list[object]] = []
    for model in (Entry, Node, Checkpoint):
        rows = model.objects.order_by("pk").values_list()  # type: ignore[attr-defined]
        found.append([tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows])
    return found


@pytest.mark.parametrize("statement", [*FORBIDDEN, *ONLY[connection.vendor]])
def test_statement_is_refused_and_changes_nothing(rows: list[list[object]], statement: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert snapshot() == rows


def test_new_entry_with_an_index_is_refused(rows: list[list[object]]) -> None:
    [pending] = Entry.objects.filter(index=None)
    with pytest.raises(DatabaseError), transaction.atomic():
        Entry.objects.create(kind="x", leaf=pending.leaf, leaf_hash=pending.leaf_hash, index=3)
    assert snapshot() == rows


def test_entry_with_a_hash_of_another_length_is_refused(rows: list[list[object]]) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        Entry.objects.create(kind="x", leaf="{}", leaf_hash=b"short")
    assert snapshot() == rows


def test_models_refuse_deletion_too(rows: list[list[object]]) -> None:
    for model in (Entry, Node, Checkpoint):
        with pytest.raises(DatabaseError), transaction.atomic():
            model.objects.all().delete()  # type: ignore[attr-defined]
    assert snapshot() == rows
