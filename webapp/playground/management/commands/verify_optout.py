"""`manage.py verify_optout`: compare switching experts off with removing them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webapp.commands import FairgroundCommand
from webapp.inference import CheckpointError, verify_optout
from webapp.playground import services

TEXTS = ("Return the sum of the elements along an axis.", "class View\n\nHandle a request.", "Solve an equation.")


class Command(FairgroundCommand):
    """Print the largest difference of any logit."""

    help = "Compare masked logits with those of a checkpoint from which the other experts were removed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--experts", required=True, help="comma-separated slugs that stay on")

    def run(self, **options: Any) -> None:
        checkpoint = services.default_checkpoint(options["slug"])
        try:
            proof = verify_optout(checkpoint.folder, options["experts"].split(","), TEXTS)
        except CheckpointError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(asdict(proof)))
