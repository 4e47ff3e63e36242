"""N-gram queries over one corpus: counts, next words, probabilities, documents with a phrase.

Counts, phrase search and AND/OR queries are our own; next words and ∞-gram probabilities come from the
stock infini-gram engine in its child process (Liu et al., arXiv 2401.17377). What is shown is decided by
`tracer.disclosure`. Documents that were taken down are subtracted from every number, so that no word
that only they hold can be read off. Knows nothing of HTTP.
"""

from __future__ import annotations

import atexit
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

from tracer import registry
from tracer.disclosure import Policy, policy_for
from tracer.engine import (
    IndexFileError,
    IndexReader,
    StockBusyError,
    StockCrashError,
    StockEngine,
    StockMissingError,
    StockRefusedError,
)
from tracer.engine.conjunction import FulfillingDocument, find_fulfilling
from tracer.engine.occurrences import count_in_tokens, document_at, read_passage, sample_pointers
from tracer.models import Corpus
from webapp.errors import BadInputError, BusyError, FairgroundError, NotFoundError
from webapp.ownership import Author
from webapp.text import storable

MAX_QUERY_CHARACTERS, MAX_QUERY_TOKENS = 1000, 500
MAX_CLAUSES = MAX_TERMS = 4
MAX_SUPPORT, MAX_CLAUSE_FREQUENCY, MAX_DISTANCE_TOKENS = 1000, 500_000, 1000
MAX_DOCUMENTS, MAX_CONTEXT_TOKENS = 10, 200
MAX_NEXT_SHOWN = 100
TRIES_PER_DOCUMENT = 5
Cnf = tuple[tuple[str, ...], ...]


@contextmanager
def as_domain_errors() -> Iterator[None]:
    """Turn the engine's errors into those that people see, with their status."""
    try:
        yield
    except IndexFileError as error:
        raise FairgroundError(str(error), status=503, code="index-unavailable") from error
    except StockMissingError as error:
        raise FairgroundError(str(error), status=503, code="ngram-engine-missing") from error
    except StockCrashError as error:
        raise FairgroundError(str(error), status=503, code="ngram-engine-crashed") from error
    except StockBusyError as error:
        raise BusyError(str(error)) from error
    except StockRefusedError as error:
        raise BadInputError(f"The n-gram engine refuses this query: {error}") from error


@cache
def _stock() -> StockEngine:
    engine = StockEngine(timeout_s=settings.NGRAM_TIMEOUT_S)
    atexit.register(engine.close)
    return engine


_stock_lock = threading.Lock()


def stock_engine() -> StockEngine:
    """Return this process's supervisor of the stock engine."""
    with _stock_lock:
        return _stock()


@dataclass(frozen=True)
class Opened:
    """A corpus, its index for n-grams, and what the asker may see of it."""

    corpus: Corpus
    reader: IndexReader
    policy: Policy
    hidden: frozenset[str]


@dataclass(frozen=True)
class NextToken:
    """A token that follows; `token_id` is None where a document ends."""

    token_id: int | None
    text: str
    count: int
    probability: float


@dataclass(frozen=True)
class NextTokens:
    """What follows a prompt; `n_suffix_tokens` of it were matched."""

    n_suffix_tokens: int
    prompt_count: int
    is_approximate: bool
    tokens: tuple[NextToken, ...]


@dataclass(frozen=True)
class Probability:
    """count(prompt + last token) / count(prompt), for the longest suffix of the prompt that occurs if ∞-gram."""

    n_suffix_tokens: int
    prompt_count: int
    count: int
    probability: float | None


@dataclass(frozen=True)
class Hit:
    """A document with the phrase and the text around one match."""

    document: str
    key: str
    title: str
    licence: str
    url: str
    snippet: str
    snippet_start: int
    snippet_end: int


@dataclass(frozen=True)
class Hits:
    """How often a phrase stands, or how many documents fulfil an AND/OR query, and a seeded sample of them.

    `documents` is None where the policy shows none.
    """

    count: int | str
    is_approximate: bool
    documents: tuple[Hit, ...] | None


