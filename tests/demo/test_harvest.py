"""Demonstration corpora: the same packages give the same documents, each with its licence and place."""

from __future__ import annotations

import hashlib
import json

import pytest

from webapp.demo import harvest
from webapp.demo.corpora import DEMO_CORPORA


def digest_of(slug: str) -> str:
    lines = (json.dumps(document, sort_keys=True) for document in harvest.harvest_corpus(slug))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "MAX_CORPUS_CHARACTERS", 150_000)


@pytest.mark.parametrize("corpus", DEMO_CORPORA, ids=lambda corpus: corpus.slug)
def test_harvest_gives_licensed_and_placed_documents(corpus: harvest.DemoCorpus) -> None:
    documents = list(harvest.harvest_corpus(corpus.slug))
    assert len(documents) > 20
    for document in documents:
        assert document["licence"]
        assert document["metadata"]["version"]
        assert document["metadata"]["path"]
        assert len(document["text"]) >= harvest.MIN_CHARACTERS


def test_harvest_is_reproducible() -> None:
    assert digest_of("numerics") == digest_of("numerics")


def test_harvest_repeats_no_text_and_no_id() -> None:
    documents = list(harvest.harvest_corpus("web"))
    bodies = [document["text"].split("\n", 1)[-1].strip() for document in documents]
    assert len(set(bodies)) == len(bodies)
    assert len({document["id"] for document in documents}) == len(documents)


def test_harvest_refuses_an_unknown_corpus() -> None:
    with pytest.raises(KeyError):
        list(harvest.harvest_corpus("nothing"))
