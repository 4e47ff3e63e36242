"""`manage.py prepare_demo_arena`: contestants of the demonstration's checkpoint, prompts, simulated votes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand

DEFAULT_VOTES = 1000


class Command(FairgroundCommand):
    """Fill the demonstration's arena; running it again changes nothing."""

    help = "Enter the demonstration's contestants and prompts, and simulate votes in a season of their own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--votes", type=int, default=DEFAULT_VOTES, help="simulated votes (default: %(default)s)")

    def run(self, **options: Any) -> None:
        from webapp.demo.arena import prepare_arena

        board = prepare_arena(n_simulated_votes=options["votes"], say=self.stderr.write)
        self.stdout.write(f"{board.get_absolute_url()} ({board.n_votes} simulated votes)")
