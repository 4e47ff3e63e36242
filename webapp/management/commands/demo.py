"""`manage.py demo`: from nothing to one traced answer in the terminal, then the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.management.commands.prepare_demo_arena import DEFAULT_VOTES

CHECKPOINT = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"
SLUG = "demo"
PROMPT = "def numpy.linalg.solve(a, b)\n\n"


class Command(BaseCommand):
    """Prepare database, corpora, indexes and checkpoint; answer and trace once; fill the arena; serve."""

    help = "Set up the demonstration, print one traced answer, fill the arena, then serve the site until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end after the printed answer")
        parser.add_argument("--prompt", default=PROMPT)
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--only", help="comma-separated slugs of corpora instead of all")
        parser.add_argument("--votes", type=int, default=DEFAULT_VOTES, help="simulated votes (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        self._say("Preparing the database …")
        call_command("migrate", verbosity=0)
        self._say("Collecting corpora from installed packages and indexing them …")
        call_command("build_demo_corpora", only=options["only"], stdout=self.stderr)
        self._register_checkpoint()
        self._answer(options["prompt"])
        if options["once"]:
            return
        call_command("prepare_demo_arena", votes=options["votes"], stdout=self.stderr)
        self._say(f"Serving on http://127.0.0.1:{options['port']}/ (Ctrl-C ends)")
        call_command("serve", port=options["port"])

    def _say(self, text: str) -> None:
        self.stderr.write(text)

    def _register_checkpoint(self) -> None:
        from webapp.playground.checkpoints import refresh_contributions
        from webapp.playground.models import Checkpoint

        if not (CHECKPOINT / "model.safetensors").is_file():
            raise CommandError(f"{CHECKPOINT} has no weights: run manage.py train_demo_model first.")
        registered = Checkpoint.objects.filter(slug=SLUG).first()
        if registered is None:
            call_command("add_checkpoint", SLUG, str(CHECKPOINT), stdout=self.stderr)
        else:
            refresh_contributions(registered)

    def _answer(self, prompt: str) -> None:
        from tracer.services import request_trace, run_trace
        from webapp.playground.services import run_generation, start_generation

        generation = start_generation(prompt=prompt, experts=None, max_tokens=160, temperature=0.7, top_p=0.95, seed=7)
        run_generation(generation.id)
        generation.refresh_from_db()
        if generation.error:
            raise CommandError(f"the demonstration's answer failed: {generation.error}")
        trace = request_trace(text=generation.text, prompt=prompt)
        run_trace(trace.id)
        trace.refresh_from_db()
        if trace.error:
            raise CommandError(f"the demonstration's trace failed: {trace.error}")
        from tracer.rendering import render_text

        self.stdout.write(f"Prompt: {prompt.strip()}\n")
        self.stdout.write(render_text(trace))
