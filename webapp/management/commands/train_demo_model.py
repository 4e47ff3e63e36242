"""`manage.py train_demo_model`: the demonstration's FlexOlmo by the paper's recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.demo.harvest import DEMO_CORPORA, harvest_corpus
from webapp.inference.training.demo import DemoPlan, train_demo

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"


class Command(BaseCommand):
    """Train, measure, write the checkpoint whole or not at all; print the tables."""

    help = "Train the demonstration's model: public model, owners' experts, merge, router. About half an hour."

    def add_arguments(self, parser: CommandParser) -> None:
        plan = DemoPlan()
        parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
        parser.add_argument("--base-seconds", type=float, default=plan.base_seconds)
        parser.add_argument("--expert-seconds", type=float, default=plan.expert_seconds)
        parser.add_argument("--router-seconds", type=float, default=plan.router_seconds)
        parser.add_argument("--seed", type=int, default=plan.seed)

    def handle(self, *args: Any, **options: Any) -> None:
        plan = DemoPlan(
            base_seconds=options["base_seconds"],
            expert_seconds=options["expert_seconds"],
            router_seconds=options["router_seconds"],
            seed=options["seed"],
        )
        if min(plan.base_seconds, plan.expert_seconds, plan.router_seconds) <= 0:
            raise CommandError("every stage needs a positive number of seconds")
        texts = {
            _expert_slug(corpus.slug): [document["text"] for document in harvest_corpus(corpus.slug)]
            for corpus in DEMO_CORPORA
        }
        out: Path = options["out"]
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".training-") as folder:
            tables = train_demo(texts, _experts(), Path(folder), plan, self.stderr.write)
            out.mkdir(exist_ok=True)
            for file in Path(folder).iterdir():
                file.replace(out / file.name)
        self.stdout.write(tables)


def _expert_slug(corpus_slug: str) -> str:
    return "public" if corpus_slug == DEMO_CORPORA[0].slug else corpus_slug


def _experts() -> list[dict[str, Any]]:
    return [
        {
            "slug": _expert_slug(corpus.slug),
            "title": corpus.title,
            "owner": corpus.owner,
            "corpus": corpus.slug,
            "licence": corpus.licence,
        }
        for corpus in DEMO_CORPORA
    ]
