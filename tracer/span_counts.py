"""Completes a trace's result: each span's count in every corpus searched, also where another one found it.

A span of a remote index is counted in the indexes here by one search each, and what was found here or elsewhere
in every remote index that can be asked for counts. What gives no count stays untold; the trace is none the worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import structlog
from django.conf import settings

from tracer.engine import IndexFileError, SearchableCorpus
from tracer.engine.counting import count_words, words_at
from tracer.models import RemoteIndex
from tracer.numbers import coverage_of
from tracer.remote_answers import counts_requests, read_counts
from tracer.remote_client import RemoteIndexError, ask_remote

log = structlog.get_logger(__name__)
Spans = Sequence[dict[str, Any]]


def complete_counts(
    result: dict[str, Any],
    text: str,
    here: Sequence[SearchableCorpus],
    remotes: Mapping[str, RemoteIndex],
    pool: Executor,
) -> None:
    """Count every span of `result` in the corpora `here` and `remotes` (by slug) that did not count it yet."""
    asked = [
        (slug, spans, pool.submit(_ask, remote, [_words(text, span) for span in spans]))
        for slug, remote in remotes.items()
        if remote.server.has_counts and (spans := _untold(result["spans"], slug))
    ]
    _count_here(result["spans"], text, here)
    for slug, spans, answer in asked:
        _note(slug, spans, answer)
    for entry in result["corpora"]:
        result["coverage_by_corpus"][entry["slug"]] = coverage_of(result["spans"], entry["slug"], len(text))


def _untold(spans: Spans, slug: str) -> list[dict[str, Any]]:
    return [span for span in spans if slug not in span["counts"]]


def _words(text: str, span: Mapping[str, Any]) -> str:
    return words_at(text, span["start"], span["end"])


def _count_here(spans: Spans, text: str, here: Sequence[SearchableCorpus]) -> None:
    untold = [span for span in spans if any(corpus.slug not in span["counts"] for corpus in here)]
    try:
        counted = count_words([_words(text, span) for span in untold], here)
    except IndexFileError as error:
        log.warning("spans of remote indexes were not counted here", error=str(error))
        return
    for span, counts in zip(untold, counted, strict=True):
        span["counts"].update(counts)


def _ask(remote: RemoteIndex, words: list[str]) -> list[int | None]:
    counts: list[int | None] = []
    for request in counts_requests(words):
        body = ask_remote(remote.server, request, private_hosts=settings.REMOTE_PRIVATE_HOSTS, resource="counts")
        counts += read_counts(body, len(request["texts"]))
    return counts


def _note(slug: str, spans: Spans, answer: Future[list[int | None]]) -> None:
    try:
        counts = answer.result()
    except RemoteIndexError as error:
        log.warning("remote index gave no counts", corpus=slug, error=str(error))
        return
    for span, count in zip(spans, counts, strict=True):
        if count is not None:
            span["counts"][slug] = count
