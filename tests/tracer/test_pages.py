"""Pages of the tracer are read without scripts and escape what they are given."""

from __future__ import annotations

from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import services

HOSTILE = "<script>alert(1)</script>"


def test_trace_page_shows_spans_and_documents_when_done(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    trace = services.request_trace(text=f"{HOSTILE} {SENTENCE}")
    services.run_trace(trace.pk)
    page = client.get(trace.get_absolute_url())
    body = page.content.decode()
    assert page.status_code == 200
    assert "Title 0" in body
    assert "CC0-1.0" in body
    assert HOSTILE not in body
    assert "&lt;script&gt;" in body


def test_every_page_sends_a_strict_content_policy_when_read(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    for path in ("/corpora/", "/corpora/fair/", "/documents/fair/doc-0/", "/traces/", "/about/"):
        page = client.get(path)
        assert page.status_code == 200, path
        policy = page.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in policy
        assert "default-src 'self'" in policy


def test_form_says_what_is_wrong_when_text_is_empty(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    page = client.post("/traces/", {"text": " "})
    assert page.status_code == 422
    assert "There is no text to trace" in page.content.decode()
