"""Small corpora, tokenizers and indexes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tracer.engine import CorpusDocument, IndexReader, build_index, lazy_numba

TEXTS = (
    "The carousel turns. The music plays 🎉 on and on.\nChildren laugh at the fair.",
    "A fair draw is one that anyone can recompute. The music plays on.",
    "Über den Dächern: naïve café — 東京タワー。The carousel turns slowly.",
    "def turn(carousel):\n    return carousel.turn()\n",
    "Write to ringmaster@fair.example or call +1 555 010 9999 from 192.168.0.17 today.",
)
MakeReader = Callable[..., IndexReader]


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def make_reader(tmp_path: Path, tokenizer_path: Path) -> MakeReader:
    """Build and open indexes: make_reader(texts, n_shards=1, as_bytes=False)."""
    made: list[IndexReader] = []

    def make(texts: tuple[str, ...] = TEXTS, n_shards: int = 1, *, as_bytes: bool = False) -> IndexReader:
        documents = [CorpusDocument(f"doc-{i}", text, title=f"Title {i}") for i, text in enumerate(texts)]
        folder = tmp_path / f"index-{len(made)}"
        build_index(documents, folder, None if as_bytes else tokenizer_path, n_shards=n_shards)
        made.append(IndexReader.open(folder))
        return made[-1]

    return make


@pytest.fixture(autouse=True, scope="session")
def compiled_functions() -> None:
    """Let tests that put a Python twin in a compiled function's place put the compiled one back."""
    lazy_numba.load()
