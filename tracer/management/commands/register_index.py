"""`manage.py register_index`: use an index that was built elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tracer import services
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Check an index folder fully and register it where it lies."""

    help = "Check an index folder fully and register it for a corpus."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("folder", type=Path)

    def run(self, **options: Any) -> None:
        self.stdout.write(services.register_index(slug=options["slug"], folder=options["folder"]).digest)
