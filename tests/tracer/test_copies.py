"""The same text in several places is told once, with its copies; what may not be seen is no copy."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.test_trace_api import traced
from tracer import services
from tracer.duplicates import merge_copies, standing_for
from tracer.models import Trace
from webapp.ownership import Author

TWICE = (SENTENCE, "Something else.", SENTENCE)
ALL = {"density": None}
SENTENCE_AND = f"{SENTENCE} Zebras."


def copies_of(shown: dict[str, Any]) -> dict[str, list[str]]:
    return {document["id"]: [copy["id"] for copy in document["copies"]] for document in shown["documents"]}


def test_tells_the_same_text_once_with_its_copies(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TWICE)
    make_corpus(slug="other", texts=(SENTENCE, SENTENCE_AND))
    shown = traced(client, text=SENTENCE, parameters=ALL)
    found = copies_of(shown)
    assert found.pop("other/doc-1") == []
    [(kept, copies)] = found.items()
    assert {kept, *copies} == {"fair/doc-0", "fair/doc-2", "other/doc-0"}
    document = next(d for d in shown["documents"] if d["id"] == kept)
    assert document["n_copies"] == 2
    assert "same_text" not in json.dumps(shown)
    matched = [match["document"] for match in shown["spans"][0]["matches"]]
    assert sorted(matched) == sorted([kept, "other/doc-1"])
    address = f"/api/v1/traces/{shown['id']}"
    assert client.get(f"{address}/documents/").json()["results"] == shown["documents"]
    rows = list(csv.DictReader(io.StringIO(client.get(f"{address}/export.csv").content.decode())))
    assert {row["document"]: row["copies"] for row in rows if row["document"]} == {kept: "2", "other/doc-1": "0"}
    assert "also 2 with the same text: " in client.get(f"{address}/export.md").content.decode()
    page = client.get(f"/traces/{shown['id']}/").content.decode()
    assert page.count("also 2 copies") == 1
    for copy in copies:
        assert f'href="/documents/{copy}/"' in page
        marked = client.get(f"/documents/{copy}/?trace={shown['id']}&span=0").content.decode()
        assert "relevance-" in marked
        assert "also 2 copies" in client.get(f"/traces/{shown['id']}/?document={copy}").content.decode()


@pytest.mark.parametrize("is_bytes", [False, True])
def test_never_tells_a_copy_in_a_closed_corpus(
    client: Client, make_corpus: MakeCorpus, tokenizer_path: Path, is_bytes: bool
) -> None:
    make_corpus()
    make_corpus(slug="shut", disclosure="counts", texts=TWICE)
    services.change_disclosure(slug="shut", disclosure="counts", group="owners")
    if is_bytes:
        services.build_corpus_index(slug="shut", tokenizer=None)
    owner = User.objects.create_user("curator", password="x")
    owner.groups.add(Group.objects.get(name="owners"))
    trace = services.request_trace(text=SENTENCE, parameters=ALL, author=Author(owner.pk))
    services.run_trace(trace.pk)
    addresses = [f"/traces/{trace.pk}/", f"/traces/{trace.pk}/?document=shut%2Fdoc-0", f"/api/v1/traces/{trace.pk}/"]
    addresses += [f"/api/v1/traces/{trace.pk}/export.{kind}" for kind in ("json", "csv", "md")]
    for address in addresses:
        body = client.get(address).content.decode().replace("document=shut%2Fdoc-0", "")
        assert "shut/doc" not in body
        assert "same text" not in body
        assert not re.search(r"also \d", body)
    shown = client.get(f"/api/v1/traces/{trace.pk}/").json()
    assert copies_of(shown) == {"fair/doc-0": []}
    assert shown["documents"][0]["n_copies"] == 0
    client.force_login(owner)
    seen = client.get(f"/api/v1/traces/{trace.pk}/").json()
    [(kept, copies)] = copies_of(seen).items()
    assert {kept, *copies} == {"fair/doc-0", "shut/doc-0", "shut/doc-2"}


def test_an_open_document_stands_for_one_that_gives_snippets(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(slug="aside", disclosure="snippet", texts=(SENTENCE, "Apart."))
    make_corpus(slug="fair")
    shown = traced(client, text=SENTENCE, parameters=ALL)
    assert copies_of(shown) == {"fair/doc-0": ["aside/doc-0"]}
    assert [match["corpus"] for match in shown["spans"][0]["matches"]] == ["fair"]
    assert shown["documents"][0]["copies"][0]["is_readable"] is False
    assert "/documents/aside/" not in client.get(f"/traces/{shown['id']}/").content.decode()


def test_a_document_that_was_taken_down_is_no_copy(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(*TWICE, SENTENCE))
    shown = traced(client, text=SENTENCE, parameters=ALL)
    [document] = shown["documents"]
    assert document["n_copies"] == 2
    services.take_down(corpus="fair", document=document["id"].split("/")[1], reason="asked by its author")
    after = client.get(f"/api/v1/traces/{shown['id']}/").json()
    assert sorted(len(copies) for copies in copies_of(after).values()) == [0, 1]
    removed = next(d for d in after["documents"] if d["removed"])
    assert removed["id"] == document["id"]
    assert (removed["title"], removed["copies"]) == ("This document was taken down.", [])
    again = traced(client, text=SENTENCE, parameters=ALL)
    assert document["id"] not in json.dumps(again)
    assert [d["n_copies"] for d in again["documents"]] == [1]


def test_traces_from_before_copies_were_told_are_shown(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=TWICE)
    shown = traced(client, text=SENTENCE, parameters=ALL)
    trace = Trace.objects.get()
    assert trace.result is not None
    for document in trace.result["documents"]:
        del document["same_text"]
    trace.save()
    assert list(copies_of(client.get(f"/api/v1/traces/{shown['id']}/").json()).values()) == [[], []]


_documents = st.lists(st.tuples(st.sampled_from([None, 0, 1]), st.booleans(), st.booleans()), max_size=8)


@given(_documents, st.lists(st.lists(st.integers(0, 7), max_size=6), max_size=4))
def test_merging_keeps_every_text_and_every_spans_texts(
    facts: list[tuple[int | None, bool, bool]], spans: list[list[int]]
) -> None:
    documents: list[dict[str, Any]] = [
        {"id": f"a/{i}", "corpus": "a", "title": "", "same_text": same, "is_readable": readable, "removed": removed}
        for i, (same, readable, removed) in enumerate(facts)
    ]
    text_of = {d["id"]: d["id"] if d["same_text"] is None or d["removed"] else str(d["same_text"]) for d in documents}
    places = [[{"document": f"a/{i}", "corpus": "a"} for i in dict.fromkeys(own) if i < len(facts)] for own in spans]
    before = [{text_of[match["document"]] for match in own} for own in places]
    given_spans: list[dict[str, Any]] = [{"matches": own} for own in places]
    merged = merge_copies(documents, given_spans)
    kept = [document["id"] for document in merged]
    assert len(kept) == len(set(text_of.values()))
    for span, texts in zip(given_spans, before, strict=True):
        named = [match["document"] for match in span["matches"]]
        assert {text_of[name] for name in named} == texts
        assert len(named) == len(texts)
        assert set(named) <= set(kept)
    for document in merged:
        alike = [id for id, text in text_of.items() if text == text_of[document["id"]]]
        assert sorted([document["id"], *(copy["id"] for copy in document["copies"])]) == sorted(alike)
        assert document["n_copies"] == len(alike) - 1
        assert document["is_readable"] or not any(copy["is_readable"] for copy in document["copies"])
        assert all(standing_for(merged, id) == document["id"] for id in alike)
