"""A stored log that is not the one that was signed is found at start, with the first leaf that is wrong."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from structlog.testing import capture_logs

from tests.transparency.conftest import Append
from webapp.transparency import soundness
from webapp.transparency.errors import LogDamagedError
from webapp.transparency.merkle import leaf_hash
from webapp.transparency.models import Checkpoint, Entry, Node
from webapp.transparency.services import sequence_entries
from webapp.transparency.soundness import check_at_start, check_log

pytestmark = pytest.mark.django_db
N = 23


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_found", type(soundness._found)())


@pytest.fixture
def grown(append: Append) -> None:
    """Twenty-three leaves under four checkpoints, and an entry that waits."""
    for n in (5, 1, 10, 7):
        append(n)
        sequence_entries()
    append()


def lift_triggers() -> None:
    """Take the log's triggers away, as only somebody with the database's own rights could."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for model in (Entry, Node, Checkpoint):
                cursor.execute(f"ALTER TABLE {model._meta.db_table} DISABLE TRIGGER USER")
            return
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'transparency_%%'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP TRIGGER "{name}"')


def test_sound_log_is_sound_however_short_the_tail(grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for tail in (0, 1, 2, 3, 7, 8, 16, 22, 23, 99):
        monkeypatch.setattr(soundness, "TAIL", tail)
        assert check_log() == N
    assert check_log(whole=True) == N


def test_empty_log_is_sound() -> None:
    assert check_log() == check_log(whole=True) == 0
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize("batch", [4, 2_000])
@pytest.mark.parametrize("index", range(N))
def test_changed_leaf_is_named(grown: None, monkeypatch: pytest.MonkeyPatch, index: int, batch: int) -> None:
    monkeypatch.setattr(soundness, "_BATCH", batch)
    lift_triggers()
    entry = Entry.objects.get(index=index)
    Entry.objects.filter(index=index).update(leaf=entry.leaf.replace("wiki", "wild"))
    with pytest.raises(LogDamagedError, match=f"Leaf {index}: does not have its hash"):
        check_log()
    hashed = leaf_hash(entry.leaf.replace("wiki", "wild").encode())
    Entry.objects.filter(index=index).update(leaf_hash=hashed)
    fault = f"Leaf {index & ~1}: it and those up to {index | 1} have another stored node"
    alone = {  # no node stood above these when a checkpoint was signed
        4: "Leaf 0: this or one up to 4 is not what checkpoint 0 signed",
        22: "Leaf 16: this or one up to 22 is not what checkpoint 3 signed",
    }
    with pytest.raises(LogDamagedError, match=alone.get(index, fault)):
        check_log()


@pytest.mark.parametrize("index", range(N))
def test_missing_leaf_is_named(grown: None, index: int) -> None:
    lift_triggers()
    Entry.objects.filter(index=index)._raw_delete("default")  # type: ignore[attr-defined]
    with pytest.raises(LogDamagedError, match=f"Leaf {index}: is missing"):
        check_log()


def test_every_changed_node_is_named_when_all_is_checked(grown: None) -> None:
    lift_triggers()
    for node in list(Node.objects.all()):
        first = node.position << node.level
        for change in ("another", "no"):
            if change == "another":
                Node.objects.filter(pk=node.pk).update(hash=bytes(32))
            else:
                Node.objects.filter(pk=node.pk).delete()
            with pytest.raises(LogDamagedError, match=f"Leaf {first}: .* have {change} stored node {node} above"):
                check_log(whole=True)
        node.save(force_insert=True)
    assert check_log(whole=True) == N


def test_changed_node_that_the_root_needs_is_found_at_start(grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "TAIL", 7)  # sixteen leaves stand before: one node
    lift_triggers()
    Node.objects.filter(level=4, position=0).update(hash=bytes(32))
    with pytest.raises(LogDamagedError, match=r"Leaf 0: .* up to 15 have another stored node 4/0"):
        check_log()


def test_checkpoint_of_another_root_is_found(grown: None) -> None:
    lift_triggers()
    Checkpoint.objects.filter(number=3).update(root_hash=bytes(32))
    with pytest.raises(LogDamagedError, match="Leaf 16: this or one up to 22 is not what checkpoint 3 signed"):
        check_log()


def test_note_that_was_not_signed_is_found(grown: None) -> None:
    lift_triggers()
    note = Checkpoint.objects.get(number=3).note
    Checkpoint.objects.filter(number=3).update(note=note.replace("\n23\n", "\n24\n"))
    with pytest.raises(LogDamagedError, match="Checkpoint 3 does not say"):
        check_log()


def test_start_warns_with_the_first_wrong_leaf(grown: None) -> None:
    with capture_logs() as logs:
        check_at_start()
    assert logs == []
    lift_triggers()
    Entry.objects.filter(index=9).update(leaf="{}")
    with capture_logs() as logs:
        check_at_start()
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [
        ("critical", "Leaf 9: does not have its hash.")
    ]


def test_command_says_what_was_found(grown: None) -> None:
    out = io.StringIO()
    call_command("check_log", "--whole", stdout=out)
    assert out.getvalue() == f"{N} leaves are what the last checkpoint signed\n"
    lift_triggers()
    Entry.objects.filter(index=0).update(leaf="{}")
    with pytest.raises(CommandError, match="Leaf 0"):
        call_command("check_log")
