"""What other apps use of the log: append an entry, sign a receipt, hash a text.

`append_entry` runs inside the transaction of what it records: both are there, or neither. The
entry's place in the tree is assigned by `sequence_entries` within about a second, so that no
writer waits for another. The kinds and fields of entries: docs/log-format.md.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rfc8785
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from webapp.errors import BadInputError
from webapp.identifiers import uuid7
from webapp.transparency import keys
from webapp.transparency.kinds import check_body
from webapp.transparency.merkle import leaf_hash
from webapp.transparency.models import Entry
from webapp.transparency.notes import Verifier
from webapp.transparency.sequencer import sequence_entries, sequence_quietly

__all__ = ["append_entry", "append_entry_with", "public_key", "salted_text_hash", "sequence_entries", "sign_receipt"]

log = structlog.get_logger(__name__)
LEAF_VERSION = 1
SALT_BYTES = 32
_ENTRY = (
    "WITH entry AS (INSERT INTO transparency_entry (id, kind, at, leaf, leaf_hash) VALUES (%s, %s, %s, %s, %s) "
    "RETURNING id)"
)


def append_entry(*, kind: str, body: Mapping[str, Any]) -> Entry:
    """Store a log entry in the caller's transaction; its leaf index follows after the commit.

    Raise `BadInputError` when the body does not fit its kind, `TransactionManagementError` outside
    of `transaction.atomic()`.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("append_entry must run inside transaction.atomic()")
    entry = _new_entry(kind, body)
    entry.save(force_insert=True)
    _after_append(entry)
    return entry


def append_entry_with(statement: str, parameters: Sequence[Any], *, kind: str, body: Mapping[str, Any]) -> uuid.UUID:
    """Store a log entry and a row of the caller's by one statement of PostgreSQL; return the entry's id.

    statement: `INSERT … SELECT …, entry.id, … FROM entry`. Outside of a transaction both are durable when this
    returns, or neither is, after one round trip instead of four. Errors as of `append_entry`, and the database's.
    """
    entry = _new_entry(kind, body)
    own: list[Any] = [entry.id, entry.kind, entry.at, entry.leaf, entry.leaf_hash]
    with connection.cursor() as cursor:
        cursor.execute(f"{_ENTRY} {statement}", [*own, *parameters])
    _after_append(entry)
    return entry.id


def _new_entry(kind: str, body: Mapping[str, Any]) -> Entry:
    check_body(kind, body)
    entry_id, at = uuid7(), timezone.now()
    leaf = _canonical({"v": LEAF_VERSION, "id": str(entry_id), "kind": kind, "at": format_time(at), "body": dict(body)})
    return Entry(id=entry_id, kind=kind, at=at, leaf=leaf.decode(), leaf_hash=leaf_hash(leaf))


def _after_append(entry: Entry) -> None:
    if "request_id" in structlog.contextvars.get_contextvars():  # commands tell what they do themselves
        log.info("log entry", entry=str(entry.id), kind=entry.kind)
    if settings.EMBEDDED:
        transaction.on_commit(sequence_quietly)


def sign_receipt(payload: Mapping[str, Any]) -> str:
    """Return `payload` as a signed note: `<log's name>/receipt`, then its canonical JSON on one line.

    The verifier checks it with `--receipt FILE`.
    """
    key = keys.signer()
    return key.sign(f"{key.verifier.name}/receipt\n{_canonical(payload).decode()}\n")


def public_key() -> Verifier:
    """Return the key with which checkpoints and receipts are checked."""
    return keys.verifier()


def salted_text_hash(text: str, salt: bytes | None = None) -> tuple[bytes, str]:
    """Return a salt of 32 bytes (fresh unless given) and SHA-256 of salt ‖ text in UTF-8, in hexadecimal.

    Keep the salt beside the text: when both are erased, nobody can tell the text from its hash.
    """
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    return salt, hashlib.sha256(salt + text.encode("utf-8", "surrogatepass")).hexdigest()


def format_time(at: datetime) -> str:
    """Return a time as leaves hold it: UTC, six digits of a second, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _canonical(value: Mapping[str, Any]) -> bytes:
    try:
        encoded: bytes = rfc8785.dumps(dict(value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise BadInputError(f"This has no canonical JSON: {error}.", field="body") from error
    return encoded
