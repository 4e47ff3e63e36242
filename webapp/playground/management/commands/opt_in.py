"""`manage.py opt_in`: take an opt-out back."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.playground import optout


class Command(FairgroundCommand):
    """End an opt-out; workers load the weights again by themselves."""

    help = "Take an opt-out back: running workers load the experts' weights again, contestants may be drawn again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="as it was given to opt_out")

    def run(self, **options: Any) -> None:
        row = optout.opt_in(subject=options["subject"], author=optout.OPERATOR)
        self.stdout.write(str(row))
