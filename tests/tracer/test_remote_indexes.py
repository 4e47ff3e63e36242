"""Indexes that stay with their owner: merged into one trace, and never able to fail or mislead it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.tracer.attribution_server import AttributionServer, answering, send, serving, trickle
from tests.tracer.conftest import MakeCorpus
from tests.tracer.test_trace_api import traced
from tracer import remotes
from tracer.engine import TraceParameters
from tracer.models import Corpus, RemoteIndex
from tracer.remote_answers import attribution_request, place_tokens, read_attribution
from tracer.remote_client import RemoteIndexError, RemoteServer
from webapp.errors import BadInputError

TEXT = "See 🎡: the music plays on. Zebras alone."
# As infinigram-api answers: tokens carry their space, documents are dolma's, texts are windows.
PIECES = ["See", " \ufffd", "\ufffd", ":", " the", " music", " plays", " on", ".", " Zebras", " alone", "."]
DOCUMENT = {
    "documentIndex": 7,
    "documentLength": 9,
    "displayLength": 9,
    "needleOffset": 3,
    "metadata": {"path": "a.jsonl", "linenum": 3, "metadata": {"id": "x", "url": "https://example.org/z", "n": 1}},
    "tokenIds": [1, 2],
    "text": "Two Zebras alone in a field, mail a@example.org",
    "blocked": False,
    "displayLengthLong": 9,
    "needleOffsetLong": 3,
    "textLong": "Two Zebras alone in a field, mail a@example.org",
    "displayOffsetSnippet": 0,
    "needleOffsetSnippet": 3,
    "textSnippet": "Two Zebras alone in a field, mail a@example.org",
}
SPAN = {
    "left": 9,
    "right": 11,
    "length": 2,
    "count": 4,
    "unigramLogprobSum": -21.5,
    "text": " Zebras alone",
    "tokenIds": [5, 6],
    "documents": [DOCUMENT],
}
ANSWER = {"index": "olmo", "spans": [SPAN], "inputTokens": PIECES}


@pytest.fixture(autouse=True)
def allow_loopback(settings: Any) -> None:
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1", "localhost"]


def register(server: AttributionServer, **changes: Any) -> Corpus:
    facts = {"kind": "infinigram-api", "url": server.url, "name": "olmo", "timeout_s": 60.0, **changes}
    corpus = Corpus.objects.create(
        slug="away", title="Away", owner="Owner", licence="CC-BY-4.0", disclosure="snippet", file="", n_documents=0
    )
    RemoteIndex.objects.create(corpus=corpus, **facts)
    return corpus


def test_merges_an_index_of_another_server_into_the_trace(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    with serving(answering(ANSWER)) as server:
        register(server)
        shown = traced(client, text=TEXT, parameters={"density": None})
    assert (shown["status"], shown["unavailable"]) == ("done", [])
    assert {slug for span in shown["spans"] for slug in span["counts"]} == {"fair", "away"}
    [away] = [span for span in shown["spans"] if "away" in span["counts"]]
    assert TEXT[away["start"] : away["end"]] == away["text"] == "Zebras alone"
    [match] = away["matches"]
    assert match["snippet"][match["snippet_start"] : match["snippet_end"]] == "Zebras alone"
    assert "a@example.org" not in json.dumps(shown)
    [document] = [d for d in shown["documents"] if d["corpus"] == "away"]
    assert (document["url"], document["owner"], document["licence"]) == ("https://example.org/z", "Owner", "CC-BY-4.0")
    assert document["is_readable"] is False
    assert shown["corpora"][-1] == {"slug": "away", "indexes": [], "remote": True}
    assert shown["coverage"] > shown["coverage_by_corpus"]["fair"] > 0
    path, body, _ = server.seen[0]
    assert path == "/olmo/attribution"
    assert body["response"] == TEXT
    assert body["maximumSpanDensity"] == 1.0


def test_asks_another_fairground_as_it_asks_itself(client: Client, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus()
    parameters = {"density": None}
    asked = attribution_request(TEXT, TraceParameters.from_mapping(parameters), kind="fairground")
    path = "/compat/infinigram-api/fair/attribution"
    reply = client.post(path, asked, content_type="application/json")
    assert reply.status_code == 200
    with serving(lambda handler, _: send(handler, reply.content)) as server:
        facts = ("--name", "fair", "--owner", "Owner", "--licence", "CC0-1.0", "--title", "Away")
        call_command("add_remote_corpus", "away", server.url, *facts)
        shown = traced(client, text=TEXT, parameters=parameters)
    assert server.seen[-1][:2] == (path, asked)
    assert shown["unavailable"] == []
    both = [span for span in shown["spans"] if set(span["counts"]) == {"fair", "away"}]
    assert both
    assert len(both) == len(shown["spans"])
    assert all(span["counts"]["fair"] == span["counts"]["away"] for span in both)
    assert shown["coverage_by_corpus"]["away"] == shown["coverage_by_corpus"]["fair"]
    [away] = [entry for entry in shown["corpora"] if entry["slug"] == "away"]
    assert away["indexes"] == [corpus.indexes.get().digest]


def test_asks_no_more_when_it_is_switched_off(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    with serving(answering(ANSWER)) as server:
        register(server)
        call_command("switch_remote_corpus", "away", "off")
        assert {entry["slug"] for entry in traced(client, text=TEXT)["corpora"]} == {"fair"}
        call_command("switch_remote_corpus", "away", "on")
        assert {entry["slug"] for entry in traced(client, text=TEXT)["corpora"]} == {"fair", "away"}


def test_is_partial_when_one_of_two_indexes_is_damaged(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    index = make_corpus(slug="torn", texts=("Zebras alone.",)).indexes.get()
    (index.folder / "table.0").chmod(0o644)
    with (index.folder / "table.0").open("r+b") as file:
        file.truncate(3)
    shown = traced(client, text=TEXT, parameters={"density": None})
    assert shown["status"] == "done"
    assert shown["spans"]
    [entry] = shown["unavailable"]
    assert entry["corpus"] == "torn"
    assert "table.0" in entry["reason"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda handler, _: send(handler, b"no", 503), "overloaded"),
        (lambda handler, _: send(handler, b"", 302, Location="http://127.0.0.1:1/"), "redirects"),
        (lambda handler, _: send(handler, b"no", 403), "refuses this site's key"),
        (lambda handler, _: send(handler, b"{"), "no JSON"),
        (lambda handler, _: send(handler, b"[" * 100_000), "no JSON"),
        (answering([]), "shape"),
        (answering({"spans": {}, "inputTokens": []}), "shape"),
        (lambda handler, _: send(handler, b" " * 17_000_000), "longer than 16 MB"),
        (lambda handler, _: handler.wfile.write(b"SSH-2.0\r\n"), "broke off"),
        (trickle, "no answer within 0.5 s"),
    ],
)
def test_is_partial_with_a_reason_when_a_server_misbehaves(
    client: Client, make_corpus: MakeCorpus, answer: Any, reason: str
) -> None:
    make_corpus()
    with serving(answer) as server:
        register(server, timeout_s=0.5 if answer is trickle else 60.0)
        begin = time.monotonic()
        shown = traced(client, text=TEXT, parameters={"density": None})
    assert time.monotonic() - begin < 60
    assert shown["status"] == "done"
    assert shown["spans"][0]["text"] == "the music plays on."
    [entry] = shown["unavailable"]
    assert entry["corpus"] == "away"
    assert reason in entry["reason"]
    assert "127.0.0.1" not in json.dumps(shown)


def test_fails_with_the_reason_when_nothing_could_be_searched(client: Client, db: None) -> None:
    with serving(answering(ANSWER)) as server:
        register(server)
    shown = traced(client, text=TEXT)
    assert shown["status"] == "failed"
    assert "away: It cannot be reached" in shown["error"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/"]
)
def test_goes_into_no_private_network_that_was_not_named(db: None, settings: Any, url: str) -> None:
    settings.REMOTE_PRIVATE_HOSTS = []
    with pytest.raises(BadInputError, match="private network"):
        remotes.probe_remote(RemoteServer("fairground", url, "fair"))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "https://me:pw@host/", "https://host/?a=b", "http://[", "//host"]
)
def test_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(RemoteIndexError):
        RemoteServer("fairground", url, "fair").check(())


def test_sends_its_key_over_https_or_to_named_hosts_only(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    monkeypatch.setenv("AWAY_KEY", "secret-key")
    with pytest.raises(RemoteIndexError, match="https"):
        RemoteServer("fairground", "http://example.org", "fair", "AWAY_KEY").check(())
    with serving(answering(ANSWER)) as server:
        register(server, key_env="AWAY_KEY")
        shown = traced(client, text=TEXT)
    assert server.seen[0][2] == "Bearer secret-key"
    assert "secret-key" not in json.dumps(shown)
    monkeypatch.delenv("AWAY_KEY")
    assert "key is not set" in traced(client, text=TEXT)["unavailable"][0]["reason"]


def test_command_registers_nothing_when_the_server_gives_no_answer(db: None) -> None:
    facts = ("--kind", "infinigram-api", "--name", "olmo", "--owner", "O", "--licence", "L", "--title", "T")
    with (
        serving(answering({"detail": "who?"})) as server,
        pytest.raises(CommandError, match="infinigram-api's shape"),
    ):
        call_command("add_remote_corpus", "away", server.url, *facts)
    assert not Corpus.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"left": -1},
        {"left": 99},
        {"left": 1},
        {"left": "9"},
        {"text": " Zebras together"},
        {"text": 5},
        {"count": 0},
        {"count": "many"},
        {"length": None},
    ],
)
def test_leaves_out_a_span_that_does_not_fit_the_text(change: dict[str, Any]) -> None:
    found = read_attribution(ANSWER | {"spans": [SPAN | change]}, text=TEXT, prompt="", corpus="away")
    assert (found.spans, found.n_dropped) == ([], 1)


def test_leaves_out_spans_of_white_space_without_a_word() -> None:
    spans = [SPAN | {"text": "\n\n"}, SPAN]
    found = read_attribution(ANSWER | {"spans": spans}, text=TEXT, prompt="", corpus="away")
    assert ([span["text"] for span in found.spans], found.n_dropped) == (["Zebras alone"], 0)
    assert found.spans[0]["token_start"] == 9


@pytest.mark.parametrize("change", [{"blocked": True}, {"textSnippet": None}, {"textSnippet": "other words"}])
def test_leaves_out_a_document_without_the_words(change: dict[str, Any]) -> None:
    spans = [SPAN | {"documents": [DOCUMENT | change, "x", None]}]
    found = read_attribution(ANSWER | {"spans": spans}, text=TEXT, prompt="", corpus="away")
    assert found.spans[0]["matches"] == found.documents == []


@given(st.text(max_size=30), st.data())
def test_places_tokens_where_they_stand_in_any_text(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw))), max_size=8)) | {len(raw)})
    pieces, begins, begin = [], [], 0
    for cut in cuts:
        if begin < cut <= len(raw):
            pieces.append(raw[begin:cut].decode("utf-8", "replace"))
            begins.append(begin)
            begin = cut
    places = place_tokens(text, pieces)
    assert len(places) == len(pieces) + 1
    for piece, start, place in zip(pieces, begins, places, strict=False):
        if place is not None and "\ufffd" not in piece and all("\ufffd" not in p for p in pieces):
            assert len(text[:place].encode("utf-8", "surrogatepass")) == start
