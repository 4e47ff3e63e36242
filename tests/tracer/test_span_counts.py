"""Each span's count in every corpus: stored, in the interface, in exports and on the page; remote corpora too."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.tracer.attribution_server import answering, send, serving
from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.test_remote_indexes import ANSWER, TEXT, register
from tests.tracer.test_trace_api import traced
from tracer import services
from tracer.models import Corpus, Index, RemoteIndex, Trace
from tracer.remote_answers import counts_requests, read_counts
from tracer.remote_client import RemoteIndexError

ALL = {"density": None}
COUNTS = "/compat/infinigram-api/fair/counts"


@pytest.fixture(autouse=True)
def allow_loopback(settings: Any) -> None:
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1"]


def test_tells_every_spans_count_in_every_corpus_everywhere(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    make_corpus(slug="other", texts=("The carousel stands.", "And the carousel stands."))
    shown = traced(client, text=f"{SENTENCE} The carousel stands.", parameters=ALL)
    expected = [{"fair": 1, "other": 0}, {"fair": 0, "other": 2}]
    assert [span["counts"] for span in shown["spans"]] == expected
    stored = Trace.objects.get().result
    assert stored is not None
    assert [span["counts"] for span in stored["spans"]] == expected
    address = f"/api/v1/traces/{shown['id']}"
    assert [s["counts"] for s in client.get(f"{address}/spans/").json()["results"]] == expected
    assert [s["counts"] for s in json.loads(client.get(f"{address}/export.json").content)["spans"]] == expected
    rows = csv.DictReader(io.StringIO(client.get(f"{address}/export.csv").content.decode()))
    assert {(row["start"], row["corpus"], row["count"]) for row in rows} == {
        (str(span["start"]), slug, str(count)) for span in shown["spans"] for slug, count in span["counts"].items()
    }
    assert "Times: fair 1, other 0." in client.get(f"{address}/export.md").content.decode()
    page = client.get(f"/traces/{shown['id']}/").content.decode()
    assert '<th scope="col" class="number">fair</th><th scope="col" class="number">other</th>' in page
    assert '<td class="number">1</td><td class="number">0</td>' in page
    table = client.get(f"/traces/{shown['id']}/?span=1").content.decode().split('<table id="counts">')[1]
    rows_shown = table.split("</table>")[0].split("<tr>")[2:]
    for row, (slug, count) in zip(rows_shown, expected[1].items(), strict=True):
        assert f"/corpora/{slug}/" in row
        assert "The Fair · CC0-1.0" in row
        assert f'<td class="number">{count}</td>' in row
        assert Index.objects.get(corpus__slug=slug).digest[:12] in row
    assert shown["coverage_by_corpus"]["other"] < shown["coverage_by_corpus"]["fair"] < 1


def test_counts_by_the_newest_index_of_a_tokenizer_alone(
    client: Client, make_corpus: MakeCorpus, tokenizer_path: Path
) -> None:
    corpus = make_corpus()
    older = corpus.indexes.get()
    newer = services.build_corpus_index(slug="fair", tokenizer=tokenizer_path, n_shards=2)
    letters = services.build_corpus_index(slug="fair", tokenizer=None)
    assert older.digest != newer.digest
    shown = traced(client, text=SENTENCE, parameters=ALL)
    assert shown["corpora"] == [{"slug": "fair", "indexes": [newer.digest, letters.digest]}]
    assert [span["counts"] for span in shown["spans"]] == [{"fair": 1}]
    listed = client.get("/api/v1/corpora/fair/").json()["indexes"]
    assert {entry["digest"]: entry["is_searched"] for entry in listed} == {
        older.digest: False,
        newer.digest: True,
        letters.digest: True,
    }
    assert client.get("/corpora/fair/").content.decode().count("not searched: a newer one") == 1
    Index.objects.filter(pk=newer.pk).update(is_enabled=False)
    assert traced(client, text=SENTENCE)["corpora"][0]["indexes"] == [older.digest, letters.digest]


def test_tells_a_closed_corpuss_count_of_a_span_from_the_threshold_on(
    client: Client, make_corpus: MakeCorpus, settings: Any
) -> None:
    settings.MINIMUM_SHOWN_COUNT = 2
    make_corpus(texts=("And the carousel turns.", "And the music plays.", "And nothing else."))
    make_corpus(
        slug="shut", disclosure="counts", texts=("And the music plays.", *["But and the carousel turns.", "Zebra."] * 2)
    )
    shown = traced(client, text="But the carousel turns.\nAnd the music plays.\nAnd nothing else.", parameters=ALL)
    counts = {span["text"]: span["counts"]["shut"] for span in shown["spans"]}
    assert counts["the carousel turns."] == 2
    assert counts["And the music plays."] == "<2"
    assert counts["And nothing else."] == 0
    page = client.get(f"/traces/{shown['id']}/?span=1").content.decode()
    assert "&lt;2" in page
    assert "Zebra" not in page
    number = next(i for i, span in enumerate(shown["spans"]) if span["text"] == "And nothing else.")
    assert "shows counts only" not in client.get(f"/traces/{shown['id']}/?span={number}").content.decode()


def test_counts_a_remote_indexs_spans_here_and_ours_there(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(SENTENCE, "Two Zebras alone."))
    make_corpus(slug="their", texts=("Look: the music plays on.",))
    expected = {"texts": [" the music plays on.", " Zebras alone."]}
    reply = client.post(COUNTS.replace("fair", "their"), expected, content_type="application/json").content

    def answer(handler: Any, _: dict[str, Any]) -> None:
        send(handler, json.dumps(ANSWER).encode() if handler.path.endswith("/attribution") else reply)

    with serving(answer) as server:
        register(server, kind="fairground")
        shown = traced(client, text=TEXT, corpora=["fair", "away"], parameters=ALL)
    counts = {span["text"]: span["counts"] for span in shown["spans"]}
    assert counts["Zebras alone"] == {"fair": 1, "away": 4}  # with the space before it, as it stands in the text
    assert counts["the music plays on."] == {"fair": 1, "away": 1}
    assert counts["Zebras alone."] == {"fair": 1, "away": 0}
    [asked] = [body for path, body, _ in server.seen if path.endswith("/counts")]
    assert asked == expected
    assert shown["coverage_by_corpus"]["away"] > len("Zebras alone") / len(TEXT)


@pytest.mark.parametrize("reply", [b'{"counts": [1, 2, 3, 4, 5, 6, 7]}', b'{"counts": ["x"]}', b"[]", None])
def test_leaves_a_count_untold_when_the_remote_index_gives_none(
    client: Client, make_corpus: MakeCorpus, reply: bytes | None
) -> None:
    make_corpus()

    def answer(handler: Any, body: dict[str, Any]) -> None:
        if handler.path.endswith("/attribution"):
            send(handler, json.dumps(ANSWER).encode())
        else:
            send(handler, reply or b"", 200 if reply else 404)

    with serving(answer) as server:
        register(server, kind="fairground")
        shown = traced(client, text=TEXT, parameters=ALL)
    assert (shown["status"], shown["unavailable"]) == ("done", [])
    ours = next(i for i, span in enumerate(shown["spans"]) if span["text"] == "the music plays on.")
    assert shown["spans"][ours]["counts"] == {"fair": 1}
    assert '<td class="number">not told</td>' in client.get(f"/traces/{shown['id']}/?span={ours}").content.decode()


def test_asks_an_infinigram_api_for_no_counts(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    with serving(answering(ANSWER)) as server:
        register(server)
        traced(client, text=TEXT, parameters=ALL)
    assert [path for path, _, _ in server.seen] == ["/olmo/attribution"]


def test_asks_the_newest_of_a_corpuss_remote_indexes(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    with serving(answering(ANSWER)) as older, serving(answering(ANSWER)) as newer:
        corpus = register(older)
        RemoteIndex.objects.create(corpus=corpus, kind="infinigram-api", url=newer.url, name="olmo")
        shown = traced(client, text=TEXT, parameters=ALL)
    assert (len(older.seen), len(newer.seen)) == (0, 1)
    assert [span["counts"]["away"] for span in shown["spans"] if span["text"] == "Zebras alone"] == [4]


def test_endpoint_counts_texts_as_they_stand(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(SENTENCE, "The music plays on. The carousel turns."))
    asked = {"texts": [" music plays", "The carousel turns", " The carousel turns", "xyzzy"]}
    body = client.post(COUNTS, asked, content_type="application/json").json()
    assert body["counts"] == [2, 1, 1, 0]
    assert body["indexDigest"] == Index.objects.get().digest
    services.take_down(corpus="fair", document="doc-1", reason="asked by its author")
    assert client.post(COUNTS, asked, content_type="application/json").json()["counts"] == [1, 1, 0, 0]


def test_endpoint_blurs_small_counts_and_nought_alike_when_the_corpus_is_closed(
    client: Client, make_corpus: MakeCorpus
) -> None:
    make_corpus(disclosure="counts", texts=(SENTENCE, *["Nothing else."] * 10))
    asked = {"texts": ["The carousel", "xyzzy", "Nothing else."]}
    assert client.post(COUNTS, asked, content_type="application/json").json()["counts"] == ["<10", "<10", 10]


@pytest.mark.parametrize("texts", [[], [""], ["x"] * 1001, ["x" * 300_000] * 2, "x", [None]])
def test_endpoint_refuses_what_is_too_much_or_no_text(client: Client, make_corpus: MakeCorpus, texts: Any) -> None:
    make_corpus()
    answer = client.post(COUNTS, {"texts": texts}, content_type="application/json")
    assert answer.status_code == 400
    assert "texts" in answer.json()["errors"]
    assert client.post(COUNTS.replace("fair", "none"), {"texts": ["x"]}, "application/json").status_code == 404


def test_requests_for_counts_stay_within_the_endpoints_limits() -> None:
    words = ["x"] * 1500 + ["y" * 300_000] * 2
    bodies = counts_requests(words)
    assert [text for body in bodies for text in body["texts"]] == words
    assert all(len(body["texts"]) <= 1000 and sum(map(len, body["texts"])) <= 500_000 for body in bodies)
    assert read_counts({"counts": [0, 3, "<10"]}, 3) == [0, 3, None]
    with pytest.raises(RemoteIndexError):
        read_counts({"counts": [-1]}, 1)


def test_traces_from_before_every_corpus_was_counted_are_shown(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    shown = traced(client, text=SENTENCE, parameters=ALL)
    trace = Trace.objects.get()
    assert trace.result is not None
    for span in trace.result["spans"]:
        span["counts"] = {}
    trace.save()
    assert client.get(f"/api/v1/traces/{shown['id']}/").json()["spans"][0]["counts"] == {}
    assert "not told" in client.get(f"/traces/{shown['id']}/?span=0").content.decode()
    Corpus.objects.filter(slug="fair").update(title="Renamed")
    assert "Renamed" in client.get(f"/traces/{shown['id']}/?span=0").content.decode()
