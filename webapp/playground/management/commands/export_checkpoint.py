"""`manage.py export_checkpoint`: write a checkpoint that holds only some experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webapp.commands import FairgroundCommand
from webapp.inference import CheckpointError, reduce_checkpoint
from webapp.playground import services


class Command(FairgroundCommand):
    """Write a valid transformers checkpoint of a subset, to serve elsewhere."""

    help = "Write a transformers checkpoint without the other experts' weights and router rows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("out", type=Path)
        parser.add_argument("--experts", required=True, help="comma-separated slugs to keep")

    def run(self, **options: Any) -> None:
        checkpoint = services.default_checkpoint(options["slug"])
        try:
            reduce_checkpoint(checkpoint.folder, options["out"], options["experts"].split(","))
        except CheckpointError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(options["out"]))
