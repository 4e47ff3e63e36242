"""N-gram queries: right numbers, limits, closed corpora and takedowns, a dead engine, no engine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import ngrams, services
from tracer.engine import StockBusyError, StockCrashError

needs_wheel = pytest.mark.skipif(find_spec("infini_gram") is None, reason="infini-gram has no wheel for this machine")
TEXTS = (SENTENCE, "The music plays for the zebra alone.", "The music stops.")
BASE = "/api/v1/corpora/fair"


def get(client: Client, path: str, **query: Any) -> Any:
    return client.get(f"{BASE}/{path}/", query)


def test_counts_a_phrase_and_names_the_index(client: Client, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(texts=TEXTS)
    found = get(client, "ngrams/count", query=" music plays").json()
    assert (found["count"], found["is_approximate"]) == (2, False)
    assert found["index"] == corpus.indexes.get().digest


@needs_wheel
def test_finds_documents_that_fulfil_and_and_or(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    found = get(client, "search", query="music AND (zebra OR stops)").json()
    assert {document["key"] for document in found["documents"]} == {"doc-1", "doc-2"}
    assert found["count"] == 2


def test_finds_documents_of_a_phrase_with_exact_offsets(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    found = get(client, "search", query="music plays").json()
    assert {document["key"] for document in found["documents"]} == {"doc-0", "doc-1"}
    for hit in found["documents"]:
        assert hit["snippet"][hit["snippet_start"] : hit["snippet_end"]] == "music plays"
        assert hit["licence"] == "CC0-1.0"


@needs_wheel
def test_next_tokens_and_probability_agree_with_counts(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    following = get(client, "ngrams/next", text="The music").json()
    assert following["prompt_count"] == get(client, "ngrams/count", query="The music").json()["count"]
    assert sum(token["count"] for token in following["tokens"]) == following["prompt_count"]
    for token in following["tokens"]:
        share = get(client, "ngrams/probability", text="The music" + token["text"]).json()
        if share["token_ids"][:-1] == following["token_ids"]:
            assert share["probability"] == pytest.approx(token["probability"])


@needs_wheel
def test_backs_off_to_the_longest_ending_when_asked(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    found = get(client, "ngrams/next", text="Qqq the music", infinite="true").json()
    assert 0 < found["n_suffix_tokens"] < len(found["token_ids"])
    assert found["tokens"]


@needs_wheel
def test_reads_nothing_off_a_document_when_it_was_taken_down(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    services.take_down(corpus="fair", document="doc-1", reason="asked by its author")
    assert get(client, "ngrams/count", query=" zebra").json()["count"] == 0
    assert get(client, "ngrams/count", query=" music plays").json()["count"] == 1
    words = [token["text"] for token in get(client, "ngrams/next", text=" music plays").json()["tokens"]]
    assert words
    assert not any(" for".startswith(word) for word in words)
    infinite = get(client, "ngrams/next", text=" for the zebra", infinite="true").json()
    assert infinite["n_suffix_tokens"] < len(infinite["token_ids"])
    share = get(client, "ngrams/probability", text=" for the zebra", infinite="true").json()
    assert share["n_suffix_tokens"] < len(share["token_ids"]) - 1
    assert get(client, "search", query="zebra").json()["documents"] == []
    assert get(client, "search", query="music AND zebra").json()["documents"] == []


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("ngrams/count", {"query": "x" * 1001}, "query"),
        ("ngrams/count", {"query": "a AND "}, "query"),
        ("ngrams/count", {"query": "a AND b AND c AND d AND e"}, "query"),
        ("ngrams/next", {"text": " the", "max_support": 1001}, "max_support"),
        ("ngrams/next", {"text": ""}, "text"),
        ("ngrams/next", {"text": "é~" * 400}, "text"),
        ("search", {"query": "a", "limit": 11}, "limit"),
        ("search", {"query": "a", "snippet_tokens": 201}, "snippet_tokens"),
    ],
)
def test_names_the_argument_when_it_is_out_of_bounds(
    client: Client, make_corpus: MakeCorpus, path: str, query: dict[str, Any], field: str
) -> None:
    make_corpus(texts=TEXTS)
    answer = get(client, path, **query)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


@pytest.mark.parametrize("disclosure", ["snippet", "counts"])
def test_tells_no_next_word_when_the_corpus_is_closed(client: Client, make_corpus: MakeCorpus, disclosure: str) -> None:
    make_corpus(texts=TEXTS, disclosure=disclosure)
    for infinite in ("true", "false"):
        answer = get(client, "ngrams/next", text="The music", infinite=infinite)
        assert answer.status_code == 403
        assert answer.json()["code"] == "blocked-by-disclosure"
        assert "zebra" not in answer.content.decode()


def test_tells_no_small_number_when_the_corpus_shows_counts(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS, disclosure="counts")
    for query in (" music plays", " absent words", " zebra"):
        assert get(client, "ngrams/count", query=query).json()["count"] == "<10"
        found = get(client, "search", query=query).json()
        assert (found["count"], found["documents"]) == ("<10", None)
    assert get(client, "ngrams/probability", text=" music plays").status_code == 403
    for kind in ("documents", "next", "infinite", "probability"):
        page = client.get("/corpora/fair/search/", {"query": "The music", "kind": kind}).content.decode()
        assert not any(word in page for word in ("zebra", "Title 1", "doc-1", "stops"))


@needs_wheel
@pytest.mark.parametrize(
    ("error", "code"),
    [(StockCrashError("by SIGSEGV"), "ngram-engine-crashed"), (StockBusyError("the query itself"), "busy")],
)
def test_answers_503_with_the_reason_when_the_engine_fails(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    make_corpus(texts=TEXTS)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(ngrams.stock_engine(), "ask", fail)
    answer = get(client, "ngrams/next", text="The music")
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["detail"]) == (code, str(error))


def test_says_what_is_missing_and_still_counts_when_there_is_no_wheel(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(texts=TEXTS)
    monkeypatch.setattr("tracer.engine.stock.find_spec", lambda name: None)
    assert get(client, "ngrams/count", query=" music plays").json()["count"] == 2
    assert len(get(client, "search", query="music plays").json()["documents"]) == 2
    answer = get(client, "ngrams/next", text="The music")
    assert answer.status_code == 503
    assert "infini-gram" in answer.json()["detail"]


def test_names_the_file_when_the_index_was_truncated(client: Client, make_corpus: MakeCorpus) -> None:
    index = make_corpus(texts=TEXTS).indexes.get()
    (index.folder / "table.0").chmod(0o644)
    with (index.folder / "table.0").open("r+b") as file:
        file.truncate(3)
    answer = get(client, "ngrams/count", query=" music")
    assert answer.status_code == 503
    assert "table.0" in answer.json()["detail"]


@needs_wheel
def test_page_shows_each_kind_of_answer(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    expected = {"documents": "Title 1", "next": "Next token", "infinite": "Next token", "probability": "Probability"}
    for kind, words in expected.items():
        page = client.get("/corpora/fair/search/", {"query": "The music", "kind": kind})
        assert page.status_code == 200
        assert words in page.content.decode(), kind
    assert "Search Fair texts" in client.get("/corpora/fair/search/").content.decode()
    assert client.get("/corpora/fair/search/", {"query": "a AND "}).status_code == 400


def ask_compat(client: Client, **body: Any) -> Any:
    return client.post("/compat/infini-gram/", {"index": "fair", **body}, content_type="application/json")


@needs_wheel
def test_answers_clients_of_the_infini_gram_service(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS)
    counted = ask_compat(client, query_type="count", query=" music plays").json()
    assert (counted["count"], counted["approx"]) == (2, False)
    assert "".join(counted["tokens"]) == " music plays"
    assert counted["latency"] >= 0
    ids = counted["token_ids"]
    assert ask_compat(client, query_type="count", query_ids=ids).json()["count"] == 2
    probability = ask_compat(client, query_type="prob", query_ids=ids).json()
    assert probability["prob"] == probability["cont_cnt"] / probability["prompt_cnt"]
    assert ask_compat(client, query_type="infgram_prob", query="Qqq music plays").json()["suffix_len"] >= 1
    following = ask_compat(client, query_type="ntd", query_ids=ids, max_support=10).json()
    assert sum(entry["cont_cnt"] for entry in following["result_by_token_id"].values()) == 2
    assert ask_compat(client, query_type="infgram_ntd", query="Qqq music").json()["longest_suffix"]
    found = ask_compat(client, query_type="find", query_ids=ids).json()
    [[low, high]] = found["segment_by_shard"]
    assert high - low == found["cnt"] == 2
    document = ask_compat(client, query_type="get_doc_by_rank", s=0, rank=low, max_disp_len=80).json()
    assert "music plays" in document["text"]
    joined = ask_compat(client, query_type="find_cnf", query=" music AND zebra OR stops", max_diff_tokens=50).json()
    pointers = joined["ptrs_by_shard"][0]
    by_pointer = ask_compat(client, query_type="get_doc_by_ptr", s=0, ptr=pointers[0], max_disp_len=80).json()
    assert "music" in by_pointer["text"]
    searched = ask_compat(client, query_type="search_docs", query=" music plays", maxnum=2, max_disp_len=100).json()
    assert len(searched["documents"]) == 2
    assert searched["documents"][0]["spans"][1] == ["music plays", "0"]


def test_reads_no_document_by_rank_when_it_is_closed_or_taken_down(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TEXTS, disclosure="snippet")
    for query_type in ("find", "get_doc_by_rank", "get_doc_by_ptr", "ntd"):
        answer = ask_compat(client, query_type=query_type, query=" music", s=0, rank=0, ptr=0)
        assert answer.status_code in {403, 404}, query_type
        assert list(answer.json()) == ["error"]
    services.change_disclosure(slug="fair", disclosure="full")
    services.take_down(corpus="fair", document="doc-1", reason="asked by its author")
    shard_tokens = ngrams.open_corpus("fair", services.NOBODY).reader.shards[0].tokens
    for rank in range(len(shard_tokens)):
        assert "zebra" not in ask_compat(client, query_type="get_doc_by_rank", s=0, rank=rank).content.decode()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query_type": "load"},
        {"query_type": "count"},
        {"query_type": "count", "query_ids": [-1]},
        {"query_type": "count", "query_ids": "12"},
        {"query_type": "count", "query_ids": [10**9]},
        {"query_type": "find_cnf", "query": "a AND b", "max_diff_tokens": 1001},
        {"query_type": "get_doc_by_rank", "s": 7, "rank": 0},
        {"query_type": "get_doc_by_ptr", "s": 0, "ptr": 1},
        {"query_type": "get_doc_by_rank", "s": 0, "rank": -1},
    ],
)
def test_says_what_is_wrong_when_a_compatible_request_is_bad(
    client: Client, make_corpus: MakeCorpus, body: dict[str, Any]
) -> None:
    make_corpus(texts=TEXTS)
    answer = ask_compat(client, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]


# As clients of api.infini-gram.io send them, with the members that they read of the answer.
PHRASE = {"token_ids", "tokens", "latency"}
DOCUMENT = {"doc_ix", "doc_len", "disp_len", "needle_offset", "metadata", "token_ids", "text", "blocked", "latency"}
RECORDED: list[tuple[dict[str, Any], set[str]]] = [
    ({"query_type": "count", "query": " music plays"}, {"count", "approx"} | PHRASE),
    ({"query_type": "count", "query": " music AND stops"}, {"count", "approx", "token_ids", "latency"}),
    ({"query_type": "prob", "query": " music plays"}, {"prompt_cnt", "cont_cnt", "prob"} | PHRASE),
    (
        {"query_type": "ntd", "query": " music", "max_support": 1000},
        {"prompt_cnt", "result_by_token_id", "approx"} | PHRASE,
    ),
    (
        {"query_type": "infgram_prob", "query": "Qqq music plays"},
        {"prompt_cnt", "cont_cnt", "prob", "suffix_len", "longest_suffix"} | PHRASE,
    ),
    (
        {"query_type": "infgram_ntd", "query": "Qqq music", "max_support": 1000},
        {"prompt_cnt", "result_by_token_id", "approx", "suffix_len", "longest_suffix"} | PHRASE,
    ),
    ({"query_type": "find", "query": " music plays"}, {"cnt", "segment_by_shard"} | PHRASE),
    (
        {"query_type": "find_cnf", "query": " music AND stops", "max_clause_freq": 500000, "max_diff_tokens": 1000},
        {"cnt", "approx", "ptrs_by_shard", "token_ids", "latency"},
    ),
    (
        {"query_type": "search_docs", "query": "music plays", "maxnum": 10, "max_disp_len": 10000},
        {"cnt", "approx", "idxs", "documents"} | PHRASE,
    ),
    ({"query_type": "get_doc_by_rank", "s": 0, "rank": 3, "max_disp_len": 5}, DOCUMENT),
    ({"query_type": "get_doc_by_ptr", "s": 0, "ptr": 4, "max_disp_len": 10000}, DOCUMENT),
]


@needs_wheel
@pytest.mark.parametrize(("body", "members"), RECORDED)
def test_answers_each_recorded_request_with_the_members_clients_read(
    client: Client, make_corpus: MakeCorpus, body: dict[str, Any], members: set[str]
) -> None:
    make_corpus(texts=TEXTS)
    answer = ask_compat(client, **body)
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert members <= set(found)
    if "needle_offset" in members:
        assert 0 <= found["needle_offset"] < found["disp_len"] == len(found["token_ids"]) <= body["max_disp_len"]
        assert found["disp_len"] <= found["doc_len"]
    for document in found.get("documents", []):
        assert "".join(text for text, _ in document["spans"]) == document["text"]
        assert document["disp_len"] == len(document["token_ids"])
