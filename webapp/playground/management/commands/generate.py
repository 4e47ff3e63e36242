"""`manage.py generate`: make one answer in this process."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webapp.commands import FairgroundCommand
from webapp.jobs import JobStatus
from webapp.playground import services
from webapp.playground.models import Generation


class Command(FairgroundCommand):
    """Print the answer alone on standard output."""

    help = "Continue a prompt with chosen experts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prompt", required=True)
        parser.add_argument("--experts", help="comma-separated slugs (default: all)")
        parser.add_argument("--max-tokens", type=int, default=128)
        parser.add_argument("--temperature", type=float, default=0.7)
        parser.add_argument("--top-p", type=float, default=0.95)
        parser.add_argument("--seed", type=int)
        parser.add_argument("--checkpoint")
        parser.add_argument("--format", choices=["json", "text"], default="text")

    def run(self, **options: Any) -> None:
        experts = None if options["experts"] is None else [e for e in options["experts"].split(",") if e]
        names = ("prompt", "max_tokens", "temperature", "top_p", "seed", "checkpoint")
        generation = services.start_generation(experts=experts, **{name: options[name] for name in names})
        services.run_generation(generation.id)
        generation.refresh_from_db()
        if generation.status != JobStatus.DONE:
            raise CommandError(generation.error or f"the generation was {generation.status}")
        self.stdout.write(_as_json(generation) if options["format"] == "json" else generation.text)


def _as_json(generation: Generation) -> str:
    names = ("text", "token_ids", "experts", "routing_shares", "seed", "checkpoint_digest", "timings_ms")
    return json.dumps({name: getattr(generation, name) for name in names}, ensure_ascii=False)
