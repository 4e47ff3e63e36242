"""Batches, parts, entity tags, exports and infinigram-api's shape."""

from __future__ import annotations

import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.engine.conftest import TEXTS as TEXTS_OF_THE_ENGINE
from tests.tracer.engine.test_olmotrace_preset import in_production, stock_spans
from tests.tracer.test_trace_api import traced
from tracer import batches, services
from tracer.compat_infinigram_api import RANKINGS
from tracer.engine import IndexReader, RankBy, TraceParameters
from tracer.models import Trace, TraceBatch

TEXTS = ["The music plays on.", "No such words: xyzzy.", "The carousel turns."]
# As OLMo's playground sends it.
OLMOTRACE_REQUEST = {
    "response": "See: the music plays on. Nothing else.",
    "delimiters": ["\n", "."],
    "allowSpansWithPartialWords": False,
    "minimumSpanLength": 1,
    "maximumFrequency": 1000000,
    "maximumSpanDensity": 1.0,
    "spanRankingMethod": "unigram_logprob_sum",
    "maximumDocumentsPerSpan": 10,
    "maximumContextLength": 250,
    "maximumContextLengthLong": 250,
    "maximumContextLengthSnippet": 40,
}
DOCUMENT_MEMBERS = {
    "documentIndex",
    "documentLength",
    "displayLength",
    "needleOffset",
    "metadata",
    "tokenIds",
    "text",
    "blocked",
    "displayLengthLong",
    "needleOffsetLong",
    "textLong",
    "displayOffsetSnippet",
    "needleOffsetSnippet",
    "textSnippet",
}


def ask_batch(client: Client, **body: Any) -> Any:
    return client.post("/api/v1/traces/batch/", body, content_type="application/json")


def lines_of(client: Client, address: str) -> list[dict[str, Any]]:
    answer = client.get(address)
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]


