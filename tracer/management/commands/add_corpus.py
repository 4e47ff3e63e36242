"""`manage.py add_corpus`: register a file of documents as a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tracer import services
from tracer.models import DisclosureChoice
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Check every line, copy the file, print the corpus's slug."""

    help = "Register a corpus from JSON lines (.jsonl, .gz, .zst): a file, a folder or a glob."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("file", type=Path, help="a file, a folder or a quoted glob")
        parser.add_argument("--owner", required=True)
        parser.add_argument("--licence", required=True)
        parser.add_argument("--title", required=True)
        parser.add_argument("--disclosure", choices=DisclosureChoice.values, default="full")
        parser.add_argument("--provenance", default="")
        parser.add_argument("--group", default="", help="group of users who see the corpus in full")
        parser.add_argument("--in-place", action="store_true", help="leave the files where they are, do not copy them")

    def run(self, **options: Any) -> None:
        names = ("slug", "file", "owner", "licence", "title", "disclosure", "provenance", "group", "in_place")
        corpus = services.add_corpus(**{name: options[name] for name in names})
        self.stdout.write(f"{corpus.slug}: {corpus.n_documents} documents")
