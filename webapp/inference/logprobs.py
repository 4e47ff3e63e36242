"""Log probabilities of a drawn token and of its alternatives, as the model gave them."""

from __future__ import annotations

from tokenizers import Tokenizer
from torch import Tensor

from webapp.inference.requests import TokenLogprob


def token_logprobs(
    logits: Tensor, token_id: int, n_top: int, tokenizer: Tokenizer
) -> tuple[TokenLogprob, tuple[TokenLogprob, ...]]:
    """The token's and the `n_top` likeliest tokens' natural logarithms, from `logits` (vocabulary,).

    They are of the model's own distribution: temperature, top-p and a steered token change nothing.
    """
    logs = logits.float().log_softmax(-1)
    best = logs.topk(min(n_top, logs.shape[-1]))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    tops = tuple(TokenLogprob(token, _text(tokenizer, token), value) for token, value in pairs)
    return TokenLogprob(token_id, _text(tokenizer, token_id), float(logs[token_id])), tops


def _text(tokenizer: Tokenizer, token_id: int) -> str:
    return str(tokenizer.decode([token_id], skip_special_tokens=False))
