"""Registering checkpoints: folders, published ones from the hub, servers elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.inference import CheckpointCard, CheckpointError, InferenceError
from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.chat_template import read_chat_template
from webapp.inference.contributions import ContributionRecord, read_contributions
from webapp.inference.hub import fetch_from_hub
from webapp.inference.remote import RemoteEngine, RemoteServer
from webapp.playground.models import BackendChoice, Checkpoint, Expert
from webapp.playground.publication import log_withdrawn
from webapp.text import storable

if TYPE_CHECKING:
    from webapp.inference import LoadedCheckpoint
    from webapp.inference.causal import CausalModel

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,58}[a-z0-9])?")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
THINKING_TEXTS = {"start": "<think>", "end": "</think>", "wait": "Wait"}


def add_checkpoint(
    *,
    slug: str,
    path: Path | str,
    experts_file: Path | None = None,
    dtype: str = "",
    device: str = "",
    revision: str | None = None,
    thinks: bool = False,
    announce: Announce = say_nothing,
) -> Checkpoint:
    """Load a checkpoint once to check it, and register it with its experts.

    `path` is a folder, or a hub id (owner/name), which is downloaded. A FlexOlmo gets its experts'
    names from `experts_file`, else from its own experts.json; other architectures have none.
    `announce` is told sizes before anything is downloaded or loaded. Raises `BadInputError` with
    the file and the reason when it cannot be had or loaded, `ConflictError` for a known slug.
    """
    from webapp.inference import LoadedCheckpoint  # needs torch, which web processes do without
    from webapp.inference.causal import model_type_of
    from webapp.inference.matrices import check_contributions

    check_new_slug(slug)
    try:
        folder, source = _find(slug, path, revision, announce)
        is_flex_olmo = model_type_of(folder) == "flex_olmo"
        if experts_file is not None and not is_flex_olmo:
            raise BadInputError("Only a FlexOlmo has experts to name. Leave --experts out.", field="experts")
        contributions = read_contributions(folder)
        loaded = _load(folder, is_flex_olmo, experts_file, dtype, device, announce)
        if isinstance(loaded, LoadedCheckpoint):
            check_contributions(folder, loaded.card, contributions)
    except CheckpointError as error:
        raise BadInputError(str(error)) from error
    with transaction.atomic():
        checkpoint = Checkpoint.objects.create(
            slug=slug,
            backend=BackendChoice.FLEX_OLMO if is_flex_olmo else BackendChoice.TRANSFORMERS,
            path=str(folder.resolve()),
            source=source,
            experts_file=_keep_experts_file(slug, experts_file),
            dtype=dtype,
            device=device,
            is_chat=read_chat_template(folder) is not None,
            thinking=THINKING_TEXTS if thinks else {},
            digest=loaded.digest,
            context_length=loaded.context_length,
            opt_out_exact=isinstance(loaded, LoadedCheckpoint) and loaded.card.opt_out_exact,
        )
        if isinstance(loaded, LoadedCheckpoint):
            _add_experts(checkpoint, loaded.card, contributions)
            log_withdrawn(checkpoint)
    return checkpoint


def refresh_contributions(checkpoint: Checkpoint) -> None:
    """Take up the record of contributions that came into a registered checkpoint's folder, or changed there.

    Raises `BadInputError` with the file and the reason when it cannot be used or is of other weights.
    """
    from webapp.inference.card import read_checkpoint_card
    from webapp.inference.matrices import check_contributions

    try:
        records = read_contributions(checkpoint.folder)
        card = read_checkpoint_card(checkpoint.folder, checkpoint.experts_path)
        check_contributions(checkpoint.folder, card, records)
    except CheckpointError as error:
        raise BadInputError(str(error)) from error
    experts = list(checkpoint.experts.all())
    for expert in experts:
        expert.contribution = _contribution(expert.slug, records)
    Expert.objects.bulk_update(experts, ["contribution"])


def add_remote_checkpoint(*, slug: str, server: RemoteServer) -> Checkpoint:
    """Ask a server whether it has the model, and register it. It has no experts to switch.

    Raises `BadInputError` when the address may not be used, the server cannot be reached, refuses
    the key or does not list the model. The digest is of address and model name: what stands
    behind them may change without notice.
    """
    check_new_slug(slug)
    try:
        with closing(RemoteEngine(server, private_hosts=settings.REMOTE_PRIVATE_HOSTS)) as engine:
            known = engine.list_models()
    except InferenceError as error:
        raise BadInputError(str(error)) from error
    if known is not None and server.model not in known:
        raise BadInputError(f"The server has no model {server.model!r}. It lists {', '.join(known[:20]) or 'none'}.")
    identity = json.dumps({"url": server.url, "model": server.model, "is_chat": server.is_chat}, sort_keys=True)
    return Checkpoint.objects.create(
        slug=slug,
        backend=BackendChoice.REMOTE,
        source=f"{server.model} at {urlsplit(server.url).hostname}",
        is_chat=server.is_chat,
        remote=asdict(server),
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        context_length=0,
    )


def check_new_slug(slug: str) -> None:
    """Raise `BadInputError` for a malformed slug, `ConflictError` for a known one."""
    if not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    if Checkpoint.objects.filter(slug=slug).exists():
        raise ConflictError(f"There is a checkpoint {slug!r} already. Choose another slug.")


def _find(slug: str, path: Path | str, revision: str | None, announce: Announce) -> tuple[Path, str]:
    """Return the folder of a checkpoint and where it came from; download what is not a folder."""
    folder = Path(path)
    if folder.is_dir():
        return folder, ""
    if isinstance(path, Path) or not HUB_ID.fullmatch(path):
        raise BadInputError(f"{path} is neither a folder nor a hub id like allenai/FlexOlmo-7x7B-1T.", field="path")
    found = fetch_from_hub(path, Path(settings.DATA_DIR) / "checkpoints" / slug, revision=revision, announce=announce)
    return found.folder, f"{found.hub_id}@{found.revision}"


def _load(
    folder: Path, is_flex_olmo: bool, experts_file: Path | None, dtype: str, device: str, announce: Announce
) -> LoadedCheckpoint | CausalModel:
    from webapp.inference import load_checkpoint
    from webapp.inference.causal import load_causal_model

    options: dict[str, Any] = {
        "dtype": dtype or settings.INFERENCE_DTYPE,
        "device": device or settings.INFERENCE_DEVICE,
        "announce": announce,
    }
    if is_flex_olmo:
        return load_checkpoint(folder, experts_file=experts_file, **options)
    return load_causal_model(folder, **options)


def _keep_experts_file(slug: str, experts_file: Path | None) -> str:
    """Copy the experts' names into the data folder, so that workers find them; return the relative path."""
    if experts_file is None:
        return ""
    stored = Path("checkpoints") / f"{slug}.experts.json"
    target = Path(settings.DATA_DIR) / stored
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    shutil.copyfile(experts_file, partial)
    partial.replace(target)
    return str(stored)


