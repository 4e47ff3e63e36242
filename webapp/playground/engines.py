"""One inference engine a checkpoint in this process, loaded at first use."""

from __future__ import annotations

import threading
from functools import lru_cache

import structlog
from django.conf import settings
from tokenizers import Tokenizer

from webapp.inference import GenerationRequest, InferenceEngine, load_checkpoint
from webapp.playground.models import Checkpoint

log = structlog.get_logger(__name__)
_engines: dict[str, InferenceEngine] = {}
_lock = threading.Lock()


def engine_for(checkpoint: Checkpoint) -> InferenceEngine:
    """Return the running engine of a checkpoint; raises `CheckpointError` when it cannot be loaded."""
    key = f"{checkpoint.folder}\n{checkpoint.digest}"
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            loaded = load_checkpoint(
                checkpoint.folder, dtype=settings.INFERENCE_DTYPE, device=settings.INFERENCE_DEVICE
            )
            engine = InferenceEngine(loaded)
            engine.start()
            _engines[key] = engine
            log.info("checkpoint loaded", checkpoint=checkpoint.slug, n_parameters=loaded.n_parameters)
        return engine


def close_engines() -> None:
    """End all engines of this process; their requests end as cancelled."""
    with _lock:
        for engine in _engines.values():
            engine.close()
        _engines.clear()


def warm_up() -> None:
    """Load the default checkpoint and make one token, so that the first visitor does not wait."""
    checkpoint = Checkpoint.objects.filter(slug=settings.DEFAULT_CHECKPOINT).first() or Checkpoint.objects.first()
    if checkpoint is None:
        return
    engine = engine_for(checkpoint)
    request = GenerationRequest("warm", frozenset(engine.checkpoint.expert_slugs), max_tokens=2)
    for _ in engine.submit(request):
        pass


@lru_cache(maxsize=8)
def tokenizer_for(folder: str, digest: str) -> Tokenizer:
    """Return a checkpoint's tokenizer without its weights, to count a prompt's tokens."""
    return Tokenizer.from_file(f"{folder}/tokenizer.json")
