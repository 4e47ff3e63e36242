"""Text of a growing list of tokens, piece by piece, with stop strings held back.

The pieces concatenate exactly to `text`: characters whose bytes are not complete
yet, and endings that may become a stop string, wait for the next token.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from webapp.inference.stopping import StopFilter

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """One answer's text. After a stop string `is_stopped` is True and no text follows."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._context_start = 0  # tokens before `_read_end` are context: some decoders need it for spaces
        self._read_end = 0
        self._filter = StopFilter(stop)

    @property
    def text(self) -> str:
        return self._filter.text

    @property
    def is_stopped(self) -> bool:
        return self._filter.is_stopped

    def push(self, token_id: int) -> str:
        """The text that is certain after one more token; may be empty."""
        self._ids.append(token_id)
        return self._filter.release(self._decode_new(is_last=False))

    def finish(self) -> str:
        """The text still held back, when no token follows."""
        return self._filter.release(self._decode_new(is_last=True), is_last=True)

    def _decode_new(self, *, is_last: bool) -> str:
        known = self._decode(self._ids[self._context_start : self._read_end])
        whole = self._decode(self._ids[self._context_start :])
        if len(whole) <= len(known) or (whole.endswith(_REPLACEMENT) and not is_last):
            return ""
        self._context_start, self._read_end = self._read_end, len(self._ids)
        return whole[len(known) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""
