"""Budget forcing: a lower and an upper bound on how long a model thinks before it answers.

After Muennighoff et al., s1, arXiv 2501.19393, section 3: at the upper bound the end of the
thinking is written for the model; an end before the lower bound is replaced by a text such
as "Wait", which makes the model go on. Knows no model: it exchanges token ids.
"""

from __future__ import annotations

from collections import deque

from tokenizers import Tokenizer

from webapp.inference.requests import ThinkingLimits


class ThinkingBudget:
    """One answer's thinking. `steer` sees every drawn token before it is handed out.

    The lower bound looks at the first token of the end text only, since a token that was
    handed out cannot be taken back; `end_token_ids` (end of text) count as an early end too.
    """

    def __init__(self, limits: ThinkingLimits, tokenizer: Tokenizer, end_token_ids: frozenset[int]) -> None:
        self._min, self._max = limits.min_tokens, limits.max_tokens
        self._end = list(tokenizer.encode(limits.end, add_special_tokens=False).ids)
        self._wait = list(tokenizer.encode(limits.wait, add_special_tokens=False).ids)
        self._end_token_ids = end_token_ids
        self._pending: deque[int] = deque()
        self._tail: list[int] = []
        self._n_tokens = 0
        self.is_thinking = bool(self._end)

    def steer(self, token_id: int) -> int:
        """The token to hand out in place of the drawn one; mostly the same."""
        if not self.is_thinking:
            return token_id
        if not self._pending:
            ends = token_id == self._end[0] or token_id in self._end_token_ids
            if self._n_tokens >= self._max and self._begun() == 0:
                self._pending.extend(self._end)
            elif ends and self._n_tokens < self._min and self._wait:
                self._pending.extend(self._wait)
        if self._pending:
            token_id = self._pending.popleft()
        self._n_tokens += 1
        self._tail = [*self._tail, token_id][-len(self._end) :]
        self.is_thinking = self._tail != self._end
        return token_id

    def _begun(self) -> int:
        """How many tokens of the end text the model has just written of its own accord."""
        for size in range(min(len(self._end) - 1, len(self._tail)), 0, -1):
            if self._tail[-size:] == self._end[:size]:
                return size
        return 0
