"""A closed corpus stays closed: every resource, export, page and error message, tried as an outsider."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import services
from tracer.disclosure import Policy
from tracer.engine import Disclosure
from tracer.models import Trace
from webapp.ownership import Author
from webapp.transparency.models import Entry

SECRET = "The zebra juggles seven lanterns"
TEXTS = (f"{SENTENCE} {SECRET}.", "Nothing else.")
PROBE = "the music plays on"
IDENTIFYING = ("zebra", "lanterns", "Title 0", "doc-0")


@pytest.fixture
def owner(db: None) -> User:
    """Sign up a member of the group that owns the closed corpora."""
    user = User.objects.create_user("curator", password="x")
    user.groups.add(Group.objects.create(name="fair-owners"))
    return user


def make_closed(make_corpus: MakeCorpus, disclosure: str) -> None:
    make_corpus(slug="closed", disclosure=disclosure, texts=TEXTS)
    services.change_disclosure(slug="closed", disclosure=disclosure, group="fair-owners")


def trace_by(user: User | None) -> Trace:
    author = Author(user.pk) if user else Author()
    trace = services.request_trace(text=f"So {PROBE}.", parameters={"density": None}, author=author)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    assert trace.status == "done"
    return trace


def everything(client: Client, trace: Trace) -> dict[str, str]:
    """Return the body of every address at which the corpus or the trace can be read."""
    addresses = [
        "/corpora/",
        "/corpora/closed/",
        "/documents/closed/doc-0/",
        f"/documents/closed/doc-0/?trace={trace.pk}&span=0",
        f"/traces/{trace.pk}/",
        f"/traces/{trace.pk}/?span=0",
        f"/traces/{trace.pk}/?document=closed%2Fdoc-0",
        f"/traces/{trace.pk}/?embed=1",
        "/traces/",
        "/api/v1/corpora/",
        "/api/v1/corpora/closed/",
        "/api/v1/documents/closed/doc-0/",
        f"/api/v1/traces/{trace.pk}/",
        f"/api/v1/traces/{trace.pk}/export.csv",
        f"/api/v1/traces/{trace.pk}/export.md",
    ]
    return {address: client.get(address).content.decode() for address in addresses}


@pytest.mark.parametrize("is_traced_by_owner", [False, True])
def test_shows_no_word_or_name_of_a_document_when_the_corpus_gives_counts(
    client: Client, make_corpus: MakeCorpus, owner: User, is_traced_by_owner: bool
) -> None:
    make_closed(make_corpus, "counts")
    trace = trace_by(owner if is_traced_by_owner else None)
    for address, body in everything(client, trace).items():
        body = body.replace("closed%2Fdoc-0", "").replace("closed/doc-0", "")  # the asker's own words
        for word in IDENTIFYING:
            assert word not in body, address
    shown = client.get(f"/api/v1/traces/{trace.pk}/").json()
    assert shown["spans"]
    assert {count for span in shown["spans"] for count in span["counts"].values()} == {"<10"}
    assert {span["relevance"] for span in shown["spans"]} == {"low"}


def test_shows_matches_but_no_document_when_the_corpus_gives_snippets(
    client: Client, make_corpus: MakeCorpus, owner: User
) -> None:
    make_closed(make_corpus, "snippet")
    trace = trace_by(owner)
    shown = client.get(f"/api/v1/traces/{trace.pk}/").json()
    assert PROBE in json.dumps(shown["spans"])
    assert all(match["token_start"] is None for span in shown["spans"] for match in span["matches"])
    assert client.get("/api/v1/documents/closed/doc-0/").status_code == 404
    assert client.get("/documents/closed/doc-0/").status_code == 404


def test_shows_everything_to_the_owner_group_when_the_corpus_is_closed(
    client: Client, make_corpus: MakeCorpus, owner: User
) -> None:
    make_closed(make_corpus, "counts")
    client.force_login(owner)
    trace = trace_by(owner)
    assert SECRET in client.get("/api/v1/documents/closed/doc-0/").json()["text"]
    assert "Title 0" in client.get(f"/traces/{trace.pk}/").content.decode()
    counts = [span["counts"] for span in client.get(f"/api/v1/traces/{trace.pk}/").json()["spans"]]
    assert {"closed": 1} in counts


def test_an_owner_who_left_the_group_sees_what_outsiders_see(
    client: Client, make_corpus: MakeCorpus, owner: User
) -> None:
    make_closed(make_corpus, "counts")
    trace = trace_by(owner)
    owner.groups.clear()
    client.force_login(owner)
    assert client.get(f"/api/v1/traces/{trace.pk}/").json()["documents"] == []
    assert client.get("/api/v1/documents/closed/doc-0/").status_code == 404


def test_unknown_and_closed_documents_read_the_same(client: Client, make_corpus: MakeCorpus, owner: User) -> None:
    make_closed(make_corpus, "counts")
    closed, unknown = (client.get(f"/api/v1/documents/closed/{key}/").json() for key in ("doc-0", "doc-99"))
    assert closed == unknown


@pytest.mark.parametrize("count", [0, 1, 9])
def test_blurs_a_small_count_and_nought_alike_when_only_counts_are_shown(count: int) -> None:
    policy = Policy("closed", Disclosure.COUNTS, 10)
    assert policy.shown_count(count) == "<10"
    assert policy.shown_count(10) == 10
    assert Policy("open", Disclosure.SNIPPET, 10).shown_count(count) == count


def test_bounds_the_context_of_a_match_when_the_corpus_gives_snippets() -> None:
    match: dict[str, Any] = {"snippet": "a" * 900 + "NEEDLE" + "b" * 900, "snippet_start": 900, "snippet_end": 906}
    shown = Policy("half", Disclosure.SNIPPET, 10).shown_match({**match, "token_start": 7})
    assert shown is not None
    assert shown["snippet"] == "a" * 300 + "NEEDLE" + "b" * 300
    assert shown["snippet"][shown["snippet_start"] : shown["snippet_end"]] == "NEEDLE"
    assert shown["token_start"] is None


def test_logs_corpus_index_and_takedown_without_naming_the_document(make_corpus: MakeCorpus) -> None:
    make_corpus()
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    entries = Entry.objects.order_by("at")
    assert [entry.kind for entry in entries] == ["corpus", "index", "takedown"]
    leaf = json.loads(entries[2].leaf)
    assert leaf["body"]["corpus"] == "fair"
    assert "doc-0" not in entries[2].leaf
    assert "author" not in entries[2].leaf
