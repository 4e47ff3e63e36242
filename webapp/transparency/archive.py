"""The log as one zip file, made while it is sent: what `manage.py export_log` writes, for everybody.

Nothing of it is held in memory or on disk but the record at hand.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.db import connection

from webapp.transparency.exports import VERIFIER, log_files, manifest_of
from webapp.transparency.models import Checkpoint

_CHUNK = 1 << 16


class _Outlet(io.RawIOBase):
    """A write-only file whose content is taken away as it grows."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        data = bytes(content)  # type: ignore[call-overload]
        self.waiting += data
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        content = bytes(self.waiting)
        self.waiting.clear()
        return content


def archive_of(last: Checkpoint) -> Iterator[bytes]:
    """Yield a zip file of the log up to a checkpoint, in pieces."""
    outlet = _Outlet()
    folder = f"log-{last.tree_size}"
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:
        digests = {}
        for file in log_files(last):
            with archive.open(f"{folder}/{file.name}", "w", force_zip64=True) as target:
                for line in file:
                    target.write(line)
                    if len(outlet.waiting) >= _CHUNK:
                        yield outlet.take()
            digests[file.name] = file.digest
        archive.writestr(f"{folder}/manifest.json", json.dumps(manifest_of(last, digests), indent=1) + "\n")
        archive.write(VERIFIER, f"{folder}/{VERIFIER.name}")
        yield outlet.take()
    yield outlet.take()


async def in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces of an iterator that blocks; between them no database connection is held."""
    while piece := await sync_to_async(_step)(pieces):
        yield piece


def _step(pieces: Iterator[bytes]) -> bytes:
    """Return the next piece that is not empty, or nothing at the end."""
    piece = next((piece for piece in pieces if piece), b"")
    if not connection.in_atomic_block:
        connection.close()
    return piece
