"""A file system of a few megabytes that can be filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class NoMountsError(RuntimeError):
    """This machine or user may not mount a file system."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted folder, and the file that fills it."""

    folder: Path

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Write until no block is left."""
        with self.ballast.open("ab", buffering=0) as out:
            try:
                while True:
                    out.write(b"\0" * 4096)
            except OSError:
                pass
        assert shutil.disk_usage(self.folder).free == 0

    def empty(self) -> None:
        """Give the room back."""
        self.ballast.unlink()


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[SmallDisk]:
    """Mount a file system at a folder; raises `NoMountsError` where that is not permitted."""
    if os.geteuid() != 0:
        raise NoMountsError("mounting needs root")
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoMountsError(done.stderr.strip())
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
