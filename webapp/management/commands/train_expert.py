"""`manage.py train_expert`: an owner trains an expert alone, from the public checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.management.training import (
    TrainingCommand,
    add_expert_options,
    add_run_options,
    expert_card,
    find_checkpoint,
    make_run,
    read_texts,
)


class Command(TrainingCommand):
    """Train the own expert and its router row beside the frozen public model; write what the owner may send."""

    help = (
        "Train one owner's expert beside the frozen public model. The folder that it writes holds weights, router rows "
        "and a data card, no text. Interrupted, the same command goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base", required=True, help="the public checkpoint: a folder or a slug")
        parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="own text: JSON lines or folders")
        parser.add_argument("--public", type=Path, nargs="+", help="public text, mixed into a quarter of each batch")
        parser.add_argument("--out", type=Path, required=True, help="a new folder")
        add_expert_options(parser)
        add_run_options(parser, steps=800)

    def train(self, **options: Any) -> None:
        from webapp.inference.training.stages import train_contribution

        if not options["public"]:
            self.stderr.write("Without --public the expert may draw public text to itself and answer it worse.")
        declaration = train_contribution(
            find_checkpoint(options["base"]),
            read_texts(options["corpus"]),
            expert_card(options),
            options["out"],
            make_run(options, self.stderr.write),
            public_texts=read_texts(options["public"]) if options["public"] else None,
        )
        for text, (before, after) in declaration.measured.items():
            self.stdout.write(f"{text} text: {before:.3f} → {after:.3f} nats per held-out token")
        self.stdout.write(str(options["out"]))
