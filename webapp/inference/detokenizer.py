"""Text of a growing list of tokens, piece by piece, with stop strings held back.

The pieces concatenate exactly to `text`: characters whose bytes are not complete
yet, and endings that may become a stop string, wait for the next token.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """One answer's text. After a stop string `is_stopped` is True and no text follows."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._context_start = 0  # tokens before `_read_end` are context: some decoders need it for spaces
        self._read_end = 0
        self._held = ""
        self._pieces: list[str] = []
        self.is_stopped = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def push(self, token_id: int) -> str:
        """The text that is certain after one more token; may be empty."""
        self._ids.append(token_id)
        return self._release(self._decode_new(is_last=False), is_last=False)

    def finish(self) -> str:
        """The text still held back, when no token follows."""
        return self._release(self._decode_new(is_last=True), is_last=True)

    def _decode_new(self, *, is_last: bool) -> str:
        known = self._decode(self._ids[self._context_start : self._read_end])
        whole = self._decode(self._ids[self._context_start :])
        if len(whole) <= len(known) or (whole.endswith(_REPLACEMENT) and not is_last):
            return ""
        self._context_start, self._read_end = self._read_end, len(self._ids)
        return whole[len(known) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _release(self, new: str, *, is_last: bool) -> str:
        if self.is_stopped:
            return ""
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.is_stopped = True
            text, self._held = text[: min(found)], ""
        else:
            n_held = 0 if is_last else self._n_undecided(text)
            text, self._held = text[: len(text) - n_held], text[len(text) - n_held :]
        self._pieces.append(text)
        return text

    def _n_undecided(self, text: str) -> int:
        """Length of the longest ending of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stop):
                return size
        return 0
