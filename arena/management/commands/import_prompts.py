"""`manage.py import_prompts FILE`: fill the pool from JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from arena.services.pool import import_prompts
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Read JSON lines with text and, optionally, id, category, discipline, language, reference."""

    help = "Add prompts to the arena's pool from a file of JSON lines."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def run(self, **options: Any) -> None:
        with options["file"].open(encoding="utf-8") as lines:
            n_new, n_known = import_prompts(lines)
        self.stdout.write(f"{n_new} new, {n_known} known")
