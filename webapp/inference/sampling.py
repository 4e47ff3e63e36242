"""Drawing the next token: greedy, temperature, nucleus; each request with its own generator."""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """One request's draws: one uniform number a token, from its own seed."""

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.is_greedy = temperature == 0.0
        self._temperature = temperature
        self._top_p = top_p
        self._generator = torch.Generator(device="cpu").manual_seed(seed)

    def draw(self, logits: Tensor) -> int:
        """A token from `logits` (vocabulary,) by the inverse of the distribution function.

        Probabilities are added up in float64 in the vocabulary's order, so that rounding
        differences between batch sizes do not change the draw.
        """
        if self.is_greedy:
            return int(logits.argmax())
        scaled = logits.to("cpu", torch.float64) / self._temperature
        chances = scaled.softmax(-1)
        if self._top_p < 1.0:
            ordered, tokens = chances.sort(descending=True, stable=True)
            is_outside = ordered.cumsum(-1) - ordered >= self._top_p
            chances = chances.index_fill(0, tokens[is_outside], 0.0)
        totals = chances.cumsum(-1)
        point = torch.rand(1, generator=self._generator, dtype=torch.float64) * totals[-1]
        token = int(torch.searchsorted(totals, point, right=True))
        # Rounding at the upper end may point past the last token that has a chance.
        return token if token < len(chances) else int(chances.nonzero()[-1])