def test_traces_a_batch_as_one_job_with_results_in_order(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    created = ask_batch(client, texts=TEXTS)
    assert created.status_code == 202
    location, body = created.headers["Location"], created.json()
    assert (body["n_texts"], body["n_finished"], body["status"]) == (3, 0, "pending")
    batches.run_batch(body["id"])
    shown = client.get(location).json()
    assert (shown["n_finished"], shown["status"]) == (3, "done")
    results = lines_of(client, shown["results"])
    assert [line["text"] for line in results] == TEXTS
    assert [line["number"] for line in results] == [0, 1, 2]
    alone = traced(client, text=TEXTS[0])
    assert [s["text"] for s in results[0]["spans"]] == [s["text"] for s in alone["spans"]]


def test_goes_on_where_a_batch_was_interrupted(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    batch = batches.request_batch(texts=TEXTS)
    first = batch.traces.get(number=0)
    services.run_trace(first.pk)
    TraceBatch.objects.update(status="running")
    batches.run_batch(batch.pk)
    first.refresh_from_db()
    assert first.n_starts == 1
    assert set(batch.traces.values_list("status", flat=True)) == {"done"}
    assert services.requeue_unfinished(older_than_s=0) == 0


def test_stops_when_its_batch_is_deleted(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    batch = batches.request_batch(texts=TEXTS)
    batch.delete()
    batches.run_batch(batch.pk)
    assert not Trace.objects.exists()


def test_deletes_nobody_elses_batch(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    location = ask_batch(client, texts=TEXTS).headers["Location"]
    assert client.delete(location).status_code == 403
    assert TraceBatch.objects.exists()


@pytest.mark.parametrize("texts", [[], ["x"] * 1001, ["x", " "], ["x" * 100_001]])
def test_refuses_a_batch_whole_when_a_text_is_bad(client: Client, make_corpus: MakeCorpus, texts: list[str]) -> None:
    make_corpus()
    answer = ask_batch(client, texts=texts)
    assert answer.status_code == 400
    assert "texts" in answer.json()["errors"]
    assert not Trace.objects.exists()


def test_shows_spans_and_documents_in_pages(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(SENTENCE, "Nothing else."))
    shown = traced(client, text=f"{SENTENCE}\nNothing else.", parameters={"density": None})
    for member in ("spans", "documents"):
        collected, address = [], f"/api/v1/traces/{shown['id']}/{member}/?page_size=1"
        while address:
            page = client.get(address).json()
            collected += page["results"]
            address = page["next"]
        assert collected == shown[member]
        assert page["count"] == len(shown[member]) > 1
    assert client.get(f"/api/v1/traces/{shown['id']}/spans/?page_size=0").status_code == 400


def test_answers_304_until_a_takedown_changes_what_is_shown(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    address = f"/api/v1/traces/{traced(client, text=SENTENCE)['id']}/"
    tag = client.get(address).headers["ETag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 200


def test_exports_agree_with_the_resource_and_hide_what_was_taken_down(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    shown = traced(client, text=f"=1+1 {SENTENCE}", parameters={"density": None})
    address = f"/api/v1/traces/{shown['id']}"
    assert json.loads(client.get(f"{address}/export.json").content) == client.get(f"{address}/").json()
    rows = list(csv.DictReader(io.StringIO(client.get(f"{address}/export.csv").content.decode())))
    assert {row["licence"] for row in rows} == {"CC0-1.0"}
    assert not any(row["text"].startswith(("=", "+", "-", "@")) for row in rows)
    quotations = client.get(f"{address}/export.md").content.decode()
    assert "The Fair, CC0-1.0" in quotations
    assert shown["corpora"][0]["indexes"][0][:16] in quotations
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    for kind in ("json", "csv", "md"):
        body = client.get(f"{address}/export.{kind}").content.decode()
        assert "Title 0" not in body
        assert "taken down" in body


def test_answers_clients_of_infinigram_api(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    assert client.get("/compat/infinigram-api/indexes").json() == ["fair"]
    address = "/compat/infinigram-api/fair/attribution"
    body = client.post(address, OLMOTRACE_REQUEST, content_type="application/json").json()
    assert set(body) == {"index", "spans", "inputTokens", "indexDigest"}
    assert "".join(body["inputTokens"]) == OLMOTRACE_REQUEST["response"]
    assert body["spans"]
    for span in body["spans"]:
        assert "".join(body["inputTokens"][span["left"] : span["right"]]).strip() == span["text"]
        assert span["right"] - span["left"] == span["length"] == len(span["tokenIds"])
        assert span["documents"]
        for document in span["documents"]:
            assert set(document) == DOCUMENT_MEMBERS
            first, last = document["needleOffset"], document["needleOffset"] + span["length"]
            assert document["tokenIds"][first:last] == span["tokenIds"]
            assert document["displayLength"] == len(document["tokenIds"]) <= document["documentLength"]
            assert document["needleOffsetLong"] + span["length"] <= document["displayLengthLong"]
            for text in ("text", "textLong", "textSnippet"):
                assert span["text"] in document[text]


@pytest.mark.skipif(find_spec("infini_gram") is None, reason="infini-gram has no wheel for this machine")
@pytest.mark.parametrize("ranking", ["unigram_logprob_sum", "length"])
def test_gives_infinigram_apis_clients_productions_spans(
    client: Client, make_corpus: MakeCorpus, tmp_path: Path, ranking: str
) -> None:
    corpus = make_corpus(texts=(*TEXTS_OF_THE_ENGINE, "\n\nThe carousel", SENTENCE))
    reader = IndexReader.open(corpus.indexes.get().folder)
    texts = [SENTENCE + "\n\n" + text + "  \nThe music\n" for text in TEXTS_OF_THE_ENGINE]
    parameters = TraceParameters(density=0.2, rank_by=RankBy(RANKINGS[ranking]))
    for text, stock in zip(texts, stock_spans(reader, tmp_path, texts), strict=True):
        asked = OLMOTRACE_REQUEST | {"response": text, "maximumSpanDensity": 0.2, "spanRankingMethod": ranking}
        body = client.post("/compat/infinigram-api/fair/attribution", asked, content_type="application/json").json()
        spans = sorted((span["left"], span["right"], span["count"]) for span in body["spans"])
        assert spans == in_production(stock, len(body["inputTokens"]), parameters)


@pytest.mark.parametrize(
    "change",
    [{"response": ""}, {"maximumSpanDensity": 7}, {"delimiters": ["x"]}, {"allowSpansWithPartialWords": True}],
)
def test_answers_422_in_infinigram_apis_shape_when_a_field_is_bad(
    client: Client, make_corpus: MakeCorpus, change: dict[str, Any]
) -> None:
    make_corpus()
    address = "/compat/infinigram-api/fair/attribution"
    answer = client.post(address, OLMOTRACE_REQUEST | change, content_type="application/json")
    assert answer.status_code == 422
    assert answer.json()["type"] == "request-validation-failed"
    assert list(answer.json()["errors"]) == list(change)


@pytest.mark.parametrize("disclosure", ["snippet", "counts"])
def test_keeps_a_closed_corpus_closed_to_clients_of_infinigram_api(
    client: Client, make_corpus: MakeCorpus, disclosure: str
) -> None:
    make_corpus(disclosure=disclosure, texts=(SENTENCE + " filler" * 400 + " The zebra alone.",))
    address = "/compat/infinigram-api/fair/attribution"
    answer = client.post(address, OLMOTRACE_REQUEST, content_type="application/json")
    spans = answer.json()["spans"]
    assert spans
    assert "zebra" not in answer.content.decode()
    documents = [document for span in spans for document in span["documents"]]
    assert bool(documents) == (disclosure == "snippet")
    assert all(document["documentIndex"] is None and document["tokenIds"] == [] for document in documents)
    if disclosure == "counts":
        assert {span["count"] for span in spans} == {"<10"}
        assert "Title 0" not in answer.content.decode()


def test_gives_infinigram_api_clients_nothing_that_was_taken_down(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    address = "/compat/infinigram-api/fair/attribution"
    body = client.post(address, OLMOTRACE_REQUEST, content_type="application/json").content.decode()
    assert "Title 0" not in body
    assert "carousel" not in body
