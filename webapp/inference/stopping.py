"""Holds back endings of a growing text that may become a stop string. Knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """One answer's text. After a stop string `is_stopped` is True and no text follows."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self._pieces: list[str] = []
        self.is_stopped = False

    @property
    def text(self) -> str:
        """All text released so far."""
        return "".join(self._pieces)

    def release(self, new: str, *, is_last: bool = False) -> str:
        """The text that is certain after `new`; may be empty."""
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
