"""Matches while an answer is made: the words so far are searched again and again, each time only what changed.

The process that makes the answer asks now and then for a look; a worker of the traces takes it, reads
the tokens from the bus and publishes all spans so far on a stream of their own. A look that comes late
finds its tokens searched already and does nothing, so that a busy worker never falls behind for ever.
Documents, relevance and remote indexes come with the trace itself, which is made when the answer is done.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import structlog

from tracer import registry
from tracer.engine import EngineError, SearchableCorpus, Span, TraceMemory, preview_spans
from tracer.models import Corpus
from webapp.ownership import NOBODY
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.models import Generation
from webapp.text import storable

log = structlog.get_logger(__name__)
INTERVAL_S = 0.3
MAX_REMEMBERED = 32


@dataclass
class _Looked:
    """What this process knows of one answer. What is published is what anybody may see of the corpora."""

    corpora: list[SearchableCorpus]
    memory: TraceMemory = field(default_factory=TraceMemory)
    n_tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_looked: OrderedDict[str, _Looked] = OrderedDict()
_lock = threading.Lock()


def matches_stream(generation_id: uuid.UUID | str) -> str:
    """Return the name of the stream of an answer's matches on the bus."""
    return f"{generation_id}:matches"


def publish_matches(generation_id: uuid.UUID | str) -> None:
    """Search the words so far and publish their spans; nothing for an answer that is done, or has no new words."""
    is_wanted = Generation.objects.get_queryset().unfinished().filter(pk=generation_id, is_traced_live=True)  # type: ignore[attr-defined]
    if not is_wanted.exists():
        _forget(str(generation_id))
        return
    looked = _remember(str(generation_id))
    if not looked.lock.acquire(blocking=False):
        return  # another thread is at it
    try:
        _look(str(generation_id), looked)
    except EngineError as error:  # an index that changed: the trace at the end says so
        log.warning("matches left out while answering", generation=str(generation_id), error=str(error))
    finally:
        looked.lock.release()


def _look(generation_id: str, looked: _Looked) -> None:
    tokens = [event.data["text"] for event in token_bus().published(generation_id) if event.kind == "token"]
    if len(tokens) <= looked.n_tokens:
        return
    text = storable("".join(tokens))
    spans = preview_spans(text, looked.corpora, memory=looked.memory)
    looked.n_tokens = len(tokens)
    event = BusEvent(len(tokens), "matches", {"n_characters": len(text), "spans": [_shown(span) for span in spans]})
    token_bus().publish(matches_stream(generation_id), event)


def _shown(span: Span) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "counts": span.counts}


def _remember(generation_id: str) -> _Looked:
    with _lock:
        looked = _looked.get(generation_id)
        if looked is None:
            corpora = list(Corpus.objects.filter(indexes__is_enabled=True).distinct().order_by("slug"))
            found, _ = registry.searchable_or_not(corpora, author=NOBODY)
            looked = _looked[generation_id] = _Looked([corpus for corpus in found if corpus.readers])
            while len(_looked) > MAX_REMEMBERED:
                _looked.popitem(last=False)
        _looked.move_to_end(generation_id)
        return looked


def _forget(generation_id: str) -> None:
    with _lock:
        _looked.pop(generation_id, None)
