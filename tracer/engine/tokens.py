"""Tokenizers of indexes: text to ids with code-point offsets, ids to bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tracer.engine.errors import IndexFileError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenizedText:
    """Ids (n,) with the half-open code-point offsets of each token."""

    ids: Ids
    starts: Ids
    ends: Ids


class IndexTokenizer:
    """A byte-level BPE from tokenizer.json, or, without one, plain UTF-8 bytes."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._tokenizer: Tokenizer | None = None
        if path is None:
            self.digest = hashlib.sha256(b"utf-8 bytes").hexdigest()
            self.token_bytes = [bytes([value]) for value in range(256)]
            return
        try:
            content = path.read_bytes()
            self._tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:
            raise IndexFileError(path, f"not a readable tokenizer ({error})") from error
        self.digest = hashlib.sha256(content).hexdigest()
        self.token_bytes = _token_bytes(path, self._tokenizer, content)

    @property
    def vocabulary_size(self) -> int:
        """Return the number of ids."""
        return len(self.token_bytes)

    def encode(self, text: str) -> TokenizedText:
        """Return ids and offsets; lone surrogates, which cannot be encoded, count as U+FFFD."""
        clean = _encodable(text)
        if self._tokenizer is None:
            return _encode_bytes(clean)
        encoding = self._tokenizer.encode(clean, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return TokenizedText(np.array(encoding.ids, dtype=np.int64), offsets[:, 0], offsets[:, 1])

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of several texts, without special tokens."""
        if self._tokenizer is None:
            return [list(text.encode()) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def to_bytes(self, ids: npt.NDArray[np.unsignedinteger]) -> bytes:
        """Return the bytes that the ids stand for."""
        table = self.token_bytes
        return b"".join([table[i] for i in ids.tolist()])


@lru_cache(maxsize=16)
def load_tokenizer(path: Path | None) -> IndexTokenizer:
    """Return the tokenizer of a file, read once a process."""
    return IndexTokenizer(path)


def _encodable(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text) if _has_surrogate(text) else text


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _encode_bytes(text: str) -> TokenizedText:
    widths = np.array([len(c.encode()) for c in text], dtype=np.int64)
    starts = np.repeat(np.arange(len(text), dtype=np.int64), widths)
    return TokenizedText(np.frombuffer(text.encode(), np.uint8).astype(np.int64), starts, starts + 1)


def _token_bytes(path: Path, tokenizer: Tokenizer, content: bytes) -> list[bytes]:
    """Undo GPT-2's byte alphabet for every id of the vocabulary; added tokens stand for their text."""
    specification = json.loads(content)
    if "ByteLevel" not in json.dumps(specification.get("pre_tokenizer")):
        raise IndexFileError(path, "not a byte-level tokenizer, which tracing by exact offsets needs")
    alphabet = _byte_alphabet()
    added = {entry["id"]: entry["content"].encode() for entry in specification.get("added_tokens", [])}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    table = [b""] * (max(vocabulary.values()) + 1)
    for token, identifier in vocabulary.items():
        if identifier in added:
            table[identifier] = added[identifier]
        else:
            table[identifier] = bytes(alphabet[c] for c in token if c in alphabet)
    return table


def _byte_alphabet() -> dict[str, int]:
    """Return the printable character that stands for each byte in byte-level vocabularies, reversed."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in printable]
    return {chr(v): v for v in printable} | {chr(256 + i): v for i, v in enumerate(others)}
