"""The log's signing key: from FAIRGROUND_LOG_KEY, or made once in the data folder.

All hosts that write to one log share one key. A host with another one, or without any, is told so
before it signs anything.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from webapp.transparency.models import Checkpoint
from webapp.transparency.notes import NoteError, Signer, Verifier

KEY_FILE = "log_key"
_EXAMPLE = 'python -c "import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())"'


def signer() -> Signer:
    """Return the key that signs checkpoints and receipts; raise `ImproperlyConfigured` for a wrong one."""
    found = _read(settings.LOG_KEY, Path(settings.DATA_DIR)) or _first_key(Path(settings.DATA_DIR))
    if found not in _checked:
        _check_against_log(found)
    return found


def verifier() -> Verifier:
    """Return the public key."""
    return signer().verifier


_checked: set[Signer] = set()


def _check_against_log(found: Signer) -> None:
    last = Checkpoint.objects.order_by("number").last()
    if last is None:
        return
    try:
        found.verifier.open(last.note)
    except NoteError as error:
        raise ImproperlyConfigured(
            f"this host's log key is not the one that signed the log ({error}). Set FAIRGROUND_LOG_KEY to the "
            f"key of the other hosts, or copy their {KEY_FILE} into the data folder."
        ) from error
    _checked.add(found)


@lru_cache(maxsize=8)
def _decode(text: str, origin: str) -> Signer:
    try:
        seed = base64.b64decode(text, validate=True)
    except binascii.Error:
        seed = b""
    if len(seed) != 32:
        raise ImproperlyConfigured(f"{origin} must be 32 bytes in base64, for example the output of {_EXAMPLE}.")
    return Signer(seed)


def _read(configured: str, data_dir: Path) -> Signer | None:
    if configured:
        return _decode(configured, "FAIRGROUND_LOG_KEY")
    try:
        return _decode((data_dir / KEY_FILE).read_text(encoding="ascii").strip(), str(data_dir / KEY_FILE))
    except FileNotFoundError:
        return None


def _first_key(data_dir: Path) -> Signer:
    """Make the key of a new log. A log that has checkpoints already has one, somewhere else."""
    if Checkpoint.objects.exists():
        raise ImproperlyConfigured(
            f"the log is signed, but {data_dir / KEY_FILE} is missing. Copy it from the host that made it, "
            "or set FAIRGROUND_LOG_KEY to its content. A new key would break the log."
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    partial = data_dir / f".{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        (data_dir / KEY_FILE).hardlink_to(partial)  # atomic; fails when another process was first
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    found = _read("", data_dir)
    assert found is not None
    return found
