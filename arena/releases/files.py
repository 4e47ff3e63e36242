"""Writes rows as JSON lines and Parquet side by side, a batch at a time, with their digests.

The same rows in the same batches give the same bytes. Knows nothing of votes or the database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from arena.releases.schemas import Columns, Row

_PLAIN = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ReleasedFile:
    """A finished file. n_rows: None where it holds no table."""

    name: str
    n_bytes: int
    sha256: str
    n_rows: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the file's facts as plain values."""
        return {"name": self.name, "n_bytes": self.n_bytes, "sha256": self.sha256, "n_rows": self.n_rows}


def arrow_type(declared: Any) -> Any:
    """Return a column's Arrow type: a dict is a struct, a list of one item a list."""
    if isinstance(declared, str):
        return _PLAIN[declared]
    if isinstance(declared, list):
        return pa.list_(arrow_type(declared[0]))
    return pa.struct([pa.field(name, arrow_type(inner)) for name, inner in declared.items()])


def json_line(row: Row) -> bytes:
    """Return a row as one line, columns in their order."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def write_table(
    folder: Path, name: str, columns: Columns, batches: Iterable[Sequence[Row]]
) -> tuple[ReleasedFile, ReleasedFile]:
    """Write `name`.jsonl and `name`.parquet; each appears whole, by a rename, or not at all."""
    schema = pa.schema([pa.field(column, arrow_type(declared)) for column, declared in columns.items()])
    lines, table = folder / f"{name}.jsonl", folder / f"{name}.parquet"
    parts = [path.with_name(f"{path.name}.part") for path in (lines, table)]
    n_rows = 0
    with parts[0].open("wb") as jsonl, pa_parquet.ParquetWriter(parts[1], schema, compression="zstd") as parquet:
        for batch in batches:
            jsonl.writelines(map(json_line, batch))
            parquet.write_table(pa.Table.from_pylist(list(batch), schema=schema))
            n_rows += len(batch)
    for part, path in zip(parts, (lines, table), strict=True):
        part.rename(path)
    return described(lines, n_rows), described(table, n_rows)


def write_text(folder: Path, name: str, text: str) -> ReleasedFile:
    """Write a file of text, whole or not at all."""
    part = folder / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.rename(folder / name)
    return described(folder / name)


def described(path: Path, n_rows: int | None = None) -> ReleasedFile:
    """Return a file's size and SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return ReleasedFile(path.name, path.stat().st_size, digest.hexdigest(), n_rows)
