"""Asks the stock infini-gram engine in a supervised child process.

That engine ends its process on damaged files, thread and memory limits; here its death is an error
with a reason, and the next question finds a new child. It sees only links to files of an index
that our own reader has checked: no path that a user names, no stray file, no unlucky folder name.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from tracer.engine.errors import StockBusyError, StockCrashError, StockMissingError, StockRefusedError
from tracer.engine.layout import PARTS
from tracer.engine.reader import IndexReader

CHILD = Path(__file__).with_name("stock_child.py")
MAX_REPLY_BYTES = 16 * 1024 * 1024
READ_BYTES = 65536


def is_stock_engine_installed() -> bool:
    """Tell whether this machine has the infini-gram wheel."""
    return find_spec("infini_gram") is not None


class StockEngine:
    """One child process, started at the first question. Safe for threads: questions take turns.

    `timeout_s` bounds a question, waiting for one's turn and opening the index included.
    """

    def __init__(self, *, timeout_s: float = 20.0, command: list[str] | None = None) -> None:
        self._timeout_s = timeout_s
        self._command = command or [sys.executable, "-I", str(CHILD)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._owner_pid = 0

    def ask(self, reader: IndexReader, operation: str, **arguments: Any) -> dict[str, Any]:
        """Return the engine's answer over a checked index.

        Raises `StockMissingError` without the wheel, `StockBusyError` when the time is over,
        `StockCrashError` when the child died, `StockRefusedError` when it refuses the arguments,
        `IndexFileError` when the index was damaged since it was opened.
        """
        if not is_stock_engine_installed():
            raise StockMissingError
        deadline = time.monotonic() + self._timeout_s
        if not self._lock.acquire(timeout=self._timeout_s):
            raise StockBusyError("waiting for other queries")
        try:
            reader.check_files()
            self._ensure_child()
            job = {"index": self._link(reader), "width": reader.manifest.token_width}
            reply = self._exchange({**job, "operation": operation, "arguments": arguments}, deadline)
        finally:
            self._lock.release()
        if "error" in reply:
            raise StockRefusedError(str(reply["error"]))
        return reply

    @property
    def child_pid(self) -> int | None:
        """Return the process id of the child, None before the first question."""
        return self._process.pid if self._process is not None and self._owner_pid == os.getpid() else None

    def close(self) -> None:
        """End the child and remove its links."""
        with self._lock:
            self._end_child()
            if self._folder is not None and self._owner_pid == os.getpid():
                self._folder.cleanup()
            self._folder = None

    def _ensure_child(self) -> None:
        """Start the child unless it runs; a process forked from ours gets a child of its own."""
        if self._owner_pid != os.getpid():
            self._process, self._folder, self._owner_pid = None, None, os.getpid()
        if self._process is not None and self._process.poll() is None:
            return
        self._end_child()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ig-")
        self._process = subprocess.Popen(  # noqa: S603 (our own file under our own interpreter)
            self._command,
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )

    def _end_child(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close_quietly(pipe)
        self._process = None

    def _link(self, reader: IndexReader) -> str:
        """Link the index's own files, numbered so that names sort as shards do; return the folder's name."""
        assert self._folder is not None
        name = reader.digest[:16]
        folder = Path(self._folder.name) / name
        if not folder.is_dir():
            partial = folder.with_name(f"{name}.new")
            partial.mkdir(exist_ok=True)
            for shard in range(reader.manifest.n_shards):
                for part in PARTS:
                    link = partial / f"{part}.{shard:05d}"
                    link.unlink(missing_ok=True)
                    link.symlink_to((reader.folder / f"{part}.{shard}").resolve())
            partial.rename(folder)
        return name

    def _exchange(self, job: dict[str, Any], deadline: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            line = _read_line(process.stdout, deadline)
        except (BrokenPipeError, EOFError):
            code = process.wait()
            self._end_child()
            self._ensure_child()
            raise StockCrashError(_reason(code)) from None
        except TimeoutError:
            self._end_child()
            self._ensure_child()
            raise StockBusyError("the query itself") from None
        reply: dict[str, Any] = json.loads(line)
        return reply


def _read_line(pipe: IO[bytes], deadline: float) -> bytes:
    """Read one line; raises `TimeoutError` after the deadline, `EOFError` when the child is gone."""
    parts: list[bytes] = []
    n_bytes = 0
    poll = select.poll()  # unlike select, for any file descriptor: many open indexes hold many
    poll.register(pipe, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        piece = os.read(pipe.fileno(), READ_BYTES)
        if not piece or n_bytes > MAX_REPLY_BYTES:
            raise EOFError
        parts.append(piece)
        n_bytes += len(piece)
        if piece.endswith(b"\n"):
            return b"".join(parts)


def _close_quietly(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _reason(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
