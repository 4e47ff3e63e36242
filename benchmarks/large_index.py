"""Large indexes for benchmarks: real text to a size, the rest of it filled with its own pieces in random order.

Tokenizing two gigabytes takes an hour on a busy machine, so it's done once: the tokens are kept in a folder, and
indexes of any size are made of them. What is filled is synthetic: documents of about a thousand tokens, of pieces of
8 to 64 tokens drawn from the real ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracer.engine import CorpusDocument, IndexReader, Manifest, add_samples
from tracer.engine.build import sort_shard
from tracer.engine.layout import TOKENIZER, token_dtype, write_manifest
from tracer.engine.tokens import IndexTokenizer, load_tokenizer

BATCH = 256
BLOCK = 10_000_000
FILLED_DOCUMENT, PIECES = 1000, (8, 65)
Tokens = npt.NDArray[np.unsignedinteger]


def tokenize(documents: Iterable[CorpusDocument], out: Path, tokenizer: IndexTokenizer) -> None:
    """Write the tokens of documents to the new file `out`, a separator before each."""
    dtype = token_dtype(tokenizer.stored_width)
    separator = [int(np.iinfo(dtype).max)]
    partial = out.with_suffix(".partial")
    batch: list[str] = []
    with partial.open("wb") as file:

        def write() -> None:
            for ids in tokenizer.encode_batch(batch):
                file.write(np.array(separator + ids, dtype).tobytes())
            batch.clear()

        for document in documents:
            batch.append(document.text)
            if len(batch) == BATCH:
                write()
        write()
    partial.rename(out)


def make_index(tokens_path: Path, tokenizer_path: Path, n_bytes: int, out: Path) -> tuple[Manifest, float]:
    """Make the index `out` of about `n_bytes` of tokens and table; return its manifest and the share that is real."""
    tokenizer = load_tokenizer(tokenizer_path)
    width = tokenizer.stored_width
    real: Tokens = np.fromfile(tokens_path, token_dtype(width))
    n_tokens = n_bytes // (2 * width)
    partial = out.with_name(f".{out.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with (partial / "tokenized.0").open("wb") as file:
        file.write(real[:n_tokens].data)
        for part in _filled(real, n_tokens - len(real)):
            file.write(part.data)
    _write_documents(partial, width)
    shutil.copyfile(tokenizer_path, partial / TOKENIZER)
    n_written, n_documents = sort_shard(partial, 0, tokenizer)
    manifest = write_manifest(partial, tokenizer.digest, width, 1, n_written, n_documents)
    add_samples(partial, manifest)
    partial.rename(out)
    IndexReader.open(out)
    return manifest, min(1.0, len(real) / n_written)


def _filled(real: Tokens, n_tokens: int) -> Iterable[Tokens]:
    """Yield `n_tokens` of random pieces of `real`, separators only at the beginnings of documents."""
    choose = np.random.default_rng(7)
    separator = np.iinfo(real.dtype).max
    usable = real[real != separator]
    for begin in range(0, n_tokens, BLOCK):
        n = min(BLOCK, n_tokens - begin)
        lengths = choose.integers(*PIECES, size=n // PIECES[0] + 1)
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), n)) + 1]
        firsts = choose.integers(0, len(usable) - PIECES[1], size=len(lengths))
        places = np.repeat(firsts - np.cumsum(lengths) + lengths, lengths)[:n] + np.arange(n)
        part = usable[places]
        part[::FILLED_DOCUMENT] = separator
        yield part


def _write_documents(folder: Path, width: int) -> None:
    """Write offset, metadata and metaoff of the tokens' documents."""
    tokens = np.memmap(folder / "tokenized.0", token_dtype(width), mode="r")
    offsets = np.flatnonzero(tokens == np.iinfo(tokens.dtype).max) * width
    offsets.astype("<u8").tofile(folder / "offset.0")
    with (folder / "metadata.0").open("wb") as lines, (folder / "metaoff.0").open("wb") as places:
        for number in range(len(offsets)):
            places.write(lines.tell().to_bytes(8, "little"))
            lines.write(json.dumps({"id": f"document-{number}", "title": f"Document {number}"}).encode() + b"\n")
