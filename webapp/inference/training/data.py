"""Documents to token streams. Whole documents are held out, chosen by a digest of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from webapp.inference.errors import TrainingError

END_OF_TEXT, PADDING = "<|endoftext|>", "<|pad|>"
HELD_OUT_ONE_IN = 25
BATCH_DOCUMENTS = 1000
# Words with one leading space, up to three digits, runs of punctuation, line ends: the split of OLMo's tokenizer.
_SPLIT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class TokenStream:
    """One domain's tokens: documents joined by end-of-text, training and held-out.

    `held_out_bytes` is the UTF-8 length of the held-out documents.
    """

    domain: str
    training: Tensor
    held_out: Tensor
    held_out_bytes: int

    @property
    def tokens_per_byte(self) -> float:
        """Return what turns a loss per token into one per byte, which compares across tokenizers."""
        return len(self.held_out) / self.held_out_bytes


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


def tokenize_domain(
    domain: str, texts: Iterable[str], tokenizer: Tokenizer, *, end_of_text: int | None = None
) -> TokenStream:
    """Return a domain's token streams, four bytes a token; raises `TrainingError` when a part would be empty.

    `end_of_text` is the id between documents, by default that of `END_OF_TEXT`. Texts are read a batch at a time.
    """
    end = tokenizer.token_to_id(END_OF_TEXT) if end_of_text is None else end_of_text
    if end is None:
        raise TrainingError(f"The tokenizer has no {END_OF_TEXT!r} and the checkpoint names no end of text.")
    parts: dict[bool, list[Tensor]] = {False: [], True: []}
    held_out_bytes = 0
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH_DOCUMENTS)):
        ids: dict[bool, list[int]] = {False: [], True: []}
        for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
            is_kept = is_held_out(text)
            ids[is_kept] += [end, *encoding.ids]
            held_out_bytes += len(text.encode()) if is_kept else 0
        for part, some in ids.items():
            parts[part].append(torch.tensor(some, dtype=torch.int32))
    training, held_out = (torch.cat(parts[part] or [torch.empty(0, dtype=torch.int32)]) for part in (False, True))
    if len(training) < 3 or len(held_out) < 3:
        raise TrainingError(f"Domain {domain!r} has too few documents to hold some out. Give more text.")
    return TokenStream(domain, training, held_out, held_out_bytes)


def sample_windows(tokens: Tensor, n_rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Return (n_rows, length + 1) int64 windows at random places of a stream.

    Raises `TrainingError` for a stream that is not longer than a window.
    """
    if len(tokens) < length + 2:
        raise TrainingError(
            f"There are {len(tokens)} tokens to train on. Give more text than {length + 1}, or less --length."
        )
    starts = torch.randint(0, len(tokens) - length - 1, (n_rows,), generator=generator)
    return torch.stack([tokens[start : start + length + 1] for start in starts.tolist()]).long()
