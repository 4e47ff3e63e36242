"""One inference engine a checkpoint in this process, loaded at first use."""

from __future__ import annotations

import threading
from functools import lru_cache

import structlog
from django.conf import settings
from tokenizers import Tokenizer

from webapp.inference import GenerationRequest
from webapp.inference.backend import Backend
from webapp.inference.remote import RemoteEngine, RemoteServer
from webapp.playground.models import BackendChoice, Checkpoint

log = structlog.get_logger(__name__)
_engines: dict[str, Backend] = {}
_lock = threading.Lock()


def engine_for(checkpoint: Checkpoint) -> Backend:
    """Return the running engine of a checkpoint; raises `CheckpointError` when it cannot be loaded."""
    key = f"{checkpoint.folder}\n{checkpoint.digest}\n{checkpoint.dtype}\n{checkpoint.device}"
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            engine = _load(checkpoint)
            engine.start()
            _engines[key] = engine
        return engine


def _load(checkpoint: Checkpoint) -> Backend:
    if checkpoint.backend == BackendChoice.REMOTE:
        return RemoteEngine(RemoteServer(**checkpoint.remote), private_hosts=settings.REMOTE_PRIVATE_HOSTS)
    from webapp.inference import InferenceEngine, load_checkpoint  # needs torch, which web processes do without
    from webapp.inference.causal import load_causal_model
    from webapp.inference.causal_engine import CausalEngine

    dtype, device = checkpoint.dtype or settings.INFERENCE_DTYPE, checkpoint.device or settings.INFERENCE_DEVICE
    if checkpoint.backend == BackendChoice.TRANSFORMERS:
        model = load_causal_model(checkpoint.folder, dtype=dtype, device=device)
        log.info("checkpoint loaded", checkpoint=checkpoint.slug, n_parameters=model.n_parameters)
        return CausalEngine(model)
    loaded = load_checkpoint(checkpoint.folder, dtype=dtype, device=device, experts_file=checkpoint.experts_path)
    log.info("checkpoint loaded", checkpoint=checkpoint.slug, n_parameters=loaded.n_parameters)
    return InferenceEngine(loaded)


def close_engines() -> None:
    """End all engines of this process; their requests end as cancelled."""
    with _lock:
        for engine in _engines.values():
            engine.close()
        _engines.clear()


def warm_up() -> None:
    """Load the default checkpoint and make one token, so that the first visitor does not wait."""
    checkpoint = Checkpoint.objects.filter(slug=settings.DEFAULT_CHECKPOINT).first() or Checkpoint.objects.first()
    if checkpoint is None or checkpoint.backend == BackendChoice.REMOTE:
        return
    engine = engine_for(checkpoint)
    request = GenerationRequest("warm", frozenset(engine.expert_slugs), max_tokens=2)
    for _ in engine.submit(request):
        pass


@lru_cache(maxsize=8)
def tokenizer_for(folder: str, digest: str) -> Tokenizer:
    """Return a checkpoint's tokenizer without its weights, to count a prompt's tokens."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
