"""Pages of corpora and traces: what each state shows, filters, samples, settings, comparison."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import services
from tracer.models import Corpus, RemoteIndex, Trace
from tracer.trace_form import SETTINGS
from webapp.jobs import JobStatus


def made(text: str = SENTENCE, **asked: Any) -> Trace:
    trace = services.request_trace(text=text, **asked)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    return trace


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return " ".join(answer.content.decode().split())


def test_tells_the_place_in_the_queue_while_a_trace_waits(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    first, second, third = (services.request_trace(text=SENTENCE) for _ in range(3))
    assert "next in the queue" in page(client, first.get_absolute_url())
    assert "1 trace before" in page(client, second.get_absolute_url())
    assert "2 traces before" in page(client, third.get_absolute_url())


@pytest.mark.parametrize(
    ("status", "words"),
    [(JobStatus.RUNNING, "Searching"), (JobStatus.FAILED, "The trace failed"), (JobStatus.CANCELLED, "was cancelled")],
)
def test_tells_each_state(client: Client, make_corpus: MakeCorpus, status: JobStatus, words: str) -> None:
    make_corpus()
    trace = services.request_trace(text=SENTENCE)
    Trace.objects.update(status=status, error="The reason.")
    shown = page(client, trace.get_absolute_url())
    assert words in shown
    assert ("The reason." in shown) == (status is not JobStatus.RUNNING)
    assert (f"<code>{trace.pk}</code>" in shown) == (status is JobStatus.FAILED)


def test_says_what_would_find_more_when_nothing_was_found(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    make_corpus(slug="other", texts=("Other words.",))
    trace = made("Xyzzy.", corpora=["fair"], parameters={"min_length_tokens": 9})
    shown = page(client, trace.get_absolute_url())
    for words in ("No span was found", "1 more corpus", "shorter than 9", "whole text", f"?again={trace.pk}"):
        assert words in shown
    form = page(client, f"/traces/?again={trace.pk}")
    assert "Xyzzy." in form
    assert 'name="min_length_tokens" type="number" min="1" max="1000" step="1" value="9"' in form


def test_says_which_corpus_gave_no_answer(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    away = Corpus.objects.create(slug="away", title="Away", owner="O", licence="L", file="", n_documents=0)
    RemoteIndex.objects.create(corpus=away, kind="fairground", url="http://127.0.0.1:9", name="x")
    shown = page(client, made().get_absolute_url())
    assert "This trace is partial" in shown
    assert "away: It leads into a private network" in shown
    assert "The Fair" in shown
    assert "127.0.0.1" not in shown


def test_says_that_no_index_is_available(client: Client, make_corpus: MakeCorpus) -> None:
    index = make_corpus().indexes.get()
    (index.folder / "table.0").chmod(0o644)
    (index.folder / "table.0").write_bytes(b"")
    trace = made()
    shown = page(client, trace.get_absolute_url())
    assert "No index is available. fair:" in shown
    assert "table.0" in shown
    assert f"<code>{trace.pk}</code>" in shown


def test_says_whose_counts_are_all_that_is_shown(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(disclosure="counts")
    shown = page(client, made().get_absolute_url())
    assert "its owner, The Fair, shows counts only (CC0-1.0)" in shown
    assert "&lt;10" in shown
    assert "Title 0" not in shown


def test_links_no_document_that_cannot_be_read(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(disclosure="snippet")
    shown = page(client, made().get_absolute_url())
    assert "Title 0" in shown
    assert "/documents/" not in shown


def test_answers_503_and_keeps_the_text_when_too_many_wait(
    client: Client, make_corpus: MakeCorpus, settings: Any
) -> None:
    make_corpus()
    settings.MAX_WAITING = 0
    answer = client.post("/traces/", {"text": "Keep these words."})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "overloaded" in answer.content.decode()
    assert "Keep these words." in answer.content.decode()


def test_takes_every_setting_from_the_form(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    chosen = {
        "boundaries": "continuous",
        "rank_by": "length",
        "density": "0.5",
        "min_length_tokens": "2",
        "max_frequency": "77",
        "max_documents_per_span": "3",
        "context_tokens": "11",
        "snippet_tokens": "12",
        "seed": "13",
    }
    assert set(chosen) == {setting.name for setting in SETTINGS}
    client.post("/traces/", {"text": SENTENCE, **chosen})
    kept = Trace.objects.get().parameters
    assert {name: str(kept[name]) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        ({"preset": "olmotrace", "boundaries": "sentence"}, {"boundaries": "olmotrace", "density": 0.05}),
        (
            {"preset": "olmotrace", "rank_by": "length", "max_documents_per_span": "3", "snippet_tokens": "1"},
            {"rank_by": "rarity", "max_documents_per_span": 10, "snippet_tokens": 40, "context_tokens": 250},
        ),
        ({"preset": "everything", "density": "0.1"}, {"density": None, "max_frequency": 10**12}),
        ({"all_spans": "1", "density": "0.1"}, {"density": None}),
        ({"preset": "unknown", "density": "0.1"}, {"density": 0.1}),
    ],
)
def test_applies_a_preset_over_the_settings(
    client: Client, make_corpus: MakeCorpus, posted: dict[str, str], expected: dict[str, Any]
) -> None:
    make_corpus()
    client.post("/traces/", {"text": SENTENCE, **posted})
    kept = Trace.objects.get().parameters
    assert {name: kept[name] for name in expected} == expected


def test_explains_every_setting_with_default_and_bounds(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    form = page(client, "/traces/")
    for setting in SETTINGS:
        told = form.split(f'id="{setting.name}-help">')[1].split("</small>")[0]
        assert setting.explanation in told
        assert setting.default_label in html.unescape(told)
        assert setting.choices or f"{setting.low} to {setting.high}" in told
    shown = page(client, made(parameters={"preset": "olmotrace", "seed": 9}).get_absolute_url())
    for label, value in (("Preset", "as OLMoTrace"), ("Seed", "9"), ("Density", "0.05")):
        assert f'<th scope="row">{label}</th><td>{value}</td>' in shown
    assert "<td>all spans</td>" in page(client, made(parameters={"density": None}).get_absolute_url())


@pytest.mark.parametrize(
    "bad", [{"density": "many"}, {"min_length_tokens": "0"}, {"boundaries": "none"}, {"seed": "1.5"}]
)
def test_names_a_bad_setting_and_keeps_what_was_typed(
    client: Client, make_corpus: MakeCorpus, bad: dict[str, str]
) -> None:
    make_corpus()
    answer = client.post("/traces/", {"text": "Keep these words.", **bad})
    assert answer.status_code == 422
    body = answer.content.decode()
    assert next(iter(bad)) in body
    assert "Keep these words." in body
    assert not Trace.objects.exists()


def test_filters_the_corpora(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    make_corpus(slug="shut", disclosure="counts", texts=("Other words.",))
    Corpus.objects.filter(slug="shut").update(title="Shut texts", licence="all rights reserved")
    everything = page(client, "/corpora/")
    assert "Fair texts" in everything
    assert "Shut texts" in everything
    for query in ("q=shut", "licence=all+rights+reserved", "disclosure=counts"):
        shown = page(client, f"/corpora/?{query}")
        assert "Shut texts</a>" in shown
        assert "Fair texts</a>" not in shown
    assert "No corpus fits" in page(client, "/corpora/?q=%00nothing")


@pytest.mark.parametrize(
    ("disclosure", "expected"),
    [("full", "Title 0"), ("snippet", "not open for reading"), ("counts", "keeps the documents closed")],
)
def test_samples_documents_of_open_corpora_alone(
    client: Client, make_corpus: MakeCorpus, disclosure: str, expected: str
) -> None:
    corpus = make_corpus(disclosure=disclosure)
    shown = page(client, "/corpora/fair/")
    assert expected in shown
    assert (SENTENCE in shown) == (disclosure == "full")
    assert corpus.indexes.get().digest in shown
    assert corpus.digest in shown


def test_samples_nothing_that_was_taken_down_and_draws_the_same_again(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=tuple(f"Text of document {i}." for i in range(30)))
    assert page(client, "/corpora/fair/?sample=2") == page(client, "/corpora/fair/?sample=2")
    assert page(client, "/corpora/fair/?sample=2") != page(client, "/corpora/fair/?sample=3")
    for number in range(29):
        services.take_down(corpus="fair", document=f"doc-{number}", reason="asked by its author")
    for draw in range(6):
        shown = page(client, f"/corpora/fair/?sample={draw}")
        assert "Text of document" not in shown.replace("Text of document 29.", "")
        assert "29 taken down" in shown
    assert page(client, "/corpora/fair/?sample=²")


def test_says_so_when_the_index_is_damaged(client: Client, make_corpus: MakeCorpus) -> None:
    index = make_corpus().indexes.get()
    (index.folder / "table.0").chmod(0o644)
    (index.folder / "table.0").write_bytes(b"")
    assert "The index is unavailable" in page(client, "/corpora/fair/")


def test_compares_two_traces(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    first, second = made(), made("The music plays on and on.")
    shown = page(client, f"/traces/compare/?a={first.pk}&b=http://testserver{second.get_absolute_url()}")
    for words in ("Text in spans", "Text in fair", "Creativity index", "</a> and on.", first.get_absolute_url()):
        assert words in shown
    assert "First trace" in page(client, "/traces/compare/")
    waiting = services.request_trace(text=SENTENCE)
    assert "The trace is pending" in page(client, f"/traces/compare/?a={first.pk}&b={waiting.pk}")


def test_compares_no_trace_of_somebody_else(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    first, second = made(), made()
    Trace.objects.filter(pk=second.pk).update(visibility="private")
    shown = page(client, f"/traces/compare/?a={first.pk}&b={second.pk}", status=404)
    assert "or it is private" in shown
    assert page(client, f"/traces/compare/?a={first.pk}&b=<script>", status=404).count("<script>") == 0
