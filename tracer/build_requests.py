"""Builds that operators ask for from page and interface: what may be named, and who may ask.

Nobody sends a path. A tokenizer is named as it stands in the list of files below the folders in
FAIRGROUND_TOKENIZERS, and a build reads the files that its corpus was added with. Knows nothing of HTTP.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from django.conf import settings
from django.db import transaction

from tracer import builds
from tracer.models import Corpus, IndexBuild
from webapp.errors import BadInputError, ConflictError, ForbiddenError
from webapp.jobs import FINAL
from webapp.ownership import Author
from webapp.queueing import check_room

DEFAULT_TOKENIZER = "demonstration"
DEMONSTRATION = Path(__file__).resolve().parents[1] / "webapp" / "demo" / "checkpoint" / "tokenizer.json"
MAX_LISTED, MAX_SEEN = 200, 20_000
MAX_SHARDS = 1024


def tokenizers() -> dict[str, Path]:
    """Return the tokenizers that may be named: the demonstration's, and every .json below the configured folders.

    A link that leads out of its folder is left out.
    """
    found = {DEFAULT_TOKENIZER: DEMONSTRATION}
    for folder in settings.TOKENIZER_FOLDERS:
        root = Path(folder).resolve()
        for n_seen, path in enumerate(sorted(root.rglob("*.json")) if root.is_dir() else []):
            if len(found) >= MAX_LISTED or n_seen >= MAX_SEEN:
                break
            real = Path(os.path.realpath(path))  # unlike Path.resolve it bears loops
            if real.is_file() and real.is_relative_to(root):
                found.setdefault(f"{root.name}/{path.relative_to(root).as_posix()}", real)
    return found


def request_build(
    *,
    slug: str,
    author: Author,
    tokenizer: str = DEFAULT_TOKENIZER,
    is_bytes: bool = False,
    folds_case: bool = False,
    n_shards: int | None = None,
) -> IndexBuild:
    """Store a build and queue its shards. For operators; raises `ForbiddenError`, `BadInputError`, `ConflictError`."""
    _require_operator(author)
    if n_shards is not None and not 1 <= n_shards <= MAX_SHARDS:
        raise BadInputError(f"{n_shards} shards: give from 1 to {MAX_SHARDS}, or none.", field="shards")
    if folds_case and not is_bytes:
        raise BadInputError("Only an index of bytes can fold case.", field="folds_case")
    path = None if is_bytes else tokenizers().get(tokenizer)
    if path is None and not is_bytes:
        known = ", ".join(tokenizers())
        raise BadInputError(f"There is no tokenizer {tokenizer!r}. Choose from {known}.", field="tokenizer")
    check_room(IndexBuild)
    with transaction.atomic():
        corpus = Corpus.objects.select_for_update().filter(slug=slug).first()
        if corpus is not None and IndexBuild.objects.filter(corpus=corpus).exclude(status__in=FINAL).exists():
            raise ConflictError(f"An index of corpus {slug!r} is being built already. Wait for it, or discard it.")
        build = builds.start_build(slug=slug, tokenizer=path, n_shards=n_shards, folds_case=folds_case)
        builds.queue_build(build)
    return build


def request_resume(build_id: uuid.UUID | str, *, author: Author) -> IndexBuild:
    """Queue the unfinished shards of a failed build again. For operators."""
    _require_operator(author)
    with transaction.atomic():
        build = builds.resume_build(build_id)
        builds.queue_build(build)
    return build


def request_discard(build_id: uuid.UUID | str, *, author: Author) -> IndexBuild:
    """Give a build up and remove its files. For operators."""
    _require_operator(author)
    builds.discard_build(build_id)
    return builds.get_build(build_id)


def _require_operator(author: Author) -> None:
    if not author.is_operator:
        raise ForbiddenError("Only operators build indexes. Ask one, or have the role operator given to you.")
