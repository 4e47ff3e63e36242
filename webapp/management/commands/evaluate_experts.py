"""`manage.py evaluate_experts`: loss per domain × mask, and who is routed where."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from webapp.management.training import TrainingCommand, find_checkpoint, read_domains


class Command(TrainingCommand):
    """Measure a checkpoint on held-out documents under the masks of interest."""

    help = "Print the loss on each domain under the masks of interest, and the routing shares."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("checkpoint", help="a folder or a slug")
        parser.add_argument("--domain", nargs="+", required=True, metavar="NAME=FILE")
        parser.add_argument("--device", default="auto")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def train(self, **options: Any) -> None:
        from webapp.inference.training.stages import evaluate_experts

        tables = evaluate_experts(
            find_checkpoint(options["checkpoint"]), read_domains(options["domain"]), device=options["device"]
        )
        is_json = options["format"] == "json"
        self.stdout.write(json.dumps(asdict(tables), indent=2) if is_json else tables.to_markdown())
