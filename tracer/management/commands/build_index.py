"""`manage.py build_index`: build an infini-gram index over a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from tqdm import tqdm

from tracer import services
from tracer.engine import BuildProgress
from webapp.commands import FairgroundCommand

DEFAULT_TOKENIZER = Path(__file__).resolve().parents[3] / "webapp" / "demo" / "checkpoint" / "tokenizer.json"


class Command(FairgroundCommand):
    """Show progress on standard error, print the index's digest."""

    help = "Build an index over a corpus; an interrupted build leaves nothing behind."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--tokenizer", type=Path, default=DEFAULT_TOKENIZER, help="tokenizer.json, byte-level")
        parser.add_argument("--shards", type=int, default=1)

    def run(self, **options: Any) -> None:
        n_documents = services.get_corpus(options["slug"]).n_documents
        with tqdm(total=n_documents + options["shards"], unit="step", file=self.stderr, disable=None) as bar:

            def show(progress: BuildProgress) -> None:
                bar.n = progress.n_documents + progress.n_shards_done
                bar.refresh()

            index = services.build_corpus_index(
                slug=options["slug"], tokenizer=options["tokenizer"], n_shards=options["shards"], progress=show
            )
        self.stdout.write(index.digest)
