"""`manage.py add_checkpoint`: register a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.playground import services


class Command(FairgroundCommand):
    """Check that a checkpoint loads, register it, print its digest."""

    help = "Register a FlexOlmo checkpoint folder (safetensors, config.json, tokenizer.json, experts.json)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("path", type=Path)

    def run(self, **options: Any) -> None:
        self.stdout.write(services.add_checkpoint(slug=options["slug"], path=options["path"]).digest)
