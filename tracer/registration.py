"""Registers index folders: those that this site built, and those that were built elsewhere, where they lie."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import transaction

from tracer import publication
from tracer.engine import IndexFileError, IndexReader, add_samples, adopt_index, validate_index
from tracer.engine.layout import MANIFEST, read_manifest
from tracer.engine.tokens import load_tokenizer
from tracer.models import Corpus, Index
from webapp.errors import BadInputError, ConflictError


def register_folder(corpus: Corpus, folder: Path) -> Index:
    """Register an index folder that has a manifest; one that is known already is switched on."""
    reader = IndexReader.open(folder)
    data_dir = Path(settings.DATA_DIR)
    path = folder.relative_to(data_dir) if folder.is_relative_to(data_dir) else folder
    with transaction.atomic():
        index, is_new = Index.objects.get_or_create(
            digest=reader.digest,
            defaults={
                "corpus": corpus,
                "path": str(path),
                "tokenizer_digest": reader.manifest.tokenizer_digest,
                "n_tokens": reader.n_tokens,
                "n_documents": reader.n_documents,
                "n_shards": reader.manifest.n_shards,
            },
        )
        if not is_new and index.corpus_id != corpus.pk:
            raise ConflictError(f"This very index belongs to corpus {index.corpus.slug!r} already.")
        if is_new:
            publication.log_index(index, "registered")
        elif not index.is_enabled:
            index.is_enabled = True
            index.save(update_fields=["is_enabled"])
            publication.log_index(index, "enabled")
    return index


def digest_of(folder: Path) -> str:
    """Return the digest of an index folder with a manifest."""
    return read_manifest(folder).digest


def checked_folder(slug: str, folder: Path, tokenizer: Path | None, *, is_bytes: bool) -> Path:
    """Check an index folder fully; return one with a manifest: itself, or a new one of links under the data folder.

    Raises `BadInputError` with the file, the reason and what to do; nothing is left behind then.
    """
    if tokenizer is not None and is_bytes:
        raise BadInputError("Give either --tokenizer or --bytes.", field="tokenizer")
    if tokenizer is not None and not tokenizer.is_file():
        raise BadInputError(f"There is no tokenizer file {tokenizer}. Give a tokenizer.json.", field="tokenizer")
    try:
        if (folder / MANIFEST).exists():
            manifest = validate_index(folder)
            if tokenizer is not None and load_tokenizer(tokenizer).digest != manifest.tokenizer_digest:
                raise BadInputError(f"{tokenizer} is not the tokenizer of this index. Leave it out.", field="tokenizer")
            with suppress(OSError):  # a folder that may only be read is searched without them
                add_samples(folder, manifest)
            return folder.resolve()
        if tokenizer is None and not is_bytes:
            raise BadInputError(
                f"{folder} has no {MANIFEST}, so it was built elsewhere. Say with which tokenizer: "
                "--tokenizer tokenizer.json, or --bytes.",
                field="tokenizer",
            )
        return _adopted(Path(settings.DATA_DIR) / "indexes" / slug, folder.resolve(), tokenizer)
    except IndexFileError as error:
        raise BadInputError(f"{error.path}: {error}") from error


def _adopted(root: Path, source: Path, tokenizer: Path | None) -> Path:
    folder = root / f"new-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        adopt_index(source, folder, tokenizer)
        final = root / digest_of(folder)[:16]
        if not final.exists():
            folder.rename(final)
        return final
    finally:
        shutil.rmtree(folder, ignore_errors=True)
