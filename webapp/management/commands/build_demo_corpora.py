"""`manage.py build_demo_corpora`: five corpora and their indexes from the text of installed packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tracer import services
from webapp.demo.harvest import DEMO_CORPORA, DemoCorpus, harvest_corpus
from webapp.errors import FairgroundError

TOKENIZER = Path(__file__).resolve().parents[2] / "demo" / "checkpoint" / "tokenizer.json"


class Command(BaseCommand):
    """Harvest, register and index the demonstration corpora; what exists already is kept."""

    help = "Make the demonstration corpora and their indexes from the documentation of installed packages."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", help="comma-separated slugs instead of all")
        parser.add_argument("--no-index", action="store_true", help="write and register the files only")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = set(options["only"].split(",")) if options["only"] else {c.slug for c in DEMO_CORPORA}
        unknown = wanted - {corpus.slug for corpus in DEMO_CORPORA}
        if unknown:
            raise CommandError(f"unknown corpus {sorted(unknown)[0]!r}: choose from {[c.slug for c in DEMO_CORPORA]}")
        for corpus in DEMO_CORPORA:
            if corpus.slug in wanted:
                try:
                    self._build(corpus, with_index=not options["no_index"])
                except FairgroundError as error:
                    raise CommandError(str(error)) from error

    def _build(self, corpus: DemoCorpus, *, with_index: bool) -> None:
        from tracer.models import Corpus

        row = Corpus.objects.filter(slug=corpus.slug).first()
        if row is None:
            file = _write_documents(corpus)
            row = services.add_corpus(
                slug=corpus.slug,
                file=file,
                owner=corpus.owner,
                licence=corpus.licence,
                title=corpus.title,
                disclosure="full",
            )
        if with_index and not row.indexes.filter(is_enabled=True).exists():
            services.build_corpus_index(slug=corpus.slug, tokenizer=TOKENIZER, n_shards=1)
        self.stdout.write(corpus.slug)


def _write_documents(corpus: DemoCorpus) -> Path:
    """Write a corpus's documents as JSON lines, whole or not at all; return the file."""
    folder = settings.DATA_DIR / "harvest"
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(folder) / f"{corpus.slug}.jsonl"
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        for document in harvest_corpus(corpus.slug):
            out.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    partial.replace(file)
    return file
