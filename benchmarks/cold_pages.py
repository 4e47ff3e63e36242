"""Drops a folder's files from the page cache, and tells what is left of them and what was read since (Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def release(folder: Path) -> None:
    """Let go of the pages that this process has mapped: the kernel drops no page that a process maps."""
    inside = f"{folder.resolve()}/"
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(inside):
            low, high = (int(end, 16) for end in fields[0].split("-"))
            if _libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), mmap.MADV_DONTNEED):
                raise OSError(ctypes.get_errno(), "madvise")


def evict(folder: Path) -> int:
    """Drop all files of a folder from the page cache; return how many of their pages are still there."""
    release(folder)
    left = 0
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            left += _resident_pages(file.fileno())
    return left


def _resident_pages(descriptor: int) -> int:
    """Ask mincore."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    with mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        state = (ctypes.c_ubyte * -(-size // PAGE))()
        view = ctypes.c_char.from_buffer(mapped)
        address = ctypes.addressof(view)
        if _libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), state):
            raise OSError(ctypes.get_errno(), "mincore")
        del view
    return int((np.frombuffer(state, np.uint8) & 1).sum())


def read_bytes() -> int:
    """Return what this process, all its threads together, had the disk read so far."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def private_bytes() -> int:
    """Return the memory of this process that is no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon")
