"""Tables of fixed-size records in a folder that only grow: what was read from the database once is kept as columns.

One head file says how much of each table is valid, its checksum, and of which state of the log it is; it is
replaced at once, after the records. So a process that dies while it writes, or that reads meanwhile, sees the
state before. The folder is a cache: whatever is wrong with it, it is made anew. Knows nothing of Django or votes.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = "head.json"
Records = NDArray[Any]


@dataclass(frozen=True)
class Extent:
    """How many records of a table are valid, and the CRC-32 of their bytes."""

    n: int = 0
    crc: int = 0


@dataclass(frozen=True)
class Head:
    """What is valid. made: names this making of the folder. size, root: of the log that the records are of."""

    made: str
    size: int
    root: str
    extents: Mapping[str, Extent]
    words: Mapping[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        """Return the head as plain values."""
        extents = {name: [extent.n, extent.crc] for name, extent in self.extents.items()}
        return {"made": self.made, "size": self.size, "root": self.root, "extents": extents, "words": dict(self.words)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Head:
        """Return the head of plain values; raises `KeyError`, `TypeError` or `ValueError` for others."""
        extents = {name: Extent(int(n), int(crc)) for name, (n, crc) in values["extents"].items()}
        words = {name: [str(word) for word in found] for name, found in values["words"].items()}
        return cls(str(values["made"]), int(values["size"]), str(values["root"]), extents, words)


@dataclass(frozen=True, eq=False)
class Tables:
    """Records as they stood under a head, read-only; they stay what they are while the folder grows."""

    head: Head
    records: Mapping[str, Records]


class ColumnFolder:
    """A folder of such tables. layout: the type of each table's records; version: of what they mean."""

    def __init__(self, folder: Path, layout: Mapping[str, np.dtype[Any]], version: int) -> None:
        self.folder = folder
        self.layout = layout
        self.version = version
        self._checked: dict[str, Extent] = {}
        self._checked_of = ""

    def read(self) -> Tables | None:
        """Return what is valid; None where nothing is, or where records do not have their checksum."""
        try:
            values = json.loads((self.folder / HEAD).read_bytes())
            if values["version"] != self.version or set(values["extents"]) != set(self.layout):
                return None
            head = Head.from_json(values)
            records = {name: self._map(head, name) for name in self.layout}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not all(self._is_sound(head, name, records[name]) for name in self.layout):
            return None
        return Tables(head, records)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer, in any process or thread. Raises `OSError` where the folder cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def begin(self) -> Tables:
        """Return a new making without records; the files of others are removed. Only under the lock."""
        for path in self.folder.glob("*.bin"):
            path.unlink()  # who has it mapped keeps it
        (self.folder / HEAD).unlink(missing_ok=True)
        head = Head(uuid.uuid4().hex, 0, "", {name: Extent() for name in self.layout}, {})
        return Tables(head, {name: np.zeros(0, kind) for name, kind in self.layout.items()})

    def append(self, head: Head, name: str, records: Records) -> Head:
        """Write records behind those of a table; return the head under which they are valid once it is put there."""
        extent, kind = head.extents[name], self.layout[name]
        data = np.ascontiguousarray(records, dtype=kind).tobytes()
        with os.fdopen(os.open(self._path(head, name), os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.seek(extent.n * kind.itemsize)
            file.write(data)
        grown = Extent(extent.n + len(records), zlib.crc32(data, extent.crc))
        return Head(head.made, head.size, head.root, {**head.extents, name: grown}, head.words)

    def put(self, head: Head) -> None:
        """Make a head the valid one, at once."""
        new = self.folder / f"{HEAD}.new"
        new.write_text(json.dumps({"version": self.version, **head.to_json()}))
        new.replace(self.folder / HEAD)

    def _path(self, head: Head, name: str) -> Path:
        return self.folder / f"{head.made}-{name}.bin"

    def _map(self, head: Head, name: str) -> Records:
        n, kind = head.extents[name].n, self.layout[name]
        if not n:
            return np.zeros(0, kind)
        path = self._path(head, name)
        if path.stat().st_size < n * kind.itemsize:
            raise ValueError(f"{path} is shorter than its head says")
        return np.memmap(path, dtype=kind, mode="r", shape=(n,))

    def _is_sound(self, head: Head, name: str, records: Records) -> bool:
        """Check what this process did not check before: all of a folder at first, then what is new."""
        if self._checked_of != head.made:
            self._checked, self._checked_of = {}, head.made
        before = self._checked.get(name, Extent())
        now = head.extents[name]
        if before.n > now.n:
            before = Extent()
        crc = zlib.crc32(records[before.n :].tobytes(), before.crc)
        if crc != now.crc:
            return False
        self._checked[name] = now
        return True
