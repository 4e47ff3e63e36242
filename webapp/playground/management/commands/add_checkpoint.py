"""`manage.py add_checkpoint`: register a checkpoint folder or a published checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from webapp.commands import FairgroundCommand
from webapp.playground.checkpoints import add_checkpoint

DTYPES = ("auto", "float32", "bfloat16", "float16")


class Command(FairgroundCommand):
    """Check that a checkpoint loads, register it, print its digest; sizes go to standard error first."""

    help = (
        "Register a checkpoint: a folder (safetensors, config.json, tokenizer.json) or a hub id such as "
        "allenai/FlexOlmo-7x7B-1T, which is downloaded. FlexOlmo gets expert switches; any other causal "
        "language model of transformers is served without."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("path", help="folder or hub id")
        parser.add_argument("--experts", type=Path, help="JSON file that names each expert and its owner")
        parser.add_argument("--revision", help="branch, tag or commit on the hub")
        parser.add_argument("--dtype", choices=DTYPES, default="", help="default: FAIRGROUND_DTYPE")
        parser.add_argument("--device", default="", help="cpu, cuda, cuda:1, auto; default: FAIRGROUND_DEVICE")
        parser.add_argument("--thinks", action="store_true", help="it writes <think>…</think> before its answer")

    def run(self, **options: Any) -> None:
        path = options["path"]
        checkpoint = add_checkpoint(
            slug=options["slug"],
            path=str(path),
            experts_file=options["experts"],
            dtype=options["dtype"],
            device=options["device"],
            revision=options["revision"],
            thinks=options["thinks"],
            announce=lambda text: self.stderr.write(f"{path}: {text}"),
        )
        self.stdout.write(checkpoint.digest)
