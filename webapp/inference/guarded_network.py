"""Connections to servers that an operator configured, never into a private network by surprise.

The address is resolved here, checked, and connected to as checked, so that a name cannot change
its mind in between. Redirects are not followed by the client built on this.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable
from typing import Any

import httpcore


class ForbiddenAddressError(Exception):
    """A host that leads into a private network and was not named by the operator."""


def public_address(host: str, port: int, private_hosts: Collection[str]) -> str:
    """The address to connect to. ForbiddenAddressError for one that is not public, unless the
    operator named the host; OSError when the name cannot be resolved."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if host.lower() not in {name.lower() for name in private_hosts}:
        for address in addresses:
            if not _is_public(address):
                raise ForbiddenAddressError(
                    f"{host} leads to {address}, which is not a public address. "
                    "If this is meant, name the host in FAIRGROUND_REMOTE_PRIVATE_HOSTS."
                )
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if embedded is not None:
            return _is_public(str(embedded))
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return _is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


class GuardedBackend(httpcore.SyncBackend):
    """Opens sockets to checked addresses only."""

    def __init__(self, private_hosts: Collection[str]) -> None:
        super().__init__()
        self._private_hosts = frozenset(private_hosts)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            address = public_address(host, port, self._private_hosts)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return super().connect_tcp(address, port, timeout, local_address, socket_options)

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise ForbiddenAddressError("Sockets of this machine are not connected to.")
