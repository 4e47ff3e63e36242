"""`POST /compat/infini-gram/`: what clients of api.infini-gram.io send, answered from our corpora.

`index` is a corpus's slug. Errors are {"error": …}, which those clients read, with the status of the problem.
Disclosure and limits are the same as everywhere. Where a document ends, the next token's id is -1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tracer import ngrams
from tracer.engine.occurrences import document_at, rank_ranges_of, read_passage
from webapp.errors import BadInputError, FairgroundError, NotFoundError
from webapp.ownership import author_of

MAX_SHOWN_TOKENS = 10_000


@dataclass(frozen=True)
class Asked:
    """A request's body with its corpus opened and its query as ids."""

    opened: ngrams.Opened
    body: dict[str, Any]

    def number(self, name: str, default: int, high: int) -> int:
        """Return a whole number of the body within bounds."""
        value = self.body.get(name, default)
        ngrams.check_bound(name, value, high)
        return int(value)

    def ids(self) -> list[int]:
        """Return the query's token ids; `query_ids` wins over `query`."""
        if "query_ids" in self.body:
            ids = self.body["query_ids"]
            if not isinstance(ids, list):
                raise BadInputError("query_ids is a list of token ids.", field="query_ids")
            return ngrams.check_ids(self.opened, ids)
        return ngrams.tokenize(self.opened, self._query(), field="query")

    def cnf(self) -> list[list[list[int]]]:
        """Return the query as an AND of ORs of token ids."""
        ids = self.body.get("query_ids")
        if ids is None:
            clauses = ngrams.parse_query(self._query())
            return [[ngrams.tokenize(self.opened, term, field="query") for term in terms] for terms in clauses]
        if not _is_cnf(ids):
            raise BadInputError(
                "query_ids is a list of 1 to 4 clauses of 1 to 4 lists of token ids.", field="query_ids"
            )
        return [[ngrams.check_ids(self.opened, term) for term in clause] for clause in ids]

    @property
    def is_cnf(self) -> bool:
        """Tell whether the query joins several phrases."""
        ids = self.body.get("query_ids")
        if ids is not None:
            return _is_cnf(ids)
        return " AND " in self._query() or " OR " in self._query()

    def _query(self) -> str:
        query = self.body.get("query")
        if not isinstance(query, str):
            raise BadInputError("Give query (a string) or query_ids (a list of token ids).", field="query")
        return query


def _is_cnf(ids: Any) -> bool:
    if not isinstance(ids, list) or not 1 <= len(ids) <= ngrams.MAX_CLAUSES:
        return False
    return all(
        isinstance(clause, list)
        and 1 <= len(clause) <= ngrams.MAX_TERMS
        and all(isinstance(term, list) for term in clause)
        for clause in ids
    )


def _with_tokens(asked: Asked, ids: list[int]) -> dict[str, Any]:
    return {"token_ids": ids, "tokens": [ngrams.token_text(asked.opened, i) for i in ids]}


def _count(asked: Asked) -> dict[str, Any]:
    if asked.is_cnf:
        found = _find_cnf(asked)
        return {"count": found["cnt"], "approx": found["approx"], "token_ids": asked.cnf()}
    ids = asked.ids()
    count = asked.opened.policy.shown_count(ngrams.visible_count(asked.opened, ids))
    return {"count": count, "approx": False, **_with_tokens(asked, ids)}


def _probability(asked: Asked, *, is_infinite: bool) -> dict[str, Any]:
    ids = asked.ids()
    found = ngrams.probability(asked.opened, ids, is_infinite=is_infinite)
    value = -1.0 if found.probability is None else found.probability
    reply: dict[str, Any] = {"prompt_cnt": found.prompt_count, "cont_cnt": found.count, "prob": value}
    if is_infinite:
        start = len(ids) - 1 - found.n_suffix_tokens
        suffix = "".join(ngrams.token_text(asked.opened, i) for i in ids[start:-1])
        reply |= {"suffix_len": found.n_suffix_tokens, "longest_suffix": suffix}
    return {**reply, **_with_tokens(asked, ids)}


def _distribution(asked: Asked, *, is_infinite: bool) -> dict[str, Any]:
    ids = asked.ids()
    support = asked.number("max_support", ngrams.MAX_SUPPORT, ngrams.MAX_SUPPORT)
    found = ngrams.next_tokens(asked.opened, ids, is_infinite=is_infinite, max_support=support)
    by_id = {
        -1 if token.token_id is None else token.token_id: {
            "cont_cnt": token.count,
            "prob": token.probability,
            "token": token.text,
        }
        for token in found.tokens
    }
    reply = {"prompt_cnt": found.prompt_count, "result_by_token_id": by_id, "approx": found.is_approximate}
    if is_infinite:
        suffix = ids[len(ids) - found.n_suffix_tokens :]
        reply["suffix_len"] = len(suffix)
        reply["longest_suffix"] = "".join(ngrams.token_text(asked.opened, i) for i in suffix)
    return {**reply, **_with_tokens(asked, ids)}


def _find(asked: Asked) -> dict[str, Any]:
    asked.opened.policy.require_documents()  # ranks are for reading documents one after another
    ids = asked.ids()
    segments = rank_ranges_of(asked.opened.reader, ids)
    count = ngrams.visible_count(asked.opened, ids)
    return {"cnt": count, "segment_by_shard": segments, **_with_tokens(asked, ids)}


