"""Benchmarks: stored when they are sent, deleted with their last bulletin unless the site keeps them by name."""

from __future__ import annotations

import re
import uuid

from django.db import IntegrityError, transaction

from tracer.benchmark_files import digest_of, read_items
from tracer.engine.windows import n_windows
from tracer.models import Benchmark, BenchmarkItem
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.ownership import NOBODY, Author, Visibility, ownership
from webapp.text import storable

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
MAX_TITLE_CHARACTERS = 200
MAX_NAME_CHARACTERS = 100


def store_benchmark(
    *,
    content: bytes,
    field: str,
    title: str,
    slug: str = "",
    author: Author = NOBODY,
    visibility: str = Visibility.LINK,
) -> Benchmark:
    """Store a benchmark's items; with a slug everybody may name it. Raises `BadInputError`, `ConflictError`."""
    title = storable(title).strip()
    if not title or len(title) > MAX_TITLE_CHARACTERS:
        raise BadInputError(f"Give a title of at most {MAX_TITLE_CHARACTERS} characters.", field="title")
    if slug and not SLUG.fullmatch(slug):
        raise BadInputError(f"{slug!r} is no slug: use a–z, 0–9, - and _, at most 60.", field="slug")
    owned, items = ownership(author, visibility), read_items(content, storable(field))
    try:
        with transaction.atomic():
            benchmark: Benchmark = Benchmark.objects.create(
                slug=slug or None,
                title=title,
                field=storable(field),
                digest=digest_of(items),
                n_items=len(items),
                n_windows=[n_windows(item.text) for item in items],
                **owned,
            )
            BenchmarkItem.objects.bulk_create(
                (
                    BenchmarkItem(benchmark=benchmark, number=number, key=item.key, text=item.text)
                    for number, item in enumerate(items)
                ),
                batch_size=500,
            )
    except IntegrityError:
        raise ConflictError(f"There is a benchmark {slug!r} already. Choose another slug.") from None
    return benchmark


def get_benchmark(name: str, *, author: Author) -> Benchmark:
    """Return a benchmark by slug or id that this author may measure; raises `NotFoundError`."""
    benchmark: Benchmark | None = None
    if len(name) <= MAX_NAME_CHARACTERS and "\0" not in name:
        benchmark = Benchmark.objects.filter(slug=name).first()
        if benchmark is None and (identifier := _as_uuid(name)):
            benchmark = Benchmark.objects.readable_by(author).filter(pk=identifier).first()
    if benchmark is None:
        known = ", ".join(Benchmark.objects.exclude(slug=None).values_list("slug", flat=True)[:50]) or "none"
        raise NotFoundError(f"There is no such benchmark, or it is private. By name there are: {known}.")
    return benchmark


def delete_unused(benchmark: Benchmark) -> None:
    """Delete a benchmark that has no name and no bulletin left."""
    if benchmark.slug is None and not benchmark.bulletins.exists():
        benchmark.delete()


def _as_uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
