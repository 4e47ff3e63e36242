"""`manage.py train_demo_model`: the demonstration's FlexOlmo by the paper's recipe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from webapp.demo.harvest import DEMO_CORPORA, MAX_CORPUS_CHARACTERS, harvest_corpus
from webapp.inference.card import ExpertCard
from webapp.management.training import TrainingCommand

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"


class Command(TrainingCommand):
    """Run all stages, replace the demonstration's checkpoint at the end, print the tables."""

    help = (
        "Train the demonstration's model: public model, owners' experts, merge. Five minutes on a large GPU, hours "
        "on a processor. Interrupted, the same command goes on from --work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
        parser.add_argument("--work", type=Path, required=True, help="keeps what the stages hand on")
        parser.add_argument("--base-steps", type=int, default=3000)
        parser.add_argument("--expert-steps", type=int, default=800)
        parser.add_argument("--rows", type=int, default=32, help="windows in a batch")
        parser.add_argument(
            "--max-characters", type=int, default=MAX_CORPUS_CHARACTERS, help="of each corpus; fewer train sooner"
        )
        parser.add_argument("--seed", type=int, default=20)
        parser.add_argument("--device", default="auto", help="auto, cpu or cuda")

    def train(self, **options: Any) -> None:
        from webapp.inference.training.demo import DemoPlan, train_demo

        if min(options["base_steps"], options["expert_steps"], options["rows"]) < 1:
            raise CommandError("every stage needs at least one step of one row")
        plan = DemoPlan(
            base_steps=options["base_steps"],
            expert_steps=options["expert_steps"],
            rows=options["rows"],
            seed=options["seed"],
            device=options["device"],
        )
        experts = demo_experts()
        texts = {expert.slug: _texts(str(expert.corpus), options["max_characters"]) for expert in experts}
        work: Path = options["work"]
        result = work / "checkpoint"
        shutil.rmtree(result, ignore_errors=True)
        tables = train_demo(texts, experts, work, result, plan, self.stderr.write)
        options["out"].mkdir(parents=True, exist_ok=True)
        for file in result.iterdir():
            file.replace(options["out"] / file.name)
        self.stdout.write(tables)


def _texts(corpus: str, max_characters: int) -> list[str]:
    return [document["text"] for document in harvest_corpus(corpus, max_characters=max_characters)]


def demo_experts() -> list[ExpertCard]:
    """Return the demonstration's experts, the public one first."""
    return [
        ExpertCard(
            "public" if corpus is DEMO_CORPORA[0] else corpus.slug,
            corpus.title,
            corpus.owner,
            corpus.slug,
            corpus.licence,
        )
        for corpus in DEMO_CORPORA
    ]
