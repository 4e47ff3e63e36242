"""Tokenizers of indexes: text to ids with code-point offsets, ids to bytes."""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tracer.engine import lazy_numba as numba
from tracer.engine.errors import IndexFileError, LittleMemoryError
from tracer.engine.layout import token_width

BYTES_PER_TOKEN = 4
#: What cutting a text into tokens may take: 100 to 400 bytes a byte, most where each is a token of its own.
FREE_BYTES, FREE_BYTES_PER_BYTE = 4 << 20, 512
PLAIN_BYTES = hashlib.sha256(b"utf-8 bytes").hexdigest()
FOLDED_BYTES = hashlib.sha256(b"utf-8 bytes, case folded one code point to one").hexdigest()
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenizedText:
    """Ids (n,) with the half-open code-point offsets of each token."""

    ids: Ids
    starts: Ids
    ends: Ids


class IndexTokenizer:
    """A byte-level BPE from tokenizer.json, or, without one, plain UTF-8 bytes.

    `folds_case` (bytes only) stores and searches text in folded case, character by character.
    """

    def __init__(self, path: Path | None, *, folds_case: bool = False) -> None:
        self.path, self.folds_case = path, folds_case and path is None
        self._tokenizer: Tokenizer | None = None
        if path is None:
            self.digest = FOLDED_BYTES if folds_case else PLAIN_BYTES
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

    @property
    def is_bytes(self) -> bool:
        """Tell whether an id is a byte rather than a token of a vocabulary."""
        return self.path is None

    @property
    def units_per_token(self) -> int:
        """Return how many ids count as a token where a setting is in tokens: English has about four bytes in one."""
        return BYTES_PER_TOKEN if self.path is None else 1

    @property
    def stored_width(self) -> int:
        """Return the bytes of one stored id."""
        return token_width(self.vocabulary_size, is_bytes=self.path is None)

    def encode(self, text: str) -> TokenizedText:
        """Return ids and offsets; lone surrogates, which cannot be encoded, count as U+FFFD.

        Raises `LittleMemoryError` where memory might not suffice.
        """
        clean = as_encodable(text)
        if self._tokenizer is None:
            return _encode_bytes(fold_case(clean) if self.folds_case else clean)
        _see_that_memory_is_free(len(clean.encode()))
        encoding = self._tokenizer.encode(clean, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return TokenizedText(np.array(encoding.ids, dtype=np.int64), offsets[:, 0], offsets[:, 1])

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of several texts, without special tokens."""
        if self._tokenizer is None:
            return [list((fold_case(text) if self.folds_case else text).encode()) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def to_bytes(self, ids: npt.NDArray[np.unsignedinteger]) -> bytes:
        """Return the bytes that the ids stand for; raises `IndexError` for one that is none."""
        return self.to_bytes_and_places(ids)[0]

    def to_bytes_and_places(self, ids: npt.NDArray[np.unsignedinteger]) -> tuple[bytes, Ids]:
        """Return the bytes that the ids (k,) stand for, and at which byte each begins and the last ends (k + 1,)."""
        flat, begin = self._flat
        places = np.zeros(len(ids) + 1, np.int64)
        joined = _join(flat, begin, np.ascontiguousarray(ids, np.int64), places)
        if places[-1] < 0:
            raise IndexError("an id that the tokenizer does not know")
        return joined.tobytes(), places

    @cached_property
    def _flat(self) -> tuple[npt.NDArray[np.uint8], Ids]:
        """Return all tokens in a row, and where each begins."""
        begin = np.zeros(len(self.token_bytes) + 1, np.int64)
        np.cumsum([len(token) for token in self.token_bytes], out=begin[1:])
        return np.frombuffer(b"".join(self.token_bytes), np.uint8), begin


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _join(flat: Any, begin: Any, ids: Any, places: Any) -> Any:
    """Return the bytes flat[begin[i] : begin[i + 1]] of all ids in a row; the last place is -1 for a bad id."""
    for k in range(len(ids)):
        if ids[k] < 0 or ids[k] >= len(begin) - 1:
            places[-1] = -1
            return np.empty(0, np.uint8)
        places[k + 1] = places[k] + begin[ids[k] + 1] - begin[ids[k]]
    joined = np.empty(places[-1], np.uint8)
    at = 0
    for i in ids:
        for place in range(begin[i], begin[i + 1]):
            joined[at] = flat[place]
            at += 1
    return joined


def _see_that_memory_is_free(n_text_bytes: int) -> None:
    """Raise `LittleMemoryError` unless as much address space is free as a text may take.

    The tokenizer's own code ends the process where it gets none. Nothing is touched, so this costs microseconds;
    another thread may still take the memory before it is used.
    """
    n_bytes = FREE_BYTES + FREE_BYTES_PER_BYTE * n_text_bytes
    try:
        mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError) as error:
        raise LittleMemoryError(n_bytes) from error


@lru_cache(maxsize=16)
def load_tokenizer(path: Path | None, *, folds_case: bool = False) -> IndexTokenizer:
    """Return the tokenizer of a file, read once a process."""
    return IndexTokenizer(path, folds_case=folds_case)


def fold_case(text: str) -> str:
    """Fold case one code point to one, so that offsets stay as they are ("ß" stays, "ẞ" becomes "ß").

    This is Unicode's simple case folding, but for the few letters whose lower case is two code points.
    """
    folded = text.casefold()
    return folded if len(folded) == len(text) and text.isascii() else "".join(map(_fold, text))


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def as_encodable(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate."""
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
