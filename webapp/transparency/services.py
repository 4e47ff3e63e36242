"""What other apps use of the log: append an entry, sign a receipt, hash a text.

`append_entry` runs inside the transaction of what it records: both are there, or neither. The
entry's place in the tree is assigned by `sequence_entries` within about a second, so that no
writer waits for another. The kinds and fields of entries: docs/log-format.md.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
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

__all__ = ["append_entry", "public_key", "salted_text_hash", "sequence_entries", "sign_receipt"]

log = structlog.get_logger(__name__)
LEAF_VERSION = 1
SALT_BYTES = 32


def append_entry(*, kind: str, body: Mapping[str, Any]) -> Entry:
    """Store a log entry in the caller's transaction; its leaf index follows after the commit.

    Raise `BadInputError` when the body does not fit its kind, `TransactionManagementError` outside
    of `transaction.atomic()`.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("append_entry must run inside transaction.atomic()")
    check_body(kind, body)
    entry_id, at = uuid7(), timezone.now()
    leaf = _canonical({"v": LEAF_VERSION, "id": str(entry_id), "kind": kind, "at": format_time(at), "body": dict(body)})
    entry = Entry.objects.create(id=entry_id, kind=kind, at=at, leaf=leaf.decode(), leaf_hash=leaf_hash(leaf))
    if "request_id" in structlog.contextvars.get_contextvars():  # commands tell what they do themselves
        log.info("log entry", entry=str(entry_id), kind=kind)
    if settings.EMBEDDED:
        transaction.on_commit(sequence_quietly)
    return entry


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
