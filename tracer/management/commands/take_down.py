"""`manage.py take_down`: hide a document everywhere at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from tracer import services
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Hide one document and leave a tombstone with the reason."""

    help = "Hide a document everywhere at once, without a rebuild."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("corpus")
        parser.add_argument("document")
        parser.add_argument("--reason", required=True)

    def run(self, **options: Any) -> None:
        row = services.take_down(corpus=options["corpus"], document=options["document"], reason=options["reason"])
        self.stdout.write(str(row))
