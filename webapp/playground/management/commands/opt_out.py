"""`manage.py opt_out`: withdraw an owner's experts from this site, everywhere at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.playground import optout


class Command(FairgroundCommand):
    """Withdraw an expert, or all of an owner; `opt_in` takes it back."""

    help = (
        "Withdraw an owner's experts: out of the memory of every running worker within seconds, out of pages, "
        "interface and arena, with an entry in the log. Nothing needs a restart. opt_in takes it back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subject", help="an owner's name, checkpoint/expert, or an expert's slug")
        parser.add_argument("--reason", required=True, help="kept here; the log holds its salted hash")

    def run(self, **options: Any) -> None:
        row = optout.opt_out(subject=options["subject"], reason=options["reason"], author=optout.OPERATOR)
        self.stdout.write(str(row))