def _add_experts(checkpoint: Checkpoint, card: CheckpointCard, contributions: Mapping[str, ContributionRecord]) -> None:
    Expert.objects.bulk_create(
        Expert(
            checkpoint=checkpoint,
            position=position,
            slug=expert.slug,
            title=expert.title,
            owner=expert.owner,
            corpus_slug=expert.corpus or "",
            licence=expert.licence,
            contribution=_contribution(expert.slug, contributions),
        )
        for position, expert in enumerate(card.experts)
    )


def _contribution(slug: str, records: Mapping[str, ContributionRecord]) -> dict[str, Any]:
    return records[slug].to_dict() if slug in records else {}


def default_checkpoint(slug: str | None = None) -> Checkpoint:
    """Return the named checkpoint, else the configured default, else the first one."""
    wanted = slug or settings.DEFAULT_CHECKPOINT
    found = Checkpoint.objects.filter(slug=storable(wanted)).first() if wanted else Checkpoint.objects.first()
    if found is None:
        known = ", ".join(Checkpoint.objects.values_list("slug", flat=True))
        if known:
            raise NotFoundError(f"There is no checkpoint {wanted!r}. Known: {known}.")
        raise NotFoundError("There is no checkpoint yet. The operator adds one with manage.py add_checkpoint.")
    return found
