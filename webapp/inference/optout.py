"""Proof that switching an expert off equals removing it.

Masked logits from the engine's decoder are compared with those of transformers on a
checkpoint from which the experts and their router rows were physically removed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from webapp.inference.checkpoint import LoadedCheckpoint, load_checkpoint
from webapp.inference.decoder import Segment
from webapp.inference.errors import ContextOverflowError, RequestError, UnknownExpertError
from webapp.inference.kv_cache import PAGE_TOKENS, pages_for
from webapp.inference.reduce import reduce_checkpoint

N_ONE_BY_ONE = 8


@dataclass(frozen=True)
class OptOutProof:
    """`max_difference` is the largest difference of any logit of any position.

    `computations` counts token × layer products of each expert while masked.
    """

    experts: tuple[str, ...]
    n_positions: int
    max_difference: float
    largest_logit: float
    computations: dict[str, int]
    checkpoint_digest: str


def token_logits(checkpoint: LoadedCheckpoint, token_ids: Sequence[int], experts: frozenset[str]) -> Tensor:
    """Logits (tokens, vocabulary) in float32 under a mask; the last tokens are read one by one, as answers are made.

    Raises UnknownExpertError, ContextOverflowError, RequestError. Not for use while an
    engine runs on the same checkpoint.
    """
    unknown = sorted(experts - set(checkpoint.expert_slugs))
    if unknown or not experts:
        raise UnknownExpertError(f"Choose at least one of {', '.join(checkpoint.expert_slugs)}; not {unknown}.")
    if not token_ids:
        raise RequestError("There are no tokens to score.")
    if len(token_ids) > checkpoint.context_length:
        raise ContextOverflowError(f"{len(token_ids)} tokens exceed the context of {checkpoint.context_length}.")
    decoder = checkpoint.decoder
    cache = decoder.new_cache(pages_for(len(token_ids)) * PAGE_TOKENS)
    extent = cache.reserve(len(token_ids))
    assert extent is not None
    mask, n_read = checkpoint.mask_for(experts), max(len(token_ids) - N_ONE_BY_ONE, 0)
    parts = [list(token_ids[:n_read])] if n_read else []
    logits, start = [], 0
    for part in [*parts, *([token] for token in token_ids[n_read:])]:
        logits.append(decoder.forward([Segment(extent, start, part, mask)], cache, all_positions=True)[0])
        start += len(part)
    return torch.cat(logits)


def verify_optout(
    path: Path,
    experts: Sequence[str],
    texts: Sequence[str],
    *,
    dtype: str = "float32",
    experts_file: Path | None = None,
) -> OptOutProof:
    """Compare masking with removal on `texts` (cut to the context), `experts` staying on.

    `experts_file` names the experts in place of the folder's own experts.json.
    """
    from transformers import FlexOlmoForCausalLM  # takes seconds; nothing else here needs it

    checkpoint = load_checkpoint(path, dtype=dtype, device="cpu", experts_file=experts_file)
    kept = frozenset(experts)
    largest = worst = 0.0
    n_positions = 0
    with tempfile.TemporaryDirectory() as folder:
        reduced_path = Path(folder) / "reduced"
        reduce_checkpoint(path, reduced_path, experts, experts_file=experts_file)
        reduced = FlexOlmoForCausalLM.from_pretrained(reduced_path, dtype=checkpoint.decoder.dtype).eval()
        for text in texts:
            ids = checkpoint.tokenizer.encode(text).ids[: checkpoint.context_length]
            masked = token_logits(checkpoint, ids, kept)
            with torch.inference_mode():
                removed = reduced(input_ids=torch.tensor([ids])).logits[0].float()
            worst = max(worst, float((masked - removed).abs().max()))
            largest = max(largest, float(removed.abs().max()))
            n_positions += len(ids)
    return OptOutProof(
        experts=tuple(slug for slug in checkpoint.expert_slugs if slug in kept),
        n_positions=n_positions,
        max_difference=worst,
        largest_logit=largest,
        computations=dict(
            zip(checkpoint.expert_slugs, checkpoint.decoder.expert_computations, strict=True),
        ),
        checkpoint_digest=checkpoint.digest,
    )
