"""`manage.py build_demo_corpora`: five corpora and their indexes from the text of installed packages."""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tracer import services
from tracer.models import Corpus
from webapp.demo.harvest import DEMO_CORPORA, DemoCorpus, write_corpus_file
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
        chosen = [corpus for corpus in DEMO_CORPORA if corpus.slug in wanted]
        known = set(Corpus.objects.values_list("slug", flat=True))
        folder = settings.DATA_DIR / "harvest"
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
            files = {c.slug: pool.submit(write_corpus_file, c.slug, folder) for c in chosen if c.slug not in known}
            for corpus in chosen:
                try:
                    self._build(corpus, files.get(corpus.slug), with_index=not options["no_index"])
                except FairgroundError as error:
                    raise CommandError(str(error)) from error

    def _build(self, corpus: DemoCorpus, harvested: Future[Path] | None, *, with_index: bool) -> None:
        if harvested is None:
            row = services.get_corpus(corpus.slug)
        else:
            file = harvested.result()
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
