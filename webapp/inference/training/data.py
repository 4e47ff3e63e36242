"""Documents to token streams. Whole documents are held out, chosen by a digest of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

END_OF_TEXT, PADDING = "<|endoftext|>", "<|pad|>"
HELD_OUT_ONE_IN = 25
# Words with one leading space, up to three digits, runs of punctuation, line ends: the split of OLMo's tokenizer.
_SPLIT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class TokenStream:
    """One domain's tokens: documents joined by end-of-text, training and held-out."""

    domain: str
    training: Tensor
    held_out: Tensor


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Return a byte-level BPE; train it on public text only, so that no owner's text leaks into it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def is_held_out(text: str) -> bool:
    """Tell whether a document belongs to the held-out part: one in `HELD_OUT_ONE_IN`, by digest."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % HELD_OUT_ONE_IN == 0


def tokenize_domain(domain: str, texts: list[str], tokenizer: Tokenizer) -> TokenStream:
    """Return a domain's token streams; raises `ValueError` when a part would be empty."""
    end = int(tokenizer.token_to_id(END_OF_TEXT) or 0)
    parts: dict[bool, list[int]] = {False: [], True: []}
    for text, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
        parts[is_held_out(text)] += [end, *encoding.ids]
    if not parts[False] or not parts[True]:
        raise ValueError(f"domain {domain!r} has too few documents to hold some out: give more text")
    return TokenStream(domain, torch.tensor(parts[False]), torch.tensor(parts[True]))


def sample_windows(tokens: Tensor, n_rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Return (n_rows, length + 1) windows at random places of a stream longer than `length` + 1."""
    starts = torch.randint(0, len(tokens) - length - 1, (n_rows,), generator=generator)
    return torch.stack([tokens[start : start + length + 1] for start in starts.tolist()])
