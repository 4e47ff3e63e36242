"""Drawing the next token: greedy, temperature, nucleus; each request with its own generator."""

from __future__ import annotations

import torch
from torch import Tensor

_N_TRIED = (64, 2048)
_MARGIN = 1e-9  # more than sums in another order may differ by


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
        tokens = None
        if self._top_p < 1.0:
            tokens = _nucleus(chances, self._top_p)
            chances = chances[tokens]
        totals = chances.cumsum(-1)
        point = torch.rand(1, generator=self._generator, dtype=torch.float64) * totals[-1]
        place = int(torch.searchsorted(totals, point, right=True))
        if place >= len(chances):  # rounding at the upper end may point past the last token that has a chance
            place = int(chances.nonzero()[-1])
        return place if tokens is None else int(tokens[place])


def _nucleus(chances: Tensor, top_p: float) -> Tensor:
    """The fewest likeliest tokens that together reach `top_p`, in the vocabulary's order; of equals the first.

    Sorts a few of the likeliest where these suffice: a whole vocabulary takes ten times as long.
    """
    for n_tried in _N_TRIED:
        if n_tried < len(chances):
            tokens = (chances >= chances.topk(n_tried, sorted=False).values.min()).nonzero().flatten()
            if float(chances[tokens].sum()) > top_p + _MARGIN:
                break
    else:
        tokens = torch.arange(len(chances))
    ordered, places = chances[tokens].sort(descending=True, stable=True)
    is_inside = ordered.cumsum(-1) - ordered < top_p
    return tokens[places[is_inside].sort().values]