def open_corpus(slug: str, author: Author) -> Opened:
    """Open a corpus for n-gram queries. Raises `NotFoundError`, or `FairgroundError` (503) for a damaged index."""
    corpus = Corpus.objects.select_related("owner_group").filter(slug=storable(slug)).first()
    if corpus is None:
        raise NotFoundError(f"There is no corpus {slug!r}.")
    with as_domain_errors():
        readers = [registry.open_index(index) for index in corpus.indexes.filter(is_enabled=True).order_by("-pk")]
    # An index of bytes is the last choice, one that folds case the very last.
    readers.sort(key=lambda reader: (reader.tokenizer.folds_case, reader.tokenizer.is_bytes))
    if not readers:
        raise NotFoundError(f"Corpus {slug!r} has no index to search.")
    return Opened(corpus, readers[0], policy_for(corpus, author), registry.hidden_documents(corpus))


def tokenize(opened: Opened, text: str, *, field: str = "text") -> list[int]:
    """Return token ids; raises `BadInputError` for an empty or over-long text."""
    text = storable(text)
    if not text:
        raise BadInputError("There is nothing to look for. Give some text.", field=field)
    if len(text) > MAX_QUERY_CHARACTERS:
        raise BadInputError(f"{len(text)} characters; at most {MAX_QUERY_CHARACTERS} are looked for.", field=field)
    return check_ids(opened, opened.reader.tokenizer.encode(text).ids.tolist(), field=field)


def check_ids(opened: Opened, ids: Sequence[int], *, field: str = "query_ids") -> list[int]:
    """Return ids that are in the vocabulary; raises `BadInputError`."""
    if not 0 < len(ids) <= MAX_QUERY_TOKENS:
        raise BadInputError(f"{len(ids)} tokens; give from 1 to {MAX_QUERY_TOKENS}.", field=field)
    size = opened.reader.tokenizer.vocabulary_size
    if bad := [i for i in ids if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < size]:
        raise BadInputError(f"{bad[0]!r} is no token id: they go from 0 to {size - 1}.", field=field)
    return list(ids)


