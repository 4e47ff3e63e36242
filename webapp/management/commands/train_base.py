"""`manage.py train_base`: the dense public model that owners start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.management.training import (
    TrainingCommand,
    add_expert_options,
    add_run_options,
    expert_card,
    make_run,
    read_texts,
)


class Command(TrainingCommand):
    """Train a tokenizer and a small public model; write its checkpoint."""

    help = "Train a small dense public model on public text. Interrupted, the same command goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="JSON lines (.gz, .zst) or folders")
        parser.add_argument("--out", type=Path, required=True)
        add_expert_options(parser)
        add_run_options(parser, steps=3000)
        for name, default in (("vocabulary", 4096), ("width", 256), ("layers", 4), ("inner", 512), ("heads", 4)):
            parser.add_argument(f"--{name}", type=int, default=default)

    def train(self, **options: Any) -> None:
        from webapp.inference.training.model import ModelShape
        from webapp.inference.training.stages import train_base

        shape = ModelShape(
            vocabulary=options["vocabulary"],
            width=options["width"],
            n_layers=options["layers"],
            feed_forward=options["inner"],
            n_heads=options["heads"],
            context=options["length"],
        )
        run = make_run(options, self.stderr.write)
        loss = train_base(read_texts(options["corpus"]), shape, expert_card(options), options["out"], run)
        self.stdout.write(f"{options['out']}: {loss:.3f} nats per held-out token")
