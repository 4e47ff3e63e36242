"""Appending, sequencing, receipts, salted hashes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.transaction import TransactionManagementError

from tests.transparency.conftest import Append, takedown
from webapp.errors import BadInputError
from webapp.transparency import merkle, services
from webapp.transparency.errors import LogDamagedError
from webapp.transparency.models import Checkpoint, Entry, Node
from webapp.transparency.notes import NoteError, parse_checkpoint

pytestmark = pytest.mark.django_db


def test_entry_holds_canonical_json_and_its_hash_when_appended(append: Append) -> None:
    [entry] = append()
    leaf = json.loads(entry.leaf)
    assert leaf["body"] == takedown() == entry.body
    assert (leaf["v"], leaf["id"], leaf["kind"]) == (1, str(entry.id), "takedown")
    assert leaf["at"] == entry.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert entry.leaf == json.dumps(leaf, sort_keys=True, separators=(",", ":"))
    assert bytes(entry.leaf_hash) == hashlib.sha256(b"\0" + entry.leaf.encode()).digest()
    assert entry.index is None


def test_entry_is_refused_when_it_does_not_fit_its_kind() -> None:
    with transaction.atomic(), pytest.raises(BadInputError, match="lacks corpus"):
        services.append_entry(kind="takedown", body={})


def test_entry_is_refused_when_a_text_has_no_canonical_form() -> None:
    body = {"corpus": "a", "owner": "\ud800", "licence": "", "disclosure": "full", "n_documents": 1, "digest": "0" * 64}
    with transaction.atomic(), pytest.raises(BadInputError, match="no canonical JSON"):
        services.append_entry(kind="corpus", body=body)


@pytest.mark.django_db(transaction=True)
def test_append_is_refused_when_outside_a_transaction() -> None:
    with pytest.raises(TransactionManagementError, match="inside transaction"):
        services.append_entry(kind="takedown", body=takedown())


def test_entry_vanishes_with_the_transaction_when_that_fails() -> None:
    def fail() -> None:
        with transaction.atomic():
            services.append_entry(kind="takedown", body=takedown())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not Entry.objects.exists()


def test_sequencing_assigns_indices_and_signs_when_batches_grow(append: Append) -> None:
    numbers = []
    for n in (1, 2, 5, 1, 8):
        append(n)
        checkpoint = services.sequence_entries()
        assert checkpoint is not None
        numbers.append((checkpoint.number, checkpoint.tree_size))
        leaves = list(Entry.objects.sequenced())
        assert [e.index for e in leaves] == list(range(checkpoint.tree_size))
        assert [e.serial for e in leaves] == sorted(e.serial for e in leaves)
        frontier = merkle.Frontier()
        nodes = {p: h for e in leaves for p, h in frontier.append(merkle.leaf_hash(e.leaf.encode()))}
        text = services.public_key().open(checkpoint.note)
        assert parse_checkpoint(text) == (services.public_key().name, checkpoint.tree_size, frontier.root())
        assert {(n.level, n.position): bytes(n.hash) for n in Node.objects.all()} == nodes
    assert numbers == [(0, 1), (1, 3), (2, 8), (3, 9), (4, 17)]


def test_sequencing_signs_one_checkpoint_a_batch_when_more_wait_than_a_batch_holds(
    append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.transparency.sequencer.MAX_BATCH", 4)
    append(10)
    checkpoint = services.sequence_entries()
    assert checkpoint is not None
    assert (checkpoint.number, checkpoint.tree_size) == (2, 10)


def test_sequencing_signs_nothing_when_nothing_is_new(append: Append) -> None:
    assert services.sequence_entries() is None
    append()
    services.sequence_entries()
    assert services.sequence_entries() is None
    assert Checkpoint.objects.count() == 1


def test_sequencing_refuses_when_a_node_contradicts_the_checkpoint(append: Append) -> None:
    append(2)
    services.sequence_entries()
    bad = merkle.leaf_hash(b"another tree")
    Checkpoint.objects.create(number=1, tree_size=3, root_hash=bad, note=Checkpoint.objects.get().note)
    append()
    with pytest.raises(LogDamagedError, match="covers 3"):
        services.sequence_entries()
    assert Entry.objects.filter(index=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_entries_are_sequenced_on_commit_when_embedded(append: Append, settings: Any) -> None:
    settings.EMBEDDED = True
    [entry] = append()
    entry.refresh_from_db()
    assert entry.index == 0


@pytest.mark.django_db(transaction=True)
def test_commit_succeeds_when_sequencing_fails(append: Append, settings: Any) -> None:
    settings.EMBEDDED, settings.LOG_KEY = True, "short"
    [entry] = append()
    entry.refresh_from_db()
    assert entry.index is None


def test_receipt_opens_with_the_public_key_and_no_other() -> None:
    receipt = services.sign_receipt({"draw_index": 3, "epoch": 0})
    name = services.public_key().name
    assert services.public_key().open(receipt) == f'{name}/receipt\n{{"draw_index":3,"epoch":0}}\n'
    with pytest.raises(NoteError):
        services.public_key().open(receipt.replace('"epoch":0', '"epoch":1'))


def test_key_is_made_once_and_private(data_dir: Path) -> None:
    first = services.public_key()
    assert services.public_key() == first
    assert (data_dir / "log_key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in data_dir.iterdir()] == ["log_key"]


def test_key_comes_from_the_environment_when_given(settings: Any, data_dir: Path) -> None:
    settings.LOG_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert services.public_key().to_text().startswith("fairground/56475aa75463474c+")
    assert not (data_dir / "log_key").exists()


@pytest.mark.parametrize("key", ["AAEC", "no base64!"])
def test_key_is_refused_when_malformed(settings: Any, key: str) -> None:
    settings.LOG_KEY = key
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_LOG_KEY must be 32 bytes"):
        services.public_key()


def test_no_new_key_is_made_when_the_log_is_signed_already(append: Append, data_dir: Path) -> None:
    append()
    services.sequence_entries()
    (data_dir / "log_key").unlink()
    with pytest.raises(ImproperlyConfigured, match="would break the log"):
        services.sign_receipt({})


def test_receipt_is_refused_when_the_host_has_another_key(append: Append, settings: Any) -> None:
    append()
    services.sequence_entries()
    settings.LOG_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    with pytest.raises(ImproperlyConfigured, match="not the one that signed the log"):
        services.sign_receipt({})


def test_salted_hash_needs_the_salt() -> None:
    salt, digest = services.salted_text_hash("Grüße")
    assert len(salt) == 32
    assert digest == hashlib.sha256(salt + "Grüße".encode()).hexdigest()
    assert services.salted_text_hash("Grüße")[1] != digest
    assert services.salted_text_hash("Grüße", salt)[1] == digest
