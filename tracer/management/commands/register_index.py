"""`manage.py register_index`: use an index that was built elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tracer import services
from tracer.models import DisclosureChoice
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Check an infini-gram v4 folder fully, register it where it lies, print its digest."""

    help = "Check an infini-gram v4 index folder fully and register it for a corpus, which is made when it is new."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("folder", type=Path)
        parser.add_argument("--tokenizer", type=Path, help="tokenizer.json with which it was built, byte-level")
        parser.add_argument("--bytes", action="store_true", help="it is of UTF-8 bytes (u8), without a tokenizer")
        new = parser.add_argument_group("a new corpus", "for an index whose text is not here")
        new.add_argument("--owner")
        new.add_argument("--licence")
        new.add_argument("--title")
        new.add_argument("--disclosure", choices=DisclosureChoice.values, default="full")
        new.add_argument("--provenance", default="")
        new.add_argument("--group", default="", help="group of users who see the corpus in full")

    def run(self, **options: Any) -> None:
        given = [options[name] is not None for name in ("owner", "licence", "title")]
        if any(given) and not all(given):
            raise CommandError("A new corpus needs --owner, --licence and --title.")
        names = ("owner", "licence", "title", "disclosure", "provenance", "group")
        index = services.register_index(
            slug=options["slug"],
            folder=options["folder"],
            tokenizer=options["tokenizer"],
            is_bytes=options["bytes"],
            about={name: options[name] for name in names} if any(given) else None,
        )
        self.stdout.write(index.digest)
