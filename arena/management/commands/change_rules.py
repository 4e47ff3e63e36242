"""`manage.py change_rules [NAME=VALUE …]`: put another version of a season's rules in force."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from django.core.management.base import CommandParser

from arena.policy import Rules
from arena.services.seasons import MAIN, change_policy, current_policy, get_season, rules_of
from webapp.commands import FairgroundCommand
from webapp.errors import BadInputError

FLAGS = {"true": True, "false": False}


class Command(FairgroundCommand):
    """Print the new rules as they are published."""

    help = (
        "Publish another version of a season's rules; the next draw begins an epoch under it. Without a rule, what "
        "this version of the software added is published with its defaults."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rules", nargs="*", metavar="NAME=VALUE", help="such as overlap_min_tokens=8")
        parser.add_argument("--season", default=MAIN)

    def run(self, **options: Any) -> None:
        season = get_season(options["season"])
        given = dict(_read(text) for text in options["rules"])
        try:
            rules = Rules.from_json({**rules_of(current_policy(season)).to_json(), **given})
        except (ValueError, ArithmeticError) as error:
            raise BadInputError(f"{error}. Give each rule as NAME=VALUE; the method page has all.") from error
        self.stdout.write(change_policy(season=season, rules=rules).document)


def _read(text: str) -> tuple[str, Any]:
    """Return name and value of a rule; flags are told as true or false."""
    name, separator, value = text.partition("=")
    if not separator:
        raise BadInputError(f"{text!r} is no rule. Write it as NAME=VALUE.")
    is_flag = any(field.name == name and field.type == "bool" for field in fields(Rules))
    if is_flag and value not in FLAGS:
        raise BadInputError(f"{name} is {value!r}; write true or false.")
    return name, FLAGS[value] if is_flag else value
