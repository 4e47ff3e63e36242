"""`manage.py verify_optout`: proves that switching experts off equals removing them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.errors import FairgroundError
from webapp.inference import InferenceError, OptOutProof, read_checkpoint_card, verify_optout
from webapp.playground.checkpoints import default_checkpoint

DEMO_CHECKPOINT = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"
LARGEST_DIFFERENCE = 1e-4
TEXT = "Return a new array with the same shape and type as the given array, filled with zeros."


class Command(BaseCommand):
    """Compare masked logits with those of physically reduced checkpoints; exit 1 when they differ."""

    help = (
        "Compare the logits under an expert mask with those of a checkpoint from which the other experts "
        "were removed, computed by transformers. By default every leave-one-out mask of the demonstration's model."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "checkpoint", nargs="?", default=str(DEMO_CHECKPOINT), help="a registered checkpoint's slug, or a folder"
        )
        parser.add_argument("--names", type=Path, help="JSON file that names the experts, as for add_checkpoint")
        parser.add_argument("--experts", help="comma-separated slugs that stay on; all leave-one-out masks without")
        parser.add_argument("--file", type=Path, help="UTF-8 text to compare on; a sentence without")
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            text = options["file"].read_text(encoding="utf-8") if options["file"] else TEXT
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']}: {error}; give a readable UTF-8 text file") from error
        try:
            folder, names = self._find(options["checkpoint"], options["names"])
            masks = self._masks(read_checkpoint_card(folder, names).slugs, options["experts"])
            proofs = [verify_optout(folder, mask, [text], experts_file=names) for mask in masks]
        except (InferenceError, FairgroundError) as error:
            raise CommandError(str(error)) from error
        if options["format"] == "json":
            self.stdout.write(json.dumps([dataclasses.asdict(proof) for proof in proofs], indent=2))
        else:
            for proof in proofs:
                self.stdout.write(_line(proof))
        worst = max(proof.max_difference for proof in proofs)
        if not worst <= LARGEST_DIFFERENCE:
            raise CommandError(f"masking differs from removal by {worst:.2e}; promise no opt-out with this model")

    def _find(self, checkpoint: str, names: Path | None) -> tuple[Path, Path | None]:
        """Return the folder and the file with the experts' names, those of the registered checkpoint by its slug."""
        if Path(checkpoint).is_dir():
            return Path(checkpoint), names
        row = default_checkpoint(checkpoint)
        return row.folder, names or row.experts_path

    def _masks(self, slugs: Sequence[str], experts: str | None) -> list[list[str]]:
        if experts is not None:
            return [[slug for slug in experts.split(",") if slug]]
        return [[slug for slug in slugs if slug != off] for off in slugs] if len(slugs) > 1 else [list(slugs)]


def _line(proof: OptOutProof) -> str:
    off = [slug for slug in proof.computations if slug not in proof.experts]
    computed = sum(proof.computations[slug] for slug in off)
    return (
        f"off: {', '.join(off) or 'none'}; largest difference {proof.max_difference:.2e} "
        f"(largest logit {proof.largest_logit:.2f}, {proof.n_positions} tokens); "
        f"times a switched-off expert was computed: {computed}"
    )
