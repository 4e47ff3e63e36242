"""Asks another server where the words of a text stand: one request, with caps, never into a private network.

The server is another Fairground or an infinigram-api; both answer `attribution` at once and keep nothing.
The key is read from the environment when it is needed; it stands in no log, error or row.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore

from webapp.inference.guarded_network import ForbiddenAddressError, GuardedBackend

CONNECT_TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 16_000_000
#: Where an index's resources are, below the server's address. Only a Fairground has `counts`, `windows`.
PATHS = {"fairground": "compat/infinigram-api/{}/", "infinigram-api": "{}/"}


class RemoteIndexError(Exception):
    """A remote index that gave no answer; the message says why, for everyone to read, without the address.

    `may_pass` is true of a server that is away, slow or overloaded, and may give one later.
    """

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


@dataclass(frozen=True)
class RemoteServer:
    """A remote index as the operator configured it. `name` is the corpus or index over there."""

    kind: str
    url: str
    name: str
    key_env: str = ""
    timeout_s: float = 10.0

    @property
    def has_counts(self) -> bool:
        """Tell whether it can be asked how often given words stand in its index."""
        return self.kind == "fairground"

    @property
    def has_windows(self) -> bool:
        """Tell whether it can be asked which windows of a benchmark's items stand in its index."""
        return self.kind == "fairground"

    def address_of(self, resource: str) -> str:
        """Return the address to post to."""
        return f"{self.url.rstrip('/')}/{PATHS[self.kind].format(quote(self.name, safe=''))}{resource}"

    def check(self, private_hosts: Collection[str]) -> None:
        """Raise `RemoteIndexError` for what is no server's address, or a key that would travel in the clear."""
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise RemoteIndexError(f"The address cannot be read: {error}.") from error
        if parts.scheme not in {"http", "https"} or not host or parts.username or parts.query or parts.fragment:
            raise RemoteIndexError("Give a server's address like https://host, without name, query or fragment.")
        if self.kind not in PATHS:
            raise RemoteIndexError(f"{self.kind!r} is no kind of server. Use one of {', '.join(PATHS)}.")
        if self.key_env and parts.scheme != "https" and host not in private_hosts:
            raise RemoteIndexError("A key is only sent over https; use an https address.")

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of a request. Raises `RemoteIndexError` when the key is missing."""
        headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        if self.key_env:
            key = os.environ.get(self.key_env, "")
            if not key:
                raise RemoteIndexError("Its key is not set on this site.")
            headers.append(("Authorization", f"Bearer {key}"))
        return headers


class _DeadlineBackend(GuardedBackend):
    """Opens guarded connections on which every wait ends at one moment, so that no trickle holds a trace up."""

    def __init__(self, private_hosts: Collection[str], deadline: float) -> None:
        super().__init__(private_hosts)
        self._deadline = deadline

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _DeadlineStream(super().connect_tcp(*args, **kwargs), self._deadline)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this answer is over")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._left())
        return _DeadlineStream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def ask_remote(
    server: RemoteServer,
    body: Mapping[str, Any],
    *,
    private_hosts: Collection[str] = (),
    resource: str = "attribution",
) -> dict[str, Any]:
    """Return the server's answer to one request: `attribution`, or `counts` or `windows` where it has them.

    At most `timeout_s` seconds and 16 MB are waited for and read, however slowly they trickle in; redirects
    are not followed. Raises `RemoteIndexError` with a reason that names neither address nor key.
    """
    server.check(private_hosts)
    backend = _DeadlineBackend(private_hosts, time.monotonic() + server.timeout_s)
    waits = dict.fromkeys(("connect", "pool"), min(CONNECT_TIMEOUT_S, server.timeout_s))
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend, max_connections=1) as pool,
            pool.stream(
                "POST",
                server.address_of(resource),
                headers=server.headers(),
                content=json.dumps(body).encode(),
                extensions={"timeout": waits},
            ) as response,
        ):
            return _decoded(response.status, _read(response))
    except ForbiddenAddressError as error:
        raise RemoteIndexError(
            "It leads into a private network that the operator of this site did not allow."
        ) from error
    except httpcore.TimeoutException as error:
        raise RemoteIndexError(f"It gave no answer within {server.timeout_s:g} s.", may_pass=True) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        reason = f"It cannot be reached or broke off ({type(error).__name__})."
        raise RemoteIndexError(reason, may_pass=True) from error


def _read(response: httpcore.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_stream():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise RemoteIndexError(f"Its answer is longer than {MAX_ANSWER_BYTES // 1_000_000} MB.")
        parts.append(part)
    return b"".join(parts)


def _decoded(status: int, content: bytes) -> dict[str, Any]:
    if status == 403 and b'"blocked-by-disclosure"' in content:
        raise RemoteIndexError("It shows counts only, so that no item may be told. Its own site measures them.")
    if status in {401, 403}:
        raise RemoteIndexError(f"It refuses this site's key ({status}).")
    if 300 <= status < 400:
        raise RemoteIndexError(f"It redirects elsewhere ({status}), which is not followed.")
    if status in {429, 503}:
        raise RemoteIndexError(f"It is overloaded ({status}). Try again later.", may_pass=True)
    if status != 200:
        raise RemoteIndexError(f"It refused the request ({status}).", may_pass=status >= 500)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RemoteIndexError("Its answer is no JSON.") from error
    if not isinstance(body, dict):
        raise RemoteIndexError("Its answer is not of infinigram-api's shape.")
    return body
