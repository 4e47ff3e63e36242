"""`manage.py change_disclosure`: decide how much of a corpus is shown, and who sees all of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tracer import services
from tracer.models import DisclosureChoice
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Change the disclosure of a corpus, for earlier traces too."""

    help = "Change how much of a corpus is shown, at once and for earlier traces too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("disclosure", choices=DisclosureChoice.values)
        parser.add_argument("--group", help="group of users who see the corpus in full; empty for none")

    def run(self, **options: Any) -> None:
        corpus = services.change_disclosure(
            slug=options["slug"], disclosure=options["disclosure"], group=options["group"]
        )
        self.stdout.write(f"{corpus.slug}: {corpus.get_disclosure_display()}")
