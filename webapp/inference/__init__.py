"""FlexOlmo inference with an expert mask a request. Plain Python: knows no web framework.

Load a checkpoint folder, start an engine over it, submit requests:

    checkpoint = load_checkpoint(path)
    with InferenceEngine(checkpoint) as engine:
        for event in engine.submit(GenerationRequest("Return", frozenset({"public"}))):
            ...

`webapp.inference.masked` holds the same as a transformers model; it is not imported
here, because transformers takes seconds to import. What needs torch is imported when it is
first used, since web processes, which never compute, need the requests and cards alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from webapp.inference.card import CheckpointCard, ExpertCard, read_checkpoint_card
from webapp.inference.errors import (
    CheckpointError,
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    InferenceError,
    RequestError,
    UnknownExpertError,
)
from webapp.inference.requests import (
    ChatMessage,
    FinishEvent,
    FinishReason,
    GenerationHandle,
    GenerationRequest,
    ThinkingLimits,
    TokenEvent,
    TokenLogprob,
)

if TYPE_CHECKING:
    from webapp.inference.checkpoint import LoadedCheckpoint, checkpoint_digest, load_checkpoint
    from webapp.inference.engine import InferenceEngine
    from webapp.inference.layout import MemoryEstimate
    from webapp.inference.optout import OptOutProof, token_logits, verify_optout
    from webapp.inference.reduce import reduce_checkpoint

_NEEDS_TORCH = {
    "InferenceEngine": "engine",
    "LoadedCheckpoint": "checkpoint",
    "MemoryEstimate": "layout",
    "OptOutProof": "optout",
    "checkpoint_digest": "checkpoint",
    "load_checkpoint": "checkpoint",
    "reduce_checkpoint": "reduce",
    "token_logits": "optout",
    "verify_optout": "optout",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch at its first use (PEP 562)."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)


__all__ = [
    "ChatMessage",
    "CheckpointCard",
    "CheckpointError",
    "ContextOverflowError",
    "EngineBusyError",
    "EngineClosedError",
    "ExpertCard",
    "FinishEvent",
    "FinishReason",
    "GenerationHandle",
    "GenerationRequest",
    "InferenceEngine",
    "InferenceError",
    "LoadedCheckpoint",
    "MemoryEstimate",
    "OptOutProof",
    "RequestError",
    "ThinkingLimits",
    "TokenEvent",
    "TokenLogprob",
    "UnknownExpertError",
    "checkpoint_digest",
    "load_checkpoint",
    "read_checkpoint_card",
    "reduce_checkpoint",
    "token_logits",
    "verify_optout",
]
