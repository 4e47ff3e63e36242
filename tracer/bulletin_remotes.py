"""Measures a corpus of a bulletin on its owner's server, a handful of items at a time.

Requests have the limits, time-outs and rules on addresses of traces (`tracer.remote_client`). A server that is away
is asked again a little later, and then leaves its corpus unmeasured; what was measured is kept for another try.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

from django.conf import settings

from tracer.bulletin_items import SAVE_EVERY_S, Save, begin_anew, items_from, keep_example
from tracer.disclosure import Policy
from tracer.engine.contamination import level_of
from tracer.engine.windows import n_windows
from tracer.models import BenchmarkItem, Bulletin, BulletinPart, RemoteIndex
from tracer.remote_client import RemoteIndexError, ask_remote
from tracer.remote_windows import (
    MAX_CHARACTERS,
    MAX_TEXTS,
    RemoteItem,
    RemoteWindows,
    read_spans,
    read_windows,
    spans_request,
)

#: Before a server that may have come back is asked again; Fairgrounds limit requests by the minute.
PAUSES_S = (2.0, 10.0, 60.0)


def measure_there(bulletin: Bulletin, part: BulletinPart, policy: Policy, remote: RemoteIndex, save: Save) -> None:
    """Ask a server for one handful of items after the other; items without a window are not sent."""
    n_changes = 0
    while items := _next_items(bulletin, part, remote):
        asked = [item for item in items if n_windows(item.text)]
        answer = _ask(remote, part.corpus, [item.text for item in asked], save) if asked else None
        if answer and not part.unit:
            part.index, part.unit = answer.digest, answer.unit
        elif answer and (part.index, part.unit) != (answer.digest, answer.unit):
            n_changes += 1
            if n_changes > 1:
                raise RemoteIndexError("Its index was replaced more than once while it was measured.")
            begin_anew(part, answer.digest, answer.unit)
            continue
        _take(part, policy, items, iter(answer.items if answer else ()))
        save()


def _next_items(bulletin: Bulletin, part: BulletinPart, remote: RemoteIndex) -> list[BenchmarkItem]:
    """Return the next items that one request takes: one spans' worth, or as many as windows are asked of at once."""
    if not remote.server.has_windows:
        return items_from(bulletin, len(part.found), 1)
    items = items_from(bulletin, len(part.found), MAX_TEXTS)
    sizes = accumulate(len(item.text) for item in items)
    return [item for n, (item, size) in enumerate(zip(items, sizes, strict=True)) if n == 0 or size <= MAX_CHARACTERS]


def _take(part: BulletinPart, policy: Policy, items: list[BenchmarkItem], answers: Iterator[RemoteItem]) -> None:
    """Note the items that were answered, in order, until the first that was not."""
    for item in items:
        m = n_windows(item.text)
        found = next(answers, None) if m else RemoteItem(0, 0, None)
        if found is None:
            return
        part.found.append(found.n_found)
        part.n_undecided += found.n_undecided
        example = found.example
        keep_example(part, policy, item.number, level_of(found.n_found, m), lambda: example)  # noqa: B023 (called now)


def _ask(remote: RemoteIndex, corpus: str, texts: list[str], save: Save) -> RemoteWindows:
    """Return a server's answer; one that is away or overloaded is asked again after each of `PAUSES_S`."""
    for pause in PAUSES_S:
        try:
            return _ask_once(remote, corpus, texts, save)
        except RemoteIndexError as error:
            if not error.may_pass:
                raise
        _wait(pause, save)
    return _ask_once(remote, corpus, texts, save)


def _ask_once(remote: RemoteIndex, corpus: str, texts: list[str], save: Save) -> RemoteWindows:
    """Ask, showing life each second, so that a bulletin is stopped while its server is slow."""
    server, hosts = remote.server, settings.REMOTE_PRIVATE_HOSTS
    if server.has_windows:
        body: dict[str, Any] = {"texts": texts}
        resource = "windows"
    else:
        body, resource = spans_request(texts[0]), "attribution"
    with ThreadPoolExecutor(1, "remote-index") as pool:
        asked = pool.submit(ask_remote, server, body, private_hosts=hosts, resource=resource)
        while True:
            try:
                found = asked.result(timeout=SAVE_EVERY_S)
                break
            except TimeoutError:
                save()
    return read_windows(found, texts) if server.has_windows else read_spans(found, texts[0], corpus=corpus)


def _wait(seconds: float, save: Save) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        save()
        time.sleep(min(SAVE_EVERY_S, left))
