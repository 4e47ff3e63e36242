"""What the training commands share: corpus files to texts, options to a run, errors to one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tracer.engine.corpus_files import find_corpus_files, read_corpus_file
from tracer.engine.errors import CorpusFileError
from webapp.commands import FairgroundCommand
from webapp.errors import FairgroundError
from webapp.inference import InferenceError
from webapp.inference.card import ExpertCard, read_expert_card
from webapp.playground.checkpoints import default_checkpoint


class TrainingCommand(FairgroundCommand):
    """A command whose bad input, text or weights is one line on standard error. Implement `train`."""

    def run(self, **options: Any) -> None:
        try:
            self.train(**options)
        except (InferenceError, CorpusFileError) as error:
            raise CommandError(str(error)) from error

    def train(self, **options: Any) -> None:
        """Do the work and print the result."""
        raise NotImplementedError


def add_run_options(parser: CommandParser, *, steps: int) -> None:
    """The options that every stage has."""
    parser.add_argument("--steps", type=int, default=steps, help=f"at most so many steps; {steps} without")
    parser.add_argument("--seconds", type=float, help="end after so many seconds, whatever the steps")
    parser.add_argument("--rows", type=int, default=32, help="windows in a batch")
    parser.add_argument("--length", type=int, default=512, help="tokens in a window")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def add_expert_options(parser: CommandParser) -> None:
    """Who owns the text, under which licence."""
    parser.add_argument("--slug", required=True, help="the expert's short name: small letters, digits, - and _")
    parser.add_argument("--title", help="its name for people; the slug without")
    parser.add_argument("--owner", required=True, help="who owns the text")
    parser.add_argument("--licence", required=True, help="the licence of the text")
    parser.add_argument("--corpus-slug", help="the corpus of this text on the site, if it is traced there")


def expert_card(options: dict[str, Any]) -> ExpertCard:
    """Return the checked card of the options of `add_expert_options`."""
    entry = {
        "slug": options["slug"],
        "title": options["title"] or options["slug"],
        "owner": options["owner"],
        "licence": options["licence"],
        "corpus": options["corpus_slug"],
    }
    return read_expert_card(Path("--slug"), 0, entry)


def make_run(options: dict[str, Any], report: Any) -> Any:
    """Return the run of the options of `add_run_options`; raises `CommandError` for numbers that train nothing."""
    from webapp.inference.training.loop import Budget
    from webapp.inference.training.stages import Run

    for name in ("steps", "rows", "length"):
        if options[name] < 1:
            raise CommandError(f"--{name} is {options[name]}; it must be at least 1")
    if not 0 <= options["dropout"] < 1:
        raise CommandError(f"--dropout is {options['dropout']}; it must be from 0 to below 1")
    if options["seconds"] is not None and options["seconds"] <= 0:
        raise CommandError(f"--seconds is {options['seconds']}; it must be above 0")
    budget = Budget(
        seconds=options["seconds"] or float("inf"),
        max_steps=options["steps"],
        rows=options["rows"],
        length=options["length"],
        warmup_steps=max(1, options["steps"] // 50),
        dropout=options["dropout"],
    )
    return Run(budget, options["seed"], options["device"], report=report)


def read_texts(files: Sequence[Path]) -> Iterator[str]:
    """Yield the texts of corpus files, and of all corpus files in folders and of patterns, in order."""
    for file in files:
        for path, _ in find_corpus_files(file):
            for document in read_corpus_file(path):
                yield document.text


def read_domains(entries: Sequence[str]) -> dict[str, list[str]]:
    """Return texts by domain from NAME=FILE entries; a name may come several times."""
    domains: dict[str, list[str]] = {}
    for entry in entries:
        name, _, file = entry.partition("=")
        if not name or not file:
            raise CommandError(f"{entry!r} is not NAME=FILE")
        domains.setdefault(name, []).extend(read_texts([Path(file)]))
    return domains


def find_checkpoint(checkpoint: str) -> Path:
    """Return a folder by itself or by the slug of a registered checkpoint."""
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    try:
        return default_checkpoint(checkpoint).folder
    except FairgroundError as error:
        raise CommandError(f"{checkpoint} is neither a folder nor a registered checkpoint ({error})") from error
