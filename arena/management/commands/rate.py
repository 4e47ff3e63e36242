"""`manage.py rate`: rate the contestants of any file of votes. Needs no database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from arena.rating import BothBad, IntervalMethod, RatingError, RatingOptions, Weighting, rate
from arena.rating.files import read_votes
from arena.rating.rendering import render_text


class Command(BaseCommand):
    """Print ratings alone on standard output; a fault is one line on standard error."""

    help = (
        "Rate the contestants of a file of votes: model_a, model_b, winner (model_a | model_b | tie | "
        "tie (bothbad) | both_bad), optionally p_pair, voter, category and numeric covariates."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--votes", type=Path, required=True, metavar="FILE", help=".csv, .jsonl or .parquet")
        parser.add_argument("--category", help="rate only the votes of this category")
        parser.add_argument("--format", choices=("json", "text"), default="text")
        parser.add_argument("--both-bad", choices=list(BothBad), default=BothBad.HALF, help="what both_bad counts for")
        parser.add_argument("--weighting", choices=list(Weighting), default=Weighting.AUTO)
        parser.add_argument("--interval", choices=list(IntervalMethod), default=IntervalMethod.SANDWICH)
        parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: 0.95)")
        parser.add_argument("--min-votes", type=int, default=1, help="with fewer a contestant is not ranked")
        parser.add_argument("--anchor", help="the contestant that is rated 1000; without, the mean is")
        parser.add_argument("--covariates", default="", help="comma-separated numeric columns to control for")
        parser.add_argument("--position", action="store_true", help="control for the side an answer stood on")
        parser.add_argument("--flips", action="store_true", help="tell how many votes would reverse neighbours")
        parser.add_argument("--rounds", type=int, default=1000, help="of the bootstrap")
        parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")

    def handle(self, *args: Any, **options: Any) -> None:
        covariates = tuple(filter(None, options["covariates"].split(",")))
        try:
            settings = RatingOptions(
                both_bad=BothBad(options["both_bad"]),
                weighting=Weighting(options["weighting"]),
                interval=IntervalMethod(options["interval"]),
                level=options["level"],
                min_votes=options["min_votes"],
                anchor=options["anchor"],
                covariates=covariates,
                position=options["position"],
                flips=options["flips"],
                n_rounds=options["rounds"],
                seed=options["seed"],
            )
            votes = read_votes(options["votes"], category=options["category"], covariates=covariates)
            result = rate(votes, settings)
        except RatingError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandError(f"{options['votes']}: {reason}; give a readable file of votes") from error
        if options["format"] == "json":
            answer = result.to_dict()
            answer["method"] = {**answer["method"], "category": options["category"]}
            self.stdout.write(json.dumps(answer, indent=1))  # ASCII: every terminal and pipe can take it
        else:
            self.stdout.write(render_text(result))
