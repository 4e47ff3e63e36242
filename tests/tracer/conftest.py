"""A registered corpus with an index, for tests of services, pages and interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracer.engine.conftest import tokenizer_path
from tracer import services
from tracer.models import Corpus

__all__ = ["tokenizer_path"]
SENTENCE = "The carousel turns and the music plays on."
MakeCorpus = Callable[..., Corpus]


@pytest.fixture
def make_corpus(db: None, tmp_path: Path, tokenizer_path: Path) -> MakeCorpus:
    """Register and index a corpus: make_corpus(slug="fair", disclosure="full", texts=(…))."""

    def make(
        slug: str = "fair", disclosure: str = "full", texts: tuple[str, ...] = (SENTENCE, "Nothing else.")
    ) -> Corpus:
        file = tmp_path / f"{slug}.jsonl"
        lines = [json.dumps({"id": f"doc-{i}", "text": text, "title": f"Title {i}"}) for i, text in enumerate(texts)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        corpus = services.add_corpus(
            slug=slug, file=file, owner="The Fair", licence="CC0-1.0", title="Fair texts", disclosure=disclosure
        )
        services.build_corpus_index(slug=slug, tokenizer=tokenizer_path)
        return corpus

    return make