def parse_query(query: str) -> Cnf:
    """Return the clauses of "a AND (b OR c)": AND joins clauses, OR binds tighter, brackets are optional.

    Spaces beyond those around AND and OR stay: a leading one begins a word.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise BadInputError(f"{len(query)} characters; at most {MAX_QUERY_CHARACTERS} are looked for.", field="query")
    clauses = []
    for part in query.split(" AND "):
        bare = part.strip()
        bracketed = bare.startswith("(") and bare.endswith(")") and " OR " in bare
        terms = tuple((bare[1:-1] if bracketed else part).split(" OR "))
        if not all(term.strip() for term in terms):
            raise BadInputError("A word is missing beside AND or OR.", field="query")
        clauses.append(terms)
    if len(clauses) > MAX_CLAUSES or any(len(terms) > MAX_TERMS for terms in clauses):
        raise BadInputError(f"At most {MAX_CLAUSES} clauses of {MAX_TERMS} terms each.", field="query")
    return tuple(clauses)


@as_domain_errors()
def visible_count(opened: Opened, ids: Sequence[int]) -> int:
    """Return how often `ids` stands in documents that were not taken down."""
    return opened.reader.count(list(ids)) - count_in_hidden(opened, ids)


def count_in_hidden(opened: Opened, ids: Sequence[int]) -> int:
    """Return how often `ids` stands in documents that were taken down."""
    if not opened.hidden:
        return 0
    numbers = registry.document_numbers(opened.reader)
    found = (numbers[key] for key in opened.hidden if key in numbers)
    return sum(count_in_tokens(opened.reader.document(number).token_ids, ids) for number in found)


def next_tokens(opened: Opened, ids: Sequence[int], *, is_infinite: bool, max_support: int = MAX_SUPPORT) -> NextTokens:
    """Return the tokens that follow `ids`, or its longest suffix that occurs; the corpus must be open for reading."""
    opened.policy.require_distributions()
    check_bound("max_support", max_support, MAX_SUPPORT)
    suffix = longest_suffix(opened, ids) if is_infinite else list(ids)
    with as_domain_errors():
        found = stock_engine().ask(opened.reader, "ntd", prompt_ids=suffix, max_support=max_support)
    total, following = found["prompt_cnt"], [(token, count) for token, count, _ in found["next"]]
    if opened.hidden and suffix:
        total = visible_count(opened, suffix)
        following = [(token, visible_count(opened, [*suffix, token])) for token, _ in following]
    out = opened.reader.shards[0].tokens.dtype.type(-1 & ((1 << 8 * opened.reader.manifest.token_width) - 1))
    n = sum(count for _, count in following)
    tokens = tuple(
        NextToken(None if token == out else token, token_text(opened, token), count, count / n)
        for token, count in sorted(following, key=lambda item: (-item[1], item[0]))
        if count > 0
    )
    return NextTokens(len(suffix), total, bool(found["approx"]), tokens[:MAX_NEXT_SHOWN])


def probability(opened: Opened, ids: Sequence[int], *, is_infinite: bool) -> Probability:
    """Return the probability of the last token after the others; matches of the corpus must be open."""
    opened.policy.require_matches()
    *prompt, last = ids
    if is_infinite:
        with as_domain_errors():
            found = stock_engine().ask(opened.reader, "infgram_prob", prompt_ids=prompt, cont_id=last)
        if not opened.hidden:
            share = found["prob"] if found["prompt_cnt"] else None
            return Probability(found["suffix_len"], found["prompt_cnt"], found["cont_cnt"], share)
        prompt = longest_suffix(opened, prompt)
    n_prompt = visible_count(opened, prompt) if prompt else opened.reader.n_tokens
    n_both = visible_count(opened, [*prompt, last])
    return Probability(len(prompt), n_prompt, n_both, n_both / n_prompt if n_prompt else None)


def longest_suffix(opened: Opened, ids: Sequence[int]) -> list[int]:
    """Return the longest suffix of `ids` that stands in a visible document; empty if no token does."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        if visible_count(opened, ids[len(ids) - middle :]) > 0:
            low = middle
        else:
            high = middle - 1
    return list(ids[len(ids) - low :])


@as_domain_errors()
def count_query(opened: Opened, clauses: Cnf) -> tuple[int | str, bool]:
    """Return (count as it may be seen, whether it is an estimate).

    A phrase is counted in occurrences, exactly as its tokens stand; an AND/OR query in documents.
    """
    if len(clauses) == 1 and len(clauses[0]) == 1:
        return opened.policy.shown_count(visible_count(opened, tokenize(opened, clauses[0][0], field="query"))), False
    terms = [[tokenize(opened, term, field="query") for term in clause] for clause in clauses]
    found, is_estimate = _fulfilling(opened, terms)
    return opened.policy.shown_count(len(found)), is_estimate


def _fulfilling(opened: Opened, cnf: list[list[list[int]]]) -> tuple[list[FulfillingDocument], bool]:
    """Return the documents that fulfil a query and were not taken down."""
    with as_domain_errors():
        found, is_estimate = find_fulfilling(opened.reader, cnf)
    numbers = registry.document_numbers(opened.reader) if opened.hidden else {}
    hidden = {numbers[key] for key in opened.hidden if key in numbers}
    visible = [f for f in found if opened.reader.document_number(f.shard, f.document) not in hidden]
    return visible, is_estimate


