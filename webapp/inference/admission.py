"""The order in which waiting requests are admitted: fair between clients, by arrival within one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from webapp.inference.requests import GenerationHandle


class FairQueue:
    """Clients take turns; each client's requests keep their order. Not safe without a lock.

    The request at the head waits until it fits, so that none is overtaken for ever.
    """

    def __init__(self) -> None:
        self._by_client: OrderedDict[str, deque[GenerationHandle]] = OrderedDict()
        self._n_waiting = 0

    def __len__(self) -> int:
        return self._n_waiting

    def push(self, handle: GenerationHandle) -> None:
        """Queue a request behind those of its client."""
        self._by_client.setdefault(handle.request.client, deque()).append(handle)
        self._n_waiting += 1

    def head(self) -> GenerationHandle | None:
        """The request whose turn it is, or None."""
        for waiting in self._by_client.values():
            return waiting[0]
        return None

    def pop(self) -> GenerationHandle:
        """Take the head; its client goes to the end of the line."""
        client, waiting = next(iter(self._by_client.items()))
        handle = waiting.popleft()
        self._n_waiting -= 1
        if waiting:
            self._by_client.move_to_end(client)
        else:
            del self._by_client[client]
        return handle

    def take(self, wanted: Callable[[GenerationHandle], bool]) -> list[GenerationHandle]:
        """Remove and return every request for which `wanted` holds."""
        taken: list[GenerationHandle] = []
        for client, waiting in list(self._by_client.items()):
            taken += [handle for handle in waiting if wanted(handle)]
            kept = deque(handle for handle in waiting if not wanted(handle))
            if kept:
                self._by_client[client] = kept
            else:
                del self._by_client[client]
        self._n_waiting -= len(taken)
        return taken
