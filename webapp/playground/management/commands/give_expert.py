"""`manage.py give_expert`: say which group owns an expert."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.errors import BadInputError
from webapp.playground.optout import find_subject


class Command(FairgroundCommand):
    """Let a group's members withdraw an expert; the group is made when there is none."""

    help = "Let the members of a group opt an expert out and in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("expert", help="checkpoint/expert, or an expert's slug")
        parser.add_argument("group", help="a group's name; empty takes the right away")

    def run(self, **options: Any) -> None:
        _, expert = find_subject(options["expert"])
        if expert is None:
            raise BadInputError(f"{options['expert']!r} is an owner's name. Say which expert: checkpoint/expert.")
        name = options["group"].strip()
        expert.owner_group = Group.objects.get_or_create(name=name)[0] if name else None
        expert.save(update_fields=["owner_group"])
        self.stdout.write(str(expert))
