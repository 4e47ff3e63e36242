"""`manage.py merge_experts`: joins what owners sent into one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.management.training import TrainingCommand, add_run_options, find_checkpoint, make_run, read_domains


class Command(TrainingCommand):
    """Check every contribution against the base, join them, optionally tune the router."""

    help = (
        "Join owners' experts into a FlexOlmo checkpoint; shared weights stay the base's. With --proxy the router is "
        "tuned on this text, opt-out is then no longer exact, and the rows from before are kept beside it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("contributions", type=Path, nargs="+", help="folders of train_expert, in router order")
        parser.add_argument("--base", required=True, help="the public checkpoint: a folder or a slug")
        parser.add_argument("--out", type=Path, required=True, help="a new folder")
        parser.add_argument("--proxy", nargs="+", default=[], metavar="NAME=FILE", help="public text like a domain's")
        parser.add_argument("--by", default="", metavar="NAME", help="who joins them; kept beside the weights")
        add_run_options(parser, steps=300)

    def train(self, **options: Any) -> None:
        from webapp.inference.training.stages import merge_experts

        merge_experts(
            find_checkpoint(options["base"]),
            options["contributions"],
            options["out"],
            proxies=read_domains(options["proxy"]) or None,
            run=make_run(options, self.stderr.write),
            merged_by=options["by"],
        )
        self.stdout.write(str(options["out"]))
