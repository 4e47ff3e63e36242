"""Text of every kind through service, interface and page: offsets are checked code point by code point."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import MakeCorpus
from tracer import builds, registry, services
from tracer.engine import IndexReader, SearchableCorpus, TraceParameters, trace_text
from tracer.engine.tokens import as_encodable, fold_case
from tracer.models import Index, Trace
from webapp.jobs import JobStatus
from webapp.text import storable

CORPUS = (
    "The carousel turns and the music plays on while children laugh at the fair.",
    "Über den Dächern: naïve café — 東京タワー。 Ein Karussell 👩‍👩‍👧‍👦 dreht sich 🏳️‍🌈 langsam.",
    "abc \u202eright to left\u202c \u2066isolated\u2069 שלום עולם مرحبا بالعالم e\u0301t\u00e9 \u200bzero\u200dwidth",
    "tab\there\r\nline\u2028separator\u2029paragraph\x0bvertical \x85next \ufeffmark \ufffd replaced",
)
HOSTILE = [
    *("\ud800", "\udfff\ud800", "\ude00\ud83d", "\0", "\0\0\0", "\u202e", "\u202d\u2066\u2067\u2068\u2069", "\u200d"),
    *("\ufeff", "👩‍👩‍👧‍👦", "👩‍", "🏳️‍🌈", "🇩🇪🇫", "👍🏽", "e\u0301\u0327\u0328", "\u0301" * 40, "ﷺ", "𝔘𝔫𝔦", "İıſßẞ"),
    *("\x1b[31m", "\x7f\x80\x9f", "\r", "\r\n", "\u2028", "\x0b\x0c", "<b>&amp;</b>", "]]>", "{{ x }}{% y %}"),
    *("\\u0041", "%00", "'\"`", "\ufffe\uffff", "\U0010ffff"),
]


class Article(HTMLParser):
    """Reads the text of the element in which a trace is shown."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_inside |= tag == "article" and dict(attrs).get("class") == "traced"

    def handle_endtag(self, tag: str) -> None:
        self._is_inside &= tag != "article"

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.text.append(data)


@pytest.fixture(params=["tokens", "bytes", "folded"])
def reader(request: pytest.FixtureRequest, make_corpus: MakeCorpus) -> IndexReader:
    """The one index of a corpus of such text."""
    make_corpus(texts=CORPUS)
    if request.param != "tokens":
        Index.objects.update(is_enabled=False)
        builds.run_build(builds.start_build(slug="fair", tokenizer=None, folds_case=request.param == "folded"))
    return registry.open_index(Index.objects.get(is_enabled=True))


def texts() -> list[str]:
    """Return texts that mix pieces of the corpus, cut anywhere, with hostile ones."""
    chance = random.Random(17)
    made = [*HOSTILE, "".join(HOSTILE)]
    for _ in range(20):
        pieces = []
        for _ in range(chance.randint(1, 6)):
            document = chance.choice(CORPUS)
            start = chance.randrange(len(document))
            pieces += [
                document[start : start + chance.randint(1, 50)],
                chance.choice(["", " ", chance.choice(HOSTILE)]),
            ]
        made.append("".join(pieces))
    return [text for text in made if storable(text).strip()]


def check_result(result: dict[str, Any], text: str, reader: IndexReader) -> int:
    """Hold every offset of a trace's result against the text and the document; return the number of matches."""
    is_folded = reader.tokenizer.folds_case
    documents = {document.key: document for document in reader.documents()}
    n_matches = 0
    for span in result["spans"]:
        start, end = span["start"], span["end"]
        assert 0 <= start < end <= len(text)
        assert [ord(c) for c in span["text"]] == [ord(c) for c in text[start:end]]
        sought = as_encodable(fold_case(span["text"]) if is_folded else span["text"])
        n_stands = sum(document.text.count(sought) for document in documents.values())
        assert n_stands, ("a span stands somewhere", ascii(span["text"]), ascii(text), span["counts"])
        for match in span["matches"]:
            n_matches += 1
            shown = match["snippet"][match["snippet_start"] : match["snippet_end"]]
            assert shown == sought
            document = documents[match["document"].removeprefix("fair/")]
            before = reader.tokenizer.to_bytes(document.token_ids[: match["token_start"]])
            rest = reader.tokenizer.to_bytes(document.token_ids[match["token_start"] :])
            assert rest.lstrip(b" \r\n\t\x0b\x0c").startswith(sought.encode()) or sought.encode() in rest[:400]
            assert (before + rest).decode() == document.text
    return n_matches


def test_every_offset_is_exact_through_service_interface_and_page(client: Client, reader: IndexReader) -> None:
    n_matches = 0
    parameters = {"density": None, "boundaries": "continuous"}
    for text in texts():
        body = json.dumps({"text": text, "parameters": parameters})
        created = client.post("/api/v1/traces/", body, content_type="application/json")
        if text == storable(text):
            assert created.status_code == 202, ascii(text)
            trace = Trace.objects.get(pk=created.json()["id"])
        else:  # what no database can keep is refused by name; the service keeps each place of it
            assert (created.status_code, list(created.json()["errors"])) == (400, ["text"])
            trace = services.request_trace(text=text, parameters=parameters)
        services.run_trace(trace.pk)
        trace.refresh_from_db()
        assert trace.status == JobStatus.DONE, (ascii(text), trace.error)
        assert trace.text == storable(text)
        assert len(trace.text) == len(text), "no code point is lost or added"
        n_matches += check_result(trace.result, trace.text, reader)
        shown = client.get(f"/api/v1/traces/{trace.pk}/").json()
        assert shown["text"] == trace.text
        n_matches += check_result(shown, trace.text, reader)
        page = client.get(trace.get_absolute_url())
        article = Article()
        article.feed(page.content.decode())
        assert [ord(c) for c in "".join(article.text)] == [ord(c) for c in trace.text], ascii(text)
    assert n_matches > 100


def test_service_and_engine_agree_on_text_that_was_never_stored(reader: IndexReader) -> None:
    everything = TraceParameters(density=None)
    for text in texts():
        result = trace_text(text, [SearchableCorpus("fair", [reader])], parameters=everything).to_dict()
        check_result(result, text, reader)


@pytest.mark.parametrize("character", ["a", " ", "\n", "é", "🎠", "\u0301", "\u200d", "."])
def test_a_megabyte_of_one_character_is_refused_and_harmless(
    client: Client, make_corpus: MakeCorpus, settings: Any, character: str
) -> None:
    make_corpus(texts=CORPUS)
    text = character * (2**20 // len(character.encode()))
    body = json.dumps({"text": f"x{text}"}, ensure_ascii=False)
    answer = client.post("/api/v1/traces/", body, content_type="application/json")
    assert answer.status_code == 400
    assert "at most 100000" in answer.json()["detail"]
    assert client.post("/traces/", {"text": f"x{text}", "corpora": "fair"}).status_code == 422
    assert client.get("/corpora/fair/search/", {"query": text[:20_000]}).status_code == 400
    if character not in "a🎠":
        return
    settings.MAX_TRACE_CHARACTERS = 2**21
    trace = services.request_trace(text=f"x{text}")
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    assert trace.status == JobStatus.DONE, trace.error
