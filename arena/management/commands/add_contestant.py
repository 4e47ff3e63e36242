"""`manage.py add_contestant`: enter a contestant; opens the season and registers the provider when they are new."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from arena.models import LicenceGroup, Provider, Season
from arena.services.roster import add_contestant, add_provider
from arena.services.seasons import MAIN, SIMULATED, get_season, open_season
from webapp.commands import FairgroundCommand


def _season(slug: str) -> Season:
    if slug == MAIN:
        return open_season(slug=MAIN, title="Arena")
    if slug == SIMULATED:
        return open_season(slug=SIMULATED, title="Simulation", is_simulated=True)
    return get_season(slug)


class Command(FairgroundCommand):
    """Enter a checkpoint with an expert mask, decoding parameters and a system prompt; print its digest."""

    help = "Enter a contestant into the arena. Its digest is computed from weights, experts, decoding and prompt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--title", required=True, help="shown after a vote and on the leaderboard")
        parser.add_argument("--provider", required=True, help="slug of who enters it")
        parser.add_argument("--provider-name", default="", help="name of a provider that is new here")
        parser.add_argument("--licence-group", required=True, choices=LicenceGroup.values)
        parser.add_argument("--licence", default="")
        parser.add_argument("--checkpoint", help="slug (default: the site's default checkpoint)")
        parser.add_argument("--experts", help="slugs with commas between (default: all)")
        parser.add_argument("--max-tokens", type=int)
        parser.add_argument("--temperature", type=float)
        parser.add_argument("--top-p", type=float)
        parser.add_argument("--system-prompt", default="")
        parser.add_argument("--private", action="store_true", help="a variant under test, counted against the cap")
        parser.add_argument("--season", default=MAIN)

    def run(self, **options: Any) -> None:
        season = _season(options["season"])
        provider = Provider.objects.filter(slug=options["provider"]).first()
        if provider is None:
            name = options["provider_name"] or options["provider"]
            provider = add_provider(slug=options["provider"], name=name)
        contestant = add_contestant(
            season=season,
            provider=provider,
            slug=options["slug"],
            title=options["title"],
            licence_group=options["licence_group"],
            licence=options["licence"],
            visibility="private" if options["private"] else "public",
            checkpoint=options["checkpoint"],
            experts=options["experts"].split(",") if options["experts"] else None,
            max_tokens=options["max_tokens"],
            temperature=options["temperature"],
            top_p=options["top_p"],
            system_prompt=options["system_prompt"],
        )
        self.stdout.write(contestant.digest)
