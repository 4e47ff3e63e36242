"""A second host on this machine: a network namespace at the other end of a pair of virtual cables."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

End = Literal["here", "there"]


class NoNamespacesError(RuntimeError):
    """This machine or user may not make network namespaces."""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise NoNamespacesError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Link:
    """The cable between this host, at `address`, and the other one, whose name is the namespace's."""

    namespace: str
    device: str
    address: str

    @property
    def inside(self) -> list[str]:
        """Return what a command begins with to run on the other host."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self, end: End) -> None:
        """Take one end down: `here`, so that the other host's packets vanish, or `there`, so that it has no network."""
        self._set(end, "down")

    def restore(self, end: End) -> None:
        """Take the end up again."""
        self._set(end, "up")

    def _set(self, end: End, state: str) -> None:
        where = [] if end == "here" else ["-n", self.namespace]
        _ip(*where, "link", "set", self.device, state)


@contextmanager
def second_host() -> Iterator[Link]:
    """Yield a link to a host of its own; raises `NoNamespacesError` where that is not permitted."""
    if shutil.which("ip") is None:
        raise NoNamespacesError("ip is not installed (Debian: iproute2)")
    number = os.getpid()
    namespace, device = f"fairground-{number}", f"fair{number}"
    network = f"198.18.{number // 64 % 256}.{number % 64 * 4}"  # of the range for tests of networks (RFC 2544)
    ours, theirs = (network.rpartition(".")[0] + f".{number % 64 * 4 + host}" for host in (1, 2))
    _ip("netns", "add", namespace)
    try:
        _ip("link", "add", device, "type", "veth", "peer", "name", device, "netns", namespace)
        try:
            _ip("address", "add", f"{ours}/30", "dev", device)
            _ip("link", "set", device, "up")
            for words in (["address", "add", f"{theirs}/30", "dev", device], ["link", "set", device, "up"]):
                _ip("-n", namespace, *words)
            _ip("-n", namespace, "link", "set", "lo", "up")
            yield Link(namespace, device, ours)
        finally:
            _ip("link", "delete", device)
    finally:
        _ip("netns", "delete", namespace)
