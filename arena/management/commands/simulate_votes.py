"""`manage.py simulate_votes`: fill a season of its own with votes by a program."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from arena.models import Season
from arena.services.seasons import SIMULATED, open_season
from arena.services.simulation import Simulation, Temper, simulate_votes
from webapp.commands import FairgroundCommand


class Command(FairgroundCommand):
    """Plant strengths over the season's contestants, vote, publish; print what was planted and what was found."""

    help = "Simulate votes in a season that takes no real ones. Enter contestants with add_contestant --season first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--season", default=SIMULATED)
        parser.add_argument("--votes", type=int, default=1000)
        parser.add_argument("--voters", type=int, default=40)
        parser.add_argument("--step", type=float, default=60.0, help="rating points between neighbours, as planted")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument(
            "--overlap-effect",
            type=float,
            default=0.0,
            help="log-odds that a wholly verbatim answer wins against one that isn't",
        )
        for temper in Temper:
            parser.add_argument(f"--{temper.value}", type=float, help="share of the voters")

    def run(self, **options: Any) -> None:
        season = open_season(slug=options["season"], title="Simulation", is_simulated=True)
        simulation = Simulation(
            strengths=self._plant(season, options["step"]),
            n_votes=options["votes"],
            n_voters=options["voters"],
            shares={t: v for t in Temper if (v := options[t.value.replace("-", "_")]) is not None} or None,
            seed=options["seed"],
            overlap_effect=options["overlap_effect"],
        )
        board = simulate_votes(season=season, simulation=simulation, say=self._say)
        found = {row["contestant"]: row for row in board.result["ratings"]}
        rows = [
            {"contestant": name, "planted": planted, **{k: found[name][k] for k in ("rating", "lower", "upper")}}
            for name, planted in simulation.strengths.items()
            if name in found
        ]
        self.stdout.write(json.dumps({"season": season.slug, "simulated": True, "board": str(board.pk), "rows": rows}))

    def _say(self, n_votes: int) -> None:
        self.stderr.write(f"{n_votes} simulated votes")

    def _plant(self, season: Season, step: float) -> dict[str, float]:
        """Return strengths with even steps around 1000, in the order in which contestants were entered."""
        entered = [str(pk) for pk in season.contestants.order_by("created_at", "pk").values_list("pk", flat=True)]
        if len(entered) < 2:
            raise CommandError(f"Season {season.slug} has fewer than two contestants: enter them with add_contestant.")
        middle = (len(entered) - 1) / 2
        return {name: 1000 + step * (middle - place) for place, name in enumerate(entered)}
