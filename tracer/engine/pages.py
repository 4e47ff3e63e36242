"""Mapped files whose pages are fetched in batches, so that reads wait for a disk together rather than in turn.

A batch is asked for by `madvise(MADV_WILLNEED)`, which starts the reads and returns; whoever then touches
a page waits for it alone. Outside batches a fault reads one page (`MADV_RANDOM`), as searches jump about.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.engine.errors import IndexFileError
from tracer.engine.mapping import guard

PAGE = mmap.PAGESIZE
N_SAMPLED = 16
#: Absent on some systems, where every page is read when it is touched.
WILL_NEED: int | None = getattr(mmap, "MADV_WILLNEED", None)
RANDOM: int | None = getattr(mmap, "MADV_RANDOM", None)
#: A search that can be advanced side by side with others: it yields after asking for pages it will touch next.
Stepwise = Generator[None]
_mincore = getattr(ctypes.PyDLL(None), "mincore", None)  # keeps the interpreter's lock: handing it over costs more
if _mincore is not None:
    _mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class Asked(IntEnum):
    """What came of asking for pages."""

    NOTHING_NEW = 0  # this search asked for all of them before, or the few new ones are in memory
    RESIDENT = 1  # many new ones, and a sample of them is in memory
    READING = 2  # reads were started


class MappedFile:
    """A file as a read-only array. Raises `OSError` or `ValueError` when it cannot be mapped.

    `reads_ahead` is for who reads it from beginning to end.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], *, reads_ahead: bool = False) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            status = os.fstat(file.fileno())
        self.array: npt.NDArray[Any] = np.frombuffer(self._map, dtype=dtype)
        self._address = self.array.__array_interface__["data"][0]
        self.size = len(self._map)
        guard(self._map, self._address, self.size)
        self._tells_residency = _may_see_residency(path, status)
        if RANDOM is not None and not reads_ahead:
            self._map.madvise(RANDOM)

    def start_reading(self, pages: npt.NDArray[np.int64]) -> None:
        """Start reading pages (ascending, distinct numbers); neighbours as one read."""
        if WILL_NEED is None:
            return
        runs = np.flatnonzero(np.diff(pages, prepend=-2) != 1)
        firsts, ends = pages[runs], pages[np.append(runs[1:], len(pages)) - 1] + 1
        advise = self._map.madvise
        for begin, length in zip((firsts * PAGE).tolist(), ((ends - firsts) * PAGE).tolist(), strict=True):
            advise(WILL_NEED, begin, length)

    def is_resident(self, pages: npt.NDArray[np.int64]) -> bool:
        """Tell whether a sample of the pages is in memory; False where the system does not tell."""
        if not self._tells_residency or _mincore is None:
            return False
        state = ctypes.c_ubyte()
        place = ctypes.addressof(state)
        for page in pages[:: max(1, len(pages) // N_SAMPLED)].tolist():
            if not 0 <= page * PAGE < self.size or _mincore(self._address + page * PAGE, 1, place):
                return False
            if not state.value & 1:
                return False
        return True


@contextmanager
def unchanged(paths: Iterable[Path]) -> Iterator[None]:
    """Read mapped files of no known size: raises `IndexFileError` if one changed its size, whatever came of that.

    A page that a file lost while it was mapped reads as zeros (`mapping`).
    """
    sizes = {path: _size(path) for path in paths}
    try:
        yield
    finally:
        for path, size in sizes.items():
            if (now := _size(path)) != size:
                raise IndexFileError(path, f"had {size} bytes and has {now} now", "Try again when nobody changes it.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class PageRequests:
    """The pages that one search asked for, so that each is asked for once. `n_pages` counts those read."""

    def __init__(self) -> None:
        self._seen: dict[MappedFile, set[int]] = defaultdict(set)
        self._resident: set[MappedFile] = set()
        self.n_pages = 0

    def ask(self, file: MappedFile, begins: npt.NDArray[np.int64], n_bytes: int | npt.NDArray[np.int64]) -> Asked:
        """Ask for the pages that hold `n_bytes` bytes from each of `begins` (k,), as far as they lie in the file.

        A file of which a sample was in memory is not asked about again: looking costs more than a rare fault.
        """
        if file in self._resident:
            return Asked.RESIDENT
        if not len(begins):
            return Asked.NOTHING_NEW
        if file not in self._seen and len(begins) >= N_SAMPLED and file.is_resident(begins // PAGE):
            self._resident.add(file)
            return Asked.RESIDENT
        last_byte = file.size - 1
        first, last = (np.minimum(np.maximum(e, 0), last_byte) // PAGE for e in (begins, begins + n_bytes - 1))
        wanted = set(first.tolist())
        if (longer := np.flatnonzero(last > first)).size:
            for low, high in zip(first[longer].tolist(), last[longer].tolist(), strict=True):
                wanted.update(range(low + 1, high + 1))
        wanted -= self._seen[file]
        if not wanted:
            return Asked.NOTHING_NEW
        self._seen[file] |= wanted
        pages = np.array(sorted(wanted), np.int64)
        if file.is_resident(pages):
            if len(pages) < N_SAMPLED:
                return Asked.NOTHING_NEW
            self._resident.add(file)
            return Asked.RESIDENT
        self.n_pages += len(pages)
        file.start_reading(pages)
        return Asked.READING

    def wait(self, file: MappedFile, begins: npt.NDArray[np.int64], n_bytes: int | npt.NDArray[np.int64]) -> Stepwise:
        """Ask, and yield once if reads were started."""
        if self.ask(file, begins, n_bytes) is Asked.READING:
            yield


def run_together(searches: Iterable[Stepwise]) -> None:
    """Advance searches side by side: all ask for their next pages before any touches its own."""
    active = list(searches)
    while active:
        active = [search for search in active if next(search, _END) is not _END]


_END = object()


def _may_see_residency(path: Path, status: os.stat_result) -> bool:
    """The kernel calls every page resident to those who neither own nor may write a file."""
    owner = os.geteuid() if hasattr(os, "geteuid") else -1
    return _mincore is not None and (owner in {0, status.st_uid} or os.access(path, os.W_OK))
