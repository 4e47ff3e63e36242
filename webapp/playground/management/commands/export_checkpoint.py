"""`manage.py export_checkpoint`: write a checkpoint that holds only some experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webapp.commands import FairgroundCommand
from webapp.errors import ConflictError
from webapp.inference import CheckpointError, reduce_checkpoint
from webapp.playground import services
from webapp.playground.availability import why_unavailable, withdrawn_slugs


class Command(FairgroundCommand):
    """Write a valid transformers checkpoint of a subset, to serve elsewhere."""

    help = "Write a transformers checkpoint without the other experts' weights and router rows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("out", type=Path)
        parser.add_argument("--experts", required=True, help="comma-separated slugs to keep")
        parser.add_argument("--shard-gb", type=float, default=4.0, help="largest weight file in GB")
        parser.add_argument(
            "--before-tuning", action="store_true", help="take the router's rows from before they were tuned together"
        )

    def run(self, **options: Any) -> None:
        checkpoint = services.default_checkpoint(options["slug"])
        kept = [slug for slug in options["experts"].split(",") if slug]
        withdrawn = withdrawn_slugs(checkpoint)
        for slug in kept:
            if slug in withdrawn:
                raise ConflictError(why_unavailable(checkpoint, slug))
        try:
            reduce_checkpoint(
                checkpoint.folder,
                options["out"],
                kept,
                experts_file=checkpoint.experts_path,
                max_shard_bytes=max(1, int(options["shard_gb"] * 1e9)),
                before_tuning=options["before_tuning"],
            )
        except CheckpointError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(options["out"]))
