"""Sends a file from disk in pieces, as a download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.http import StreamingHttpResponse

from webapp.transparency.archive import in_threads

TYPES = {
    ".jsonl": "application/jsonlines; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}
PIECE = 1 << 17


def send_file(path: Path) -> StreamingHttpResponse:
    """Return a file as an attachment; nothing of it is held in memory but a piece."""
    response = StreamingHttpResponse(in_threads(_pieces(path)), content_type=TYPES[path.suffix])
    response["Content-Length"] = str(path.stat().st_size)
    response["Content-Disposition"] = f'attachment; filename="{path.name}"'
    return response


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
