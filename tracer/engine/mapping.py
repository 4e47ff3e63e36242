"""Keeps a process alive when a file that it has mapped is truncated.

Reading a mapped page that its file no longer has (it was truncated while open) ends a process with SIGBUS. So
the first guard installs a handler that puts a page of zeros in the missing one's place, as systemd's journal
does, and counts it; whoever reads checks the files' sizes afterwards (`reader.intact`) before trusting what was
read. A fault elsewhere ends the process as ever. The handler is machine code that touches
neither Python nor its lock, and is there on Linux alone; elsewhere files must not be truncated while open.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import sys
import threading
import weakref
from typing import Any

import numpy as np

MAX_MAPS = 65_536
ADDRESS_OFFSET = 16  # of si_addr in siginfo_t, on 64-bit Linux
SA_SIGINFO, SA_RESTART = 4, 0x10000000
PAGE = mmap.PAGESIZE
MAP_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED

#: Half-open address ranges of the maps; then, in the last row, how many pages were lost.
_ranges = np.zeros((MAX_MAPS + 1, 2), np.uint64)
_free: list[int] = []
_n_used = 0
_lock = threading.RLock()  # a map may be let go of while another is made
_keep: list[Any] = []


def guard(mapped: mmap.mmap, address: int, n_bytes: int) -> None:
    """Let faults in a map at `address` be caught as long as it lives."""
    global _n_used
    if not (sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8):
        return
    with _lock:
        if not _keep:
            _install()
        if not _free and _n_used == MAX_MAPS:
            return
        row = _free.pop() if _free else _n_used
        _n_used = max(_n_used, row + 1)
        _ranges[row] = address, -(-(address + n_bytes) // PAGE) * PAGE
    weakref.finalize(mapped, _forget, row)


def n_lost_pages() -> int:
    """Return how many mapped pages have turned out missing in this process."""
    return int(_ranges[MAX_MAPS, 0])


def _forget(row: int) -> None:
    with _lock:
        _ranges[row] = 0, 0
        _free.append(row)


class _SigAction(ctypes.Structure):
    """`struct sigaction` of glibc and musl."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def _install() -> None:
    """Install the handler, once a process and for all its threads; forked processes inherit it."""
    from numba import cfunc, types  # takes a while, and web processes map no files
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]
    def _words_at(typing_context: Any, address: Any) -> Any:
        """Return the address as a pointer to 64-bit words."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(types.uint64)(types.uintp), generate

    libc = ctypes.CDLL(None, use_errno=False)
    size, integer = ctypes.c_size_t, ctypes.c_int
    libc_mmap = ctypes.CFUNCTYPE(size, size, size, integer, integer, integer, ctypes.c_long)(("mmap", libc))
    libc_signal = ctypes.CFUNCTYPE(size, integer, size)(("signal", libc))
    table = _ranges.ctypes.data
    n_rows, page, flags, sigbus = MAX_MAPS, PAGE, MAP_FLAGS, int(signal.SIGBUS)

    @cfunc(types.void(types.int32, types.uintp, types.uintp))  # type: ignore[untyped-decorator]
    def handle(number: int, info: int, context: int) -> None:
        address = _words_at(np.uintp(info + ADDRESS_OFFSET))[0]
        ranges = _words_at(np.uintp(table))
        for row in range(n_rows):
            if ranges[2 * row] <= address and address < ranges[2 * row + 1]:
                libc_mmap(address - address % np.uint64(page), page, 1, flags, -1, 0)
                ranges[2 * n_rows] += np.uint64(1)
                return
        libc_signal(sigbus, 0)

    action = _SigAction(handler=handle.address, flags=SA_SIGINFO | SA_RESTART)
    if libc.sigaction(sigbus, ctypes.byref(action), None):
        raise OSError("the handler of SIGBUS could not be installed")
    _keep.extend((handle, libc_mmap, libc_signal))
