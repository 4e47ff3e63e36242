"""One inference engine a checkpoint in this process, loaded at first use."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.db import connections
from tokenizers import Tokenizer

from webapp.inference import GenerationRequest, InferenceError
from webapp.inference.backend import Backend
from webapp.inference.remote import RemoteEngine, RemoteServer
from webapp.playground.availability import resident_slugs, withdrawn_slugs
from webapp.playground.models import BackendChoice, Checkpoint

if TYPE_CHECKING:
    from webapp.inference import InferenceEngine

log = structlog.get_logger(__name__)
WATCH_S = 1.5
ROWS_ON_CPU, ROWS_ON_GPU = 8, 32


@dataclass(frozen=True)
class _Running:
    """An engine; `flex_olmo` is the same one where experts can be withheld from it."""

    checkpoint_id: int
    engine: Backend
    flex_olmo: InferenceEngine | None = None


_engines: dict[str, _Running] = {}
_lock = threading.Lock()
_is_over = threading.Event()


def engine_for(checkpoint: Checkpoint, experts: Collection[str] = ()) -> Backend:
    """Return the running engine of a checkpoint, without what owners have withdrawn from it.

    `experts` are needed: those that an owner lets be used again are waited for.
    Raises `CheckpointError` when it cannot be loaded.
    """
    key = f"{checkpoint.folder}\n{checkpoint.digest}\n{checkpoint.dtype}\n{checkpoint.device}"
    with _lock:
        running = _engines.get(key)
        if running is None:
            running = _load(checkpoint)
            running.engine.start()
            _engines[key] = running
    _withhold(running, checkpoint, wanted=experts)
    return running.engine


def _load(checkpoint: Checkpoint) -> _Running:
    if checkpoint.backend == BackendChoice.REMOTE:
        server = RemoteServer(**checkpoint.remote)
        return _Running(checkpoint.pk, RemoteEngine(server, private_hosts=settings.REMOTE_PRIVATE_HOSTS))
    from webapp.inference import InferenceEngine, load_checkpoint  # needs torch, which web processes do without
    from webapp.inference.causal import load_causal_model
    from webapp.inference.causal_engine import CausalEngine

    dtype, device = checkpoint.dtype or settings.INFERENCE_DTYPE, checkpoint.device or settings.INFERENCE_DEVICE
    if checkpoint.backend == BackendChoice.TRANSFORMERS:
        model = load_causal_model(checkpoint.folder, dtype=dtype, device=device)
        log.info("checkpoint loaded", checkpoint=checkpoint.slug, n_parameters=model.n_parameters)
        n_rows = _n_rows(model.model.device.type)
        return _Running(checkpoint.pk, CausalEngine(model, n_rows, max_cache_bytes=_cache_bytes()))
    resident = resident_slugs(checkpoint)
    loaded = load_checkpoint(
        checkpoint.folder,
        dtype=dtype,
        device=device,
        experts_file=checkpoint.experts_path,
        resident_experts=None if resident is None else sorted(resident),
        withheld_experts=withdrawn_slugs(checkpoint),
        multiply=settings.INFERENCE_MULTIPLY,
    )
    log.info(
        "checkpoint loaded",
        checkpoint=checkpoint.slug,
        n_parameters=loaded.n_parameters,
        experts=loaded.available_slugs,
        products=loaded.decoder.way,
    )
    engine = InferenceEngine(
        loaded,
        _n_rows(loaded.decoder.device.type),
        n_threads=settings.INFERENCE_THREADS or None,
        max_cache_bytes=_cache_bytes(),
    )
    return _Running(checkpoint.pk, engine, engine)


def _n_rows(device: str) -> int:
    return settings.INFERENCE_ROWS or (ROWS_ON_GPU if device == "cuda" else ROWS_ON_CPU)


def _cache_bytes() -> int | None:
    return int(settings.INFERENCE_CACHE_GB * 1e9) or None


def honour_opt_outs() -> None:
    """Bring the engines of this process to what owners have said: experts out of memory, or back in."""
    with _lock:
        running = list(_engines.values())
    if not running:
        return
    checkpoints = Checkpoint.objects.in_bulk([one.checkpoint_id for one in running])
    for one in running:
        checkpoint = checkpoints.get(one.checkpoint_id)
        if checkpoint is not None:
            _withhold(one, checkpoint)


def _withhold(running: _Running, checkpoint: Checkpoint, *, wanted: Collection[str] | None = None) -> None:
    """Take out what is withdrawn; put back what is not any more, as far as it is `wanted` (None: all)."""
    engine = running.flex_olmo
    if engine is None:
        return
    withdrawn, withheld = withdrawn_slugs(checkpoint), engine.checkpoint.withheld
    gone = (withdrawn & frozenset(engine.checkpoint.expert_slugs)) - withheld
    if gone:
        engine.withhold(gone)
        log.info("experts withheld", checkpoint=checkpoint.slug, experts=sorted(gone))
    back = withheld - withdrawn
    if wanted is not None:
        back &= frozenset(wanted)
    if back:
        try:
            engine.restore(back)
            log.info("experts restored", checkpoint=checkpoint.slug, experts=sorted(back))
        except InferenceError as error:
            log.warning("an expert could not be loaded again", checkpoint=checkpoint.slug, error=str(error))


def close_engines() -> None:
    """End all engines of this process; their requests end as cancelled."""
    with _lock:
        for one in _engines.values():
            one.engine.close()
        _engines.clear()


def start_watch() -> None:
    """Start the thread that honours opt-outs made by other processes; workers do when they are ready."""
    _is_over.clear()
    threading.Thread(target=_keep_watch, name="opt-out-watch", daemon=True).start()


def stop_watch() -> None:
    """Let that thread end at its next look."""
    _is_over.set()


def _keep_watch() -> None:
    while not _is_over.wait(WATCH_S):
        try:
            honour_opt_outs()
        except Exception:
            log.warning("opt-outs could not be looked up; trying again", exc_info=True)
        finally:
            connections.close_all()


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
