"""Computes a trace: local indexes here, remote ones asked at the same time, all in one result.

An index that is damaged or a server that is away makes the trace partial, with the reason in
`unavailable`; only when nothing at all could be searched does the trace fail.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import structlog
from django.conf import settings

from tracer import registry
from tracer.engine import EngineError, IndexFileError, SearchableCorpus, TraceParameters, trace_text
from tracer.loading import corpora_with_indexes
from tracer.merging import merge_answer
from tracer.models import RemoteIndex, Trace
from tracer.remote_answers import RemoteAnswer, attribution_request, read_attribution
from tracer.remote_client import RemoteIndexError, ask_remote
from tracer.span_counts import complete_counts
from webapp.ownership import Author

log = structlog.get_logger(__name__)
MAX_REMOTE_AT_ONCE = 8
Unavailable = list[dict[str, str]]


class NothingSearchedError(EngineError):
    """No index could be searched; the message holds each one's reason."""


def compute_trace(trace: Trace) -> dict[str, Any]:
    """Return the result of a trace, to be stored. Raises `EngineError` when nothing could be searched."""
    corpora = corpora_with_indexes(trace.corpora)
    parameters = TraceParameters.from_mapping(trace.parameters)
    unavailable: Unavailable = []
    # One a corpus, the newest, so that no corpus is counted twice.
    remotes = {corpus.slug: remote for corpus in corpora for remote in corpus.remotes.all() if remote.is_enabled}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(MAX_REMOTE_AT_ONCE, "remote-index")) if remotes else None
        answers = {slug: pool.submit(_ask, trace, parameters, slug, r) for slug, r in remotes.items()} if pool else {}
        searched, damaged = registry.searchable_or_not(corpora, author=Author(trace.created_by_id))
        unavailable += damaged
        result = _search(trace, parameters, searched, unavailable)
        if pool:
            begin = time.perf_counter()
            for slug, answer in answers.items():
                _merge(result, answer, slug, len(trace.text), unavailable)
            _count_everywhere(result, trace.text, searched, remotes, pool)
            result["timings_ms"]["remote_wait"] = round((time.perf_counter() - begin) * 1000, 3)
    if unavailable and not result["corpora"]:
        reasons = " ".join(f"{entry['corpus']}: {entry['reason']}" for entry in unavailable)
        raise NothingSearchedError(f"No index is available. {reasons}")
    return {**result, "unavailable": unavailable}


def _search(
    trace: Trace, parameters: TraceParameters, searched: list[SearchableCorpus], unavailable: Unavailable
) -> dict[str, Any]:
    """Search the local indexes; one whose files change meanwhile is left out and the others are searched again."""
    while any(corpus.readers for corpus in searched):
        try:
            result = trace_text(
                trace.text, searched, prompt=trace.prompt, parameters=parameters, measures_originality=True
            )
            found = result.to_dict()
            del found["text"]
            return found
        except IndexFileError as error:
            damaged = [c for c in searched if any(error.path.is_relative_to(reader.folder) for reader in c.readers)]
            if not damaged:
                raise
            log.warning("index left out of a trace", trace=str(trace.id), error=str(error))
            unavailable += [{"corpus": corpus.slug, "reason": str(error)} for corpus in damaged]
            searched = [corpus for corpus in searched if corpus not in damaged]
    return {
        "parameters": parameters.to_dict(),
        "corpora": [],
        "n_tokens": 0,
        "coverage": 0.0,
        "coverage_by_corpus": {},
        "spans": [],
        "documents": [],
        "timings_ms": {},
        "creativity": None,
    }


def _count_everywhere(
    result: dict[str, Any],
    text: str,
    searched: list[SearchableCorpus],
    remotes: dict[str, RemoteIndex],
    pool: ThreadPoolExecutor,
) -> None:
    """Count all spans in the corpora that gave a result."""
    answered = {entry["slug"] for entry in result["corpora"]}
    here = [corpus for corpus in searched if corpus.slug in answered]
    there = {slug: remote for slug, remote in remotes.items() if slug in answered}
    complete_counts(result, text, here, there, pool)


def _ask(trace: Trace, parameters: TraceParameters, slug: str, remote: RemoteIndex) -> RemoteAnswer:
    asked = attribution_request(trace.text, parameters, kind=remote.kind)
    body = ask_remote(remote.server, asked, private_hosts=settings.REMOTE_PRIVATE_HOSTS)
    return read_attribution(body, text=trace.text, prompt=trace.prompt, corpus=slug)


def _merge(
    result: dict[str, Any], answer: Future[RemoteAnswer], slug: str, n_characters: int, unavailable: Unavailable
) -> None:
    try:
        found = answer.result()
    except RemoteIndexError as error:
        log.warning("remote index gave no answer", corpus=slug, error=str(error))
        unavailable.append({"corpus": slug, "reason": str(error)})
        return
    merge_answer(result, found, corpus=slug, n_characters=n_characters)
    if found.n_dropped:
        reason = f"{found.n_dropped} of its spans did not fit the text and were left out."
        unavailable.append({"corpus": slug, "reason": reason})