def find_cnf(
    opened: Opened,
    cnf: list[list[list[int]]],
    *,
    max_clause_frequency: int = 50_000,
    max_distance_tokens: int = 100,
) -> dict[str, Any]:
    """Ask the stock engine for an AND of ORs: count, approx, and a sample of (shard, pointer)."""
    check_bound("max_clause_freq", max_clause_frequency, MAX_CLAUSE_FREQUENCY)
    check_bound("max_diff_tokens", max_distance_tokens, MAX_DISTANCE_TOKENS)
    with as_domain_errors():
        return stock_engine().ask(
            opened.reader, "cnf", cnf=cnf, max_clause_freq=max_clause_frequency, max_diff_tokens=max_distance_tokens
        )


@as_domain_errors()
def find_documents(opened: Opened, query: str, *, limit: int = MAX_DOCUMENTS, context: int = 40) -> Hits:
    """Return documents with a phrase, or that fulfil "a AND (b OR c)".

    A phrase is looked for at the begin of a word and in its middle. There are no further pages: the query
    alone decides which documents are drawn, so that a corpus of snippets cannot be read through.
    """
    check_bound("limit", limit, MAX_DOCUMENTS)
    check_bound("context", context, MAX_CONTEXT_TOKENS, low=0)
    clauses = parse_query(query)
    terms = [[_variants(opened, term) for term in clause] for clause in clauses]
    first = [ids for variants in terms[0] for ids in variants]
    is_phrase = len(terms) == 1 and len(terms[0]) == 1
    if is_phrase:
        count, is_approximate = sum(visible_count(opened, ids) for ids in first), False
        wanted = limit * TRIES_PER_DOCUMENT
        pointers = [
            (*p, len(ids)) for ids in first for p in sample_pointers(opened.reader, ids, wanted, f"{query}{ids}")
        ]
    else:
        fulfilling, is_approximate = _fulfilling(opened, [[i for v in clause for i in v] for clause in terms])
        count, n_wanted = len(fulfilling), min(len(fulfilling), limit * TRIES_PER_DOCUMENT)
        drawn = random.Random(query).sample(fulfilling, n_wanted)
        pointers = [(found.shard, found.pointer, min(map(len, first))) for found in drawn]
    shown = opened.policy.shown_count(count)
    if not opened.policy.may_see_matches:
        return Hits(shown, is_approximate, None)
    with as_domain_errors():
        return Hits(shown, is_approximate, tuple(_read_hits(opened, pointers, limit, context)))


def _variants(opened: Opened, term: str) -> list[list[int]]:
    texts = [term] if term[:1].isspace() else [f" {term}", term]
    found = [tokenize(opened, text, field="query") for text in texts]
    return [ids for i, ids in enumerate(found) if ids not in found[:i]]


def _read_hits(opened: Opened, pointers: Sequence[tuple[int, int, int]], limit: int, context: int) -> Iterator[Hit]:
    seen: set[tuple[int, int]] = set()
    n_shown = 0
    for shard, pointer, n_tokens in pointers:
        document, _ = document_at(opened.reader, shard, pointer)
        if (shard, document) in seen or n_shown == limit:
            continue
        seen.add((shard, document))
        passage = read_passage(opened.reader, shard, pointer, n_tokens, context)
        if passage.key in opened.hidden:
            continue
        match = {"snippet": passage.text, "snippet_start": passage.start, "snippet_end": passage.end}
        shown = opened.policy.shown_match(match)
        if shown is not None:
            n_shown += 1
            facts = passage.facts
            yield Hit(
                f"{opened.corpus.slug}/{passage.key}",
                passage.key,
                str(facts.get("title", "")),
                str(facts.get("licence", "")) or opened.corpus.licence,
                str(facts.get("url", "")),
                shown["snippet"],
                shown["snippet_start"],
                shown["snippet_end"],
            )


def token_text(opened: Opened, token: int) -> str:
    """Return a token as text; the separator of documents as nothing, part of a character as U+FFFD."""
    table = opened.reader.tokenizer.token_bytes
    return table[token].decode("utf-8", "replace") if token < len(table) else ""


def check_bound(name: str, value: Any, high: int, *, low: int = 1) -> None:
    """Raise `BadInputError` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInputError(f"{name} is {value!r}: give a whole number from {low} to {high}.", field=name)
