"""A document that was taken down is shown nowhere, at once, without another build; its tombstone says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.test_trace_interface import OLMOTRACE_REQUEST, ask_batch
from tracer import batches, services
from tracer.models import Trace
from webapp.ownership import NOBODY
from webapp.transparency.models import Entry

SECRET = "The zebra juggles seven lanterns"
NAMES = ("zebra", "lanterns", "Title 0")
REASON = "asked by its author"
INTERFACE = "/api/v1/corpora/fair"


def made(text: str) -> Trace:
    trace = services.request_trace(text=text, parameters={"density": None})
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    return trace


def bodies(client: Client, traces: list[Trace], results: str) -> dict[str, str]:
    """Return what every address that shows words of documents answers."""
    addresses = ["/corpora/", "/corpora/fair/", "/documents/fair/doc-0/", "/api/v1/documents/fair/doc-0/", results]
    addresses += [f"/corpora/fair/?sample={draw}" for draw in range(3)]
    addresses += ["/corpora/fair/search/?q=the+music", f"{INTERFACE}/search/?query=the+music"]
    addresses += [f"{INTERFACE}/ngrams/next/?text=+the", f"{INTERFACE}/ngrams/count/?query=+the"]
    for trace in traces:
        page, resource = f"/traces/{trace.pk}/", f"/api/v1/traces/{trace.pk}/"
        addresses += [page, f"{page}?span=0", f"{page}?document=fair%2Fdoc-0", f"{page}?embed=1", resource]
        addresses += [f"{resource}spans/", f"{resource}documents/", f"/traces/compare/?a={trace.pk}&b={trace.pk}"]
        addresses += [f"{resource}export.{kind}" for kind in ("json", "csv", "md")]
        addresses += [f"/documents/fair/doc-0/?trace={trace.pk}&span=0"]
    answers = {address: client.get(address) for address in addresses}
    shown = {
        address: b"".join(a.streaming_content).decode() if a.streaming else a.content.decode()  # type: ignore[attr-defined]
        for address, a in answers.items()
    }
    attributed = client.post(
        "/compat/infinigram-api/fair/attribution", OLMOTRACE_REQUEST, content_type="application/json"
    )
    asked = {"index": "fair", "query_type": "search_docs", "query": " the music", "maxnum": 10}
    searched = client.post("/compat/infini-gram/", asked, content_type="application/json")
    return shown | {"attribution": attributed.content.decode(), "search_docs": searched.content.decode()}


def test_hides_every_word_at_every_address_and_gives_the_reason(client: Client, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(texts=(f"{SENTENCE} {SECRET}.", "Nothing else. And the music plays on."))
    digest = corpus.indexes.get().digest
    earlier = made(f"So {SENTENCE}")
    batch = ask_batch(client, texts=["And the music plays on."]).json()
    batches.run_batch(batch["id"])
    results = client.get(f"/api/v1/traces/batch/{batch['id']}/").json()["results"]
    before = bodies(client, [earlier], results)
    assert {name for name in NAMES if any(name in body for body in before.values())} == set(NAMES)
    assert "zebra" in before[f"/traces/{earlier.pk}/"]

    call_command("take_down", "fair", "doc-0", "--reason", REASON)

    after = bodies(client, [earlier, made(f"So {SENTENCE}")], results)
    for address, body in after.items():
        for name in NAMES:
            assert name not in body, address
    for address in (f"/traces/{earlier.pk}/", f"/api/v1/traces/{earlier.pk}/", "/documents/fair/doc-0/"):
        assert REASON in after[address]
    assert corpus.indexes.get().digest == digest
    entry = Entry.objects.filter(kind="takedown").get()
    assert "doc-0" not in entry.leaf
    assert json.loads(entry.leaf)["body"]["corpus"] == "fair"


def test_refuses_an_unknown_document_and_one_without_a_reason(make_corpus: MakeCorpus) -> None:
    make_corpus()
    for document, reason, said in (("doc-9", REASON, "no document"), ("doc-0", " ", "reason")):
        with pytest.raises(CommandError, match=said):
            call_command("take_down", "fair", document, "--reason", reason)
    call_command("take_down", "fair", "doc-0", "--reason", REASON)
    with pytest.raises(CommandError, match="before"):
        call_command("take_down", "fair", "doc-0", "--reason", REASON)


def test_a_reader_who_is_slow_sees_a_takedown_in_the_lines_that_follow(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    make_corpus(texts=(f"{SENTENCE} {SECRET}.", "Nothing else."))
    batch = batches.request_batch(texts=[f"So {SENTENCE} {SECRET}"] * 6)
    batches.run_batch(batch.pk)
    clock = [0.0]
    monkeypatch.setattr(batches, "monotonic", lambda: clock[0])
    with django_assert_num_queries(3):  # the traces, the corpora, the takedowns
        whole = list(batches.result_lines(batch, author=NOBODY))
    assert all("Title 0" in line for line in whole)
    assert [json.loads(line)["number"] for line in whole] == list(range(6))
    lines = batches.result_lines(batch, author=NOBODY)
    assert "Title 0" in next(lines)
    services.take_down(corpus="fair", document="doc-0", reason=REASON)
    clock[0] += batches.RULES_HOLD_S + 0.01
    assert all("Title 0" not in line and REASON in line for line in lines)