def _find_cnf(asked: Asked) -> dict[str, Any]:
    found = ngrams.find_cnf(
        asked.opened,
        asked.cnf(),
        max_clause_frequency=asked.number("max_clause_freq", 50_000, ngrams.MAX_CLAUSE_FREQUENCY),
        max_distance_tokens=asked.number("max_diff_tokens", 100, ngrams.MAX_DISTANCE_TOKENS),
    )
    count = asked.opened.policy.shown_count(found["count"])
    pointers: list[list[int]] = [[] for _ in asked.opened.reader.shards]
    if asked.opened.policy.may_read_documents:
        for shard, pointer in found["pointers"]:
            pointers[shard].append(pointer)
    return {"cnt": count, "approx": found["approx"], "ptrs_by_shard": pointers, "token_ids": asked.cnf()}


def _search(asked: Asked) -> dict[str, Any]:
    asked.opened.policy.require_matches()
    query = asked.body.get("query")
    if not isinstance(query, str):
        raise BadInputError("search_docs takes query, a string.", field="query")
    limit = asked.number("maxnum", 1, ngrams.MAX_DOCUMENTS)
    context = asked.number("max_disp_len", 1000, MAX_SHOWN_TOKENS) // 2
    found = ngrams.find_documents(asked.opened, query, limit=limit, context=min(context, ngrams.MAX_CONTEXT_TOKENS))
    documents = [
        {
            "doc_ix": hit.key,
            "doc_len": None,
            "disp_len": len(ids := asked.opened.reader.tokenizer.encode(hit.snippet).ids.tolist()),
            "token_ids": ids,
            "blocked": False,
            "metadata": json.dumps({"title": hit.title, "url": hit.url, "licence": hit.licence}),
            "spans": [
                [hit.snippet[: hit.snippet_start], None],
                [hit.snippet[hit.snippet_start : hit.snippet_end], "0"],
                [hit.snippet[hit.snippet_end :], None],
            ],
            "text": hit.snippet,
        }
        for hit in found.documents or ()
    ]
    cnf = asked.cnf()
    known = {"token_ids": cnf} if asked.is_cnf else _with_tokens(asked, cnf[0][0])
    indexes = list(range(len(documents)))
    return {"cnt": found.count, "approx": found.is_approximate, "idxs": indexes, "documents": documents, **known}


def _document(asked: Asked, *, by_rank: bool) -> dict[str, Any]:
    asked.opened.policy.require_documents()
    reader = asked.opened.reader
    shard_number = asked.body.get("s", 0)
    ngrams.check_bound("s", shard_number, len(reader.shards) - 1, low=0)
    shard, width = reader.shards[shard_number], reader.manifest.token_width
    name = "rank" if by_rank else "ptr"
    value = asked.body.get(name)
    ngrams.check_bound(name, value, (len(shard.tokens) - 1) * (1 if by_rank else width), low=0)
    assert isinstance(value, int)
    if by_rank:
        value = int.from_bytes(shard.table[value].tobytes(), "little")
    if value % width:
        raise BadInputError(f"ptr is {value}: pointers are multiples of {width}.", field="ptr")
    shown = asked.number("max_disp_len", 1000, MAX_SHOWN_TOKENS)
    document, token_start = document_at(reader, shard_number, value)
    context = (shown - 1) // 2
    passage = read_passage(reader, shard_number, value, 1, context)
    if passage.key in asked.opened.hidden:
        raise NotFoundError("This document was taken down.")
    begin, end = shard.token_range(document)
    needle = begin + max(0, token_start)
    first = max(begin, needle - context)
    ids = shard.tokens[first : min(end, needle + 1 + context)].tolist()
    return {
        "doc_ix": passage.number,
        "doc_len": end - begin,
        "disp_len": len(ids),
        "needle_offset": needle - first,
        "token_ids": ids,
        "metadata": json.dumps(passage.facts),
        "text": passage.text,
        "blocked": False,
    }


ANSWERS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "count": _count,
    "prob": lambda asked: _probability(asked, is_infinite=False),
    "infgram_prob": lambda asked: _probability(asked, is_infinite=True),
    "ntd": lambda asked: _distribution(asked, is_infinite=False),
    "infgram_ntd": lambda asked: _distribution(asked, is_infinite=True),
    "find": _find,
    "find_cnf": _find_cnf,
    "search_docs": _search,
    "get_doc_by_rank": lambda asked: _document(asked, by_rank=True),
    "get_doc_by_ptr": lambda asked: _document(asked, by_rank=False),
}


class InfiniGram(APIView):
    """The shape of api.infini-gram.io."""

    @extend_schema(exclude=True, request=OpenApiTypes.OBJECT, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Answer one query; the reply carries `latency` in milliseconds."""
        begin = time.perf_counter()
        try:
            reply = self._answer(request)
        except FairgroundError as error:
            headers = {"Retry-After": "5"} if error.status == 503 else None
            return Response({"error": error.message}, status=error.status, headers=headers)
        return Response({**reply, "latency": round((time.perf_counter() - begin) * 1000, 3)})

    @staticmethod
    def _answer(request: Request) -> dict[str, Any]:
        body = request.data
        if not isinstance(body, dict) or not isinstance(body.get("index"), str):
            raise BadInputError("Send a JSON object with index, query_type and query.")
        answer = ANSWERS.get(str(body.get("query_type")))
        if answer is None:
            raise BadInputError(f"query_type must be one of {', '.join(ANSWERS)}.")
        return answer(Asked(ngrams.open_corpus(body["index"], author_of(request)), body))
